"""Progress that disturbs nobody: in a notebook, one line that is gone at the end."""

import builtins
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tqdm import tqdm

WIDTH = 80
"""Characters of a bar in a notebook."""


def in_notebook() -> bool:
    """Whether this code runs in IPython, where stderr is shown in red."""
    return hasattr(builtins, "__IPYTHON__")


@contextmanager
def announced(text: str) -> Iterator[None]:
    """Announce what will take a while: on stderr, or in a notebook until it is done.

    Args:
        text: one line.

    Example:
        >>> with announced("adding; some seconds"):
        ...     total = sum(range(1000))
    """
    if not in_notebook():
        print(text, file=sys.stderr, flush=True)
        yield
        return
    # From the start of the line, where a bar may be, and as wide as one.
    print(f"\r{text:{WIDTH}}", end="", flush=True)
    try:
        yield
    finally:
        print(f"\r{' ' * max(WIDTH, len(text))}\r", end="", flush=True)


class ProgressBar(tqdm):
    """tqdm's bar; in a notebook it goes to stdout, as stderr is shown in red there.

    Args:
        *args: those of `tqdm`: an iterable, what stands before the bar, and the number of steps.
        **options: its other arguments.

    Example:
        >>> total = sum(ProgressBar([1, 2, 3], "adding"))
        >>> total
        6
    """

    def __init__(self, *args: object, **options: object) -> None:
        if in_notebook():
            # Position 0: without it, a second bar would move the cursor, which a notebook can't.
            quiet = {"file": sys.stdout, "leave": False, "position": 0, "ncols": WIDTH,
                     "mininterval": 0.5}
            options = quiet | options
        super().__init__(*args, **options)
