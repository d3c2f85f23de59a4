"""HiPPO: the past of a signal, its coefficients in a few basis functions, the reconstruction."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.style import COLOURS, arrays, styled


@styled
def hippo_projection(past: Tensor, basis: Tensor, coefficients: Tensor, reconstruction: Tensor, *,
                     ends: tuple[str, str] = ("start", "now")) -> Figure:
    """Draw how a past becomes N coefficients, and what can be reconstructed from them.

    Args:
        past: (length,), the samples, the oldest first.
        basis: (length, N), the basis functions at the same times.
        coefficients: (N,), the state; about five.
        reconstruction: (length,), basis · coefficients.
        ends: what stands at the two ends of the time axis.

    Returns:
        The figure.
    """
    past, basis, coefficients, reconstruction = arrays(past, basis, coefficients, reconstruction)
    count, pitch = len(coefficients), 1.15
    height = 2.0 + pitch * max(count, 5)
    figure, ax = draw.drawing(20, height, unit=7 / 20)
    middle = 1.4 + pitch * max(count, 5) / 2
    limits = min(past.min(), reconstruction.min()), max(past.max(), reconstruction.max())
    for x, title in ((0.4, "the past"), (14.4, "reconstruction")):
        draw.words(ax, x + 2.6, middle - 2.5, title, bold=True)
        _frame(ax, x, middle - 2, 5.2, 4)
        _curve(ax, x, middle - 2, 5.2, 4, past, limits, "#999999", 1.6)
        draw.words(ax, x, middle + 2.4, ends[0], align="left", size=8.5, colour=draw.QUIET)
        draw.words(ax, x + 5.2, middle + 2.4, ends[1], align="right", size=8.5, colour=draw.QUIET)
    _curve(ax, 14.4, middle - 2, 5.2, 4, reconstruction, limits, COLOURS[1], 1.4)
    draw.words(ax, 7.95, 0.6, "basis functions", bold=True)
    draw.words(ax, 11.5, 0.6, "state", bold=True)
    extent = -1.2 * abs(basis).max(), 1.2 * abs(basis).max()
    for n, value in enumerate(coefficients):
        y = 1.4 + pitch * n
        _frame(ax, 6.9, y, 2.1, 0.85)
        _curve(ax, 6.9, y, 2.1, 0.85, basis[:, n], extent, COLOURS[0], 1.2)
        draw.words(ax, 9.65, y + 0.42, f"$c_{n}$ =")
        draw.cell(ax, 10.5, y, f"{value:.1f}".replace("-", "−"), draw.STATE, width=2.0, height=0.85)
    draw.arrow(ax, (5.75, middle), (6.75, middle))
    draw.arrow(ax, (12.7, middle), (14.2, middle), text="$\\sum_n c_np_n$",
               at=(13.4, middle - 0.6))
    return figure


def _frame(ax: Axes, x: float, y: float, width: float, height: float) -> None:
    """A thin frame around a small curve."""
    ax.plot([x, x + width, x + width, x, x], [y, y, y + height, y + height, y], color="#cccccc",
            linestyle="-", linewidth=0.8, zorder=1)


def _curve(ax: Axes, x: float, y: float, width: float, height: float, values: np.ndarray,
           limits: tuple[float, float], colour: str, linewidth: float) -> None:
    """A small curve in a frame; the y axis of a drawing grows downward."""
    low, high = limits
    level = (values - low) / (high - low)
    ax.plot(np.linspace(x, x + width, len(values)), y + height * (0.94 - 0.88 * level),
            color=colour, linestyle="-", linewidth=linewidth, zorder=2)
