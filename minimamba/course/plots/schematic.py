"""The parts of which every schematic is made: cells, arrows, arrays with named axes, and words.

A drawing has its own units: a cell is 1 wide and 1 high, and y grows downward, as on a page.
"""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle

from minimamba.course.plots.style import COLOURS

INK, QUIET = "#222222", "#777777"
STATE, INPUT, OUTPUT, STEP = COLOURS[5], "#bbbbbb", COLOURS[2], COLOURS[4]
"""The colours of the hidden state, of the input, of the output and of Δ, in every schematic."""
SERIES = COLOURS[0], COLOURS[1], COLOURS[3], COLOURS[4]
"""The colours of the entries of a kernel, or of channels: none is that of an output or a state."""
FONT = 9.5
"""In points: 13 pixels where a figure is 700 pixels wide."""


def drawing(width: float, height: float, unit: float = 0.5) -> tuple[Figure, Axes]:
    """Make an empty drawing.

    Args:
        width: in units of a cell.
        height: in units of a cell.
        unit: the size of a cell, in inches; 7 inches are 700 pixels in a notebook.

    Returns:
        The figure, and the axes to draw on: x from 0 to `width`, and y from 0, at the top, to
        `height`.
    """
    figure = Figure(figsize=(width * unit, height * unit), dpi=100)
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set(xlim=(0, width), ylim=(height, 0))
    ax.axis("off")
    return figure, ax


def cell(ax: Axes, x: float, y: float, text: str = "", colour: str = "white", *,
         width: float = 1.0, height: float = 1.0, size: float = FONT, strong: bool = False) -> None:
    """Draw one cell: a number, a token or a component of a state.

    Args:
        ax: the drawing.
        x: of the left edge.
        y: of the upper edge.
        text: written in the middle.
        colour: of the cell, drawn pale so that the text is legible.
        width: in units of a cell.
        height: in units of a cell.
        size: of the text, in points.
        strong: whether the cell has a thick border.
    """
    for fill, alpha in (("white", 1.0), (colour, 0.45)):
        ax.add_patch(Rectangle((x, y), width, height, facecolor=fill, alpha=alpha, linewidth=0,
                               zorder=2))
    ax.add_patch(Rectangle((x, y), width, height, fill=False, edgecolor=INK, zorder=3,
                           linewidth=2.0 if strong else 0.9))
    ax.text(x + width / 2, y + height / 2, text, ha="center", va="center", fontsize=size,
            color=INK, zorder=4)


def row(ax: Axes, x: float, y: float, texts: Sequence[str], colour: str | Sequence[str] = "white",
        *, width: float = 1.0, height: float = 1.0, size: float = FONT) -> None:
    """Draw cells side by side.

    Args:
        ax: the drawing.
        x: of the left edge of the first.
        y: of their upper edges.
        texts: one per cell.
        colour: of all, or one per cell.
        width: of each.
        height: of each.
        size: of the text, in points.
    """
    colours = [colour] * len(texts) if isinstance(colour, str) else colour
    for i, (text, fill) in enumerate(zip(texts, colours, strict=True)):
        cell(ax, x + i * width, y, text, fill, width=width, height=height, size=size)


def box(ax: Axes, x: float, y: float, text: str, colour: str = "white", *, width: float = 2.0,
        height: float = 1.0, size: float = FONT) -> None:
    """Draw an operation: a box with round corners, with its center at (x, y).

    Args:
        ax: the drawing.
        x: of the center.
        y: of the center.
        text: written in the middle.
        colour: of the box, drawn pale.
        width: in units of a cell.
        height: in units of a cell.
        size: of the text, in points.
    """
    for fill, alpha in (("white", 1.0), (colour, 0.45)):
        ax.add_patch(FancyBboxPatch(
            (x - width / 2, y - height / 2), width, height, facecolor=fill, alpha=alpha, zorder=2,
            edgecolor=INK, linewidth=0.9, boxstyle="round,pad=0,rounding_size=0.15"))
    words(ax, x, y, text, size=size)


def arrow(ax: Axes, *points: tuple[float, float], text: str = "",
          at: tuple[float, float] | None = None, colour: str = INK, dashed: bool = False,
          size: float = FONT) -> None:
    """Draw an arrow along points.

    Args:
        ax: the drawing.
        points: two or more; the head is at the last.
        text: written at the arrow.
        at: where; by default above the middle of the first part.
        colour: of the arrow and its text.
        dashed: whether the line is.
        size: of the text, in points.
    """
    style = (0, (4, 2)) if dashed else "-"
    if len(points) > 2:
        ax.plot(*zip(*points[:-1], strict=True), color=colour, linestyle=style, linewidth=1.2,
                zorder=1, solid_joinstyle="miter")
    ax.annotate("", points[-1], points[-2], zorder=1, arrowprops={
        "arrowstyle": "-|>", "color": colour, "shrinkA": 0, "shrinkB": 0, "linewidth": 1.2,
        "linestyle": style})
    (x, y), (end, other) = points[:2]
    x, y = at or ((x + end) / 2, (y + other) / 2 - 0.25)
    words(ax, x, y, text, colour=colour, size=size)


def words(ax: Axes, x: float, y: float, text: str, *, align: str = "center", colour: str = INK,
          size: float = FONT, bold: bool = False) -> None:
    """Write words, centered in height at y.

    Args:
        ax: the drawing.
        x: of the middle, the left or the right end, as `align` says.
        y: of the middle.
        text: may have several lines.
        align: "center", "left" or "right".
        colour: of the text.
        size: in points.
        bold: whether the text is.
    """
    ax.text(x, y, text, ha=align, va="center", fontsize=size, color=colour, zorder=5,
            fontweight="bold" if bold else "normal", linespacing=1.3)


def array(ax: Axes, x: float, y: float, rows: int, columns: int, name: str, axes: tuple[str, str],
          colour: str = "white", *, unit: float = 0.4) -> None:
    """Draw a matrix as a grid, with its name above and its axes named at the left and below.

    Args:
        ax: the drawing.
        x: of the left edge of the grid.
        y: of its upper edge.
        rows: how many.
        columns: how many.
        name: of the array.
        axes: what the rows and what the columns are; a single letter stands upright.
        colour: of the cells.
        unit: the size of one of its cells.
    """
    for i in range(rows):
        for j in range(columns):
            cell(ax, x + j * unit, y + i * unit, "", colour, width=unit, height=unit)
    words(ax, x + columns * unit / 2, y - 0.35, name, bold=True)
    ax.text(x - 0.15, y + rows * unit / 2, axes[0], ha="right", va="center",
            rotation=90 if len(axes[0]) > 1 else 0, fontsize=FONT - 1, color=QUIET)
    words(ax, x + columns * unit / 2, y + rows * unit + 0.3, axes[1], colour=QUIET, size=FONT - 1)
