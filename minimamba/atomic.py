"""Files that are written whole or not at all, whatever is killed or unplugged in between."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def replacing(file: str | Path) -> Iterator[Path]:
    """Give a path to write to; what is written there then replaces a file in one step.

    Anyone who reads `file` meanwhile sees the old contents or the new ones, never a part, and so
    does anyone who reads it after a crash. If the writing fails, the old contents stay.

    Args:
        file: what to replace or to create, or a link to it; its folder exists.

    Yields:
        A path in the file's folder, different in each call, at which there is no file yet.

    Raises:
        OSError: if the folder can't be written to, or the disk is full.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "notes.txt"
        >>> with replacing(file) as temporary:
        ...     count = temporary.write_text("all or nothing")
        >>> file.read_text()
        'all or nothing'
    """
    file = Path(file).resolve()  # a link stays, and what it points to is replaced
    temporary = file.with_name(f".{file.name}.{secrets.token_hex(4)}.new")
    try:
        yield temporary
        _sync(temporary, os.O_RDWR)  # or a power failure could leave the name without contents
        if file.exists():
            shutil.copymode(file, temporary)  # who may read the old contents, may read the new
        os.replace(temporary, file)
    finally:
        temporary.unlink(missing_ok=True)
    with suppress(OSError):  # Windows can't open a folder, and some file systems can't sync one
        _sync(file.parent, os.O_RDONLY)


@contextmanager
def complete(file: str | Path) -> Iterator[None]:
    """Say what happened if a library fails to write a file, mostly because the disk is full.

    PyTorch and safetensors then raise errors of their own, which name no file.

    Args:
        file: what is to be written, for the message.

    Raises:
        OSError: if what is in the `with` block raised anything.
    """
    try:
        yield
    except Exception as error:
        what = (str(error).splitlines() or [type(error).__name__])[0]
        raise OSError(f"{file}: can't be written; is the disk full? ({what})") from error


def _sync(path: Path, mode: int) -> None:
    """Wait until a file or a folder is on the disk."""
    descriptor = os.open(path, mode)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
