"""Different pasts that end in the same state, with the weight of each moment."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from torch import Tensor

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.style import arrays, styled


@styled
def pasts_of_one_state(when: Sequence[str], weights: Tensor, pasts: Tensor, h: Tensor) -> Figure:
    """Draw a few inputs, the weight of each moment, and the state that each input leads to.

    Args:
        when: one per moment, oldest first: how long ago it was.
        weights: (moments,), what the state makes of each moment.
        pasts: (pasts, moments).
        h: (pasts,), the states.

    Returns:
        The figure.
    """
    weights, pasts, h = arrays(weights, pasts, h)
    figure, ax = draw.drawing(14, 4.2 + 1.3 * len(pasts), unit=0.5)
    left, width, state = 3.0, 2.0, 11.8
    for j, (moment, weight) in enumerate(zip(when, weights, strict=True)):
        x = left + width * j + 0.1
        draw.words(ax, x + 0.9, 0.5, moment, colour=draw.QUIET)
        draw.cell(ax, x, 2.5 - 1.3 * weight, "", draw.STEP, width=1.8, height=1.3 * weight)
        draw.words(ax, x + 0.9, 2.95, f"× {weight:g}")
    draw.words(ax, left - 0.2, 2.0, "weight in\nthe state", align="right", colour=draw.QUIET)
    draw.words(ax, state + 0.7, 2.95, "state now", colour=draw.QUIET)
    for i, (past, end) in enumerate(zip(pasts, h, strict=True)):
        y = 3.6 + 1.3 * i
        draw.words(ax, left - 0.2, y + 0.5, f"past {i + 1}", align="right", colour=draw.QUIET)
        for j, value in enumerate(past):
            draw.cell(ax, left + width * j + 0.1, y, f"{value:g}",
                      draw.INPUT if value else "white", width=1.8)
        draw.arrow(ax, (left + width * len(past) + 0.2, y + 0.5), (state - 0.1, y + 0.5))
        draw.cell(ax, state, y, f"{end:g}", draw.STATE, width=1.4, strong=True)
    return figure
