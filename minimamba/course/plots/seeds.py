"""Every run of several models, as dots."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from minimamba.course.plots.style import COLOURS, arrays, styled


@styled
def every_seed(runs: Mapping[str, Tensor], panels: Sequence[str], xlabel: str, ylabel: str, *,
               chance: float, strong: Sequence[str] = ()) -> Figure:
    """Draw one dot per run and a line at the mean, one row per model and one panel per setting.

    Args:
        runs: for the name of each model the (runs, panels) values.
        panels: the title of each panel.
        xlabel: what the values are, with their unit.
        ylabel: what the rows are.
        chance: where to draw a vertical line, in each panel.
        strong: the models to draw in another colour.

    Returns:
        The figure.
    """
    figure = Figure(figsize=(7, 0.9 + 0.3 * len(runs)), layout="constrained")
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for number, (ax, title) in enumerate(zip(axes, panels, strict=True)):
        for row, (name, values) in enumerate(runs.items()):
            colour = COLOURS[1] if name in strong else COLOURS[0]
            points, = arrays(values[:, number])
            ax.plot(points, np.full(len(points), row), "o", color=colour, markersize=5, alpha=0.6,
                    markeredgewidth=0, linestyle="")
            ax.plot([points.mean()] * 2, [row - 0.32, row + 0.32], "-", color=colour, linewidth=2)
        ax.axvline(chance, color="#888888", linestyle=":", linewidth=1.2)
        ax.set(title=title, xlim=(-3, 103))
        ax.grid(axis="y", visible=False)
    axes[0].set_yticks(range(len(runs)), list(runs))
    axes[0].set_ylim(len(runs) - 0.5, -0.5)
    axes[0].set_ylabel(ylabel)
    axes[len(panels) // 2].set_xlabel(xlabel)
    axes[-1].set_xlabel(xlabel if len(panels) == 1 else " ")
    return figure
