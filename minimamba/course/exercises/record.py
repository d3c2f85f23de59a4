"""The record of solved exercises: a file beside the notebooks, and a table of progress."""

import json
import os
from pathlib import Path


def record_path() -> Path:
    """The file of the record: `.solved.json` in the notebook's folder, or MINIMAMBA_SOLVED."""
    return Path(os.environ.get("MINIMAMBA_SOLVED", ".solved.json"))


def solved_exercises() -> set[str]:
    """Read the names of all exercises that were solved so far.

    Returns:
        Names such as "02.1"; none if there is no record yet.

    Raises:
        ValueError: if the file holds anything else, for example because writing it was interrupted.
    """
    path = record_path()
    if not path.exists():
        return set()
    try:
        return set(json.loads(path.read_text()))
    except (TypeError, ValueError):
        raise ValueError(f"{path}: expected a list of names; delete the file, and solved exercises "
                         "will be recorded again") from None


def mark_solved(name: str) -> None:
    """Add an exercise to the record.

    Args:
        name: of the exercise, such as "02.1".

    Raises:
        OSError: if the file can't be written.
        ValueError: if the file is not a record.
    """
    names = sorted({*solved_exercises(), name})
    record_path().write_text(json.dumps(names) + "\n")


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
