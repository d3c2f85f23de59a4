"""Set the sizes of a selective SSM, and see which of its numbers are multiplied.

The drawing is made by js/shape_explorer.js.
"""

import math

from matplotlib.figure import Figure

from minimamba.course import plots
from minimamba.course.widgets.browser_explorer import BrowserExplorer
from minimamba.course.widgets.explorer import whole_number
from minimamba.course.widgets.javascript import bundle


class ShapeExplorer(BrowserExplorer):
    """An explorer of shapes: x, Δ, B, C, A, h and y of a selective SSM, and how they meet.

    Args:
        batch: the number of sequences, from 1 to 3.
        length: the number of steps, from 1 to 6.
        d_inner: the number of channels, from 1 to 5.
        d_state: the state dimension N, from 1 to 4.

    Raises:
        ValueError: if an argument is out of range, or set to such a value later.
    """

    module = "shape_explorer.js"
    _esm = bundle(module)
    settings = ("batch", "length", "d_inner", "d_state")
    batch = whole_number(1, 3)
    """The number of sequences."""
    length = whole_number(1, 6)
    """The number of steps."""
    d_inner = whole_number(1, 5)
    """The number of channels."""
    d_state = whole_number(1, 4)
    """The state dimension N."""

    def __init__(self, batch: int = 2, length: int = 4, d_inner: int = 3, d_state: int = 2) -> None:
        super().__init__(batch=batch, length=length, d_inner=d_inner, d_state=d_state)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each array by its name."""
        by_channel = (self.batch, self.length, self.d_inner)
        by_component = (self.batch, self.length, self.d_state)
        every = (*by_channel, self.d_state)
        return {"x": by_channel, "Δ": by_channel, "B": by_component, "C": by_component,
                "A": (self.d_inner, self.d_state), "exp(ΔA)": every, "h": every, "y": by_channel}

    @property
    def caption(self) -> str:
        """What is shown, in words."""
        x, _, B, _, A, _, h, _ = self.shapes().values()
        return (f"x, Δ and y have the shape {x}, B and C {B}, A {A}. exp(ΔA) and h have {h}: "
                f"{math.prod(h)} values over all steps. The state after one step has "
                f"{math.prod(h) // self.length}, and x has {math.prod(x)}.")

    def _figure(self) -> Figure:
        return plots.ssm_shapes(self.length, self.d_inner, self.d_state, batch=self.batch,
                                marked=True)

    def __repr__(self) -> str:
        return (f"ShapeExplorer(batch={self.batch}, length={self.length}, "
                f"d_inner={self.d_inner}, d_state={self.d_state})")
