"""A tile before and after a scan along time."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.style import arrays, styled


@styled
def scanned_tile(before: Tensor, after: Tensor, operation: str, axes: tuple[str, str]) -> Figure:
    """Draw a tile, and beside it the tile of its running totals.

    Args:
        before: (rows, columns).
        after: (rows, columns), scanned from the first row to the last.
        operation: what is done, written between them.
        axes: what the rows and the columns are.

    Returns:
        The figure.
    """
    before, after = arrays(before, after)
    rows, columns = before.shape
    figure, ax = draw.drawing(14, rows * 0.8 + 1.9)
    middle = 1.4 + rows * 0.4
    left = 13.4 - columns
    _numbers(ax, 1.7, before, draw.INPUT, axes)
    _numbers(ax, left, after, draw.STATE, axes)
    draw.arrow(ax, (2.2 + columns, middle), (left - 1.6, middle))
    draw.words(ax, (2.2 + columns + left - 1.6) / 2, middle - 0.8, operation)
    return figure


def _numbers(ax: Axes, x: float, values: Tensor, colour: str, axes: tuple[str, str]) -> None:
    draw.words(ax, x + values.shape[1] / 2, 0.8, f"{axes[1]} →", colour=draw.QUIET, size=9)
    draw.words(ax, x - 0.75, 1.4 + len(values) * 0.4, f"{axes[0]}\n↓", colour=draw.QUIET, size=9)
    for i, line in enumerate(values):
        for j, value in enumerate(line):
            draw.cell(ax, x + j, 1.4 + 0.8 * i, f"{value:g}".replace("-", "−"), colour, height=0.8)
