"""What every explorer is whose drawing needs Python: with each setting it is drawn anew, and the
browser shows the picture."""

import traitlets

from minimamba.widgets.explorer import Explorer


class PythonExplorer(Explorer):
    """An explorer that Python draws. A subclass draws the picture and says what it shows."""

    picture = traitlets.Bytes().tag(sync=True)
    """A PNG."""
    caption = traitlets.Unicode().tag(sync=True)
    """What it shows, in words."""

    def __init__(self, **traits: object) -> None:
        super().__init__(**traits)
        self._redraw()
        self.observe(self._redraw, names=self.settings)

    def _draw(self) -> tuple[bytes, str]:
        """The picture and the words for the settings as they are."""
        raise NotImplementedError

    def _redraw(self, change: object = None) -> None:
        with self.hold_sync():                              # both in one message
            self.picture, self.caption = self._draw()

    def _still(self) -> bytes:
        return self.picture
