"""What a masked load brings into a program: elements where there are some, a value elsewhere."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.style import styled


@styled
def masked_load(values: Sequence[float], block: int, program: int, other: float) -> Figure:
    """Draw the array in memory, and the offsets, the mask and the loaded block of one program.

    Args:
        values: of the array.
        block: elements per program.
        program: the program's id; its block must reach into the array.
        other: what is loaded where the mask is false.

    Returns:
        The figure.
    """
    offsets = range(program * block, (program + 1) * block)
    count = max(len(values), offsets[-1] + 1)
    unit = min(1.0, 10.4 / count)
    figure, ax = draw.drawing(14, 7.0)
    left = 3.3
    for y, text in ((1.0, "x in memory"), (2.9, "offsets"), (4.1, "offset < length?"),
                    (6.0, "what tl.load gives")):
        draw.words(ax, left - 0.25, y, text, align="right", size=9)
    for i in range(count):
        text = f"{values[i]:g}" if i < len(values) else "?"
        draw.cell(ax, left + i * unit, 0.5, text, draw.INPUT if i < len(values) else "white",
                  width=unit)
        draw.words(ax, left + (i + 0.5) * unit, 1.8, f"{i}", colour=draw.QUIET, size=8)
    for i in offsets:
        x, exists = left + i * unit, i < len(values)
        draw.cell(ax, x, 2.5, f"{i}", width=unit, height=0.8)
        draw.cell(ax, x, 3.7, "yes" if exists else "no", draw.OUTPUT if exists else "white",
                  width=unit, height=0.8)
        draw.arrow(ax, (x + unit / 2, 4.6), (x + unit / 2, 5.45), dashed=not exists)
        draw.cell(ax, x, 5.5, f"{values[i] if exists else other:g}",
                  draw.STATE if exists else "white", width=unit)
    draw.words(ax, left + program * block * unit - 0.2, 2.9, f"program {program}", align="right",
               bold=True) if program else None
    return figure
