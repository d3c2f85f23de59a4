"""What each letter adds to the answer at each of several queries, as bars over the letters."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.style import arrays, styled


@styled
def query_scores(letters: Sequence[str], scores: Tensor) -> Figure:
    """Draw one row of tokens per query: the letters with their scores, then the queries so far.

    Args:
        letters: a name for each, as many as there are queries.
        scores: (queries, letters), what the letter adds to its own score at the query; a
            negative one has no bar.

    Returns:
        The figure.
    """
    n, name, cell, block = len(letters), 2.6, 1.25, 3.5
    width = name + 2 * n * cell + 3.2
    figure, ax = draw.drawing(width, block * n + 0.3, unit=7 / width)
    scores, = arrays(scores)
    largest = scores.max()
    for query, row in enumerate(scores):
        y = block * query + 2.1
        draw.words(ax, 0.2, y + 0.4, f"query {query + 1}", align="left", bold=True)
        tokens = [*letters, *["?"] * (query + 1)]
        colours = [draw.INPUT] * n + ["white"] * query + [draw.OUTPUT]
        draw.row(ax, name, y, tokens, colours, width=cell, height=0.8)
        for i, value in enumerate(row):
            x, height = name + i * cell, 1.2 * max(value / largest, 0)
            ax.add_patch(Rectangle((x + 0.2, y - 0.1 - height), cell - 0.4, height, linewidth=0,
                                   facecolor=draw.STATE, zorder=2))
            draw.words(ax, x + cell / 2, y - 0.4 - height,
                       f"{value:.1f}".replace("-", "−"), size=8.5)
        target, here = name + (query + 0.5) * cell, name + (n + query + 0.5) * cell
        draw.arrow(ax, (here, y + 0.8), (here, y + 1.2), (target, y + 1.2), (target, y + 0.85))
        draw.words(ax, here + cell / 2 + 0.3, y + 0.4, f"answers {letters[query]}", align="left",
                   colour=draw.QUIET)
    return figure
