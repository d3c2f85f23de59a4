"""A function with a forward and a backward kernel, as PyTorch's autograd sees it."""

from matplotlib.figure import Figure

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.style import COLOURS, styled


@styled
def autograd_function() -> Figure:
    """Draw what goes through the forward kernel, what is saved, and what the backward kernel gives.

    Returns:
        The figure.
    """
    figure, ax = draw.drawing(14, 6.2)
    draw.cell(ax, 0.3, 0.6, "x, Δ, A, B, C, D", draw.INPUT, width=3.4, height=1.0)
    draw.box(ax, 7.0, 1.1, "forward kernel", draw.STATE, width=3.6, height=1.0)
    draw.cell(ax, 11.2, 0.6, "y", draw.OUTPUT, width=2.4, height=1.0)
    draw.arrow(ax, (3.7, 1.1), (5.2, 1.1))
    draw.arrow(ax, (8.8, 1.1), (11.2, 1.1))
    draw.words(ax, 12.4, 3.1, "the rest of the model,\nand the loss", colour=draw.QUIET, size=8.5)
    draw.arrow(ax, (12.4, 1.6), (12.4, 2.6))
    draw.arrow(ax, (12.4, 3.6), (12.4, 4.6), colour=COLOURS[1])
    draw.cell(ax, 0.3, 2.6, "saved: the inputs, and\none state per chunk", "white", width=3.4,
              height=1.2, size=8.5, strong=True)
    draw.arrow(ax, (2.0, 1.6), (2.0, 2.6))
    draw.arrow(ax, (6.2, 1.6), (6.2, 3.0), (3.7, 3.0), text="states", at=(5.0, 2.7), size=8.5)
    draw.arrow(ax, (3.7, 3.45), (7.0, 3.45), (7.0, 4.6))
    draw.cell(ax, 11.2, 4.6, "dy", COLOURS[1], width=2.4, height=1.0)
    draw.box(ax, 7.0, 5.1, "backward kernel", COLOURS[1], width=3.6, height=1.0)
    draw.cell(ax, 0.3, 4.6, "dx, dΔ, dA, dB, dC, dD", COLOURS[1], width=3.4, height=1.0)
    draw.arrow(ax, (11.2, 5.1), (8.8, 5.1), colour=COLOURS[1])
    draw.arrow(ax, (5.2, 5.1), (3.7, 5.1), colour=COLOURS[1])
    return figure
