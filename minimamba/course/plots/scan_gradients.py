"""The backward pass of a scan, with its values: forward from the left, gradients from the right."""

from matplotlib.figure import Figure
from torch import Tensor

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.style import COLOURS, arrays, styled

WIDTH = 1.5


@styled
def forward_and_backward(a: Tensor, b: Tensor, h: Tensor, r: Tensor, g: Tensor, *,
                         name: str = "g") -> Figure:
    """Draw a few steps of h_t = a_t h_{t−1} + b_t and of g_t = r_t + a_{t+1} g_{t+1}.

    Args:
        a: (steps,), the decays.
        b: (steps,), what is added.
        h: (steps,), the states, from a zero state.
        r: (steps,), the part of each state's gradient that does not come from later states.
        g: (steps,), the whole gradient of each state.
        name: what the gradients are called.

    Returns:
        The figure.
    """
    a, b, h, r, g = arrays(a, b, h, r, g)
    steps = len(h)
    stride = (14 - 3.2 - WIDTH) / steps
    figure, ax = draw.drawing(14, 6.6)
    draw.words(ax, 0.2, 2.2, "forward,\nleft to right", align="left", colour=draw.QUIET, size=8.5)
    draw.words(ax, 0.2, 4.2, "backward,\nright to left", align="left", colour=draw.QUIET, size=8.5)
    lefts = [3.0 + stride * i for i in range(steps + 1)]
    draw.cell(ax, lefts[0], 1.7, "0", draw.STATE, width=WIDTH)
    draw.words(ax, lefts[0] + WIDTH / 2, 1.35, "$h_0$", size=8.5)
    for i, x in enumerate(lefts[1:]):
        middle = x + WIDTH / 2
        draw.cell(ax, x, 1.7, f"{h[i]:g}", draw.STATE, width=WIDTH)
        draw.words(ax, middle - 0.45, 1.35, f"$h_{i + 1}$", size=8.5)
        draw.arrow(ax, (middle, 0.65), (middle, 1.65), text=_plus(b[i]), at=(middle, 0.35))
        draw.arrow(ax, (lefts[i] + WIDTH, 2.2), (x, 2.2), text=f"× {a[i]:g}",
                   at=((lefts[i] + WIDTH + x) / 2, 1.85))
        draw.cell(ax, x, 3.7, f"{g[i]:g}", COLOURS[1], width=WIDTH)
        draw.words(ax, middle - 0.45, 3.35, f"${name}_{i + 1}$", size=8.5)
        draw.arrow(ax, (middle, 5.75), (middle, 4.75), text=_plus(r[i]), at=(middle, 6.1))
        if i + 1 < steps:
            draw.arrow(ax, (lefts[i + 2], 4.2), (x + WIDTH, 4.2), text=f"× {a[i + 1]:g}",
                       at=((lefts[i + 2] + x + WIDTH) / 2, 3.85))
    return figure


def _plus(value: float) -> str:
    """The addition of a value, with a minus for a negative one."""
    return f"{'−' if value < 0 else '+'} {abs(value):g}"
