"""Small language models and token ids for the tests, each a function of its seed."""

from pathlib import Path

import torch
from torch import Tensor, nn

from minimamba import MambaConfig, MambaLM

VOCAB_SIZE = 40
SMALL = {"vocab_size": VOCAB_SIZE, "d_model": 12, "n_layer": 2}


def perturb(module: nn.Module, scale: float = 0.3) -> None:
    """Move all parameters away from their initial values, where many effects cancel out."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += scale * torch.randn_like(parameter)


def small_model(scale: float = 0.3, **changes: object) -> MambaLM:
    """A perturbed model of two Mamba blocks, or with other settings."""
    torch.manual_seed(0)
    model = MambaLM(MambaConfig(**SMALL | changes))
    perturb(model, scale)
    return model


def random_ids(batch: int = 2, length: int = 30, seed: int = 0) -> Tensor:
    """Random token ids below VOCAB_SIZE, (batch, length)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(VOCAB_SIZE, (batch, length), generator=generator)


TOKENS = ["<s>", "</s>", "<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁",
          *"abcdefghijklmnopqrstuvwxyz.,", "▁a", "▁b"]
"""Of `write_tokenizer`: every other character is several tokens, one per byte."""


def write_tokenizer(folder: Path) -> None:
    """Write a tokenizer.json like Llama's: "▁" for a space, also before the first word; bytes
    for unknown characters; a space that opens a text is dropped when decoding."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(TOKENS)},
                                     [("▁", "a"), ("▁", "b")], unk_token="<unk>",
                                     byte_fallback=True))
    tokenizer.add_special_tokens(["<s>", "</s>"])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Sequence([
        decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
        decoders.Strip(" ", 1, 0)])
    tokenizer.save(str(folder / "tokenizer.json"))
