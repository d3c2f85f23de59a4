"""How Δ, with its axis of steps, and A and B, with their axis of components, make Ā and B̄."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.style import arrays, styled

CELL, HEIGHT = 1.5, 0.8


@styled
def discrete_parameters(delta: Tensor, A: Tensor, B: Tensor, A_bar: Tensor, B_bar: Tensor
                        ) -> Figure:
    """Draw the values of Δ, A, B, Ā and B̄ as tables: a row for each step.

    Args:
        delta: (length,), a step size for each step.
        A: (N,), a diagonal.
        B: (N,).
        A_bar: (length, N).
        B_bar: (length, N).

    Returns:
        The figure.
    """
    delta, A, B, A_bar, B_bar = arrays(delta, A, B, A_bar, B_bar)
    length, N = A_bar.shape
    width = 7.4 + 2 * N * CELL
    figure, ax = draw.drawing(width, 3.6 + length * HEIGHT, unit=7 / width)
    top = 2.7
    for i, size in enumerate(delta):
        y = top + i * HEIGHT
        draw.words(ax, 1.9, y + HEIGHT / 2, f"step {i + 1}", align="right", colour=draw.QUIET)
        draw.cell(ax, 2.2, y, f"{size:g}", draw.STEP, width=CELL, height=HEIGHT)
    draw.words(ax, 2.2 + CELL / 2, top - 0.4, "Δ", bold=True)
    draw.words(ax, 2.2 + CELL / 2, top + length * HEIGHT + 0.5, "(length,)", colour=draw.QUIET)
    _table(ax, 4.9, top, "A", A, A_bar, "$\\bar{A}_t = e^{\\Delta_t A}$")
    _table(ax, 6.1 + N * CELL, top, "B", B, B_bar, "$\\bar{B}_t$, by zero-order hold")
    return figure


def _table(ax: Axes, left: float, top: float, name: str, above: Tensor, values: Tensor,
           below: str) -> None:
    """A parameter above, and below it what the discretization makes of it at each step."""
    length, N = values.shape
    middle = left + N * CELL / 2
    draw.words(ax, middle, 0.5, f"{name}: (N,)", bold=True)
    draw.row(ax, left, 0.95, [_number(value) for value in above], width=CELL, height=HEIGHT)
    for i, row in enumerate(values):
        draw.row(ax, left, top + i * HEIGHT, [f"{value:.2f}" for value in row], draw.STEP,
                 width=CELL, height=HEIGHT)
    draw.words(ax, middle, top - 0.4, below)
    draw.words(ax, middle, top + length * HEIGHT + 0.5, "(length, N)", colour=draw.QUIET)


def _number(value: float) -> str:
    return f"{value:g}".replace("-", "−")
