"""Walk through a parallel scan a level at a time."""

from io import BytesIO

import ipywidgets

from minimamba import plots
from minimamba.arguments import check_one_of, refuse
from minimamba.scan import associative
from minimamba.widgets.explorer import Explorer, look

LONGEST = 16
ORDERS = {
    "one after the other": lambda length: [[(i - 1, i)] for i in range(1, length)],
    "Hillis-Steele": associative.hillis_steele,
    "Blelloch": associative.blelloch,
}


class ScanStepper(Explorer):
    """Three sliders, the order, the length and the level, over a figure of what each place has
    joined so far.

    Args:
        order: "one after the other", "Hillis-Steele" or "Blelloch".
        length: from 2 to 16.
        level: how many levels have been done; all of them if None.

    Raises:
        ValueError: naming the argument, what was expected and what came.
    """

    def __init__(self, order: str = "Blelloch", length: int = 8, level: int | None = None) -> None:
        check_one_of("order", order, ORDERS)
        if not isinstance(length, int) or isinstance(length, bool) or not 2 <= length <= LONGEST:
            refuse("length", f"a whole number from 2 to {LONGEST}", repr(length))
        depth = len(ORDERS[order](length))
        if level is None:
            level = depth
        if not isinstance(level, int) or isinstance(level, bool) or not 0 <= level <= depth:
            refuse("level", f"a whole number from 0 to {depth}", repr(level))
        sliders = look(100)
        self.order = ipywidgets.SelectionSlider(value=order, options=list(ORDERS),
                                                description="order", **sliders)
        self.length = ipywidgets.IntSlider(value=length, min=2, max=LONGEST, description="length",
                                           **sliders)
        self.level = ipywidgets.IntSlider(value=level, min=0, max=depth, description="level",
                                          **sliders)
        super().__init__([self.order, self.length, self.level], "scan-explorer")
        self._prepare()
        self._redraw()
        self.order.observe(self._start, names="value")
        self.length.observe(self._start, names="value")
        self.level.observe(self._redraw, names="value")

    def _prepare(self) -> None:
        self._levels = ORDERS[self.order.value](self.length.value)
        self._covered = associative.covered(self.length.value, self._levels)

    def _start(self, change: object = None) -> None:
        """Another scan: begin before its first level."""
        self._prepare()
        self.level.value = 0
        self.level.max = len(self._levels)
        self._redraw()

    def _redraw(self, change: object = None) -> None:
        length, level, levels, covered = (self.length.value, self.level.value, self._levels,
                                          self._covered)
        file = BytesIO()
        plots.order(covered, levels, level).savefig(file, format="png")
        done = sum(first == 0 for first, _ in covered[level])
        self._show(file.getvalue(), (
            f"{self.order.value}, level {level} of {len(levels)}: "
            f"{associative.work(levels[:level])} of {associative.work(levels)} joins made, "
            f"{done} of {length} states done."))

    def __repr__(self) -> str:
        return (f"ScanStepper({self.order.value!r}, length={self.length.value}, "
                f"level={self.level.value})")
