"""The tiles that one step of the backward pass takes and gives."""

from matplotlib.figure import Figure

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.style import COLOURS, styled


@styled
def step_gradients(block: int = 4, d_state: int = 4) -> Figure:
    """Draw the arguments and results of the gradients of a step, with their shapes.

    Args:
        block: the channels of a program.
        d_state: the components of each channel's state.

    Returns:
        The figure.
    """
    unit = 0.34
    bottom = 3.6 + block * unit
    figure, ax = draw.drawing(14, bottom + block * unit + 0.9)
    axes, gradient = ("channel", "component"), COLOURS[1]
    draw.words(ax, 3.2, 0.4, "arguments", bold=True)
    draw.words(ax, 12.1, 0.4, "results", bold=True)
    for x, name, colour in ((0.7, "dh", gradient), (3.0, "before", draw.STATE),
                            (5.3, "A", "white")):
        draw.array(ax, x, 1.6, block, d_state, name, axes, colour, unit=unit)
    for x, name, colour in ((0.7, "x", draw.INPUT), (3.0, "delta", draw.STEP)):
        draw.array(ax, x, bottom, block, 1, name, ("channel", ""), colour, unit=unit)
    draw.array(ax, 5.3, bottom, 1, d_state, "B", ("", "component"), draw.INPUT, unit=unit)
    draw.arrow(ax, (7.2, bottom - 1.0), (9.6, bottom - 1.0))
    draw.words(ax, 8.4, bottom - 1.4, "gradients_of_step", size=8.5)
    for x, name in ((10.5, "dA"), (12.5, "d_before")):
        draw.array(ax, x, 1.6, block, d_state, name, axes, gradient, unit=unit)
    for x, name in ((10.5, "dx"), (12.5, "d_delta")):
        draw.array(ax, x, bottom, block, 1, name, ("channel", ""), gradient, unit=unit)
    return figure
