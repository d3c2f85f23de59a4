"""The kernel of a diagonal system: a row of weights times a table of powers."""

from matplotlib.figure import Figure
from torch import Tensor

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.style import arrays, styled

CELL = 2.2
"""The width of a cell."""


@styled
def vandermonde_product(A_bar: Tensor, weights: Tensor, kernel: Tensor) -> Figure:
    """Draw K = weights · powers, with the values in the cells.

    Args:
        A_bar: (N,), real.
        weights: (N,), C times B̄.
        kernel: (length,).

    Returns:
        The figure.
    """
    A_bar, weights, kernel = arrays(A_bar, weights, kernel)
    N, length = len(A_bar), len(kernel)
    width = CELL * (N + length) + 4.2
    figure, ax = draw.drawing(width, N + 4.6, unit=7 / width)
    left, top = CELL * N + 1.9, 1.9
    middle = top + (N - 1) / 2
    center = left + CELL * length / 2
    draw.words(ax, 0.4 + CELL * N / 2, middle - 0.5, "$C_n\\bar B_n$")
    draw.row(ax, 0.4, middle, [f"{w:g}" for w in weights], draw.OUTPUT, width=CELL)
    draw.words(ax, left - 0.75, middle + 0.5, "×", size=12)
    draw.words(ax, center, 0.5, "the powers $\\bar A_n^{\\,l}$: a Vandermonde matrix", bold=True)
    for power in range(length):
        draw.words(ax, left + CELL * (power + 0.5), 1.4, f"$l = {power}$", colour=draw.QUIET)
    for n, base in enumerate(A_bar):
        draw.row(ax, left, top + n, [f"{base**power:.3g}" for power in range(length)], draw.STATE,
                 width=CELL)
        draw.words(ax, left + CELL * length + 0.3, top + n + 0.5, f"$n = {n}$", align="left",
                   colour=draw.QUIET)
    draw.words(ax, left - 0.4, top + N + 1.1, "the kernel $K_l$  =", align="right")
    draw.row(ax, left, top + N + 0.6, [f"{k:.3g}" for k in kernel], draw.INPUT, width=CELL)
    return figure
