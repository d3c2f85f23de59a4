"""The record of solved exercises: a file beside the notebooks, and a table of progress."""

import json
import os
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from minimamba.atomic import replacing

PATIENCE = 10
"""Seconds to wait for another process that writes the record."""


def record_path() -> Path:
    """The file of the record: `.solved.json` in the notebook's folder, or MINIMAMBA_SOLVED."""
    return Path(os.environ.get("MINIMAMBA_SOLVED") or ".solved.json")


def solved_exercises() -> set[str]:
    """Read the names of all exercises that were solved so far.

    Returns:
        Names such as "02.1"; none if there is no record yet.

    Raises:
        ValueError: if the file holds anything else, for example because someone edited it.
    """
    path = record_path()
    if not path.exists():
        return set()
    try:
        names = json.loads(path.read_text(encoding="utf-8"))
    except (RecursionError, ValueError):
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{path}: expected a list of names; delete the file, and solved exercises "
                         "will be recorded again")
    return set(names)


def mark_solved(name: str) -> None:
    """Add an exercise to the record, whatever is killed and whoever writes at the same time.

    Args:
        name: of the exercise, such as "02.1".

    Raises:
        OSError: if the file can't be written, or others write it for longer than PATIENCE.
        ValueError: if the file is not a record.
    """
    _write(lambda names: names | {name})


def mark_unsolved(name: str) -> None:
    """Remove an exercise from the record.

    Args:
        name: of the exercise, such as "02.1".

    Raises:
        OSError: if the file can't be written, or others write it for longer than PATIENCE.
        ValueError: if the file is not a record.
    """
    if name in solved_exercises():
        _write(lambda names: names - {name})


def _write(change: Callable[[set[str]], set[str]]) -> None:
    """Replace the record, while no other process writes it."""
    path = record_path()
    with FileLock(f"{path}.lock", timeout=PATIENCE):
        names = sorted(change(solved_exercises()))
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(names) + "\n", encoding="utf-8")


def print_progress(chapters: dict[str, list[str]]) -> None:
    """Print a row for each chapter with a box for each exercise, ■ for solved and □ for not yet.

    Args:
        chapters: for each chapter, such as "02", the names of its exercises.

    Raises:
        ValueError: if the file is not a record.
    """
    solved = solved_exercises()
    for chapter, names in chapters.items():
        boxes = " ".join("■" if name in solved else "□" for name in names)
        print(f"{chapter}  {boxes:12} {len(solved.intersection(names))} of {len(names)}")
    every = [name for names in chapters.values() for name in names]
    print(f"all {'':13}{len(solved.intersection(every))} of {len(every)}")
