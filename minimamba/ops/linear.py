"""Linear layers, written so that decoding on a CPU is fast, and what may stand in for one."""

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules import module

from minimamba.arguments import PLAIN_TENSORS, refuse

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

    Raises:
        ValueError: if x and the weight differ in dtype, but for autocast.
    """
    _check_dtype(x, weight)
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

    Raises:
        ValueError: if x and the weight differ in dtype, but for autocast.
    """
    if type(layer) is nn.Linear:
        _check_dtype(x, layer.weight)
    if torch.compiler.is_compiling() and is_plain(layer):
        return linear(x, layer.weight, layer.bias)
    return layer(x)


def is_plain(layer: nn.Module,
             kinds: tuple[type[nn.Module], ...] = (nn.Linear, nn.Conv1d, nn.RMSNorm)) -> bool:
    """Say whether a layer does what its class does with its parameters, and nothing else.

    Only then may they be used without calling it. LoRA, quantization and `parametrize` change
    the class, or put a subclass of Tensor in place of the weight; pruning, `weight_norm` and
    whoever looks at activations add hooks, to one layer or to all; offloading replaces `forward`.

    Args:
        layer: one of those kinds, or what has replaced it.
        kinds: the classes that it may have.
    """
    return (type(layer) in kinds and "forward" not in vars(layer)
            and type(layer._parameters.get("weight")) in PLAIN_TENSORS and not (
                layer._forward_hooks or layer._forward_pre_hooks
                or layer._backward_hooks or layer._backward_pre_hooks)
            and not _has_global_hooks())


def _has_global_hooks() -> bool:
    """Say whether somebody looks at all modules."""
    return bool(module._global_forward_hooks or module._global_forward_pre_hooks
                or module._global_backward_hooks or module._global_backward_pre_hooks)


def weight_of(layer: nn.Module) -> Tensor:
    """Find a weight of a layer, for its device and its dtype.

    Args:
        layer: an `nn.Linear` or `nn.Conv1d`, or what has replaced it.

    Returns:
        Its weight, else the first of its parameters that is floating-point; an empty tensor in
        place of a subclass of Tensor, which may not be used as one, and for a quantized layer,
        which has no parameters, and takes the default dtype on a CPU.
    """
    weight = getattr(layer, "weight", None)
    if isinstance(weight, Tensor) and weight.is_floating_point():
        if type(weight) in PLAIN_TENSORS:
            return weight
        return torch.empty(0, dtype=weight.dtype, device=weight.device)
    return next(filter(torch.is_floating_point, layer.parameters()), torch.empty(0))


def _check_dtype(x: Tensor, weight: Tensor) -> None:
    if x.dtype != weight.dtype and not torch.is_autocast_enabled(x.device.type):
        refuse("weight of a linear layer", f"{x.dtype}, as its input", weight.dtype)


def _block_count(rows: int) -> int:
    """The largest number of equal blocks of at least MIN_BLOCK_ROWS rows."""
    return next((count for count in range(rows // MIN_BLOCK_ROWS, 1, -1) if rows % count == 0), 1)
