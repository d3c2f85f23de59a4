"""One program of Mamba-2's kernel: tiles that pass by, and a state that stays."""

from matplotlib.figure import Figure

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.style import COLOURS, styled


@styled
def chunk_program(chunks: int) -> Figure:
    """Draw a program that walks over the chunks of a head, with the state in its registers.

    Args:
        chunks: how many.

    Returns:
        The figure.
    """
    figure, ax = draw.drawing(18, 10.6, unit=7 / 18)
    width = 14.4 / chunks
    for c in range(chunks):
        x = 3.2 + c * width
        now = c == 1
        draw.words(ax, x + width / 2, 0.5, f"chunk {c + 1}", bold=now)
        for i, (name, colour) in enumerate((("$x$: Q × P,  $\\log\\, α$: Q", draw.INPUT),
                                            ("$B$, $C$: Q × N", draw.STEP))):
            draw.cell(ax, x, 1.0 + 0.9 * i, name, colour if now else "white", width=width,
                      height=0.9, strong=now)
        draw.cell(ax, x, 9.3, "$y$: Q × P", draw.OUTPUT if c <= 1 else "white", width=width,
                  height=0.9, strong=now)
    for y, name in ((1.9, "HBM:\nloaded"), (9.75, "HBM:\nstored")):
        draw.words(ax, 0.2, y, name, align="left", colour=draw.QUIET)
    middle = 3.2 + 1.5 * width
    draw.arrow(ax, (middle, 2.8), (middle, 3.7))
    draw.arrow(ax, (middle, 8.4), (middle, 9.3))
    ax.plot((3.0, 17.8, 17.8, 3.0, 3.0), (3.7, 3.7, 8.4, 8.4, 3.7), color=draw.QUIET,
            linestyle="--", linewidth=1)
    draw.words(ax, 0.2, 6.0, "registers of\none program", align="left", colour=draw.QUIET)
    draw.box(ax, 6.6, 4.9, "1  $(L ∘ C B^\\top)\\, x$", COLOURS[0], width=4.8)
    draw.box(ax, 6.6, 6.5, "4  $C h$, decayed", COLOURS[2], width=4.8)
    draw.words(ax, 6.6, 5.7, "+", size=12)
    draw.words(ax, 6.6, 7.7, "the outputs of the chunk", colour=draw.QUIET, size=8.5)
    draw.cell(ax, 11.2, 5.2, "$h$: N × P", draw.STATE, width=2.6, height=1.8, strong=True)
    draw.arrow(ax, (11.2, 6.5), (9.0, 6.5))
    draw.box(ax, 15.9, 6.1, "then 2 and 3\ndecay $h$, add\n$B^\\top x$ decayed", COLOURS[1],
             width=2.9, height=2.3)
    draw.arrow(ax, (14.45, 5.6), (13.8, 5.6))
    draw.arrow(ax, (13.8, 6.6), (14.45, 6.6))
    draw.words(ax, 12.5, 7.7, "stays from chunk to chunk", colour=draw.QUIET, size=8.5)
    return figure
