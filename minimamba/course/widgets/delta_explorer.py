"""Set Δ and see a state decay, hold or reset. The drawing is in delta_explorer.js."""

import math
from functools import lru_cache
from typing import ClassVar, NamedTuple

import torch
import traitlets
from matplotlib.figure import Figure
from torch import Tensor

from minimamba import lti
from minimamba.arguments import check_one_of
from minimamba.course import corpora, plots
from minimamba.course.widgets.browser_explorer import BrowserExplorer
from minimamba.course.widgets.explorer import module
from minimamba.discretize import zoh

LAGS = 60
STRETCHES = {"1 (now)": 1, "2–10": 10, "11–100": 100, "101–1000": 1000, "older": None}


def _step() -> corpora.Recording:
    t = torch.arange(2000, dtype=torch.float64) / 2000
    return corpora.Recording(t, (t >= 0.25).double(), "input")


INPUTS = {"neuron": corpora.neuron, "EEG": corpora.eeg, "step": _step}


@lru_cache
def _packed() -> dict[str, dict]:
    """The recordings for the browser: a list of numbers would take a line of a notebook each."""
    packed = {}
    for name, recording in INPUTS.items():
        t, x, unit = recording()
        low, high = x.min().item(), x.max().item()
        whole = ((x - low) / (high - low) * 9999).round().int().tolist()
        packed[name] = {"step": t[1].item(), "unit": unit, "low": round(low, 5),
                        "high": round(high, 5), "samples": " ".join(map(str, whole))}
    return packed


class Seen(NamedTuple):
    """What the drawing shows: Ā, the kernel (its first weight is B̄), the shares of the stretches
    of the past, and the state (length,)."""

    pole: float
    kernel: Tensor
    shares: list[float]
    state: Tensor


class DeltaExplorer(BrowserExplorer):
    """Δ, the decay rate |A| and the input, over the figure of what they do.

    The system has one state, h_t = Ā h_{t−1} + B̄ x_t, by zero-order hold with B = |A|, so
    that a constant input comes through at its own height whatever Δ is. The drawing follows
    each move, of the reader's hand or of the attributes here.

    Args:
        delta: the step at the start, from 0.0001 to 10.
        rate: the decay rate |A| at the start, from 0.1 to 10.
        input: "neuron", "EEG" or "step".

    Raises:
        ValueError: naming the argument, what was expected and what came.
    """

    file = "delta_explorer.js"
    _esm = module(file)
    settings = ("delta", "rate", "input")
    given = ("recordings",)
    limits: ClassVar = {"delta": (1e-4, 10), "rate": (0.1, 10)}
    delta, rate, input = (traitlets.TraitType().tag(sync=True) for _ in range(3))
    recordings = traitlets.Dict().tag(sync=True)

    def __init__(self, delta: float = 0.01, rate: float = 1.0, input: str = "neuron") -> None:
        super().__init__(delta=delta, rate=rate, input=input, recordings=_packed())

    _check_number = traitlets.validate(*limits)(BrowserExplorer._check_limits)

    @traitlets.validate("input")
    def _check_input(self, proposal: dict) -> str:
        check_one_of("input", proposal["value"], INPUTS)
        return proposal["value"]

    def half_life(self) -> float:
        """The steps in which the state's memory of one input halves."""
        return math.log(2) / (self.delta * self.rate)

    def seen(self) -> Seen:
        """What the drawing shows, by the library's own definitions."""
        x, one = INPUTS[self.input]().x, torch.ones(1, dtype=torch.float64)
        A_bar, B_bar = zoh(-self.rate * one, self.rate * one, self.delta)
        kernel = lti.kernel(A_bar, B_bar, one, max(LAGS, len(x)))
        # From rest at the first sample's height: else the start would be all transient.
        state = x[0] + lti.convolve(kernel, x - x[0])
        return Seen(A_bar.item(), kernel, _shares(kernel), state)

    @property
    def caption(self) -> str:
        """What the drawing shows, in words."""
        A_bar = math.exp(-self.delta * self.rate)
        return (f"The pole is {A_bar:.4f}; the state's memory of an input halves in "
                f"{self.half_life():.3g} steps; the last step alone makes up "
                f"{1 - A_bar:.0%} of the state.")

    def _figure(self) -> Figure:
        seen = self.seen()
        return plots.decay(
            *INPUTS[self.input](), f"Δ = {self.delta:.3g}, |A| = {self.rate:.3g}: the memory of an "
            f"input halves in {self.half_life():.3g} steps", seen.pole,
            seen.kernel[:LAGS] / seen.kernel[0], dict(zip(STRETCHES, seen.shares, strict=True)),
            seen.state)

    def __repr__(self) -> str:
        return (f"DeltaExplorer(delta={self.delta:g}, rate={self.rate:g}, "
                f"input={self.input!r})")


def _shares(kernel: Tensor) -> list[float]:
    """For each stretch of the past, the share of the kernel's weight that lies in it."""
    held = kernel.cumsum(0) / kernel.sum()
    upto = [held[min(end, len(held)) - 1].item() if end else 1.0 for end in STRETCHES.values()]
    return [now - before for now, before in zip(upto, [0.0, *upto], strict=False)]
