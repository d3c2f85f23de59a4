"""Linear layers, written so that decoding on a CPU is fast."""

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


def linear_layer(layer: nn.Linear, x: Tensor) -> Tensor:
    """Apply a linear layer by `linear`.

    Args:
        layer: its weight and bias are used.
        x: (…, layer.in_features).

    Returns:
        (…, layer.out_features).
    """
    return linear(x, layer.weight, layer.bias)


def _block_count(rows: int) -> int:
    """The largest number of equal blocks of at least MIN_BLOCK_ROWS rows."""
    return next((count for count in range(rows // MIN_BLOCK_ROWS, 1, -1) if rows % count == 0), 1)
