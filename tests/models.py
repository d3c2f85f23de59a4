"""Small language models and token ids for the tests, each a function of its seed."""

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
