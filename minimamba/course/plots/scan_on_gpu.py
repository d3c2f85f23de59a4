"""Two ways to spread a selective scan over a GPU: along time, or along channels only."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.style import COLOURS, styled


@styled
def scan_on_gpu(channels: int = 4, threads: int = 4, block: int = 2) -> Figure:
    """Draw the official kernel's blocks of threads beside the programs of this course.

    Args:
        channels: how many are drawn.
        threads: of each block of the official kernel.
        block: channels of each of our programs.

    Returns:
        The figure.
    """
    figure, ax = draw.drawing(14, channels * 1.1 + 4.3)
    width = 5.4
    for x, title in ((1.3, "official kernel"), (8.3, "our kernel")):
        draw.words(ax, x + width / 2, 0.5, title, bold=True)
        draw.words(ax, x + width / 2, 1.2, "time →", colour=draw.QUIET, size=9)
    bottom = 1.7 + channels * 1.1
    for i in range(channels):
        y = 1.7 + i * 1.1
        draw.words(ax, 1.15, y + 0.45, f"channel {i}", align="right", size=8)
        _row(ax, 1.3, y, width, threads, COLOURS[i % len(COLOURS)], 0.9)
        for thread in range(threads):
            draw.words(ax, 1.3 + (thread + 0.5) * width / threads, y + 0.45, f"thread {thread}",
                       size=8)
        _row(ax, 8.3, y, width, 1, COLOURS[i // block % len(COLOURS)], 0.9)
        draw.words(ax, 8.15, y + 0.45, f"channel {i}", align="right", size=8)
    for i in range(0, channels, block):
        y, height = 1.7 + i * 1.1, (min(block, channels - i) - 1) * 1.1 + 0.9
        ax.add_patch(Rectangle((9.5, y - 0.08), 0.5, height + 0.16, facecolor="white", alpha=0.9,
                               edgecolor=draw.INK, linewidth=2.0, zorder=4))
        draw.words(ax, 10.3, y + 0.45, f"→  program {i // block}", align="left", size=9)
    draw.words(ax, 1.3 + width / 2, bottom + 0.95, "one block of threads per channel;\n"
               "all steps of a chunk at once,\none component of the state after the other",
               size=8.5)
    draw.words(ax, 8.3 + width / 2, bottom + 0.95, "one program per block of channels;\n"
               "all components of the state at once,\none step after the other", size=8.5)
    return figure


def _row(ax: Axes, x: float, y: float, width: float, parts: int, colour: str,
         height: float) -> None:
    for part in range(parts):
        draw.cell(ax, x + part * width / parts, y, "", colour, width=width / parts, height=height)
