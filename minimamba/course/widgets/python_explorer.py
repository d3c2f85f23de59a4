"""The base class of explorers that need Python for what they show."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import traitlets

from minimamba.course.widgets.explorer import Explorer


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute in one thread: for tensors this small, more would wait for the browser's cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class PythonExplorer(Explorer):
    """An explorer that Python draws, or for whose drawing Python computes the data.

    After every change of a setting, the browser is sent what to show. A subclass has a trait
    beside `caption` for that, and defines `_update`. If that fails, the settings go back to those
    of what is shown.
    """


    caption = traitlets.Unicode().tag(sync=True)
    """What is shown, in words."""

    def __init__(self, **traits: object) -> None:
        super().__init__(**traits)
        self._shown: dict[str, object] = {}  # the settings of what is shown; none yet
        self._redraw()
        self.observe(self._redraw, names=self.settings)

    def _update(self) -> dict[str, object]:
        """The caption and the other traits that the browser shows, for the current settings."""
        raise NotImplementedError

    def _redraw(self, change: object = None) -> None:
        """Send the browser what to show, in one message."""
        try:
            with _one_thread():
                update = self._update()
        except Exception:
            if self._shown:
                self.unobserve(self._redraw, names=self.settings)  # what is shown is there already
                for name, value in self._shown.items():
                    setattr(self, name, value)
                self.observe(self._redraw, names=self.settings)
            raise
        with self.hold_sync():
            for name, value in update.items():
                setattr(self, name, value)
        self._shown = self.value
