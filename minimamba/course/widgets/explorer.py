"""The base class of all explorers: settings in Python, controls in JavaScript, a still picture."""

import base64
from io import BytesIO
from typing import ClassVar

import anywidget
from matplotlib.figure import Figure

from minimamba.arguments import check_number, refuse
from minimamba.course import plots


def check_whole_number(name: str, value: object, low: int, high: int) -> None:
    """Check that a value is a whole number between two limits.

    Args:
        name: the argument's name, for the error message.
        value: what was given.
        low: the smallest number allowed.
        high: the largest number allowed.

    Raises:
        ValueError: if it is anything else.
    """
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        refuse(name, f"a whole number from {low} to {high}", repr(value))


class Explorer(anywidget.AnyWidget):
    """The base class of the explorers.

    A subclass has a `caption`, which says in words what is shown, draws a figure for pages where
    nothing runs, and has the bundled text of its module as `_esm`.
    """

    module = ""
    """The file in js/ that makes the controls."""
    settings: tuple[str, ...] = ()
    """The names of the traits that the controls set."""
    limits: ClassVar[dict[str, tuple[float, float]]] = {}
    """The range of each setting that is a real number."""

    @property
    def value(self) -> dict:
        """The settings by name."""
        return {name: getattr(self, name) for name in self.settings}

    def _check_limits(self, proposal: dict) -> float:
        """Check a setting in `limits`; subclasses register this with `traitlets.validate`."""
        name = proposal["trait"].name
        low, high = self.limits[name]
        check_number(name, proposal["value"], f"{low:g} to {high:g}", low, high)
        return proposal["value"]

    def _figure(self) -> Figure:
        """The figure for the current settings."""
        raise NotImplementedError

    def _still(self) -> bytes:
        """The figure for the current settings, as a PNG."""
        file = BytesIO()
        self._figure().savefig(file, format="png")
        return file.getvalue()

    def _repr_mimebundle_(self, **kwargs: object) -> tuple[dict, dict]:
        """The live widget, and a still picture with alternative text for pages without a kernel."""
        bundle, _ = super()._repr_mimebundle_(**kwargs)
        picture = base64.b64encode(plots.compact(self._still())).decode()
        return ({**bundle, "text/plain": repr(self), "image/png": picture},
                {"image/png": {"alt": self.caption}})
