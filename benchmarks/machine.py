"""Measure time and memory, and save results with the machine, the versions and the commit."""

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
    """Describe the machine that a benchmark runs on.

    Args:
        device: "cuda" or "cpu".

    Returns:
        The GPU or processor, the number of threads, the versions, the commit and the date.
    """
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


def timings(run: Callable[[], object], device: str, at_least: float = 0.2) -> list[float]:
    """Time a call, several times.

    Args:
        run: what to call, once as a warm-up and then five times or more.
        device: "cuda", on which each call is waited for, or "cpu".
        at_least: the time that all calls together take at least, in seconds. When they have taken
            5 seconds, no further one is made.

    Returns:
        The seconds of each call but the warm-up.
    """
    wait = torch.cuda.synchronize if device == "cuda" else (lambda: None)
    run()
    wait()
    times = []
    while sum(times) < 5 and (len(times) < 5 or sum(times) < at_least):
        start = time.perf_counter()
        run()
        wait()
        times.append(time.perf_counter() - start)
    return times


def seconds(run: Callable[[], object], device: str, at_least: float = 0.2) -> float:
    """Measure the median time of a call, in seconds; arguments as for timings."""
    return statistics.median(timings(run, device, at_least))


def peak_bytes(run: Callable[[], object], device: str) -> int | None:
    """Measure the peak memory of a call, beyond what was allocated before it.

    On a CPU this is the high-water mark of the resident memory, which only Linux records. Measure
    times first: this makes the allocator return all memory at once.

    Args:
        run: what to call.
        device: "cuda" or "cpu".

    Returns:
        Bytes; None where they can't be measured.
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
    Path("/proc/self/clear_refs").write_text("5")  # resets the mark
    before = _kilobytes("VmRSS")
    run()
    return 1024 * max(0, _kilobytes("VmHWM") - before)


def _kilobytes(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))


def save(name: str, device: str, results: dict, folder: Path = RESULTS) -> Path:
    """Write results and the machine's description to a JSON file.

    Args:
        name: of the benchmark.
        device: "cuda" or "cpu".
        results: what to save beside "machine".
        folder: where to put the file.

    Returns:
        The path of the file, FOLDER/NAME_DEVICE.json.
    """
    path = folder / f"{name}_{device}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"machine": describe(device), **results}, indent=1) + "\n")
    return path
