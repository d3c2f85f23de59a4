"""What a model keeps of the past: attention every token, a recurrence a state of fixed size."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.style import COLOURS, styled


@styled
def attention_beside_recurrence(tokens: Sequence[str], d_state: int = 4) -> Figure:
    """Draw what attention and a recurrence keep after each token, one row per token.

    Args:
        tokens: short ones; six or so.
        d_state: the number of components of the recurrence's state.

    Returns:
        The figure.
    """
    length = len(tokens)
    figure, ax = draw.drawing(17, length + 3.6, unit=7 / 17)
    left, right, top = 2.4, 10.9, 2.0
    draw.words(ax, 0.9, 1.4, "token", colour=draw.QUIET)
    draw.words(ax, left + length / 2, 0.5, "attention", bold=True)
    draw.words(ax, left + length / 2, 1.3, "the KV cache: every token so far", colour=draw.QUIET)
    draw.words(ax, right + d_state / 2, 0.5, "recurrence", bold=True)
    draw.words(ax, right + d_state / 2, 1.3, f"the hidden state: {d_state} components",
               colour=draw.QUIET)
    for i, token in enumerate(tokens):
        y = top + i
        draw.cell(ax, 0.5, y + 0.1, token, draw.INPUT, width=0.8, height=0.8)
        draw.row(ax, left, y + 0.1, tokens[:i + 1], COLOURS[1], height=0.8)
        draw.row(ax, right, y + 0.1, [""] * d_state, draw.STATE, height=0.8)
        if i:
            draw.arrow(ax, (right + d_state / 2, y - 0.1), (right + d_state / 2, y + 0.1))
        draw.words(ax, left + i + 1.2, y + 0.5, f"{i + 1} to compare", align="left", size=8,
                   colour=draw.QUIET)
        draw.words(ax, right + d_state + 0.2, y + 0.5, "1 update", align="left", size=8,
                   colour=draw.QUIET)
    bottom = top + length + 0.6
    total = length * (length + 1) // 2
    draw.words(ax, left + length / 2, bottom, f"{total} comparisons for {length} tokens:\n"
               "work grows with L², the cache with L")
    draw.words(ax, right + d_state / 2, bottom, f"{length} updates for {length} tokens:\n"
               "work grows with L, the state doesn't grow")
    return figure
