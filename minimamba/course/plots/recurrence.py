"""A recurrence, step by step, with its values: input, hidden state, output."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from torch import Tensor

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.style import arrays, styled


@styled
def recurrence_steps(tokens: Sequence[str], decay: Tensor, written: Tensor, h: Tensor, *,
                     first: str = "0") -> Figure:
    """Draw a few steps of h_t = decay_t · h_{t−1} + written_t, with the values in the boxes.

    Args:
        tokens: one per step: what is under its box.
        decay: (steps,), what the old state is multiplied by.
        written: (steps,), what is added to it.
        h: (steps,), the states.
        first: what is written in the box of the initial state.

    Returns:
        The figure.
    """
    decay, written, h = arrays(decay, written, h)
    steps, stride = len(tokens), 3.6
    width = 3.0 + stride * steps
    figure, ax = draw.drawing(width, 4.5, unit=7 / width)
    middle = 1.0
    draw.cell(ax, 0.3, middle, first, draw.STATE, width=1.3)
    draw.words(ax, 0.95, middle - 0.4, "$h_0$")
    for i, token in enumerate(tokens):
        x = 0.3 + stride * (i + 1)
        draw.cell(ax, x, middle, _signed(h[i]), draw.STATE, width=1.3, strong=True)
        draw.words(ax, x + 0.65, middle - 0.4, f"$h_{i + 1}$")
        draw.arrow(ax, (x - stride + 1.3, middle + 0.5), (x, middle + 0.5),
                   text=f"× {decay[i]:.2f}", at=(x - stride / 2 + 0.65, middle + 0.15))
        draw.cell(ax, x, middle + 2.2, token, draw.INPUT, width=1.3)
        draw.arrow(ax, (x + 0.65, middle + 2.2), (x + 0.65, middle + 1.0),
                   text=_signed(written[i], "+"), at=(x + 1.35, middle + 1.6))
    return figure


def _signed(number: float, sign: str = "") -> str:
    """A number with two digits after the point, and a proper minus."""
    return f"{round(float(number), 2) + 0.0:{sign}.2f}".replace("-", "−")
