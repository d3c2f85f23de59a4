"""Two steps of a recurrence, one after the other and combined into one."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.style import styled

Step = tuple[float, float]


@styled
def combined_steps(first: Step, second: Step, both: Step, h: float) -> Figure:
    """Draw two steps h → a·h + b in a row, and below them the one step that does the same.

    Args:
        first: a and b of the earlier step.
        second: a and b of the later step.
        both: a and b of the combined step.
        h: the state before them.

    Returns:
        The figure.
    """
    figure, ax = draw.drawing(14, 5.9)
    between = first[0] * h + first[1]
    after = second[0] * between + second[1]
    for y, label in ((0.9, "two steps"), (3.7, "one combined step")):
        draw.words(ax, 0.3, y - 0.5, label, align="left", bold=True)
        draw.cell(ax, 0.6, y, f"h = {h:g}", draw.STATE, width=1.9)
        draw.cell(ax, 11.5, y, f"h = {after:g}", draw.STATE, width=1.9, strong=True)
    _step(ax, 4.0, 1.4, first, "$a_1$", "$b_1$")
    _step(ax, 10.0, 1.4, second, "$a_2$", "$b_2$")
    draw.cell(ax, 6.05, 0.9, f"h = {between:g}", draw.STATE, width=1.9)
    for start, end in ((2.5, 2.85), (5.15, 6.05), (7.95, 8.85), (11.15, 11.5)):
        draw.arrow(ax, (start, 1.4), (end, 1.4))
    _step(ax, 7.0, 4.2, both, "$a_2 a_1$", "$a_2 b_1 + b_2$")
    draw.arrow(ax, (2.5, 4.2), (5.85, 4.2))
    draw.arrow(ax, (8.15, 4.2), (11.5, 4.2))
    draw.words(ax, 7.0, 5.5, f"{second[0]:g} · {first[0]:g} = {both[0]:g}        "
               f"{second[0]:g} · {first[1]:g} + {second[1]:g} = {both[1]:g}", colour=draw.QUIET,
               size=8.5)
    return figure


def _step(ax: Axes, x: float, y: float, step: Step, a: str, b: str) -> None:
    """A step as a box with its numbers, and the names of the two numbers below it."""
    draw.box(ax, x, y, f"× {step[0]:g}   + {step[1]:g}", draw.STEP, width=2.3)
    draw.words(ax, x, y + 0.8, f"× {a}   + {b}", colour=draw.QUIET, size=8.5)
