"""How a hybrid without positions recalls: Mamba writes the neighbor, attention fetches."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.style import COLOURS, styled


@styled
def fetched_value(tokens: Sequence[str], query: int, value: int) -> Figure:
    """Draw the tokens, the tokens with their neighbors, and where the query attends.

    Args:
        tokens: one per cell; about ten.
        query: the index of the key that comes again.
        value: the index of the value that stood beside it.

    Returns:
        The figure.
    """
    name, stride = 4.2, 1.7
    width = name + stride * len(tokens) + 0.2
    figure, ax = draw.drawing(width, 7.3, unit=7 / width)
    for y, text in ((0.9, "token"), (3.5, "after Mamba's\nconvolution"), (5.7, "attention")):
        draw.words(ax, 0.2, y, text, align="left", colour=draw.QUIET)
    for i, token in enumerate(tokens):
        x, chosen = name + stride * i, i in (query, value)
        draw.cell(ax, x + 0.2, 0.4, token, COLOURS[1] if chosen else draw.INPUT)
        draw.arrow(ax, (x + 0.7, 1.45), (x + 0.7, 2.95))
        before = tokens[i - 1] if i else ""
        if i:
            draw.arrow(ax, (x - stride + 0.9, 1.45), (x + 0.5, 2.95), colour=draw.STATE)
        draw.cell(ax, x, 3.0, f"{before}{token}", COLOURS[1] if chosen else draw.STATE, width=1.4,
                  strong=chosen)
    start, end = name + stride * query + 0.7, name + stride * value + 0.7
    draw.arrow(ax, (start, 4.05), (start, 5.2), (end, 5.2), (end, 4.1), colour=COLOURS[1])
    draw.words(ax, start, 5.7, f"the query {tokens[query]} looks for the token with "
               f"{tokens[query]} before it", align="right")
    draw.words(ax, start, 6.7, f"prediction: {tokens[value]}", align="right", bold=True)
    return figure
