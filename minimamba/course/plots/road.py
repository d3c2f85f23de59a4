"""The way through the course, from the equation to a language model."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.style import COLOURS, styled


@styled
def road(stages: Mapping[str, Sequence[str]]) -> Figure:
    """Draw stages one after the other, each with its chapters below it.

    Args:
        stages: for the title of each its chapters, as short texts.

    Returns:
        The figure.
    """
    width = 16.8 / len(stages)
    most = max(map(len, stages.values()))
    figure, ax = draw.drawing(17, 1.9 + 1.35 * most, unit=7 / 17)
    for i, (title, chapters) in enumerate(stages.items()):
        middle = 0.1 + (i + 0.5) * width
        draw.words(ax, middle, 0.6, title, bold=True)
        for j, chapter in enumerate(chapters):
            draw.box(ax, middle, 1.9 + 1.35 * j, chapter, COLOURS[i % len(COLOURS)],
                     width=width - 0.7, height=1.05, size=8.5)
            if j:
                y = 1.9 + 1.35 * j
                draw.arrow(ax, (middle, y - 0.83), (middle, y - 0.52))
        if i + 1 < len(stages):
            bottom = 1.9 + 1.35 * (len(chapters) - 1)
            right = middle + width / 2
            draw.arrow(ax, (middle + width / 2 - 0.35, bottom), (right, bottom), (right, 1.9),
                       (right + 0.35, 1.9))
    return figure
