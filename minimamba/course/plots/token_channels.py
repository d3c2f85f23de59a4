"""Channels over a sequence: Δ as bars, the state as cells, the token under each."""

from collections.abc import Collection, Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.style import arrays, styled


@styled
def token_channels(tokens: Sequence[str], delta: Mapping[str, Tensor],
                   h: Mapping[str, Tensor] | None = None, *,
                   noise: Collection[int] = ()) -> Figure:
    """Draw Δ and the state of some channels, or of one channel under several settings.

    Args:
        tokens: one per step; at most 20 or so.
        delta: for the name of each channel its (length,) step sizes.
        h: for the same names the (length,) states after each token; None to draw only Δ, to one
            decimal.
        noise: the steps whose tokens are noise, besides those with a ".".

    Returns:
        The figure.
    """
    name, length = 3.6, len(tokens)
    width = max(name + length + 0.4, 13)
    block, top = (2.6, 1.5) if h else (2.0, 1.8)
    figure, ax = draw.drawing(width, block * len(delta) + top + 0.1, unit=7 / width)
    largest = max(float(steps.max()) for steps in delta.values())
    for i, (label, steps) in enumerate(delta.items()):
        bottom = block * i + top
        draw.words(ax, 0.2, bottom - 0.65 + (0.55 if h else 0), label, align="left")
        draw.words(ax, name - 0.3, bottom - 0.3, "Δ", align="right", colour=draw.QUIET)
        ax.plot((name, name + length), (bottom, bottom), color=draw.QUIET, linestyle="-",
                linewidth=0.8)
        for t, value in enumerate(*arrays(steps)):
            height = (0.85 if h else 1.2) * value / largest
            ax.add_patch(Rectangle((name + t + 0.2, bottom - height), 0.6, height, linewidth=0,
                                   facecolor=draw.STEP, zorder=2))
            draw.words(ax, name + t + 0.5, bottom - height - 0.27,
                       f"{value:g}" if h else f"{value:.1f}", size=8)
        if h:
            draw.words(ax, name - 0.3, bottom + 0.57, "h", align="right", colour=draw.QUIET)
            for t, value in enumerate(*arrays(h[label])):
                text = f"{value:.1f}".replace("-0.0", "0.0").replace("-", "−")
                draw.cell(ax, name + t, bottom + 0.15, text,
                          draw.STATE if abs(value) >= 0.05 else "white", height=0.85, size=8.5)
    y = block * len(delta) + top - 1.2
    draw.words(ax, name - 0.3, y + 0.5, "token", align="right", colour=draw.QUIET)
    draw.row(ax, name, y, ["·" if token == "." else token for token in tokens],
             ["white" if token == "." or t in noise else draw.INPUT
              for t, token in enumerate(tokens)])
    return figure
