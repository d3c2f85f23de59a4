"""One output of an LTI system, as a convolution in four panels and as a recurrence beside them."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from minimamba.course.plots.style import COLOURS, INPUT, arrays, styled


@styled
def convolution(x: Tensor, unit: str, kernel: Tensor, products: Tensor, output: Tensor,
                state: Tensor, step: int) -> Figure:
    """Draw the products that sum to one output, a bar per step, and the recurrence's state.

    Args:
        x: (length,), the input.
        unit: of the input, written behind its name.
        kernel: (length,).
        products: (step + 1,), of the flipped kernel and the input.
        output: (length,).
        state: (length,) complex; its real part is the output.
        step: the time step of the output.

    Returns:
        The figure.
    """
    figure = Figure(figsize=(9, 5), dpi=90)
    grid = figure.add_gridspec(4, 2, left=0.075, right=0.985, bottom=0.095, top=0.94, hspace=0.55,
                               wspace=0.25, width_ratios=(2.6, 1))
    panels = [figure.add_subplot(grid[i, 0]) for i in range(4)]
    input_limit = 1.1 * float(x.abs().max())
    state_limit = 1.1 * float(state.abs().max())
    y = f"{round(float(output[step]), 3) + 0.0:.3f}".replace("-", "−")
    flipped = kernel[:step + 1].flip(0)
    rows = ((x, "xₛ", f"input x{unit}", INPUT["color"], input_limit),
            (flipped, "Kₜ₋ₛ", f"flipped kernel: $K_0$ is aligned with $x_{{{step}}}$", COLOURS[0],
             1.1),
            (products, "Kₜ₋ₛ xₛ", f"products of the two; their sum is {y}", COLOURS[2],
             input_limit),
            (output, "yₜ", f"output y{unit}: $y_{{{step}}}$ = {y}", COLOURS[1], state_limit))
    for ax, (values, ylabel, title, colour, limit) in zip(panels, rows, strict=True):
        bars = ax.bar(np.arange(len(values)), *arrays(values), color=colour, width=0.64)
        for bar in bars[step + 1:]:
            bar.set_alpha(0.3)
        ax.axhline(0, color="black", linewidth=0.8)
        ax.axvspan(step - 0.5, step + 0.5, color=COLOURS[5], alpha=0.4, linewidth=0, zorder=0)
        ax.set(ylabel=ylabel, xlim=(-0.6, len(x) - 0.4), ylim=(-limit, limit))
        ax.set_title(title, loc="left")
        ax.label_outer()
    panels[-1].set_xlabel("step")
    _state_plane(figure.add_subplot(grid[:, 1]), state[:step + 1], state_limit)
    return figure


def _state_plane(ax: Axes, states: Tensor, limit: float) -> None:
    """The states so far in the complex plane, the current one black."""
    ax.axhline(0, color="black", linewidth=0.8)
    ax.axvline(0, color="black", linewidth=0.8)
    ax.plot(*arrays(states.real, states.imag), marker="o", markersize=2.5, **INPUT)
    ax.plot(*arrays(states[-1:].real, states[-1:].imag), marker="o", color="black")
    ax.set(title="recurrence: the state h", xlabel="Re h", ylabel="Im h", aspect="equal",
           xlim=(-limit, limit), ylim=(-limit, limit))
