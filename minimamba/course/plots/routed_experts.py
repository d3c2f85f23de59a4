"""A mixture of experts for one token: the router weighs the MLPs, and only the best run."""

from matplotlib.figure import Figure
from torch import Tensor

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.style import arrays, styled


@styled
def routed_experts(weights: Tensor, top: int) -> Figure:
    """Draw a token's way through the experts that the router chooses.

    Args:
        weights: (experts,), the router's softmax.
        top: through how many experts the token goes: those with the largest weights.

    Returns:
        The figure.
    """
    weights, = arrays(weights)
    chosen = set((-weights).argsort(stable=True)[:top].tolist())
    count = len(weights)
    middle = 0.9 + 0.75 * count
    figure, ax = draw.drawing(17.5, 1.5 * count + 1.4, unit=7 / 17.5)
    draw.cell(ax, 0.4, middle - 0.5, "token", draw.INPUT, width=1.8)
    draw.box(ax, 4.3, middle, "router:\nsoftmax", draw.STEP, width=2.4, height=1.6)
    draw.arrow(ax, (2.25, middle), (3.1, middle))
    draw.words(ax, 7.5, 0.5, "weight", colour=draw.QUIET)
    draw.words(ax, 10.9, 0.5, f"{top} of {count} MLPs run", colour=draw.QUIET)
    for i, weight in enumerate(weights):
        y, runs = 1.65 + 1.5 * i, i in chosen
        draw.words(ax, 7.5, y, f"{weight:.2f}", bold=runs)
        draw.box(ax, 10.9, y, f"expert {i + 1}" + ", idle" * (not runs),
                 draw.STATE if runs else "white", width=3.0)
        if runs:
            draw.arrow(ax, (5.55, middle), (6.9, y))
            draw.arrow(ax, (8.1, y), (9.35, y))
            draw.arrow(ax, (12.45, y), (14.5, middle))
    draw.words(ax, 14.6, 0.5, "times its weight", colour=draw.QUIET)
    draw.box(ax, 15.0, middle, "+", draw.OUTPUT, width=0.9)
    draw.arrow(ax, (15.5, middle), (17.2, middle), text="output",
               at=(16.4, middle - 0.45))
    return figure
