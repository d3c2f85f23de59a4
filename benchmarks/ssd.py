"""Mamba-2's scan: on a CPU beside the slow path of transformers, on a GPU beside the official one.

Usage: python benchmarks/ssd.py [cpu|cuda]
On a CPU: batch 1, length 2048, 24 heads of 64, d_state 128, one group, float32: a layer of the
130M-parameter Mamba-2. The slow path is what transformers' Mamba2Mixer runs without the official
kernels, at its configuration's chunk size of 256 and at smaller ones; `pip install transformers`.
All must give the same output. Measured is the processor's time of one thread, on which other work
on the machine has little influence; the ways take turns.

On an NVIDIA GPU: each call is measured in three ways, forward and forward + backward, in bfloat16
with D, a bias and softplus: "issue", how long Python takes until it can go on, in microseconds,
where the packages take turns; "call", as Triton's `do_bench` measures it, in milliseconds; "gpu",
the kernels alone, replayed as a CUDA graph. "bytes" is the most memory that forward + backward
takes. "roofline" is the fraction of "gpu" that the GPU would need at its peak rates, if it only
read each argument, wrote each result and multiplied the matrices of the chunked algorithm.
"kernels" are those of forward + backward, in their order, each with its time in microseconds by
PyTorch's profiler; for that, each begins when the one before it has ended, since it would else
count the time for which it waits. Without `mamba_ssm`, which tunes its kernels for minutes, the
official columns are missing. A second file has the library's scan at the first size, and beside it
Mamba-1's with 16 components and as many channels, both in float32.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from inspect import unwrap
from statistics import median
from unittest.mock import patch

import torch
from machine import peak_bytes, save
from torch import Tensor
from tqdm import tqdm

from minimamba import selective_scan, ssd

SIZES = {"batch": 1, "length": 2048, "n_heads": 24, "head_dim": 64, "d_state": 128}
OURS = (32, 64, 128)
THEIRS = (64, 128, 256)
ROUNDS = 5
"""Each time on a CPU is the median of so many calls."""
CALLS = 20
"""Each kernel's time is the median of so many calls."""
SHAPES = [(8, 2048, 24, 64, 128), (8, 2048, 80, 64, 128), (1, 65536, 24, 64, 128),
          (8, 2048, 24, 64, 64), (8, 2048, 24, 64, 256)]
"""Sizes on a GPU."""
OFFICIAL_CHUNK = 256
CHUNK = 64
"""Steps of a chunk for which the operations of the roofline are counted."""
PEAKS = {"NVIDIA H200": (4.8e12, 989e12)}
"""Bytes of memory per second, and operations per second of tensor cores in bfloat16."""


def draw(sizes: tuple[int, ...]) -> dict[str, Tensor]:
    """Draw the arguments, with A and Δ in the ranges in which Mamba-2 is initialized."""
    torch.manual_seed(0)
    batch, length, n_heads, head_dim, d_state = sizes
    B, C = torch.randn(2, batch, length, 1, d_state)
    steps = torch.empty(n_heads).uniform_(0.001**0.5, 0.1**0.5).square()
    return {"x": torch.randn(batch, length, n_heads, head_dim),
            "dt": torch.randn(batch, length, n_heads) / 2,
            "A": -torch.empty(n_heads).uniform_(1, 16), "B": B, "C": C,
            "D": torch.ones(n_heads), "dt_bias": torch.expm1(steps).log()}


def calls() -> dict[str, Callable[..., Tensor]]:
    """From a name to a function of the arguments."""
    from transformers.models.mamba2.modeling_mamba2 import mamba2_chunk_scan

    # What it is itself; where `mamba_ssm` is installed, it is replaced by that package's.
    mamba2_chunk_scan = unwrap(mamba2_chunk_scan)
    ours = {f"chunked, {size}": lambda size=size, **given: ssd(
        **given, dt_softplus=True, chunk_size=size, method="chunked") for size in OURS}
    theirs = {f"transformers, {size}": lambda x, size=size, **given: mamba2_chunk_scan(
        x, **given, dt_softplus=True, chunk_size=size) for size in THEIRS}
    return ours | theirs


def step(scan: Callable[..., Tensor], given: dict[str, Tensor], both: bool) -> None:
    """Run the forward pass, or forward + backward."""
    for t in given.values():
        t.requires_grad_(both)
        t.grad = None
    y = scan(**given)
    if both:
        y.sum().backward()


