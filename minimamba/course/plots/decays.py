"""A scalar SSM in four panels: pole, impulse response, weight of the past, and state."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from minimamba.course.plots.style import COLOURS, INPUT, arrays, styled


@styled
def scalar_ssm(t: Tensor, x: Tensor, unit: str, title: str, A_bar: float, response: Tensor,
               fractions: Mapping[str, float], h: Tensor) -> Figure:
    """Draw a scalar SSM and what it does with an input.

    Args:
        t: (length,), the time in seconds.
        x: (length,), the input.
        unit: of the input.
        title: the title of the panel with the state.
        A_bar: the pole Ā, a real number.
        response: (lags,), the impulse response relative to lag 0.
        fractions: for each range of lags, the newest first, the fraction of the kernel's weight.
        h: (length,), the state.

    Returns:
        The figure.
    """
    figure = Figure(figsize=(9, 4.6), dpi=90)
    grid = figure.add_gridspec(2, 3, left=0.07, right=0.985, bottom=0.11, top=0.93,
                               hspace=0.6, wspace=0.35, width_ratios=(1, 1.6, 1.6))
    _pole(figure.add_subplot(grid[0, 0]), A_bar)
    impulse = figure.add_subplot(grid[0, 1])
    impulse.step(np.arange(len(response)), *arrays(response), where="post", color=COLOURS[0],
                 linestyle="-")
    impulse.set(title="impulse response", xlabel="lag, steps", xlim=(0, len(response)),
                ylabel="relative to lag 0", ylim=(0, 1.05))
    past = figure.add_subplot(grid[0, 2])
    past.barh(list(fractions), list(fractions.values()), color=COLOURS[2])
    past.set(title="weight of past inputs, by age in steps", xlabel="fraction of the total weight",
             xlim=(0, 1))
    past.invert_yaxis()
    state = figure.add_subplot(grid[1, :])
    state.plot(*arrays(t, x), label="input", **INPUT)
    state.plot(*arrays(t, h), label="state", color=COLOURS[1], linestyle="-")
    low, high = float(x.min()), float(x.max())
    pad = 0.05 * (high - low)
    state.set(xlabel="time, s", ylabel=unit,
              xlim=(float(t[0]), float(t[-1])), ylim=(low - pad, high + pad))
    state.text(0, 1.06, title, fontsize=10, transform=state.transAxes)
    state.legend(loc="upper right", ncols=2, bbox_to_anchor=(1.0, 1.24))
    return figure


def _pole(ax: Axes, A_bar: float) -> None:
    """The pole in the complex plane, with the unit circle."""
    angle = np.linspace(0, 2 * np.pi, 100)
    ax.plot(np.cos(angle), np.sin(angle), **INPUT)
    ax.plot([A_bar], [0], marker="X", markersize=9, color=COLOURS[1])
    ax.text(0, 0.45, f"{A_bar:.4f}", ha="center")
    ax.set(title="discrete pole Ā", xlabel="Re Ā", ylabel="Im Ā", aspect="equal",
           xlim=(-1.2, 1.2), ylim=(-1.2, 1.2), xticks=(-1, 0, 1), yticks=(-1, 0, 1))
