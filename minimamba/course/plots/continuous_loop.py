"""The continuous state space model as a loop: B writes, A feeds back, C reads, in each channel."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.style import styled


@styled
def continuous_loop(d_state: int = 4, channels: int = 3) -> Figure:
    """Draw h' = A h + B x, y = C h as a loop, one sheet per channel.

    Args:
        d_state: the state dimension N, at most 4.
        channels: how many sheets, at most 4.

    Returns:
        The figure.
    """
    figure, ax = draw.drawing(17, 8.6, unit=7 / 17)
    left, top, right, bottom = 0.3, 1.5, 15.2, 8.2
    for behind in reversed(range(channels)):
        x, y = left + 0.5 * behind, top - 0.5 * behind
        for colour, alpha in (("white", 1.0), ("#eeeeee", 0.6)):
            ax.add_patch(Rectangle((x, y), right - left, bottom - top, facecolor=colour,
                                   edgecolor=draw.QUIET, alpha=alpha, linewidth=0.8, zorder=0.5))
    draw.words(ax, right - 0.2, top + 0.35, f"channel 1 of {channels}", align="right",
               colour=draw.QUIET, size=8.5)
    _loop(ax, middle=4.1, d_state=d_state)
    return figure


def _loop(ax: Axes, middle: float, d_state: int) -> None:
    """Draw the loop of one channel, with x, the state and y at the height `middle`."""
    draw.cell(ax, 0.8, middle - 0.5, "x(t)", draw.INPUT, width=1.4)
    draw.words(ax, 1.5, middle + 0.95, "input:\n1 number", colour=draw.QUIET, size=8.5)
    draw.arrow(ax, (2.2, middle), (3.2, middle))
    draw.box(ax, 3.8, middle, "B", draw.INPUT, width=1.2)
    draw.words(ax, 3.8, middle + 0.85, f"{d_state} × 1", colour=draw.QUIET, size=8.5)
    draw.arrow(ax, (4.4, middle), (5.4, middle))
    draw.box(ax, 5.8, middle, "+", width=0.8, height=0.8)
    draw.arrow(ax, (6.2, middle), (7.4, middle), text="h′")
    draw.box(ax, 7.9, middle, "∫", width=1.0)
    draw.words(ax, 7.9, middle - 0.85, "add up over time", colour=draw.QUIET, size=8.5)
    draw.arrow(ax, (8.4, middle), (9.4, middle))
    height = 0.7
    upper = middle - d_state * height / 2
    for n in range(d_state):
        draw.cell(ax, 9.4, upper + n * height, f"$h_{n + 1}$", draw.STATE, width=1.2,
                  height=height)
    draw.words(ax, 10.0, upper - 0.4, f"hidden state h(t), N = {d_state}")
    draw.arrow(ax, (10.6, middle), (11.6, middle))
    draw.box(ax, 12.2, middle, "C", draw.OUTPUT, width=1.2)
    draw.words(ax, 12.2, middle + 0.85, f"1 × {d_state}", colour=draw.QUIET, size=8.5)
    draw.arrow(ax, (12.8, middle), (13.4, middle))
    draw.cell(ax, 13.4, middle - 0.5, "y(t)", draw.OUTPUT, width=1.4)
    draw.words(ax, 14.1, middle + 0.95, "output:\n1 number", colour=draw.QUIET, size=8.5)
    below = middle + 2.7
    draw.arrow(ax, (10.0, middle + d_state * height / 2), (10.0, below), (8.5, below))
    draw.box(ax, 7.9, below, "A", draw.STATE, width=1.2)
    draw.words(ax, 7.9, below + 0.85, f"{d_state} × {d_state}: the state changes itself",
               colour=draw.QUIET, size=8.5)
    draw.arrow(ax, (7.3, below), (5.8, below), (5.8, middle + 0.4))
