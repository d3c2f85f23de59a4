"""The reader's copies of the chapters: `copies.py update`, or `copies.py reset CHAPTER`.

The reader works in my_course/, which git ignores, so that the course itself stays as it was
published and `git pull` has nothing to merge. `update` makes the copies. No cell of a copy is
numbered as if it had been run, and what a cell prints is left out where the reader is asked to
predict it. When the course has a later version of a chapter, `update` takes over what the reader
wrote, cell by cell. `reset` starts a chapter afresh, and keeps the old copy beside it.
"""

import json
import shutil
import sys
from itertools import count
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COURSE = ROOT / "notebooks"
MINE = ROOT / "my_course"
PUBLISHED = ".published"
"""The folder, in that of the copies, with each chapter as it was when it was copied."""
PROMPT = "Before you run this:"
"""In a Markdown cell: the reader predicts what the code cells up to the next one will say."""
NEW_VERSION = "In this version of the course, the cell above is:"


def update(course: Path = COURSE, mine: Path = MINE) -> None:
    """Copy the chapters that are new, merge those that have changed, and print which.

    Args:
        course: the folder of the chapters as published.
        mine: the folder of the copies; it need not exist.
    """
    (mine / PUBLISHED).mkdir(parents=True, exist_ok=True)
    for path in sorted(course.glob("*.md")):
        shutil.copy(path, mine)
    for path in sorted(course.glob("*.ipynb")):
        own, base = mine / path.name, mine / PUBLISHED / path.name
        if not (own.exists() and base.exists()):
            start(path, mine)
        elif base.read_bytes() != path.read_bytes():
            try:
                merged = merge(read(base), read(own), unrun(read(path)))
            except (KeyError, TypeError, ValueError):
                print(f"{own} is no notebook and stays as it is; "
                      f"make reset CHAPTER={path.name[:2]} starts it afresh.")
                continue
            write(own, merged)
            write_bytes(base, path.read_bytes())
            print(f"{own}: updated, with what you wrote")


def start(path: Path, mine: Path) -> None:
    """Copy a chapter; a copy that is there is kept under another name."""
    own = mine / path.name
    if own.exists():
        old = next(name for number in count(1)
                   if not (name := own.with_name(f"{own.stem}_old_{number}.ipynb")).exists())
        own.rename(old)
        print(f"{own}: as published; what you had is now {old.name}")
    write(own, unrun(read(path)))
    write_bytes(mine / PUBLISHED / path.name, path.read_bytes())


def reset(chapter: str, course: Path = COURSE, mine: Path = MINE) -> None:
    """Start a chapter afresh.

    Args:
        chapter: its number, such as "05".
        course: the folder of the chapters as published.
        mine: the folder of the copies.

    Raises:
        ValueError: if there is no such chapter.
    """
    paths = {path.name[:2]: path for path in sorted(course.glob("*.ipynb"))}
    if chapter not in paths:
        raise ValueError(f"CHAPTER: expected one of {', '.join(paths)}, got {chapter!r}")
    (mine / PUBLISHED).mkdir(parents=True, exist_ok=True)
    start(paths[chapter], mine)


def unrun(book: dict) -> dict:
    """Make a chapter look as it is for a reader who has run nothing.

    Args:
        book: a chapter.

    Returns:
        The chapter with no number at a cell or an output, and without what the cells after each
        PROMPT print and draw.
    """
    cells = []
    asked = False
    for cell in book["cells"]:
        if cell["cell_type"] == "markdown":
            asked = PROMPT in text(cell)[1]
        elif cell["cell_type"] == "code":
            cell = cell | {"execution_count": None, "outputs": [
                output | {"execution_count": None} if "execution_count" in output else output
                for output in cell["outputs"] if not asked]}
        cells.append(cell)
    return book | {"cells": cells}


def merge(base: dict, own: dict, new: dict) -> dict:
    """Merge what the reader wrote into a later version of a chapter.

    Args:
        base: the chapter that the reader's copy was made from.
        own: the copy.
        new: the later version.

    Returns:
        The later version with the cells that the reader changed or added. Where the course has
        changed such a cell too, the reader's stays, and the course's is quoted below it.
    """
    published = {cell["id"]: cell for cell in base["cells"]}
    later = {cell["id"]: cell for cell in new["cells"]}
    written = {cell["id"]: cell for cell in own["cells"]
               if cell["id"] not in published or text(cell) != text(published[cell["id"]])}
    cells = []
    for cell in new["cells"]:
        mine = written.get(cell["id"], cell)
        cells.append(mine)
        if text(mine) != text(cell) and text(cell) != text(published.get(cell["id"], mine)):
            cells.append(quoted(cell))
    quotes = {cell["id"] for cell in cells} - later.keys()
    before = None
    for cell in own["cells"]:
        if cell["id"] in written and cell["id"] not in later.keys() | quotes:
            place = next((i + 1 for i, c in enumerate(cells) if c["id"] == before), 0)
            cells.insert(place, cell)
        if any(c["id"] == cell["id"] for c in cells):
            before = cell["id"]
    metadata = new["metadata"]
    if "widgets" in own["metadata"]:                  # what draws the explorers in these cells
        metadata = metadata | {"widgets": own["metadata"]["widgets"]}
    return new | {"cells": cells, "metadata": metadata}


def text(cell: dict) -> tuple[str, str]:
    """The type and the source of a cell: what the reader writes, without what running adds."""
    return cell["cell_type"], "".join(cell["source"])


def quoted(cell: dict) -> dict:
    """A cell that shows another one."""
    kind, source = text(cell)
    fence = "````"
    language = "python" if kind == "code" else "markdown"
    return {"cell_type": "markdown", "id": f"{cell['id']}-new", "metadata": {},
            "source": f"{NEW_VERSION}\n\n{fence}{language}\n{source}\n{fence}"}


def read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def write(path: Path, book: dict) -> None:
    text = json.dumps(book, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_bytes(content)
    temporary.replace(path)


if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    try:
        {"update": update, "reset": reset}[command](*arguments)
    except (OSError, ValueError) as error:
        sys.exit(str(error))
