"""An unrolled recurrence, and the way that its first input takes to its last output."""

from matplotlib.figure import Figure
from torch import Tensor

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.short_numbers import short
from minimamba.course.plots.style import COLOURS, arrays, styled


@styled
def unrolled_recurrence(x: Tensor, A_bar: float, h: Tensor) -> Figure:
    """Draw h_t = Ā h_{t−1} + x_t, y_t = h_t over a few steps, with the values in the boxes.

    Args:
        x: (steps,), the inputs.
        A_bar: the decay.
        h: (steps,), the states, which are the outputs too.

    Returns:
        The figure.
    """
    x, h = arrays(x, h)
    steps, stride, wide, way = len(x), 3.4, 1.4, COLOURS[1]
    left = 2.6
    width = left + stride * steps - 0.9
    figure, ax = draw.drawing(width, 7.4, unit=7 / width)
    for y, name in ((0.7, "output"), (3.2, "state"), (5.7, "input")):
        draw.words(ax, 0.3, y + 0.5, name, align="left", colour=draw.QUIET)
    for t in range(steps):
        at = left + stride * t
        middle = at + wide / 2
        draw.cell(ax, at, 0.7, short(h[t]), draw.OUTPUT, width=wide)
        draw.cell(ax, at, 3.2, short(h[t]), draw.STATE, width=wide)
        draw.cell(ax, at, 5.7, short(x[t]), draw.INPUT, width=wide, strong=t == 0)
        for y, letter in ((0.7, "y"), (3.2, "h"), (5.7, "x")):
            draw.words(ax, at - 0.15, y - 0.2, f"${letter}_{t}$", align="right")
        draw.arrow(ax, (middle, 5.7), (middle, 4.2), colour=way if t == 0 else draw.INK)
        draw.arrow(ax, (middle, 3.2), (middle, 1.7), colour=way if t == steps - 1 else draw.INK)
        if t:
            draw.arrow(ax, (at - stride + wide, 3.7), (at, 3.7), text=f"× {short(A_bar)}",
                       at=(at - (stride - wide) / 2, 4.15), colour=way)
    return figure
