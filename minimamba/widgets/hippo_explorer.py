"""Drag the size of a state and the moment, and see what it still knows of the past."""

from functools import lru_cache

import ipywidgets
import torch
from torch import Tensor

from minimamba import corpora, plots
from minimamba.arguments import check_number, check_one_of
from minimamba.s4 import hippo
from minimamba.widgets.explorer import Explorer, look

SIZES = tuple(range(3, 66, 2))
WINDOW = 2.0
MEASURES = {"LegS, all of it": "legs", "LegT, 2 s": "legt", "FouT, 2 s": "fout"}


@lru_cache
def _recording() -> corpora.Recording:
    recording = corpora.eeg()
    return recording._replace(t=recording.t + recording.t[1])  # the first sample ends the first gap


@lru_cache
def _states(measure: str, N: int) -> Tensor:
    """(length, N). LegS's matrix is triangular, so its first numbers do not know of the rest."""
    t, x, _ = _recording()
    if measure != "legs":
        return hippo.project(measure, N, x, t, WINDOW)
    most = SIZES[-1]
    return hippo.project("legs", most, x, t) if most == N else _states("legs", most)[:, :N]


class HippoExplorer(Explorer):
    """Three sliders, the state's size, the moment and what it remembers, over a figure of an EEG
    and what is read back from the state.

    Args:
        size: how many numbers the state has, an odd number from 3 to 65.
        moment: in seconds, from 0.5 to 10.
        measure: "legs", "legt" or "fout"; the last two look back 2 s.

    Raises:
        ValueError: naming the argument, what was expected and what came.
    """

    def __init__(self, size: int = 33, moment: float = 6.0, measure: str = "legs") -> None:
        if size not in SIZES:
            raise ValueError(f"size: expected an odd number from 3 to 65, got {size!r}")
        check_number("moment", moment, "0.5 to 10", 0.5, 10)
        check_one_of("measure", measure, MEASURES.values())
        sliders = look(140)
        self.size = ipywidgets.SelectionSlider(
            value=size, options=SIZES, description="numbers in the state", **sliders)
        self.moment = ipywidgets.FloatSlider(
            value=moment, min=0.5, max=10, step=0.05, description="now, s",
            readout_format=".2f", **sliders)
        self.measure = ipywidgets.SelectionSlider(
            value=next(name for name, key in MEASURES.items() if key == measure),
            options=list(MEASURES), description="it looks back on", **sliders)
        super().__init__([self.size, self.moment, self.measure], "hippo-explorer")
        self._figure = plots.HippoExplorerFigure(*_recording(), SIZES[-1])
        self._redraw()
        for slider in (self.size, self.moment, self.measure):
            slider.observe(self._redraw, names="value")

    def _redraw(self, change: object = None) -> None:
        t, x, _ = _recording()
        N, measure = self.size.value, MEASURES[self.measure.value]
        k = int(torch.searchsorted(t, self.moment.value - 1e-9))
        now = t[k].item()
        c, span = _states(measure, N)[k], now if measure == "legs" else min(WINDOW, now)
        window = now if measure == "legs" else WINDOW
        # A sample holds until the next; what is read is compared in the middle of each.
        middle = (t[:k] + t[1:k + 1]) / 2
        seen = now - middle < span
        recalled = hippo.basis(measure, N, (now - middle[seen]) / window) @ c
        truth = x[:k][seen]
        error = ((recalled - truth).square().mean().sqrt() / truth.std(correction=0)).item()
        words = (f"{N} numbers for the last {span:.2f} s, {int(seen.sum())} samples: "
                 f"error {error:.0%} of their spread")
        self._show(self._figure.png(words, middle[seen], recalled, now, now - span, c),
                   f"An EEG and what is read back from a state of {words}.")

    def __repr__(self) -> str:
        return (f"HippoExplorer(size={self.size.value}, moment={self.moment.value:g}, "
                f"measure={MEASURES[self.measure.value]!r})")
