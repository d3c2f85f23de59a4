"""What a selective scan moves between a GPU's main memory and its cores, fused and not."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.style import COLOURS, styled


@styled
def hbm_traffic(x: float, states: float) -> Figure:
    """Draw three kernels in a row, and one fused kernel, with the megabytes that each moves.

    Args:
        x: megabytes of x, of Δ or of y, each (batch, length, d_inner).
        states: megabytes of Ā, of B̄ x or of all states, each with an axis more, d_state.

    Returns:
        The figure.
    """
    figure, ax = draw.drawing(14, 5.6)
    draw.words(ax, 4.7, 0.5, "naive: one kernel per operation", bold=True)
    draw.words(ax, 12.0, 0.5, "fused: one kernel", bold=True)
    draw.cell(ax, 0.2, 4.6, "HBM", draw.STEP, width=9.2, height=0.7)
    draw.cell(ax, 10.2, 4.6, "HBM", draw.STEP, width=3.6, height=0.7)
    _kernel(ax, 1.8, "discretize", ("x, Δ", 2 * x), ("Ā, B̄ x", 2 * states))
    _kernel(ax, 4.8, "scan", ("Ā, B̄ x", 2 * states), ("h", states))
    _kernel(ax, 7.8, "read with C", ("h", states), ("y", x))
    _kernel(ax, 12.0, "all three", ("x, Δ", 2 * x), ("y", x))
    return figure


def _kernel(ax: Axes, x: float, name: str, read: tuple[str, float],
            written: tuple[str, float]) -> None:
    """A kernel above the main memory: what it reads on the left, what it writes on the right."""
    draw.box(ax, x, 1.6, name, draw.STATE, width=2.5)
    draw.arrow(ax, (x - 0.65, 4.6), (x - 0.65, 2.15), colour=COLOURS[0])
    draw.arrow(ax, (x + 0.65, 2.1), (x + 0.65, 4.55), colour=COLOURS[1])
    for at, (what, megabytes) in ((x - 0.65, read), (x + 0.65, written)):
        ax.text(at, 3.35, f"{what}\n{megabytes:.0f} MB", ha="center", va="center", fontsize=8,
                color=draw.INK, zorder=4, linespacing=1.3,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5})
