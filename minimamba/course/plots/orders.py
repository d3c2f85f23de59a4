"""The order of a scan's joins: places side by side, level below level."""

from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from minimamba.course.plots.style import COLOURS, styled

Range = tuple[int, int]


@styled
def order(covered: list[list[Range]], levels: list[list[tuple[int, int]]], shown: int) -> Figure:
    """What each place has joined after each of the levels shown, and by which joins.

    A place that has joined all steps up to its own is done: it has a thick border and a tick.

    Args:
        covered: (levels + 1) rows of (first, last) for each place. levels: the joins between
            rows, (source, target). shown: how many levels.
    """
    length = len(covered[0])
    height = 0.9 + 0.62 * len(covered)
    figure = Figure(figsize=(9, height), dpi=90)
    ax = figure.add_axes((0.06, 0.55 / height, 0.93, 1 - 0.65 / height))
    for row, places in enumerate(covered[:shown + 1]):
        joined = {target for _, target in levels[row - 1]} if row else set()
        for place, (first, last) in enumerate(places):
            done = first == 0
            colour = COLOURS[5] if done else "white"
            ax.add_patch(FancyBboxPatch((place - 0.36, row - 0.22), 0.72, 0.44, facecolor=colour,
                                        boxstyle="round,pad=0.02", linewidth=2 if done else 0.8))
            text = f"{first + 1}" if first == last else f"{first + 1}–{last + 1}"
            ax.text(place, row, text + (" ✓" if done else ""), ha="center", va="center",
                    fontsize=9 if length <= 12 else 7,
                    fontweight="bold" if place in joined else "normal")
        for source, target in levels[row - 1] if row else ():
            for start, colour in ((source, COLOURS[1]), (target, "#888888")):
                ax.annotate("", (target, row - 0.25), (start, row - 0.75),
                            arrowprops={"arrowstyle": "->", "color": colour})
    ax.set(xlim=(-0.6, length - 0.4), ylim=(len(covered) - 0.5, -0.5), xlabel="step",
           ylabel="level", xticks=range(length), yticks=range(len(covered)))
    ax.set_xticklabels(range(1, length + 1))
    ax.grid(False)
    return figure
