"""Prefill and decoding, beside transformers and the official package, with the same weights.

Usage: python benchmarks/generation.py [--mamba2] [cpu|cuda] [batch ...]

The 130M configuration of Mamba, or of Mamba-2, with random weights, greedy; float32 on a CPU,
bfloat16 on a GPU. A prompt has 2,048 tokens and is continued by 256. On a CPU with several
sequences, the prompts have 4,096 tokens in all and are continued by 32 each.

- Ours and the official package (`mamba_ssm`, with its CUDA graph; on a GPU, if it can be imported)
  run three times, ours with several sequences on a CPU twice. The fastest run counts, so that
  compiling and recording, which happen in the first, do not.
- transformers runs once, without the official kernels, and with Mamba alone: its Mamba-2 would need
  hundreds of gigabytes for these prompts. If it runs out of memory, it gets a shorter prompt, whose
  length is in its row.
- "same_tokens" is the fraction of the generated tokens that equal ours. The official package keeps
  the SSM's state in bfloat16, which rounds it at every step; ours is in float32.

Results: results/generation_DEVICE.json, and results/generation_mamba2_DEVICE.json.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import torch
from machine import save
from torch import Tensor, nn

from minimamba import MambaConfig, MambaLM, generation

OFFICIAL_PACKAGES = ("mamba_ssm", "causal_conv1d")
# As if they were not installed, or transformers would use their kernels.
sys.modules |= dict.fromkeys(OFFICIAL_PACKAGES)
import transformers  # noqa: E402

VOCAB_SIZE = 50280
MAMBA2 = {"layers": 24 * "2", "d_state": 128}
"""What the configuration of the Mamba-2 model has in place of that of Mamba."""


class Run(NamedTuple):
    """One measurement."""

    prefill_seconds: float
    """Until the first token."""
    decode_seconds: float
    """From the first token to the last."""
    new_ids: Tensor
    """(batch, new tokens), what was generated."""


class FirstTokenClock(transformers.LogitsProcessor):
    """Notes when the first logits are there; changes nothing.

    Args:
        device: "cpu" or "cuda".
    """

    def __init__(self, device: str) -> None:
        self.device = device
        self.time: float | None = None

    def __call__(self, input_ids: Tensor, logits: Tensor) -> Tensor:
        if self.time is None:
            self.time = wait(self.device)
        return logits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--mamba2", action="store_true")
    parser.add_argument("device", nargs="?", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("batches", nargs="*", type=int, default=[1, 32, 128], metavar="batch")
    options = parser.parse_args()
    torch.manual_seed(0)
    models = load_models(options.device, MAMBA2 if options.mamba2 else {})
    name = "generation_mamba2" if options.mamba2 else "generation"
    rows = []
    for batch in options.batches:
        rows.append(measure(models, batch, options.device))
        save(name, options.device, {"rows": rows, "transformers": transformers.__version__})


def load_models(device: str, sizes: dict) -> dict[str, nn.Module | None]:
    """Load ours, transformers' and the official model, of which the last two may be None, with one
    set of weights.

    `sizes` are those that differ from the defaults of `MambaConfig`.
    """
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    model = MambaLM(MambaConfig(vocab_size=VOCAB_SIZE, **sizes))
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as official_folder:
        model.save_pretrained(folder)
        model.save_pretrained(official_folder, layout="mamba_ssm")
        return {"ours": MambaLM.from_pretrained(folder, dtype=dtype, device=device),
                "official": load_official(official_folder) if device == "cuda" else None,
                "transformers": None if sizes else transformers.MambaForCausalLM.from_pretrained(
                    folder, dtype=dtype).to(device).eval()}


def load_official(folder: str) -> nn.Module | None:
    """Load the official model, in bfloat16 on a GPU; None if it can't be imported."""
    for name in OFFICIAL_PACKAGES:
        del sys.modules[name]
    try:
        from mamba_ssm.models.config_mamba import MambaConfig as OfficialConfig
        from mamba_ssm.models.mixer_seq_simple import MambaLMHeadModel
    except ImportError as error:
        print(f"without the official package: {error}", file=sys.stderr)
        return None
    described = json.loads((Path(folder) / "config.json").read_text())
    model = MambaLMHeadModel(OfficialConfig(**described), device="cuda", dtype=torch.bfloat16)
    weights = torch.load(f"{folder}/pytorch_model.bin")
    weights.setdefault("lm_head.weight", weights["backbone.embedding.weight"])
    model.load_state_dict(weights)
    return model.eval()


