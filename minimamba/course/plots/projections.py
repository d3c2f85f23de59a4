"""How Δ, B and C are computed from the token, and two ways back from a few features to Δ."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.style import styled


@styled
def ssm_projections(d_inner: int, d_state: int, dt_rank: int) -> Figure:
    """Draw the projections of one token in an S6 layer, with the width of every connection.

    Args:
        d_inner: the number of channels.
        d_state: the state dimension.
        dt_rank: the rank of Δ's projection.

    Returns:
        The figure.
    """
    figure, ax = draw.drawing(18, 6.0, unit=7 / 18)
    _column(ax, 0.7, 3.0, d_inner, draw.INPUT, "$x_t$", f"{d_inner} channels")
    draw.box(ax, 4.0, 3.0, "x_proj", draw.STEP, width=2.0)
    draw.arrow(ax, (1.5, 3.0), (3.0, 3.0))
    draw.arrow(ax, (5.0, 3.0), (5.7, 3.0), (5.7, 1.2), (8.6, 1.2),
               text=f"dt_rank: {dt_rank}", at=(7.15, 0.85))
    draw.box(ax, 10.2, 1.2, "dt_proj (+ bias)", draw.STEP, width=3.2)
    draw.arrow(ax, (11.8, 1.2), (13.0, 1.2), text=f"{d_inner}")
    draw.box(ax, 14.0, 1.2, "softplus", width=2.0)
    draw.arrow(ax, (15.0, 1.2), (16.2, 1.2), text=f"{d_inner}")
    for y, name in ((3.0, "B"), (4.8, "C")):
        points = [(5.0, 3.0), (16.2, 3.0)] if y == 3.0 else [(5.0, 3.0), (5.7, 3.0), (5.7, y),
                                                            (16.2, y)]
        draw.arrow(ax, *points, text=f"d_state: {d_state}", at=(10.5, y - 0.35))
        draw.words(ax, 16.4, y, f"${name}_t$", align="left", size=11)
    draw.words(ax, 16.4, 1.2, r"$\Delta_t$", align="left", size=11)
    return figure


@styled
def broadcast_beside_projection(d_inner: int) -> Figure:
    """Draw the way from one feature to the steps of all channels, by broadcast and by projection.

    Args:
        d_inner: the number of channels, four or so.

    Returns:
        The figure.
    """
    height = d_inner + 3.4
    figure, ax = draw.drawing(18, height, unit=7 / 18)
    middle = 1.6 + d_inner / 2
    weights = ("1.2", "−0.7", "0.4", "−1.5", "0.9", "−0.2")
    for left, name, note, factors in (
            (0.5, "broadcast", "nothing is learned on the way up", ["1"] * d_inner),
            (9.6, "projection of rank 1", "the factors are learned, of either sign",
             [weights[i % len(weights)] for i in range(d_inner)])):
        draw.words(ax, left + 3.9, 0.6, name, bold=True)
        _column(ax, left, middle, 5, draw.INPUT, "$x_t$", "")
        draw.box(ax, left + 2.1, middle, "Linear", draw.STEP, width=1.5)
        draw.arrow(ax, (left + 0.8, middle), (left + 1.35, middle))
        draw.cell(ax, left + 3.4, middle - 0.5, "s")
        draw.arrow(ax, (left + 2.85, middle), (left + 3.4, middle))
        for i, factor in enumerate(factors):
            y = 1.6 + i + 0.5
            draw.arrow(ax, (left + 4.4, middle), (left + 5.6, y))
            draw.cell(ax, left + 5.6, y - 0.42, f"{factor} · s", draw.STEP, width=1.9, height=0.84)
        draw.words(ax, left + 3.9, height - 0.9, note, colour=draw.QUIET)
    ax.plot((9.0, 9.0), (0.4, height - 0.4), color="#dddddd", linestyle="-", linewidth=1)
    return figure


def _column(ax: Axes, x: float, y: float, cells: int, colour: str, name: str, note: str) -> None:
    """A vector as a column of small cells, centered in height at y, with its name above."""
    shown, unit = min(cells, 6), 0.45
    top = y - shown * unit / 2
    for i in range(shown):
        draw.cell(ax, x, top + i * unit, "", colour, width=0.6, height=unit)
    draw.words(ax, x + 0.3, top - 0.4, name, size=11)
    draw.words(ax, x + 0.7, top + shown * unit + 0.45, note, colour=draw.QUIET, size=8.5)
