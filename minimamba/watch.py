"""What the states of a language model do at each token: to be looked at, not to be fast."""

from typing import NamedTuple

import torch
from torch import Tensor

from minimamba.lm import MambaLM
from minimamba.selective import S6


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
    """Run the model over (length,) tokens, int64, and give one `Watched` a layer, in float32 (or
    float64).

    Raises:
        ValueError: as the model does, for tokens that it can't take.
    """
    given: list[Tensor] = []
    hooks = [layer.mixer.ssm.register_forward_pre_hook(lambda ssm, inputs: given.append(inputs[0]))
             for layer in model.layers]
    try:
        model(tokens[None])
    finally:
        for hook in hooks:
            hook.remove()
    return [_states(layer.mixer.ssm, x) for layer, x in zip(model.layers, given, strict=True)]


def _states(ssm: S6, x: Tensor) -> Watched:
    delta, B, _ = (part[0].to(ssm.A.dtype) for part in ssm.parameters_for(x))
    decay = torch.exp(delta[..., None] * ssm.A)                      # (length, d_inner, d_state)
    writes = (delta * x[0])[..., None] * B[:, None]
    h = [torch.zeros_like(writes[0])]
    for keep, write in zip(decay, writes, strict=True):
        h.append(keep * h[-1] + write)
    return Watched(delta, decay, torch.stack(h[1:]))
