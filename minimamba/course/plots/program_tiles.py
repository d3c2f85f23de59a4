"""Which program of a kernel works on which elements of an array."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.style import COLOURS, styled


@styled
def program_tiles(shape: tuple[int, ...], tile: tuple[int, ...], axes: tuple[str, ...],
                  walks: bool = False) -> Figure:
    """Draw an array in tiles, a colour per program; masked elements, beyond the array, are empty.

    Args:
        shape: rows and columns of the array, or its elements only.
        tile: the same of a tile.
        axes: what the rows and the columns, or the elements, are.
        walks: whether one program has all tiles of its columns, one after the other.

    Returns:
        The figure.
    """
    flat = len(shape) == 1
    if flat:
        shape, tile, axes = (1, *shape), (1, *tile), ("", *axes)
    rows, columns = (-(-size // part) for size, part in zip(shape, tile, strict=True))
    left, top = 2.6, 1.9
    unit = min(0.8, 10.8 / (columns * tile[1]))
    figure, ax = draw.drawing(14, top + rows * tile[0] * unit + 0.5)
    left += (10.8 - columns * tile[1] * unit) / 2
    draw.words(ax, left - 0.7, top + shape[0] * unit / 2, axes[0], align="right", colour=draw.QUIET)
    draw.words(ax, left + columns * tile[1] * unit / 2, 0.4, axes[1], colour=draw.QUIET)
    for i in range(rows):
        for j in range(columns):
            program = j if walks else i * columns + j
            _tile(ax, left, top, unit, shape, tile, (i, j), COLOURS[program % len(COLOURS)])
            label = f"{i + 1}" if walks else "" if flat else f"({i}, {j})"
            x, y = (part * size + min(size, whole - part * size) / 2
                    for part, size, whole in ((j, tile[1], shape[1]), (i, tile[0], shape[0])))
            _label(ax, left + x * unit, top + y * unit, label)
    for j in range(columns if walks or flat else 0):
        draw.words(ax, left + (j + 0.5) * tile[1] * unit, 1.35 if unit > 0.5 else 1.4,
                   f"program {j}", bold=True)
    for index in range(shape[1] if unit > 0.5 else 0):
        draw.words(ax, left + (index + 0.5) * unit, 0.9, f"{index}", colour=draw.QUIET, size=8)
    for index in range(0 if flat else shape[0]):
        draw.words(ax, left - 0.3, top + (index + 0.5) * unit, f"{index}", colour=draw.QUIET,
                   size=8)
    return figure


def _tile(ax: Axes, left: float, top: float, unit: float, shape: tuple[int, int],
          tile: tuple[int, int], place: tuple[int, int], colour: str) -> None:
    """The cells of one tile, and a thick border around it."""
    for row in range(place[0] * tile[0], (place[0] + 1) * tile[0]):
        for column in range(place[1] * tile[1], (place[1] + 1) * tile[1]):
            exists = row < shape[0] and column < shape[1]
            ax.add_patch(Rectangle((left + column * unit, top + row * unit), unit, unit,
                                   facecolor=colour if exists else "white", linewidth=0.6,
                                   alpha=0.45 if exists else 1.0, edgecolor=draw.QUIET,
                                   linestyle="-" if exists else ":", zorder=2))
    ax.add_patch(Rectangle((left + place[1] * tile[1] * unit, top + place[0] * tile[0] * unit),
                           tile[1] * unit, tile[0] * unit, fill=False, edgecolor=draw.INK,
                           linewidth=2.0, zorder=3))


def _label(ax: Axes, x: float, y: float, text: str) -> None:
    if text:
        ax.text(x, y, text, ha="center", va="center", fontsize=11, color=draw.INK, zorder=5,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5})
