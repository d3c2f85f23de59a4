"""Walk through a parallel scan a level at a time. The drawing is in scan_stepper.js."""

import traitlets
from matplotlib.figure import Figure

from minimamba.arguments import check_one_of
from minimamba.course import plots
from minimamba.course.widgets.browser_explorer import BrowserExplorer
from minimamba.course.widgets.explorer import check_between, module
from minimamba.scan import associative

LONGEST = 16
ORDERS = {
    "one after the other": lambda length: [[(i - 1, i)] for i in range(1, length)],
    "Hillis-Steele": associative.hillis_steele,
    "Blelloch": associative.blelloch,
}


class ScanStepper(BrowserExplorer):
    """The order, the length and the level, over a figure of what each place has joined so far.

    Args:
        order: "one after the other", "Hillis-Steele" or "Blelloch".
        length: from 2 to 16.
        level: how many levels have been done; all of them if None.

    Raises:
        ValueError: naming the argument, what was expected and what came.
    """

    file = "scan_stepper.js"
    _esm = module(file)
    settings = ("order", "length", "level")
    order, length, level = (traitlets.TraitType().tag(sync=True) for _ in range(3))

    def __init__(self, order: str = "Blelloch", length: int = 8, level: int | None = None) -> None:
        check_one_of("order", order, ORDERS)
        check_between("length", length, 2, LONGEST)
        level = len(ORDERS[order](length)) if level is None else level
        super().__init__(order=order, length=length, level=level)
        self.observe(self._start, names=["order", "length"])

    @traitlets.validate("order")
    def _check_order(self, proposal: dict) -> str:
        check_one_of("order", proposal["value"], ORDERS)
        return proposal["value"]

    @traitlets.validate("length")
    def _check_length(self, proposal: dict) -> int:
        check_between("length", proposal["value"], 2, LONGEST)
        return proposal["value"]

    @traitlets.validate("level")
    def _check_level(self, proposal: dict) -> int:
        check_between("level", proposal["value"], 0, len(self.levels()))
        return proposal["value"]

    def _start(self, change: object) -> None:
        """Another scan: begin before its first level."""
        self.level = 0

    def levels(self) -> list[associative.Level]:
        """The joins of each level, as (source, target)."""
        return ORDERS[self.order](self.length)

    def covered(self) -> list[list[tuple[int, int]]]:
        """Before the first level and after each: the steps that each place has joined."""
        return associative.covered(self.length, self.levels())

    @property
    def caption(self) -> str:
        """What the drawing shows, in words."""
        levels = self.levels()
        done = sum(first == 0 for first, _ in self.covered()[self.level])
        return (f"{self.order}, level {self.level} of {len(levels)}: "
                f"{associative.work(levels[:self.level])} of {associative.work(levels)} joins "
                f"made, {done} of {self.length} states done.")

    def _figure(self) -> Figure:
        return plots.order(self.covered(), self.levels(), self.level)

    def __repr__(self) -> str:
        return f"ScanStepper({self.order!r}, length={self.length}, level={self.level})"
