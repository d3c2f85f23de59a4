"""What every explorer is whose drawing needs Python: with each setting the browser is sent anew
what it shows."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import traitlets

from minimamba.course.widgets.explorer import Explorer


@contextmanager
def _one_thread() -> Iterator[None]:
    """All is small here: a second thread would mostly wait for a core that the browser has."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class PythonExplorer(Explorer):
    """An explorer that Python draws, or computes for the browser to draw. A subclass has a trait
    beside `caption` for what the browser shows, and says what is in it."""

    caption = traitlets.Unicode().tag(sync=True)
    """What is shown, in words."""

    def __init__(self, **traits: object) -> None:
        super().__init__(**traits)
        self._redraw()
        self.observe(self._redraw, names=self.settings)

    def _shown(self) -> dict[str, object]:
        """The caption and the other traits that the browser shows, for the settings as they
        are."""
        raise NotImplementedError

    def _redraw(self, change: object = None) -> None:
        with _one_thread(), self.hold_sync():               # all in one message
            for name, value in self._shown().items():
                setattr(self, name, value)
