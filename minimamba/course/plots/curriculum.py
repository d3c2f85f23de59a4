"""A length curriculum: which lengths are in the batches, part by part of a training run."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.style import styled


@styled
def curriculum(lengths: Sequence[int], drawn: Sequence[int]) -> Figure:
    """Draw a row per length and a column per equal part of the run; a length in use is coloured.

    Args:
        lengths: in ascending order.
        drawn: for each part of the run, how many of the lengths are in use, the shortest first.

    Returns:
        The figure.
    """
    left, top, high = 3.4, 0.9, 0.75
    wide = 10.2 / len(drawn)
    figure, ax = draw.drawing(14, top + high * len(lengths) + 1.4)
    draw.words(ax, left - 0.3, 0.45, "length, tokens", align="right", colour=draw.QUIET)
    for i, length in enumerate(lengths):
        y = top + high * i
        draw.words(ax, left - 0.3, y + high / 2, str(length), align="right")
        for part, count in enumerate(drawn):
            draw.cell(ax, left + wide * part, y, "", draw.INPUT if i < count else "white",
                      width=wide, height=high)
    bottom = top + high * len(lengths)
    for part in range(0, len(drawn) + 1, 2):
        draw.words(ax, left + wide * part, bottom + 0.35, f"{100 * part // len(drawn)} %",
                   size=8.5)
    draw.words(ax, left + wide * len(drawn) / 2, bottom + 0.95, "of the training steps",
               colour=draw.QUIET)
    return figure
