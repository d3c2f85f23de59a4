"""Heat maps over a line of text, one column per character."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from torch import Tensor

from minimamba.course.plots.style import COLOURS, arrays, styled

MONOSPACE = "DejaVu Sans Mono"
VISIBLE = str.maketrans({"\n": "⏎", " ": "·"})
"""Visible signs for white space."""


def _character_ticks(ax: Axes, text: str, *, shown: bool = True) -> None:
    """Write the characters of the text under their columns."""
    ax.set_xticks(range(len(text)))
    ax.tick_params(axis="x", length=0)
    ax.set_xticklabels(text.translate(VISIBLE) if shown else [], family=MONOSPACE, fontsize=8)
    ax.grid(False)


@styled
def text_heatmaps(text: str, maps: Mapping[str, Tensor], ylabel: str, *,
                  rows: list[str] | None = None, logarithmic: tuple[str, ...] = (),
                  xlabel: str = "byte") -> Figure:
    """Draw heat maps over one line of text, one below the other.

    Args:
        text: one character per column.
        maps: for the label of each map its (rows, len(text)) values.
        ylabel: what the rows are.
        rows: the names of the rows; by default their numbers.
        logarithmic: the labels of the maps with a logarithmic colour scale.
        xlabel: what the columns are.

    Returns:
        The figure.
    """
    figure = Figure(figsize=(9, 0.7 + 1.6 * len(maps)), layout="constrained")
    axes = figure.subplots(len(maps), 1, squeeze=False)[:, 0]
    for ax, (label, values) in zip(axes, maps.items(), strict=True):
        image = ax.imshow(*arrays(values), aspect="auto", interpolation="nearest",
                          norm=LogNorm() if label in logarithmic else None)
        _character_ticks(ax, text, shown=ax is axes[-1])
        ax.set_ylabel(ylabel)
        if rows:
            ax.set_yticks(range(len(rows)), rows)
        figure.colorbar(image, ax=ax, label=label, pad=0.01)
    axes[-1].set_xlabel(xlabel)
    return figure


@styled
def layer_states(text: str, layer: int, channel: int, delta: Tensor, norm: Tensor,
                 decay: Tensor, h: Tensor) -> Figure:
    """Draw what one Mamba layer does at each byte of a line.

    Above are Δ and the norm of the state for all channels, below the decay and the state of one
    channel.

    Args:
        text: the line, one character per byte.
        layer: the number of the layer, from 0.
        channel: the number of the channel, from 0.
        delta: (channels, length), Δ.
        norm: (channels, length), the norm of each channel's state, relative to its largest.
        decay: (d_state, length), exp(ΔA) of the channel.
        h: (d_state, length), the state of the channel, relative to its largest component.

    Returns:
        The figure.
    """
    figure = Figure(figsize=(9, 7.2), dpi=90)
    grid = figure.add_gridspec(4, 1, left=0.075, right=0.885, bottom=0.065, top=0.99, hspace=0.1,
                               height_ratios=(1.3, 1.3, 1, 1))
    axes = [figure.add_subplot(grid[i]) for i in range(4)]
    maps = ((delta, "channel", "Δ", {"norm": LogNorm(1e-4, 1, clip=True)}),
            (norm, "channel", "‖h‖ / maximum", {"vmin": 0, "vmax": 1}),
            (decay, "state index n", "decay exp(ΔA)", {"vmin": 0, "vmax": 1}),
            (h, "state index n", "h / maximum", {"vmin": -1, "vmax": 1, "cmap": "PuOr"}))
    for ax, (values, ylabel, label, look) in zip(axes, maps, strict=True):
        image = ax.imshow(*arrays(values), aspect="auto", interpolation="nearest", **look)
        _character_ticks(ax, text, shown=ax is axes[-1])
        ax.set_ylabel(ylabel)
        figure.colorbar(image, label=label, cax=ax.inset_axes((1.018, 0, 0.017, 1)))
    axes[-1].set_xlabel("byte")
    for ax in axes[:2]:
        ax.axhline(channel, color=COLOURS[1], linestyle="-", linewidth=1.6)
    for ax, part in ((axes[0], "all channels"), (axes[2], f"channel {channel}")):
        ax.text(0.005, 0.96, f"layer {layer}, {part}", transform=ax.transAxes, va="top",
                fontsize=9, bbox={"facecolor": "white", "alpha": 0.8, "linewidth": 0})
    return figure


@styled
def token_states(text: str, delta: Tensor, gate: Tensor, fractions: Mapping[str, Tensor]) -> Figure:
    """Draw Δ, the gate and the composition of the state after each token.

    Args:
        text: one token per character.
        delta: (length,), Δ at each token.
        gate: (length,), 1 − exp(−Δ).
        fractions: for each distinct token the (length,) fraction of the state that it makes up.

    Returns:
        The figure.
    """
    figure = Figure(figsize=(9, 4.8), dpi=90, layout="constrained")
    axes = step, opened, state = figure.subplots(3, 1, height_ratios=(1, 1, 1.6))
    columns, lowest = np.arange(len(text)), 5e-4
    step.bar(columns, *arrays(delta - lowest), bottom=lowest, color=COLOURS[0])
    opened.bar(columns, *arrays(gate), color=COLOURS[2])
    image = state.imshow(np.stack(arrays(*fractions.values())), cmap="Blues", vmin=0, vmax=1,
                         aspect="auto")
    for ax, ylabel in zip(axes, ("Δ", "1 − exp(−Δ)", "state, by token"), strict=True):
        ax.set(ylabel=ylabel, xlim=(-0.5, len(text) - 0.5))
        _character_ticks(ax, text, shown=ax is state)
    for ax in (step, opened):
        ax.grid(axis="y")
    step.set(yscale="log", ylim=(lowest, 20))
    opened.set(ylim=(0, 1.05))
    state.set(xlabel="token")
    state.set_yticks(range(len(fractions)), fractions)
    figure.colorbar(image, ax=axes, label="fraction of the state", shrink=0.4, anchor=(0, 0),
                    pad=0.01)
    return figure
