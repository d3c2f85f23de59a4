"""Three orders in which one map of a sequence can be computed: steps, pairs of steps, chunks."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.style import styled

SIDE, TOP = 4.8, 1.3


@styled
def duality_forms(length: int, chunk_size: int) -> Figure:
    """Draw the recurrence, masked attention, and the form in chunks that is made of both.

    Args:
        length: the number of steps.
        chunk_size: steps per chunk.

    Returns:
        The figure.
    """
    figure, ax = draw.drawing(18, 8.2, unit=7 / 18)
    unit = SIDE / length
    for left, title, note, size in (
            (0.7, "recurrence", f"{length} steps, one after another", 1),
            (6.6, "masked attention", f"{length * (length + 1) // 2} pairs, all at once", length),
            (12.5, "chunks", "pairs within chunks,\na state between them", chunk_size)):
        draw.words(ax, left + SIDE / 2, 0.5, title, bold=True)
        draw.words(ax, left + SIDE / 2, TOP + SIDE + 1.1, note, colour=draw.QUIET)
        starts = range(0, length, size)
        for start in starts:
            _triangle(ax, left, start, min(size, length - start), unit)
            if start + size < length:
                _state(ax, left, start + size, unit)
    return figure


def _triangle(ax: Axes, left: float, start: int, size: int, unit: float) -> None:
    """The pairs of steps of one chunk: each step with itself and those before it."""
    for t in range(start, start + size):
        for s in range(start, t + 1):
            draw.cell(ax, left + s * unit, TOP + t * unit, "", draw.SERIES[0], width=unit,
                      height=unit)


def _state(ax: Axes, left: float, step: int, unit: float) -> None:
    """The state that enters a step, to the right of and above it."""
    x, y = left + step * unit, TOP + step * unit
    draw.arrow(ax, (x, y - 0.55 * unit), (x + 0.55 * unit, y - 0.55 * unit),
               (x + 0.55 * unit, y), colour=draw.SERIES[1])
