"""The Mamba-2 block as a diagram, with the width of every connection."""

from matplotlib.figure import Figure

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.style import COLOURS, styled


@styled
def mamba2_block(d_model: int, d_inner: int, d_state: int, n_heads: int) -> Figure:
    """Draw the Mamba-2 block with one group of B and C.

    Args:
        d_model: the width of the model.
        d_inner: the width inside the block.
        d_state: the state dimension N.
        n_heads: the number of heads.

    Returns:
        The figure.
    """
    figure, ax = draw.drawing(20, 8.2, unit=7 / 20)
    upper, middle, lower = 1.0, 3.6, 6.2
    draw.words(ax, 0.3, middle - 0.5, f"$u$: {d_model:,}", align="left", size=8.5)
    draw.arrow(ax, (0.3, middle), (2.3, middle))
    draw.box(ax, 3.5, middle, "in_proj", COLOURS[5], width=2.4)
    for y in (upper, lower):
        draw.arrow(ax, (3.5, middle + (0.5 if y > middle else -0.5)), (3.5, y), (5.6, y))
    draw.arrow(ax, (4.7, middle), (5.6, middle))
    for y, text in ((upper, f"$z$: {d_inner:,}"),
                    (middle, f"$x$: {d_inner:,}\n$B$, $C$: {d_state} each"),
                    (lower, f"$\\Delta$: {n_heads}, one per head")):
        draw.words(ax, 5.8, y, text, align="left", size=8.5)
    draw.arrow(ax, (9.3, middle), (9.9, middle))
    draw.box(ax, 11.0, middle, "conv1d,\nSiLU", COLOURS[2], width=2.2, height=1.5)
    draw.arrow(ax, (12.1, middle), (12.9, middle))
    draw.box(ax, 14.1, middle, "SSD\n$A$, $D$", COLOURS[1], width=2.4, height=1.5)
    draw.arrow(ax, (11.0, lower), (14.1, lower), (14.1, middle + 0.75))
    draw.words(ax, 12.6, lower + 0.55, "softplus", colour=draw.QUIET, size=8.5)
    draw.arrow(ax, (15.3, middle), (16.1, middle))
    draw.box(ax, 17.3, middle, "× SiLU($z$),\nRMSNorm", "white", width=2.4, height=1.5)
    draw.arrow(ax, (8.4, upper), (17.3, upper), (17.3, middle - 0.75))
    draw.arrow(ax, (18.5, middle), (18.9, middle), (18.9, 6.9), (18.4, 6.9))
    draw.box(ax, 17.2, 6.9, "out_proj", COLOURS[5], width=2.4)
    draw.arrow(ax, (17.2, 7.4), (17.2, 8.0))
    return figure
