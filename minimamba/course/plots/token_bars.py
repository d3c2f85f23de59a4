"""Values at each character of a text, as bars with the character under each."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from minimamba.course.plots.states import MONOSPACE, VISIBLE
from minimamba.course.plots.style import Lines, arrays, coloured, styled


@styled
def token_bars(text: str, panels: Mapping[str, Lines], xlabel: str = "byte") -> Figure:
    """Draw one or more values per character as bars side by side.

    Args:
        text: one character per column.
        panels: for the y label of each panel its bars: for each label the (len(text),) values. An
            empty label is not in the legend.
        xlabel: what the columns are.

    Returns:
        The figure.
    """
    figure = Figure(figsize=(9, 0.7 + 1.5 * len(panels)), layout="constrained")
    axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    columns = np.arange(len(text))
    for ax, (ylabel, bars) in zip(axes, panels.items(), strict=True):
        width = 0.8 / len(bars)
        for i, (label, values, colour, _) in enumerate(coloured(bars)):
            ax.bar(columns + width * (i - (len(bars) - 1) / 2), *arrays(values), width=width,
                   color=colour, label=label or None)
        ax.set(ylabel=ylabel, xlim=(-0.6, len(text) - 0.4))
        ax.grid(visible=False, axis="x")
        ax.set_axisbelow(True)
        ax.tick_params(axis="x", length=0)
        if any(bars):
            ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    axes[-1].set_xticks(columns, list(text.translate(VISIBLE)), family=MONOSPACE, fontsize=8)
    axes[-1].set_xlabel(xlabel)
    return figure
