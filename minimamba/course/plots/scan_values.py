"""A parallel scan with its values in the boxes: one row before the first level and after each."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.style import COLOURS, styled

Range = tuple[int, int]
WIDTH, LEFT, TOP, DOWN = 14.0, 2.3, 0.9, 1.9
"""In halves of an inch: the picture, the column of names, what is above the first row, and from
row to row."""


@styled
def scan_values(values: Sequence[Sequence[str]], levels: Sequence[Sequence[tuple[int, int]]],
                covered: Sequence[Sequence[Range]], names: Sequence[str]) -> Figure:
    """Draw what each position holds after each level of a scan, with arrows between the levels.

    A position that combines all steps up to its own is complete: filled, with a thick border. An
    orange arrow brings what is combined into a position, a grey one what it held before.

    Args:
        values: (levels + 1) rows with the text of each position; up to 8 positions.
        levels: the combine operations between the rows, as (source, target).
        covered: (levels + 1) rows with the (first, last) step that each position combines.
        names: of the rows, written at their left.

    Returns:
        The figure.
    """
    length = len(values[0])
    pitch = (WIDTH - LEFT - 0.15) / length
    width = min(1.6, 0.88 * pitch)
    height = 0.62 if all("\n" not in text for text in values[0]) else 1.0
    figure, ax = draw.drawing(WIDTH, TOP + DOWN * (len(values) - 1) + height + 0.3)
    middles = [LEFT + pitch * (position + 0.5) for position in range(length)]
    for position, x in enumerate(middles):
        draw.words(ax, x, TOP - 0.45, f"step {position + 1}", colour=draw.QUIET, size=8.5)
    for level, (texts, ranges) in enumerate(zip(values, covered, strict=True)):
        y = TOP + DOWN * level
        draw.words(ax, 0.2, y + height / 2, names[level], align="left", size=8.5)
        for x, text, (first, _) in zip(middles, texts, ranges, strict=True):
            complete = first == 0
            draw.cell(ax, x - width / 2, y, text, draw.STATE if complete else "white",
                      width=width, height=height, size=8.5, strong=complete)
    for level, pairs in enumerate(levels):
        above = TOP + DOWN * level + height + 0.06
        below = TOP + DOWN * (level + 1) - 0.06
        for source, target in pairs:
            draw.arrow(ax, (middles[target], above), (middles[target], below), colour="#999999")
            draw.arrow(ax, (middles[source], above), (middles[target] - 0.3 * width, below),
                       colour=COLOURS[1])
    return figure
