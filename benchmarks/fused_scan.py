"""Measure the Triton scan beside the official CUDA kernel, attention and PyTorch, on a GPU.

Usage: python benchmarks/fused_scan.py
Needs an NVIDIA GPU; takes four minutes. With D, z, a bias and softplus, each implementation in its
own best layout. The official kernel is measured if `selective_scan_cuda`, the extension of the
package mamba-ssm, can be imported, and its results must agree; otherwise its columns are null.

"forward" saves nothing for the backward pass, "learning" saves the states that it needs. "chosen"
is the plan that the library chooses; other plans are measured beside it, as "channels per lane ×
splits". "minimal" are the readable kernels of `scan/triton_minimal.py`. These are GPU times. "call"
is the time of the public call from Python in eager mode. The unfused scan in PyTorch runs at the
largest batch that fits, and the fused ones at the same batch.
"""

import sys
from collections.abc import Callable
from time import perf_counter

import torch
from machine import peak_bytes, save
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention, silu, softplus
from tqdm import tqdm
from triton.testing import do_bench, do_bench_cudagraph

from minimamba import selective_scan
from minimamba.scan.triton import operator
from minimamba.scan.triton.plan import BACKWARD, FORWARD, make_plan
from minimamba.scan.triton_minimal import selective_scan_minimal

SHAPES = [(8, 2048, 1536, torch.bfloat16), (8, 2048, 4096, torch.bfloat16),
          (1, 65536, 1536, torch.bfloat16), (1, 4096, 5120, torch.bfloat16),
          (8, 2048, 1536, torch.float32)]
D_STATE = 16
SPLITS = [1, 2, 3, 4, 8, 13]
TOKENS = 2**20
"""Tokens in all, in the sweep over lengths."""
WIDTH = 1024
"""d_model in that sweep: the channels of attention, and half of those of the scan of a block."""
HEAD = 64
"""Channels of one attention head."""
BACKENDS = {"FlashAttention-2": SDPBackend.FLASH_ATTENTION, "cuDNN": SDPBackend.CUDNN_ATTENTION}
"""Fused attention as PyTorch has it."""
UNFUSED = [512, 2048, 8192]
"""Lengths at which the unfused scan is measured."""


def milliseconds(call) -> float:
    """GPU time of a call; a short one is replayed as a CUDA graph, so that launches don't count."""
    call()
    began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    began.record()
    call()
    ended.record()
    torch.cuda.synchronize()
    took = began.elapsed_time(ended)
    return took if took > 20 else do_bench_cudagraph(call, rep=30, return_mode="median")


def to_launch(call, count: int = 200) -> float:
    """CPU time of a call in microseconds: it returns before the GPU has finished."""
    call()
    torch.cuda.synchronize()
    began = perf_counter()
    for _ in range(count):
        call()
    return 1e6 * (perf_counter() - began) / count


def inputs(batch: int, length: int, d_inner: int, dtype: torch.dtype) -> dict[str, Tensor]:
    """Random inputs in the library's layout; delta before its bias and softplus."""
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
    """Calls of this library: forward without and with saved states ("learning"), backward, and
    both."""
    parts = [given[name] for name in ("x", "delta", "A", "B", "C", "D", "z", "bias")]
    y, _, *saved = torch.ops.minimamba.scan(*parts, True, None, True)

    def both() -> None:
        kept = torch.ops.minimamba.scan(*parts, True, None, True)  # y as well, as a caller would
        torch.ops.minimamba.scan_backward(*parts, True, *kept[2:], given["dy"], None, False)

    return {"y": y, "both": both,
            "forward": lambda: torch.ops.minimamba.scan(*parts, True, None, False),
            "learning": lambda: torch.ops.minimamba.scan(*parts, True, None, True),
            "backward": lambda: torch.ops.minimamba.scan_backward(
                *parts, True, *saved, given["dy"], None, False)}


def theirs(given: dict[str, Tensor]) -> dict | None:
    """Calls of the official kernel, in its layout, or None."""
    try:
        import selective_scan_cuda as official
    except ImportError as missing:
        print(f"without the official kernel: {missing}", file=sys.stderr)
        return None
    u, delta, z, dy = (given[name].mT.contiguous() for name in ("x", "delta", "z", "dy"))
    B, C = (given[name].permute(0, 2, 3, 1).contiguous() for name in ("B", "C"))
    parts = u, delta, given["A"], B, C, given["D"], z, given["bias"]
    out, kept, y = official.fwd(*parts, True)

    def both() -> None:
        held = official.fwd(*parts, True)
        official.bwd(*parts, dy, held[1], held[0], None, True, False)

    return {"y": y.mT, "both": both, "forward": lambda: official.fwd(*parts, True),
            "backward": lambda: official.bwd(*parts, dy, kept, out, None, True, False)}


