"""Mamba-2's scan on a CPU, beside the slow path of transformers, at several chunk sizes.

Usage: python benchmarks/ssd.py
Batch 1, length 2048, 24 heads of 64, d_state 128, one group, float32: a layer of the 130M-parameter
Mamba-2. The slow path is what transformers' Mamba2Mixer runs without the official kernels, at its
configuration's chunk size of 256 and at smaller ones; `pip install transformers`. All must give
the same output. Measured is the processor's time of one thread, on which other work on the machine
has little influence; the ways take turns.
"""

import time
from collections.abc import Callable
from statistics import median

import torch
from machine import peak_bytes, save
from torch import Tensor
from tqdm import tqdm
from transformers.models.mamba2.modeling_mamba2 import mamba2_chunk_scan

from minimamba import ssd

SIZES = {"batch": 1, "length": 2048, "n_heads": 24, "head_dim": 64, "d_state": 128}
OURS = (32, 64, 128)
THEIRS = (64, 128, 256)
ROUNDS = 5
"""Each time is the median of so many calls."""


def draw() -> dict[str, Tensor]:
    """Draw the arguments, with the decays and steps that Mamba-2 is initialized with."""
    torch.manual_seed(0)
    batch, length, n_heads, head_dim, d_state = SIZES.values()
    B, C = torch.randn(2, batch, length, 1, d_state)
    steps = torch.empty(n_heads).uniform_(0.001**0.5, 0.1**0.5).square()
    return {"x": torch.randn(batch, length, n_heads, head_dim),
            "dt": torch.randn(batch, length, n_heads) / 2,
            "A": -torch.empty(n_heads).uniform_(1, 16), "B": B, "C": C,
            "D": torch.ones(n_heads), "dt_bias": torch.expm1(steps).log()}


def calls() -> dict[str, Callable[..., Tensor]]:
    """From a name to a function of the arguments."""
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


def main() -> None:
    torch.set_num_threads(1)
    given = draw()
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


if __name__ == "__main__":
    main()
