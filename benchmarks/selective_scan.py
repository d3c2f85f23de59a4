"""The scan on a CPU, alone and in a Mamba block, beside other people's blocks in PyTorch.

Usage: python benchmarks/selective_scan.py [length ...]
Batch 1, d_model 768, d_inner 1536, d_state 16, float32: the block of the 130M-parameter Mamba,
with the same weights in each. The peers are measured if they can be imported, and must give the
same output: `pip install transformers mambapy`, and mamba-minimal's model.py, saved under the
name mamba_minimal.py, on PYTHONPATH. A time is that of the fastest of five calls or more, as what
else the machine does can only add to it. What takes more than SLOW seconds is not tried at greater
lengths, and is then null.
"""

import math
import sys
import time
from collections.abc import Callable

import torch
from machine import peak_bytes, save, timings
from torch import Tensor, nn
from torch.nn.functional import conv2d, linear, silu
from tqdm import tqdm

from minimamba.nn.s6 import S6
from minimamba.scan import METHODS, associative, methods, selective_scan

D_MODEL, D_STATE, DT_RANK, D_CONV = 768, 16, 48, 4
LENGTHS = [2**k for k in range(8, 15)]
SLOW = 1.0
LARGEST = {"Hillis-Steele": 1024, "Blelloch": 1024}
"""What holds every state at every level is not tried beyond this length."""
PASSES = ("forward", "both")
WITHOUT = ("no scan", "no SSM")


class Block(nn.Module):
    """Mamba's block, with what stands for its scan given at each call."""

    def __init__(self) -> None:
        super().__init__()
        self.in_proj = nn.Linear(D_MODEL, 4 * D_MODEL, bias=False)
        self.conv1d = nn.Conv1d(2 * D_MODEL, 2 * D_MODEL, D_CONV, groups=2 * D_MODEL,
                                padding=D_CONV - 1)
        self.ssm = S6(2 * D_MODEL, D_STATE, dt_rank=DT_RANK)
        self.out_proj = nn.Linear(2 * D_MODEL, D_MODEL, bias=False)

    def forward(self, u: Tensor, method: str) -> Tensor:
        """(batch, length, d_model) to the same; "no scan" and "no SSM" leave those out."""
        into_x, into_z = self.in_proj.weight.chunk(2)
        # As a picture of one row, whose channels may lie next to each other in memory.
        x = conv2d(linear(u, into_x).mT[:, :, None], self.conv1d.weight[:, :, None],
                   self.conv1d.bias, padding=(0, D_CONV - 1), groups=2 * D_MODEL)
        x = silu(x[:, :, 0, :u.shape[1]].mT, inplace=True)
        z = linear(u, into_z)
        if method == "no SSM":
            return self.out_proj(x * silu(z))
        if method == "no scan":  # what a state gives that keeps nothing: Ā = 0
            delta, B, C = self.ssm.ssm_parameters(x)
            y = x * (delta * (B * C).sum(-1, keepdim=True) + self.ssm.D)
            return self.out_proj(y * silu(z))
        self.ssm.scan_method = method
        return self.out_proj(self.ssm.scan(x, z))

    def weights(self) -> dict[str, Tensor]:
        """Under the names that all peers give them."""
        return {name.removeprefix("ssm."): x for name, x in self.state_dict().items()}


def peers(weights: dict[str, Tensor]) -> dict[str, Callable[[Tensor], Tensor]]:
    """The other people's blocks that can be imported, with these weights."""
    found = {}
    try:
        from transformers import MambaConfig
        from transformers.models.mamba.modeling_mamba import MambaMixer
        config = MambaConfig(hidden_size=D_MODEL, state_size=D_STATE, time_step_rank=DT_RANK,
                             conv_kernel=D_CONV)
        mixer = MambaMixer(config, layer_idx=0)
        found["transformers, slow path"] = mixer, mixer._slow_forward
    except ImportError as missing:
        print(f"without transformers: {missing}")
    try:
        from mambapy.mamba import MambaBlock, MambaConfig
        block = MambaBlock(MambaConfig(d_model=D_MODEL, n_layers=1, d_state=D_STATE,
                                       dt_rank=DT_RANK, d_conv=D_CONV))
        found["mambapy"] = block, block
    except ImportError as missing:
        print(f"without mambapy: {missing}")
    try:
        from mamba_minimal import MambaBlock, ModelArgs
        block = MambaBlock(ModelArgs(d_model=D_MODEL, n_layer=1, vocab_size=8, d_state=D_STATE,
                                     dt_rank=DT_RANK, d_conv=D_CONV))
        found["mamba-minimal"] = block, block
    except ImportError as missing:
        print(f"without mamba-minimal: {missing}")
    for module, _ in found.values():
        module.load_state_dict(weights)
    return {name: call for name, (_, call) in found.items()}


