"""What one program of the backward kernel holds in registers, and what it loads and stores."""

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.style import COLOURS, styled


@styled
def backward_program() -> Figure:
    """Draw one step of the backward kernel: loads on the left, registers, stores on the right.

    Returns:
        The figure.
    """
    figure, ax = draw.drawing(14, 7.0)
    for x, width, name in ((0.2, 3.6, "HBM, loaded"), (5.1, 4.3, "registers of one program"),
                           (10.6, 3.2, "HBM, stored")):
        ax.add_patch(Rectangle((x, 0.3), width, 6.4, facecolor="#dddddd", edgecolor=draw.INK,
                               alpha=0.4, zorder=0.5))
        draw.words(ax, x + width / 2, 0.75, name, bold=True)
    for y, text, colour in ((1.3, "$x_t$, $\\Delta_t$, $B_t$, $C_t$, $z_t$", draw.INPUT),
                            (2.6, "$dy_t$", COLOURS[1]),
                            (3.9, "state before step t\n(recomputed)", draw.STATE),
                            (5.4, "saved state\nof the chunk", draw.STATE)):
        draw.cell(ax, 0.5, y, text, colour, width=3.0, height=1.0, size=8.5)
    for y, text, colour in ((1.3, "before, h", draw.STATE), (2.6, "dh", COLOURS[1]),
                            (3.9, "from_later", COLOURS[1]), (5.4, "dA_, dD_: running sums",
                                                              "white")):
        draw.cell(ax, 5.6, y, text, colour, width=3.3, height=1.0, size=8.5, strong=y > 3)
    for y, text in ((1.3, "$dx_t$, $d\\Delta_t$, $dz_t$"), (3.0, "$dB_t$, $dC_t$:\natomic adds"),
                    (5.4, "dA, dD: atomic\nadds, at the end")):
        draw.cell(ax, 10.9, y, text, "white", width=2.6, height=1.0, size=8.5)
    draw.arrow(ax, (3.8, 3.1), (5.1, 3.1), text="per step", at=(4.45, 2.75), size=8.5)
    draw.arrow(ax, (9.4, 1.8), (10.6, 1.8), text="per step", at=(10.0, 1.45), size=8.5)
    draw.arrow(ax, (9.4, 3.5), (10.6, 3.5), text="per step", at=(10.0, 3.15), size=8.5)
    draw.arrow(ax, (9.4, 5.9), (10.6, 5.9), text="once", at=(10.0, 5.55), size=8.5)
    draw.arrow(ax, (2.0, 5.4), (2.0, 4.9), text="per chunk", at=(2.9, 5.15), size=8.5)
    return figure
