"""The causal convolution of a block, and the inputs that its cache keeps for it.

Of the past, a convolution over d_conv steps needs the last d_conv − 1 inputs.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from minimamba.ops.causal_conv1d import causal_conv1d_silu, with_past
from minimamba.ops.linear import is_plain


def convolve(layer: nn.Module, x: Tensor, conv_state: Tensor | None, d_conv: int) -> Tensor:
    """Compute silu(conv1d(x)) for a sequence.

    Args:
        layer: a depthwise `nn.Conv1d` without padding, or what has replaced it, which is called.
        x: (batch, length, channels).
        conv_state: (batch, d_conv − 1, channels), the inputs before x, oldest first; zeros if None.
        d_conv: the width of the convolution.

    Returns:
        (batch, length, channels).
    """
    if is_plain(layer):
        return causal_conv1d_silu(x, layer.weight[:, 0], layer.bias, conv_state)
    return silu(layer(with_past(x, conv_state, d_conv).mT).mT)


def convolve_step(layer: nn.Module, x: Tensor, conv_state: Tensor) -> tuple[Tensor, Tensor]:
    """Compute silu(conv1d(x)) for one step.

    Args:
        layer: a depthwise `nn.Conv1d` without padding, or what has replaced it, which is called.
        x: (batch, channels).
        conv_state: (batch, d_conv − 1, channels), the inputs before x, oldest first.

    Returns:
        (batch, channels), and the convolution's state after this step.
    """
    window = torch.cat([conv_state, x[:, None]], 1)                      # (batch, d_conv, channels)
    if is_plain(layer):
        x = (window * layer.weight[:, 0].T).sum(1)
        x = silu(x if layer.bias is None else x + layer.bias)
    else:
        x = silu(layer(window.mT)[..., 0])
    return x, window[:, 1:]


def last_inputs(x: Tensor, conv_state: Tensor | None, d_conv: int, like: Tensor) -> Tensor:
    """Find the convolution's state after a sequence.

    Args:
        x: (batch, length, channels), the convolution's input.
        conv_state: (batch, d_conv − 1, channels), that before it; zeros if None.
        d_conv: the width of the convolution.
        like: a weight of the layer, for the dtype and the device.

    Returns:
        (batch, d_conv − 1, channels), in the dtype of the weight, under autocast too.
    """
    kept = d_conv - 1
    if x.shape[1] < kept:
        x = torch.cat([like.new_zeros(len(x), kept, x.shape[2]) if conv_state is None
                       else conv_state, x], 1)
    # Not x[:, -kept:], which would be all of it for d_conv = 1. Copied, for the cache would keep
    # the whole of x in memory.
    return x[:, x.shape[1] - kept:].to(like.dtype, copy=True,
                                       memory_format=torch.contiguous_format)


def move_padding(x: Tensor, conv_state: Tensor | None, d_conv: int,
                 is_token: Tensor) -> tuple[Tensor, Tensor]:
    """Move padding to before the convolution's state: (padding, state, tokens) in each row.

    Args:
        x: (batch, length, channels), the convolution's input, with padding to the left.
        conv_state: (batch, d_conv − 1, channels), that before it; zeros if None.
        d_conv: the width of the convolution.
        is_token: (batch, length), bool, True where there is a token.

    Returns:
        The input and the state, of the same shapes and in x's dtype, after which each row's first
        token sees its own state.
    """
    kept = d_conv - 1
    inputs = with_past(x, conv_state, d_conv)
    position = torch.arange(inputs.shape[1], device=x.device)
    padding = (~is_token).sum(1, keepdim=True)
    source = torch.where(position < padding + kept, (position - padding).clamp(min=0), position)
    inputs = inputs.gather(1, source[..., None].expand_as(inputs))
    return inputs[:, kept:], inputs[:, :kept]