def forced_plan(channels: int, splits: int):
    """A function in the place of `choose_plan`."""
    def choose(shape, costs, schedulers):
        chunks = -(-shape.chunks // splits)
        pieces = max(p for p in (1, 2, 4) if chunks % p == 0)
        return make_plan(shape, costs, channels, chunks, pieces)
    return choose


def forget_plans() -> None:
    """Have the plan of each shape chosen anew."""
    operator._forward_launches.cache_clear()
    operator._backward_launches.cache_clear()


def measure(shape: tuple) -> dict:
    """One row: all plans of this library, and the official kernel."""
    given = inputs(*shape)
    row: dict = {"shape": [*shape[:3], str(shape[3]).removeprefix("torch.")], "official": None}
    calls, other, choose_plan = ours(given), theirs(given), operator.choose_plan
    if other:
        error = (calls["y"].float() - other["y"].float()).norm() / other["y"].float().norm()
        if not error < 1e-2:
            raise AssertionError(f"{row['shape']}: differs from the official kernel by {error:.1e}")
        row["official"] = {way: milliseconds(other[way])
                           for way in ("forward", "backward", "both")}
        row["official"]["bytes"] = peak_bytes(other["both"], "cuda")
    row["ours"] = {way: {"chosen": milliseconds(calls[way])}
                   for way in ("forward", "learning", "backward", "both")}
    row["ours"]["bytes"] = peak_bytes(calls["both"], "cuda")
    for way, costs in (("forward", FORWARD), ("backward", BACKWARD)):
        for channels, _ in costs.kernel:
            for splits in SPLITS if shape[0] == 1 else SPLITS[:2]:
                operator.choose_plan = forced_plan(channels, splits)
                forget_plans()
                row["ours"][way][f"{channels} × {splits}"] = milliseconds(calls[way])
    operator.choose_plan = choose_plan
    forget_plans()
    return row | of_calls(given)


def user_calls(given: dict[str, Tensor]) -> dict[str, Callable[[], Tensor]]:
    """For each implementation, its public call from Python, as a function without arguments."""
    names = ("x", "delta", "A", "B", "C", "D", "z")
    leaves = {name: given[name].detach().requires_grad_() for name in names}
    leaves |= {name: given[name][:, :, 0].detach().requires_grad_() for name in ("B", "C")}

    def fast() -> Tensor:
        return selective_scan(**leaves, delta_bias=given["bias"], delta_softplus=True)

    def simple() -> Tensor:
        return selective_scan_minimal(**leaves, delta_softplus=True)

    calls = {"ours": fast, "minimal": simple}
    try:
        from mamba_ssm.ops.selective_scan_interface import selective_scan_fn
    except ImportError:
        return calls
    turned = {"u": "x", "delta": "delta", "z": "z"}
    other = {name: given[mine].mT.contiguous().requires_grad_() for name, mine in turned.items()}
    other |= {name: given[name][:, :, 0].mT.contiguous().requires_grad_() for name in ("B", "C")}
    other |= {name: leaves[name] for name in ("A", "D")}
    calls["official"] = lambda: selective_scan_fn(**other, delta_bias=given["bias"],
                                                  delta_softplus=True)
    return calls


def of_calls(given: dict[str, Tensor]) -> dict[str, dict]:
    """Milliseconds of the public calls, and of the GPU alone for the minimal kernels."""
    found: dict = {"call": {}}
    for name, forward in user_calls(given).items():
        dy = given["dy"].mT.contiguous() if name == "official" else given["dy"]

        def both(forward=forward, dy=dy) -> None:
            forward().backward(dy)

        found["call"][name] = {"forward": do_bench(forward, rep=50, return_mode="median"),
                               "both": do_bench(both, rep=50, return_mode="median")}
        if name == "minimal":
            with torch.no_grad():
                found[name] = {"forward": milliseconds(forward)}
            found[name]["both"] = milliseconds(both)
    return found


def bandwidth() -> dict[str, float]:
    """Bytes per second that a pass over a tensor reads and writes: in HBM, and in the L2 cache."""
    found = {}
    for name, count, passes in (("HBM", 2**30, 1), ("L2", 2**21, 100)):
        source = torch.zeros(count, device="cuda")
        target = torch.empty_like(source)

        def scale(source=source, target=target, passes=passes) -> None:
            for _ in range(passes):
                torch.mul(source, 2.0, out=target)

        took = do_bench_cudagraph(scale, rep=50, return_mode="median")
        found[name] = 2 * source.nbytes * passes / (took / 1e3)
    return found


def unfused_scan(x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor,
                 z: Tensor) -> Tensor:
    """The selective scan with one PyTorch operation after the other, in the dtype of x."""
    delta = softplus(delta)
    decay = torch.exp(delta[..., None] * A)                # (batch, length, d_inner, d_state)
    update = (delta * x)[..., None] * B[:, :, None]
    h = torch.zeros_like(update[:, 0])
    for decay_t, update_t in zip(decay.unbind(1), update.unbind(1), strict=True):
        h = torch.addcmul(update_t, decay_t, h, out=update_t)
    return ((update * C[:, :, None]).sum(-1) + D * x) * silu(z)


def unfused() -> list[dict]:
    """The scan as separate operations at the largest batch that fits, and the fused ones there."""
    rows = []
    for dtype in (torch.float32, torch.bfloat16):
        for length in UNFUSED:
            batch = 2**20
            while batch:
                try:
                    rows.append(_unfused(batch, length, dtype))
                    break
                except torch.OutOfMemoryError:
                    torch.cuda.empty_cache()
                    batch //= 2
    return rows


def _unfused(batch: int, length: int, dtype: torch.dtype) -> dict:
    if 3 * batch * length * 1536 * 16 * dtype.itemsize > torch.cuda.mem_get_info()[0]:
        raise torch.OutOfMemoryError
    given = inputs(batch, length, 1536, dtype)
    small = {name: given[name][:, :, 0] for name in ("B", "C")}
    parts = {name: given[name] for name in ("x", "delta", "z")} | small
    parts |= {name: given[name].to(dtype) for name in ("A", "D")}
    with torch.no_grad():
        row = {"length": length, "dtype": str(dtype).removeprefix("torch."), "batch": batch,
               "unfused": milliseconds(lambda: unfused_scan(**parts))}
        parts |= {name: given[name] for name in ("A", "D")}
        row["minimal"] = milliseconds(lambda: selective_scan_minimal(**parts, delta_softplus=True))
        row["fused"] = milliseconds(lambda: selective_scan(**parts, delta_softplus=True))
    return row


def by_length() -> list[dict]:
    """Forward time for TOKENS tokens in sequences of several lengths, in layers of one width:
    the scan of a Mamba block, and causal attention."""
    rows = []
    for length in (2**k for k in range(9, 21)):
        batch = TOKENS // length
        given = inputs(batch, length, 2 * WIDTH, torch.bfloat16)
        row = {"length": length, "scan": milliseconds(ours(given)["forward"])}
        other = theirs(given)
        row["official"] = other and milliseconds(other["forward"])
        del given, other
        q, k, v = torch.randn(3, batch, WIDTH // HEAD, length, HEAD, device="cuda",
                              dtype=torch.bfloat16)

        def attention(q=q, k=k, v=v) -> Tensor:
            return scaled_dot_product_attention(q, k, v, is_causal=True)

        times = {}
        for name, backend in BACKENDS.items():
            with sdpa_kernel(backend):
                times[name] = milliseconds(attention)
        row["attention backend"] = min(times, key=times.get)
        row["attention"] = times[row["attention backend"]]
        row["attention by backend"] = times
        rows.append(row)
    return rows


def one_step() -> dict:
    """One decoding step of many sequences by the scan kernel: microseconds of the GPU, and of the
    CPU to launch it."""
    result: dict = {}
    for batch in (1, 32, 128):
        given = inputs(batch, 1, 1536, torch.bfloat16)
        h = torch.randn(batch, 1536, D_STATE, device="cuda")
        parts = [given[name] for name in ("x", "delta", "A", "B", "C", "D", "z", "bias")]

        def step(parts=parts, h=h) -> None:
            torch.ops.minimamba.scan(*parts, True, h, False)

        result[batch] = {"gpu": 1e3 * milliseconds(step), "launch": to_launch(step)}
        other = theirs(given)
        result[batch]["official launch"] = other and to_launch(other["forward"])
    return result


def main() -> None:
    """Measure, and save benchmarks/results/fused_scan_cuda.json."""
    found: dict = {"d_state": D_STATE, "width": WIDTH, "bandwidth": bandwidth(), "rows": []}
    for shape in tqdm(SHAPES):
        found["rows"].append(measure(shape))
        save("fused_scan", "cuda", found)
    for name, sweep in (("one_step", one_step), ("by_length", by_length), ("unfused", unfused)):
        found[name] = sweep()
        save("fused_scan", "cuda", found)
        tqdm.write(f"{name}: done")


if __name__ == "__main__":
    main()
