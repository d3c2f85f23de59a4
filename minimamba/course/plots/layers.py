"""A layer of state space models: one system per channel, then a map across the channels."""

from matplotlib.figure import Figure

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.style import COLOURS, styled


@styled
def s4_block(d_model: int = 4, length: int = 5, d_state: int = 64) -> Figure:
    """Draw a residual S4 block: channels side by side in the SSMs, and mixed only after them.

    Args:
        d_model: the number of channels to draw.
        length: the number of steps to draw.
        d_state: the state dimension N of each channel.

    Returns:
        The figure.
    """
    figure, ax = draw.drawing(22.4, 1.4 * d_model + 4.4, unit=7 / 22.4)
    top, unit = 1.9, 0.62
    span, y_mid = unit * length, top + 0.7 * d_model - 0.2
    left, right = 1.2, 11.3
    for x, name in ((left, "input $x$"), (right, "output $y$")):
        draw.words(ax, x + span / 2, 0.7, name, bold=True)
        draw.words(ax, x + span / 2, top + 1.4 * d_model + 0.1, "length →", colour=draw.QUIET,
                   size=8.5)
    draw.words(ax, 8.3, 0.7, "one SSM per channel", bold=True)
    ax.text(0.6, y_mid, "channels", rotation=90, ha="center", va="center", fontsize=8.5,
            color=draw.QUIET)
    draw.words(ax, 8.3, top + 1.4 * d_model + 0.1, f"state dimension $N$ = {d_state}",
               colour=draw.QUIET, size=8.5)
    for d in range(d_model):
        y = top + 1.4 * d
        draw.row(ax, left, y + 0.19, [""] * length, draw.INPUT, width=unit, height=unit)
        draw.box(ax, 8.3, y + 0.5, f"$A_{d}, B_{d}, C_{d}, D_{d}, \\Delta_{d}$", draw.STATE,
                 width=4.0)
        draw.row(ax, right, y + 0.19, [""] * length, draw.OUTPUT, width=unit, height=unit)
        draw.arrow(ax, (left + span + 0.1, y + 0.5), (4.7, y + 0.5))
        draw.arrow(ax, (5.7, y + 0.5), (6.25, y + 0.5))
        draw.arrow(ax, (10.35, y + 0.5), (right - 0.1, y + 0.5))
    draw.box(ax, 5.2, y_mid, "", COLOURS[4], width=0.9, height=1.4 * d_model - 0.4)
    ax.text(5.2, y_mid, "LayerNorm", rotation=90, ha="center", va="center", fontsize=9,
            color=draw.INK)
    draw.box(ax, 15.95, y_mid, "GELU", width=1.7, height=1.4 * d_model - 0.4)
    draw.box(ax, 18.85, y_mid, "linear,\nGLU\n\nmixes the\nchannels", COLOURS[4], width=2.7,
             height=1.4 * d_model - 0.4)
    draw.arrow(ax, (right + span + 0.1, y_mid), (15.05, y_mid))
    draw.arrow(ax, (16.8, y_mid), (17.45, y_mid))
    draw.arrow(ax, (20.2, y_mid), (20.95, y_mid))
    draw.words(ax, 21.25, y_mid, "+", size=13)
    draw.arrow(ax, (21.55, y_mid), (22.3, y_mid))
    bottom = top + 1.4 * d_model + 1.3
    draw.arrow(ax, (left + span / 2, top + 1.4 * d_model + 0.5), (left + span / 2, bottom),
               (21.25, bottom), (21.25, y_mid + 0.45))
    draw.words(ax, 11.2, bottom + 0.5, "residual: the input is added to the result")
    return figure
