"""A layer of channels: one state space model along each, then a mix across them at each step."""

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.style import styled


@styled
def layer_of_channels(d_model: int = 4, length: int = 6, d_state: int = 3) -> Figure:
    """Draw what an SSM layer does to an input of shape (length, d_model).

    Args:
        d_model: the number of channels.
        length: of the sequence.
        d_state: the components of each channel's state.

    Returns:
        The figure.
    """
    unit, high, top, left = 0.6, 1.5, 2.1, 1.3
    grid, step = length * unit, length - 2
    system, right = left + grid + 0.8, left + grid + 5.8
    mix, far = right + grid + 0.8, right + grid + 3.6
    bottom = top + (d_model - 1) * high + unit
    middle = (top + bottom) / 2
    width = far + grid + 0.4
    figure, ax = draw.drawing(width, bottom + 3.1, unit=7 / width)
    for x, title in ((left + grid / 2, "input"), (system + 2.1, "one SSM per channel"),
                     (right + grid / 2, "y"), (mix + 1.0, "mix"), (far + grid / 2, "output")):
        draw.words(ax, x, 0.6, title, bold=True)
    for channel in range(d_model):
        y = top + channel * high
        level = y + unit / 2
        colour = draw.SERIES[channel % len(draw.SERIES)]
        for x, fill in ((left, colour), (right, colour), (far, "white")):
            draw.row(ax, x, y, [""] * length, fill, width=unit, height=unit)
        for x in (right, far):
            draw.cell(ax, x + step * unit, y, "", colour if x == right else draw.OUTPUT,
                      width=unit, height=unit, strong=True)
        draw.arrow(ax, (left + grid, level), (system, level))
        draw.box(ax, system + 1.1, level, "A, B, C, Δ", colour, width=2.2, height=0.9, size=8)
        draw.row(ax, system + 2.35, y, [""] * d_state, draw.STATE, width=unit, height=unit)
        draw.arrow(ax, (system + 2.35 + d_state * unit, level), (right, level))
        draw.arrow(ax, (right + grid, level), (mix, level))
        draw.arrow(ax, (mix + 2.0, level), (far, level))
    draw.box(ax, mix + 1.0, middle, f"Linear\n{d_model} → {d_model},\nthen\nGELU", width=2.0,
             height=bottom - top + 0.4, size=8)
    ax.text(0.7, middle, "D channels", rotation=90, ha="center", va="center", fontsize=8,
            color=draw.QUIET)
    for x in (left, right, far):
        draw.words(ax, x + grid / 2, top - 0.5, "L steps", colour=draw.QUIET, size=8)
    draw.words(ax, system + 2.35 + d_state * unit / 2, top - 0.5, "state, N", colour=draw.QUIET,
               size=8)
    draw.words(ax, system + 2.1, bottom + 1.0, "along time,\nwithin a channel",
               colour=draw.QUIET)
    draw.words(ax, mix + 1.0, bottom + 1.0, "across channels,\nwithin a step", colour=draw.QUIET)
    for x in (left, far):
        ax.add_patch(Rectangle((x - 0.2, top - 0.2), grid + 0.4, bottom - top + 0.4, fill=False,
                               edgecolor=draw.INK, linewidth=0.9, linestyle=(0, (4, 2))))
    draw.arrow(ax, (left + grid / 2, bottom + 0.2), (left + grid / 2, bottom + 2.2),
               (far + grid / 2, bottom + 2.2), (far + grid / 2, bottom + 0.2), dashed=True)
    draw.words(ax, (left + far + grid) / 2, bottom + 2.65,
               "residual connection: each input is added to the output of its channel and step",
               colour=draw.QUIET, size=8)
    return figure
