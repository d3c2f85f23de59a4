"""See the states of a trained model over a line of code, one layer and channel at a time.

The drawing is made by js/state_explorer.js.
"""

import sys
from functools import lru_cache
from typing import NamedTuple

import torch
import traitlets
from matplotlib.figure import Figure
from torch import Tensor

from minimamba.arguments import refuse
from minimamba.course import plots, weights
from minimamba.course.inspect import StateTrace, trace_states
from minimamba.course.widgets.explorer import Setting, limited_by, whole_number
from minimamba.course.widgets.javascript import bundle
from minimamba.course.widgets.python_explorer import PythonExplorer
from minimamba.lm import MambaLM
from minimamba.nn.mamba import Mamba

MAX_LENGTH = 80


class StateMaps(NamedTuple):
    """What a StateExplorer shows of one layer, a column per byte."""

    delta: Tensor
    """(channels, length), Δ."""
    norm: Tensor
    """(channels, length), the norm of each channel's state, relative to the channel's largest."""
    decay: Tensor
    """(d_state, length), exp(ΔA) of one channel."""
    h: Tensor
    """(d_state, length), the state of that channel, relative to its largest component."""


def _levels(x: Tensor, low: float, high: float) -> bytes:
    """Pack numbers for the browser, row by row, one byte per number.

    0 is the low end of the colour scale or below, 254 the high end or above, 255 is NaN.
    """
    levels = (254 * (x - low) / (high - low)).clamp(0, 254).round().nan_to_num(255)
    return levels.byte().numpy().tobytes()


def _check_text(name: str, text: object) -> None:
    """Refuse what the model's picture has no column for."""
    if (not isinstance(text, str) or not 1 <= len(text) <= MAX_LENGTH
            or not all(c == "\n" or (c.isascii() and c.isprintable()) for c in text)):
        refuse(name, f"1 to {MAX_LENGTH} ASCII characters", repr(text))


def _check_model(model: object) -> None:
    """Refuse a model whose states can't be traced from bytes."""
    if not isinstance(model, MambaLM) or model.config.vocab_size != 256:
        refuse("model", "a MambaLM of 256 bytes", type(model).__name__)
    for number, layer in enumerate(model.layers):
        if not isinstance(layer.mixer, Mamba):
            refuse("model", "a MambaLM of Mamba layers only",
                   f"{type(layer.mixer).__name__} as layer {number}")
    device = next(model.parameters()).device
    if device.type != "cpu":
        refuse("model", "a MambaLM on the CPU", f"one on {device}")


class StateExplorer(PythonExplorer):
    """An explorer of a trained model's states over a line of code.

    Heat maps show Δ and the norm of the state for all channels of a layer, and the decay and the
    state of one channel. Characters that are not ASCII are removed from what is typed.

    Args:
        text: the line, 1 to 80 ASCII characters.
        layer: the number of the layer, from 0.
        channel: the number of the channel, from 0.
        model: a model of bytes, of Mamba layers, on the CPU; by default the one in `weights.CODE`.

    Raises:
        ValueError: if an argument is out of range, or set to such a value later.
    """

    module = "state_explorer.js"
    _esm = bundle(module)
    settings = ("text", "layer", "channel")
    text = Setting(_check_text)
    """The line of code."""
    layer = whole_number(0, sys.maxsize)
    """The number of the layer, from 0."""
    channel = whole_number(0, sys.maxsize)
    """The number of the channel, from 0."""
    last = traitlets.Dict().tag(sync=True)
    """The numbers of the last layer and the last channel."""
    maps = traitlets.Dict().tag(sync=True)
    """The settings and the `StateMaps` that belong to them, packed for the browser."""

    def __init__(self, text: str = "    for name in names:  # one by one\n", layer: int = 0,
                 channel: int = 0, *, model: MambaLM | None = None) -> None:
        model = MambaLM.from_pretrained(weights.CODE) if model is None else model
        _check_model(model)
        self._model = model
        self._trace = lru_cache(maxsize=1)(self._trace)  # again if the text or a weight changes
        super().__init__(text=text, layer=layer, channel=channel, last={
            "layer": len(model.layers) - 1, "channel": model.layers[0].mixer.d_inner - 1})

    _check_index = limited_by(lambda self, name: (0, self.last[name]), "layer", "channel")

    def _trace(self, text: str, weights: tuple) -> list[StateTrace]:
        """The states of every layer at every byte, for the weights of this version."""
        return trace_states(self._model, torch.tensor(list(text.encode())))

    def compute(self) -> StateMaps:
        """Compute what is shown, by running the model."""
        # A tensor counts its changes in place, such as an optimizer's; not those in inference mode.
        versions = tuple((p.data_ptr(), p.dtype, None if p.is_inference() else p._version)
                         for p in self._model.parameters())
        layer = self._trace(self.text, versions)[self.layer]
        norm = layer.norm.T
        h = layer.h[:, self.channel].T
        return StateMaps(layer.delta.T, norm / norm.amax(1, keepdim=True).clamp_min(1e-9),
                         layer.decay[:, self.channel].T, h / h.abs().max().clamp_min(1e-9))

    def _update(self) -> dict[str, object]:
        maps = self.compute()
        byte = int(maps.delta[self.channel].argmax())
        packed = {"delta": _levels(maps.delta.log10(), -4, 0), "norm": _levels(maps.norm, 0, 1),
                  "decay": _levels(maps.decay, 0, 1), "h": _levels(maps.h, -1, 1)}
        return {
            "maps": {**self.value, **packed},
            "caption": f"Layer {self.layer}, channel {self.channel}: Δ is largest at byte {byte}, "
                       f"{self.text[byte]!r}, where the slowest component of the state keeps "
                       f"{maps.decay[:, byte].max():.0%} of its value."}

    def _figure(self) -> Figure:
        return plots.layer_states(self.text, self.layer, self.channel, *self.compute())

    def __repr__(self) -> str:
        return (f"StateExplorer({self.text!r}, layer={self.layer}, "
                f"channel={self.channel})")
