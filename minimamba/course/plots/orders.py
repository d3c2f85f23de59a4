"""The order of a scan's combine operations: positions side by side, levels one below the other."""

from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from minimamba.course.plots.style import COLOURS, styled

Range = tuple[int, int]


@styled
def scan_order(covered: list[list[Range]], levels: list[list[tuple[int, int]]], shown: int
               ) -> Figure:
    """Draw which steps each position of a scan combines after each level, with arrows between.

    A position that combines all steps up to its own is complete: filled, with a thick border and
    a tick.

    Args:
        covered: (levels + 1) rows with the (first, last) step of each position.
        levels: the combine operations between the rows, as (source, target).
        shown: the number of levels to draw.

    Returns:
        The figure.
    """
    length = len(covered[0])
    height = 0.9 + 0.62 * len(covered)
    figure = Figure(figsize=(9, height), dpi=90)
    ax = figure.add_axes((0.06, 0.55 / height, 0.93, 1 - 0.65 / height))
    for row, positions in enumerate(covered[:shown + 1]):
        targets = {target for _, target in levels[row - 1]} if row else set()
        for position, (first, last) in enumerate(positions):
            complete = first == 0
            colour = COLOURS[5] if complete else "white"
            ax.add_patch(FancyBboxPatch((position - 0.36, row - 0.22), 0.72, 0.44,
                                        facecolor=colour, boxstyle="round,pad=0.02",
                                        linewidth=2 if complete else 0.8))
            text = f"{first + 1}" if first == last else f"{first + 1}–{last + 1}"
            ax.text(position, row, text + (" ✓" if complete else ""), ha="center", va="center",
                    fontsize=9 if length <= 12 else 7,
                    fontweight="bold" if position in targets else "normal")
        for source, target in levels[row - 1] if row else ():
            for start, colour in ((source, COLOURS[1]), (target, "#888888")):
                ax.annotate("", (target, row - 0.25), (start, row - 0.75),
                            arrowprops={"arrowstyle": "->", "color": colour})
    ax.set(xlim=(-0.6, length - 0.4), ylim=(len(covered) - 0.5, -0.5), xlabel="step",
           ylabel="level", xticks=range(length), yticks=range(len(covered)))
    ax.set_xticklabels(range(1, length + 1))
    ax.grid(False)
    return figure
