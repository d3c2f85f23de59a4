"""A lock that one process at a time can hold, and that ends with its process, even if killed."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # Windows
    import msvcrt


@contextmanager
def locked(file: str | Path) -> Iterator[None]:
    """Hold a lock in a `with` block.

    Args:
        file: where the lock is; created, and deleted at the end. It means nothing that the file is
            there, as after a process was killed: the operating system knows who holds it.

    Raises:
        BlockingIOError: if another process holds it.
    """
    with open(file, "a+b") as opened:
        try:
            _lock(opened)
            # Whoever held it until now may have deleted the file since it was opened here.
            if not os.path.samestat(os.fstat(opened.fileno()), os.stat(file)):
                raise BlockingIOError
        except (BlockingIOError, PermissionError, FileNotFoundError):
            raise BlockingIOError(f"{file}: another process holds this lock") from None
        try:
            yield
        finally:
            with suppress(PermissionError):  # Windows deletes no file that is open
                os.unlink(file)


def _lock(opened: IO[bytes]) -> None:
    """Lock an open file, or raise at once."""
    if os.name == "nt":
        opened.seek(0)
        msvcrt.locking(opened.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
