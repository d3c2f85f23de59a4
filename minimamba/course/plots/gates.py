"""What a gate may look at: in a GRU the hidden state, in a selective SSM only the input."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.style import COLOURS, styled


@styled
def gated_recurrences(steps: int = 3) -> Figure:
    """Draw a GRU and a selective SSM side by side, as recurrences with a gate for each step.

    Args:
        steps: how many to draw.

    Returns:
        The figure.
    """
    stride, side = 1.75, 0.95
    panel = side + stride * steps
    width = 2 * panel + 2.2
    figure, ax = draw.drawing(width, 6.6, unit=7 / width)
    _panel(ax, 0.5, steps, stride, side, sees_state=True)
    _panel(ax, panel + 1.7, steps, stride, side, sees_state=False)
    return figure


def _panel(ax: Axes, left: float, steps: int, stride: float, side: float, *,
           sees_state: bool) -> None:
    """One of the two, with its heading and what follows from it."""
    middle = left + (side + stride * steps) / 2
    state, gate, token = 1.4, 3.25, 4.6
    heading, consequence = (
        ("GRU", "a gate needs the state before it:\none step after the other") if sees_state else
        ("selective SSM", "a gate needs its token only:\nall gates at once, before step 1"))
    draw.words(ax, middle, 0.6, heading, bold=True, size=11)
    draw.words(ax, middle, 5.95, consequence, colour=draw.QUIET)
    draw.cell(ax, left, state, "$h_0$", draw.STATE, width=side, height=0.8)
    for t in range(1, steps + 1):
        x = left + stride * t
        center = x + side / 2
        draw.cell(ax, x, state, f"$h_{t}$", draw.STATE, width=side, height=0.8)
        draw.arrow(ax, (x - stride + side, state + 0.4), (x, state + 0.4))
        draw.box(ax, center, gate, f"$g_{t}$", draw.STEP, width=side, height=0.7)
        draw.arrow(ax, (center, gate - 0.35), (center, state + 0.8))
        draw.cell(ax, x, token, f"$x_{t}$", draw.INPUT, width=side, height=0.7)
        draw.arrow(ax, (center, token), (center, gate + 0.35))
        if sees_state:
            before = center - stride
            draw.arrow(ax, (before + 0.25, state + 0.8), (x, gate - 0.1), colour=COLOURS[1])
