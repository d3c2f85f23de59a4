"""Lines over one axis: signals over time, curves, and several runs of each model."""

from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from minimamba.course.plots.style import BEHIND, Lines, arrays, coloured, mark_x, styled


@styled
def traces(t: Tensor, panels: Mapping[str, Lines], xlabel: str = "time, s",
           height: float = 1.7) -> Figure:
    """Draw signals over one time axis, one panel below the other.

    Args:
        t: (length,), the time.
        panels: for each panel's y label its lines, and for each line's label its (length,) values.
            A line whose label begins with "input" is grey; one with an empty label is not in the
            legend.
        xlabel: the label of the time axis.
        height: of a panel, in inches.

    Returns:
        The figure.
    """
    figure = Figure(figsize=(8, 0.7 + height * len(panels)), layout="constrained")
    axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for ax, (ylabel, lines) in zip(axes, panels.items(), strict=True):
        for label, y in lines.items():
            look = BEHIND if label.startswith("input") else {}
            ax.plot(*arrays(t, y), label=label or None, **look)
        ax.set_ylabel(ylabel)
        if any(lines):
            ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.05))
    axes[-1].set_xlabel(xlabel)
    axes[-1].set_xlim(float(t[0]), float(t[-1]))
    return figure


@styled
def curves(x: Tensor, lines: Lines, xlabel: str, ylabel: str, *, log: str = "",
           mark: Mapping[str, float] | None = None) -> Figure:
    """Draw curves over one axis.

    Args:
        x: (points,).
        lines: for each label the (points,) values; NaN leaves a gap.
        xlabel: the label of the x axis, with its unit.
        ylabel: the label of the y axis, with its unit.
        log: the logarithmic axes: "", "x", "y" or "xy".
        mark: for each label an x at which to draw a vertical line.

    Returns:
        The figure.

    Raises:
        ValueError: for more lines than there are colours.
    """
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    ax = figure.subplots()
    for label, y, colour, dash in coloured(lines):
        ax.plot(*arrays(x, y), marker="o" if len(x) < 30 else "", markersize=4, label=label,
                color=colour, linestyle=dash)
    _label(ax, x, xlabel, ylabel, log, mark, legend=any(lines))
    return figure


@styled
def every_run(x: Tensor, runs: Lines, xlabel: str, ylabel: str, *, log: str = "",
              mark: Mapping[str, float] | None = None,
              ylim: tuple[float, float] | None = None, median: bool = True) -> Figure:
    """Draw every run of each model as a thin line, and their median as a thick one.

    Args:
        x: (points,).
        runs: for each label the (runs, points) values; NaN leaves a gap.
        xlabel: the label of the x axis, with its unit.
        ylabel: the label of the y axis, with its unit.
        log: the logarithmic axes: "", "x", "y" or "xy".
        mark: for each label an x at which to draw a vertical line.
        ylim: the limits of the y axis; by default it begins at 0 or below.
        median: whether to draw it. Where runs fall into two groups, it lies where no run is.

    Returns:
        The figure.

    Raises:
        ValueError: for more labels than there are colours.
    """
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    ax = figure.subplots()
    for label, y, colour, dash in coloured(runs):
        at, each, middle = arrays(x, y.mT, y.quantile(0.5, dim=0))
        if median:
            ax.plot(at, each, color=colour, linestyle="-", linewidth=0.6, alpha=0.6)
            named, = ax.plot(at, middle, color=colour, linestyle=dash, linewidth=2.2)
        else:
            named, *_ = ax.plot(at, each, color=colour, linestyle=dash, linewidth=1.2)
        named.set_label(f"{label} ({len(y)} runs)")
    _label(ax, x, xlabel, ylabel, log, mark, legend=True)
    if ylim is not None:
        ax.set_ylim(ylim)
    return figure


def _label(ax: Axes, x: Tensor, xlabel: str, ylabel: str, log: str,
           mark: Mapping[str, float] | None, legend: bool) -> None:
    """Draw the marks, and say what the axes and the lines are."""
    mark_x(ax, mark)
    if "x" in log:
        ax.set_xscale("log")
    if "y" in log:
        ax.set_yscale("log")
    else:
        ax.set_ylim(min(0, ax.get_ylim()[0]), None)
    if "x" in log and len(x) < 10:
        shown = x.tolist()[::1 if len(x) < 7 else 2]
        ax.set_xticks(shown, [f"{value:,g}" for value in shown], minor=False)
        ax.set_xticks([], minor=True)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    if legend or mark:
        ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))


@styled
def mean_and_range(x: Tensor, runs: Lines, xlabel: str, ylabel: str, *,
                   ylim: tuple[float, float] | None = None) -> Figure:
    """Draw several runs of each model: their mean as a line, from lowest to highest as a band.

    Args:
        x: (points,).
        runs: for each label the (runs, points) values; they may have fewer points than x.
        xlabel: the label of the x axis, with its unit.
        ylabel: the label of the y axis, with its unit.
        ylim: the limits of the y axis.

    Returns:
        The figure.

    Raises:
        ValueError: for more labels than there are colours.
    """
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    ax = figure.subplots()
    for label, y, colour, dash in coloured(runs):
        at, low, mean, high = arrays(x[:y.shape[1]], y.amin(0), y.mean(0), y.amax(0))
        ax.fill_between(at, low, high, color=colour, alpha=0.2, linewidth=0)
        ax.plot(at, mean, color=colour, linestyle=dash, label=label)
    ax.set(xlabel=xlabel, ylabel=ylabel, ylim=ylim)
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure
