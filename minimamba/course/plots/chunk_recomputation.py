"""The order of work in a backward pass that recomputes its states, one chunk at a time."""

from matplotlib.figure import Figure

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.style import COLOURS, styled

LEFT, RIGHT = 3.9, 13.7


@styled
def chunk_recomputation(length: int, size: int) -> Figure:
    """Draw a forward pass that saves one state per chunk, and below it the backward pass.

    Args:
        length: the number of steps.
        size: the number of steps per chunk.

    Returns:
        The figure.
    """
    starts = list(range(0, length, size))
    width = (RIGHT - LEFT) / length
    figure, ax = draw.drawing(14, 2.6 + 1.9 * len(starts))
    draw.words(ax, LEFT, 0.4, "time steps →", align="left", colour=draw.QUIET, size=8.5)
    draw.words(ax, 0.2, 1.2, "forward pass: save the\nstate before each chunk", align="left",
               size=8.5)
    for t in range(length):
        saved = t in starts
        draw.cell(ax, LEFT + t * width, 0.8, str(t), draw.STATE if saved else "white",
                  width=width, height=0.8, strong=saved)
    draw.arrow(ax, (LEFT, 2.0), (RIGHT, 2.0), colour=COLOURS[0])
    for row, start in enumerate(reversed(starts)):
        y, end = 3.0 + 1.9 * row, min(start + size, length)
        x, x2 = LEFT + start * width, LEFT + end * width
        draw.words(ax, 0.2, y + 0.4, f"backward pass:\nchunk {start // size}", align="left",
                   size=8.5)
        for t in range(start, end):
            draw.cell(ax, LEFT + t * width, y, str(t), draw.STATE, width=width, height=0.8,
                      strong=t == start)
        draw.arrow(ax, (x, y - 0.3), (x2, y - 0.3), colour=COLOURS[0])
        draw.arrow(ax, (x2, y + 1.0), (x, y + 1.0), colour=COLOURS[1])
        if row == 0:
            draw.words(ax, x - 0.2, y - 0.3, "1. recompute forward", align="right",
                       colour=COLOURS[0], size=8.5)
            draw.words(ax, x - 0.2, y + 1.0, "2. gradients backward", align="right",
                       colour=COLOURS[1], size=8.5)
    return figure
