"""Reading a prompt and writing on, beside transformers and the official package, same weights.

Usage: python benchmarks/generation.py [cpu|cuda] [batch ...]
The 130M-parameter configuration with random weights, float32 on a CPU and bfloat16 on a GPU, a
prompt of 2,048 tokens and 256 tokens after it, greedy; for several texts on a CPU 4,096 in all,
and 32 each. The share of tokens that are the same as ours is written beside. transformers runs
without the official kernels; what it has not the room for it does with a shorter prompt, and the
row says so. The official package, `mamba_ssm`, runs with its CUDA graph, on a GPU, if it can be
imported. Ours and the official are measured three times (ours for several texts on a CPU twice),
all but the first with what compiling and recording leave behind, and the fastest run counts.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from itertools import islice

import torch
from machine import save
from torch import Tensor

from minimamba import MambaConfig, MambaLM, checkpoint, generation

# As if they were not installed: transformers would use them.
OFFICIAL = ("mamba_ssm", "causal_conv1d")
sys.modules |= dict.fromkeys(OFFICIAL)
import transformers  # noqa: E402

VOCABULARY = 50280


def sizes(batch: int, device: str) -> tuple[int, int]:
    """Tokens of each prompt, and after it."""
    return (2048, 256) if device == "cuda" or batch == 1 else (4096 // batch, 32)


def wait(device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


class Clock(transformers.LogitsProcessor):
    """When the first scores came."""

    def __init__(self, device: str) -> None:
        self.device, self.first = device, 0.0

    def __call__(self, tokens: Tensor, scores: Tensor) -> Tensor:
        self.first = self.first or wait(self.device)
        return scores


def by_ours(model: MambaLM, prompt: Tensor, new: int, device: str) -> tuple[float, float, Tensor]:
    """Seconds of reading, of writing, and what was written."""
    best = (float("inf"), float("inf"))
    for _ in range(3 if device == "cuda" or len(prompt) == 1 else 2):
        start = wait(device)
        written = generation.stream(model, prompt, new)
        tokens = list(islice(written, 1))
        first = wait(device)
        tokens += written
        best = min(best[0], first - start), min(best[1], wait(device) - first)
    return *best, torch.stack(tokens, 1)


@torch.inference_mode()
def by_transformers(model, prompt: Tensor, new: int, device: str) -> tuple[float, float, Tensor]:
    clock, start = Clock(device), wait(device)
    tokens = model.generate(prompt, attention_mask=torch.ones_like(prompt), do_sample=False,
                            max_new_tokens=new, eos_token_id=None, pad_token_id=0,
                            logits_processor=[clock])
    return clock.first - start, wait(device) - clock.first, tokens[:, prompt.shape[1]:]


@torch.inference_mode()
def by_the_official(model, prompt: Tensor, new: int, device: str) -> tuple[float, float, Tensor]:
    took, length = {new: float("inf"), 1: float("inf")}, prompt.shape[1]
    for count in (new, new, new, 1, 1, 1):
        start = wait(device)
        tokens = model.generate(prompt, max_length=length + count, cg=True)
        took[count] = min(took[count], wait(device) - start)
        if count == new:
            written = tokens[:, length:]
    return took[1], took[new] - took[1], written


def official(folder: str):
    """The official model with the weights in a folder, or None."""
    for name in OFFICIAL:
        del sys.modules[name]
    try:
        from mamba_ssm.models.config_mamba import MambaConfig as Config
        from mamba_ssm.models.mixer_seq_simple import MambaLMHeadModel
    except ImportError as missing:
        print(f"without the official package: {missing}", file=sys.stderr)
        return None
    from safetensors.torch import load_file

    model = MambaLMHeadModel(Config(d_model=768, n_layer=24, vocab_size=VOCABULARY),
                             device="cuda", dtype=torch.bfloat16)
    weights = load_file(f"{folder}/model.safetensors")
    weights.setdefault("lm_head.weight", weights["backbone.embedding.weight"])
    model.load_state_dict(weights)
    return model.eval()


def rate(write: Callable, model, prompt: Tensor, new: int, device: str) -> tuple[dict, Tensor]:
    reading, writing, tokens = write(model, prompt, new, device)
    batch, length = prompt.shape
    return {"prompt": length, "prompt, tokens a second": batch * length / reading,
            "writing, tokens a second": batch * (new - 1) / writing}, tokens


def measure(models: dict, batch: int, device: str) -> dict:
    length, new = sizes(batch, device)
    prompt = torch.randint(0, VOCABULARY, (batch, length), device=device)
    row: dict = {"batch": batch, "new": new}
    row["ours"], wanted = rate(by_ours, models["ours"], prompt, new, device)
    for name, write in (("official", by_the_official), ("transformers", by_transformers)):
        if models[name] is None:
            continue
        try:
            row[name], tokens = rate(write, models[name], prompt, new, device)
            row[name]["same tokens"] = (tokens == wanted).float().mean().item()
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            row[name], _ = rate(write, models[name], prompt[:, :length // 16], new,
                                device)
    print(row, flush=True)
    return row


def main() -> None:
    device = sys.argv[1] if len(sys.argv) > 1 else "cpu"
    batches = [int(batch) for batch in sys.argv[2:]] or [1, 32, 128]
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as original:
        model = MambaLM(MambaConfig(vocab_size=VOCABULARY))
        checkpoint.save(model, folder)
        checkpoint.save(model, original, layout="original")
        models = {"ours": checkpoint.load(folder, dtype=dtype, device=device),
                  "transformers": transformers.MambaForCausalLM.from_pretrained(
                      folder, dtype=dtype).to(device).eval(),
                  "official": official(original) if device == "cuda" else None}
    rows = []
    for batch in batches:
        rows.append(measure(models, batch, device))
        save("generation", device, {"rows": rows, "transformers": transformers.__version__})


if __name__ == "__main__":
    main()
