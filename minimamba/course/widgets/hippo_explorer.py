"""Set the state dimension and the time, and see what a HiPPO state holds of an EEG's past.

The drawing is made by js/hippo_explorer.js.
"""

from functools import lru_cache
from typing import NamedTuple, get_args

import torch
import traitlets
from matplotlib.figure import Figure
from torch import Tensor

from minimamba.arguments import refuse
from minimamba.course import corpora, plots
from minimamba.course.widgets.browser_explorer import BrowserExplorer
from minimamba.course.widgets.explorer import Setting, one_of, real_number
from minimamba.course.widgets.javascript import bundle
from minimamba.s4 import hippo

DIMENSIONS = tuple(range(3, 66, 2))
WINDOW = 2.0
"""The window of LegT and FouT, in seconds."""


@lru_cache
def _recording() -> corpora.Recording:
    """The EEG, with each sample at the end of the interval before it.

    It is rounded because the browser gets it as text.
    """
    recording = corpora.eeg()
    return recording._replace(t=recording.t + recording.t[1],
                              x=recording.x.mul(100).round() / 100)


def _packed_recording() -> dict[str, object]:
    """The EEG as text for the browser."""
    t, x, unit = _recording()
    return {"step": t[0].item(), "unit": unit,
            "samples": " ".join(f"{sample:g}" for sample in x.tolist())}


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


class HippoResult(NamedTuple):
    """What a HippoExplorer shows."""

    window: tuple[float, float]
    """The start of the window and its end, which is now, in seconds."""
    times: Tensor
    """(points,), the middle of each sample's interval in the window, in seconds."""
    reconstruction: Tensor
    """(points,), the signal as the state has it."""
    c: Tensor
    """(N,), the state."""
    error: float
    """The root mean square error, relative to the signal's standard deviation in the window."""


class HippoExplorer(BrowserExplorer):
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
    data = ("recording",)
    d_state = Setting(_check_d_state)
    """The state dimension N."""
    time = real_number(0.5, 10)
    """The current time, in seconds."""
    measure = one_of(get_args(hippo.Measure))
    """The HiPPO measure."""
    recording = traitlets.Dict().tag(sync=True)
    """The EEG, packed for the browser."""

    def __init__(self, d_state: int = 33, time: float = 6.0, measure: str = "legs") -> None:
        super().__init__(d_state=d_state, time=time, measure=measure,
                         recording=_packed_recording())

    def compute(self) -> HippoResult:
        """Compute what is shown, with the library's functions."""
        t, x, _ = _recording()
        k = int(torch.searchsorted(t, self.time - 1e-9))
        now = t[k].item()
        length = now if self.measure == "legs" else WINDOW
        start = now - min(length, now)
        c = _states(self.measure, self.d_state)[k]
        # A sample is held until the next one; the comparison is in the middle of each interval.
        middle = (t[:k] + t[1:k + 1]) / 2
        inside = middle > start
        basis = hippo.basis(self.measure, self.d_state, (now - middle[inside]) / length)
        reconstruction = basis @ c
        signal = x[:k][inside]
        error = (reconstruction - signal).square().mean().sqrt() / signal.std(correction=0)
        return HippoResult((start, now), middle[inside], reconstruction, c, error.item())

    @property
    def caption(self) -> str:
        """What is shown, in words."""
        return f"An EEG and its reconstruction from a HiPPO state. {self._words()}."

    def _words(self) -> str:
        """How much of the past is reconstructed, and how well."""
        (start, now), times, _, _, error = self.compute()
        return (f"N = {self.d_state}, the last {now - start:.2f} s ({len(times)} samples): "
                f"normalized RMSE {error:.0%}")

    def _figure(self) -> Figure:
        window, times, reconstruction, c, _ = self.compute()
        return plots.reconstructed_past(*_recording(), self._words(), times, reconstruction,
                                        window, c, DIMENSIONS[-1])

    def __repr__(self) -> str:
        return (f"HippoExplorer(d_state={self.d_state}, time={self.time:g}, "
                f"measure={self.measure!r})")
