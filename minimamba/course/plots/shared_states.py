"""More texts than states: two texts that end in one state can't be told apart later."""

from collections import Counter
from collections.abc import Sequence

from matplotlib.figure import Figure

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.style import COLOURS, styled


@styled
def shared_states(texts: Sequence[str], states: Sequence[str], state_of: Sequence[int]) -> Figure:
    """Draw an arrow from each text to the state in which it ends.

    Texts that share a state are orange, and so are their arrows and that state.

    Args:
        texts: short ones, at most ten or so.
        states: the names of all states.
        state_of: for each text the index of its state.

    Returns:
        The figure.
    """
    name, stride = 2.6, 1.6
    width = name + stride * max(len(texts), len(states)) + 0.2
    figure, ax = draw.drawing(width, 4.9, unit=7 / width)
    shift = stride * (len(texts) - len(states)) / 2
    count = Counter(state_of)
    draw.words(ax, 0.2, 0.9, "text", align="left", colour=draw.QUIET)
    draw.words(ax, 0.2, 4.0, "state after it", align="left", colour=draw.QUIET)
    for i, state in enumerate(states):
        draw.cell(ax, name + max(shift, 0) + stride * i, 3.5, state,
                  COLOURS[1] if count[i] > 1 else draw.STATE, width=1.3)
    for i, (text, state) in enumerate(zip(texts, state_of, strict=True)):
        x, shared = name + max(-shift, 0) + stride * i, count[state] > 1
        draw.cell(ax, x, 0.4, text, COLOURS[1] if shared else draw.INPUT, width=1.3)
        end = name + max(shift, 0) + stride * state + 0.65
        draw.arrow(ax, (x + 0.65, 1.45), (end, 3.45), colour=COLOURS[1] if shared else draw.INK)
    return figure
