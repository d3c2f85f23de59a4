"""Discretization as a picture: each token is held for a time Δ while the state moves on."""

from matplotlib.figure import Figure
from torch import Tensor

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.style import COLOURS, arrays, styled


@styled
def held_input(x: Tensor, delta: Tensor, h: Tensor, t: Tensor, curve: Tensor) -> Figure:
    """Draw a held input and the continuous state that follows it, with a column for each step.

    Args:
        x: (steps,), the inputs; not negative.
        delta: (steps,), how long each is held; at least a tenth of the longest.
        h: (steps,), the state at the end of each step.
        t: (points,), times from 0 to the sum of delta.
        curve: (points,), the continuous state at these times; not negative.

    Returns:
        The figure.
    """
    x, delta, h, t, curve = arrays(x, delta, h, t, curve)
    figure, ax = draw.drawing(14, 7.3)
    left, scale = 2.3, 11.3 / delta.sum()
    base, height = 3.4, 2.7 / max(x.max(), curve.max())
    ends = left + scale * delta.cumsum()
    starts = ends - scale * delta
    draw.words(ax, left - 0.3, base - height * curve.max() / 2, "the state,\nwhile x is held",
               align="right", size=9, colour=draw.QUIET)
    for start, width, value in zip(starts, scale * delta, x, strict=True):
        draw.cell(ax, start, base - height * value, "", draw.INPUT, width=width,
                  height=height * value)
    ax.plot([left, ends[-1]], [base, base], color=draw.INK, linestyle="-", linewidth=0.9, zorder=3)
    ax.plot(left + scale * t, base - height * curve, color=COLOURS[0], linestyle="-", linewidth=2.4,
            zorder=5)
    ax.plot(ends, base - height * h, color=COLOURS[0], linestyle="", marker="o", markersize=7,
            markeredgecolor="white", zorder=6)
    for y, name, values, colour in ((4.0, "input $x_t$", x, draw.INPUT),
                                    (5.1, "step size $\\Delta_t$", delta, draw.STEP),
                                    (6.2, "state $h_t$", h, draw.STATE)):
        draw.words(ax, left - 0.3, y + 0.4, name, align="right")
        for start, width, value in zip(starts, scale * delta, values, strict=True):
            draw.cell(ax, start, y, f"{value:.3g}" if colour != draw.STATE else f"{value:.2f}",
                      colour, width=width, height=0.8)
    return figure
