"""The programs of a kernel that walks along time from the last step to the first."""

from matplotlib.figure import Figure

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.style import COLOURS, styled


@styled
def reverse_programs(length: int, channels: int, block: int) -> Figure:
    """Draw the tile of each program at each step, and what it hands on to the step before.

    Args:
        length: the number of steps.
        channels: how many there are; the last program may have fewer than a block.
        block: the channels of a program.

    Returns:
        The figure.
    """
    programs = -(-channels // block)
    left, width, unit = 3.3, 1.15, 0.42
    stride = (13.7 - left - width) / max(1, length - 1)
    figure, ax = draw.drawing(14, 1.9 + programs * (block * unit + 0.9))
    for t in range(length):
        x = left + t * stride
        draw.words(ax, x + width / 2, 0.5, f"step {t}", size=8.5)
        draw.words(ax, x + width / 2, 1.05, f"$dh_{{{t}}}$")
    for program in range(programs):
        top = 1.5 + program * (block * unit + 0.9)
        last = min(channels, (program + 1) * block) - 1
        draw.words(ax, 0.2, top + 0.55, f"program {program}", align="left", bold=True)
        draw.words(ax, 0.2, top + 1.15, f"channels {program * block}–{last}", align="left",
                   size=8.5)
        for t in range(length):
            x = left + t * stride
            for i in range(block):
                exists = program * block + i <= last
                draw.cell(ax, x, top + i * unit, "" if exists else "masked",
                          COLOURS[1] if exists else "white", width=width, height=unit, size=7.9)
            if t:
                y = top + unit * 0.5
                draw.arrow(ax, (x, y), (x - stride + width, y), colour=COLOURS[1])
                draw.words(ax, x - (stride - width) / 2, y + 0.42, f"× $\\bar A_{{{t}}}$",
                           size=8.5)
    draw.words(ax, left + (13.7 - left) / 2, 1.55 + programs * (block * unit + 0.9),
               "← the order of work: the arrow is from_later", colour=draw.QUIET, size=8.5)
    return figure
