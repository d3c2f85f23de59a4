"""What an FFT without padding does to a convolution: its end is added to its start."""

from matplotlib.figure import Figure
from torch import Tensor

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.short_numbers import short
from minimamba.course.plots.style import COLOURS, arrays, styled


@styled
def wrapped_convolution(full: Tensor, length: int) -> Figure:
    """Draw a convolution with its tail, and below it what is left when the tail wraps around.

    Args:
        full: (2 · length − 1,), the convolution of an input and a kernel, with its tail.
        length: of the input and the kernel.

    Returns:
        The figure.
    """
    full, = arrays(full)
    left, wide, wrong = 3.4, 1.5, COLOURS[1]
    width = left + wide * len(full) + 0.6
    figure, ax = draw.drawing(width, 6.6, unit=7 / width)
    draw.words(ax, left + wide * length / 2, 0.5, f"the {length} outputs")
    draw.words(ax, left + wide * (length + len(full)) / 2, 0.5, "the tail, after the last input",
               colour=draw.QUIET)
    draw.words(ax, 0.3, 1.5, "padded", align="left")
    draw.words(ax, 0.3, 5.5, "not padded", align="left")
    for t, value in enumerate(full):
        draw.cell(ax, left + wide * t, 1.0, short(value), draw.OUTPUT if t < length else "white",
                  width=wide)
    for t in range(length):
        tail = full[length + t] if length + t < len(full) else 0.0
        draw.cell(ax, left + wide * t, 5.0, short(full[t] + tail), wrong if tail else draw.OUTPUT,
                  width=wide)
        if tail:
            start, end = left + wide * (length + t + 0.5), left + wide * (t + 0.5)
            bend = 2.5 + 0.5 * t
            draw.arrow(ax, (start, 2.0), (start, bend), (end, bend), (end, 5.0),
                       colour=wrong)
            draw.words(ax, end + 0.2, 4.5, f"+ {short(tail)}", align="left", colour=wrong)
    return figure
