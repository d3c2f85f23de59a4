"""The Mamba block as a diagram, with the width of every connection."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from minimamba.course.plots.style import COLOURS, styled

MAIN, LOWER, AROUND = 2.0, 0.55, 3.35
"""The heights of the branch x, of the branch z and of the residual connection."""


@styled
def mamba_block(d_model: int, d_inner: int, d_state: int, dt_rank: int) -> Figure:
    """Draw the Mamba block with its normalization and residual connection.

    Each arrow says how many numbers per token it carries.

    Args:
        d_model: the width of the model.
        d_inner: the width inside the block.
        d_state: the state dimension N.
        dt_rank: the rank of Δ's projection.

    Returns:
        The figure.
    """
    figure = Figure(figsize=(9, 3.7), dpi=90)
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set(xlim=(-0.35, 14.2), ylim=(-0.45, 3.9))
    ax.axis("off")
    wide, narrow = f"{d_inner:,}", f"{d_model:,}"
    _line(ax, [(-0.2, MAIN), (0.5, MAIN)], f"u {narrow}", at=(0.1, MAIN - 0.4))
    _line(ax, [(0.2, MAIN), (0.2, AROUND), (13.35, AROUND), (13.35, MAIN + 0.2)])
    _box(ax, 1.0, MAIN, "RMSNorm", 1.0)
    _line(ax, [(1.5, MAIN), (2.15, MAIN)], narrow, at=(1.74, MAIN - 0.4))
    _box(ax, 2.65, MAIN, "in_proj", 1.0, COLOURS[5])
    _line(ax, [(3.15, MAIN), (4.2, MAIN)], f"x {wide}")
    _line(ax, [(2.65, MAIN - 0.3), (2.65, LOWER), (6.0, LOWER)], f"z {wide}", at=(4.2, LOWER))
    _box(ax, 4.75, MAIN, "conv1d\nwidth 4", 1.1, COLOURS[2])
    _line(ax, [(5.3, MAIN), (5.75, MAIN)])
    _box(ax, 6.15, MAIN, "SiLU", 0.8)
    _line(ax, [(6.55, MAIN), (8.57, MAIN)], f"x {wide}", at=(7.65, MAIN))
    _line(ax, [(6.85, MAIN), (6.85, 2.85), (7.1, 2.85)])
    _box(ax, 7.95, 2.85, f"x_proj, dt_proj\nΔ {wide}  B, C {d_state}", 1.7, COLOURS[5])
    _line(ax, [(8.8, 2.85), (9.45, 2.85), (9.45, MAIN + 0.31)])
    _box(ax, 9.45, MAIN, f"selective SSM\nA {wide} × {d_state}, D", 1.75, COLOURS[1])
    _line(ax, [(10.33, MAIN), (11.15, MAIN)], f"y {wide}", at=(10.75, MAIN))
    _box(ax, 6.4, LOWER, "SiLU", 0.8)
    _line(ax, [(6.8, LOWER), (11.35, LOWER), (11.35, MAIN - 0.22)], wide, at=(9.0, LOWER))
    ax.text(11.35, MAIN, "×", ha="center", va="center", fontsize=15,
            bbox={"boxstyle": "circle,pad=0.12", "facecolor": "white"})
    _line(ax, [(11.55, MAIN), (11.85, MAIN)])
    _box(ax, 12.35, MAIN, "out_proj", 1.0, COLOURS[5])
    _line(ax, [(12.85, MAIN), (13.15, MAIN)])
    ax.text(13.35, MAIN, "+", ha="center", va="center", fontsize=14,
            bbox={"boxstyle": "circle,pad=0.12", "facecolor": "white"})
    _line(ax, [(13.55, MAIN), (14.1, MAIN)], narrow)
    ax.add_patch(FancyBboxPatch((2.0, 0.05), 11.0, 3.15, boxstyle="round,pad=0.02", fill=False,
                                linestyle=(0, (4, 2)), edgecolor="#888888"))
    ax.text(7.5, -0.1, f"the block; the projection of Δ has rank {dt_rank}", ha="center", va="top")
    return figure


def _box(ax: Axes, x: float, y: float, text: str, width: float, colour: str = "white") -> None:
    """A box with text, centered at (x, y)."""
    height = 0.62
    ax.add_patch(FancyBboxPatch((x - width / 2, y - height / 2), width, height, zorder=2,
                                boxstyle="round,pad=0.0,rounding_size=0.08", facecolor="white"))
    ax.add_patch(FancyBboxPatch((x - width / 2, y - height / 2), width, height, zorder=2,
                                boxstyle="round,pad=0.0,rounding_size=0.08", facecolor=colour,
                                alpha=0.45))
    ax.text(x, y, text, ha="center", va="center", zorder=3, fontsize=8)


def _line(ax: Axes, points: list[tuple[float, float]], text: str = "",
          at: tuple[float, float] | None = None) -> None:
    """An arrow along the points, with text above its middle or at another position."""
    ax.plot(*zip(*points[:-1], strict=True), color="black", linestyle="-", linewidth=1.1, zorder=1)
    ax.annotate("", points[-1], points[-2], zorder=1, arrowprops={
        "arrowstyle": "-|>", "color": "black", "shrinkA": 0, "shrinkB": 0, "linewidth": 1.1})
    (x, y), (end, _) = points[0], points[-1]
    x, y = at or ((x + end) / 2, y)
    ax.text(x, y + 0.08, text, ha="center", va="bottom", fontsize=8)
