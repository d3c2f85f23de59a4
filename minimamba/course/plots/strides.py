"""Where the element of a matrix is in memory: its indices times the strides."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.style import COLOURS, arrays, styled


@styled
def strides(values: Tensor) -> Figure:
    """Draw a matrix, its transpose, and the one line of memory that both are views of.

    Args:
        values: (2, 3).

    Returns:
        The figure.
    """
    values, = arrays(values)
    columns = values.shape[1]
    figure, ax = draw.drawing(14, 6.6)
    _view(ax, 1.4, values, "x", f"strides: rows {columns}, columns 1", (1, 1))
    _view(ax, 9.2, values.T, "x.T", f"strides: rows 1, columns {columns}", (1, 1))
    draw.words(ax, 3.6, 5.3, "memory", align="right")
    for i, value in enumerate(values.flat):
        draw.cell(ax, 4.0 + i, 4.8, f"{value:g}", COLOURS[1] if i == columns + 1 else draw.INPUT,
                  strong=i == columns + 1)
        draw.words(ax, 4.5 + i, 6.1, f"{i}", colour=draw.QUIET, size=8)
    target = 4.5 + columns + 1
    draw.arrow(ax, (2.9, 2.9), (2.9, 4.3), (target - 0.2, 4.3), (target - 0.2, 4.75),
               colour=COLOURS[1])
    draw.arrow(ax, (11.2, 2.4), (11.9, 2.4), (11.9, 4.3), (target + 0.2, 4.3),
               (target + 0.2, 4.75), colour=COLOURS[1])
    return figure


def _view(ax: Axes, x: float, values: Tensor, name: str, text: str,
          marked: tuple[int, int]) -> None:
    draw.words(ax, x + values.shape[1] / 2, 0.4, f"{name}   {text}", size=9)
    for i, line in enumerate(values):
        for j, value in enumerate(line):
            draw.cell(ax, x + j, 0.9 + i, f"{value:g}",
                      COLOURS[1] if (i, j) == marked else draw.INPUT, strong=(i, j) == marked)
