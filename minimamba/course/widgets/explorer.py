"""What every explorer is: settings in Python, a face in JavaScript, and a still picture where no
kernel runs."""

import base64
from importlib import resources
from io import BytesIO
from typing import ClassVar

import anywidget
from matplotlib.figure import Figure

from minimamba.arguments import check_number, refuse
from minimamba.course import plots


def module(name: str) -> str:
    """The ES module of a widget: explorer.js and, behind it, the widget's own file.

    Its default export has `render({model, el})`. Any object with `get`, `set`, `on` and
    `save_changes` will do for the model, as long as `set` calls what `on("change:…")` was given.

    Args:
        name: the file in minimamba/course/widgets, such as "delta_explorer.js".
    """
    folder = resources.files("minimamba.course.widgets")
    return "\n".join((folder / file).read_text(encoding="utf-8")
                     for file in ("explorer.js", name))


def check_between(name: str, value: object, low: int, high: int) -> None:
    """A whole number from one to another, the ends included."""
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        refuse(name, f"a whole number from {low} to {high}", repr(value))


class Explorer(anywidget.AnyWidget):
    """A subclass says which file makes its controls (and has that module as its `_esm`), which of
    its traits the reader sets, and between which `limits` their numbers lie; it has a `caption`
    and a figure for pages where nothing runs."""

    file = ""
    settings: tuple[str, ...] = ()
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

    def _figure(self) -> Figure:
        raise NotImplementedError

    def _still(self) -> bytes:
        """The picture as it stands, a PNG."""
        file = BytesIO()
        self._figure().savefig(file, format="png")
        return file.getvalue()

    def _repr_mimebundle_(self, **kwargs: object) -> tuple[dict, dict]:
        """The live widget, and beside it the still picture, with words, for a page without a
        kernel."""
        bundle, _ = super()._repr_mimebundle_(**kwargs)
        picture = base64.b64encode(plots.compact(self._still())).decode()
        return ({**bundle, "text/plain": repr(self), "image/png": picture},
                {"image/png": {"alt": self.caption}})
