"""Plant small faults in minimamba, one at a time, and see the tests and a chapter turn red.

`mutants.py` plants all of faults.py and writes tests/mutants.md; `mutants.py WORD …` plants those
whose name or file holds a word, and prints the table only. The repository itself is never
changed: each fault goes into a copy. All of them take about half an hour on two quiet cores.
"""

import contextlib
import shutil
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import NamedTuple

from faults import FAULTS, Fault
from forks import GREEN, ROOT, apart, import_large_packages, read, red_test

TABLE = ROOT / "tests" / "mutants.md"


class Caught(NamedTuple):
    """What turned red: a test's name and a cell's place; None if all stayed green."""

    fault: Fault
    test: str | None
    cell: str | None


def plant(fault: Fault, package: Path) -> None:
    """Write one fault into a copy of the package."""
    file = package / fault.file
    text = file.read_text(encoding="utf-8")
    if text.count(fault.before) != 1:
        raise ValueError(f"{fault.name}: {fault.file} should hold once, and holds "
                         f"{text.count(fault.before)} times: {fault.before}")
    file.write_text(text.replace(fault.before, fault.after), encoding="utf-8")


@contextlib.contextmanager
def copied():
    """A folder with a copy of the package, for as long as it is needed."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(ROOT / "minimamba", Path(folder) / "minimamba",
                        ignore=shutil.ignore_patterns("__pycache__"))
        yield Path(folder)


def check_green(faults: list[Fault]) -> None:
    """Without a fault nothing may be red; what the chapters show then is kept in GREEN."""
    from tqdm import tqdm

    runs = [(red_test, tests) for tests in sorted({fault.tests for fault in faults})]
    runs += [(read, chapter) for chapter in sorted({fault.chapter for fault in faults})]
    with copied() as folder:
        for work, what in (bar := tqdm(runs, "green without a fault")):
            bar.set_postfix_str(what)
            found = apart(partial(work, what), folder)
            if work is read and not isinstance(found, str):
                found, GREEN[what] = found
            if found:
                sys.exit(f"Red without any fault: {found}\n{(folder / 'log').read_text()[-3000:]}")


def hunt(fault: Fault) -> Caught:
    """Plant one fault, and see what turns red."""
    pictures = fault.file.startswith(("course/plots", "course/widgets"))
    with copied() as folder:
        plant(fault, folder / "minimamba")
        test = apart(partial(red_test, fault.tests), folder)
        cell = apart(partial(read, fault.chapter, pictures), folder)
        return Caught(fault, test, cell if isinstance(cell, str) else cell[0])


def table(caught: list[Caught]) -> str:
    """Which fault was caught by what, in Markdown."""
    lines = ["# Small faults, and what catches them", "",
             "`make mutants` plants each of these (`tools/faults.py`) in a copy of the library, "
             "and sees a unit test and a chapter turn red.", "",
             "| fault | in `minimamba/` | unit test | chapter |", "|---|---|---|---|"]
    lines += [f"| {fault.name} | `{fault.file}` | {test or '**SURVIVED**'} | "
              f"{cell or f'**SURVIVED {fault.chapter}**'} |" for fault, test, cell in caught]
    return "\n".join(lines) + "\n"


def main(words: list[str]) -> int:
    from tqdm import tqdm

    chosen = [fault for fault in FAULTS
              if not words or any(word in f"{fault.name} {fault.file}" for word in words)]
    if not chosen:
        sys.exit(f"No fault has {' or '.join(words)} in its name or file.")
    import_large_packages()
    begin = time.monotonic()
    check_green(chosen)
    caught = []
    for fault in (bar := tqdm(chosen, "faults")):
        bar.set_postfix_str(fault.name)
        caught.append(hunt(fault))
        if None in caught[-1]:
            bar.write(f"SURVIVED: {fault.name} ({caught[-1].test}; {caught[-1].cell})")
    if words:
        print(table(caught))
    else:
        TABLE.write_text(table(caught), encoding="utf-8")
    alive = sum(None in one for one in caught)
    print(f"{len(caught)} faults, {alive} survived; {time.monotonic() - begin:.0f} s")
    return 1 if alive else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
