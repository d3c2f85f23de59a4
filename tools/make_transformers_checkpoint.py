"""Write minimamba/course/weights/transformers, a checkpoint made by transformers itself.

Its weights are random, and moved far from where they start: at the start a state hardly shows in
the scores, and a mistake in it would not either.
"""

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import MambaConfig, MambaForCausalLM


@torch.no_grad()
def write(folder: Path) -> None:
    """config.json, model.safetensors and scores.safetensors, into a folder made if needed."""
    torch.manual_seed(0)
    model = MambaForCausalLM(MambaConfig(vocab_size=40, hidden_size=32, num_hidden_layers=2)).eval()
    for parameter in model.parameters():
        parameter += 0.1 * torch.randn_like(parameter)
    tokens = torch.randint(40, (2, 12))
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    save_file({"tokens": tokens, "scores": model(tokens).logits}, folder / "scores.safetensors")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
