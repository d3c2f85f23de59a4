"""S4's kernel by way of its spectrum: the generating function at four roots, and the four steps."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from torch import Tensor

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.style import COLOURS, arrays, styled


@styled
def kernel_and_spectrum(kernel: Tensor, roots: Sequence[str], spectrum: Sequence[str]) -> Figure:
    """Draw a short kernel, and its generating function at the roots of unity.

    Args:
        kernel: (length,).
        roots: the roots of unity, as text.
        spectrum: the values of the generating function there, as text.

    Returns:
        The figure.
    """
    kernel, = arrays(kernel)
    length = len(kernel)
    width = 3.2 * length + 5.4
    figure, ax = draw.drawing(width, 8.4, unit=7 / width)
    left, cell = 4.6, 2.9
    for x, text in ((1.2, "the kernel $K_l$"), (6.6, "its values $\\hat K(\\omega)$")):
        draw.words(ax, left - 0.4, x + 0.5, text, align="right")
    for i in range(length):
        draw.words(ax, left + cell * (i + 0.5), 0.65, f"$l = {i}$", colour=draw.QUIET)
        draw.words(ax, left + cell * (i + 0.5), 6.1, f"$\\omega = {roots[i]}$", colour=draw.QUIET)
    draw.row(ax, left, 1.2, [f"{value:.4g}" for value in kernel], draw.INPUT, width=cell)
    draw.row(ax, left, 6.6, spectrum, COLOURS[3], width=cell)
    down, up = left + cell * 1.0, left + cell * (length - 1.0)
    draw.arrow(ax, (down, 2.4), (down, 5.5))
    draw.words(ax, down + 0.3, 3.9, "sum $K_l\\,\\omega^l$\n(an FFT)", align="left")
    draw.arrow(ax, (up, 5.5), (up, 2.4))
    draw.words(ax, up + 0.3, 3.9, "inverse\nFFT", align="left")
    return figure


@styled
def s4_kernel_steps() -> Figure:
    """Draw the four steps from (A, B, C, Δ) to the spectrum of the kernel.

    Returns:
        The figure.
    """
    figure, ax = draw.drawing(21, 6.6, unit=7 / 21)
    steps = (("1  spectrum", "$L$ powers of $\\bar A$\nbecome one", COLOURS[3]),
             ("2  $A$, not $\\bar A$", "inverses of the\nbilinear rule cancel", draw.STEP),
             ("3  fractions", "for a diagonal $A$:\nan $L \\times N$ table", draw.STATE),
             ("4  low rank", "Woodbury puts\n$PP^\\top$ back", COLOURS[3]))
    for i, (title, text, colour) in enumerate(steps):
        x = 2.6 + 5.25 * i
        draw.words(ax, x, 0.7, title, bold=True)
        draw.box(ax, x, 2.6, text, colour, width=4.4, height=2.4)
        if i < 3:
            draw.arrow(ax, (x + 2.2, 2.6), (x + 3.05, 2.6))
    draw.arrow(ax, (18.35, 3.8), (18.35, 5.5), (12.6, 5.5))
    draw.box(ax, 10.5, 5.5, "inverse FFT", draw.OUTPUT, width=4.0)
    draw.arrow(ax, (8.5, 5.5), (6.3, 5.5))
    draw.words(ax, 6.0, 5.5, "the kernel $K$", align="right")
    return figure
