"""The base class of all explorers: settings in Python, controls in JavaScript, a still picture."""

import base64
from collections.abc import Callable, Iterable
from io import BytesIO

import anywidget
import traitlets
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from minimamba.arguments import check_number, check_one_of, refuse
from minimamba.course import plots

STILL = "▶ A still picture: in Jupyter, run the first cell and then this one, and you can move it."
"""Written into the picture that is shown in place of an explorer, and nowhere else."""
MAX_MESSAGE = 200
"""Characters; a refused value may be long."""


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


class SettingError(traitlets.TraitError, ValueError):
    """The ValueError of a refused setting; after a TraitError, traitlets restores all settings."""


class Setting(traitlets.TraitType):
    """A trait that a control sets. What its check refuses never becomes its value.

    Args:
        check: called with the name and the proposed value; raises a ValueError to refuse it.
        default: the value at first, if the explorer's `__init__` does not set one.
    """

    def __init__(self, check: Callable[[str, object], None],
                 default: object = traitlets.Undefined) -> None:
        super().__init__(default)
        self.tag(sync=True)
        self.check = check

    def validate(self, explorer: traitlets.HasTraits, value: object) -> object:
        """Check a value by itself.

        Args:
            explorer: whose trait this is.
            value: what the trait is about to be set to.

        Returns:
            The value.

        Raises:
            SettingError: if the check refuses it.
        """
        return _checked(self.check, self.name, value)


def whole_number(low: int, high: int, **options: object) -> Setting:
    """Make a setting that is a whole number.

    Args:
        low: the smallest number allowed.
        high: the largest number allowed.
        **options: as for `Setting`.

    Returns:
        The trait.
    """
    return Setting(lambda name, value: check_whole_number(name, value, low, high), **options)


def real_number(low: float, high: float, **options: object) -> Setting:
    """Make a setting that is a real number.

    Args:
        low: the smallest number allowed.
        high: the largest number allowed.
        **options: as for `Setting`.

    Returns:
        The trait.
    """
    return Setting(lambda name, value: check_number(name, value, f"{low:g} to {high:g}", low, high),
                   **options)


def one_of(known: Iterable[str]) -> Setting:
    """Make a setting that is one of several strings.

    Args:
        known: the strings.

    Returns:
        The trait.
    """
    return Setting(lambda name, value: check_one_of(name, value, known))


def limited_by(limit: Callable[[traitlets.HasTraits, str], tuple[int, int]],
               *names: str) -> Callable:
    """Compare settings with others, after all that arrive together have been set.

    Args:
        limit: gives the range of a setting, called with the explorer and the setting's name.
        *names: the settings, which are whole numbers.

    Returns:
        What a class registers as one of its attributes.
    """
    def check(explorer: traitlets.HasTraits, proposal: dict) -> object:
        limits = limit(explorer, proposal["trait"].name)
        return _checked(lambda name, value: check_whole_number(name, value, *limits),
                        proposal["trait"].name, proposal["value"])

    return traitlets.validate(*names)(check)


def _checked(check: Callable[[str, object], None], name: str, value: object) -> object:
    """A value that passes a check; else a SettingError."""
    try:
        check(name, value)
    except ValueError as error:
        raise SettingError(str(error)) from None
    return value


class Explorer(anywidget.AnyWidget):
    """The base class of the explorers.

    A subclass has a `caption`, which says in words what is shown, draws a figure for pages where
    nothing runs, and has the bundled text of its module as `_esm`.
    """

    module = ""
    """The file in js/ that makes the controls."""
    settings: tuple[str, ...] = ()
    """The names of the traits that the controls set; the browser can set no others."""
    message = traitlets.Unicode().tag(sync=True)
    """Why what the browser sent last was refused; empty if it was not."""
    initial = traitlets.Dict().tag(sync=True)
    """The settings that the cell made the explorer with; "Reset" goes back to them."""

    def __init__(self, **traits: object) -> None:
        super().__init__(**traits)
        self.initial = self.value

    @property
    def value(self) -> dict:
        """The settings by name."""
        return {name: getattr(self, name) for name in self.settings}

    def set_state(self, sync_data: dict) -> None:
        """Take settings from the browser, all of them or none.

        If one is refused, the browser gets the old ones again, with a message that it shows.

        Args:
            sync_data: the new settings by name.
        """
        try:
            if not isinstance(sync_data, dict):
                refuse("settings", "a dict", type(sync_data).__name__)
            for name in sync_data:
                check_one_of("setting", name, self.settings)
            super().set_state(sync_data)
        except ValueError as error:
            self.message = str(error)[:MAX_MESSAGE]
            self.send_state(self.settings)
        else:
            self.message = ""

    def _figure(self) -> Figure:
        """The figure for the current settings."""
        raise NotImplementedError

    def _still(self) -> bytes:
        """The figure for the current settings, and below it that it is a still, as a PNG."""
        file = BytesIO()
        figure = self._figure()
        width, height = figure.get_size_inches()
        strip = 0.3
        figure.text(0.01, -0.7 * strip / height, STILL, fontsize=10, fontweight="bold",
                    color="#0072b2")
        figure.savefig(file, format="png",
                       bbox_inches=Bbox.from_bounds(0, -strip, width, height + strip))
        return file.getvalue()

    def _repr_mimebundle_(self, **kwargs: object) -> tuple[dict, dict]:
        """The live widget, and a still picture with alternative text for pages without a kernel."""
        bundle, _ = super()._repr_mimebundle_(**kwargs)
        picture = base64.b64encode(plots.compact(self._still())).decode()
        return ({**bundle, "text/plain": repr(self), "image/png": picture},
                {"image/png": {"alt": self.caption}})
