"""One program of the fused scan: its states in registers, one step of time after the other."""

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.style import styled


@styled
def scan_program(block: int = 4, d_state: int = 4) -> Figure:
    """Draw what one program loads at a step, what it holds in registers, and what it stores.

    Args:
        block: the channels of the program.
        d_state: the components of each channel's state.

    Returns:
        The figure.
    """
    unit = 0.75
    height, width = block * unit, d_state * unit
    figure, ax = draw.drawing(14, height + 5.4)
    left, top = 5.4, 2.3
    ax.add_patch(Rectangle((3.9, 1.1), width + 3.6, height + 3.0, facecolor="#dddddd", alpha=0.4,
                           edgecolor=draw.INK, linestyle=":", zorder=0.5))
    draw.words(ax, 3.9 + (width + 3.6) / 2, 0.5, "registers of one program", bold=True)
    for i in range(block):
        draw.row(ax, left, top + i * unit, [""] * d_state, draw.STATE, width=unit, height=unit)
        for x, colour in ((1.0, draw.INPUT), (2.1, draw.STEP)):
            draw.cell(ax, x, top + i * unit, "", colour, width=unit, height=unit)
        draw.cell(ax, 12.0, top + i * unit, "", draw.OUTPUT, width=unit, height=unit)
    for x, text in ((1.4, "$x_t$"), (2.5, r"$\Delta_t$"), (12.4, "$y_t$")):
        draw.words(ax, x, top - 0.45, text, size=11)
    middle = top + height / 2
    ax.text(0.55, middle, "← channels", ha="center", va="center", rotation=90, color=draw.QUIET,
            fontsize=8.5)
    draw.words(ax, left + width / 2, 1.6, "$h$: channels ↓, components of the state →", size=9)
    draw.arrow(ax, (3.0, middle), (left - 0.15, middle), text="load", at=(3.45, middle - 0.35),
               size=9)
    draw.arrow(ax, (left + width + 0.15, middle), (11.85, middle), text="store",
               at=(11.3, middle - 0.35), size=9)
    draw.words(ax, left + width + 0.25, middle + 0.9, "every step:\n$h$ stays here", align="left",
               size=8.5)
    bottom = top + height + 2.1
    for x, name in ((left - 1.9, "$B_t$"), (left + 2.0, "$C_t$")):
        start = x + 0.7
        draw.words(ax, x + 0.15, bottom + 0.3, name, size=11)
        draw.row(ax, start, bottom, [""] * d_state, draw.INPUT, width=unit * 0.75, height=0.6)
    for x in (left - 0.2 + 0.4, left + width - 0.6):
        draw.arrow(ax, (x, bottom - 0.1), (x, top + height + 0.15))
    draw.words(ax, left + width / 2 - 0.1, bottom - 1.0, "load", size=9)
    return figure
