"""A scan in tiles along time: each tile is given the state that the one before it ended with."""

from matplotlib.figure import Figure
from torch import Tensor

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.style import COLOURS, arrays, styled


@styled
def carried_tiles(a: Tensor, b: Tensor, h: Tensor, length: int, steps: int) -> Figure:
    """Draw the steps of one channel in tiles, with the steps beyond the end that change nothing.

    Args:
        a: (padded length,), the decays, as loaded.
        b: (padded length,), what the steps add, as loaded.
        h: (padded length,), the states.
        length: the steps of the sequence; the others are padding.
        steps: of a tile.

    Returns:
        The figure.
    """
    a, b, h = arrays(a, b, h)
    tiles = len(a) // steps
    figure, ax = draw.drawing(14, 6.4)
    gap = 1.5
    width = (12.2 - gap * (tiles - 1)) / (tiles * steps)
    for y, text in ((1.8, "a"), (2.8, "b"), (4.9, "h")):
        draw.words(ax, 0.8, y, text, bold=True)
    for i in range(tiles):
        x = 1.4 + i * (steps * width + gap)
        draw.words(ax, x + steps * width / 2, 0.5, f"tile {i + 1}", bold=True)
        for j in range(steps):
            step, place = i * steps + j, x + j * width
            exists = step < length
            colour = draw.INPUT if exists else "white"
            draw.words(ax, place + width / 2, 1.05, f"step {step}" if exists else "beyond",
                       colour=draw.QUIET, size=8)
            draw.cell(ax, place, 1.4, f"{a[step]:g}", colour, width=width, height=0.8)
            draw.cell(ax, place, 2.4, f"{b[step]:g}".replace("-", "−"), colour, width=width,
                      height=0.8)
            draw.cell(ax, place, 4.5, f"{h[step]:g}".replace("-", "−"),
                      draw.STATE if exists else "white", width=width, height=0.8,
                      strong=j == steps - 1)
        draw.arrow(ax, (x + steps * width / 2, 3.3), (x + steps * width / 2, 4.4))
        draw.words(ax, x + steps * width / 2 + 0.3, 3.85, "scan", align="left", size=9)
        end = x + steps * width
        draw.arrow(ax, (end, 4.9), (end + gap / 2, 4.9), *(
            [(end + gap / 2, 3.6), (end + gap + width / 2, 3.6), (end + gap + width / 2, 3.25)]
            if i < tiles - 1 else []), colour=COLOURS[1])
    draw.words(ax, 7.4, 5.9, "orange: the carry, the state at the end of a tile, which enters the "
               "first step of the next", size=9)
    return figure
