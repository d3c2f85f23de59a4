"""Watch the states of a trained model over a line of code, a layer and a channel at a time."""

import ipywidgets
import torch

from minimamba import checkpoint, plots, weights
from minimamba.arguments import refuse
from minimamba.lm import MambaLM
from minimamba.watch import watch
from minimamba.widgets.explorer import Explorer, look

LONGEST = 80


class StateExplorer(Explorer):
    """A text field and two sliders, the layer and the channel, over heat maps of Δ, of the norms
    of the states, and of one channel's decays and state at each byte.

    Args:
        text: the line, 1 to 80 ASCII characters.
        layer, channel: which to begin with.
        model: one of bytes; the one in `weights.CODE` if None.

    Raises:
        ValueError: naming the argument, what was expected and what came.
    """

    def __init__(self, text: str = "    for name in names:  # one by one\n", layer: int = 0,
                 channel: int = 0, *, model: MambaLM | None = None) -> None:
        model = checkpoint.load(weights.CODE) if model is None else model
        if not isinstance(model, MambaLM) or model.config.vocab_size != 256:
            refuse("model", "a MambaLM of 256 bytes", type(model).__name__)
        if not isinstance(text, str) or not _clean(text) or _clean(text) != text:
            refuse("text", f"1 to {LONGEST} ASCII characters", repr(text))
        layers, channels = len(model.layers), model.layers[0].mixer.d_inner
        for name, value, count in (("layer", layer, layers), ("channel", channel, channels)):
            if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < count:
                refuse(name, f"a whole number from 0 to {count - 1}", repr(value))
        self._model = model
        sliders = look(80)
        self.text = ipywidgets.Textarea(value=text, description="text", rows=2, **sliders)
        self.layer = ipywidgets.IntSlider(value=layer, max=layers - 1, description="layer",
                                          **sliders)
        self.channel = ipywidgets.IntSlider(value=channel, max=channels - 1,
                                            description="channel", **sliders)
        super().__init__([self.text, self.layer, self.channel], "state-explorer")
        self._type()
        self.text.observe(self._type, names="value")
        for slider in (self.layer, self.channel):
            slider.observe(self._redraw, names="value")

    def _type(self, change: object = None) -> None:
        # What the picture has no column for is left out.
        self._text = _clean(self.text.value) or " "
        tokens = torch.tensor(list(self._text.encode()))
        self._watched = watch(self._model, tokens)
        _, channels, d_state = self._watched[0].h.shape
        self._figure = plots.StateExplorerFigure(self._text, channels, d_state)
        self._redraw()

    def _redraw(self, change: object = None) -> None:
        layer, channel = self.layer.value, self.channel.value
        seen = self._watched[layer]
        png = self._figure.png(layer, channel, seen.delta.T, seen.norm.T, seen.decay[:, channel].T,
                               seen.h[:, channel].T)
        steps = seen.delta[:, channel]
        at = int(steps.argmax())
        self._show(png, f"Layer {layer}, channel {channel}: its longest step is at byte {at}, "
                        f"{self._text[at]!r}, where its slowest number keeps "
                        f"{seen.decay[at, channel].max():.0%}.")

    def __repr__(self) -> str:
        return (f"StateExplorer({self._text!r}, layer={self.layer.value}, "
                f"channel={self.channel.value})")


def _clean(text: str) -> str:
    return "".join(c for c in text if c == "\n" or (c.isascii() and c.isprintable()))[:LONGEST]
