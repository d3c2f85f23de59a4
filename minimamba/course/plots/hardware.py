"""Figures about kernels: the roofline, and bars of times."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from minimamba.course.plots.style import COLOURS, mark_x, styled

HATCHES = ("", "//", "..", "xx")


@styled
def roofline(bandwidth: float, peak: float, points: Mapping[str, tuple[float, float]],
             xlabel: str, ylabel: str, caches: Mapping[str, float] | None = None) -> Figure:
    """Draw the roofline of a GPU, the highest rate of operations at each intensity, and kernels.

    Args:
        bandwidth: of the memory, in bytes per second.
        peak: the highest rate of arithmetic, in operations per second.
        points: for each label a kernel's intensity, in operations per byte, and its rate, in
            operations per second.
        xlabel: the label of the intensity.
        ylabel: the label of the rate.
        caches: for each label the bandwidth of a faster memory, in bytes per second: the limit if
            every byte came from there.

    Returns:
        The figure.
    """
    figure = Figure(figsize=(7, 3.4), layout="constrained")
    ax = figure.subplots()
    intensities = [x for x, _ in points.values()] + [peak / bandwidth]
    x = np.geomspace(min(intensities) / 3, max(intensities) * 5, 200)
    ax.plot(x, np.minimum(x * bandwidth, peak), color="#555555", linestyle="-",
            label="hardware limit")
    for (label, faster), dashes in zip((caches or {}).items(), ("--", ":"), strict=False):
        ax.plot(x, np.minimum(x * faster, peak), color="#555555", linestyle=dashes, label=label)
    for (label, point), colour, marker in zip(points.items(), COLOURS, "osD^vP", strict=False):
        ax.plot(*point, marker=marker, markersize=8, linestyle="", color=colour, label=label)
    ax.set(xscale="log", yscale="log", xlabel=xlabel, ylabel=ylabel)
    ax.legend(loc="lower right")
    return figure


@styled
def stacked_bars(rows: Mapping[str, Mapping[str, float]], xlabel: str, ylabel: str) -> Figure:
    """Draw one horizontal bar per row, made of its parts end to end.

    Args:
        rows: for each row's label its parts, and for each part's label its length.
        xlabel: what the lengths are, with their unit.
        ylabel: what the rows are.

    Returns:
        The figure.
    """
    figure = Figure(figsize=(8, 0.9 + 0.45 * len(rows)), layout="constrained")
    ax = figure.subplots()
    labels = list(next(iter(rows.values())))
    start = np.zeros(len(rows))
    for label, colour, hatch in zip(labels, COLOURS, HATCHES, strict=False):
        lengths = np.array([parts[label] for parts in rows.values()])
        ax.barh(list(rows), lengths, left=start, color=colour, hatch=hatch, edgecolor="white",
                label=label)
        start += lengths
    _finish_bars(ax, xlabel, ylabel)
    return figure


@styled
def grouped_bars(rows: Mapping[str, Mapping[str, float]], xlabel: str, ylabel: str, *,
                 mark: Mapping[str, float] | None = None) -> Figure:
    """Draw a group of horizontal bars per row.

    Args:
        rows: for each row's label its bars, and for each bar's label its length.
        xlabel: what the lengths are, with their unit.
        ylabel: what the rows are.
        mark: for each label an x at which to draw a vertical line.

    Returns:
        The figure.
    """
    labels = list(next(iter(rows.values())))
    figure = Figure(figsize=(8, 0.9 + 0.28 * len(rows) * len(labels)), layout="constrained")
    ax = figure.subplots()
    width = 0.8 / len(labels)
    for i, (label, colour, hatch) in enumerate(zip(labels, COLOURS, HATCHES, strict=False)):
        ax.barh(np.arange(len(rows)) + width * (i - (len(labels) - 1) / 2),
                [bars[label] for bars in rows.values()], width, color=colour, hatch=hatch,
                edgecolor="white", label=label)
    mark_x(ax, mark)
    ax.set_yticks(np.arange(len(rows)), list(rows))
    _finish_bars(ax, xlabel, ylabel)
    return figure


def _finish_bars(ax: Axes, xlabel: str, ylabel: str) -> None:
    """Put the first row on top, vertical grid lines behind the bars and the legend outside."""
    ax.invert_yaxis()
    ax.set_axisbelow(True)
    ax.grid(axis="y", visible=False)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
