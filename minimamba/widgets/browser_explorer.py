"""What every explorer is that is drawn in the browser: settings in Python, a drawing in JavaScript,
and a still picture where neither runs."""

from importlib import resources
from io import BytesIO
from typing import ClassVar

import anywidget
from matplotlib.figure import Figure

from minimamba.arguments import check_number, refuse
from minimamba.widgets.explorer import with_still

MIME = "application/vnd.minimamba.widget+json"


def module(name: str) -> str:
    """The ES module of a widget: explorer.js and, behind it, the widget's own file.

    Its default export has `render({model, el})`. Any object with `get`, `set`, `on` and
    `save_changes` will do for the model, as long as `set` calls what `on("change:…")` was given.

    Args:
        name: the file in minimamba/widgets, such as "delta_explorer.js".
    """
    folder = resources.files("minimamba.widgets")
    return "\n".join((folder / file).read_text(encoding="utf-8")
                     for file in ("explorer.js", name))


def check_between(name: str, value: object, low: int, high: int) -> None:
    """A whole number from one to another, the ends included."""
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        refuse(name, f"a whole number from {low} to {high}", repr(value))


class BrowserExplorer(anywidget.AnyWidget):
    """An explorer whose drawing needs no Python. A subclass says which file draws it (and has that
    module as its `_esm`), which of its traits the reader sets, and which others the drawing
    needs, between which `limits` its numbers lie; it has a `caption` and a figure for pages where
    nothing runs."""

    file = ""
    settings: tuple[str, ...] = ()
    given: tuple[str, ...] = ()
    limits: ClassVar[dict[str, tuple[float, float]]] = {}

    @property
    def value(self) -> dict:
        """What the controls say."""
        return {name: getattr(self, name) for name in self.settings}

    def _check_limits(self, proposal: dict) -> float:
        """Of the traits in `limits`, for a subclass to register with `traitlets.validate`."""
        name, value = proposal["trait"].name, proposal["value"]
        low, high = self.limits[name]
        check_number(name, value, f"{low:g} to {high:g}", low, high)
        return value

    @property
    def caption(self) -> str:
        """What the drawing shows, in words."""
        raise NotImplementedError

    def _figure(self) -> Figure:
        raise NotImplementedError

    def _repr_mimebundle_(self, **kwargs: object) -> tuple[dict, dict]:
        """The live widget, what a page without a kernel needs to draw it, and a still picture."""
        bundle, _ = super()._repr_mimebundle_(**kwargs)
        state = {name: getattr(self, name) for name in (*self.settings, *self.given)}
        bundle[MIME] = {"module": self.file, "state": state}
        file = BytesIO()
        self._figure().savefig(file, format="png")
        return with_still(bundle, repr(self), file.getvalue(), self.caption)
