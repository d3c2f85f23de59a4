"""Who computes what in a scan on a GPU: threads, blocks and the memories that they use."""

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.style import COLOURS, styled


@styled
def threads_and_blocks(blocks: int = 3, threads: int = 4, steps: int = 4) -> Figure:
    """Draw blocks of threads, one block per channel, each thread with steps of its own.

    Args:
        blocks: how many are drawn.
        threads: per block.
        steps: per thread.

    Returns:
        The figure.
    """
    figure, ax = draw.drawing(14, 2.05 * blocks + 3.2)
    left, between = 2.9, 0.75
    width = (13.3 - left - between * (threads - 1)) / (threads * steps)
    for i in range(blocks):
        y = 1.1 + 2.05 * i
        ax.add_patch(Rectangle((0.3, y), 13.3, 1.75, facecolor="#dddddd", edgecolor=draw.INK,
                               alpha=0.5, zorder=0.5))
        draw.words(ax, 0.55, y + 0.6, f"block {i + 1}", align="left", bold=True)
        draw.words(ax, 0.55, y + 1.3, f"channel {i + 1}", align="left", size=8.5)
        for j in range(threads):
            x = left + j * (steps * width + between)
            draw.words(ax, x + steps * width / 2, y + 0.4, f"thread {j + 1}", size=8.5)
            draw.row(ax, x, y + 0.75, [""] * steps, draw.STATE, width=width, height=0.65)
            if j:
                draw.arrow(ax, (x - between, y + 1.08), (x, y + 1.08), text="(a, b)",
                           at=(x - between / 2, y + 0.4), colour=COLOURS[1], size=8.5)
    bottom = 1.1 + 2.05 * blocks
    draw.words(ax, (left + 13.3) / 2, 0.6, "time steps of the sequence →", colour=draw.QUIET)
    draw.words(ax, 7.0, bottom + 0.2, "inside a block: registers and shared memory (SRAM), small "
               "and fast", size=8.5)
    for x in (4.0, 10.0):
        draw.arrow(ax, (x, bottom + 0.5), (x, bottom + 1.2))
        draw.arrow(ax, (x, bottom + 1.2), (x, bottom + 0.5))
    draw.cell(ax, 0.3, bottom + 1.2, "the GPU's main memory (HBM): large, slow, open to all blocks",
              draw.STEP, width=13.3, height=0.7)
    return figure
