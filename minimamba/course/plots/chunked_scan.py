"""A scan in chunks, with its values; and which states are saved for the backward pass."""

from matplotlib.figure import Figure
from torch import Tensor

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.style import COLOURS, arrays, styled

LEFT, WIDTH, BETWEEN = 3.2, 1.2, 0.9
"""In halves of an inch: where the first chunk begins, a step, and what is between two chunks."""


@styled
def chunked_scan(inside: Tensor, decay: Tensor, h: Tensor, size: int) -> Figure:
    """Draw how the states of each chunk follow from a scan from zero and the state that came in.

    Args:
        inside: (length,), the states if every chunk began from zero.
        decay: (length,), the product of the decays from the start of the chunk up to each step.
        h: (length,), the states.
        size: the number of steps per chunk.

    Returns:
        The figure.
    """
    inside, decay, h = arrays(inside, decay, h)
    figure, ax = draw.drawing(14, 6.7)
    rows = {"scan from zero": (1.3, inside), "decay up to here\n× what came in": (3.1, decay),
            "the states": (4.9, h)}
    for name, (y, _) in rows.items():
        draw.words(ax, 0.2, y + 0.4, name, align="left")
    for y, sign in ((2.6, "+"), (4.4, "=")):
        draw.words(ax, 1.9, y, sign, size=11)
    for start in range(0, len(h), size):
        chunk = slice(start, start + size)
        x = LEFT + start * WIDTH + start // size * BETWEEN
        steps = len(h[chunk])
        draw.words(ax, x + steps * WIDTH / 2, 0.7, f"chunk {start // size + 1}: "
                   f"steps {start + 1} to {start + steps}", bold=True)
        came_in = h[start - 1] if start else 0.0
        draw.row(ax, x, 1.3, [f"{value:g}" for value in inside[chunk]], draw.INPUT, width=WIDTH,
                 height=0.8)
        draw.row(ax, x, 3.1, [f"{value:g} · {came_in:g}" for value in decay[chunk]], draw.STEP,
                 width=WIDTH, height=0.8, size=7.9)
        draw.row(ax, x, 4.9, [f"{value:g}" for value in h[chunk]], draw.STATE, width=WIDTH,
                 height=0.8)
        if start + size < len(h):
            end = x + steps * WIDTH
            draw.arrow(ax, (end, 5.3), (end + BETWEEN / 2, 5.3), (end + BETWEEN / 2, 3.5),
                       (end + BETWEEN, 3.5), colour=COLOURS[1])
            draw.words(ax, end + BETWEEN / 2, 6.2, "the only value handed on: "
                       f"{h[start + size - 1]:g}", colour=COLOURS[1])
    return figure


@styled
def saved_states(length: int, size: int) -> Figure:
    """Draw which states the loop and the chunks save: all, or those handed to the next chunk.

    Args:
        length: the number of steps.
        size: the number of steps per chunk.

    Returns:
        The figure.
    """
    figure, ax = draw.drawing(14, 4.7)
    left, width = 2.6, (14 - 2.6 - 0.3) / length
    for y, name in ((0.9, "loop"), (2.5, f"chunks of {size}")):
        draw.words(ax, 0.2, y + 0.4, name, align="left")
    draw.words(ax, left, 0.45, "every state is saved", align="left", colour=draw.QUIET, size=8.5)
    draw.words(ax, left, 2.05, "only states handed to the next chunk are saved; empty ones are "
               "recomputed", align="left", colour=draw.QUIET, size=8.5)
    for t in range(length):
        draw.cell(ax, left + t * width, 0.9, "", draw.STATE, width=width, height=0.8)
        handed_on = (t + 1) % size == 0 and t + 1 < length
        draw.cell(ax, left + t * width, 2.5, "", draw.STATE if handed_on else "white", width=width,
                  height=0.8, strong=handed_on)
        if handed_on:
            draw.words(ax, left + (t + 0.5) * width, 3.6, f"$h_{{{t + 1}}}$")
    draw.arrow(ax, (left, 4.15), (14 - 0.3, 4.15), text="time steps",
               at=(left + length * width / 2, 4.45))
    return figure
