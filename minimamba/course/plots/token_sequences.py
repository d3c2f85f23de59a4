"""Sequences of tokens, one below the other, each with the tokens that a model must return."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.style import COLOURS, styled

NOISE = "."


@styled
def token_sequences(labels: Sequence[str], sequences: Sequence[str], answers: Sequence[str], *,
                    heading: str = "correct output") -> Figure:
    """Draw sequences with their answers; each kind of token has a colour, noise has none.

    Args:
        labels: what stands before each sequence.
        sequences: of one length; one token per character.
        answers: the tokens to return after each sequence.
        heading: what stands above the answers.

    Returns:
        The figure.
    """
    kinds = sorted({token for sequence in sequences for token in sequence if token.isalpha()})
    colours = {token: COLOURS[i % len(COLOURS)] for i, token in enumerate(kinds)}
    length, name = len(sequences[0]), 0.55 * max(map(len, labels)) + 0.6
    used = name + length + 1.8 + max(max(map(len, answers)), 3.6)
    width = max(used + 0.2, 15)
    name += (width - used) / 2
    after = name + length + 1.8
    figure, ax = draw.drawing(width, 1.3 + 1.3 * len(sequences), unit=7 / width)
    draw.words(ax, name + length / 2, 0.55, "input", colour=draw.QUIET)
    draw.words(ax, after, 0.55, heading, align="left", colour=draw.QUIET)
    for i, (label, sequence, answer) in enumerate(zip(labels, sequences, answers, strict=True)):
        y = 1.1 + 1.3 * i
        draw.words(ax, name - 0.3, y + 0.5, label, align="right")
        for x, part in ((name, sequence), (after, answer)):
            draw.row(ax, x, y, ["·" if token == NOISE else token for token in part],
                     [colours.get(token, "white") for token in part])
        draw.arrow(ax, (name + length + 0.3, y + 0.5), (after - 0.3, y + 0.5))
    return figure
