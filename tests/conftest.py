"""What tests of more than one module are set up with."""

import contextlib
import os
import shutil
import warnings

if "PYTEST_XDIST_WORKER" in os.environ:
    # Before torch is imported, and for the processes that tests start too: two workers with two
    # threads each, on two cores, would wait for each other.
    os.environ["OMP_NUM_THREADS"] = "1"

import pytest
import torch

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
LONGEST = ("test_scan_triton_compile.py", "test_lm.py", "test_readme.py")
"""Files with tests of 20 seconds and more."""

if not torch.cuda.is_available():
    # Before anything imports triton: its kernels then run in Python, on the CPU.
    os.environ.setdefault("TRITON_INTERPRET", "1")
    with contextlib.suppress(ImportError, AttributeError):  # of another version of Triton
        import interpreter

        interpreter.speed_up()


def pytest_collection_modifyitems(items):
    """Let the longest tests begin first, so that no process runs one while the others have nothing
    left to run."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.fixture
def double():
    """Parameters made in float64, from one seed: a comparison then holds to the last digits."""
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def short_chunks(monkeypatch):
    """In Triton's interpreter, which always walks through whole chunks, let them have 16 steps."""
    from minimamba.scan.triton import operator, plan

    def forget():
        operator._forward_launches.cache_clear()
        operator._backward_launches.cache_clear()

    forget()
    if not torch.cuda.is_available():
        monkeypatch.setattr(plan, "CHUNK", 16)
        monkeypatch.setattr(operator, "CHUNK", 16)
    yield
    forget()


@pytest.fixture(scope="module")
def browser():
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        message = f"NO BROWSER: the widgets were NOT tested; looked for {', '.join(BROWSERS)}"
        if os.environ.get("MINIMAMBA_NEEDS_BROWSER"):
            pytest.fail(message)
        warnings.warn(message, stacklevel=1)
        pytest.skip(message)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=[
            "--no-sandbox", "--headless", "--disable-gpu", "--disable-background-networking",
            "--disable-component-update", "--disable-sync", "--no-first-run"])
        yield chromium
        chromium.close()
