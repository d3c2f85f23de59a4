"""What states do along a line of text: heat maps, a column a character."""

from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from torch import Tensor

from minimamba.plots.style import arrays, styled

NARROW = "DejaVu Sans Mono"
SHOWN = str.maketrans({"\n": "⏎", " ": "·"})
"""What stands under a column whose character can't be seen."""


def letters(ax: Axes, text: str, *, shown: bool = True) -> None:
    """The characters under their columns."""
    ax.set_xticks(range(len(text)))
    ax.tick_params(axis="x", length=0)
    ax.set_xticklabels(text.translate(SHOWN) if shown else [], family=NARROW, fontsize=8)
    ax.grid(False)


@styled
def states(text: str, maps: Mapping[str, Tensor], ylabel: str, *, rows: list[str] | None = None,
           logarithmic: tuple[str, ...] = (), xlabel: str = "byte") -> Figure:
    """Heat maps over one line of text, one under the other.

    Args:
        text: a character a column. maps: from what is shown to (rows, len(text)).
        ylabel: what the rows are. rows: their names; their numbers if None.
        logarithmic: which maps have a logarithmic scale. xlabel: what a column is.
    """
    figure = Figure(figsize=(9, 0.7 + 1.6 * len(maps)), layout="constrained")
    axes = figure.subplots(len(maps), 1, squeeze=False)[:, 0]
    for ax, (label, values) in zip(axes, maps.items(), strict=True):
        image = ax.imshow(*arrays(values), aspect="auto", interpolation="nearest",
                          norm=LogNorm() if label in logarithmic else None)
        letters(ax, text, shown=ax is axes[-1])
        ax.set_ylabel(ylabel)
        if rows:
            ax.set_yticks(range(len(rows)), rows)
        figure.colorbar(image, ax=ax, label=label, pad=0.01)
    axes[-1].set_xlabel(xlabel)
    return figure
