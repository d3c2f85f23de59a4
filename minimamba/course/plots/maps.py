"""A linear map as a matrix with its values: what goes in, its weights, and what comes out."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.short_numbers import short
from minimamba.course.plots.style import arrays, styled


@styled
def matrix_times_input(maps: Mapping[str, Tensor], kernel: Tensor, x: Tensor) -> Figure:
    """Draw y = T x with all values, for one causal matrix or two side by side.

    Each diagonal has a colour; a cell whose weight isn't the kernel's is white.

    Args:
        maps: for each title a (steps, steps) matrix.
        kernel: (steps,), the weights that the diagonals of a time-invariant map have.
        x: (steps,), the inputs.

    Returns:
        The figure.
    """
    steps = len(x)
    part = steps * 1.2 + 4.4
    width = max(2 * part - 0.8, len(maps) * part)
    figure, ax = draw.drawing(width, steps * 1.2 + 2.4, unit=7 / width)
    start = (width - len(maps) * part) / 2
    for title, matrix in maps.items():
        _product(ax, start + 0.4, title, *arrays(matrix, kernel, x, matrix @ x))
        start += part
    return figure


def _product(ax: Axes, left: float, title: str, matrix: np.ndarray, kernel: np.ndarray,
             x: np.ndarray, y: np.ndarray) -> None:
    """Draw one matrix, the input beside it, and the output."""
    steps, unit, top = len(x), 1.2, 1.9
    after = left + steps * unit
    draw.words(ax, left + (steps * unit + 3.6) / 2, 0.5, title, bold=True)
    for t in range(steps):
        for s in range(steps):
            regular = s <= t and matrix[t, s] == kernel[t - s]
            colour = draw.SERIES[(t - s) % len(draw.SERIES)] if regular else "white"
            draw.cell(ax, left + s * unit, top + t * unit, short(matrix[t, s]) if s <= t else "",
                      colour, width=unit, height=unit)
        draw.cell(ax, after + 0.7, top + t * unit, short(x[t]), draw.INPUT, width=unit,
                  height=unit)
        draw.cell(ax, after + 2.5, top + t * unit, short(y[t]), draw.OUTPUT, width=unit,
                  height=unit)
    middle = top + steps * unit / 2
    draw.words(ax, after + 0.35, middle, "×")
    draw.words(ax, after + 2.2, middle, "=")
    for at, name in ((left + steps * unit / 2, "weights"), (after + 1.3, "x"), (after + 3.1, "y")):
        draw.words(ax, at, top - 0.45, name, colour=draw.QUIET)
