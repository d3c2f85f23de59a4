"""A progress bar that disturbs nobody: in a notebook, one line that is gone at the end."""

import builtins
import sys

from tqdm import tqdm


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
        if hasattr(builtins, "__IPYTHON__"):
            # Position 0: without it, a second bar would move the cursor, which a notebook can't.
            quiet = {"file": sys.stdout, "leave": False, "position": 0, "ncols": 80,
                     "mininterval": 0.5}
            options = quiet | options
        super().__init__(*args, **options)
