"""A training step beside the official package's, on a GPU: of one block, Mamba or Mamba-2, and of
the 130M model.

Usage: python benchmarks/training_step.py

Needs an NVIDIA GPU and, for the other column, `mamba_ssm` and `causal_conv1d`.

- The blocks have d_model 768 and are in bfloat16: forward pass, and forward + backward.
- The model: cross entropy over 8 sequences of 2,048 tokens under autocast to bfloat16, backward
  pass, and a step of AdamW.

Each is measured three ways: the time between calls that follow each other; how long Python takes to
issue a call, the fastest of ten, while the GPU has nothing to do; and the time of the kernels
alone, as PyTorch's profiler counts it. The profiler comes last of all, where it can't slow down
what else is measured.

Results: results/training_step_cuda.json.
"""

import sys
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from time import perf_counter

import torch
from machine import peak_bytes, save
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.profiler import ProfilerActivity, profile

from minimamba import Mamba, MambaConfig, MambaLM
from minimamba.nn import Mamba2

BATCH = 8
LENGTH = 2048
D_MODEL = 768
N_LAYER = 24
VOCAB_SIZE = 50280
DEVICE = "cuda"


Calls = dict[str, Callable[[], object]]
"""What is measured, by name; the memory is that of the last."""


def main() -> None:
    """Measure all, and save results/training_step_cuda.json."""
    torch.manual_seed(0)
    found = subjects()
    results: dict = {}
    for measure in (clock_and_memory, kernels):
        for (what, who), make in found.items():
            rows = results.setdefault(what, {})
            rows[who] = rows.get(who, {}) | measure(make())
    print(save("training_step", DEVICE, results).read_text())


def subjects() -> dict[tuple[str, str], Callable[[], Calls]]:
    """What is measured and whose it is, each with a function that builds it."""
    def ours() -> Calls:
        model = MambaLM(MambaConfig(VOCAB_SIZE, D_MODEL, N_LAYER)).to(DEVICE)
        return model_calls(model, model)

    found = {("block", "ours"): partial(block_calls, Mamba),
             ("mamba2_block", "ours"): partial(block_calls, Mamba2), ("model", "ours"): ours}
    try:
        from mamba_ssm.models.config_mamba import MambaConfig as OfficialConfig
        from mamba_ssm.models.mixer_seq_simple import MambaLMHeadModel
        from mamba_ssm.modules.mamba2 import Mamba2 as OfficialMamba2
        from mamba_ssm.modules.mamba_simple import Mamba as OfficialMamba
    except ImportError as error:
        print(f"without the official package: {error}", file=sys.stderr)
        return found

    def official() -> Calls:
        model = MambaLMHeadModel(OfficialConfig(d_model=D_MODEL, n_layer=N_LAYER,
                                                vocab_size=VOCAB_SIZE), device=DEVICE)
        return model_calls(model, lambda input_ids: model(input_ids).logits)

    return found | {("block", "official"): partial(block_calls, OfficialMamba),
                    ("mamba2_block", "official"): partial(block_calls, OfficialMamba2),
                    ("model", "official"): official}


def block_calls(kind: type[nn.Module]) -> Calls:
    """The passes of a block."""
    block = kind(D_MODEL, device=DEVICE, dtype=torch.bfloat16)
    x = torch.randn(BATCH, LENGTH, D_MODEL, device=DEVICE, dtype=torch.bfloat16)
    x.requires_grad_()
    dy = torch.randn_like(x)
    leaves = [x, *block.parameters()]

    def forward() -> None:
        with torch.no_grad():
            block(x)

    def forward_backward() -> None:
        torch.autograd.grad(block(x), leaves, dy, allow_unused=True)

    return {"forward": forward, "forward_backward": forward_backward}


def model_calls(model: nn.Module, logits: Callable[[Tensor], Tensor]) -> Calls:
    """The training step of a model, whose logits a function computes from token ids."""
    input_ids = torch.randint(0, VOCAB_SIZE, (BATCH, LENGTH + 1), device=DEVICE)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)

    def train_step() -> None:
        with torch.autocast(DEVICE, torch.bfloat16):
            loss = cross_entropy(logits(input_ids[:, :-1]).flatten(0, 1),
                                 input_ids[:, 1:].flatten())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return {"step": train_step}


def clock_and_memory(calls: Calls) -> dict[str, float]:
    """The times that need no profiler, and the peak memory of the last call."""
    row = {}
    for name, run in calls.items():
        row |= {f"{name}_ms": milliseconds(run), f"{name}_issue_ms": issue_milliseconds(run)}
    return row | {"peak_bytes": peak_bytes(run, DEVICE)}


def kernels(calls: Calls) -> dict[str, float]:
    """The times of the kernels."""
    return {f"{name}_gpu_ms": gpu_milliseconds(run) for name, run in calls.items()}


def gpu_milliseconds(run: Callable[[], object], count: int = 3) -> float:
    """The time in which kernels of a call run. One may begin while the one before it ends."""
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        for _ in range(count):
            run()
        torch.cuda.synchronize()
    spans = sorted((event.time_range.start, event.time_range.end) for event in profiler.events()
                   if event.device_time > 0)
    microseconds, last = 0.0, 0.0
    for start, end in spans:
        microseconds += max(0.0, end - max(start, last))
        last = max(last, end)
    return microseconds / count / 1e3


def issue_milliseconds(run: Callable[[], object]) -> float:
    """The time until Python can go on."""
    fastest = float("inf")
    for _ in range(10):
        torch.cuda.synchronize()
        began = perf_counter()
        run()
        fastest = min(fastest, perf_counter() - began)
    return 1e3 * fastest


def milliseconds(run: Callable[[], object], count: int = 10) -> float:
    """The median time of a call, from events on the GPU."""
    for _ in range(3):
        run()
    events = [torch.cuda.Event(enable_timing=True) for _ in range(count + 1)]
    for event in events[:-1]:
        event.record()
        run()
    events[-1].record()
    torch.cuda.synchronize()
    return sorted(a.elapsed_time(b) for a, b in pairwise(events))[count // 2]


if __name__ == "__main__":
    main()
