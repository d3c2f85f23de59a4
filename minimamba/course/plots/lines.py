"""Lines against one axis: signals over time, curves, and curves with their spread."""

from collections.abc import Mapping

from matplotlib.figure import Figure
from torch import Tensor

from minimamba.course.plots.style import BEHIND, Lines, arrays, coloured, styled


@styled
def traces(t: Tensor, panels: Mapping[str, Lines], xlabel: str = "time, s",
           height: float = 1.7) -> Figure:
    """Signals over one time axis, panel over panel.

    Args:
        t: (length,).
        panels: from a panel's y label to its lines, and from a line's label to its
            (length,) values. A line called "input…" is drawn grey; an empty label hides it
            from the legend.
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
    """Curves against one axis; `log` names the logarithmic ones, "", "x", "y" or "xy".

    Args:
        x: (points,). lines: from a label to (points,) values; NaN leaves a gap.
        mark: from a label to a place on the x axis that a grey line marks.
    """
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    ax = figure.subplots()
    for label, y, colour, dash in coloured(lines):
        ax.plot(*arrays(x, y), marker="o" if len(x) < 30 else "", markersize=4, label=label,
                color=colour, linestyle=dash)
    for label, place in (mark or {}).items():
        ax.axvline(place, color="#888888", linestyle=":", linewidth=1.2, label=label)
    if "x" in log:
        ax.set_xscale("log")
    if "y" in log:
        ax.set_yscale("log")
    else:
        ax.set_ylim(min(0, ax.get_ylim()[0]), None)
    if "x" in log and len(x) < 10:
        shown = x.tolist()[::1 if len(x) < 7 else 2]
        ax.set_xticks(shown, [f"{place:,g}" for place in shown], minor=False)
        ax.set_xticks([], minor=True)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    if any(lines) or mark:
        ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


@styled
def spread(x: Tensor, runs: Lines, xlabel: str, ylabel: str, *,
           ylim: tuple[float, float] | None = None) -> Figure:
    """Several runs of each thing: their mean as a line, from the worst to the best as a band.

    Args:
        x: (points,). runs: from a label to (runs, points), or fewer points than x.
    """
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    ax = figure.subplots()
    for label, y, colour, dash in coloured(runs):
        place, low, mean, high = arrays(x[:y.shape[1]], y.amin(0), y.mean(0), y.amax(0))
        ax.fill_between(place, low, high, color=colour, alpha=0.2, linewidth=0)
        ax.plot(place, mean, color=colour, linestyle=dash, label=label)
    ax.set(xlabel=xlabel, ylabel=ylabel, ylim=ylim)
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure
