"""Type tokens and noise, set Δ for each, and see what the state is made of. The drawing is in
token_explorer.js."""

from typing import ClassVar

import torch
import traitlets
from matplotlib.figure import Figure
from torch import Tensor

from minimamba.arguments import refuse
from minimamba.course import plots
from minimamba.course.widgets.browser_explorer import BrowserExplorer
from minimamba.course.widgets.explorer import check_between, module
from minimamba.scan import selective_scan

NOISE = "."
LONGEST = 24


class TokenExplorer(BrowserExplorer):
    """A line of tokens, Δ for letters and for noise, and Δ at one place by hand, over a figure
    of Δ, the gate and the state after each token.

    The state is one channel a kind of token, with A = −1 and B = (1 − e^(−Δ))/Δ, which makes
    it h_t = (1 − gate) h_(t−1) + gate · x_t with gate = 1 − e^(−Δ): after each token its
    numbers are the shares of it that the kinds make up. At `place`, from 1, the step is `there`,
    by hand; 0 is nowhere. What is typed that can be no token is left out.

    Args:
        tokens: letters, and "." for noise; 1 to 24 of them.
        letter, noise: Δ at each, from 0.001 to 10.

    Raises:
        ValueError: naming the argument, what was expected and what came.
    """

    file = "token_explorer.js"
    _esm = module(file)
    settings = ("tokens", "letter", "noise", "place", "there")
    limits: ClassVar = dict.fromkeys(("letter", "noise", "there"), (1e-3, 10))
    tokens, letter, noise = (traitlets.TraitType().tag(sync=True) for _ in range(3))
    place, there = (traitlets.TraitType(start).tag(sync=True) for start in (0, 1.0))

    def __init__(self, tokens: str = "..a...b..c....", letter: float = 3.0, noise: float = 0.01
                 ) -> None:
        super().__init__(tokens=tokens, letter=letter, noise=noise)
        self.observe(self._stay_within, names="tokens")

    _check_number = traitlets.validate(*limits)(BrowserExplorer._check_limits)

    @traitlets.validate("tokens")
    def _check_tokens(self, proposal: dict) -> str:
        tokens = proposal["value"]
        if (not isinstance(tokens, str) or not 1 <= len(tokens) <= LONGEST
                or not all(token == NOISE or token.isalpha() for token in tokens)):
            refuse("tokens", f"1 to {LONGEST} letters and '.'", repr(tokens))
        return tokens

    @traitlets.validate("place")
    def _check_place(self, proposal: dict) -> int:
        check_between("place", proposal["value"], 0, len(self.tokens))
        return proposal["value"]

    def _stay_within(self, change: object) -> None:
        """A place that is cut off is the last one."""
        self.place = min(self.place, len(self.tokens))

    @property
    def kinds(self) -> list[str]:
        """The different tokens, a number of the state each."""
        return sorted(set(self.tokens))

    def delta(self) -> Tensor:
        """(length,), the step at each token."""
        steps = [self.noise if token == NOISE else self.letter for token in self.tokens]
        if self.place:
            steps[self.place - 1] = self.there
        return torch.tensor(steps, dtype=torch.float64)

    def states(self) -> Tensor:
        """(length, kinds), after each token."""
        delta = self.delta()
        gate = 1 - torch.exp(-delta)
        x = torch.tensor([[float(token == kind) for kind in self.kinds] for token in self.tokens],
                         dtype=torch.float64)
        one = torch.ones(1, len(x), 1, dtype=torch.float64)
        return selective_scan(x[None], delta[None, :, None].expand(1, *x.shape),
                              -torch.ones(x.shape[1], 1, dtype=torch.float64),
                              (gate / delta)[None, :, None], one, method="chunked")[0]

    @property
    def caption(self) -> str:
        """What the drawing shows, in words."""
        held = ", ".join(f"{_name(kind)} {share:.0%}"
                         for kind, share in zip(self.kinds, self.states()[-1].tolist(),
                                                strict=True))
        return f"After {self.tokens} the state is made of: {held}."

    def _figure(self) -> Figure:
        delta = self.delta()
        return plots.tokens(self.tokens, delta, 1 - torch.exp(-delta),
                            dict(zip(map(_name, self.kinds), self.states().T, strict=True)))

    def __repr__(self) -> str:
        return (f"TokenExplorer({self.tokens!r}, letter={self.letter:g}, "
                f"noise={self.noise:g})")


def _name(kind: str) -> str:
    return "noise" if kind == NOISE else kind
