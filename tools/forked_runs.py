"""Run unit tests or a chapter with a given copy of the library, and report the first failure.

Each run is a fork of this process, which has imported the large packages already, but not
minimamba: a run then starts in milliseconds. Works on Linux and macOS.
"""

import contextlib
import importlib
import multiprocessing
import os
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
TIMEOUT = 600
"""Seconds for one run; a run that takes longer has failed."""
LARGE_PACKAGES = ("IPython", "hypothesis", "ipywidgets", "matplotlib.pyplot", "nbformat", "pytest",
                  "scipy.signal", "torch.distributed.checkpoint", "torch.distributed.fsdp",
                  "tqdm.auto", "triton")


class Shown(NamedTuple):
    """What one cell of a chapter showed; None for both where nbval ignores the output."""

    text: tuple | None
    picture: int | None
    """A hash of all pictures."""


class ChapterRun(NamedTuple):
    """The first failure of a chapter, or None, and what each of its cells showed until then."""

    failure: str | None
    shown: list[Shown]


def import_large_packages() -> None:
    """Import once what every run needs. None of it starts a thread, which a fork would lose."""
    import torch

    if not torch.cuda.is_available():
        os.environ.setdefault("TRITON_INTERPRET", "1")
    for name in LARGE_PACKAGES:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


def first_failing_test(tests: str) -> str | None:
    """Run some tests and return the name of the first that fails, or None.

    Args:
        tests: a file below tests/ and, after a space, an expression for pytest's `-k`.

    Raises:
        ValueError: if pytest can't run them.
    """
    import pytest

    class Listener:
        failure = None

        def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
            if report.failed:
                self.failure = self.failure or report.nodeid.removeprefix("tests/")

        def pytest_collectreport(self, report: pytest.CollectReport) -> None:
            if report.failed:
                self.failure = self.failure or f"{report.nodeid}, on import"

    file, _, expression = tests.partition(" ")
    listener = Listener()
    status = pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:nbval",
                          *(["-k", expression] if expression else []), str(ROOT / "tests" / file)],
                         plugins=[listener])
    if status not in (0, 1, 2):
        raise ValueError(f"tests: expected tests that pytest can run, got {tests!r}, for which it "
                         f"exits with status {status}")
    return listener.failure


def run_chapter(chapter: str, expected: list[Shown] | None = None, *,
                compare_pictures: bool = False) -> ChapterRun:
    """Run the cells of a chapter until one fails.

    A cell fails if it raises an exception or shows something else than expected. Cells whose
    output nbval ignores are not compared.

    Args:
        chapter: the first two characters of its file name, such as "04".
        expected: what each cell should show; None to compare nothing.
        compare_pictures: whether to compare pictures besides text.
    """
    import nbformat
    from IPython.core.interactiveshell import InteractiveShell
    from IPython.utils.capture import capture_output

    path, = (ROOT / "notebooks").glob(f"{chapter}_*.ipynb")
    shell = InteractiveShell.instance()
    shown: list[Shown] = []
    for number, cell in enumerate(nbformat.read(path, as_version=4).cells):
        if cell.cell_type != "code":
            continue
        place = f"{chapter}, cell {number}"
        with capture_output() as captured:
            shell.display_trap.hook = sys.displayhook  # so that a cell's last value is captured
            result = shell.run_cell(cell.source)
        if not result.success:
            print(captured.stdout, captured.stderr)
            error = result.error_in_exec or result.error_before_exec
            return ChapterRun(f"{place}: {type(error).__name__}", shown)
        ignored = "nbval-ignore-output" in cell.metadata.get("tags", [])
        shown.append(Shown(None, None) if ignored else _shown(captured))
        if expected:
            wanted = expected[len(shown) - 1]
            if shown[-1].text != wanted.text:
                return ChapterRun(f"{place}: another text", shown)
            if compare_pictures and shown[-1].picture != wanted.picture:
                return ChapterRun(f"{place}: another picture", shown)
    return ChapterRun(None, shown)


def _shown(captured) -> Shown:
    """What a captured cell showed."""
    texts = [output.data.get("text/plain") for output in captured.outputs]
    pictures = [(output.data.get("image/png"), output.metadata.get("image/png"))
                for output in captured.outputs]
    return Shown((captured.stdout, texts), hash(repr(pictures)))


def run_in_fork(work: Callable, folder: Path) -> object:
    """Call a function in a fork of this process that imports minimamba from a folder.

    Args:
        work: a function without arguments; what it prints is written to `folder / "log"`.
        folder: the folder that holds the package.

    Returns:
        What the function returns, or a string that says why there is no result.

    Raises:
        Exception: what the function raises.
    """
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_work_in_fork, args=(work, folder, sender))
    process.start()
    sender.close()
    try:
        result = receiver.recv() if receiver.poll(TIMEOUT) else f"no end after {TIMEOUT} s"
    except EOFError:
        result = "the process died"
    process.kill()
    process.join()
    if isinstance(result, Exception):
        raise result
    return result


def _work_in_fork(work: Callable, folder: Path, sender: Connection) -> None:
    import torch

    sys.path.insert(0, str(folder))
    # Two versions of a file within a second would look alike to the cache of compiled modules.
    sys.dont_write_bytecode = True
    os.environ.update(PYTHONPATH=str(folder), MPLBACKEND="agg", PYTHONDONTWRITEBYTECODE="1",
                      MINIMAMBA_SOLVED=str(folder / "solved.json"))
    os.chdir(ROOT / "notebooks")
    torch.set_num_threads(1)  # all tensors are small: a second thread would mostly wait
    with open(folder / "log", "w") as log, contextlib.redirect_stdout(log), \
            contextlib.redirect_stderr(log):
        try:
            result = work()
        except Exception as error:
            result = error
    sender.send(result)
