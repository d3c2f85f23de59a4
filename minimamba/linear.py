"""A product with a matrix. Of one row it is a matter of reading the matrix, once."""

import torch
from torch import Tensor, nn
from torch.nn import functional


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x (…, inputs), weight (outputs, inputs), bias (outputs,): (…, outputs).

    One row on a CPU, where the library's product leaves most of the memory's speed unused, is
    written out in a graph that is compiled, and so becomes one loop over the matrix.
    """
    if torch.compiler.is_compiling() and x.device.type == "cpu" and x.numel() == x.shape[-1]:
        y = (x.flatten() * weight).sum(-1).view(*x.shape[:-1], -1)
        return y if bias is None else y + bias
    return functional.linear(x, weight, bias)


def apply(module: nn.Linear, x: Tensor) -> Tensor:
    """The same with a layer's weights."""
    return linear(x, module.weight, module.bias)
