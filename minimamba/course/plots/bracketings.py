"""Three numbers added with two bracketings, and what each addition is rounded to."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.style import styled


@styled
def bracketings(a: float, b: float, c: float) -> Figure:
    """Draw (a + b) + c beside a + (b + c), with the rounded result of every addition.

    Args:
        a: the first number.
        b: the second number.
        c: the third number.

    Returns:
        The figure.
    """
    figure, ax = draw.drawing(14, 5.1)
    left, right = a + b, b + c
    for x, title, at, between, total in ((0.5, f"({a:g} + {b:g}) + {c:g}", 0, left, left + c),
                                         (7.5, f"{a:g} + ({b:g} + {c:g})", 1, right, a + right)):
        draw.words(ax, x + 3.0, 0.5, title, bold=True)
        for i, value in enumerate((a, b, c)):
            draw.cell(ax, x + 2.2 * i, 1.0, f"{value:g}", draw.INPUT, width=1.6, height=0.75)
        middle = x + 2.2 * at + 1.9
        _sum(ax, middle, 2.5, between, (x + 2.2 * at + 0.8, x + 2.2 * at + 3.0))
        draw.arrow(ax, (x + 2.2 * (2 if at == 0 else 0) + 0.8, 1.75),
                   (x + (4.4 if at == 0 else 1.6), 4.0))
        draw.arrow(ax, (middle, 3.25), (x + 3.0, 4.0))
        draw.cell(ax, x + 0.7, 4.0, repr(total), draw.OUTPUT, width=4.6, height=0.75, strong=True)
    return figure


def _sum(ax: Axes, x: float, y: float, value: float, froms: tuple[float, float]) -> None:
    """The sum of two cells above, in a cell centered at x."""
    for start in froms:
        draw.arrow(ax, (start, 1.75), (x, y))
    width = max(1.6, 0.2 * len(repr(value)))
    draw.cell(ax, x - width / 2, y, repr(value), draw.STATE, width=width, height=0.75, size=8.5)
