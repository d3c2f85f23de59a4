"""A block below the diagonal of the mask, as a column times a number times a row."""

from matplotlib.figure import Figure
from torch import Tensor

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.short_numbers import short
from minimamba.course.plots.style import COLOURS, arrays, styled


@styled
def factored_block(from_start: Tensor, between: float, to_end: Tensor) -> Figure:
    """Draw how a block of the mask follows from the decays of two chunks and of those between.

    Args:
        from_start: (rows,), the decays from the start of the later chunk up to each step.
        between: the decay over the chunks between the two.
        to_end: (columns,), the decays from after each step to the end of the earlier chunk.

    Returns:
        The figure.
    """
    from_start, to_end = arrays(from_start, to_end)
    rows, columns = len(from_start), len(to_end)
    width = 1.2 * (2 * columns + 2) + 7.6
    unit = 7 / width
    figure, ax = draw.drawing(width, 1.2 * rows + 3.4, unit=unit)
    middle = 1.6 + 0.6 * rows
    left = 0.6
    draw.words(ax, left + 0.6, 0.9, "step 4", colour=COLOURS[2], bold=True)
    for t, value in enumerate(from_start):
        draw.cell(ax, left, 1.6 + 1.2 * t, short(value), COLOURS[2], width=1.2, height=1.2)
    draw.words(ax, left + 0.6, 2.2 + 1.2 * rows, "from the start\nof the later chunk",
               colour=draw.QUIET, size=8.5)
    left += 3.0
    draw.words(ax, left - 0.9, middle, "×", size=12)
    draw.words(ax, left + 0.6, 0.9, "step 3", colour=COLOURS[3], bold=True)
    draw.cell(ax, left, middle - 0.6, short(between), COLOURS[3], width=1.2, height=1.2)
    draw.words(ax, left + 0.6, 2.2 + 1.2 * rows, "chunks\nbetween", colour=draw.QUIET, size=8.5)
    left += 2.6
    draw.words(ax, left - 0.7, middle, "×", size=12)
    draw.words(ax, left + 0.6 * columns, 0.9, "step 2", colour=COLOURS[1], bold=True)
    draw.row(ax, left, middle - 0.6, [short(value) for value in to_end], COLOURS[1], width=1.2,
             height=1.2)
    draw.words(ax, left + 0.6 * columns, 2.2 + 1.2 * rows, "to the end of\nthe earlier chunk",
               colour=draw.QUIET, size=8.5)
    left += 1.2 * columns + 1.3
    draw.words(ax, left - 0.65, middle, "=", size=12)
    draw.words(ax, left + 0.6 * columns, 0.9, "the block", bold=True)
    for t, later in enumerate(from_start):
        draw.row(ax, left, 1.6 + 1.2 * t, [short(later * between * value) for value in to_end],
                 draw.STATE, width=1.2, height=1.2)
    return figure
