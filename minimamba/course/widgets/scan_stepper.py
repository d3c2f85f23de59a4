"""Walk through a parallel scan one level at a time; js/scan_stepper.js draws it."""

from matplotlib.figure import Figure

from minimamba.arguments import check_one_of
from minimamba.course import plots
from minimamba.course.widgets.browser_explorer import BrowserExplorer
from minimamba.course.widgets.explorer import check_whole_number, limited_by, one_of, whole_number
from minimamba.course.widgets.javascript import bundle
from minimamba.scan import associative

MAX_LENGTH = 16
ORDERS = {
    "sequential": lambda length: [[(i - 1, i)] for i in range(1, length)],
    "Hillis-Steele": associative.hillis_steele,
    "Blelloch": associative.blelloch,
}


class ScanStepper(BrowserExplorer):
    """An explorer of scan orders: what each position combines after a number of levels.

    Args:
        order: "sequential", "Hillis-Steele" or "Blelloch".
        length: the number of steps, from 2 to 16.
        level: the number of levels that are done; by default all.

    Raises:
        ValueError: if an argument is out of range, or set to such a value later.
    """

    module = "scan_stepper.js"
    _esm = bundle(module)
    settings = ("order", "length", "level")
    order = one_of(ORDERS)
    """The name of the order."""
    length = whole_number(2, MAX_LENGTH)
    """The number of steps."""
    level = whole_number(0, MAX_LENGTH - 1)
    """The number of levels that are done."""

    def __init__(self, order: str = "Blelloch", length: int = 8, level: int | None = None) -> None:
        check_one_of("order", order, ORDERS)
        check_whole_number("length", length, 2, MAX_LENGTH)
        level = len(ORDERS[order](length)) if level is None else level
        super().__init__(order=order, length=length, level=level)
        self.observe(self._limit_level, names=["order", "length"])

    _check_level = limited_by(lambda self, name: (0, len(self.levels())), "level")

    def _limit_level(self, change: object) -> None:
        """Keep the level within an order that has fewer."""
        self.level = min(self.level, len(self.levels()))

    def levels(self) -> list[associative.Level]:
        """The combine operations of each level, as (source, target)."""
        return ORDERS[self.order](self.length)

    def covered(self) -> list[list[tuple[int, int]]]:
        """The first and last step that each position combines, before and after each level."""
        return associative.covered(self.length, self.levels())

    @property
    def caption(self) -> str:
        """What is shown, in words."""
        levels = self.levels()
        complete = sum(first == 0 for first, _ in self.covered()[self.level])
        return (f"{self.order}, level {self.level} of {len(levels)}: "
                f"{associative.work(levels[:self.level])} of {associative.work(levels)} combine "
                f"operations done, {complete} of {self.length} states complete.")

    def _figure(self) -> Figure:
        return plots.scan_order(self.covered(), self.levels(), self.level)

    def __repr__(self) -> str:
        return f"ScanStepper({self.order!r}, length={self.length}, level={self.level})"
