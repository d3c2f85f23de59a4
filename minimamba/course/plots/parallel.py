"""Why a nonlinear recurrence must be computed in turn, and a linear one need not be."""

from matplotlib.figure import Figure

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.style import COLOURS, styled


@styled
def nonlinear_beside_linear(steps: int = 4) -> Figure:
    """Draw a nonlinear recurrence as a chain, and a linear one as sums that don't wait.

    Args:
        steps: how many.

    Returns:
        The figure.
    """
    figure, ax = draw.drawing(17, 7.4, unit=7 / 17)
    draw.words(ax, 4, 0.4, "nonlinear: one step after the other", bold=True)
    draw.words(ax, 13, 0.4, "linear: every state is a sum of inputs", bold=True)
    stride = 8.0 / steps
    for i in range(steps):
        x = 0.4 + i * stride
        draw.cell(ax, x, 1.9, f"$h_{i + 1}$", draw.STATE, width=1.1)
        draw.cell(ax, x, 5.2, f"$x_{i + 1}$", draw.INPUT, width=1.1)
        draw.arrow(ax, (x + 0.55, 5.2), (x + 0.55, 2.9))
        draw.words(ax, x + 0.55, 1.5, f"time {i + 1}", colour=draw.QUIET, size=8)
        if i:
            draw.arrow(ax, (x - stride + 1.1, 2.4), (x, 2.4), text="tanh",
                       at=(x - stride / 2 + 0.55, 2.1), size=8)
    for i in range(steps):
        x = 9.4 + i * stride
        draw.cell(ax, x, 1.9, f"$h_{i + 1}$", draw.STATE, width=1.1)
        draw.cell(ax, x, 5.2, f"$x_{i + 1}$", draw.INPUT, width=1.1)
        draw.words(ax, x + 0.55, 1.5, "at once", colour=draw.QUIET, size=8)
        for j in range(i + 1):
            start = 9.4 + j * stride + 0.55
            draw.arrow(ax, (start, 5.2), (x + 0.55, 2.9), colour=COLOURS[(i - j) % len(COLOURS)])
    draw.words(ax, 4, 6.8, f"{steps} steps take {steps} times as long as one")
    draw.words(ax, 13, 6.8, "same color: same distance, same weight")
    return figure
