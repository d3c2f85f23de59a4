"""A signal, what a HiPPO state at one time has kept of it, and the state's coefficients."""

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from minimamba.course.plots.style import BEHIND, COLOURS, arrays, styled


@styled
def reconstructed_past(t: Tensor, x: Tensor, unit: str, title: str, times: Tensor,
                       reconstruction: Tensor, window: tuple[float, float], c: Tensor,
                       max_coefficients: int) -> Figure:
    """Draw a signal with its reconstruction from a state, and below it the state's coefficients.

    Args:
        t: (length,), the time in seconds.
        x: (length,), the signal.
        unit: of the signal.
        title: the title of the figure.
        times: (points,), the times of the reconstruction, in seconds.
        reconstruction: (points,).
        window: the start of the window and its end, which is now, in seconds.
        c: (N,), the coefficients.
        max_coefficients: the largest number of coefficients that there is room for.

    Returns:
        The figure.
    """
    figure = Figure(figsize=(9, 4.8), dpi=90)
    grid = figure.add_gridspec(2, 1, left=0.075, right=0.985, bottom=0.105, top=0.87,
                               hspace=0.5, height_ratios=(1.8, 1))
    past = figure.add_subplot(grid[0])
    state = figure.add_subplot(grid[1])
    past.plot(*arrays(t, x), label="signal", **BEHIND)
    past.plot(*arrays(times, reconstruction), color=COLOURS[1], linestyle="-",
              label="reconstruction")
    start, now = window
    past.axvline(now, color="black", linestyle=":", linewidth=1.2, label="now")
    past.axvline(start, color=COLOURS[2], linestyle="--", linewidth=1.2,
                 label="start of the window")
    low, high = float(x.min()), float(x.max())
    past.set(xlabel="time, s", ylabel=unit, xlim=(0, float(t[-1])),
             ylim=(low - 0.1 * (high - low), high + 0.1 * (high - low)))
    past.text(0, 1.16, title, fontsize=10, transform=past.transAxes)
    past.legend(loc="lower left", ncols=4, bbox_to_anchor=(-0.01, 0.97))
    state.axhline(0, color="black", linewidth=0.8)
    state.plot(np.arange(len(c)), *arrays(c), linestyle="", marker="o", markersize=3.5,
               color=COLOURS[0])
    state.set(xlabel="coefficient n", ylabel="cₙ", xlim=(-1, max_coefficients),
              ylim=(-1.1, 1.1))
    return figure