def on_cpu() -> None:
    """Measure, and save benchmarks/results/ssd_cpu.json."""
    torch.set_num_threads(1)
    given = draw(tuple(SIZES.values()))
    with torch.no_grad():
        wanted = ssd(**{name: t.double() for name, t in given.items()}, dt_softplus=True,
                     method="reference")
        errors = {name: ((scan(**given) - wanted).norm() / wanted.norm()).item()
                  for name, scan in calls().items()}
    if max(errors.values()) > 1e-4:
        raise AssertionError(f"not the same output: {errors}")
    rows = {name: {"error": error} for name, error in errors.items()}
    for part, both in (("forward", False), ("both", True)):
        times: dict[str, list[float]] = {name: [] for name in rows}
        for _ in tqdm(range(ROUNDS), desc=part):
            for name, scan in calls().items():
                start = time.process_time()
                step(scan, given, both)
                times[name].append(time.process_time() - start)
        for name, scan in calls().items():
            rows[name][f"{part}_seconds"] = median(times[name])
            rows[name][f"{part}_bytes"] = peak_bytes(
                lambda scan=scan, both=both: step(scan, given, both), "cpu")
    print(save("ssd", "cpu", {**SIZES, "rows": rows}))
    for name, row in rows.items():
        print(f"{name:18} off by {row['error']:.1e}; " + "; ".join(
            f"{part} {1000 * row[f'{part}_seconds']:7.1f} ms, "
            f"{(row[f'{part}_bytes'] or 0) / 1e6:5.0f} MB" for part in ("forward", "both")))


def least_seconds(shape: tuple[int, ...], way: str, peaks: tuple[float, float]) -> float:
    """The time at the GPU's peak rates: that of the memory or of the tensor cores.

    Args:
        shape: batch, length, n_heads, head_dim and d_state, with one group of heads.
        way: "forward" or "both".
        peaks: bytes and operations per second.
    """
    batch, length, n_heads, head_dim, d_state = shape
    of_x, of_state = n_heads * head_dim, n_heads * head_dim * d_state
    moved = 2 * of_x + n_heads + 2 * d_state  # x, y, dt, B and C
    multiplied = CHUNK * d_state + CHUNK * of_x + 2 * of_state
    if way == "both":
        moved += 3 * of_x + 2 * n_heads + 4 * d_state  # these again, dy, and the gradients
        multiplied += 3 * CHUNK * d_state + 2 * CHUNK * of_x + 6 * of_state
    bytes_per_second, operations_per_second = peaks
    return batch * length * max(2 * moved / bytes_per_second,
                                2 * multiplied / operations_per_second)


@contextmanager
def without_overlap() -> Iterator[None]:
    """Let each of the library's kernels begin when the one before it has ended."""
    from minimamba.ssd.triton import operator

    planned = operator._forward_launches, operator._backward_launches
    for launches in planned:
        launches.cache_clear()
    with patch.object(operator, "can_overlap", lambda device: False):
        yield
    for launches in planned:
        launches.cache_clear()


def by_kernel(call: Callable[[], object]) -> list[tuple[str, float]]:
    """The kernels of a call, in their order, and the median time of each in microseconds."""
    from torch.profiler import ProfilerActivity, profile

    with without_overlap():
        call()
        with profile(activities=[ProfilerActivity.CUDA]) as profiler:
            for _ in range(CALLS):
                call()
            torch.cuda.synchronize()
    events = sorted((event for event in profiler.events() if event.device_time > 0),
                    key=lambda event: event.time_range.start)
    kernels, more = divmod(len(events), CALLS)
    if more:
        raise AssertionError("not the same kernels in each call")
    return [(events[i].name, median(event.device_time for event in events[i::kernels]))
            for i in range(kernels)]


def passes(function: Callable[..., Tensor], given: dict[str, Tensor], dy: Tensor
           ) -> dict[str, Callable[[], object]]:
    """What is measured of one implementation: "forward", and "both" with the backward pass."""
    leaves = {name: t.detach().requires_grad_() for name, t in given.items()}

    def forward() -> Tensor:
        return function(**given)

    def both() -> None:
        torch.autograd.grad(function(**leaves), list(leaves.values()), dy)

    return {"forward": forward, "both": both}


