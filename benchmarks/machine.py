"""What stands beside every measured figure: the machine, the versions, the commit."""

import ctypes
import json
import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import torch

RESULTS = Path(__file__).parent / "results"


def describe(device: str) -> dict[str, str]:
    """The machine that a benchmark ran on, in words a reader can compare with their own."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True,
                            text=True, check=False).stdout.strip()
    return {"device": torch.cuda.get_device_name() if device == "cuda" else _processor(),
            "threads": str(torch.get_num_threads()), "python": platform.python_version(),
            "torch": torch.__version__, "commit": commit or "unknown",
            "date": date.today().isoformat()}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(": ")[1] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def seconds(run: Callable[[], object], device: str, at_least: float = 0.2) -> float:
    """The median time of a call, over five or enough to fill `at_least`; a slow one gets fewer."""
    wait = torch.cuda.synchronize if device == "cuda" else (lambda: None)
    run()
    wait()
    times = []
    while sum(times) < 5 and (len(times) < 5 or sum(times) < at_least):
        start = time.perf_counter()
        run()
        wait()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def peak_bytes(run: Callable[[], object], device: str) -> int | None:
    """The most memory that a call holds at once, beyond what was held before it.

    On the CPU this is the resident memory's high-water mark, which Linux alone keeps; measure
    it after all times, since it makes the allocator hand everything back at once.
    """
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    if not Path("/proc/self/clear_refs").exists():
        return None
    libc = ctypes.CDLL("libc.so.6")
    libc.mallopt(-3, 1 << 16)  # M_MMAP_THRESHOLD: large blocks go back to the system when freed
    libc.malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the mark starts again from here
    before = _kilobytes("VmRSS")
    run()
    return 1024 * max(0, _kilobytes("VmHWM") - before)


def _kilobytes(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))


def save(name: str, device: str, results: dict, folder: Path = RESULTS) -> Path:
    """Write results/NAME_DEVICE.json, or into another folder."""
    path = folder / f"{name}_{device}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"machine": describe(device), **results}, indent=1) + "\n")
    return path
