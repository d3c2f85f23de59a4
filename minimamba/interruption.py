"""Ctrl-C while the `minimamba` command is still importing torch: one line and no traceback.

The package imports it first, and it does nothing in any other program.
"""

import os
import signal
import sys
from pathlib import Path
from types import FrameType


def is_command() -> bool:
    """Whether this process is the `minimamba` command, as a script or by `python -m`."""
    started_as = [*zip(sys.orig_argv, sys.orig_argv[1:], strict=False)]
    return (any(Path(name).stem == "minimamba" for name in sys.argv[:1])
            or ("-m", "minimamba") in started_as or ("-m", "minimamba.cli") in started_as)


def start() -> None:
    """From here on, Ctrl-C ends the command at once, unless it is ignored, as with nohup."""
    if is_command() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _exit)


def end() -> None:
    """From here on, Ctrl-C raises a KeyboardInterrupt again."""
    if signal.getsignal(signal.SIGINT) is _exit:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _exit(number: int, frame: FrameType | None) -> None:
    try:
        os.write(2, b"minimamba: interrupted\n")
    finally:
        os._exit(130)


start()
