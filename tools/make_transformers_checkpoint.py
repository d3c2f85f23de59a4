"""Write a small checkpoint with transformers: `make_transformers_checkpoint.py FOLDER`.

This made minimamba/course/weights/transformers. The weights are random, and far from their
initialization: there the state hardly changes the logits, and a mistake in it would not either.
"""

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import MambaConfig, MambaForCausalLM


@torch.no_grad()
def write(folder: Path) -> None:
    """Write a model, and input ids with the logits that transformers computes for them.

    Args:
        folder: gets config.json, model.safetensors and scores.safetensors, which holds the input
            ids, (2, 12), as "tokens" and the logits, (2, 12, 40), as "scores".
    """
    torch.manual_seed(0)
    model = MambaForCausalLM(MambaConfig(vocab_size=40, hidden_size=32, num_hidden_layers=2)).eval()
    for parameter in model.parameters():
        parameter += 0.1 * torch.randn_like(parameter)
    input_ids = torch.randint(40, (2, 12))
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    save_file({"tokens": input_ids, "scores": model(input_ids).logits},
              folder / "scores.safetensors")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
