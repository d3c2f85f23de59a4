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
    beside `caption` for that, and defines `_update`.
    """

    caption = traitlets.Unicode().tag(sync=True)
    """What is shown, in words."""

    def __init__(self, **traits: object) -> None:
        super().__init__(**traits)
        self._redraw()
        self.observe(self._redraw, names=self.settings)

    def _update(self) -> dict[str, object]:
        """The caption and the other traits that the browser shows, for the current settings."""
        raise NotImplementedError

    def _redraw(self, change: object = None) -> None:
        """Send the browser what to show, in one message."""
        with _one_thread(), self.hold_sync():
            for name, value in self._update().items():
                setattr(self, name, value)
