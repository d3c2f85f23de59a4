"""A scan in splits: the first pass finds what each split adds, the second computes the output."""

from matplotlib.figure import Figure

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.style import COLOURS, styled

LEFT, WIDTH, BETWEEN = 2.6, 11.2, 0.3
"""In halves of an inch: where the first split begins, the width of all, and what is between."""


@styled
def split_passes(splits: int, pieces: int) -> Figure:
    """Draw both passes over a sequence, with the programs that run at once.

    Args:
        splits: parts of the sequence in the second pass.
        pieces: parts of each split, but the last, in the first pass.

    Returns:
        The figure.
    """
    figure, ax = draw.drawing(14, 6.1)
    wide = (WIDTH - BETWEEN * (splits - 1)) / splits
    draw.words(ax, 0.2, 1.35, "1  carry", align="left", bold=True)
    draw.words(ax, 0.2, 4.1, "2  forward", align="left", bold=True)
    for split in range(splits):
        x = LEFT + split * (wide + BETWEEN)
        if split < splits - 1:
            draw.row(ax, x, 1.0, [f"{split * pieces + piece + 1}" for piece in range(pieces)],
                     draw.INPUT, width=wide / pieces, height=0.7, size=8.5)
            draw.arrow(ax, (x + wide / 2, 1.7), (x + wide / 2, 2.65), (x + wide + BETWEEN, 2.65),
                       (x + wide + BETWEEN, 3.7), colour=COLOURS[1])
        draw.cell(ax, x, 3.75, f"split {split + 1}", draw.STATE, width=wide, height=0.7)
    draw.words(ax, LEFT + (splits - 1) * (wide + BETWEEN) - BETWEEN, 0.5,
               f"{(splits - 1) * pieces} programs, each from zero", align="right", size=8.5)
    draw.words(ax, LEFT + WIDTH, 1.35, "nobody needs\nits last state", align="right", size=8.5,
               colour=draw.QUIET)
    draw.words(ax, LEFT + wide + BETWEEN + 0.25, 3.1, "the state that enters:\nearlier pieces, "
               "combined", align="left", colour=COLOURS[1], size=8.5)
    draw.words(ax, LEFT + WIDTH / 2, 4.85, f"{splits} programs, each from its own state", size=8.5)
    draw.arrow(ax, (LEFT, 5.4), (LEFT + WIDTH, 5.4), text="time steps", at=(LEFT + WIDTH / 2, 5.75))
    return figure
