"""A sum in a number format with few bits: the nearest representable number."""

from matplotlib.figure import Figure

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.style import COLOURS, styled


@styled
def rounded_sum(start: float, spacing: float, added: float) -> Figure:
    """Draw representable numbers from `start` on, and how a sum is rounded to one of them.

    Args:
        start: a representable number.
        spacing: from one representable number to the next.
        added: what is added to `start`; at most the spacing.

    Returns:
        The figure.
    """
    figure, ax = draw.drawing(14, 4.6)
    line, left, wide = 2.6, 1.5, 11.0 / 2
    ax.plot((left - 0.8, left + 2 * wide + 0.8), (line, line), color=draw.INK, linestyle="-",
            linewidth=1.2)
    for i in range(3):
        x = left + wide * i
        ax.plot((x, x), (line - 0.35, line + 0.35), color=draw.INK, linestyle="-", linewidth=2.0)
        draw.words(ax, x, line + 0.8, f"{start + i * spacing:.8g}")
    ax.plot((left + wide / 2,) * 2, (line - 0.2, line + 0.2), color=draw.QUIET, linestyle=":",
            linewidth=1.2)
    draw.words(ax, left + wide / 2, line + 0.55, "halfway", size=8.5, colour=draw.QUIET)
    landed = left + wide * added / spacing
    draw.arrow(ax, (left, line - 0.6), (landed, line - 0.6), colour=draw.STEP)
    draw.words(ax, left, line - 1.1, f"+ {added:g}", align="left", colour=draw.INK)
    nearest = left + wide * round(added / spacing)
    draw.arrow(ax, (landed, line - 0.2), (nearest, line - 0.2), colour=COLOURS[1])
    draw.words(ax, 7.0, 0.5, "the sum, rounded to the nearest representable number",
               colour=COLOURS[1])
    draw.words(ax, 7.0, line + 1.5, f"spacing {spacing:.8g}", colour=draw.QUIET)
    return figure
