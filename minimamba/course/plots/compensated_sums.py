"""A sum that rounds at every addition, beside one that writes down what was rounded away."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.style import styled


@styled
def compensated_sums(terms: Sequence[str], plain: Sequence[str], total: Sequence[str],
                     excess: Sequence[str]) -> Figure:
    """Draw both sums, one column per term.

    Args:
        terms: what is added; at most eight.
        plain: the plain sum after each.
        total: the compensated sum after each.
        excess: by how much it is too large, after each.

    Returns:
        The figure.
    """
    figure, ax = draw.drawing(14, 5.6)
    left, width = 3.9, 9.8 / len(terms)
    rows = (("terms", terms, draw.INPUT, 0.3), ("plain sum", plain, "white", 1.5),
            ("Kahan's sum", total, draw.STATE, 3.0), ("too large by", excess, draw.STEP, 4.0))
    for name, values, colour, y in rows:
        draw.words(ax, 0.2, y + 0.45, name, align="left", bold=name == "Kahan's sum")
        draw.row(ax, left, y, list(values), colour, width=width, height=0.85)
    draw.words(ax, 0.2, 5.2, "taken off the next term", align="left", size=8.5,
               colour=draw.QUIET)
    for i in range(len(terms) - 1):
        x = left + (i + 0.7) * width
        draw.arrow(ax, (x, 4.85), (x, 5.15), (x + 0.6 * width, 5.15), (x + 0.6 * width, 4.9))
    return figure
