"""One channel of a selective SSM, token by token: Δ, what is kept, what is written, the state."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.style import arrays, styled

TALLEST = 1.6
"""The height of a bar of Δ = 1, or of the largest Δ if that is more."""


@styled
def selective_steps(tokens: Sequence[str], x: Tensor, delta: Tensor, kept: Tensor,
                    written: Tensor, h: Tensor) -> Figure:
    """Draw h_t = kept_t · h_{t−1} + written_t for a few tokens, with Δ as bars.

    Args:
        tokens: one per step.
        x: (steps,), the input at each token.
        delta: (steps,), the step sizes.
        kept: (steps,), the fractions exp(ΔA) of the state that are kept.
        written: (steps,), what is added to the state.
        h: (steps,), the state after each token.

    Returns:
        The figure.
    """
    x, delta, kept, written, h = arrays(x, delta, kept, written, h)
    first, stride, bottom, state = 4.4, 2.6, 4.7, 6.3
    width = first + stride * len(tokens)
    figure, ax = draw.drawing(width, 7.7, unit=7 / width)
    for y, name in ((0.9, "token"), (1.75, "input x"), (bottom - 0.6, "step size Δ"),
                    (bottom + 0.6, "written: Δ · x"),
                    (state + 0.5, "× kept\nstate h")):
        draw.words(ax, 0.2, y, name, align="left", colour=draw.QUIET)
    draw.cell(ax, first - stride + 0.7, state, "0", draw.STATE, width=1.2)
    for i, token in enumerate(tokens):
        left = first + stride * i
        middle = left + 1.3
        draw.cell(ax, middle - 0.5, 0.4, "·" if token == "." else token, draw.INPUT)
        draw.words(ax, middle, 1.75, f"{x[i]:g}")
        height = TALLEST * delta[i] / max(delta.max(), 1)
        ax.add_patch(Rectangle((middle - 0.35, bottom - height), 0.7, height, linewidth=0,
                               facecolor=draw.STEP, zorder=2))
        ax.plot((left + 0.4, left + 2.2), (bottom, bottom), color=draw.QUIET, linestyle="-",
                linewidth=0.8)
        draw.words(ax, middle, bottom - height - 0.3, f"{delta[i]:g}")
        draw.arrow(ax, (middle, bottom + 0.95), (middle, state))
        draw.words(ax, middle, bottom + 0.6, f"+ {written[i]:.2f}")
        draw.arrow(ax, (middle - stride + 0.6, state + 0.5), (middle - 0.6, state + 0.5))
        draw.words(ax, middle - stride / 2, state + 0.15, f"× {kept[i]:.2f}", size=8.5)
        draw.cell(ax, middle - 0.6, state, f"{h[i]:.2f}", draw.STATE, width=1.2, strong=True)
    return figure
