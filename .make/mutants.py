"""Plant small faults in minimamba, one at a time, and see the tests and a chapter turn red.

`mutants.py` plants all of faults.py and writes tests/mutants.md; `mutants.py WORD …` plants those
whose name or file holds a word, and prints the table only. The repository itself is never
changed: each fault goes into a copy. Each run is a fork of this process, which has imported the
large packages once but not minimamba, so that a fault takes seconds. (Linux and macOS.)
"""

import contextlib
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
TABLE = ROOT / "tests" / "mutants.md"
LONGEST = 300
"""Seconds that a run may take; one that a fault makes endless counts as red."""


class Fault(NamedTuple):
    """One line that is wrong, and who should notice."""

    name: str
    file: str
    """Below minimamba/."""
    before: str
    """Stands exactly once in the file."""
    after: str
    tests: str
    """Arguments for pytest, below tests/: a file, and after a space what -k chooses."""
    chapter: str
    """Its first two digits."""


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


def red_test(tests: str) -> str | None:
    """The first test that fails, or None."""
    import pytest

    class Listener:
        first = None

        def pytest_runtest_logreport(self, report) -> None:
            if report.failed:
                self.first = self.first or report.nodeid.removeprefix("tests/")

        def pytest_collectreport(self, report) -> None:
            if report.failed:
                self.first = self.first or f"{report.nodeid}, on import"

    file, _, chosen = tests.partition(" ")
    listener = Listener()
    code = pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:nbval",
                        *(["-k", chosen] if chosen else []), str(ROOT / "tests" / file)],
                       plugins=[listener])
    if code not in (0, 1, 2):
        raise ValueError(f"pytest can't run {tests!r}: exit status {code}")
    return listener.first


GREEN: dict[str, list] = {}
"""What each cell of a chapter shows without a fault."""


def read(chapter: str, pictures: bool = False) -> tuple[str | None, list]:
    """Run a chapter's cells: what turned red first, or None, and what each showed.

    Red is an exception or, where GREEN has the chapter, other text; with `pictures`, another
    picture too. Progress (nbval-ignore-output) may differ.
    """
    import nbformat
    from IPython.core.interactiveshell import InteractiveShell
    from IPython.utils.capture import capture_output

    path, = (ROOT / "notebooks").glob(f"{chapter}_*.ipynb")
    shell, green, shown = InteractiveShell.instance(), GREEN.get(chapter), []
    for number, cell in enumerate(nbformat.read(path, as_version=4).cells):
        if cell.cell_type != "code":
            continue
        with capture_output() as captured:
            result = shell.run_cell(cell.source)
        if not result.success:
            print(captured.stdout, captured.stderr)
            error = result.error_in_exec or result.error_before_exec
            return f"{chapter}, cell {number}: {type(error).__name__}", shown
        data = [output.data for output in captured.outputs]
        text = captured.stdout, [bundle.get("text/plain") for bundle in data]
        drawn = hash(repr([bundle.get("image/png") for bundle in data]))
        compared = "nbval-ignore-output" not in cell.metadata.get("tags", [])
        shown.append((text, drawn) if compared else (None, None))
        for kind, now, wanted in zip(("text", "picture"), shown[-1],
                                     green[len(shown) - 1] if green else shown[-1], strict=True):
            if now != wanted and (pictures or kind == "text"):
                return f"{chapter}, cell {number}: another {kind}", shown
    return None, shown


def apart(work: Callable, folder: Path) -> object:
    """What `work` finds in a fork of this process that imports minimamba from `folder`."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_in_fork, args=(work, folder, there))
    process.start()
    there.close()
    try:
        found = here.recv() if here.poll(LONGEST) else f"no end after {LONGEST} s"
    except EOFError:
        found = "the process died"
    process.kill()
    process.join()
    if isinstance(found, Exception):
        raise found
    return found


def _in_fork(work: Callable, folder: Path, answer) -> None:
    import torch

    sys.path.insert(0, str(folder))
    # Two versions of a file within a second would look alike to the cache of compiled modules.
    sys.dont_write_bytecode = True
    os.environ.update(PYTHONPATH=str(folder), MPLBACKEND="agg", PYTHONDONTWRITEBYTECODE="1")
    os.chdir(ROOT / "notebooks")
    torch.set_num_threads(1)  # all is small: a second thread would mostly wait
    with open(folder / "log", "w") as log, contextlib.redirect_stdout(log), \
            contextlib.redirect_stderr(log):
        try:
            found = work()
        except Exception as error:
            found = error
    answer.send(found)


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
    pictures = fault.file.startswith(("plots", "widgets"))
    with copied() as folder:
        plant(fault, folder / "minimamba")
        test = apart(partial(red_test, fault.tests), folder)
        cell = apart(partial(read, fault.chapter, pictures), folder)
        return Caught(fault, test, cell if isinstance(cell, str) else cell[0])


def table(caught: list[Caught]) -> str:
    """Which fault was caught by what, in Markdown."""
    lines = ["# Small faults, and what catches them", "",
             "`make mutants` plants each of these (`.make/faults.py`) in a copy of the library, "
             "and sees a unit test and a chapter turn red.", "",
             "| fault | in `minimamba/` | unit test | chapter |", "|---|---|---|---|"]
    lines += [f"| {fault.name} | `{fault.file}` | {test or '**SURVIVED**'} | "
              f"{cell or f'**SURVIVED {fault.chapter}**'} |" for fault, test, cell in caught]
    return "\n".join(lines) + "\n"


def main(words: list[str]) -> int:
    from faults import FAULTS
    from tqdm import tqdm

    chosen = [fault for fault in FAULTS
              if not words or any(word in f"{fault.name} {fault.file}" for word in words)]
    if not chosen:
        sys.exit(f"No fault has {' or '.join(words)} in its name or file.")
    import_large_packages()
    begin = time.monotonic()
    if "UNCHECKED" not in os.environ:
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


def import_large_packages() -> None:
    """Once, for all forks; nothing here starts a thread, which a fork would not have."""
    import torch

    if not torch.cuda.is_available():
        os.environ.setdefault("TRITON_INTERPRET", "1")
    import importlib

    for name in ("IPython", "hypothesis", "ipywidgets", "matplotlib.pyplot", "nbformat", "pytest",
                 "scipy.signal", "torch.distributed.checkpoint", "torch.distributed.fsdp",
                 "tqdm.auto", "triton"):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
