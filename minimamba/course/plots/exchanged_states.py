"""Two sequences that exchange a part of their states halfway: whose answer comes out?"""

from collections.abc import Sequence

from matplotlib.figure import Figure

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.style import COLOURS, styled


@styled
def exchanged_states(halves: Sequence[tuple[str, str]], kinds: tuple[str, str]) -> Figure:
    """Draw two sequences, the states after their first halves, and the exchange of one part.

    Args:
        halves: for each of the two sequences its first and its second half.
        kinds: the two parts of a state; the first is exchanged.

    Returns:
        The figure.
    """
    figure, ax = draw.drawing(14, 5.6)
    for x, title in ((2.3, "first half"), (7.0, "state after it"), (11.7, "second half")):
        draw.words(ax, x, 0.5, title, colour=draw.QUIET)
    for i, (first, second) in enumerate(halves):
        y, colour = 1.2 + 2.8 * i, COLOURS[i]
        draw.box(ax, 2.3, y + 0.5, first, colour, width=4.0)
        draw.arrow(ax, (4.3, y + 0.5), (5.0, y + 0.5))
        for x, kind in zip((5.0, 7.1), kinds, strict=True):
            draw.cell(ax, x, y, kind, colour, width=2.1, size=8.5)
        draw.arrow(ax, (9.2, y + 0.5), (9.7, y + 0.5))
        draw.box(ax, 11.7, y + 0.5, f"{second} → ?", width=4.0)
    for x, start, end in ((5.7, 2.2, 4.0), (6.4, 4.0, 2.2)):
        draw.arrow(ax, (x, start), (x, end), colour=COLOURS[1])
    draw.words(ax, 8.1, 3.1, "exchanged", colour=COLOURS[1])
    return figure
