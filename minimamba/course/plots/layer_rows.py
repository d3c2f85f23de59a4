"""Stacks of layers, one per row: which layers are Mamba, attention or MLPs."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.style import COLOURS, styled

KINDS = {"Mamba": draw.STATE, "attention": COLOURS[1], "MLP": draw.INPUT, "experts": draw.STEP}
"""The colour of each kind of layer; any other is white."""


@styled
def layer_rows(rows: Mapping[str, Sequence[str]]) -> Figure:
    """Draw the layers of each stack from left to right, in the order in which they run.

    Args:
        rows: for the name of each stack its layers, as many in each; a kind that the library has
            is coloured.

    Returns:
        The figure.
    """
    count = max(map(len, rows.values()))
    left = 0.3 * max(map(len, rows)) + 0.8
    width = left + 2.2 * count + 0.2
    figure, ax = draw.drawing(width, 1.7 * len(rows) + 1.3, unit=7 / width)
    draw.words(ax, left - 0.5, 0.6, "layer", align="right", colour=draw.QUIET)
    for i in range(count):
        draw.words(ax, left + 2.2 * i + 1.0, 0.6, f"{i + 1}", colour=draw.QUIET)
    for y, (name, layers) in enumerate(rows.items()):
        draw.words(ax, left - 0.5, 1.7 * y + 1.9, name, align="right")
        for i, kind in enumerate(layers):
            draw.cell(ax, left + 2.2 * i, 1.7 * y + 1.2, kind, KINDS.get(kind, "white"), width=2.0,
                      height=1.4, size=8)
    return figure
