"""What a gate may look at: in a GRU the hidden state, in a selective SSM only the input."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.style import COLOURS, styled

WIDTH, GAP, START = 2.4, 0.8, 0.95
"""Of a step, between two steps, and of the initial state."""
STATE, BOXES, TOKEN = 1.3, 3.2, 4.85
"""The upper edge of the states, the middle of the boxes and the upper edge of the tokens."""


@styled
def gated_recurrences(steps: int = 2) -> Figure:
    """Draw a GRU and a selective SSM side by side: what each gate and new value is computed from.

    Args:
        steps: how many to draw.

    Returns:
        The figure.
    """
    panel = START + (GAP + WIDTH) * steps
    width = 2 * panel + 2.2
    figure, ax = draw.drawing(width, 7.0, unit=7 / width)
    _panel(ax, 0.5, steps, sees_state=True)
    _panel(ax, panel + 1.7, steps, sees_state=False)
    return figure


def _panel(ax: Axes, left: float, steps: int, *, sees_state: bool) -> None:
    """One of the two, with its heading and what follows from it."""
    middle = left + (START + (GAP + WIDTH) * steps) / 2
    heading, consequence = (
        ("GRU", "gate and new value need the state before:\none step after the other")
        if sees_state else
        ("selective SSM", "gate and new value need the token only:\nall gates before step 1"))
    draw.words(ax, middle, 0.6, heading, bold=True, size=11)
    draw.words(ax, middle, 6.35, consequence, colour=draw.QUIET)
    draw.cell(ax, left, STATE, "$h_0$", draw.STATE, width=START, height=0.8)
    for t in range(1, steps + 1):
        x = left + START + GAP + (WIDTH + GAP) * (t - 1)
        before, gate, value = x - GAP, x + 0.55, x + 1.6
        draw.cell(ax, x, STATE, f"$h_{t}$", draw.STATE, width=WIDTH, height=0.8)
        draw.cell(ax, x, TOKEN, f"$x_{t}$", draw.INPUT, width=WIDTH, height=0.7)
        draw.arrow(ax, (before, STATE + 0.4), (x, STATE + 0.4))
        draw.box(ax, gate, BOXES, f"$g_{t}$", draw.STEP, width=0.9, height=0.7)
        draw.arrow(ax, (gate, BOXES - 0.35), (gate, STATE + 0.8))
        if sees_state:
            draw.box(ax, value, BOXES, f"$\\tilde{{h}}_{t}$", width=0.9, height=0.7)
            draw.arrow(ax, (value, BOXES - 0.35), (value, STATE + 0.8))
            for end in (gate, value):
                draw.arrow(ax, (end + 0.2, TOKEN), (end + 0.2, BOXES + 0.35))
                draw.arrow(ax, (before - 0.2, STATE + 0.8), (before - 0.2, BOXES + 0.9),
                           (end - 0.2, BOXES + 0.9), (end - 0.2, BOXES + 0.35),
                           colour=COLOURS[1])
        else:
            draw.arrow(ax, (gate, TOKEN), (gate, BOXES + 0.35))
            draw.arrow(ax, (value, TOKEN), (value, STATE + 0.8))
