"""Where a GPU keeps numbers: registers and shared memory in each multiprocessor, L2, HBM."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from minimamba.course.plots import schematic as draw
from minimamba.course.plots.style import COLOURS, styled


@styled
def memory_hierarchy(multiprocessors: int, registers: str, shared: str, l2: str, hbm: str,
                     l2_bandwidth: str, hbm_bandwidth: str) -> Figure:
    """Draw the memories of a GPU, the fastest and smallest on top.

    Args:
        multiprocessors: how many there are; three are drawn.
        registers: the size of one multiprocessor's registers, in words.
        shared: the size of its shared memory and L1 cache.
        l2: the size of the L2 cache.
        hbm: the size of the main memory.
        l2_bandwidth: between the L2 cache and the multiprocessors.
        hbm_bandwidth: between the main memory and the L2 cache.

    Returns:
        The figure.
    """
    figure, ax = draw.drawing(14, 9.3)
    for x, number in ((0.3, "1"), (4.6, "2"), (9.9, str(multiprocessors))):
        _multiprocessor(ax, x, number, registers, shared)
    draw.words(ax, 9.25, 2.4, "…", bold=True)
    _two_ways(ax, 4.25, 5.35, l2_bandwidth)
    draw.cell(ax, 0.3, 5.4, f"L2 cache: {l2}, shared by all multiprocessors", COLOURS[4],
              width=13.4, height=0.9)
    _two_ways(ax, 6.35, 7.45, hbm_bandwidth)
    draw.cell(ax, 0.3, 7.5, f"HBM, the GPU's main memory: {hbm}\nyour tensors live here, and an "
              "answer takes several hundred cycles", draw.INPUT, width=13.4, height=1.5)
    return figure


def _multiprocessor(ax: Axes, x: float, number: str, registers: str, shared: str) -> None:
    draw.cell(ax, x, 0.3, width=3.8, height=3.9)
    draw.words(ax, x + 1.9, 0.75, f"multiprocessor {number}", bold=True)
    draw.cell(ax, x + 0.25, 1.2, f"registers\n{registers}", draw.STATE, width=3.3, height=1.3)
    draw.cell(ax, x + 0.25, 2.7, f"shared memory, L1\n{shared}", COLOURS[2], width=3.3, height=1.3)


def _two_ways(ax: Axes, top: float, bottom: float, text: str) -> None:
    draw.arrow(ax, (3.0, top), (3.0, bottom))
    draw.arrow(ax, (3.4, bottom), (3.4, top))
    draw.words(ax, 3.8, (top + bottom) / 2, text, align="left")
