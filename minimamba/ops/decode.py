"""One step of a layer on an NVIDIA GPU: three Triton kernels in place of some thirty of PyTorch's.

Without gradients: for these, and anywhere else, who calls does the same in PyTorch.
Half precision is computed in float32 and rounded once.
"""

import torch
from torch import Tensor

from minimamba.ops import causal_conv1d

BLOCK = 32
"""Channels of a program, which is one warp."""


def runs(x: Tensor) -> bool:
    """Whether the kernels are what should be used for this input."""
    return (causal_conv1d.runs(x) and not torch.is_grad_enabled()
            and not torch.compiler.is_compiling())


def convolution(x: Tensor, weight: Tensor, bias: Tensor | None, inputs: Tensor, *,
                in_place: bool) -> tuple[Tensor, Tensor]:
    """SiLU of the causal convolution at one step, and what it looks back at from the next.

    Args:
        x: (batch, d_inner), each row in one piece. weight: (d_inner, d_conv). bias: (d_inner,).
        inputs: (batch, d_conv − 1, d_inner), oldest first; written over, with `in_place`.
    """
    from minimamba.ops import decode_kernels

    y = torch.empty_like(x, memory_format=torch.contiguous_format)
    after = _room_for(inputs, in_place)
    grid = len(x), -(-x.shape[1] // BLOCK)
    decode_kernels.convolution[grid](x, weight.contiguous(), bias, inputs.contiguous(), after, y,
                                   x.stride(0), x.shape[1], WIDTH=weight.shape[1], BLOCK=BLOCK,
                                   num_warps=1)
    return y, _into(inputs, after) if in_place else after


def scan(x: Tensor, raw: Tensor, A_log: Tensor, B: Tensor, C: Tensor, D: Tensor,
         z: Tensor | None, bias: Tensor, h: Tensor, *, in_place: bool) -> tuple[Tensor, Tensor]:
    """y and the states after one step of the selective scan.

    Args:
        x: (batch, d_inner). z: the same. raw: the same, Δ before bias and softplus.
        A_log: (d_inner, d_state). D, bias: (d_inner,). B, C: (batch, d_state).
        h: (batch, d_inner, d_state), float32; written over, with `in_place`.
    """
    from minimamba.ops import decode_kernels

    y = torch.empty_like(x, memory_format=torch.contiguous_format)
    after = _room_for(h, in_place)
    d_inner, d_state = A_log.shape
    z_strides = (0, 0) if z is None else z.stride()
    decode_kernels.scan[len(x), -(-d_inner // BLOCK)](
        x, raw, A_log, B, C, D, z, bias, h.contiguous(), after, y, *x.stride(), *raw.stride(),
        *B.stride(), *C.stride(), *z_strides, d_inner, d_state=d_state,
        N=1 << (d_state - 1).bit_length(), BLOCK=BLOCK, num_warps=1)
    return y, _into(h, after) if in_place else after


def add_norm(x: Tensor, added: Tensor, weight: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """x + added, (batch, d_model), in the precision of x; and, rounded to that of the weights
    (d_model,), its RMS norm."""
    from minimamba.ops import decode_kernels

    total, normed = torch.empty_like(x), torch.empty_like(x, dtype=weight.dtype)
    decode_kernels.add_norm[len(x),](x, added, weight, total, normed, epsilon, d_model=x.shape[1],
                                   BLOCK=1 << (x.shape[1] - 1).bit_length())
    return total, normed


def _room_for(memory: Tensor, in_place: bool) -> Tensor:
    """What a kernel writes to: the memory itself only if it is in one piece."""
    if in_place and memory.is_contiguous():
        return memory
    return torch.empty_like(memory, memory_format=torch.contiguous_format)


def _into(memory: Tensor, after: Tensor) -> Tensor:
    return memory if after is memory else memory.copy_(after)
