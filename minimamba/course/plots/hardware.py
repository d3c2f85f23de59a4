"""Pictures of what a kernel runs on: the roofline, which program does which tile, the times."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from minimamba.course.plots.style import COLOURS, arrays, styled


@styled
def roofline(bandwidth: float, peak: float, points: Mapping[str, tuple[float, float]],
             xlabel: str, ylabel: str) -> Figure:
    """The most operations a second there can be, against operations a byte that is moved.

    Args:
        bandwidth: bytes a second. peak: operations a second.
        points: from a label to (operations a byte, operations a second).
    """
    figure = Figure(figsize=(7, 3.4), layout="constrained")
    ax = figure.subplots()
    reach = [x for x, _ in points.values()] + [peak / bandwidth]
    x = np.geomspace(min(reach) / 3, max(reach) * 5, 200)
    ax.plot(x, np.minimum(x * bandwidth, peak), color="#555555", linestyle="-",
            label="what the hardware allows")
    for (label, point), colour, marker in zip(points.items(), COLOURS, "osD^vP", strict=False):
        ax.plot(*point, marker=marker, markersize=8, linestyle="", color=colour, label=label)
    ax.set(xscale="log", yscale="log", xlabel=xlabel, ylabel=ylabel)
    ax.legend(loc="lower right")
    return figure


@styled
def programs(owner: Tensor, turn: Tensor, xlabel: str, ylabel: str) -> Figure:
    """Which program wrote each place, as a colour, and in which turn, as a number.

    Args:
        owner, turn: (rows, columns) of whole numbers; a number stands in the middle of the
            places that share both.
    """
    owner, turn = arrays(owner, turn)
    figure = Figure(figsize=(8, 2.9), layout="constrained")
    ax = figure.subplots()
    colours = np.array([[int(c[i:i + 2], 16) / 255 for i in (1, 3, 5)] for c in COLOURS])
    ax.imshow(0.45 + 0.55 * colours[owner.astype(int) % len(colours)], aspect="auto")
    for who, when in {*zip(owner.flat, turn.flat, strict=True)}:
        rows, columns = np.nonzero((owner == who) & (turn == when))
        corner = columns.min() - 0.5, rows.min() - 0.5
        ax.add_patch(Rectangle(corner, np.ptp(columns) + 1, np.ptp(rows) + 1, fill=False,
                               edgecolor="white", linewidth=2))
        ax.text(columns.mean(), rows.mean(), f"{when:g}", ha="center", va="center", fontsize=11)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.grid(False)
    return figure


@styled
def stacked(rows: Mapping[str, Mapping[str, float]], xlabel: str, ylabel: str) -> Figure:
    """A bar a row, made of its parts one after the other.

    Args:
        rows: from a row's label to its parts, and from a part's label to its length.
    """
    figure = Figure(figsize=(8, 0.9 + 0.45 * len(rows)), layout="constrained")
    ax = figure.subplots()
    labels = list(next(iter(rows.values())))
    start = np.zeros(len(rows))
    for label, colour, hatch in zip(labels, COLOURS, ("", "//", "..", "xx"), strict=False):
        lengths = np.array([parts[label] for parts in rows.values()])
        ax.barh(list(rows), lengths, left=start, color=colour, hatch=hatch, edgecolor="white",
                label=label)
        start += lengths
    _as_bars(ax, xlabel, ylabel)
    return figure


@styled
def beside(rows: Mapping[str, Mapping[str, float]], xlabel: str, ylabel: str, *,
           mark: Mapping[str, float] | None = None) -> Figure:
    """Bars in groups, a group a row.

    Args:
        rows: from a row's label to its bars, and from a bar's label to its length.
        mark: from a label to a place on the x axis that a grey line marks.
    """
    labels = list(next(iter(rows.values())))
    figure = Figure(figsize=(8, 0.9 + 0.28 * len(rows) * len(labels)), layout="constrained")
    ax = figure.subplots()
    width = 0.8 / len(labels)
    for i, (label, colour, hatch) in enumerate(zip(labels, COLOURS, ("", "//", "..", "xx"),
                                                   strict=False)):
        ax.barh(np.arange(len(rows)) + width * (i - (len(labels) - 1) / 2),
                [bars[label] for bars in rows.values()], width, color=colour, hatch=hatch,
                edgecolor="white", label=label)
    for label, place in (mark or {}).items():
        ax.axvline(place, color="#888888", linestyle=":", linewidth=1.2, label=label)
    ax.set_yticks(np.arange(len(rows)), list(rows))
    _as_bars(ax, xlabel, ylabel)
    return figure


def _as_bars(ax: Axes, xlabel: str, ylabel: str) -> None:
    """The first row on top, lines behind the bars and across them only, the legend outside."""
    ax.invert_yaxis()
    ax.set_axisbelow(True)
    ax.grid(axis="y", visible=False)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
