"""An experiment: after one text a model goes on with the state of one layer after another text."""

from matplotlib.figure import Figure

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.style import COLOURS, styled


@styled
def exchanged_layer_state(first: str, second: str, layers: int, layer: int,
                          following: str) -> Figure:
    """Draw the states after two texts, and the states with which the model goes on.

    Args:
        first: the text from which it gets its states.
        second: the text from which it gets one of them instead.
        layers: how many the model has.
        layer: the one whose state is exchanged.
        following: the token that it reads next.

    Returns:
        The figure.
    """
    pitch, left, pasted = 3.6, 6.6, 5.2
    after = left + pitch * layers
    width = after + 4.4
    figure, ax = draw.drawing(width, 6.9, unit=7 / width)
    for text, y, colour in ((first, 0.5, COLOURS[0]), (second, 2.3, COLOURS[4])):
        draw.cell(ax, 0.3, y, text, draw.INPUT, width=5.4)
        draw.arrow(ax, (5.7, y + 0.5), (left - 0.1, y + 0.5))
        for i in range(layers):
            draw.cell(ax, left + pitch * i, y, f"state of layer {i}", colour, width=3.4, size=8.5)
    draw.words(ax, left - 0.4, pasted + 0.5, "goes on with", align="right", colour=draw.QUIET)
    for i in range(layers):
        x, taken = left + pitch * i, i == layer
        draw.cell(ax, x, pasted, f"state of layer {i}", COLOURS[4 if taken else 0], width=3.4,
                  size=8.5, strong=taken)
        bottom, at = (3.3, x + 1.7) if taken else (1.5, x + 0.6)
        draw.arrow(ax, (at, bottom), (at, pasted))
    draw.arrow(ax, (after - 0.2, pasted + 0.5), (after + 0.5, pasted + 0.5))
    draw.cell(ax, after + 0.6, pasted, following, draw.INPUT)
    draw.arrow(ax, (after + 1.6, pasted + 0.5), (after + 2.3, pasted + 0.5))
    draw.words(ax, after + 2.5, pasted + 0.5, "\" or ' ?", align="left", bold=True)
    return figure
