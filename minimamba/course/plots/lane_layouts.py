"""How the lanes of a warp divide the channels and their states among themselves."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.style import styled

UNIT, CELL = 0.72, 0.3
"""In halves of an inch: the width of a lane, and the height of one component of a state."""


@styled
def lane_layouts(lanes: int, d_state: int, sharing: int) -> Figure:
    """Draw lanes with a channel each, and lanes that share each channel.

    Args:
        lanes: how many of a warp's lanes are drawn.
        d_state: components of the state of one channel.
        sharing: lanes that share a channel.

    Returns:
        The figure.
    """
    figure, ax = draw.drawing(14, d_state * CELL + 3.6)
    _layout(ax, 0.6, "one lane per channel", lanes, d_state, 1)
    _layout(ax, 7.6, f"{sharing} lanes per channel", lanes, d_state, sharing)
    return figure


def _layout(ax: Axes, left: float, title: str, lanes: int, d_state: int, sharing: int) -> None:
    """The lanes as columns, each with the components that it holds; a colour per channel."""
    draw.words(ax, left + lanes * UNIT / 2, 0.4, title, bold=True)
    draw.words(ax, left + lanes * UNIT / 2, 1.05, f"lanes 0 to {lanes - 1} of 32",
               colour=draw.QUIET, size=8.5)
    part = -(-d_state // sharing)
    for lane in range(lanes):
        x, channel = left + lane * UNIT, lane // sharing
        draw.words(ax, x + UNIT / 2, 1.7, str(lane), size=8.5)
        for n in range(part):
            draw.cell(ax, x + 0.05, 2.05 + n * CELL, "", draw.SERIES[channel % len(draw.SERIES)],
                      width=UNIT - 0.1, height=CELL)
    channels = -(-lanes // sharing)
    bottom = 2.05 + part * CELL
    for channel in range(channels):
        wide = min(sharing, lanes - channel * sharing)
        x = left + (channel * sharing + wide / 2) * UNIT
        draw.words(ax, x, bottom + 0.35, f"channel {channel}" if sharing > 1 else str(channel),
                   size=8.5)
    if sharing == 1:
        draw.words(ax, left + lanes * UNIT / 2, bottom + 0.95, f"channels, each with {d_state} "
                   "components in one lane", size=8.5)
    else:
        draw.words(ax, left + lanes * UNIT / 2, bottom + 0.95,
                   f"{part} components of each channel in a lane", size=8.5)
        draw.words(ax, left + lanes * UNIT / 2, bottom + 2.1, f"a warp has 1/{sharing} of the "
                   f"channels,\nso there are {sharing} times the warps", size=8.5)
