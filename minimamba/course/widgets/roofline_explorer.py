"""Set how often a scan passes over its states in GPU memory, and see what bounds its time.

The drawing is made by js/roofline_explorer.js.
"""

from typing import NamedTuple

import traitlets
from matplotlib.figure import Figure

from minimamba.course import plots
from minimamba.course.widgets.browser_explorer import BrowserExplorer
from minimamba.course.widgets.explorer import check_whole_number, one_of, whole_number
from minimamba.course.widgets.javascript import bundle

GPU = {"bandwidth": 4.8e12, "exponentials": 132 * 16 * 1.98e9, "steps": 8 * 2048 * 1536}
"""An H200 by its data sheet, in bytes and exponentials per second, and the size of the scan: the
steps of all sequences times the channels (chapter 07)."""
MAX_PASSES = 16
BYTES_PER_NUMBER = {"bfloat16": 2, "float32": 4}


class RooflineEstimate(NamedTuple):
    """What a RooflineExplorer shows."""

    bytes: int
    """The bytes moved per step and channel."""
    intensity: float
    """The exponentials per byte moved."""
    rate: float
    """The most exponentials per second at that intensity."""
    memory: float
    """The lower bound on the time of the scan by memory traffic, in ms."""
    arithmetic: float
    """The lower bound on the time of the scan by exponentials, in ms."""


class RooflineExplorer(BrowserExplorer):
    """An explorer of the roofline: memory traffic against arithmetic in a selective scan.

    The scan has 8 sequences of 2,048 steps and 1,536 channels and runs on an H200. Per step and
    channel, x, Δ, z and y are moved once, and each pass over the states reads or writes N numbers.
    A fused scan makes no pass, because its states never leave the chip; one that is written
    operation by operation in PyTorch makes about 15.

    Args:
        passes: how often the scan passes over its states in GPU memory, from 0 to 16.
        d_state: the state dimension N, from 1 to 128.
        dtype: "bfloat16" or "float32", in which all of it is stored.

    Raises:
        ValueError: if an argument is out of range, or set to such a value later.
    """

    module = "roofline_explorer.js"
    _esm = bundle(module)
    settings = ("passes", "d_state", "dtype")
    data = ("gpu", "bytes_per_number")
    passes = whole_number(0, MAX_PASSES)
    """How often the scan passes over its states."""
    d_state = whole_number(1, 128)
    """The state dimension N."""
    dtype = one_of(BYTES_PER_NUMBER)
    """The name of the dtype in GPU memory."""
    gpu = traitlets.Dict().tag(sync=True)
    """The GPU's limits and the size of the scan."""
    bytes_per_number = traitlets.Dict().tag(sync=True)
    """The size of each dtype."""

    def __init__(self, passes: int = 15, d_state: int = 16, dtype: str = "float32") -> None:
        super().__init__(passes=passes, d_state=d_state, dtype=dtype, gpu=GPU,
                         bytes_per_number=BYTES_PER_NUMBER)

    def estimate(self, passes: int | None = None) -> RooflineEstimate:
        """Estimate the traffic, the intensity and the lower bounds on the time.

        Args:
            passes: the number of passes, if it is not that of the setting.

        Returns:
            What the drawing shows.

        Raises:
            ValueError: for a number of passes that the setting can't have either.
        """
        passes = self.passes if passes is None else passes
        check_whole_number("passes", passes, 0, MAX_PASSES)
        moved = BYTES_PER_NUMBER[self.dtype] * (4 + passes * self.d_state)
        intensity = self.d_state / moved
        return RooflineEstimate(
            bytes=moved, intensity=intensity,
            rate=min(intensity * GPU["bandwidth"], GPU["exponentials"]),
            memory=1e3 * GPU["steps"] * moved / GPU["bandwidth"],
            arithmetic=1e3 * GPU["steps"] * self.d_state / GPU["exponentials"])

    @property
    def caption(self) -> str:
        """What is shown, in words."""
        found = self.estimate()
        return (f"Each step and channel moves {found.bytes} bytes and computes {self.d_state} "
                f"exponential{'s' * (self.d_state > 1)}. Lower bounds on the time: "
                f"{found.memory:.3g} ms for memory traffic, {found.arithmetic:.3g} ms for "
                f"exponentials. The scan is "
                f"{'memory' if found.memory > found.arithmetic else 'compute'}-bound.")

    def _figure(self) -> Figure:
        points = {"these settings": self.estimate(), "fused: no passes": self.estimate(0)}
        return plots.roofline(
            GPU["bandwidth"], GPU["exponentials"],
            {label: (found.intensity, found.rate) for label, found in points.items()},
            "exponentials per byte moved", "exponentials per second")

    def __repr__(self) -> str:
        return (f"RooflineExplorer(passes={self.passes}, d_state={self.d_state}, "
                f"dtype={self.dtype!r})")
