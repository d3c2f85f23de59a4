"""The fused scan beside the official CUDA kernel, forward and backward, time and memory.

Usage: python benchmarks/fused_scan.py
Needs an NVIDIA GPU. With D, z, a bias and softplus, d_state 16, each in its own best layout. The
official kernel is measured if `selective_scan_cuda`, the extension of the mamba-ssm package, can
be imported, and must agree; else its columns are null. For ours every number of PROGRAMS is
tried, which is what decides into how many pieces a length is split.
"""

import sys

import torch
from machine import peak_bytes, save
from torch import Tensor
from tqdm import tqdm
from triton.testing import do_bench

from minimamba.scan import fused

SHAPES = [(8, 2048, 1536, torch.bfloat16), (8, 2048, 4096, torch.bfloat16),
          (1, 65536, 1536, torch.bfloat16), (1, 4096, 5120, torch.bfloat16),
          (8, 2048, 1536, torch.float32)]
D_STATE = 16
PROGRAMS = [1, 512, 1024, 2048, 4096, 8192]


def milliseconds(call) -> float:
    return do_bench(call, warmup=20, rep=150, return_mode="median")


def inputs(batch: int, length: int, d_inner: int, dtype: torch.dtype) -> dict[str, Tensor]:
    """Fresh ones, in the library's layout; delta before its bias and softplus."""
    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, device="cuda")

    return {"x": draw(batch, length, d_inner).to(dtype),
            "delta": (draw(batch, length, d_inner) / 2 - 2).to(dtype),
            "A": -torch.rand(d_inner, D_STATE, device="cuda") * 15 - 0.5,
            "B": draw(batch, length, 1, D_STATE).to(dtype),
            "C": draw(batch, length, 1, D_STATE).to(dtype), "D": draw(d_inner),
            "z": draw(batch, length, d_inner).to(dtype), "bias": draw(d_inner) / 10,
            "dy": draw(batch, length, d_inner).to(dtype)}


def ours(given: dict[str, Tensor]) -> dict:
    """The calls of ours: forward, forward that keeps what the backward wants, and backward."""
    parts = [given[name] if name not in "BC" else given[name].float()
             for name in ("x", "delta", "A", "B", "C", "D", "z", "bias")]
    y, last, borders = torch.ops.minimamba.scan(*parts, True, None, True)
    return {"y": y, "forward": lambda: torch.ops.minimamba.scan(*parts, True, None, False),
            "learning": lambda: torch.ops.minimamba.scan(*parts, True, None, True),
            "backward": lambda: torch.ops.minimamba.scan_backward(
                *parts, True, borders, given["dy"], torch.zeros_like(last))}


def theirs(given: dict[str, Tensor]) -> dict | None:
    """The official kernel's calls, in its layout."""
    try:
        import selective_scan_cuda as official
    except ImportError as missing:
        print(f"without the official kernel: {missing}", file=sys.stderr)
        return None
    u, delta, z, dy = (given[name].mT.contiguous() for name in ("x", "delta", "z", "dy"))
    B, C = (given[name].permute(0, 2, 3, 1).contiguous() for name in ("B", "C"))
    parts = u, delta, given["A"], B, C, given["D"], z, given["bias"]
    out, kept, y = official.fwd(*parts, True)
    return {"y": y.mT, "forward": lambda: official.fwd(*parts, True),
            "backward": lambda: official.bwd(*parts, dy, kept, out, None, True, False)}


def measure(shape: tuple) -> dict:
    given = inputs(*shape)
    row: dict = {"shape": [*shape[:3], str(shape[3]).removeprefix("torch.")]}
    other = theirs(given)
    if other:
        row["official"] = {way: milliseconds(other[way]) for way in ("forward", "backward")}
        row["official"]["bytes"] = peak_bytes(
            lambda: (other["forward"](), other["backward"]()), "cuda")
    calls = ours(given)
    if other:
        error = (calls["y"].float() - other["y"].float()).norm() / other["y"].float().norm()
        if not error < 1e-2:
            raise AssertionError(f"{row['shape']}: differs from the official kernel by {error:.1e}")
    row["ours"] = {}
    for way, direction in (("forward", "forward"), ("learning", "forward"),
                           ("backward", "backward")):
        for programs in PROGRAMS:
            fused.PROGRAMS[direction] = programs
            row["ours"].setdefault(way, {})[programs] = milliseconds(calls[way])
        fused.PROGRAMS[direction] = min(row["ours"][way], key=row["ours"][way].get)
    row["ours"]["bytes"] = peak_bytes(lambda: (calls["learning"](), calls["backward"]()), "cuda")
    return row


def main() -> None:
    rows = []
    for shape in tqdm(SHAPES):
        rows.append(measure(shape))
        tqdm.write(str(rows[-1]))
    print(save("fused_scan", "cuda", {"d_state": D_STATE, "rows": rows}))


if __name__ == "__main__":
    main()
