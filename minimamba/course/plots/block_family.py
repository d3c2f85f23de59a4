"""The Mamba block beside the two blocks from which it was made."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.style import COLOURS, styled

LINEAR, CONV, FIRST, SSM, GATE, OUT = 2.2, 3.9, 5.6, 7.3, 9.0, 10.7
"""The heights of what the blocks do one after another."""
PITCH = 7.0


@styled
def block_family() -> Figure:
    """Draw H3, the gated MLP and the Mamba block; the same height is the same role.

    Returns:
        The figure.
    """
    figure, ax = draw.drawing(3 * PITCH, 12.2, unit=7 / (3 * PITCH))
    h3, mlp, mamba = 1.3, PITCH + 2.1, 2 * PITCH + 2.1
    for x, name in ((h3 + 2.2, "H3"), (mlp + 1.4, "gated MLP"), (mamba + 1.4, "Mamba block")):
        draw.words(ax, x, 0.5, name, bold=True)
    _main(ax, h3, (("linear", LINEAR), ("conv", CONV), ("×", FIRST), ("SSM", SSM), ("×", GATE),
                   ("linear", OUT)))
    _main(ax, mlp, (("linear", LINEAR), ("×", GATE), ("linear", OUT)))
    _main(ax, mamba, (("linear", LINEAR), ("conv", CONV), ("SiLU", FIRST), ("SSM", SSM),
                      ("×", GATE), ("linear", OUT)))
    _side(ax, h3, h3 + 2.2, FIRST)
    _side(ax, h3, h3 + 4.3, GATE)
    _side(ax, mlp, mlp + 2.8, GATE, "SiLU")
    _side(ax, mamba, mamba + 2.8, GATE, "SiLU")
    return figure


def _main(ax: Axes, x: float, parts: tuple[tuple[str, float], ...]) -> None:
    """The branch that all others multiply, from top to bottom."""
    before = LINEAR - 1.1
    for name, y in parts:
        half = 0.42 if name == "×" else 0.5
        draw.arrow(ax, (x, before), (x, y - half))
        _part(ax, x, y, name)
        before = y + half
    draw.arrow(ax, (x, before), (x, before + 0.7))


def _side(ax: Axes, x: float, side: float, end: float, activation: str = "") -> None:
    """Another projection of the same input, and where the main branch at x is multiplied by it."""
    draw.arrow(ax, (side, LINEAR - 1.1), (side, LINEAR - 0.5))
    _part(ax, side, LINEAR, "linear")
    start = LINEAR + 0.5
    if activation:
        draw.arrow(ax, (side, start), (side, SSM - 0.5))
        _part(ax, side, SSM, activation)
        start = SSM + 0.5
    draw.arrow(ax, (side, start), (side, end), (x + 0.42, end))


def _part(ax: Axes, x: float, y: float, name: str) -> None:
    """One operation, in the colour that it has in every block."""
    colour = {"linear": COLOURS[5], "conv": COLOURS[2], "SSM": COLOURS[1]}.get(name, "white")
    draw.box(ax, x, y, name, colour, width=0.85 if name == "×" else 1.75,
             height=0.85 if name == "×" else 1.0, size=12 if name == "×" else 9)
