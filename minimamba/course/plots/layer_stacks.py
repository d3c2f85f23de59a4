"""A Transformer and a Mamba model of as many parameters: what stands on the residual stream."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.style import COLOURS, styled


@styled
def layer_stacks(pairs: int) -> Figure:
    """Draw the residual stream of both, with what each layer adds to it.

    Args:
        pairs: how many times the Transformer has attention and an MLP; Mamba has two blocks for
            each of them.

    Returns:
        The figure.
    """
    pitch, left = 2.55, 3.1
    width = left + 2 * pairs * pitch + 4.2
    figure, ax = draw.drawing(width, 10.1, unit=7 / width)
    kinds = {"Transformer": [("attention", COLOURS[3]), ("MLP", COLOURS[4])] * pairs,
             "Mamba": [("Mamba\nblock", COLOURS[1])] * 2 * pairs}
    for (name, blocks), top in zip(kinds.items(), (0.5, 5.5), strict=True):
        draw.words(ax, 0.2, top, name, align="left", bold=True)
        _stream(ax, left, top + 1.4, pitch, blocks)
    return figure


def _stream(ax: Axes, left: float, y: float, pitch: float, blocks: list[tuple[str, str]]) -> None:
    """One model: from the embedding along the stream to the head, its blocks below."""
    draw.box(ax, 1.4, y, "embedding", draw.INPUT, width=2.4)
    start = 2.6
    for i, (name, colour) in enumerate(blocks):
        x = left + i * pitch
        plus = x + pitch - 0.45
        draw.arrow(ax, (start, y), (plus - 0.3, y))
        draw.arrow(ax, (x + 0.35, y), (x + 0.35, y + 0.7))
        draw.box(ax, x + 0.9, y + 1.1, "norm", width=1.6, height=0.75, size=8.5)
        draw.arrow(ax, (x + 0.9, y + 1.5), (x + 0.9, y + 1.9))
        draw.box(ax, x + 0.9, y + 2.5, name, colour, width=2.15, height=1.2, size=8.5)
        draw.arrow(ax, (x + 1.98, y + 2.5), (plus, y + 2.5), (plus, y + 0.3))
        draw.words(ax, plus, y, "+", size=13)
        start = plus + 0.3
    end = left + len(blocks) * pitch
    draw.arrow(ax, (start, y), (end + 0.35, y))
    draw.box(ax, end + 1.15, y, "norm_f", width=1.6, size=8.5)
    draw.arrow(ax, (end + 1.95, y), (end + 2.3, y))
    draw.box(ax, end + 3.15, y, "lm_head", draw.INPUT, width=1.7, size=8.5)
