"""A sequence cut in two: the state that goes to the right, and its gradient to the left."""

from matplotlib.figure import Figure

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.style import COLOURS, styled


@styled
def handed_state(first: int, second: int) -> Figure:
    """Draw two parts of a sequence, the state between them and the gradient of that state.

    Args:
        first: the number of steps in the first part.
        second: the number of steps in the second part.

    Returns:
        The figure.
    """
    figure, ax = draw.drawing(14, 4.4)
    for x, y_text, steps in ((4.1, "outputs 1", first), (9.9, "outputs 2", second)):
        draw.box(ax, x, 1.9, f"scan of {steps} steps", draw.INPUT, width=3.6, height=1.4)
        draw.arrow(ax, (x, 1.2), (x, 0.75))
        draw.words(ax, x, 0.45, y_text, size=8.5)
    draw.cell(ax, 0.3, 1.5, "0", draw.STATE, width=1.1, height=0.8)
    draw.cell(ax, 6.45, 1.5, "h", draw.STATE, width=1.1, height=0.8, strong=True)
    draw.cell(ax, 12.55, 1.5, "h", draw.STATE, width=1.1, height=0.8)
    for start, end in ((1.4, 2.3), (5.9, 6.45), (7.55, 8.1), (11.7, 12.55)):
        draw.arrow(ax, (start, 1.9), (end, 1.9))
    draw.arrow(ax, (9.9, 2.6), (9.9, 3.3), (7.0, 3.3), (7.0, 2.35), colour=COLOURS[1], dashed=True)
    draw.words(ax, 7.0, 3.7, "backward pass: the gradient of the state between the parts",
               colour=COLOURS[1], size=8.5)
    return figure
