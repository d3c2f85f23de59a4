"""The RMS norm before a mixer, together with the residual connection around both.

    normed = weight · x / rms(x),    and x itself, to which the mixer's output is added

As one function of x, its gradient has both parts in one kernel: PyTorch would write the gradient of
the norm to memory and add the other to it. On an NVIDIA GPU that is one Triton kernel forward,
which writes the norm in the dtype that the mixer computes in, and one backward.
"""

from functools import lru_cache

import torch
from torch import Tensor, nn

from minimamba.ops import causal_conv1d
from minimamba.ops.gated_norm import FEATURES_PER_WARP, MAX_PROGRAMS, MAX_SIZE, MAX_WARPS, ROWS
from minimamba.ops.launch import LAUNCHES, Launcher, dtypes_of
from minimamba.ops.linear import is_plain
from minimamba.ops.operator import call_once

WORTH_FUSING = 2**23
"""Elements of x below which PyTorch computes the norm: the GPU then waits for Python, which needs
0.3 ms for a call of the kernels, forward + backward, and 0.2 ms for PyTorch's norm. A training step
of the 130M model, with 1.5 · 2²³ elements, takes Python 0.7 to 1.25 times as long as an H200,
depending on the machine; wider models keep the GPU busy with fewer elements."""
INSTEAD = "Compute this layer on a CPU, or in float64."


def can_use_pre_norm(x: Tensor, norm: nn.Module) -> bool:
    """Say whether the kernels can compute a norm, and are faster.

    Args:
        x: (batch, length, d_model), the residual stream.
        norm: an `nn.RMSNorm`, or what has replaced it.
    """
    size = x.shape[-1]
    # Compiled code must not ask for sizes: each answer would limit what it can be run with.
    return (not torch.compiler.is_compiling() and x.numel() >= WORTH_FUSING
            and causal_conv1d.can_use_kernels(x) and is_plain(norm)
            and norm.eps is not None and norm.weight.dtype != torch.float64
            and size <= MAX_SIZE and x.numel() // size <= MAX_PROGRAMS)


def pre_norm(x: Tensor, weight: Tensor, epsilon: float,
             dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Compute the RMS norm of the residual stream.

    Args:
        x: (batch, length, d_model).
        weight: (d_model,).
        epsilon: added to the mean square.
        dtype: that of the norm.

    Returns:
        The norm, and x.
    """
    if torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad):
        return _PreNorm.apply(x, weight, epsilon, dtype)
    return forward_pass(x, weight, epsilon, dtype), x


class _PreNorm(torch.autograd.Function):
    """`pre_norm` with its gradients."""

    @staticmethod
    def forward(ctx, x, weight, epsilon, dtype):
        ctx.save_for_backward(x, weight)
        ctx.epsilon = epsilon
        return forward_pass(x, weight, epsilon, dtype), x

    @staticmethod
    def backward(ctx, d_normed, d_residual):
        dx, d_weight = call_once(backward_pass, INSTEAD, *ctx.saved_tensors, ctx.epsilon, d_normed,
                                 d_residual)
        return dx, d_weight, None, None


def forward_pass(x: Tensor, weight: Tensor, epsilon: float, dtype: torch.dtype) -> Tensor:
    """Compute the norm by the kernel.

    Args:
        x: (batch, length, d_model).
        weight: (d_model,).
        epsilon: added to the mean square.
        dtype: that of the norm.

    Returns:
        (batch, length, d_model), contiguous.
    """
    x = x.contiguous()
    normed = torch.empty_like(x, dtype=dtype)
    launch = _launcher("forward", x.shape, epsilon, x.device, dtypes_of(x, weight, normed))
    launch(x, weight.contiguous(), normed)
    return normed


def backward_pass(x: Tensor, weight: Tensor, epsilon: float, d_normed: Tensor,
                  d_residual: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the gradients of `pre_norm` by the kernel.

    Args:
        x: (batch, length, d_model).
        weight: (d_model,).
        epsilon: added to the mean square.
        d_normed: (batch, length, d_model), the gradient of the norm.
        d_residual: (batch, length, d_model), that of the x which is returned.

    Returns:
        The gradients of x and weight.
    """
    x, d_normed, d_residual = x.contiguous(), d_normed.contiguous(), d_residual.contiguous()
    dx = torch.empty_like(x)
    sums = x.new_empty(_blocks(x.shape), len(weight), dtype=torch.float32)
    launch = _launcher("backward", x.shape, epsilon, x.device,
                       dtypes_of(x, weight, d_normed, d_residual))
    launch(x, weight.contiguous(), d_normed, d_residual, dx, sums)
    return dx, sums.sum(0).to(weight.dtype)


@lru_cache(maxsize=LAUNCHES)
def _launcher(name: str, shape: torch.Size, epsilon: float, device: torch.device,
              dtypes: tuple) -> Launcher:
    """The launcher of a kernel. The last two arguments decide which code Triton compiles."""
    from minimamba.ops import pre_norm_kernels

    rows, size = shape[:-1].numel(), shape[-1]
    block = 1 << (size - 1).bit_length()
    constants = {"rows": rows, "SIZE": size, "BLOCK": block, "ROWS": ROWS, "EPSILON": epsilon}
    programs = rows if name == "forward" else _blocks(shape)
    return Launcher(getattr(pre_norm_kernels, name), (programs, 1, 1), constants,
                    num_warps=min(max(block // FEATURES_PER_WARP, 1), MAX_WARPS))


def _blocks(shape: torch.Size) -> int:
    """Blocks of rows, each for one program of the backward kernel."""
    return -(-shape[:-1].numel() // ROWS)
