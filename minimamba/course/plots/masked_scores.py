"""The map of a sequence as a product of two matrices, entry by entry, with all values."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.short_numbers import short
from minimamba.course.plots.style import COLOURS, arrays, styled

UNIT, TOP = 1.15, 1.5
"""The size of a cell, and where the matrices begin."""


@styled
def masked_scores(mask: Tensor, scores: Tensor, x: Tensor) -> Figure:
    """Draw the mask times the scores, entry by entry, and that matrix times the input.

    Args:
        mask: (steps, steps), the products of decays.
        scores: (steps, steps), C · B of each pair of steps.
        x: (steps,), the input.

    Returns:
        The figure.
    """
    mask, scores, x = arrays(mask, scores, x)
    steps = len(x)
    side = steps * UNIT
    width = 3 * side + 2 * UNIT + 4.6
    figure, ax = draw.drawing(width, side + 2.2, unit=7 / width)
    left = 0.4
    middle = TOP + side / 2
    for name, matrix, colour, sign in (("$L$", mask, COLOURS[0], "∘"),
                                       ("$C B^\\top$", scores, draw.STEP, "="),
                                       ("$L \\circ C B^\\top$", mask * scores, draw.STATE, "×")):
        _matrix(ax, left, name, matrix, colour)
        draw.words(ax, left + side + 0.45, middle, sign, size=12)
        left += side + 0.9
    _matrix(ax, left, "$x$", x[:, None], draw.INPUT)
    draw.words(ax, left + UNIT + 0.4, middle, "=", size=12)
    _matrix(ax, left + UNIT + 0.8, "$y$", (mask * scores @ x)[:, None], draw.OUTPUT)
    return figure


def _matrix(ax: Axes, left: float, name: str, values: np.ndarray, colour: str) -> None:
    """A matrix with its name above; a zero is an empty, white cell."""
    draw.words(ax, left + values.shape[1] * UNIT / 2, TOP - 0.55, name)
    for t, row in enumerate(values):
        for s, value in enumerate(row):
            draw.cell(ax, left + s * UNIT, TOP + t * UNIT, short(value) if value else "",
                      colour if value else "white", width=UNIT, height=UNIT)
