"""What the matrices of S4 and S4D look like: dense, diagonal plus low rank, diagonal."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.style import COLOURS, arrays, styled

NEGATIVE, POSITIVE, ZERO, LOW_RANK = COLOURS[5], COLOURS[4], "white", COLOURS[3]
ENTRY, NARROW = 1.3, 0.95
"""The widths of a cell with a number, and of one with a symbol."""


@styled
def matrix_structures(A: Tensor) -> Figure:
    """Draw a dense matrix with its entries beside the two structures that replace it.

    Args:
        A: (N, N), real; N about 4.

    Returns:
        The figure.
    """
    A, = arrays(A)
    size = len(A)
    dense, small = ENTRY * size, NARROW * size
    width = dense + 3 * small + NARROW + 5.6
    figure, ax = draw.drawing(width, size + 4.0, unit=7 / width)
    top = 2.1
    middle, below = top + size / 2, top + size + 0.8
    x = 0.3
    _entries(ax, x, top, A)
    draw.words(ax, x + dense / 2, 0.6, "dense: HiPPO-LegS", bold=True)
    draw.words(ax, x + dense / 2, below, "one step costs $N^2$", colour=draw.QUIET)
    x += dense + 1.3
    center = x + small + NARROW / 2 + 0.9
    draw.words(ax, center, 0.6, "diagonal plus low rank: S4", bold=True)
    draw.words(ax, center, below, "one step costs $N$", colour=draw.QUIET)
    _diagonal(ax, x, top, size)
    draw.words(ax, x + small + 0.5, middle, "−", size=13)
    x += small + 1.0
    for n in range(size):
        draw.cell(ax, x, top + n, "", LOW_RANK, width=NARROW)
        draw.cell(ax, x + NARROW + 0.9 + n * NARROW, middle - 0.5, "", LOW_RANK, width=NARROW)
    draw.words(ax, x + NARROW / 2, top - 0.45, "$P_V$")
    draw.words(ax, x + NARROW + 0.9 + small / 2, middle - 1.0, "$P_V^*$")
    draw.words(ax, x + NARROW + 0.45, middle, "×", size=12)
    x += NARROW + 0.9 + small + 1.6
    _diagonal(ax, x, top, size)
    draw.words(ax, x + small / 2, 0.6, "diagonal: S4D", bold=True)
    draw.words(ax, x + small / 2, below, "one step costs $N$", colour=draw.QUIET)
    return figure


@styled
def normal_plus_low_rank(A: Tensor, S: Tensor, P: Tensor) -> Figure:
    """Draw A = S − P Pᵀ with all entries.

    Args:
        A: (N, N); N about 4.
        S: (N, N), the normal part.
        P: (N, 1), the column.

    Returns:
        The figure.
    """
    A, S, P = arrays(A, S, P)
    size = len(A)
    wide = ENTRY * size
    figure, ax = draw.drawing(3 * wide + 5.6, size + 2.6, unit=7 / (3 * wide + 5.6))
    top = 1.5
    x = 0.3
    for name, matrix, sign in (("A", A, "="), ("S", S, "−")):
        draw.words(ax, x + wide / 2, 0.6, f"${name}$", size=11)
        _entries(ax, x, top, matrix)
        draw.words(ax, x + wide + 0.55, top + size / 2, sign, size=13)
        x += wide + 1.1
    draw.words(ax, x + 0.65, 0.6, "$P$", size=11)
    _entries(ax, x, top, P)
    draw.words(ax, x + 1.8, top + size / 2, "×", size=12)
    draw.words(ax, x + 2.3 + wide / 2, top + size / 2 - 1.0, "$P^\\top$", size=11)
    _entries(ax, x + 2.3, top + size / 2 - 0.5, P.T)
    return figure


def _entries(ax: Axes, x: float, y: float, matrix: np.ndarray) -> None:
    """A matrix with its entries: zeros white, signs by colour."""
    for (i, j), value in np.ndenumerate(matrix):
        zero = abs(value) < 1e-9
        colour = ZERO if zero else NEGATIVE if value < 0 else POSITIVE
        draw.cell(ax, x + ENTRY * j, y + i, "0" if zero else f"{value:.1f}".replace("-", "−"),
                  colour, width=ENTRY, size=8.5)


def _diagonal(ax: Axes, x: float, y: float, size: int) -> None:
    """A diagonal matrix with λ₁ … on its diagonal."""
    for i in range(size):
        for j in range(size):
            draw.cell(ax, x + NARROW * j, y + i, f"$\\lambda_{i}$" if i == j else "",
                      NEGATIVE if i == j else ZERO, width=NARROW)
