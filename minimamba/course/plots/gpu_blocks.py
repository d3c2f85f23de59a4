"""Who computes what in a scan on a GPU: threads, blocks and the memories that they use."""

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.style import COLOURS, styled


@styled
def threads_and_blocks(blocks: int = 2, threads: int = 4, steps: int = 4) -> Figure:
    """Draw blocks of threads, one block per channel, whose threads scan their pairs together.

    Args:
        blocks: how many are drawn.
        threads: per block.
        steps: per thread.

    Returns:
        The figure.
    """
    height = 3.05
    figure, ax = draw.drawing(14, (height + 0.25) * blocks + 3.0)
    left, between = 2.9, 0.35
    width = (13.3 - left - between * (threads - 1)) / (threads * steps)
    draw.words(ax, (left + 13.3) / 2, 0.5, "time steps of one chunk →", colour=draw.QUIET)
    for i in range(blocks):
        y = 0.95 + (height + 0.25) * i
        ax.add_patch(Rectangle((0.3, y), 13.3, height, facecolor="#dddddd", edgecolor=draw.INK,
                               alpha=0.5, zorder=0.5))
        draw.words(ax, 0.55, y + 0.8, f"block {i + 1}", align="left", bold=True)
        draw.words(ax, 0.55, y + 1.4, f"channel {i + 1}", align="left", size=8.5)
        for j in range(threads):
            x = left + j * (steps * width + between)
            draw.words(ax, x + steps * width / 2, y + 0.35, f"thread {j + 1}", size=8.5)
            draw.row(ax, x, y + 0.65, [""] * steps, draw.STATE, width=width, height=0.65)
            for part, colour, ends, text, aside in (
                    (0.3, COLOURS[1], (1.3, 2.1), "(a, b)", -0.45),
                    (0.7, COLOURS[0], (2.1, 1.3), "state", 0.45)):
                at = x + part * steps * width
                draw.arrow(ax, *((at, y + end) for end in ends), text=text,
                           at=(at + aside, y + 1.7), colour=colour, size=8.5)
        draw.cell(ax, left, y + 2.1, "parallel scan of the threads' pairs", "white",
                  width=13.3 - left, height=0.65)
    bottom = 0.95 + (height + 0.25) * blocks
    draw.words(ax, 7.0, bottom + 0.15, "inside a block: registers and shared memory (SRAM), small "
               "and fast", size=8.5)
    for x in (4.0, 10.0):
        draw.arrow(ax, (x, bottom + 0.45), (x, bottom + 1.15))
        draw.arrow(ax, (x, bottom + 1.15), (x, bottom + 0.45))
    draw.cell(ax, 0.3, bottom + 1.15, "the GPU's main memory (HBM): large, slow, open to all "
              "blocks", draw.STEP, width=13.3, height=0.7)
    return figure
