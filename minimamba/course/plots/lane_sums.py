"""Sums over lanes of a warp, halved from lane to lane until each lane has one whole sum."""

from matplotlib.figure import Figure
from torch import Tensor

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.style import COLOURS, arrays, styled

STRIDE, CELL = 4.4, 0.8
"""In halves of an inch: from one table to the next, and a cell."""


@styled
def lane_sums(parts: Tensor) -> Figure:
    """Draw four lanes that sum four steps with three shuffles: what each lane holds, and keeps.

    Args:
        parts: (4, 4), for each step what each lane has of its sum.

    Returns:
        The figure.
    """
    (held,) = arrays(parts)
    figure, ax = draw.drawing(14, 6.1)
    titles = "each lane has a part", "after two shuffles", "after one more"
    below = "partners are 2 lanes apart", "partners are neighbors", "each lane has a whole sum"
    steps = lanes = range(len(held))
    for stage, apart in enumerate((2, 1, 0)):
        left = 1.4 + stage * STRIDE
        draw.words(ax, left + 2 * CELL, 0.4, titles[stage], bold=True, size=9)
        for lane in lanes:
            draw.words(ax, left + (lane + 0.5) * CELL, 1.1, f"lane {lane}" if not lane else
                       str(lane), size=8.5, colour=draw.QUIET)
        for step in steps:
            y = 1.5 + step * CELL
            if not stage:
                draw.words(ax, left - 0.15, y + CELL / 2, f"step {step}", align="right", size=8.5,
                           colour=draw.QUIET)
            for lane in lanes:
                if all(_keeps(lane, step, bit) for bit in (2, 1) if bit > apart):
                    own = _keeps(lane, step, apart)
                    draw.cell(ax, left + lane * CELL, y, f"{held[step, lane]:g}",
                              draw.SERIES[step] if own else "white", width=CELL, height=CELL)
        if apart:
            for lane in (lane for lane in lanes if not lane & apart):
                a, b = (left + (it + 0.5) * CELL for it in (lane, lane | apart))
                y = 1.5 + len(held) * CELL + (0.3 if lane == 0 else 0.65 if apart == 2 else 0.3)
                draw.arrow(ax, (a, y), (b, y), colour=COLOURS[1])
                draw.arrow(ax, (b, y), (a, y), colour=COLOURS[1])
            held = held + held[:, [lane ^ apart for lane in lanes]]
        draw.words(ax, left + 2 * CELL, 5.75, below[stage], size=8.5, colour=COLOURS[1])
    return figure


def _keeps(lane: int, step: int, bit: int) -> bool:
    """Whether a lane goes on with a step, when partners differ in this bit."""
    return (lane & bit) == (step & bit)
