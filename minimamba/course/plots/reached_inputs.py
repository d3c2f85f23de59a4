"""Which outputs depend on which inputs: one square per pair, and the future in another colour."""

from collections.abc import Mapping

from matplotlib.figure import Figure
from torch import Tensor

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.short_numbers import short
from minimamba.course.plots.style import COLOURS, arrays, styled


@styled
def reached_inputs(maps: Mapping[str, Tensor]) -> Figure:
    """Draw maps of dependence side by side.

    Args:
        maps: for each title a (length, length) matrix with a row per output and a column per
            input: not 0 where the output depends on the input.

    Returns:
        The figure.
    """
    length = len(next(iter(maps.values())))
    pitch = length + 2.2
    width = pitch * len(maps)
    figure, ax = draw.drawing(width, length + 4.0, unit=7 / width)
    for i, (title, map_) in enumerate(maps.items()):
        left, values = 1.6 + pitch * i, arrays(map_)[0]
        draw.words(ax, left + length / 2, 0.8, title, bold=True, size=9)
        draw.words(ax, left + length / 2, length + 2.3, "input", colour=draw.QUIET, size=8.5)
        ax.text(left - 0.9, 1.8 + length / 2, "output", rotation=90, ha="center", va="center",
                fontsize=8.5, color=draw.QUIET)
        for t in range(length):
            for s in range(length):
                colour = COLOURS[1 if s > t else 0] if values[t, s] else "white"
                draw.cell(ax, left + s, 1.8 + t, short(values[t, s]) if values[t, s] else "",
                          colour, size=8)
    draw.words(ax, width / 2, length + 3.3, "orange: the output depends on the future",
               colour=COLOURS[1], size=8.5)
    return figure
