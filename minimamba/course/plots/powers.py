"""What a pole does: its powers, step by step."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from minimamba.course.plots.schematic import STATE
from minimamba.course.plots.style import arrays, styled


@styled
def powers(panels: Mapping[str, Tensor]) -> Figure:
    """Draw a state without input, a bar for each step, one panel for each pole.

    Args:
        panels: for each title the (steps,) states, at steps 0, 1, …

    Returns:
        The figure.
    """
    figure = Figure(figsize=(8, 2.4), layout="constrained")
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for ax, (title, states) in zip(axes, panels.items(), strict=True):
        ax.bar(np.arange(len(states)), *arrays(states), width=0.8, color=STATE, edgecolor="#222222",
               linewidth=0.7)
        ax.axhline(0, color="black", linewidth=0.8)
        ax.set(title=title, xlabel="step n", xticks=np.arange(0, len(states), 2))
        ax.grid(False, axis="x")
        ax.set_axisbelow(True)
    axes[0].set_ylabel("state, Āⁿ")
    return figure
