"""Measure the scan as its users call it, beside the official package, on a GPU.

Usage: python benchmarks/scan_calls.py
Needs an NVIDIA GPU; takes two minutes. Without `mamba_ssm` the official columns are missing.

Each call is measured three ways, forward and forward + backward, in bfloat16 with D, z, a bias and
softplus: "issue", how long Python takes until it can go on, in microseconds; "call", as Triton's
`do_bench` measures it, in milliseconds; "gpu", the kernels alone, replayed as a CUDA graph. "bytes"
is the most memory that forward + backward takes. "compat" is the official call, made by this
library, with inputs that are contiguous in the official layout, and with inputs that have the
channels last.
"""

from collections.abc import Callable
from statistics import median
from time import perf_counter

import torch
from fused_scan import inputs, milliseconds
from machine import peak_bytes, save
from torch import Tensor
from tqdm import tqdm
from triton.testing import do_bench

from minimamba import selective_scan
from minimamba.compat import selective_scan_fn

SHAPES = [(1, 64, 1536, 16), (1, 128, 1536, 16), (2, 512, 1536, 16), (1, 4096, 5120, 16),
          (8, 2048, 1536, 16), (8, 2048, 1536, 32), (8, 2048, 1536, 64), (8, 2048, 1536, 128)]
"""Batch, length, d_inner and d_state."""
BATCHES, CALLS = 30, 10
"""The issue time is that of the fastest batch: what else the processor does only adds to it."""


def issue(*functions: Callable[[], object]) -> list[dict[str, float]]:
    """Microseconds until Python can go on, for each: the fastest and the median batch of calls.

    The functions take turns, so that other work of the processor slows all of them alike.
    """
    for call in functions:
        for _ in range(CALLS):
            call()
    batches = [[] for _ in functions]
    for _ in range(BATCHES):
        for call, times in zip(functions, batches, strict=True):
            torch.cuda.synchronize()
            began = perf_counter()
            for _ in range(CALLS):
                call()
            times.append(1e6 * (perf_counter() - began) / CALLS)
    return [{"fastest": min(times), "median": median(times)} for times in batches]


def calls(shape: tuple[int, int, int, int]) -> dict[str, tuple[Callable[..., Tensor], list, dict,
                                                              Tensor]]:
    """For each implementation its function, its tensors, its options, and the gradient of y."""
    batch, length, d_inner, d_state = shape
    given = inputs(batch, length, d_inner, torch.bfloat16, d_state)
    x, delta, z, dy = (given[name] for name in ("x", "delta", "z", "dy"))
    A, B, C, D = given["A"], given["B"][:, :, 0], given["C"][:, :, 0], given["D"]
    options = {"delta_bias": given["bias"], "delta_softplus": True}
    ours = [x, delta, A, B.contiguous(), C.contiguous(), D, z]
    turned = [t.mT.contiguous() if t.ndim == 3 else t for t in ours]
    channels_last = [t.mT.contiguous().mT if t.ndim == 3 else t for t in turned]
    dy_turned = dy.mT.contiguous()
    found = {"ours": (selective_scan, ours, options, dy),
             "compat, channels last": (selective_scan_fn, channels_last, options, dy.mT),
             "compat": (selective_scan_fn, turned, options, dy_turned)}
    try:
        from mamba_ssm.ops import selective_scan_interface
    except ImportError as missing:
        print(f"without the official package: {missing}")
    else:
        found["official"] = (selective_scan_interface.selective_scan_fn, turned, options,
                             dy_turned)
    return found


def measure(function: Callable[..., Tensor], tensors: list[Tensor], options: dict,
            dy: Tensor) -> dict:
    """All times of one implementation."""
    leaves = [t.detach().requires_grad_() for t in tensors]

    def forward() -> Tensor:
        return function(*tensors, **options)

    def both() -> None:
        torch.autograd.grad(function(*leaves, **options), leaves, dy)

    row = {way: {"issue": issue(call)[0], "call": do_bench(call, rep=60, return_mode="median"),
                 "gpu": milliseconds(call)}
           for way, call in (("forward", forward), ("both", both))}
    return row | {"bytes": peak_bytes(both, "cuda")}


def main() -> None:
    """Measure, and save benchmarks/results/scan_calls_cuda.json."""
    rows = []
    for shape in tqdm(SHAPES):
        row = {"shape": shape} | {name: measure(*call) for name, call in calls(shape).items()}
        rows.append(row)
        print(shape, *(f"\n  {name:22} " + "  ".join(
            f"{way}: issue {of[way]['issue']['fastest']:5.0f} µs, call {of[way]['call']:6.3f}, "
            f"gpu {of[way]['gpu']:6.3f} ms" for way in ("forward", "both"))
            + f"  {of['bytes'] / 1e6:5.0f} MB" for name, of in row.items() if name != "shape"))
    print(save("scan_calls", "cuda", {"rows": rows}))


if __name__ == "__main__":
    main()