def measure(models: dict[str, nn.Module | None], batch: int, device: str) -> dict:
    """Measure every model at one batch size, and return a row of results."""
    length, new_tokens = sizes(batch, device)
    prompt = torch.randint(0, VOCAB_SIZE, (batch, length), device=device)
    row: dict = {"batch": batch, "new_tokens": new_tokens}
    row["ours"], expected_ids = speeds(run_ours, models["ours"], prompt, new_tokens, device)
    for name, run in (("official", run_official), ("transformers", run_transformers)):
        model = models[name]
        if model is None:
            continue
        try:
            row[name], new_ids = speeds(run, model, prompt, new_tokens, device)
            row[name]["same_tokens"] = (new_ids == expected_ids).float().mean().item()
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            row[name], _ = speeds(run, model, prompt[:, :length // 16], new_tokens, device)
    print(row, flush=True)
    return row


def sizes(batch: int, device: str) -> tuple[int, int]:
    """The length of each prompt, and how many new tokens follow it."""
    if device == "cuda" or batch == 1:
        return 2048, 256
    return 4096 // batch, 32


def speeds(run: Callable[..., Run], model: nn.Module, prompt: Tensor, new_tokens: int,
           device: str) -> tuple[dict, Tensor]:
    """Run a model; return its throughput, over all sequences of the batch, and the new tokens."""
    result = run(model, prompt, new_tokens, device)
    batch, length = prompt.shape
    return {"prompt_length": length,
            "prefill_tokens_per_second": batch * length / result.prefill_seconds,
            "decode_tokens_per_second": batch * (new_tokens - 1) / result.decode_seconds,
            }, result.new_ids


def run_ours(model: MambaLM, prompt: Tensor, new_tokens: int, device: str) -> Run:
    """Generate with this library; the fastest prefill and the fastest decoding of several runs."""
    prefill_seconds = decode_seconds = float("inf")
    for _ in range(3 if device == "cuda" or len(prompt) == 1 else 2):
        start = wait(device)
        stream = generation.stream(model, prompt, new_tokens)
        new_ids = list(islice(stream, 1))
        first = wait(device)
        new_ids += stream
        end = wait(device)
        prefill_seconds = min(prefill_seconds, first - start)
        decode_seconds = min(decode_seconds, end - first)
    return Run(prefill_seconds, decode_seconds, torch.stack(new_ids, 1))


@torch.inference_mode()
def run_transformers(model: nn.Module, prompt: Tensor, new_tokens: int, device: str) -> Run:
    """Generate with transformers, once."""
    clock = FirstTokenClock(device)
    start = wait(device)
    input_ids = model.generate(prompt, attention_mask=torch.ones_like(prompt), do_sample=False,
                               max_new_tokens=new_tokens, eos_token_id=None, pad_token_id=0,
                               logits_processor=[clock])
    end = wait(device)
    return Run(clock.time - start, end - clock.time, input_ids[:, prompt.shape[1]:])


@torch.inference_mode()
def run_official(model: nn.Module, prompt: Tensor, new_tokens: int, device: str) -> Run:
    """Generate with the official package: all tokens, and for the prefill one token alone."""
    length = prompt.shape[1]
    fastest = {new_tokens: float("inf"), 1: float("inf")}
    new_ids = prompt[:, :0]
    for count in (new_tokens, new_tokens, new_tokens, 1, 1, 1):
        start = wait(device)
        input_ids = model.generate(prompt, max_length=length + count, cg=True)
        fastest[count] = min(fastest[count], wait(device) - start)
        if count == new_tokens:
            new_ids = input_ids[:, length:]
    return Run(fastest[1], fastest[new_tokens] - fastest[1], new_ids)


def wait(device: str) -> float:
    """The time in seconds, when the GPU has done all its work."""
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


if __name__ == "__main__":
    main()
