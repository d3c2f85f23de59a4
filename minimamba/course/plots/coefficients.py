"""A state as coefficients: each component times its curve, added up, gives the past."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.style import BEHIND, COLOURS, arrays, styled


@styled
def weighted_curves(coefficients: Tensor, curves: Tensor, truth: Tensor, ends: tuple[str, str],
                    sums: tuple[str, Tensor]) -> Figure:
    """Draw coefficients times curves, and below them their sum beside what it stands for.

    Args:
        coefficients: (N,), at most four: components of a state.
        curves: (N, points).
        truth: (points,), what the sum approximates.
        ends: what the left and the right end of each curve are.
        sums: the label and the (points,) values of a sum of more terms.

    Returns:
        The figure.
    """
    coefficients, curves, truth = arrays(coefficients, curves, truth)
    reach = 1.1 * np.abs(curves).max()
    figure, ax = draw.drawing(17, 9.0, unit=7 / 17)
    for n, (value, curve) in enumerate(zip(coefficients, curves, strict=True)):
        x = 0.3 + 4.1 * n
        draw.words(ax, x + 0.65, 1.0, f"$h_{n}$", colour=draw.QUIET)
        draw.cell(ax, x, 1.4, f"{value:.1f}".replace("-", "−"), draw.STATE, width=1.3)
        draw.words(ax, x + 1.6, 1.9, "×")
        draw.words(ax, x + 2.7, 0.6, f"$p_{n}$", colour=draw.QUIET)
        _curve(ax, (x + 1.9, 1.0, 1.6, 1.6), (-reach, reach), (curve, draw.INK, 1.4))
        draw.words(ax, x + 3.8, 1.9, "+" if n + 1 < len(coefficients) else "…")
    label, many = sums
    (many,) = arrays(many)
    few = coefficients @ curves
    low, high = min(truth.min(), many.min(), few.min()), max(truth.max(), many.max(), few.max())
    margin = 0.08 * (high - low)
    area = (3.2, 3.4, 9.2, 4.4)
    draw.words(ax, 2.2, 5.5, "=", size=14)
    _curve(ax, area, (low - margin, high + margin), (truth, BEHIND["color"], 3.0),
           (few, COLOURS[1], 1.6), (many, COLOURS[0], 1.4))
    for x, word, align in ((3.2, ends[0], "left"), (12.4, ends[1], "right")):
        draw.words(ax, x, 8.2, word, align=align, colour=draw.QUIET)
    for i, (word, colour) in enumerate(((f"sum of {len(curves)} terms", COLOURS[1]),
                                        (label, COLOURS[0]), ("the input", draw.QUIET))):
        draw.words(ax, 12.8, 4.4 + 0.9 * i, word, align="left", colour=colour)
    return figure


def _curve(ax: Axes, area: tuple[float, float, float, float], limits: tuple[float, float],
           *lines: tuple[np.ndarray, str, float]) -> None:
    """Draw lines, each with its colour and width, in an area (x, y, width, height)."""
    x, y, width, height = area
    low, high = limits
    ax.add_patch(Rectangle((x, y), width, height, facecolor="white", edgecolor=draw.QUIET,
                           linewidth=0.8, zorder=1))
    for values, colour, thick in lines:
        ax.plot(np.linspace(x, x + width, len(values)),
                y + height * (high - values) / (high - low), color=colour, linewidth=thick,
                linestyle="-", zorder=2)
