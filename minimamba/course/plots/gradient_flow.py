"""Where the gradient of one hidden state comes from, and where it goes, with values."""

from collections.abc import Mapping

from matplotlib.figure import Figure

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.style import COLOURS, styled

WIDTH, HEIGHT = 1.7, 0.85
PLACES = ((12.0, 1.3), (12.0, 4.3), (8.5, 0.9), (8.5, 4.3), (4.9, 1.9), (4.9, 6.7), (4.9, 4.3),
          (0.3, 0.9), (0.3, 3.3), (0.3, 5.7), (0.3, 7.9))
"""The left and upper edge of: dy, what comes from later, dC, dh, the gradients of the exponent, of
what the step adds and of the state before, then of A, Δ, x and B."""
ARROWS = ((0, 2), (0, 3), (1, 3), (3, 4), (3, 6), (3, 5), (4, 7), (4, 8), (5, 8), (5, 9), (5, 10))
"""From which of these to which."""
PLAIN = ((1, 3), (3, 5))
"""Arrows that hand on a whole gradient."""


@styled
def gradient_flow(gradients: Mapping[str, float], factors: Mapping[str, float]) -> Figure:
    """Draw how the gradient of a state is collected, and handed on to all that it was made of.

    Args:
        gradients: for the names of dy, of what comes from the later step, of dC and dh, of the
            gradients of the exponent, of what the step adds and of the state before, and of those
            of A, Δ, x and B: their values.
        factors: for the name of the factor of each arrow its value, in the order dy to dC, dy to
            dh, dh to the exponent and to the state before, the exponent to A and to Δ, what the
            step adds to Δ, x and B.

    Returns:
        The figure.
    """
    figure, ax = draw.drawing(14, 9.1)
    names = list(gradients)
    for i, ((x, y), name) in enumerate(zip(PLACES, names, strict=True)):
        colour = COLOURS[1] if i == 3 else draw.INPUT if i < 2 else "white"
        draw.words(ax, x + WIDTH / 2, y - 0.3, name, size=9)
        draw.cell(ax, x, y, _short(gradients[name]), colour, width=WIDTH, height=HEIGHT,
                  strong=i in (2, 6, 7, 8, 9, 10))
    labels = iter(factors.items())
    for start, end in ARROWS:
        (x, y), (x2, y2) = PLACES[start], PLACES[end]
        tail, head = (x - 0.05, y + HEIGHT / 2), (x2 + WIDTH + 0.05, y2 + HEIGHT / 2)
        draw.arrow(ax, tail, head, colour=COLOURS[1])
        if (start, end) not in PLAIN:
            name, value = next(labels)
            _label(ax, (tail[0] + head[0]) / 2, (tail[1] + head[1]) / 2, name, value)
    return figure


def _label(ax, x: float, y: float, name: str, value: float) -> None:
    """Write a factor on its arrow: its name, and its value below."""
    look = {"ha": "center", "va": "center", "zorder": 6, "color": draw.INK, "fontsize": 8.2,
            "bbox": {"facecolor": "white", "edgecolor": "none", "pad": 0.6}}
    ax.text(x, y - 0.24, name, **look)
    ax.text(x, y + 0.24, _short(value), **look)


def _short(value: float) -> str:
    """At most two decimals, and a true minus."""
    return f"{round(float(value), 2):g}".replace("-", "−")
