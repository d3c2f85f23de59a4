"""From a prompt to new tokens: one parallel pass, then one step per token, and the cache."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.style import COLOURS, styled

PITCH, MIDDLE, BELOW = 6.3, 3.4, 5.6
"""From one step to the next; the heights of the steps and of their input tokens."""


@styled
def prefill_and_decode(prompt: Sequence[str], generated: Sequence[str], d_conv: int = 4) -> Figure:
    """Draw a prefill and the steps after it, with the cache of one layer between them.

    Args:
        prompt: its tokens, at least `d_conv` − 1.
        generated: the tokens that follow; the prefill gives the first, each step another.
        d_conv: the width of the short convolution, which remembers one input less.

    Returns:
        The figure.
    """
    n, steps = len(prompt), len(generated) - 1
    width = n + 0.6 + PITCH * steps
    figure, ax = draw.drawing(width, 7.0, unit=7 / width)
    draw.words(ax, 0.3 + n / 2, 0.45, "prefill: all at once", bold=True)
    draw.words(ax, n + 0.6 + PITCH * steps / 2, 0.45, "decode: one step per token", bold=True)
    draw.row(ax, 0.3, BELOW, prompt, draw.INPUT)
    for i in range(n):
        draw.arrow(ax, (i + 0.8, BELOW), (i + 0.8, MIDDLE + 0.7))
    draw.box(ax, 0.3 + n / 2, MIDDLE, "scan", COLOURS[1], width=n, height=1.4)
    x, conv_state = n - 0.2, list(prompt)
    for i in range(steps):
        _output(ax, x, generated[i])
        conv_state = conv_state[1 - d_conv:]
        _cache(ax, x + 1.2, conv_state)
        x, token = x + PITCH, generated[i]
        draw.arrow(ax, (x - 1.3, MIDDLE), (x - 0.65, MIDDLE))
        draw.box(ax, x, MIDDLE, "step", COLOURS[1], width=1.3, height=1.4, size=8.5)
        draw.cell(ax, x - 0.5, BELOW, token, draw.INPUT)
        draw.arrow(ax, (x, BELOW), (x, MIDDLE + 0.7))
        conv_state.append(token)
    _output(ax, x, generated[steps])
    return figure


def _output(ax: Axes, x: float, token: str) -> None:
    """The token that a scan or a step predicts next."""
    draw.arrow(ax, (x, MIDDLE - 0.7), (x, 1.7))
    draw.words(ax, x, 1.35, token)


def _cache(ax: Axes, x: float, inputs: list[str]) -> None:
    """What one layer keeps: the last inputs of the convolution, and the hidden state."""
    draw.arrow(ax, (x - 0.5, MIDDLE), (x, MIDDLE))
    unit = 3.6 / len(inputs)
    draw.words(ax, x + 1.9, MIDDLE - 1.6, "conv_state", size=8.5, colour=draw.QUIET)
    draw.row(ax, x + 0.1, MIDDLE - 1.2, inputs, COLOURS[2], width=unit)
    draw.cell(ax, x + 0.1, MIDDLE + 0.2, "$h$", draw.STATE, width=3.6)
    draw.words(ax, x + 1.9, MIDDLE + 1.6, "ssm_state", size=8.5, colour=draw.QUIET)
