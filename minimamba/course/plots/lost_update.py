"""Two programs that add to one value: with load and store, and with an atomic addition."""

from matplotlib.figure import Figure

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.style import COLOURS, styled


@styled
def lost_update(start: float, first: float, second: float) -> Figure:
    """Draw how an addition is lost if two programs load the same old value, and how it isn't.

    Args:
        start: the value in memory before.
        first: what program 0 adds.
        second: what program 1 adds.

    Returns:
        The figure.
    """
    figure, ax = draw.drawing(14, 6.3)
    for x, title in ((0.2, "load, add, store: a race"), (7.4, "atomic addition")):
        draw.words(ax, x + 3.2, 0.45, title, bold=True)
        for at, name in ((0.9, "program 0"), (3.2, "HBM"), (5.5, "program 1")):
            draw.words(ax, x + at, 1.15, name, size=8.5, colour=draw.QUIET)
        draw.cell(ax, x + 2.6, 1.6, f"{start:g}", draw.STATE, width=1.2, height=0.8)
    for side in (-1, 1):                                    # both load before either stores
        draw.arrow(ax, (3.4 + side * 0.65, 2.1), (3.4 + side * 1.5, 2.8))
        at = 3.4 + side * 2.3
        draw.words(ax, at, 2.9, f"loads {start:g}", size=8.5)
    for side, added, y in ((-1, first, 3.6), (1, second, 4.7)):
        at = 3.4 + side * 2.3
        draw.words(ax, at, y, f"stores {start + added:g}", size=8.5)
        draw.arrow(ax, (3.4 + side * 1.3, y), (3.4 + side * 0.65, y), colour=COLOURS[1])
        draw.cell(ax, 2.8, y - 0.4, f"{start + added:g}", draw.STATE, width=1.2, height=0.8)
    draw.words(ax, 3.4, 5.7, f"program 0's {first:g} is lost", colour=COLOURS[1])
    total = start
    for side, added, y in ((-1, first, 3.6), (1, second, 4.7)):
        total += added
        draw.words(ax, 10.6 + side * 2.3, y, f"adds {added:g}", size=8.5)
        draw.arrow(ax, (10.6 + side * 1.4, y), (10.6 + side * 0.65, y), colour=COLOURS[1])
        draw.cell(ax, 10.0, y - 0.4, f"{total:g}", draw.STATE, width=1.2, height=0.8)
    draw.words(ax, 10.6, 5.7, "both count, in either order")
    return figure
