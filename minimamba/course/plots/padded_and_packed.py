"""Texts of unequal lengths in one batch: padded on the left, or packed into one row."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.style import COLOURS, styled


@styled
def padded_and_packed(short: str, long: str) -> Figure:
    """Draw two texts as two padded rows with their mask, and as one packed row with its index.

    Args:
        short: one token per character.
        long: one token per character.

    Returns:
        The figure.
    """
    left, length, gap = 2.9, len(short) + len(long), len(long) - len(short)
    width = left + length + 0.4
    figure, ax = draw.drawing(width, 9.0, unit=7 / width)
    draw.words(ax, 0.3, 0.6, "padded on the left, to generate", align="left", bold=True)
    for y, text in ((1.3, "·" * gap + short), (3.2, long)):
        mask = [0 if token == "·" else 1 for token in text]
        colour = COLOURS[0] if text == long else COLOURS[4]
        _row(ax, left, y, text, [colour if m else draw.INPUT for m in mask])
        _below(ax, left, y + 1.3, "attention_mask", mask)
    draw.words(ax, 0.3, 5.7, "packed into one row, to train", align="left", bold=True)
    _row(ax, left, 6.4, short + long, [COLOURS[4]] * len(short) + [COLOURS[0]] * len(long))
    _below(ax, left, 7.7, "seq_idx", [0] * len(short) + [1] * len(long))
    border = left + len(short)
    ax.plot([border, border], [6.1, 8.1], color=COLOURS[1], linestyle="-", linewidth=2.5, zorder=6)
    draw.words(ax, border, 8.5, "the state begins at zero again", colour=COLOURS[1], size=8.5)
    return figure


def _row(ax: Axes, left: float, y: float, text: str, colours: list[str]) -> None:
    """The tokens of one row of the batch."""
    draw.words(ax, left - 0.3, y + 0.5, "tokens", align="right", size=8.5, colour=draw.QUIET)
    draw.row(ax, left, y, list(text), colours)


def _below(ax: Axes, left: float, y: float, name: str, values: list[int]) -> None:
    """One number under each token."""
    draw.words(ax, left - 0.3, y, name, align="right", size=8.5, colour=draw.QUIET)
    for i, value in enumerate(values):
        draw.words(ax, left + i + 0.5, y, str(value), size=8.5)
