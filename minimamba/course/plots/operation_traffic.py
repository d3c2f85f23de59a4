"""What each operation of an unfused scan reads and writes, beside one fused kernel."""

from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.style import COLOURS, styled


@styled
def operation_traffic(operations: Mapping[str, tuple[float, float]],
                      fused: tuple[float, float]) -> Figure:
    """Draw operations in a row above the main memory, with the bytes on the arrows.

    Args:
        operations: for each one's name the bytes that it reads and writes, per step and channel.
        fused: the same for one kernel that does all of it.

    Returns:
        The figure.
    """
    width = 11.2 / len(operations)
    figure, ax = draw.drawing(14, 5.9)
    left = len(operations) * width
    draw.words(ax, 0.2 + left / 2, 0.5, "unfused: one kernel per operation", bold=True)
    draw.words(ax, 12.75, 0.5, "one fused kernel", bold=True, size=9)
    for i, (name, moved) in enumerate(operations.items()):
        _operation(ax, 0.2 + (i + 0.5) * width, name, moved, 0.9 * width)
    _operation(ax, 12.75, "all of it", fused, 2.0)
    draw.cell(ax, 0.2, 4.1, "HBM", draw.INPUT, width=left, height=0.7)
    draw.cell(ax, 11.7, 4.1, "HBM", draw.INPUT, width=2.1, height=0.7)
    total = sum(sum(moved) for moved in operations.values())
    draw.words(ax, 0.2 + left / 2, 5.35, f"{total:.0f} bytes per step and channel", bold=True)
    draw.words(ax, 12.75, 5.35, f"{sum(fused):.1f} bytes", bold=True)
    return figure


def _operation(ax: Axes, x: float, name: str, moved: tuple[float, float], width: float) -> None:
    """A kernel: what it reads on the left, what it writes on the right."""
    draw.box(ax, x, 1.55, name, draw.STATE, width=width, size=9)
    apart = min(0.3, width / 4)
    draw.arrow(ax, (x - apart, 4.1), (x - apart, 2.1), colour=COLOURS[0])
    draw.arrow(ax, (x + apart, 2.05), (x + apart, 4.05), colour=COLOURS[1])
    for dx, dy, amount in ((-apart, -0.45, moved[0]), (apart, 0.45, moved[1])):
        ax.text(x + dx, 3.1 + dy, f"{amount:.3g}", ha="center", va="center", fontsize=8.5,
                color=draw.INK, zorder=4,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.2})
