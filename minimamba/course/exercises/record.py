"""Which exercises have been solved: written down beside the notebooks, and shown."""

import json
import os
from pathlib import Path


def file() -> Path:
    """`.solved.json` in the folder of the notebook that runs, or what MINIMAMBA_SOLVED names."""
    return Path(os.environ.get("MINIMAMBA_SOLVED", ".solved.json"))


def solved() -> set[str]:
    """The names of those that were right once.

    Raises:
        ValueError: if the file holds something else, as when it was cut off.
    """
    if not file().exists():
        return set()
    try:
        return set(json.loads(file().read_text()))
    except (TypeError, ValueError):
        raise ValueError(f"{file()} should be a list of names and is not; delete it, and what is "
                         "right will be written down anew") from None


def remember(name: str) -> str:
    """Write down that this one is solved, whatever is tried later; if that can't be, say so."""
    try:
        file().write_text(json.dumps(sorted({*solved(), name})) + "\n")
    except (OSError, ValueError) as error:
        return f" (not written down: {error})"
    return ""


def show(chapters: dict[str, list[str]]) -> None:
    """Print a line for each chapter, of the names of its exercises: ■ is solved, □ is not yet."""
    done = solved()
    for chapter, names in chapters.items():
        boxes = " ".join("■" if name in done else "□" for name in names)
        print(f"{chapter}  {boxes:12} {sum(name in done for name in names)} of {len(names)}")
    every = [name for names in chapters.values() for name in names]
    print(f"all {'':13}{sum(name in done for name in every)} of {len(every)}")
