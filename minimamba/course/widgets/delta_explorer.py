"""Set the step size Δ and see a state decay, hold or reset; js/delta_explorer.js draws it."""

import math
from functools import lru_cache
from typing import NamedTuple

import torch
import traitlets
from matplotlib.figure import Figure
from torch import Tensor

from minimamba import lti
from minimamba.course import corpora, plots
from minimamba.course.widgets.browser_explorer import BrowserExplorer
from minimamba.course.widgets.explorer import one_of, real_number
from minimamba.course.widgets.javascript import bundle
from minimamba.discretize import zoh

LAGS = 60
LAG_RANGES = {"1 (now)": 1, "2–10": 10, "11–100": 100, "101–1000": 1000, "older": None}
"""The last lag, counted from 1, of each range of lags."""


def _step() -> corpora.Recording:
    """A step from 0 to 1 after a quarter of a second."""
    t = torch.arange(2000, dtype=torch.float64) / 2000
    return corpora.Recording(t, (t >= 0.25).double(), "input")


INPUTS = {"neuron": corpora.neuron, "EEG": corpora.eeg, "step": _step}


@lru_cache
def _packed_recordings() -> dict[str, dict]:
    """The inputs as text, because a notebook would store a list with one number per line."""
    packed = {}
    for name, recording in INPUTS.items():
        t, x, unit = recording()
        low, high = x.min().item(), x.max().item()
        levels = ((x - low) / (high - low) * 9999).round().int().tolist()
        packed[name] = {"step": t[1].item(), "unit": unit, "low": round(low, 5),
                        "high": round(high, 5), "samples": " ".join(map(str, levels))}
    return packed


class DeltaResult(NamedTuple):
    """What a DeltaExplorer shows."""

    A_bar: float
    """The discrete pole Ā."""
    kernel: Tensor
    """(length,), B̄ Āˡ at each lag l; the first weight is B̄."""
    fractions: list[float]
    """The fraction of the kernel's weight in each of LAG_RANGES."""
    state: Tensor
    """(length,), the hidden state."""


class DeltaExplorer(BrowserExplorer):
    """An explorer of the step size Δ: what a scalar SSM does with a recording.

    The system is h_t = Ā h_{t−1} + B̄ x_t by zero-order hold with B = |A|, which has unit DC gain
    for every Δ. The drawing follows the controls, and the attributes `delta`, `decay_rate` and
    `input`.

    Args:
        delta: the step size Δ, from 0.0001 to 10.
        decay_rate: the decay rate |A|, from 0.1 to 10.
        input: "neuron", "EEG" or "step".

    Raises:
        ValueError: if an argument is out of range, or set to such a value later.
    """

    module = "delta_explorer.js"
    _esm = bundle(module)
    settings = ("delta", "decay_rate", "input")
    data = ("recordings",)
    delta = real_number(1e-4, 10)
    """The step size Δ."""
    decay_rate = real_number(0.1, 10)
    """The decay rate |A|."""
    input = one_of(INPUTS)
    """The name of the input x."""
    recordings = traitlets.Dict().tag(sync=True)
    """The inputs, packed for the browser."""

    def __init__(self, delta: float = 0.01, decay_rate: float = 1.0, input: str = "neuron") -> None:
        super().__init__(delta=delta, decay_rate=decay_rate, input=input,
                         recordings=_packed_recordings())

    def half_life(self) -> float:
        """The number of steps in which the impulse response halves, ln 2 / (Δ |A|)."""
        return math.log(2) / (self.delta * self.decay_rate)

    def _half_life_text(self) -> str:
        """The half-life with three digits, never as a power of 10."""
        rounded = float(f"{self.half_life():.3g}")
        return f"{rounded:.3g}" if rounded < 1000 else f"{rounded:,.0f}"

    def compute(self) -> DeltaResult:
        """Compute what is shown, with the library's functions."""
        x = INPUTS[self.input]().x
        one = torch.ones(1, dtype=torch.float64)
        A_bar, B_bar = zoh(-self.decay_rate * one, self.decay_rate * one, self.delta)
        kernel = lti.kernel(A_bar, B_bar, one, max(LAGS, len(x)))
        # Start in equilibrium with the first sample: from 0 the transient would dominate.
        state = x[0] + lti.convolve(kernel, x - x[0])
        return DeltaResult(A_bar.item(), kernel, _fractions(kernel), state)

    @property
    def caption(self) -> str:
        """What is shown, in words."""
        A_bar = math.exp(-self.delta * self.decay_rate)
        return (f"The pole Ā is {A_bar:.4f}. The impulse response halves every "
                f"{self._half_life_text()} steps, and the current input has a weight of "
                f"{1 - A_bar:.0%} in the state.")

    def _figure(self) -> Figure:
        result = self.compute()
        return plots.scalar_ssm(
            *INPUTS[self.input](), f"Δ = {self.delta:.3g}, |A| = {self.decay_rate:.3g}: the "
            f"impulse response halves every {self._half_life_text()} steps", result.A_bar,
            result.kernel[:LAGS] / result.kernel[0],
            dict(zip(LAG_RANGES, result.fractions, strict=True)), result.state)

    def __repr__(self) -> str:
        return (f"DeltaExplorer(delta={self.delta:g}, decay_rate={self.decay_rate:g}, "
                f"input={self.input!r})")


def _fractions(kernel: Tensor) -> list[float]:
    """The fraction of a kernel's weight that lies in each range of lags."""
    cumulative = kernel.cumsum(0) / kernel.sum()
    up_to = [cumulative[min(end, len(kernel)) - 1].item() if end else 1.0
             for end in LAG_RANGES.values()]
    return [end - start for end, start in zip(up_to, [0.0, *up_to], strict=False)]
