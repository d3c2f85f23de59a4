"""Which states are saved: few for the whole sequence, more in one chunk, all in one tile."""

from matplotlib.figure import Figure

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.style import styled

LEFT, WIDTH = 4.4, 9.2
"""In halves of an inch: where the steps begin, and the width of all of them."""


@styled
def recomputed_states(chunk: int, tile: int, chunks: int = 4) -> Figure:
    """Draw the saved states at three levels, each a part of the one above, enlarged.

    Args:
        chunk: steps of a chunk.
        tile: steps of a tile.
        chunks: of the sequence.

    Returns:
        The figure.
    """
    figure, ax = draw.drawing(14, 7.6)
    levels = ((0.9, chunks, "the sequence", "HBM, one sequence after\nthe other, all layers",
               f"before each chunk of {chunk} steps"),
              (3.4, chunk // tile, "one chunk", "a scratch array, used\nagain by each chunk",
               f"before each tile of {tile} steps"),
              (5.9, tile, "one tile", "registers", "before each step"))
    for i, (y, cells, name, where, which) in enumerate(levels):
        draw.words(ax, 0.2, y - 0.35, name, align="left", bold=True)
        draw.words(ax, 0.2, y + 0.55, where, align="left", size=8.5)
        draw.words(ax, LEFT + WIDTH / 2, y - 0.35, f"saved: {cells} states, {which}", size=8.5)
        width = WIDTH / cells
        for k in range(cells):
            draw.cell(ax, LEFT + k * width, y, "", "white", width=width, height=0.8)
            draw.cell(ax, LEFT + k * width, y, "", draw.STATE, width=min(0.25, width / 2),
                      height=0.8, strong=True)
        if i < 2:
            begin = LEFT + (cells - 1) * width
            below = levels[i + 1][0] - 0.7
            for start, end in ((begin, LEFT), (begin + width, LEFT + WIDTH)):
                ax.plot([start, end], [y + 0.85, below], color=draw.QUIET, linewidth=0.9,
                        linestyle=(0, (4, 2)), zorder=1)
    return figure
