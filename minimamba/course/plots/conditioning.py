"""Why a basis of nearly parallel vectors loses precision: the way to one vector in two bases."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.style import COLOURS, arrays, styled


@styled
def two_bases(good: Tensor, bad: Tensor, good_coefficients: Tensor,
              bad_coefficients: Tensor) -> Figure:
    """Draw one vector in the plane as a path along the vectors of a good and of a bad basis.

    Args:
        good: (2, 2), a basis vector per row.
        bad: (2, 2), a basis vector per row, nearly parallel.
        good_coefficients: (2,), of the vector in the good basis.
        bad_coefficients: (2,), of the same vector in the bad basis.

    Returns:
        The figure.
    """
    good, bad, few, many = arrays(good, bad, good_coefficients, bad_coefficients)
    figure, ax = draw.drawing(17, 5.0, unit=7 / 17)
    draw.words(ax, 2.6, 0.5, "an orthogonal basis", bold=True)
    draw.words(ax, 10.8, 0.5, "a basis that is nearly parallel", bold=True)
    for origin, basis, coefficients in (((2.0, 3.1), good, few), ((15.2, 3.1), bad, many)):
        _path(ax, origin, basis, coefficients)
    for x, (c1, c2) in ((2.6, few), (10.8, many)):
        draw.words(ax, x, 4.4, f"v = {c1:.4g} $b_1$ + {c2:.4g} $b_2$".replace("-", "−"))
    return figure


def _path(ax: Axes, origin: tuple[float, float], basis: np.ndarray,
          coefficients: np.ndarray) -> None:
    """Draw the basis, the vector v, and the way to v along the basis."""
    x, y = origin
    for n, (across, up) in enumerate(basis):
        draw.arrow(ax, origin, (x + across, y - up))
        low = 0.05 if up > 0.5 else 0.35 - 0.8 * (up > 0)
        draw.words(ax, x + across + 0.35, y - up + low, f"$b_{n + 1}$")
    (across_1, up_1), (across, up) = coefficients[0] * basis[0], coefficients @ basis
    corner, end = (x + across_1, y - up_1), (x + across, y - up)
    if coefficients.all():
        for name, start, stop, above in ((1, origin, corner, 0.4), (2, corner, end, -0.4)):
            middle = ((start[0] + stop[0]) / 2, (start[1] + stop[1]) / 2 + above)
            draw.arrow(ax, start, stop, colour=COLOURS[1], at=middle,
                       text=f"{coefficients[name - 1]:.4g} $b_{name}$".replace("-", "−"))
    draw.arrow(ax, origin, end, colour=COLOURS[0], text="v", at=(end[0], end[1] - 0.35))
