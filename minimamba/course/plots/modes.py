"""The two modes of one linear time-invariant system, with their values side by side."""

from matplotlib.figure import Figure
from torch import Tensor

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.short_numbers import short
from minimamba.course.plots.style import arrays, styled


@styled
def two_modes(x: Tensor, A_bar: float, kernel: Tensor, y: Tensor) -> Figure:
    """Draw the recurrent and the convolutional mode of h_t = Ā h_{t−1} + x_t, y_t = h_t.

    Args:
        x: (steps,), the inputs; at most four.
        A_bar: the decay.
        kernel: (steps,), the kernel.
        y: (steps,), the outputs, which are the states too.

    Returns:
        The figure.
    """
    x, kernel, y = arrays(x, kernel, y)
    steps, stride, wide = len(x), 2.1, 1.1
    half = stride * steps
    left, right = 0.7, half + 1.7
    width = right + half - 0.3
    figure, ax = draw.drawing(width, 10.0, unit=7 / width)
    for at, title, below in (
            (left, "recurrent mode", "one step after the other;\nonly the last state is kept"),
            (right, "convolutional mode", "all outputs at the same time;\nall inputs are needed")):
        middle = at + (half - stride + wide) / 2
        draw.words(ax, middle, 0.5, title, bold=True)
        draw.words(ax, middle, 9.2, below)
        for t in range(steps):
            draw.cell(ax, at + stride * t, 1.6, short(y[t]), draw.OUTPUT, width=wide)
            draw.cell(ax, at + stride * t, 6.5, short(x[t]), draw.INPUT, width=wide)
    for t in range(steps):
        at = left + stride * t
        draw.cell(ax, at, 4.05, short(y[t]), draw.STATE, width=wide)
        draw.arrow(ax, (at + wide / 2, 6.5), (at + wide / 2, 5.05))
        draw.arrow(ax, (at + wide / 2, 4.05), (at + wide / 2, 2.6))
        if t:
            draw.arrow(ax, (at - stride + wide, 4.55), (at, 4.55))
            draw.words(ax, at - (stride - wide) / 2, 5.0, f"× {short(A_bar)}", size=8)
        for s in range(t + 1):
            draw.arrow(ax, (right + stride * s + wide / 2, 6.5),
                       (right + stride * t + wide / 2, 2.6), colour=draw.SERIES[t - s])
    draw.words(ax, right, 8.1, "by distance:", align="left", colour=draw.QUIET)
    for lag, weight in enumerate(kernel):
        draw.words(ax, right + 3.2 + 1.3 * lag, 8.1, f"× {short(weight)}", colour=draw.SERIES[lag])
    for at in (left, right):
        draw.words(ax, at - 0.25, 2.1, "y", align="right", colour=draw.QUIET)
        draw.words(ax, at - 0.25, 7.0, "x", align="right", colour=draw.QUIET)
    draw.words(ax, left - 0.25, 4.55, "h", align="right", colour=draw.QUIET)
    return figure
