"""One training step: from a batch to new parameters, and which of them decay."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.style import styled


@styled
def training_loop(decayed: Sequence[str], others: Sequence[str]) -> Figure:
    """Draw a training step as a loop, with the parameters below it.

    Args:
        decayed: the names of parameters to which weight decay applies.
        others: the names of those to which it doesn't; as many.

    Returns:
        The figure.
    """
    figure, ax = draw.drawing(14, 6.2)
    steps = (("batch", draw.INPUT), ("loss", draw.OUTPUT), ("gradients", "white"),
             ("clip: norm\nat most 1", "white"), ("AdamW", draw.STEP))
    for i, (name, colour) in enumerate(steps):
        x = 1.4 + 2.8 * i
        draw.box(ax, x, 1.9, name, colour, width=2.1, height=1.1)
        if i > 0:
            draw.arrow(ax, (x - 1.75, 1.9), (x - 1.05, 1.9))
    draw.words(ax, 5.6, 1.0, "backward pass", size=8.5, colour=draw.QUIET)
    draw.words(ax, 12.6, 1.0, "learning rate", size=8.5, colour=draw.QUIET)
    draw.arrow(ax, (12.6, 2.45), (12.6, 3.1), (4.2, 3.1), (4.2, 2.45))
    draw.words(ax, 8.4, 2.85, "new parameters", size=8.5)
    for y, title, names, colour in ((3.7, "decay", decayed, draw.STEP),
                                    (5.0, "don't decay", others, "white")):
        draw.words(ax, 2.3, y + 0.45, title, align="right")
        width = 11.2 / len(names)
        draw.row(ax, 2.6, y, names, colour, width=width, height=0.9, size=8.5)
    return figure
