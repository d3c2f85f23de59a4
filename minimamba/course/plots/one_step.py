"""One step of each discretization rule beside the exact solution, for several step sizes."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from minimamba.course.plots.style import BEHIND, arrays, coloured, styled

MARKERS = "oXsD"


@styled
def one_step(delta: list[float], t: Tensor, exact: Tensor, after: Mapping[str, Tensor]) -> Figure:
    """Draw the exact solution and where each rule lands after one step, a panel for each Δ.

    Args:
        delta: (sizes,), the step sizes.
        t: (points,), times from 0 on.
        exact: (points,), the exact state at these times.
        after: for each rule, at most four, the (sizes,) states after one step.

    Returns:
        The figure.
    """
    figure = Figure(figsize=(8, 3.0), layout="constrained")
    axes = figure.subplots(1, len(delta), sharey=True, squeeze=False)[0]
    t, exact = arrays(t, exact)
    for i, (ax, size) in enumerate(zip(axes, delta, strict=True)):
        ax.plot(t, exact, label="exact", **BEHIND)
        for (rule, landings, colour, _), marker in zip(coloured(after), MARKERS, strict=False):
            end = float(landings[i])
            ax.plot([0, size], [exact[0], end], color=colour, linestyle=":", linewidth=1.1)
            ax.plot([size], [end], color=colour, linestyle="", marker=marker, markersize=7,
                    label=rule, clip_on=False)
        ax.axhline(0, color="black", linewidth=0.8)
        ax.set(title=f"Δ = {size:g}", xlabel="time", xlim=(0, float(np.max(t))))
    axes[0].set_ylabel("state h")
    axes[-1].legend(loc="upper left", bbox_to_anchor=(1.05, 1.0))
    return figure
