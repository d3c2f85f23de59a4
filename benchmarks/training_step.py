"""A training step beside the official package's, on a GPU: a block, and the model of 130M.

Usage: python benchmarks/training_step.py
Needs an NVIDIA GPU and, for the other column, `mamba_ssm` and `causal_conv1d`. A block, 768 wide,
in bfloat16: forward, and forward and backward. The model: cross-entropy of 8 texts of 2,048 tokens
under autocast to bfloat16, backward, and a step of AdamW.
"""

import sys
from collections.abc import Callable
from itertools import pairwise

import torch
from machine import peak_bytes, save
from torch import nn
from torch.nn.functional import cross_entropy

from minimamba import MambaConfig, MambaLM
from minimamba.nn.mamba import Mamba

BATCH, LENGTH, D_MODEL, LAYERS, VOCABULARY = 8, 2048, 768, 24, 50280


def milliseconds(run: Callable[[], object], count: int = 20) -> float:
    """The median of calls, each measured on the GPU."""
    for _ in range(3):
        run()
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(count + 1)]
    for mark in marks[:-1]:
        mark.record()
        run()
    marks[-1].record()
    torch.cuda.synchronize()
    return sorted(a.elapsed_time(b) for a, b in pairwise(marks))[count // 2]


def of_block(block: nn.Module) -> dict:
    u = torch.randn(BATCH, LENGTH, D_MODEL, device="cuda", dtype=torch.bfloat16)
    u.requires_grad_()
    dy, leaves = torch.randn_like(u), [u, *block.parameters()]

    def both() -> None:
        torch.autograd.grad(block(u), leaves, dy, allow_unused=True)

    with torch.no_grad():
        forward = milliseconds(lambda: block(u))
    return {"forward, ms": forward, "both, ms": milliseconds(both),
            "bytes": peak_bytes(both, "cuda")}


def of_model(model: nn.Module, scores: Callable) -> dict:
    tokens = torch.randint(0, VOCABULARY, (BATCH, LENGTH + 1), device="cuda")
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)

    def step() -> None:
        with torch.autocast("cuda", torch.bfloat16):
            loss = cross_entropy(scores(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    took = milliseconds(step, 8)
    return {"ms": took, "tokens a second": BATCH * LENGTH / took * 1e3,
            "bytes": peak_bytes(step, "cuda")}


def main() -> None:
    torch.manual_seed(0)
    found: dict = {"block": {"ours": of_block(Mamba(D_MODEL).to("cuda", torch.bfloat16))},
                   "model": {}}
    model = MambaLM(MambaConfig(VOCABULARY, D_MODEL, LAYERS)).cuda()
    found["model"]["ours"] = of_model(model, model)
    del model
    try:
        from mamba_ssm.models.config_mamba import MambaConfig as Config
        from mamba_ssm.models.mixer_seq_simple import MambaLMHeadModel
        from mamba_ssm.modules.mamba_simple import Mamba as Official
    except ImportError as missing:
        print(f"without the official package: {missing}", file=sys.stderr)
    else:
        found["block"]["official"] = of_block(Official(D_MODEL, device="cuda",
                                                       dtype=torch.bfloat16))
        model = MambaLMHeadModel(Config(d_model=D_MODEL, n_layer=LAYERS, vocab_size=VOCABULARY),
                                 device="cuda")
        found["model"]["official"] = of_model(model, lambda tokens: model(tokens).logits)
    print(save("training_step", "cuda", found).read_text())


if __name__ == "__main__":
    main()
