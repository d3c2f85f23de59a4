"""Which components of a state change which: every one in a dense A, each its own in a diagonal."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.style import styled


@styled
def dense_beside_diagonal(dense: Sequence[Sequence[str]], diagonal: Sequence[str]) -> Figure:
    """Draw a dense A and the same A in its eigenvectors' coordinates, with what affects what.

    Args:
        dense: the entries of A, two or three rows of as many.
        diagonal: the eigenvalues of A.

    Returns:
        The figure.
    """
    N = len(diagonal)
    as_matrix = [[diagonal[i] if i == j else "0" for j in range(N)] for i in range(N)]
    figure, ax = draw.drawing(17, 2.9 + 1.1 * N, unit=7 / 17)
    _panel(ax, 0.4, "dense A: the components mix", dense, "h")
    _panel(ax, 9.0, "eigenvector coordinates: diagonal", as_matrix, "g")
    draw.arrow(ax, (7.9, 1.9 + 0.55 * N), (8.8, 1.9 + 0.55 * N))
    return figure


def _panel(ax: Axes, left: float, title: str, entries: Sequence[Sequence[str]],
           name: str) -> None:
    """Draw a matrix, and arrows from each component to those that it changes."""
    N, top, width = len(entries), 1.9, 1.55
    draw.words(ax, left + 3.7, 0.5, title, bold=True)
    draw.words(ax, left + N * width / 2, 1.4, "Λ" if name == "g" else "A", colour=draw.QUIET)
    for i, row in enumerate(entries):
        shades = ["white" if entry == "0" else draw.STATE for entry in row]
        draw.row(ax, left, top + 1.1 * i, row, shades, width=width, height=1.1, size=8.5)
    state, change = left + N * width + 0.9, left + N * width + 3.2
    draw.words(ax, state + 0.4, 1.4, "state", colour=draw.QUIET, size=8.5)
    draw.words(ax, change + 0.4, 1.4, "its change", colour=draw.QUIET, size=8.5)
    for i in range(N):
        y = top + 1.1 * i + 0.15
        for x, prime in ((state, ""), (change, "'")):
            draw.cell(ax, x, y, f"${name}_{i + 1}{prime}$", draw.STATE, width=0.8, height=0.8)
        for j in range(N):
            if entries[i][j] != "0":
                draw.arrow(ax, (state + 0.8, top + 1.1 * j + 0.55), (change, y + 0.4))
    draw.words(ax, left + 3.7, top + 1.1 * N + 0.55,
               "each arrow is one entry that isn't 0", colour=draw.QUIET, size=8.5)
