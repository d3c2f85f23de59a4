"""One output of a convolution: the input, the kernel flipped, their products, the sum of them."""

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from minimamba.course.plots.style import COLOURS, INPUT, arrays, styled


@styled
def convolution(x: Tensor, unit: str, kernel: Tensor, products: Tensor, output: Tensor,
                state: Tensor, place: int) -> Figure:
    """What makes one output, a bar a step, and beside it the state that a recurrence carries.

    Args:
        x, kernel, output: (length,). unit: the input's, to stand after its name.
        products: (place + 1,), of the flipped kernel with the input.
        state: (length,) complex, whose real part is the output. place: the step to mark.
    """
    figure = Figure(figsize=(9, 5), dpi=90)
    grid = figure.add_gridspec(4, 2, left=0.075, right=0.985, bottom=0.095, top=0.94, hspace=0.55,
                               wspace=0.25, width_ratios=(2.6, 1))
    panels = [figure.add_subplot(grid[i, 0]) for i in range(4)]
    plane = figure.add_subplot(grid[:, 1])
    taken, held = 1.1 * float(x.abs().max()), 1.1 * float(state.abs().max())
    y = f"{round(float(output[place]), 3) + 0.0:.3f}".replace("-", "−")
    flipped = kernel[:place + 1].flip(0)
    rows = ((x, "xₛ", f"input x{unit}", INPUT["color"], taken),
            (flipped, "Kₜ₋ₛ", "the kernel, flipped: $K_0$ at the place", COLOURS[0], 1.1),
            (products, "Kₜ₋ₛ xₛ", f"the products of the two: their sum is {y}", COLOURS[2], taken),
            (output, "yₜ", f"output y{unit}: $y_{{{place}}}$ = {y}", COLOURS[1], held))
    for ax, (values, ylabel, title, colour, limit) in zip(panels, rows, strict=True):
        bars = ax.bar(np.arange(len(values)), *arrays(values), color=colour, width=0.64)
        for bar in bars[place + 1:]:
            bar.set_alpha(0.3)
        ax.axhline(0, color="black", linewidth=0.8)
        ax.axvspan(place - 0.5, place + 0.5, color=COLOURS[5], alpha=0.4, linewidth=0, zorder=0)
        ax.set(ylabel=ylabel, xlim=(-0.6, len(x) - 0.4), ylim=(-limit, limit))
        ax.set_title(title, loc="left")
        ax.label_outer()
    panels[-1].set_xlabel("step")
    trail = state[:place + 1]
    plane.axhline(0, color="black", linewidth=0.8)
    plane.axvline(0, color="black", linewidth=0.8)
    plane.plot(*arrays(trail.real, trail.imag), marker="o", markersize=2.5, **INPUT)
    plane.plot(*arrays(trail[-1:].real, trail[-1:].imag), marker="o", color="black")
    plane.set(title="recurrence: the state h", xlabel="Re h", ylabel="Im h", aspect="equal",
              xlim=(-held, held), ylim=(-held, held))
    return figure
