"""A product with a matrix. Of a few rows it is a matter of reading the matrix, once."""

import torch
from torch import Tensor, nn
from torch.nn import functional

BLOCK = 256
"""Rows of the matrix, at least, that are multiplied at once: a core's share of its cache."""


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x (…, inputs), weight (outputs, inputs), bias (outputs,): (…, outputs).

    In a graph that is compiled for a CPU, as for writing a text, the library's product leaves much
    of the machine unused, so it is written out: of one row as one loop over the matrix, of
    several, (batch, inputs), as products with one block of the matrix after another.
    """
    if torch.compiler.is_compiling() and x.device.type == "cpu":
        if x.numel() == x.shape[-1]:
            return _plus((x.flatten() * weight).sum(-1).view(*x.shape[:-1], -1), bias)
        if x.ndim == 2:
            blocks = weight.view(_blocks(len(weight)), -1, weight.shape[1])
            return _plus((x @ blocks.mT).transpose(0, 1).flatten(1), bias)
    return functional.linear(x, weight, bias)


def linear_layer(layer: nn.Linear, x: Tensor) -> Tensor:
    """Apply a linear layer by `linear`."""
    return linear(x, layer.weight, layer.bias)


def _blocks(rows: int) -> int:
    """In how many equal blocks of at least BLOCK rows a matrix can be cut, at most."""
    return next((count for count in range(rows // BLOCK, 1, -1) if rows % count == 0), 1)


def _plus(y: Tensor, bias: Tensor | None) -> Tensor:
    return y if bias is None else y + bias
