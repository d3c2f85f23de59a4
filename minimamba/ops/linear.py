"""Linear layers, written so that decoding on a CPU is fast, and what may stand in for one."""

import torch
from torch import Tensor, nn
from torch.nn import functional

MIN_BLOCK_ROWS = 256
"""Rows of the weight, at least, that are multiplied at once: what fits a core's cache."""


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Compute x @ weight.T + bias.

    With few rows of x, the product is bound by reading the weight once, and PyTorch's own uses a
    CPU poorly for that. Where a step is compiled for a CPU, it is therefore written out: one loop
    over the weight for a single row, and one block of the weight after another for several.

    Args:
        x: (…, inputs).
        weight: (outputs, inputs).
        bias: (outputs,), or None.

    Returns:
        (…, outputs).
    """
    if torch.compiler.is_compiling() and x.device.type == "cpu":
        if x.numel() == x.shape[-1]:
            y = (x.flatten() * weight).sum(-1).view(*x.shape[:-1], -1)
            return y if bias is None else y + bias
        if x.ndim == 2:
            blocks = weight.view(_block_count(len(weight)), -1, weight.shape[1])
            y = (x @ blocks.mT).transpose(0, 1).flatten(1)
            return y if bias is None else y + bias
    return functional.linear(x, weight, bias)


def linear_layer(layer: nn.Module, x: Tensor) -> Tensor:
    """Apply a linear layer, by `linear` where that is the same.

    Args:
        layer: an `nn.Linear`, or what has replaced it, which is called.
        x: (…, layer.in_features).

    Returns:
        (…, layer.out_features).
    """
    if torch.compiler.is_compiling() and is_plain(layer):
        return linear(x, layer.weight, layer.bias)
    return layer(x)


def is_plain(layer: nn.Module) -> bool:
    """Say whether a layer does what its class does with its parameters, and nothing else.

    Only then may they be used without calling it. LoRA, quantization and `parametrize` change
    the class; pruning, `weight_norm` and whoever looks at activations add hooks.

    Args:
        layer: an `nn.Linear`, `nn.Conv1d` or `nn.RMSNorm`, or what has replaced it.
    """
    return type(layer) in (nn.Linear, nn.Conv1d, nn.RMSNorm) and not (
        layer._forward_hooks or layer._forward_pre_hooks
        or layer._backward_hooks or layer._backward_pre_hooks)


def weight_of(layer: nn.Module) -> Tensor:
    """Find a weight that says on which device and in which dtype a layer computes.

    Args:
        layer: an `nn.Linear`, any other, or what has replaced it.

    Returns:
        The first parameter that is floating-point. A quantized layer has none, and computes in
        float32 on a CPU: for it, an empty tensor of that kind.
    """
    for parameter in layer.parameters():
        if parameter.is_floating_point():
            return parameter
    return torch.empty(0, dtype=torch.float32, device="cpu")


def zeros_like_layer(layer: nn.Module, *shape: int) -> Tensor:
    """Create zeros on the device and in the dtype of a layer's parameters.

    Args:
        layer: as in `weight_of`.
        *shape: that of the zeros.
    """
    return weight_of(layer).new_zeros(shape)


def _block_count(rows: int) -> int:
    """The largest number of equal blocks of at least MIN_BLOCK_ROWS rows."""
    return next((count for count in range(rows // MIN_BLOCK_ROWS, 1, -1) if rows % count == 0), 1)
