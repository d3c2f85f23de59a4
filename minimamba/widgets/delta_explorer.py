"""Drag Δ and watch a state decay, hold or reset."""

import math

import ipywidgets
import torch

from minimamba import corpora, lti, plots
from minimamba.arguments import check_number, check_one_of
from minimamba.discretize import zoh
from minimamba.widgets.explorer import Explorer, look

LAGS = 60
STRETCHES = {"1 (now)": 1, "2–10": 10, "11–100": 100, "101–1000": 1000, "older": None}


def _step() -> corpora.Recording:
    t = torch.arange(2000, dtype=torch.float64) / 2000
    return corpora.Recording(t, (t >= 0.25).double(), "input")


INPUTS = {"neuron": corpora.neuron, "EEG": corpora.eeg, "step": _step}


class DeltaExplorer(Explorer):
    """Three sliders, Δ, the decay rate |A| and the input, over the figure of what they do.

    The system has one state, h_t = Ā h_{t−1} + B̄ x_t, by zero-order hold with B = |A|, so
    that a constant input comes through at its own height whatever Δ is. The picture follows
    each move. Where no kernel runs, the page shows it as it stood.

    Args:
        delta: the step at the start, from 0.0001 to 10.
        rate: the decay rate |A| at the start, from 0.1 to 10.
        input: "neuron", "EEG" or "step".

    Raises:
        ValueError: naming the argument, what was expected and what came.
    """

    def __init__(self, delta: float = 0.01, rate: float = 1.0, input: str = "neuron") -> None:
        for name, value, low, high in (("delta", delta, 1e-4, 10), ("rate", rate, 0.1, 10)):
            check_number(name, value, f"{low:g} to {high:g}", low, high)
        check_one_of("input", input, INPUTS)
        sliders = look(120)
        self.delta = ipywidgets.FloatLogSlider(
            value=delta, min=-4, max=1, step=0.05, description="Δ", readout_format=".4g", **sliders)
        self.rate = ipywidgets.FloatLogSlider(
            value=rate, min=-1, max=1, step=0.05, description="decay rate |A|",
            readout_format=".3g", **sliders)
        self.input = ipywidgets.SelectionSlider(
            value=input, options=list(INPUTS), description="input x", **sliders)
        super().__init__([self.delta, self.rate, self.input], "delta-explorer")
        self._choose_input()
        self.input.observe(self._choose_input, names="value")
        self.delta.observe(self._redraw, names="value")
        self.rate.observe(self._redraw, names="value")

    def _choose_input(self, change: object = None) -> None:
        self._recording = INPUTS[self.input.value]()
        self._figure = plots.DeltaExplorerFigure(*self._recording, LAGS, list(STRETCHES))
        self._redraw()

    def _redraw(self, change: object = None) -> None:
        x, one = self._recording.x, torch.ones(1, dtype=torch.float64)
        rate = self.rate.value * one
        A_bar, B_bar = zoh(-rate, rate, self.delta.value)
        kernel = lti.kernel(A_bar, B_bar, one, max(LAGS, len(x)))
        # From rest at the first sample's height: else the start would be all transient.
        h = x[0] + lti.convolve(kernel, x - x[0])
        png = self._figure.png(
            f"Δ = {self.delta.value:.3g}, |A| = {self.rate.value:.3g}: the memory of an input "
            f"halves in {self.half_life():.3g} steps",
            A_bar.item(), kernel[:LAGS] / kernel[0], _shares(kernel), h)
        self._show(png, (
            f"The pole is {A_bar.item():.4f}; the state's memory of an input halves in "
            f"{self.half_life():.3g} steps; the last step alone makes up "
            f"{kernel[0].item():.0%} of the state."))

    def half_life(self) -> float:
        """The steps in which the state's memory of one input halves."""
        return math.log(2) / (self.delta.value * self.rate.value)

    def __repr__(self) -> str:
        return (f"DeltaExplorer(delta={self.delta.value:g}, rate={self.rate.value:g}, "
                f"input={self.input.value!r})")


def _shares(kernel: torch.Tensor) -> list[float]:
    """For each stretch of the past, the share of the kernel's weight that lies in it."""
    held = kernel.cumsum(0) / kernel.sum()
    upto = [held[min(end, len(held)) - 1].item() if end else 1.0 for end in STRETCHES.values()]
    return [now - before for now, before in zip(upto, [0.0, *upto], strict=False)]
