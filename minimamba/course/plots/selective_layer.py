"""One step of a selective SSM layer: a state for each channel, and what the input sets."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.style import COLOURS, styled

CELL = 0.62


@styled
def selective_layer(d_inner: int, d_state: int) -> Figure:
    """Draw one step: input, old and new state, output, and Δ, B, C, which the input sets.

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
    _grid(ax, 1.0, top, d_inner, 1, draw.INPUT, "$x_t$", f"{d_inner} channels")
    _grid(ax, old, top, d_inner, d_state, draw.STATE, "$h_{t-1}$", f"{d_inner} × {d_state}")
    _grid(ax, new, top, d_inner, d_state, draw.STATE, "$h_t$", f"{d_inner} × {d_state}")
    _grid(ax, out, top, d_inner, 1, draw.OUTPUT, "$y_t$", f"{d_inner} channels")
    draw.arrow(ax, (old + wide, middle), (new, middle), text="× $\\exp(\\Delta_t A)$",
               at=((old + wide + new) / 2, middle - 0.4))
    draw.arrow(ax, (new + wide, middle), (out, middle), text="× $C_t$",
               at=((new + wide + out) / 2, middle - 0.4))
    draw.arrow(ax, (1.0 + CELL / 2, top - 1.0), (1.0 + CELL / 2, 0.4), (new + wide / 2, 0.4),
               (new + wide / 2, top - 1.0), text="+ $\\Delta_t B_t x_t$", at=(7.0, 0.75))
    draw.box(ax, 1.3, low + 0.5, "linear maps", COLOURS[3], width=2.5)
    draw.arrow(ax, (1.3, top + high + 0.7), (1.3, low))
    for x, count, name, colour, target in (
            (5.2, d_inner, "$\\Delta_t$", draw.STEP, (old + wide + new) / 2),
            (new, d_state, "$B_t$", COLOURS[3], new + wide / 2),
            (13.3, d_state, "$C_t$", COLOURS[3], (new + wide + out) / 2)):
        draw.row(ax, x, low + 0.2, [""] * count, colour, width=CELL, height=CELL)
        draw.words(ax, x - 0.45, low + 0.5, name)
        top_of_arrow = middle + 0.15 if name != "$B_t$" else top + high + 0.7
        draw.arrow(ax, (target, low + 0.2), (target, top_of_arrow), dashed=True)
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
