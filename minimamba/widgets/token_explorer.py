"""Type tokens and noise, set Δ for each, and see what the state is made of."""

import ipywidgets
import torch

from minimamba import plots
from minimamba.arguments import check_number
from minimamba.scan import selective_scan
from minimamba.widgets.explorer import Explorer, look

NOISE = "."
LONGEST = 24


class TokenExplorer(Explorer):
    """A line of tokens, Δ for letters and for noise, and Δ at one place by hand, over a figure
    of Δ, the gate and the state after each token.

    The state is one channel a kind of token, with A = −1 and B = (1 − e^(−Δ))/Δ, which makes
    it h_t = (1 − gate) h_(t−1) + gate · x_t with gate = 1 − e^(−Δ): after each token its
    numbers are the shares of it that the kinds make up.

    Args:
        tokens: letters, and "." for noise; 1 to 24 of them.
        letter, noise: Δ at each, from 0.001 to 10.

    Raises:
        ValueError: naming the argument, what was expected and what came.
    """

    def __init__(self, tokens: str = "..a...b..c....", letter: float = 3.0, noise: float = 0.01
                 ) -> None:
        if not isinstance(tokens, str) or not _clean(tokens) or _clean(tokens) != tokens:
            raise ValueError(f"tokens: expected 1 to {LONGEST} letters and '.', got {tokens!r}")
        for name, value in (("letter", letter), ("noise", noise)):
            check_number(name, value, "0.001 to 10", 1e-3, 10)
        sliders = look(120)
        self.tokens = ipywidgets.Text(value=tokens, description="tokens", **sliders)
        steps = {"min": -3, "max": 1, "step": 0.05, "readout_format": ".3g", **sliders}
        self.letter = ipywidgets.FloatLogSlider(value=letter, description="Δ at a letter", **steps)
        self.noise = ipywidgets.FloatLogSlider(value=noise, description="Δ at noise", **steps)
        self.place = ipywidgets.IntSlider(value=0, min=0, max=len(tokens), **sliders,
                                          description="by hand, place")
        self.there = ipywidgets.FloatLogSlider(value=1.0, description="Δ there", **steps)
        super().__init__([self.tokens, self.letter, self.noise, self.place, self.there],
                         "token-explorer")
        self._type()
        self.tokens.observe(self._type, names="value")
        for slider in (self.letter, self.noise, self.place, self.there):
            slider.observe(self._redraw, names="value")

    def _type(self, change: object = None) -> None:
        # What can't be a token is left out, so that the picture never lags behind the typing.
        self._line = _clean(self.tokens.value) or NOISE
        self._kinds = sorted(set(self._line))
        self._figure = plots.TokenExplorerFigure(self._line, self._kinds)
        self.place.max = len(self._line)  # last: a place that is cut off redraws at once
        self._redraw()

    def delta(self) -> torch.Tensor:
        """(length,), the step at each token."""
        steps = [self.noise.value if token == NOISE else self.letter.value for token in self._line]
        if self.place.value:
            steps[self.place.value - 1] = self.there.value
        return torch.tensor(steps, dtype=torch.float64)

    def states(self) -> torch.Tensor:
        """(length, kinds), after each token."""
        delta = self.delta()
        gate = 1 - torch.exp(-delta)
        x = torch.tensor([[float(token == kind) for kind in self._kinds] for token in self._line],
                         dtype=torch.float64)
        one = torch.ones(1, len(x), 1, dtype=torch.float64)
        return selective_scan(x[None], delta[None, :, None].expand(1, *x.shape),
                              -torch.ones(x.shape[1], 1, dtype=torch.float64),
                              (gate / delta)[None, :, None], one, method="chunked")[0]

    def _redraw(self, change: object = None) -> None:
        delta, states = self.delta(), self.states()
        png = self._figure.png(delta, 1 - torch.exp(-delta), states.T)
        held = ", ".join(f"{'noise' if kind == NOISE else kind} {share:.0%}"
                         for kind, share in zip(self._kinds, states[-1].tolist(), strict=True))
        self._show(png, f"After {self._line} the state is made of: {held}.")

    def __repr__(self) -> str:
        return (f"TokenExplorer({self._line!r}, letter={self.letter.value:g}, "
                f"noise={self.noise.value:g})")


def _clean(text: str) -> str:
    return "".join(c for c in text if c == NOISE or c.isalpha())[:LONGEST]
