"""What a step size does: from Δ near 0, where the state is held, to a large Δ, which resets it."""

from matplotlib.figure import Figure
from torch import Tensor

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.style import arrays, styled


@styled
def hold_and_reset(delta: Tensor, kept: Tensor) -> Figure:
    """Draw for each of several step sizes which part of the new state is old and which is input.

    Args:
        delta: (sizes,), in ascending order.
        kept: (sizes,), the fraction of the old state that is kept; the rest is taken from the
            input.

    Returns:
        The figure.
    """
    delta, kept = arrays(delta, kept)
    figure, ax = draw.drawing(14, 6.6)
    left, width, high, base = 2.6, 1.5, 3.0, 4.2
    stride = (13.6 - left - width) / (len(delta) - 1)
    draw.words(ax, left - 0.4, base - high + 0.45, "from the\ninput", align="right")
    draw.words(ax, left - 0.4, base - 0.45, "kept of the\nold state", align="right")
    for i, (size, fraction) in enumerate(zip(delta, kept, strict=True)):
        x = left + i * stride
        draw.cell(ax, x, base - high, "", draw.INPUT, width=width, height=high * (1 - fraction))
        draw.cell(ax, x, base - high * fraction, "", draw.STATE, width=width,
                  height=high * fraction)
        draw.words(ax, x + width / 2, base - high - 0.4, f"{100 * fraction:.1f} % kept")
        draw.words(ax, x + width / 2, base + 1.15, f"{size:g}", bold=True)
    middle = base + 0.55
    draw.arrow(ax, (left - 0.2, middle), (13.8, middle), colour=draw.STEP)
    draw.words(ax, left - 0.4, base + 1.15, "step size Δ", align="right")
    for x, effect in ((left, "hold"), ((left + 13.6 - width) / 2, "mix"), (13.6 - width, "reset")):
        draw.words(ax, x + width / 2, base + 1.95, effect, bold=True, size=11)
    return figure
