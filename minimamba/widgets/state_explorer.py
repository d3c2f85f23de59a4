"""Watch the states of a trained model over a line of code, a layer and a channel at a time. The
controls are in state_explorer.js."""

from functools import lru_cache

import torch
import traitlets

from minimamba import checkpoint, plots, weights
from minimamba.arguments import refuse
from minimamba.lm import MambaLM
from minimamba.watch import Watched, watch
from minimamba.widgets.explorer import check_between, module
from minimamba.widgets.python_explorer import PythonExplorer

LONGEST = 80


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

    def __init__(self, text: str = "    for name in names:  # one by one\n", layer: int = 0,
                 channel: int = 0, *, model: MambaLM | None = None) -> None:
        model = checkpoint.load(weights.CODE) if model is None else model
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

    def _read(self, text: str) -> tuple[list[Watched], plots.StateExplorerFigure]:
        """What the model does at each byte, and a figure with a column for each."""
        seen = watch(self._model, torch.tensor(list(text.encode())))
        _, channels, d_state = seen[0].h.shape
        return seen, plots.StateExplorerFigure(text, channels, d_state)

    def _draw(self) -> tuple[bytes, str]:
        text, layer, channel = self.text, self.layer, self.channel
        watched, figure = self._read(text)
        seen = watched[layer]
        png = figure.png(layer, channel, seen.delta.T, seen.norm.T, seen.decay[:, channel].T,
                         seen.h[:, channel].T)
        steps = seen.delta[:, channel]
        at = int(steps.argmax())
        return png, (f"Layer {layer}, channel {channel}: its longest step is at byte {at}, "
                     f"{text[at]!r}, where its slowest number keeps "
                     f"{seen.decay[at, channel].max():.0%}.")

    def __repr__(self) -> str:
        return (f"StateExplorer({self.text!r}, layer={self.layer}, "
                f"channel={self.channel})")
