"""Type tokens and noise, set Δ for each, and see which tokens the state consists of.

The drawing is made by js/token_explorer.js.
"""

import torch
from matplotlib.figure import Figure
from torch import Tensor

from minimamba.arguments import refuse
from minimamba.course import plots
from minimamba.course.widgets.browser_explorer import BrowserExplorer
from minimamba.course.widgets.explorer import Setting, limited_by, real_number, whole_number
from minimamba.course.widgets.javascript import bundle
from minimamba.scan import selective_scan

NOISE = "."
MAX_LENGTH = 24
STEPS = (1e-3, 10)
"""The range of Δ."""


def _check_tokens(name: str, tokens: object) -> None:
    """Refuse what is no text of letters and noise."""
    if (not isinstance(tokens, str) or not 1 <= len(tokens) <= MAX_LENGTH
            or not all(token == NOISE or token.isalpha() for token in tokens)):
        refuse(name, f"1 to {MAX_LENGTH} letters and '.'", repr(tokens))


class TokenExplorer(BrowserExplorer):
    """An explorer of selectivity: Δ, the gate and the state after each token of a text.

    The state has one channel per distinct token, with A = −1 and B = (1 − e^(−Δ))/Δ. That makes it
    h_t = (1 − gate) h_(t−1) + gate · x_t with gate = 1 − e^(−Δ), so that its components are the
    fractions of it that come from each token. Δ can be overridden at one token: the traits
    `position`, from 1 (0 for none), and `position_delta` say where and by what.

    Args:
        tokens: 1 to 24 letters, and "." for noise.
        letter_delta: Δ at each letter, from 0.001 to 10.
        noise_delta: Δ at each noise token, from 0.001 to 10.

    Raises:
        ValueError: if an argument is out of range, or set to such a value later.
    """

    module = "token_explorer.js"
    _esm = bundle(module)
    settings = ("tokens", "letter_delta", "noise_delta", "position", "position_delta")
    tokens = Setting(_check_tokens)
    """The text, one token per character."""
    letter_delta = real_number(*STEPS)
    """Δ at each letter."""
    noise_delta = real_number(*STEPS)
    """Δ at each noise token."""
    position = whole_number(0, MAX_LENGTH, default=0)
    """The token, from 1, at which Δ is overridden; 0 for none."""
    position_delta = real_number(*STEPS, default=1.0)
    """Δ at that token."""

    def __init__(self, tokens: str = "..a...b..c....", letter_delta: float = 3.0,
                 noise_delta: float = 0.01) -> None:
        super().__init__(tokens=tokens, letter_delta=letter_delta, noise_delta=noise_delta)
        self.observe(self._limit_position, names="tokens")

    _check_position = limited_by(lambda self, name: (0, len(self.tokens)), "position")

    def _limit_position(self, change: object) -> None:
        """Keep the position within a text that has become shorter."""
        self.position = min(self.position, len(self.tokens))

    @property
    def distinct_tokens(self) -> list[str]:
        """The noise, then the letters as they first appear: one for each component of the state."""
        return sorted(dict.fromkeys(self.tokens), key=lambda token: token != NOISE)

    def delta(self) -> Tensor:
        """The step size Δ at each token, of shape (length,)."""
        steps = [self.noise_delta if token == NOISE else self.letter_delta for token in self.tokens]
        if self.position:
            steps[self.position - 1] = self.position_delta
        return torch.tensor(steps, dtype=torch.float64)

    def states(self) -> Tensor:
        """Compute the state after each token, (length, distinct tokens), by the library's scan."""
        delta = self.delta()
        gate = 1 - torch.exp(-delta)
        x = torch.tensor([[float(token == one) for one in self.distinct_tokens]
                          for token in self.tokens], dtype=torch.float64)
        C = torch.ones(1, len(x), 1, dtype=torch.float64)
        return selective_scan(x[None], delta[None, :, None].expand(1, *x.shape),
                              -torch.ones(x.shape[1], 1, dtype=torch.float64),
                              (gate / delta)[None, :, None], C, method="chunked")[0]

    @property
    def caption(self) -> str:
        """What is shown, in words."""
        parts = ", ".join(f"{_name(token)} {fraction:.0%}" for token, fraction in
                          zip(self.distinct_tokens, self.states()[-1].tolist(), strict=True))
        return f"After {self.tokens} the state consists of: {parts}."

    def _figure(self) -> Figure:
        delta = self.delta()
        return plots.token_states(
            self.tokens, delta, 1 - torch.exp(-delta),
            dict(zip(map(_name, self.distinct_tokens), self.states().T, strict=True)))

    def __repr__(self) -> str:
        return (f"TokenExplorer({self.tokens!r}, letter_delta={self.letter_delta:g}, "
                f"noise_delta={self.noise_delta:g})")


def _name(token: str) -> str:
    """How a token is written in a label."""
    return "noise" if token == NOISE else token
