"""S4 beside S6: the same loop, and the arrows from the input that make it selective."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.style import styled


@styled
def s4_beside_s6() -> Figure:
    """Draw the recurrence of S4 and that of S6.

    Returns:
        The figure.
    """
    figure, ax = draw.drawing(18, 7.6, unit=7 / 18)
    for left, name, note in ((0.2, "S4", "Δ, B and C are the same for every token"),
                             (9.3, "S6", "Δ, B and C are computed from the token")):
        draw.words(ax, left + 4.2, 0.5, name, bold=True, size=12)
        draw.words(ax, left + 4.2, 7.1, note, colour=draw.QUIET)
        _loop(ax, left, selective=name == "S6")
    ax.plot((8.95, 8.95), (0.4, 7.3), color="#dddddd", linestyle="-", linewidth=1)
    return figure


def _loop(ax: Axes, left: float, *, selective: bool) -> None:
    """One recurrence, 8.4 wide: x, ΔB, the state with its decay, C, y."""
    y, fill, t = 4.3, draw.STEP if selective else "white", "_t" if selective else ""
    draw.cell(ax, left, y - 0.5, "$x_t$", draw.INPUT)
    draw.box(ax, left + 2.35, y, rf"$\Delta{t}\,B{t}$", fill, width=1.5)
    draw.cell(ax, left + 3.8, y - 0.5, "$h_t$", draw.STATE, width=1.2, strong=True)
    draw.box(ax, left + 6.15, y, f"$C{t}$", fill, width=1.1)
    draw.cell(ax, left + 7.4, y - 0.5, "$y_t$", draw.OUTPUT)
    for start, end in ((1.0, 1.6), (3.1, 3.8), (5.0, 5.6), (6.7, 7.4)):
        draw.arrow(ax, (left + start, y), (left + end, y))
    draw.box(ax, left + 4.4, 2.3, rf"$\exp(\Delta{t}\,A)$", fill, width=2.3)
    draw.arrow(ax, (left + 4.75, y - 0.5), (left + 4.75, 2.8), text="$h_{t-1}$",
               at=(left + 5.35, 3.3))
    draw.arrow(ax, (left + 4.05, 2.8), (left + 4.05, y - 0.5))
    if not selective:
        return
    over, under = 1.35, 6.1
    draw.arrow(ax, (left + 0.5, y - 0.5), (left + 0.5, over), (left + 4.4, over), (left + 4.4, 1.8),
               colour=draw.STEP)
    draw.words(ax, left + 2.4, over - 0.35, r"$\Delta_t$")
    for x, text in ((2.35, r"$\Delta_t, B_t$"), (6.15, "$C_t$")):
        draw.arrow(ax, (left + 0.5, y + 0.5), (left + 0.5, under), (left + x, under),
                   (left + x, y + 0.5), colour=draw.STEP)
        draw.words(ax, left + x - 0.9, under - 0.4, text)
