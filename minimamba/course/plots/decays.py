"""What a step does to one state: the pole, the impulse response, the memory, the state."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from minimamba.course.plots.style import COLOURS, INPUT, arrays, styled


@styled
def decay(t: Tensor, x: Tensor, unit: str, title: str, pole: float, response: Tensor,
          shares: Mapping[str, float], h: Tensor) -> Figure:
    """One state in four panels.

    Args:
        t, x: (length,), the time in seconds and the input. unit: the input's unit.
        title: stands over the state. pole: Ā, a real number. response: (lags,).
        shares: from a stretch of the past, the newest first, to the share of the state that is
            from it.
        h: (length,), the state.
    """
    figure = Figure(figsize=(9, 4.6), dpi=90)
    grid = figure.add_gridspec(2, 3, left=0.07, right=0.985, bottom=0.11, top=0.93,
                               hspace=0.6, wspace=0.35, width_ratios=(1, 1.6, 1.6))
    plane, decay, past = (figure.add_subplot(grid[0, i]) for i in range(3))
    state = figure.add_subplot(grid[1, :])
    angle = np.linspace(0, 2 * np.pi, 100)
    plane.plot(np.cos(angle), np.sin(angle), **INPUT)
    plane.plot([pole], [0], marker="X", markersize=9, color=COLOURS[1])
    plane.text(0, 0.45, f"{pole:.4f}", ha="center")
    plane.set(title="discrete pole Ā", xlabel="Re", ylabel="Im", aspect="equal",
              xlim=(-1.2, 1.2), ylim=(-1.2, 1.2), xticks=(-1, 0, 1), yticks=(-1, 0, 1))
    decay.step(np.arange(len(response)), *arrays(response), where="post", color=COLOURS[0],
               linestyle="-")
    decay.set(title="impulse response", xlabel="steps after the impulse",
              xlim=(0, len(response)), ylabel="share left", ylim=(0, 1.05))
    past.barh(list(shares), list(shares.values()), color=COLOURS[2])
    past.set(title="share of the state that is from steps", xlabel="share", xlim=(0, 1))
    past.invert_yaxis()
    state.plot(*arrays(t, x), label="input", **INPUT)
    state.plot(*arrays(t, h), label="state", color=COLOURS[1], linestyle="-")
    low, high = float(x.min()), float(x.max())
    pad = 0.05 * (high - low)
    state.set(xlabel="time, s", ylabel=unit,
              xlim=(float(t[0]), float(t[-1])), ylim=(low - pad, high + pad))
    state.text(0, 1.06, title, fontsize=10, transform=state.transAxes)
    state.legend(loc="upper right", ncols=2, bbox_to_anchor=(1.0, 1.24))
    return figure
