"""Plant small faults in minimamba, one at a time, and check that the tests detect each.

`mutants.py` plants all faults of faults.py and writes tests/mutants.md; `mutants.py WORD …` plants
those whose name or file contains one of the words and only prints the table. Each fault is planted
in a copy: the repository is never changed. A whole run takes about half an hour on two idle cores.
"""

import contextlib
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from faults import FAULTS, Fault
from forked_runs import (
    ROOT,
    ChapterRun,
    Shown,
    first_failing_test,
    import_large_packages,
    run_chapter,
    run_in_fork,
)

TABLE = ROOT / "tests" / "mutants.md"


class Detection(NamedTuple):
    """Where a fault was detected; None where it was not."""

    fault: Fault
    test: str | None
    """The name of the first test that failed."""
    cell: str | None
    """The first cell that failed, and how; None too where no chapter teaches the thing."""

    @property
    def survived(self) -> bool:
        """Whether someone who should have noticed the fault did not."""
        return self.test is None or (self.fault.chapter is not None and self.cell is None)


def plant(fault: Fault, package: Path) -> None:
    """Write a fault into a copy of the package.

    Raises:
        ValueError: if the file does not contain the text to replace exactly once.
    """
    file = package / fault.file
    text = file.read_text(encoding="utf-8")
    if text.count(fault.before) != 1:
        raise ValueError(f"{fault.name}: expected {fault.before!r} once in {fault.file}, "
                         f"got it {text.count(fault.before)} times")
    file.write_text(text.replace(fault.before, fault.after), encoding="utf-8")


@contextlib.contextmanager
def package_copy() -> Iterator[Path]:
    """A temporary folder with a copy of the package, beside what it reads in a clone."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(ROOT / "minimamba", Path(folder) / "minimamba",
                        ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("benchmarks", "notebooks"):
            (Path(folder) / name).symlink_to(ROOT / name)
        yield Path(folder)


def run_without_faults(faults: list[Fault]) -> dict[str, list[Shown]]:
    """Run the tests and chapters of some faults without any fault; exit if one fails.

    Returns:
        What the cells of each chapter show.
    """
    from tqdm import tqdm

    tests = sorted({fault.tests for fault in faults})
    chapters = sorted({fault.chapter for fault in faults if fault.chapter})
    expected = {}
    with package_copy() as folder:
        for name in (bar := tqdm([*tests, *chapters], "without a fault")):
            bar.set_postfix_str(name)
            work = run_chapter if name in chapters else first_failing_test
            failure = run_in_fork(partial(work, name), folder)
            if isinstance(failure, ChapterRun):
                failure, expected[name] = failure
            if failure:
                log = (folder / "log").read_text()
                sys.exit(f"Failed without any fault: {failure}\n{log[-3000:]}")
    return expected


def detect(fault: Fault, expected: list[Shown] | None) -> Detection:
    """Plant one fault, and run its tests and its chapter.

    Args:
        fault: the fault.
        expected: what the cells of its chapter show without it; None if it has no chapter.
    """
    is_drawing = fault.file.startswith(("course/plots", "course/widgets"))
    with package_copy() as folder:
        plant(fault, folder / "minimamba")
        test = run_in_fork(partial(first_failing_test, fault.tests), folder)
        if fault.chapter is None:
            return Detection(fault, test, None)
        chapter = run_in_fork(partial(run_chapter, fault.chapter, expected,
                                      compare_pictures=is_drawing), folder)
    return Detection(fault, test, chapter.failure if isinstance(chapter, ChapterRun) else chapter)


def table(detections: list[Detection]) -> str:
    """Which test and which cell detected each fault, in Markdown."""
    lines = ["# Planted faults, and the tests that detect them", "",
             "`make mutants` plants each of these faults (`tools/faults.py`) in a copy of the "
             "library and checks that a unit test fails and, unless no chapter teaches what went "
             "wrong (–), a cell of a chapter.", "",
             "| fault | in `minimamba/` | unit test | chapter |", "|---|---|---|---|"]
    lines += [f"| {fault.name} | `{fault.file}` | {test or '**SURVIVED**'} | "
              f"{cell or (f'**SURVIVED {fault.chapter}**' if fault.chapter else '–')} |"
              for fault, test, cell in detections]
    return "\n".join(lines) + "\n"


def main(words: list[str]) -> int:
    """Plant the faults that the words choose; 1 if one survived, else 0."""
    from tqdm import tqdm

    chosen = [fault for fault in FAULTS
              if not words or any(word in f"{fault.name} {fault.file}" for word in words)]
    if not chosen:
        sys.exit(f"No fault has {' or '.join(words)} in its name or file.")
    import_large_packages()
    begin = time.monotonic()
    expected = run_without_faults(chosen)
    detections = []
    for fault in (bar := tqdm(chosen, "faults")):
        bar.set_postfix_str(fault.name)
        detections.append(detect(fault, expected.get(fault.chapter)))
        if detections[-1].survived:
            _, test, cell = detections[-1]
            bar.write(f"SURVIVED: {fault.name} (test: {test}; cell: {cell})")
    if words:
        print(table(detections))
    else:
        from minimamba.atomic import replacing  # not before the forks, which import copies

        with replacing(TABLE) as temporary:
            temporary.write_text(table(detections), encoding="utf-8")
    survived = sum(detection.survived for detection in detections)
    print(f"{len(detections)} faults, {survived} survived; {time.monotonic() - begin:.0f} s")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
