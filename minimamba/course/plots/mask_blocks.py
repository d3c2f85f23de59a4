"""The mask of state space duality, cut into blocks, and what each of the four steps computes."""

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.short_numbers import short
from minimamba.course.plots.style import COLOURS, arrays, styled

STEPS = ("the whole mask", "step 1: within chunks", "step 2: what each chunk adds",
         "step 3: from chunk to chunk", "step 4: what the entering state adds")
"""What is lit, by step."""
LIT = ("#222222", COLOURS[0], COLOURS[1], COLOURS[3], COLOURS[2])
"""The colour of what is lit, by step."""
SIDE = 7.6
"""That of the mask, in halves of an inch."""
WITH_VALUES = 8
"""Up to so many steps, the cells have room for their values."""


@styled
def mask_blocks(mask: Tensor, chunk_size: int, step: int) -> Figure:
    """Draw the mask, with the entries that a step of the chunked form computes with lit.

    Args:
        mask: (length, length), the products of decays; zeros above the diagonal.
        chunk_size: steps per chunk.
        step: 1 to 4; 0 for the whole mask.

    Returns:
        The figure.
    """
    mask, = arrays(mask)
    length = len(mask)
    unit = SIDE / length
    left, top = 3.4, 1.5
    figure, ax = draw.drawing(14, SIDE + top + 0.3)
    lit = lit_entries(length, chunk_size, step)
    draw.words(ax, left + SIDE / 2, 0.4, STEPS[step], bold=True)
    draw.words(ax, left + SIDE / 2, 1.05, "input of step $s$ →", colour=draw.QUIET)
    draw.words(ax, left - 0.3, top + SIDE / 2, "output of\nstep $t$ ↓", align="right",
               colour=draw.QUIET)
    for t in range(length):
        for s in range(length):
            place = left + s * unit, top + t * unit
            ax.add_patch(Rectangle(place, unit, unit, linewidth=0.4, edgecolor="#bbbbbb",
                                   facecolor=_shade(mask[t, s], LIT[step] if lit[t, s] else None),
                                   zorder=2))
            if length <= WITH_VALUES and s <= t:
                draw.words(ax, place[0] + unit / 2, place[1] + unit / 2, short(mask[t, s]),
                           colour=draw.INK if lit[t, s] else draw.QUIET)
    for start in range(0, length, chunk_size):
        size = min(chunk_size, length - start)
        for other in range(0, start + 1, chunk_size):
            columns = min(chunk_size, length - other)
            ax.add_patch(Rectangle((left + other * unit, top + start * unit), columns * unit,
                                   size * unit, fill=False, edgecolor=draw.INK, zorder=3,
                                   linewidth=2.0 if start == other else 1.0))
    return figure


def lit_entries(length: int, chunk_size: int, step: int) -> np.ndarray:
    """Find the entries of the mask that a step computes with.

    Args:
        length: the number of steps of the sequence.
        chunk_size: steps per chunk.
        step: 1 to 4; 0 for the whole mask.

    Returns:
        (length, length) of bool. Step 1 has the blocks on the diagonal, step 2 the last row of
        each of them that another chunk follows, step 3 the decays between the ends of chunks, and
        step 4 all blocks below the diagonal.
    """
    t, s = np.indices((length, length))
    own, other = t // chunk_size, s // chunk_size
    last = (length - 1) // chunk_size

    def ends_chunk(i: np.ndarray) -> np.ndarray:
        return ((i + 1) % chunk_size == 0) & (i // chunk_size < last)

    return (s <= t) & (
        np.ones_like(t, dtype=bool), own == other, (own == other) & ends_chunk(t),
        ends_chunk(t) & ends_chunk(s), own > other)[step]


def _shade(value: float, colour: str | None) -> tuple[float, ...]:
    """The colour of a cell: the stronger, the larger its value; grey where it isn't lit."""
    least, most = (0.15, 0.6) if colour else (0.04, 0.14)
    strength = min(1.0, least + (most - least) * value) if value else 0.0
    return tuple(1 - strength * (1 - part) for part in to_rgb(colour or "#222222"))
