"""The decays of a state: one per component in Mamba-1, one for all of a head in Mamba-2."""

from matplotlib.figure import Figure

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.style import COLOURS, styled


@styled
def shared_decay(channels: int, components: int) -> Figure:
    """Draw the decays of one step for the state of some channels, in Mamba-1 and in Mamba-2.

    Args:
        channels: rows of the state, which in Mamba-2 are one head.
        components: columns of the state.

    Returns:
        The figure.
    """
    figure, ax = draw.drawing(14, channels + 2.9)
    count = channels * components
    for left, title, note in (
            (1.2, "Mamba-1", f"{count} decays per step"),
            (8.6, "Mamba-2: one head", "1 decay per step")):
        middle = left + components / 2
        draw.words(ax, middle, 0.4, title, bold=True)
        draw.words(ax, middle, 1.05, "component $n$", colour=draw.QUIET)
        for d in range(channels):
            draw.words(ax, left - 0.55, 1.9 + d, f"$d$ = {d + 1}", colour=draw.QUIET, size=8.5)
            for n in range(components):
                shared = "Mamba-2" in title
                text = "α" if shared else f"$a_{{{d + 1}{n + 1}}}$"
                colour = COLOURS[0] if shared else COLOURS[(d + 2 * n) % len(COLOURS)]
                draw.cell(ax, left + n, 1.4 + d, text, colour)
        draw.words(ax, middle, channels + 2.2, note)
    draw.arrow(ax, (components + 1.6, channels / 2 + 1.4), (7.4, channels / 2 + 1.4),
               text="share", at=((components + 9) / 2, channels / 2 + 1.0))
    return figure
