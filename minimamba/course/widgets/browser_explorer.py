"""The base class of explorers that the browser draws, with a kernel or without one."""

from minimamba.course.widgets.explorer import Explorer

MIME_TYPE = "application/vnd.minimamba.widget+json"
"""The type of the output from which the static site draws an explorer."""


class BrowserExplorer(Explorer):
    """An explorer that JavaScript draws by itself, so that it works on a page without a kernel.

    A subclass defines `caption` as a property.
    """

    data: tuple[str, ...] = ()
    """The names of the traits, beside the settings, that the drawing needs."""

    @property
    def caption(self) -> str:
        """What is shown, in words; the browser writes the same."""
        raise NotImplementedError

    def browser_state(self) -> dict[str, object]:
        """All traits that the browser needs to draw the explorer without a kernel, by name."""
        return {name: getattr(self, name) for name in (*self.settings, *self.data)}

    def _repr_mimebundle_(self, **kwargs: object) -> tuple[dict, dict]:
        """The outputs of every explorer, and what a page without a kernel needs to draw it."""
        bundle, metadata = super()._repr_mimebundle_(**kwargs)
        return {**bundle, MIME_TYPE: {"module": self.module,
                                      "state": self.browser_state()}}, metadata
