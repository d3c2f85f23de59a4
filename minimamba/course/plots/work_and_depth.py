"""The work and the depth of orders of a scan: who combines in which round."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.style import COLOURS, styled

UNIT, GAP = 0.62, 1.5
"""In halves of an inch: the side of a cell, and what is between two orders."""


@styled
def work_and_depth(orders: Mapping[str, Sequence[int]]) -> Figure:
    """Draw one column of cells per round, one cell per combination.

    The number of columns is the depth of an order, the number of cells its work.

    Args:
        orders: for each name how many combinations each round makes at once.

    Returns:
        The figure.
    """
    highest = max(max(rounds) for rounds in orders.values())
    columns = sum(map(len, orders.values()))
    gap = (14 - 1.6 - UNIT * columns) / len(orders)
    figure, ax = draw.drawing(14, UNIT * highest + 3.2)
    bottom = 0.9 + UNIT * highest
    draw.arrow(ax, (0.75, bottom), (0.75, 0.9))
    ax.text(0.4, bottom - UNIT * highest / 2, "workers busy", rotation=90, ha="center",
            va="center", fontsize=draw.FONT, color=draw.QUIET)
    x = 1.2 + gap / 2
    for (name, rounds), colour in zip(orders.items(), COLOURS[:3][::-1], strict=False):
        middle = x + UNIT * len(rounds) / 2
        draw.words(ax, middle, 0.4, name, bold=True)
        for i, busy in enumerate(rounds):
            for j in range(busy):
                draw.cell(ax, x + UNIT * i, bottom - UNIT * (j + 1), "", colour, width=UNIT,
                          height=UNIT)
            draw.words(ax, x + UNIT * (i + 0.5), bottom + 0.35, f"{i + 1}", size=8.5,
                       colour=draw.QUIET)
        draw.words(ax, middle, bottom + 0.95, "round", size=8.5, colour=draw.QUIET)
        draw.words(ax, middle, bottom + 1.75, f"depth {len(rounds)}\nwork {sum(rounds)}")
        x += UNIT * len(rounds) + gap
    return figure
