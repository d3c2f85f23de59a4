"""Run unit tests or a chapter against a copy of the library, and say what turned red.

Each run is a fork of this process, which has imported the large packages once but not minimamba,
so that it takes seconds. (Linux and macOS.)
"""

import contextlib
import importlib
import multiprocessing
import os
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LONGEST = 600
"""Seconds that a run may take; one that a fault makes endless counts as red."""
GREEN: dict[str, list] = {}
"""What each cell of a chapter shows without a fault."""


def import_large_packages() -> None:
    """Once, for all forks; nothing here starts a thread, which a fork would not have."""
    import torch

    if not torch.cuda.is_available():
        os.environ.setdefault("TRITON_INTERPRET", "1")

    for name in ("IPython", "hypothesis", "ipywidgets", "matplotlib.pyplot", "nbformat", "pytest",
                 "scipy.signal", "torch.distributed.checkpoint", "torch.distributed.fsdp",
                 "tqdm.auto", "triton"):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


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
            shell.display_trap.hook = sys.displayhook  # a cell's last value is captured too
            result = shell.run_cell(cell.source)
        if not result.success:
            print(captured.stdout, captured.stderr)
            error = result.error_in_exec or result.error_before_exec
            return f"{chapter}, cell {number}: {type(error).__name__}", shown
        data = [output.data for output in captured.outputs]
        text = captured.stdout, [bundle.get("text/plain") for bundle in data]
        drawn = hash(repr([(output.data.get("image/png"), output.metadata.get("image/png"))
                           for output in captured.outputs]))
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
    os.environ.update(PYTHONPATH=str(folder), MPLBACKEND="agg", PYTHONDONTWRITEBYTECODE="1",
                      MINIMAMBA_SOLVED=str(folder / "solved.json"))
    os.chdir(ROOT / "notebooks")
    torch.set_num_threads(1)  # all is small: a second thread would mostly wait
    with open(folder / "log", "w") as log, contextlib.redirect_stdout(log), \
            contextlib.redirect_stderr(log):
        try:
            found = work()
        except Exception as error:
            found = error
    answer.send(found)
