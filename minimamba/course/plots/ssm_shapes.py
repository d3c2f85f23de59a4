"""The arrays of a selective SSM: which axes each has, and how they meet at one step."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.style import arrays, styled

UNIT = 0.7
"""The size of a cell without a number in it."""
HEIGHT = 0.8
"""The height of a cell with a number."""


@styled
def ssm_shapes(length: int, d_inner: int, d_state: int, batch: int = 1, *,
               marked: bool = False) -> Figure:
    """Draw x, Δ, B, C and A of one sequence, and the decays exp(ΔA) of all steps.

    Args:
        length: the number of steps, four or so.
        d_inner: the number of channels.
        d_state: the state dimension.
        batch: the number of sequences, of which one is drawn.
        marked: mark the first number of Δ, what it's multiplied with and where the products are.

    Returns:
        The figure.
    """
    gap, top = 1.3, 1.3
    stride = d_state * UNIT + gap
    flat = UNIT * (2 * d_inner + 3 * d_state) + 4 * gap
    width = max(16, flat + 2, stride * length + 5)
    height = UNIT * (length + d_inner) + (6.0 if marked else 5.2)
    figure, ax = draw.drawing(width, height, unit=7 / 16)

    def mark(x: float, y: float, sign: str) -> None:
        if marked:
            draw.words(ax, x + UNIT / 2, y + UNIT / 2, sign, bold=True, size=11)

    x = (width - flat) / 2
    for name, columns, axis, colour in (("x", d_inner, "d", draw.INPUT),
                                        ("Δ", d_inner, "d", draw.STEP),
                                        ("B", d_state, "n", draw.STEP),
                                        ("C", d_state, "n", draw.STEP)):
        draw.array(ax, x, top, length, columns, name, ("l", axis), colour, unit=UNIT)
        if name == "Δ":
            mark(x, top, "●")
        x += columns * UNIT + gap
    draw.array(ax, x, top, d_inner, d_state, "A", ("d", "n"), unit=UNIT)
    for n in range(d_state):
        mark(x + UNIT * n, top, "×")
    lower = top + UNIT * length + 2.1
    x = (width - stride * length + gap) / 2
    draw.words(ax, x - gap - 0.4, lower + UNIT * d_inner / 2, r"$\exp(\Delta A)$", align="right",
               size=11)
    for step in range(length):
        draw.array(ax, x + stride * step, lower, d_inner, d_state, f"l = {step}", ("d", "n"),
                   draw.STATE, unit=UNIT)
    for n in range(d_state):
        mark(x + UNIT * n, lower, "=")
    if marked:
        draw.words(ax, width / 2, lower + UNIT * d_inner + 1.8,
                   "●: a number of Δ      ×: what it's multiplied with      =: the products")
    sequences = f"      b: one of {batch} sequences" if batch > 1 else ""
    draw.words(ax, width / 2, lower + UNIT * d_inner + 1.0,
               f"l: step      d: channel      n: component of the channel's state{sequences}",
               colour=draw.QUIET)
    return figure


@styled
def ssm_step_shapes(delta: Tensor, x: Tensor, A: Tensor, B: Tensor, A_bar: Tensor,
                    B_bar_x: Tensor) -> Figure:
    """Draw how the arrays meet at one step, with their values.

    Args:
        delta: (d_inner,), Δ at the step.
        x: (d_inner,), the input at the step.
        A: (d_inner, d_state).
        B: (d_state,), B at the step.
        A_bar: (d_inner, d_state), exp(ΔA).
        B_bar_x: (d_inner, d_state), ΔBx.

    Returns:
        The figure.
    """
    delta, x, A, B, A_bar, B_bar_x = arrays(delta, x, A, B, A_bar, B_bar_x)
    rows = len(delta)
    height = HEIGHT * rows
    figure, ax = draw.drawing(16, 2 * height + 3.6, unit=7 / 16)
    top, lower = 1.1, height + 2.9
    _values(ax, 1.3, top, delta[:, None], "Δ", draw.STEP)
    _values(ax, 5.6, top, A, "A", "white")
    _values(ax, 12.2, top, A_bar, r"$\exp(\Delta A)$", draw.STATE)
    _values(ax, 1.3, lower, (delta * x)[:, None], "Δ x", draw.INPUT)
    _values(ax, 5.6, lower + (height - HEIGHT) / 2, B[None], "B", draw.STEP)
    _values(ax, 12.2, lower, B_bar_x, "Δ B x", draw.STATE)
    for y, what in ((top, "each row of A\ntimes its Δ, then exp"),
                    (lower, "every channel\ntimes every component")):
        draw.words(ax, 0.6, y + height / 2, "d", colour=draw.QUIET)
        draw.words(ax, 4.05, y + height / 2, "×", size=13)
        draw.arrow(ax, (5.9 + 1.3 * A.shape[1], y + height / 2 + 0.6), (11.8, y + height / 2 + 0.6))
        draw.words(ax, 10.1, y + height / 2 - 0.3, what, colour=draw.QUIET, size=8)
        draw.words(ax, 12.2 + 0.65 * A.shape[1], y + height + 0.32, "n", colour=draw.QUIET)
    return figure


def _values(ax: Axes, x: float, y: float, values: Tensor, name: str, colour: str) -> None:
    """A matrix with its values in the cells and its name above."""
    for i, line in enumerate(values):
        draw.row(ax, x, y + HEIGHT * i, [f"{value:.2f}".replace("-", "−") for value in line],
                 colour, width=1.3, height=HEIGHT)
    draw.words(ax, x + 0.65 * len(values[0]), y - 0.45, name, bold=True)
