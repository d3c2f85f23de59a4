"""A convolution: the flipped kernel slides over the input, and its products are added up."""

from matplotlib.figure import Figure
from torch import Tensor

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.short_numbers import short
from minimamba.course.plots.style import arrays, styled


@styled
def sliding_kernel(x: Tensor, kernel: Tensor) -> Figure:
    """Draw a causal convolution, one row per output, with all products.

    Args:
        x: (steps,), the inputs; at most four.
        kernel: (steps,), the kernel.

    Returns:
        The figure.
    """
    x, kernel = arrays(x, kernel)
    steps, wide, left = len(x), 2.6, 2.8
    width = left + wide * steps + 3.4
    figure, ax = draw.drawing(width, 3.3 + 1.25 * steps, unit=7 / width)
    draw.words(ax, 0.3, 1.4, "input", align="left", colour=draw.QUIET)
    end = left + wide * steps
    for s in range(steps):
        draw.cell(ax, left + wide * s + 0.6, 0.9, short(x[s]), draw.INPUT, width=wide - 1.2)
        draw.words(ax, left + wide * (s + 0.5), 0.5, f"$x_{s}$")
    for t in range(steps):
        y = 2.6 + 1.25 * t
        draw.words(ax, 0.3, y + 0.5, f"step {t}", align="left", colour=draw.QUIET)
        for s in range(t + 1):
            draw.cell(ax, left + wide * s + 0.3, y, f"{short(kernel[t - s])} · {short(x[s])}",
                      draw.SERIES[(t - s) % len(draw.SERIES)], width=wide - 0.6)
            if s:
                draw.words(ax, left + wide * s, y + 0.5, "+")
        draw.arrow(ax, (left + wide * (t + 1) - 0.1, y + 0.5), (end + 1.0, y + 0.5))
        total = sum(kernel[t - s] * x[s] for s in range(t + 1))
        draw.cell(ax, end + 1.0, y, short(total), draw.OUTPUT, width=1.4)
        draw.words(ax, end + 2.6, y + 0.5, f"$y_{t}$", align="left")
    draw.words(ax, left + 0.3, 2.95 + 1.25 * steps, "one color is one entry of the kernel: "
               + ", ".join(f"$K_{lag}$ = {short(k)}" for lag, k in enumerate(kernel)),
               align="left", colour=draw.QUIET)
    return figure
