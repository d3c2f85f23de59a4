"""When a loop waits for its loads: each iteration's load and its arithmetic on one line of time."""

from collections.abc import Mapping

from matplotlib.figure import Figure
from torch import Tensor

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.style import arrays, styled

LEFT, WIDTH, HEIGHT = 1.7, 10.4, 0.5
"""In halves of an inch: where time begins, how wide all of it is, and an iteration."""


@styled
def load_timelines(loops: Mapping[str, Tensor]) -> Figure:
    """Draw when each iteration of some loops asks for its data, gets it, and is done.

    Args:
        loops: for each name (iterations, 3), the times of these three events.

    Returns:
        The figure.
    """
    times = {name: arrays(part)[0] for name, part in loops.items()}
    rows = sum(len(part) for part in times.values())
    figure, ax = draw.drawing(14, (HEIGHT + 0.08) * rows + 1.25 * len(times) + 0.9)
    scale = WIDTH / max(part.max() for part in times.values())
    top = 0.2
    for name, part in times.items():
        draw.words(ax, 0.2, top + 0.35, name, align="left", bold=True)
        top += 0.8
        for i, (asked, arrived, done) in enumerate(part):
            y = top + i * (HEIGHT + 0.08)
            begun = max(arrived, part[i - 1, 2]) if i else arrived
            draw.words(ax, LEFT - 0.2, y + HEIGHT / 2, f"tile {i + 1}", align="right", size=8.5)
            draw.cell(ax, LEFT + asked * scale, y, "", draw.INPUT,
                      width=(arrived - asked) * scale, height=HEIGHT)
            draw.cell(ax, LEFT + begun * scale, y, "", draw.STATE, width=(done - begun) * scale,
                      height=HEIGHT)
        draw.words(ax, LEFT + part[-1, 2] * scale + 0.2, y + HEIGHT / 2, f"{part[-1, 2]:g} cycles",
                   align="left", size=8.5)
        top += len(part) * (HEIGHT + 0.08) + 0.45
    for x, colour, text in ((LEFT, draw.INPUT, "the load is on its way"),
                            (LEFT + 5.5, draw.STATE, "arithmetic")):
        draw.cell(ax, x, top, "", colour, width=0.6, height=0.45)
        draw.words(ax, x + 0.8, top + 0.22, text, align="left", size=8.5)
    return figure
