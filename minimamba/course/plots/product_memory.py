"""A state as a sum of products: each pair is written as value times key, and a query reads."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.short_numbers import short
from minimamba.course.plots.style import COLOURS, arrays, styled

TOP = 2.3
"""Where the values and the products begin; the keys stand above."""


@styled
def product_memory(keys: Sequence[Tensor], values: Sequence[Tensor], query: Tensor) -> Figure:
    """Draw h = Σ v kᵀ with all values, and what a query reads from it.

    Args:
        keys: for each pair (components,), which stand in a row.
        values: for each pair (channels,), which stand in a column.
        query: (components,).

    Returns:
        The figure.
    """
    keys, values = arrays(*keys), arrays(*values)
    query, = arrays(query)
    components, channels = len(query), len(values[0])
    width = len(keys) * (components + 2.2) + components + 4.6
    figure, ax = draw.drawing(width, TOP + channels + 0.4, unit=7 / width)
    middle = TOP + channels / 2
    x = 0.3
    for i, (key, value) in enumerate(zip(keys, values, strict=True)):
        draw.words(ax, x + 1.2 + components / 2, 0.45, f"pair {i + 1}", bold=True)
        _grid(ax, x, TOP, value[:, None], draw.INPUT)
        _grid(ax, x + 1.2, TOP - 1.2, key[None], draw.STEP)
        _grid(ax, x + 1.2, TOP, np.outer(value, key), draw.STATE)
        x += 1.2 + components
        draw.words(ax, x + 0.5, middle, "=" if i + 1 == len(keys) else "+", size=12)
        x += 1.0
    state = sum(np.outer(value, key) for key, value in zip(keys, values, strict=True))
    draw.words(ax, x + components / 2, TOP - 0.4, "state $h$", bold=True)
    _grid(ax, x, TOP, state, draw.STATE)
    x += components
    draw.words(ax, x + 0.4, middle, "×", size=12)
    draw.words(ax, x + 1.3, middle - components / 2 - 0.4, "query")
    _grid(ax, x + 0.8, middle - components / 2, query[:, None], COLOURS[3])
    draw.words(ax, x + 2.2, middle, "=", size=12)
    draw.words(ax, x + 3.1, TOP - 0.4, "read")
    _grid(ax, x + 2.6, TOP, (state @ query)[:, None], draw.OUTPUT)
    return figure


def _grid(ax: Axes, left: float, top: float, matrix: np.ndarray, colour: str) -> None:
    """A matrix of cells of size 1; a zero is white."""
    for i, row in enumerate(matrix):
        for j, value in enumerate(row):
            draw.cell(ax, left + j, top + i, short(value), colour if value else "white")