def measure(ways: dict[str, dict[str, Callable[[], object]]]) -> dict[str, dict]:
    """All times of each implementation, and its memory."""
    from fused_scan import milliseconds
    from scan_calls import issue
    from triton.testing import do_bench

    issued = {way: dict(zip(ways, issue(*(calls[way] for calls in ways.values())), strict=True))
              for way in ("forward", "both")}
    return {name: {way: {"issue": issued[way][name],
                         "call": do_bench(call, rep=60, return_mode="median"),
                         "gpu": milliseconds(call)} for way, call in calls.items()}
            | {"bytes": peak_bytes(calls["both"], "cuda"), "kernels": by_kernel(calls["both"])}
            for name, calls in ways.items()}


def in_float32() -> dict[str, dict]:
    """Times and memory of the library's scans in float32, "mamba_1" and "mamba_2"."""
    from fused_scan import inputs

    batch, length, n_heads, head_dim, _ = SHAPES[0]
    given = {name: t.cuda() for name, t in draw(SHAPES[0]).items()}
    dy = torch.randn_like(given["x"])
    drawn = inputs(batch, length, n_heads * head_dim, torch.float32)
    of_mamba_1 = {name: drawn[name] for name in ("x", "delta", "A", "D")} | {
        "B": drawn["B"][:, :, 0], "C": drawn["C"][:, :, 0], "delta_bias": drawn["bias"]}
    mamba_1 = partial(selective_scan, delta_softplus=True, method="triton")
    mamba_2 = partial(ssd, dt_softplus=True, method="triton")
    return measure({"mamba_1": passes(mamba_1, of_mamba_1, drawn["dy"]),
                    "mamba_2": passes(mamba_2, given, dy)})


def on_gpu() -> None:
    """Measure, and save benchmarks/results/ssd_cuda.json and ssd_float32_cuda.json."""
    found = {"ours": lambda **given: ssd(**given, dt_softplus=True, method="triton")}
    try:
        from mamba_ssm.ops.triton.ssd_combined import mamba_chunk_scan_combined
    except ImportError as missing:
        print(f"without the official package: {missing}")
    else:
        found["official"] = lambda **given: mamba_chunk_scan_combined(
            **given, chunk_size=OFFICIAL_CHUNK, dt_softplus=True)
    peaks = PEAKS.get(torch.cuda.get_device_name())
    rows = []
    for shape in tqdm(SHAPES):
        given = {name: t.to("cuda", torch.bfloat16 if name in ("x", "dt", "B", "C") else None)
                 for name, t in draw(shape).items()}
        wanted = ssd(**{name: t.float() for name, t in given.items()}, dt_softplus=True,
                     method="chunked")
        dy = torch.randn_like(given["x"])
        measured = measure({name: passes(scan, given, dy) for name, scan in found.items()})
        row = {"shape": shape}
        for name, scan in found.items():
            error = ((scan(**given) - wanted).norm() / wanted.norm()).item()
            if not error < 1e-2:
                raise AssertionError(f"{name}, {shape}: off by {error:.1e}")
            row[name] = {"error": error} | measured[name]
            for way in ("forward", "both"):
                row[name][way]["roofline"] = peaks and (
                    1e3 * least_seconds(shape, way, peaks) / row[name][way]["gpu"])
        rows.append(row)
        # After each size, so that a run that ends early keeps what it measured.
        path = save("ssd", "cuda", {"peaks": peaks, "rows": rows})
        print(shape, *(f"\n  {name:8} off by {row[name]['error']:.1e}; " + "  ".join(
            f"{way}: issue {row[name][way]['issue']['fastest']:5.0f} µs, "
            f"call {row[name][way]['call']:6.3f}, gpu {row[name][way]['gpu']:6.3f} ms, "
            f"{100 * (row[name][way]['roofline'] or 0):3.0f} % of the roofline"
            for way in ("forward", "both")) + f"  {row[name]['bytes'] / 1e6:5.0f} MB"
            for name in found))
    print(path)
    print(save("ssd_float32", "cuda", in_float32()))


if __name__ == "__main__":
    {"cpu": on_cpu, "cuda": on_gpu}[sys.argv[1] if len(sys.argv) > 1 else "cpu"]()
