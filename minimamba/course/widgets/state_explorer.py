"""Watch the states of a trained model over a line of code, a layer and a channel at a time. The
drawing is in state_explorer.js."""

from functools import lru_cache
from typing import NamedTuple

import torch
import traitlets
from matplotlib.figure import Figure
from torch import Tensor

from minimamba.arguments import refuse
from minimamba.course import plots, weights
from minimamba.course.inspect import StateTrace, trace_states
from minimamba.course.widgets.explorer import check_between, module
from minimamba.course.widgets.python_explorer import PythonExplorer
from minimamba.lm import MambaLM

LONGEST = 80


class Seen(NamedTuple):
    """What the drawing shows of a layer, a column a byte: the steps of all channels and the norms
    of their states (channels, length); of one channel the share that is kept and the state
    (d_state, length). Channels differ by far: each one's norms, and the state, are in parts of
    their largest."""

    delta: Tensor
    norm: Tensor
    decay: Tensor
    h: Tensor


def _levels(x: Tensor, low: float, high: float) -> bytes:
    """For the browser, row by row, a byte a number: 0 at the low end of the colours or below,
    254 at the high end or above, and 255 for what is no number."""
    return (254 * (x - low) / (high - low)).clamp(0, 254).round().nan_to_num(255).byte() \
        .numpy().tobytes()


class StateExplorer(PythonExplorer):
    """A line of code, a layer and a channel, over heat maps of Δ, of the norms of the states, and
    of one channel's decays and state at each byte. What is typed that the picture has no column
    for is left out.

    Args:
        text: the line, 1 to 80 ASCII characters.
        layer, channel: which to begin with.
        model: one of bytes; the one in `weights.CODE` if None.

    Raises:
        ValueError: naming the argument, what was expected and what came.
    """

    file = "state_explorer.js"
    _esm = module(file)
    settings = ("text", "layer", "channel")
    text, layer, channel = (traitlets.TraitType().tag(sync=True) for _ in range(3))
    most = traitlets.Dict().tag(sync=True)
    """The last layer and the last channel."""
    maps = traitlets.Dict().tag(sync=True)
    """What is drawn: the settings as they were, and the maps of `Seen` in levels of colour."""

    def __init__(self, text: str = "    for name in names:  # one by one\n", layer: int = 0,
                 channel: int = 0, *, model: MambaLM | None = None) -> None:
        model = MambaLM.from_pretrained(weights.CODE) if model is None else model
        if not isinstance(model, MambaLM) or model.config.vocab_size != 256:
            refuse("model", "a MambaLM of 256 bytes", type(model).__name__)
        self._model = model
        self._read = lru_cache(maxsize=1)(self._read)       # as long as the text is the same
        super().__init__(text=text, layer=layer, channel=channel, most={
            "layer": len(model.layers) - 1, "channel": model.layers[0].mixer.d_inner - 1})

    @traitlets.validate("text")
    def _check_text(self, proposal: dict) -> str:
        text = proposal["value"]
        if (not isinstance(text, str) or not 1 <= len(text) <= LONGEST
                or not all(c == "\n" or (c.isascii() and c.isprintable()) for c in text)):
            refuse("text", f"1 to {LONGEST} ASCII characters", repr(text))
        return text

    @traitlets.validate("layer", "channel")
    def _check_place(self, proposal: dict) -> int:
        name, value = proposal["trait"].name, proposal["value"]
        check_between(name, value, 0, self.most[name])
        return value

    def _read(self, text: str) -> list[StateTrace]:
        """What each layer does at each byte."""
        return trace_states(self._model, torch.tensor(list(text.encode())))

    def seen(self) -> Seen:
        """What the drawing shows."""
        layer = self._read(self.text)[self.layer]
        norm, h = layer.norm.T, layer.h[:, self.channel].T
        return Seen(layer.delta.T, norm / norm.amax(1, keepdim=True).clamp_min(1e-9),
                    layer.decay[:, self.channel].T, h / h.abs().max().clamp_min(1e-9))

    def _shown(self) -> dict[str, object]:
        seen, text = self.seen(), self.text
        steps = seen.delta[self.channel]
        at = int(steps.argmax())
        return {
            "maps": {**self.value, "delta": _levels(seen.delta.log10(), -4, 0),
                     "norm": _levels(seen.norm, 0, 1), "decay": _levels(seen.decay, 0, 1),
                     "h": _levels(seen.h, -1, 1)},
            "caption": f"Layer {self.layer}, channel {self.channel}: its longest step is at byte "
                       f"{at}, {text[at]!r}, where its slowest number keeps "
                       f"{seen.decay[:, at].max():.0%}."}

    def _figure(self) -> Figure:
        return plots.watched(self.text, self.layer, self.channel, *self.seen())

    def __repr__(self) -> str:
        return (f"StateExplorer({self.text!r}, layer={self.layer}, "
                f"channel={self.channel})")
