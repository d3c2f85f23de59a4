"""Set the state dimension and the time, and see what a HiPPO state holds of an EEG's past."""

from functools import lru_cache
from typing import get_args

import torch
import traitlets
from torch import Tensor

from minimamba.arguments import refuse
from minimamba.course import corpora, plots
from minimamba.course.widgets.explorer import Setting, one_of, real_number
from minimamba.course.widgets.javascript import bundle
from minimamba.course.widgets.python_explorer import PythonExplorer
from minimamba.s4 import hippo

DIMENSIONS = tuple(range(3, 66, 2))
WINDOW = 2.0
"""The window of LegT and FouT, in seconds."""


@lru_cache
def _recording() -> corpora.Recording:
    """The EEG, with each sample at the end of the interval before it."""
    recording = corpora.eeg()
    return recording._replace(t=recording.t + recording.t[1])


@lru_cache
def _states(measure: str, N: int) -> Tensor:
    """The (length, N) states over the recording.

    LegS has a triangular matrix, so that its first N components don't depend on the rest: it runs
    once, with the largest N.
    """
    t, x, _ = _recording()
    if measure != "legs":
        return hippo.project(measure, N, x, t, WINDOW)
    largest = DIMENSIONS[-1]
    if largest > N:
        return _states("legs", largest)[:, :N]
    return hippo.project("legs", N, x, t)


def _check_d_state(name: str, d_state: object) -> None:
    """Refuse a state dimension that has no position on the slider."""
    if not isinstance(d_state, int) or d_state not in DIMENSIONS:
        refuse(name, "an odd number from 3 to 65", repr(d_state))


class HippoExplorer(PythonExplorer):
    """An explorer of HiPPO: an EEG, its state at one time, and the past reconstructed from it.

    Args:
        d_state: the state dimension N, an odd number from 3 to 65.
        time: the current time in seconds, from 0.5 to 10.
        measure: "legs", "legt" or "fout"; the last two have a window of 2 s.

    Raises:
        ValueError: if an argument is out of range, or set to such a value later.
    """

    module = "hippo_explorer.js"
    _esm = bundle(module)
    settings = ("d_state", "time", "measure")
    d_state = Setting(_check_d_state)
    """The state dimension N."""
    time = real_number(0.5, 10)
    """The current time, in seconds."""
    measure = one_of(get_args(hippo.Measure))
    """The HiPPO measure."""
    picture = traitlets.Bytes().tag(sync=True)
    """The figure for the current settings, a PNG."""

    def __init__(self, d_state: int = 33, time: float = 6.0, measure: str = "legs") -> None:
        self._drawing = plots.HippoExplorerFigure(*_recording(), DIMENSIONS[-1])
        super().__init__(d_state=d_state, time=time, measure=measure)

    def _update(self) -> dict[str, object]:
        t, x, _ = _recording()
        k = int(torch.searchsorted(t, self.time - 1e-9))
        now = t[k].item()
        window = now if self.measure == "legs" else WINDOW
        span = min(window, now)
        c = _states(self.measure, self.d_state)[k]
        # A sample is held until the next one; the comparison is in the middle of each interval.
        middle = (t[:k] + t[1:k + 1]) / 2
        inside = now - middle < span
        basis = hippo.basis(self.measure, self.d_state, (now - middle[inside]) / window)
        reconstruction = basis @ c
        signal = x[:k][inside]
        error = (reconstruction - signal).square().mean().sqrt() / signal.std(correction=0)
        words = (f"N = {self.d_state}, the last {span:.2f} s ({int(inside.sum())} samples): "
                 f"normalized RMSE {error.item():.0%}")
        return {
            "picture": self._drawing.png(words, middle[inside], reconstruction, now, now - span, c),
            "caption": f"An EEG and its reconstruction from a HiPPO state. {words}."}

    def _still(self) -> bytes:
        return self.picture

    def __repr__(self) -> str:
        return (f"HippoExplorer(d_state={self.d_state}, time={self.time:g}, "
                f"measure={self.measure!r})")
