"""Which sums of the backward pass stay inside a program, and which cross all programs."""

from matplotlib.figure import Figure

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.style import COLOURS, styled

UNIT = 0.62


@styled
def program_sums(programs: int = 3, channels: int = 3, components: int = 4) -> Figure:
    """Draw the tile of each program at one step, and where its rows and its columns are summed.

    Args:
        programs: how many.
        channels: of each program.
        components: of the state of a channel.

    Returns:
        The figure.
    """
    stride = 13.6 / programs
    top, bottom = 1.5, 1.5 + UNIT * channels
    figure, ax = draw.drawing(14, bottom + 3.6)
    for program in range(programs):
        x = 0.55 + program * stride
        right = x + UNIT * components
        draw.words(ax, x + UNIT * components / 2, 0.45, f"program {program}", bold=True)
        draw.words(ax, x + UNIT * components / 2, 1.1, f"{components} components",
                   colour=draw.QUIET, size=8.5)
        for i in range(channels):
            for j in range(components):
                draw.cell(ax, x + UNIT * j, top + UNIT * i, "", COLOURS[1], width=UNIT, height=UNIT)
            y = top + UNIT * (i + 0.5)
            draw.arrow(ax, (right, y), (right + 0.55, y), colour=draw.QUIET)
            draw.cell(ax, right + 0.55, top + UNIT * i, "", draw.INPUT, width=UNIT, height=UNIT)
        draw.words(ax, right + 0.55 + UNIT / 2, 1.1, "dx, dΔ", size=8.5)
        for j in range(components):
            middle = x + UNIT * (j + 0.5)
            draw.arrow(ax, (middle, bottom), (middle, bottom + 1.5), colour=COLOURS[1])
        draw.words(ax, right + 0.3, bottom + 0.55, "atomic add", align="left", colour=COLOURS[1],
                   size=8.5)
    draw.cell(ax, 0.2, bottom + 1.55, f"HBM: one dB and one dC of {components} components per "
              f"step, shared by {programs * channels} channels", draw.STATE, width=13.6, height=0.9)
    draw.words(ax, 7.0, bottom + 3.0, "Rows: sums over the components, inside a program.   "
               "Columns: sums over the channels of all programs.", colour=draw.QUIET, size=8.5)
    return figure
