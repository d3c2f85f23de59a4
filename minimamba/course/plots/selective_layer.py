"""One step of a selective SSM layer: a state for each channel, and what the input sets."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.style import COLOURS, styled

CELL, SMALL = 0.62, 0.3
"""The sides of a cell of what changes from step to step, and of a cell of the parameter A."""


@styled
def selective_layer(d_inner: int, d_state: int) -> Figure:
    """Draw one step: input, old and new state, output, A, and Δ, B, C, which the input sets.

    Args:
        d_inner: the number of channels; five or so.
        d_state: the number of components of each channel's state.

    Returns:
        The figure.
    """
    high, wide = d_inner * CELL, d_state * CELL
    top, low = 2.0, 2.0 + high + 1.9
    figure, ax = draw.drawing(17, low + 1.9, unit=7 / 17)
    middle = top + high / 2
    old, new, out = 4.0, 9.6, 15.4
    kept, written, read = (old + wide + new) / 2, new + wide / 2, (new + wide + out) / 2
    _grid(ax, 1.0, top, d_inner, 1, draw.INPUT, "$x_t$", f"{d_inner} channels")
    _grid(ax, old, top, d_inner, d_state, draw.STATE, "$h_{t-1}$", f"{d_inner} × {d_state}")
    _grid(ax, new, top, d_inner, d_state, draw.STATE, "$h_t$", f"{d_inner} × {d_state}")
    _grid(ax, out, top, d_inner, 1, draw.OUTPUT, "$y_t$", f"{d_inner} channels")
    draw.arrow(ax, (old + wide, middle), (new, middle), text="× $\\exp(\\Delta_t A)$",
               at=(kept, middle - 0.4))
    for i in range(d_inner):
        draw.row(ax, kept - SMALL * d_state / 2, 1.35 + i * SMALL, [""] * d_state, width=SMALL,
                 height=SMALL)
    draw.words(ax, kept - SMALL * d_state / 2 - 0.35, 1.35 + SMALL * d_inner / 2, "$A$")
    draw.arrow(ax, (new + wide, middle), (out, middle), text="× $C_t$",
               at=(read, middle - 0.4))
    draw.arrow(ax, (1.0 + CELL / 2, top - 1.0), (1.0 + CELL / 2, 0.4), (written, 0.4),
               (written, top - 1.0), text="+ $\\Delta_t B_t x_t$", at=(7.0, 0.75))
    draw.box(ax, 1.3, low + 0.5, "linear maps", COLOURS[3], width=2.5)
    draw.arrow(ax, (1.3, top + high + 0.7), (1.3, low))
    below_state = top + high + 0.7
    for x, count, name, colour, target, end in (
            (5.2, d_inner, "$\\Delta_t$", draw.STEP, kept, middle + 0.15),
            (new, d_state, "$B_t$", COLOURS[3], written, below_state),
            (13.3, d_state, "$C_t$", COLOURS[3], read, middle + 0.15)):
        draw.row(ax, x, low + 0.2, [""] * count, colour, width=CELL, height=CELL)
        draw.words(ax, x - 0.45, low + 0.5, name)
        draw.arrow(ax, (target, low + 0.2), (target, end), dashed=True)
    draw.arrow(ax, (kept, below_state + 0.6), (new + CELL / 2, below_state + 0.6),
               (new + CELL / 2, below_state), dashed=True)
    draw.arrow(ax, (2.55, low + 0.5), (4.4, low + 0.5))
    for x in (new, 13.3):
        middle_of_row = x + wide / 2
        draw.arrow(ax, (1.3, low + 1.0), (1.3, low + 1.5), (middle_of_row, low + 1.5),
                   (middle_of_row, low + 0.2 + CELL))
    return figure


def _grid(ax: Axes, x: float, y: float, rows: int, columns: int, colour: str, name: str,
          size: str) -> None:
    """A grid of cells with its name above and its size below."""
    for i in range(rows):
        draw.row(ax, x, y + i * CELL, [""] * columns, colour, width=CELL, height=CELL)
    draw.words(ax, x + columns * CELL / 2, y - 0.5, name)
    draw.words(ax, x + columns * CELL / 2, y + rows * CELL + 0.4, size, colour=draw.QUIET, size=8)