def by_pairs(order: Callable[[int], list]) -> Callable:
    """Scan by combining pairs in that order, as chapter 06 explains it."""
    def scan(x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
        A_bar = torch.exp(delta[0, ..., None] * A)
        B_bar_x = (delta * x)[0, ..., None] * B[0, :, None]
        h = associative.scan(A_bar, B_bar_x, order(x.shape[1]))
        return torch.einsum("ldn,ln->ld", h, C[0])[None]
    return scan


def scans() -> dict[str, Callable]:
    ways = {name: lambda *given, name=name: selective_scan(*given, method=name)
            for name in METHODS if methods()[name] is None}
    return ways | {"Hillis-Steele": by_pairs(associative.hillis_steele),
                   "Blelloch": by_pairs(associative.blelloch)}


def calls(length: int, block: Block, others: dict[str, Callable]) -> dict[str, dict[str, Callable]]:
    """From "scan" and "block", and a way, to a call that takes the gradients too if told so."""
    torch.manual_seed(length)
    d_inner = 2 * D_MODEL
    x, delta = torch.randn(1, length, d_inner), torch.rand(1, length, d_inner) / 10
    B, C = torch.randn(2, 1, length, D_STATE)
    A = -torch.rand(d_inner, D_STATE) - 0.5
    parts, given = [x, delta, A, B, C], torch.randn(1, length, D_MODEL)
    ways = {name: lambda x, name=name: block(x, name)
            for name in METHODS if methods()[name] is None}
    ways |= {name: lambda x, name=name: block(x, name) for name in WITHOUT} | others

    def call(compute: Callable, inputs: list[Tensor]) -> Callable:
        def run(both: bool) -> Tensor:
            for x in inputs:
                x.requires_grad_(both)
                x.grad = None
            with torch.set_grad_enabled(both):
                y = compute(*inputs)
            if both:
                y.sum().backward()
            return y.detach()
        return run

    return {"scan": {name: call(way, parts) for name, way in scans().items()},
            "block": {name: call(way, [given]) for name, way in ways.items()}}


def check(made: dict[str, dict[str, Callable]]) -> None:
    """All give the same, or nothing is measured."""
    for what, ways in made.items():
        wanted = ways["reference"](False)
        for name, way in ways.items():
            error = ((way(False) - wanted).norm() / wanted.norm()).item()
            if name not in WITHOUT and not error < 1e-4:
                raise AssertionError(f"{what}, {name}: off by {error:.1e}")


def fastest(run: Callable[[], object], device: str) -> float:
    """Measure the time of the fastest call, in seconds; arguments as for timings."""
    return min(timings(run, device))


def main(lengths: list[int]) -> None:
    torch.manual_seed(0)
    block = Block()
    with torch.no_grad():  # at its start a block hardly feels its A
        block.ssm.A_log += torch.randn_like(block.ssm.A_log) / 2
        block.ssm.x_proj.weight *= 4
        block.ssm.dt_proj.bias += 2
    others = peers(block.weights())
    start = time.perf_counter()
    made = calls(lengths[0], block, others)
    check(made)
    if methods()["compiled"] is None:
        made["scan"]["compiled"](True)
    compiled_in = time.perf_counter() - start
    results: dict = {"seconds": {}, "bytes": {}}
    slow = set()
    for what, measure in (("seconds", fastest), ("bytes", peak_bytes)):
        for length in tqdm(lengths, desc=what):
            for part, ways in calls(length, block, others).items():
                for name, way in ways.items():
                    for both in (False, True):
                        key = (part, name, both)
                        value = None
                        if (*key, length) not in slow and length <= LARGEST.get(name, length):
                            value = measure(lambda way=way, both=both: way(both), "cpu")
                        place = results[what].setdefault(part, {}).setdefault(name, {})
                        place.setdefault(PASSES[both], []).append(value)
                        if what == "seconds" and value and value > SLOW:
                            slow |= {(*key, longer) for longer in lengths if longer > length}
    print(save("selective_scan", "cpu", {"d_model": D_MODEL, "d_state": D_STATE,
                                         "lengths": lengths, "first_call": compiled_in, **results}))
    report(lengths, results)


def report(lengths: list[int], results: dict) -> None:
    """The table, and the slopes of log time on log length."""
    at = lengths.index(2048) if 2048 in lengths else -1
    for part, ways in results["seconds"].items():
        for name, passes in ways.items():
            for which, values in passes.items():
                held = results["bytes"][part][name][which][at]
                known = [(math.log(length), math.log(value))
                         for length, value in zip(lengths, values, strict=True) if value]
                xs, ys = torch.tensor(known).T
                slope = ((xs - xs.mean()) @ (ys - ys.mean()) / (xs - xs.mean()).square().sum())
                print(f"{part:6} {name:24} {which:8} at {lengths[at]}: "
                      f"{1000 * (values[at] or math.nan):9.1f} ms {(held or math.nan) / 1e6:8.0f} "
                      f"MB, slope {slope:.2f}")


if __name__ == "__main__":
    main([int(length) for length in sys.argv[1:]] or LENGTHS)
