"""What states do along a line of text: heat maps, a column a character."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from torch import Tensor

from minimamba.course.plots.style import COLOURS, arrays, styled

NARROW = "DejaVu Sans Mono"
SHOWN = str.maketrans({"\n": "⏎", " ": "·"})
"""What stands under a column whose character can't be seen."""


def letters(ax: Axes, text: str, *, shown: bool = True) -> None:
    """The characters under their columns."""
    ax.set_xticks(range(len(text)))
    ax.tick_params(axis="x", length=0)
    ax.set_xticklabels(text.translate(SHOWN) if shown else [], family=NARROW, fontsize=8)
    ax.grid(False)


@styled
def states(text: str, maps: Mapping[str, Tensor], ylabel: str, *, rows: list[str] | None = None,
           logarithmic: tuple[str, ...] = (), xlabel: str = "byte") -> Figure:
    """Heat maps over one line of text, one under the other.

    Args:
        text: a character a column. maps: from what is shown to (rows, len(text)).
        ylabel: what the rows are. rows: their names; their numbers if None.
        logarithmic: which maps have a logarithmic scale. xlabel: what a column is.
    """
    figure = Figure(figsize=(9, 0.7 + 1.6 * len(maps)), layout="constrained")
    axes = figure.subplots(len(maps), 1, squeeze=False)[:, 0]
    for ax, (label, values) in zip(axes, maps.items(), strict=True):
        image = ax.imshow(*arrays(values), aspect="auto", interpolation="nearest",
                          norm=LogNorm() if label in logarithmic else None)
        letters(ax, text, shown=ax is axes[-1])
        ax.set_ylabel(ylabel)
        if rows:
            ax.set_yticks(range(len(rows)), rows)
        figure.colorbar(image, ax=ax, label=label, pad=0.01)
    axes[-1].set_xlabel(xlabel)
    return figure


@styled
def watched(text: str, layer: int, channel: int, delta: Tensor, norm: Tensor, decay: Tensor,
            h: Tensor) -> Figure:
    """What one layer does at each byte of a line: the steps and the norms of all its channels,
    and below, of one channel, the decays and the state, number by number.

    Args:
        text: the line, a character a byte. layer, channel: their numbers, from 0.
        delta, norm: (channels, length). decay, h: (d_state, length), of the channel. The norms
            of each channel and the state are in parts of their largest.
    """
    figure = Figure(figsize=(9, 7.2), dpi=90)
    grid = figure.add_gridspec(4, 1, left=0.075, right=0.885, bottom=0.065, top=0.99, hspace=0.1,
                               height_ratios=(1.3, 1.3, 1, 1))
    axes = [figure.add_subplot(grid[i]) for i in range(4)]
    maps = ((delta, "channel", "Δ", {"norm": LogNorm(1e-4, 1, clip=True)}),
            (norm, "channel", "norm, of its largest", {"vmin": 0, "vmax": 1}),
            (decay, "number n", "kept, exp(ΔA)", {"vmin": 0, "vmax": 1}),
            (h, "number n", "h, of its largest", {"vmin": -1, "vmax": 1, "cmap": "PuOr"}))
    for ax, (values, ylabel, label, look) in zip(axes, maps, strict=True):
        image = ax.imshow(*arrays(values), aspect="auto", interpolation="nearest", **look)
        letters(ax, text, shown=ax is axes[-1])
        ax.set_ylabel(ylabel)
        figure.colorbar(image, label=label, cax=ax.inset_axes((1.018, 0, 0.017, 1)))
    axes[-1].set_xlabel("byte")
    for ax in axes[:2]:
        ax.axhline(channel, color=COLOURS[1], linestyle="-", linewidth=1.6)
    for ax, words in ((axes[0], "all channels"), (axes[2], f"channel {channel}")):
        ax.text(0.005, 0.96, f"layer {layer}, {words}", transform=ax.transAxes, va="top",
                fontsize=9, bbox={"facecolor": "white", "alpha": 0.8, "linewidth": 0})
    return figure


@styled
def tokens(line: str, delta: Tensor, gate: Tensor, shares: Mapping[str, Tensor]) -> Figure:
    """What each token does, in three panels: its Δ, the gate, and the state after it.

    Args:
        line: a token a column. delta, gate: (length,).
        shares: from a kind of token to the share of the state that it makes up, (length,).
    """
    figure = Figure(figsize=(9, 4.8), dpi=90, layout="constrained")
    axes = step, opened, state = figure.subplots(3, 1, height_ratios=(1, 1, 1.6))
    places, least = np.arange(len(line)), 5e-4
    step.bar(places, *arrays(delta - least), bottom=least, color=COLOURS[0])
    opened.bar(places, *arrays(gate), color=COLOURS[2])
    image = state.imshow(np.stack(arrays(*shares.values())), cmap="Blues", vmin=0, vmax=1,
                         aspect="auto")
    for ax, ylabel in zip(axes, ("Δ", "gate", "state"), strict=True):
        ax.set(ylabel=ylabel, xlim=(-0.5, len(line) - 0.5))
        letters(ax, line, shown=ax is state)
    for ax in (step, opened):
        ax.grid(axis="y")
    step.set(yscale="log", ylim=(least, 20))
    opened.set(ylim=(0, 1.05))
    state.set(xlabel="token")
    state.set_yticks(range(len(shares)), shares)
    figure.colorbar(image, ax=axes, label="share of the state", shrink=0.4, anchor=(0, 0),
                    pad=0.01)
    return figure
