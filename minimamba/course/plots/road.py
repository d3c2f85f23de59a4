"""Columns of boxes: the way through the course, and the history of its models."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.style import COLOURS, styled

FIRST, PITCH = 1.9, 1.35
"""The middle of the first box of a column, and the distance from box to box."""


@styled
def road(stages: Mapping[str, Sequence[str]]) -> Figure:
    """Draw stages one after the other, each with its chapters below it, and the way through them.

    Args:
        stages: for the title of each its chapters, as short texts.

    Returns:
        The figure.
    """
    figure, ax, width = _columns(stages)
    for i, chapters in enumerate(stages.values()):
        middle = 0.1 + (i + 0.5) * width
        for j in range(1, len(chapters)):
            y = FIRST + PITCH * j
            draw.arrow(ax, (middle, y - 0.83), (middle, y - 0.52))
        if i + 1 < len(stages):
            bottom, right = FIRST + PITCH * (len(chapters) - 1), middle + width / 2
            draw.arrow(ax, (right - 0.35, bottom), (right, bottom), (right, FIRST),
                       (right + 0.35, FIRST))
    return figure


@styled
def timeline(years: Mapping[str, Sequence[str]]) -> Figure:
    """Draw what appeared in which years, one column for each.

    Args:
        years: for the title of each column its entries, as short texts.

    Returns:
        The figure.
    """
    figure, _, _ = _columns(years)
    return figure


def _columns(columns: Mapping[str, Sequence[str]]) -> tuple[Figure, Axes, float]:
    """Columns of boxes with titles: the figure, its axes and the width of a column."""
    width = 16.8 / len(columns)
    most = max(map(len, columns.values()))
    figure, ax = draw.drawing(17, FIRST + PITCH * most, unit=7 / 17)
    for i, (title, entries) in enumerate(columns.items()):
        middle = 0.1 + (i + 0.5) * width
        draw.words(ax, middle, 0.6, title, bold=True)
        for j, entry in enumerate(entries):
            draw.box(ax, middle, FIRST + PITCH * j, entry, COLOURS[i % len(COLOURS)],
                     width=width - 0.7, height=1.05, size=8.5)
    return figure, ax, width
