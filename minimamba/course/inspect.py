"""What a language model does at each token: its Δ, decays and states, and its attention weights.

To look at, not to be fast.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from minimamba.arguments import check_token_ids, refuse
from minimamba.lm import MambaLM
from minimamba.nn.attention import Attention
from minimamba.nn.mamba import Mamba
from minimamba.nn.s6 import SelectiveSSM


class StateTrace(NamedTuple):
    """The SSM of one layer, token by token."""

    delta: Tensor
    """(length, d_inner), the step sizes Δ."""
    decay: Tensor
    """(length, d_inner, d_state), exp(ΔA): the fraction of each component that is kept."""
    h: Tensor
    """(length, d_inner, d_state), the hidden state after each token."""

    @property
    def norm(self) -> Tensor:
        """The Euclidean norm of each channel's state, (length, d_inner)."""
        return self.h.norm(dim=-1)


@torch.no_grad()
def trace_states(model: MambaLM, input_ids: Tensor) -> list[StateTrace]:
    """Run a model over one sequence and record the SSM of each Mamba block.

    Args:
        model: a language model.
        input_ids: (length,), int64.

    Returns:
        One `StateTrace` per Mamba block, in float32 or float64.

    Raises:
        ValueError: for what is no `MambaLM`, and for token ids that it can't take.
    """
    _check_model(model)
    blocks = [layer.mixer for layer in model.layers if isinstance(layer.mixer, Mamba)]
    return [_trace(block, block.ssm_input(x)) for block, x in
            zip(blocks, _inputs_of(model, input_ids, blocks), strict=True)]


@torch.no_grad()
def attention_weights(model: MambaLM, input_ids: Tensor) -> list[Tensor]:
    """Run a model over one sequence and compute the weights of each attention layer.

    Args:
        model: a language model.
        input_ids: (length,), int64.

    Returns:
        One (n_heads, length, length) per attention layer; each row sums to 1.

    Raises:
        ValueError: for what is no `MambaLM`, and for token ids that it can't take.
    """
    _check_model(model)
    layers = [layer.mixer for layer in model.layers if isinstance(layer.mixer, Attention)]
    return [layer.attention_weights(x)[0] for layer, x in
            zip(layers, _inputs_of(model, input_ids, layers), strict=True)]


def _check_model(model: MambaLM) -> None:
    if not isinstance(model, MambaLM):
        refuse("model", "a MambaLM", type(model).__name__)


def _inputs_of(model: MambaLM, input_ids: Tensor, modules: list[nn.Module]) -> list[Tensor]:
    """What each of some modules is given while the model runs."""
    check_token_ids("input_ids", input_ids, 1, "(length,)", model.embedding.weight)
    inputs: list[Tensor] = []
    hooks = [module.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
             for module in modules]
    try:
        model(input_ids[None])
    finally:
        for hook in hooks:
            hook.remove()
    return inputs


def _trace(ssm: SelectiveSSM, x: Tensor) -> StateTrace:
    """The states of an SSM for its input x (1, length, d_inner)."""
    delta, B, _ = (parameter[0].to(ssm.A.dtype) for parameter in ssm.ssm_parameters(x))
    decay = torch.exp(delta[..., None] * ssm.A)                      # (length, d_inner, d_state)
    B_bar_x = (delta * x[0])[..., None] * B[:, None]
    h = torch.zeros_like(B_bar_x[0])
    states = []
    for decay_t, B_bar_x_t in zip(decay, B_bar_x, strict=True):
        h = decay_t * h + B_bar_x_t
        states.append(h)
    return StateTrace(delta, decay, torch.stack(states))
