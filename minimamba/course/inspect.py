"""What a language model does at each token, its states and where its attention looks: to be
looked at, not to be fast."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from minimamba.lm import MambaLM
from minimamba.nn.attention import Attention
from minimamba.nn.mamba import Mamba
from minimamba.nn.s6 import S6


class Watched(NamedTuple):
    """One layer, token by token."""

    delta: Tensor
    """(length, d_inner), the steps."""
    decay: Tensor
    """(length, d_inner, d_state), exp(ΔA): the share of each number of the state that is kept."""
    h: Tensor
    """(length, d_inner, d_state), the state after each token."""

    @property
    def norm(self) -> Tensor:
        """(length, d_inner), the length of each channel's state."""
        return self.h.norm(dim=-1)


@torch.no_grad()
def watch(model: MambaLM, tokens: Tensor) -> list[Watched]:
    """Run the model over (length,) tokens, int64, and give one `Watched` a Mamba block, in
    float32 (or float64).

    Raises:
        ValueError: as the model does, for tokens that it can't take.
    """
    ssms = [layer.mixer.ssm for layer in model.layers if isinstance(layer.mixer, Mamba)]
    return [_states(ssm, x) for ssm, x in zip(ssms, _given(model, tokens, ssms), strict=True)]


@torch.no_grad()
def looks(model: MambaLM, tokens: Tensor) -> list[Tensor]:
    """Run the model over (length,) tokens, int64, and give for each attention layer where each
    head looks from each token, (n_heads, length, length), rows that sum to 1.

    Raises:
        ValueError: as the model does, for tokens that it can't take.
    """
    layers = [layer.mixer for layer in model.layers if isinstance(layer.mixer, Attention)]
    return [layer.looks(u)[0] for layer, u in zip(layers, _given(model, tokens, layers),
                                                  strict=True)]


def _given(model: MambaLM, tokens: Tensor, modules: list[nn.Module]) -> list[Tensor]:
    """What each of some modules is given while the model reads."""
    given: list[Tensor] = []
    hooks = [module.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
             for module in modules]
    try:
        model(tokens[None])
    finally:
        for hook in hooks:
            hook.remove()
    return given


def _states(ssm: S6, x: Tensor) -> Watched:
    delta, B, _ = (part[0].to(ssm.A.dtype) for part in ssm.parameters_for(x))
    decay = torch.exp(delta[..., None] * ssm.A)                      # (length, d_inner, d_state)
    writes = (delta * x[0])[..., None] * B[:, None]
    h = [torch.zeros_like(writes[0])]
    for keep, write in zip(decay, writes, strict=True):
        h.append(keep * h[-1] + write)
    return Watched(delta, decay, torch.stack(h[1:]))
