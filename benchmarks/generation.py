"""Reading a prompt and writing on, beside transformers with the same weights.

Usage: python benchmarks/generation.py [cpu|cuda] [batch ...]
The 130M-parameter configuration with random weights, float32 on a CPU and bfloat16 on a GPU, a
prompt of PROMPT tokens and NEW tokens after it, greedy; the share of tokens that are the same in
both is written beside. transformers runs without the official kernels, unless they are installed.
Each is measured twice and the faster run counts.
"""

import sys
import tempfile
import time

import torch
import transformers
from machine import save
from torch import Tensor

from minimamba import MambaConfig, MambaLM, checkpoint, generation

PROMPT, NEW = 2048, 256


def models(device: str, folder: str) -> tuple:
    """Ours, and theirs with its weights."""
    torch.manual_seed(0)
    model = MambaLM(MambaConfig(vocab_size=50280))
    checkpoint.save(model, folder)
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    return (checkpoint.load(folder, dtype=dtype, device=device),
            transformers.MambaForCausalLM.from_pretrained(folder, dtype=dtype).to(device).eval())


def seconds(call, device: str) -> tuple[float, Tensor]:
    best, result = float("inf"), None
    for _ in range(2):
        start = time.perf_counter()
        result = call()
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return best, result


def measure(ours: MambaLM, theirs, batch: int, device: str) -> dict:
    prompt = torch.randint(0, 50280, (batch, PROMPT), device=device)
    prompt_mask = torch.ones_like(prompt)

    def written(new: int) -> Tensor:
        return torch.stack(generation.generate(ours, prompt, new))

    @torch.inference_mode()
    def by_transformers(new: int) -> Tensor:
        return theirs.generate(prompt, attention_mask=prompt_mask, do_sample=False,
                               max_new_tokens=new, eos_token_id=None, pad_token_id=0)[:, PROMPT:]

    row: dict = {"batch": batch}
    tokens = {}
    for name, write in (("ours", written), ("transformers", by_transformers)):
        reading, _ = seconds(lambda write=write: write(1), device)
        whole, tokens[name] = seconds(lambda write=write: write(NEW), device)
        row[name] = {"prompt, tokens a second": batch * PROMPT / reading,
                     "writing, tokens a second": batch * (NEW - 1) / (whole - reading)}
        print(batch, name, row[name], flush=True)
    row["same tokens"] = (tokens["ours"] == tokens["transformers"]).float().mean().item()
    return row


def main() -> None:
    device = sys.argv[1] if len(sys.argv) > 1 else "cpu"
    batches = [int(batch) for batch in sys.argv[2:]] or ([1] if device == "cpu" else [1, 32, 128])
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = models(device, folder)
    rows = [measure(ours, theirs, batch, device) for batch in batches]
    print(save("generation", device, {"prompt": PROMPT, "new": NEW, "rows": rows,
                                      "transformers": transformers.__version__}))


if __name__ == "__main__":
    main()
