"""Take away trips to memory and see what a scan waits for. The drawing is in
roofline_explorer.js."""

from typing import NamedTuple

import traitlets
from matplotlib.figure import Figure

from minimamba.arguments import check_one_of
from minimamba.course import plots
from minimamba.course.widgets.browser_explorer import BrowserExplorer
from minimamba.course.widgets.explorer import check_between, module

# An H200 by its maker's numbers, as in chapter 07: bytes and exponentials a second; and the size
# of the scan, in steps of all sequences times channels.
MACHINE = {"bandwidth": 4.8e12, "exponentials": 132 * 16 * 1.98e9, "steps": 8 * 2048 * 1536}
WIDTHS = {"bfloat16": 2, "float32": 4}
LIMITS = {"passes": (0, 16), "d_state": (1, 128)}


class Floors(NamedTuple):
    """For each step and channel the bytes that move, exponentials a byte, the exponentials a second
    that this allows; and for all of it the least time, in ms, of memory and of arithmetic."""

    bytes: int
    ratio: float
    rate: float
    memory: float
    arithmetic: float


class RooflineExplorer(BrowserExplorer):
    """How often a scan goes over its states in memory, their size and how its numbers are kept,
    over the roofline of an H200 and the time of 8 sequences of 2,048 steps and 1,536 channels.

    For each step and channel x, Δ, z and y move once, and each pass reads or writes as many
    numbers as a state has. The fused scan makes no pass, as its states never leave the chip;
    written operation by operation in PyTorch it makes about 15.

    Args:
        passes: from 0 to 16. d_state: the numbers of a state, from 1 to 128.
        dtype: "bfloat16" or "float32".

    Raises:
        ValueError: naming the argument, what was expected and what came.
    """

    file = "roofline_explorer.js"
    _esm = module(file)
    settings = ("passes", "d_state", "dtype")
    given = ("machine", "widths")
    passes, d_state, dtype = (traitlets.TraitType().tag(sync=True) for _ in range(3))
    machine, widths = (traitlets.Dict().tag(sync=True) for _ in range(2))

    def __init__(self, passes: int = 15, d_state: int = 16, dtype: str = "float32") -> None:
        super().__init__(passes=passes, d_state=d_state, dtype=dtype, machine=MACHINE,
                         widths=WIDTHS)

    @traitlets.validate("passes", "d_state")
    def _check_count(self, proposal: dict) -> int:
        name, value = proposal["trait"].name, proposal["value"]
        check_between(name, value, *LIMITS[name])
        return value

    @traitlets.validate("dtype")
    def _check_dtype(self, proposal: dict) -> str:
        check_one_of("dtype", proposal["value"], WIDTHS)
        return proposal["value"]

    def floors(self, passes: int | None = None) -> Floors:
        """What the drawing shows; with other passes, if they are given."""
        passes = self.passes if passes is None else passes
        bandwidth, exponentials, steps = MACHINE.values()
        moved = WIDTHS[self.dtype] * (4 + passes * self.d_state)
        ratio = self.d_state / moved
        return Floors(moved, ratio, min(ratio * bandwidth, exponentials),
                      1e3 * steps * moved / bandwidth, 1e3 * steps * self.d_state / exponentials)

    @property
    def caption(self) -> str:
        """What the drawing shows, in words."""
        moved, _, _, memory, arithmetic = self.floors()
        return (f"For each step and channel {moved} bytes move and {self.d_state} exponentials "
                f"are computed: at best {memory:.3g} ms of memory and {arithmetic:.3g} ms of "
                f"exponentials. It waits for "
                f"{'memory' if memory > arithmetic else 'exponentials'}.")

    def _figure(self) -> Figure:
        points = {"this one": self.floors(), "fused: no pass": self.floors(0)}
        return plots.roofline(
            MACHINE["bandwidth"], MACHINE["exponentials"],
            {name: (found.ratio, found.rate) for name, found in points.items()},
            "exponentials a byte moved", "exponentials a second")

    def __repr__(self) -> str:
        return (f"RooflineExplorer(passes={self.passes}, d_state={self.d_state}, "
                f"dtype={self.dtype!r})")
