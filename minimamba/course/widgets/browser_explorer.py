"""What every explorer is whose drawing needs no Python: a page without a kernel gets what it needs
to draw it too."""

from minimamba.course.widgets.explorer import Explorer

MIME = "application/vnd.minimamba.widget+json"


class BrowserExplorer(Explorer):
    """An explorer whose drawing needs no Python. A subclass says which traits beside its settings
    the drawing needs."""

    given: tuple[str, ...] = ()

    @property
    def caption(self) -> str:
        """What the drawing shows, in words."""
        raise NotImplementedError

    def _repr_mimebundle_(self, **kwargs: object) -> tuple[dict, dict]:
        """With what a page without a kernel needs to draw it."""
        bundle, metadata = super()._repr_mimebundle_(**kwargs)
        state = {name: getattr(self, name) for name in (*self.settings, *self.given)}
        return {**bundle, MIME: {"module": self.file, "state": state}}, metadata
