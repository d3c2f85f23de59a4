"""Drag the size of a state and the moment, and see what it still knows of the past. The controls
are in hippo_explorer.js."""

from functools import lru_cache
from typing import ClassVar, get_args

import torch
import traitlets
from torch import Tensor

from minimamba.arguments import check_one_of, refuse
from minimamba.course import corpora, plots
from minimamba.course.widgets.explorer import module
from minimamba.course.widgets.python_explorer import PythonExplorer
from minimamba.s4 import hippo

SIZES = tuple(range(3, 66, 2))
WINDOW = 2.0


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


class HippoExplorer(PythonExplorer):
    """The state's size, the moment and what it remembers, over a figure of an EEG and what is read
    back from the state.

    Args:
        size: how many numbers the state has, an odd number from 3 to 65.
        moment: in seconds, from 0.5 to 10.
        measure: "legs", "legt" or "fout"; the last two look back 2 s.

    Raises:
        ValueError: naming the argument, what was expected and what came.
    """

    file = "hippo_explorer.js"
    _esm = module(file)
    settings = ("size", "moment", "measure")
    limits: ClassVar = {"moment": (0.5, 10)}
    size, moment, measure = (traitlets.TraitType().tag(sync=True) for _ in range(3))
    picture = traitlets.Bytes().tag(sync=True)
    """A PNG."""

    def __init__(self, size: int = 33, moment: float = 6.0, measure: str = "legs") -> None:
        self._drawing = plots.HippoExplorerFigure(*_recording(), SIZES[-1])
        super().__init__(size=size, moment=moment, measure=measure)

    _check_number = traitlets.validate(*limits)(PythonExplorer._check_limits)

    @traitlets.validate("size")
    def _check_size(self, proposal: dict) -> int:
        size = proposal["value"]
        if not isinstance(size, int) or size not in SIZES:
            refuse("size", "an odd number from 3 to 65", repr(size))
        return size

    @traitlets.validate("measure")
    def _check_measure(self, proposal: dict) -> str:
        check_one_of("measure", proposal["value"], get_args(hippo.Measure))
        return proposal["value"]

    def _shown(self) -> dict[str, object]:
        t, x, _ = _recording()
        N, measure = self.size, self.measure
        k = int(torch.searchsorted(t, self.moment - 1e-9))
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
        return {
            "picture": self._drawing.png(words, middle[seen], recalled, now, now - span, c),
            "caption": f"An EEG and what is read back from a state of {words}."}

    def _still(self) -> bytes:
        return self.picture

    def __repr__(self) -> str:
        return (f"HippoExplorer(size={self.size}, moment={self.moment:g}, "
                f"measure={self.measure!r})")
