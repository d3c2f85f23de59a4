"""The causal depthwise convolution of a Mamba block, with its SiLU.

On an NVIDIA GPU it is one Triton kernel forward and one backward: cuDNN's grouped convolutions are
made for images, and take longer than the scan. Elsewhere it is PyTorch's convolution.
"""

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad, silu

from minimamba.arguments import is_transformed
from minimamba.autocast import without_autocast
from minimamba.ops.launch import LAUNCHES, Launcher, dtypes_of
from minimamba.ops.operator import differentiable
from minimamba.ops.rows import in_rows
from minimamba.scan.triton.operator import MAX_LENGTH, TRITON, failure

STEPS = 64
"""Time steps that one program of a kernel computes."""
CHANNELS = 64
"""Channels that it computes."""
MAX_D_CONV = 16
"""Width of the convolution up to which there are kernels: they are unrolled over it."""


def can_use_kernels(x: Tensor) -> bool:
    """Say whether the Triton kernels can take this input; `torch.func` can't transform them.

    Args:
        x: the input of the convolution.
    """
    return (TRITON and x.is_cuda and x.dtype != torch.float64 and not is_transformed()
            and failure() is None)


def with_past(x: Tensor, conv_state: Tensor | None, d_conv: int) -> Tensor:
    """Put before x the inputs that a causal convolution sees at its first step.

    Args:
        x: (batch, length, d_inner).
        conv_state: (batch, d_conv − 1, d_inner), the inputs before x, oldest first; zeros if None.
        d_conv: the width of the convolution.

    Returns:
        (batch, d_conv − 1 + length, d_inner), in x's dtype.
    """
    if conv_state is None:
        return pad(x, (0, 0, d_conv - 1, 0))
    return torch.cat([conv_state.to(x.dtype), x], 1)


@without_autocast
def causal_conv1d_silu(x: Tensor, weight: Tensor, bias: Tensor | None,
                       conv_state: Tensor | None = None) -> Tensor:
    """Compute silu(bias + Σ_k weight_k x_{t − d_conv + 1 + k}).

    Args:
        x: (batch, length, d_inner).
        weight: (d_inner, d_conv).
        bias: (d_inner,), or None.
        conv_state: (batch, d_conv − 1, d_inner), the inputs before x, oldest first; zeros if None.

    Returns:
        (batch, length, d_inner), in x's dtype.
    """
    if can_use_kernels(x) and weight.shape[1] <= MAX_D_CONV and x.shape[1] <= MAX_LENGTH:
        return _apply(x, weight, bias, conv_state)
    inputs = with_past(x, conv_state, weight.shape[1])
    weight = weight.to(x.dtype)
    bias = bias if bias is None else bias.to(x.dtype)
    # As an image of one row: a two-dimensional convolution takes channels that lie next to each
    # other in memory, where a one-dimensional one would first transpose everything.
    y = conv2d(inputs.mT[:, :, None], weight[:, None, None], bias, groups=x.shape[2])
    return silu(y[:, :, 0].mT)


def forward_pass(x: Tensor, weight: Tensor, bias: Tensor | None,
                 conv_state: Tensor | None) -> Tensor:
    """Compute `causal_conv1d_silu` by the kernel.

    Args:
        x: (batch, length, d_inner).
        weight: (d_inner, d_conv).
        bias: (d_inner,), or None.
        conv_state: (batch, d_conv − 1, d_inner), the inputs before x, oldest first; zeros if None.

    Returns:
        (batch, length, d_inner), in x's dtype.
    """
    x, x_row = in_rows(x)
    weight, conv_state = _contiguous(weight, conv_state)
    launch = _launcher("forward", x.shape, weight.shape[1], (x_row,), x.device,
                       dtypes_of(x, weight, bias, conv_state))
    y = torch.empty_like(x, memory_format=torch.contiguous_format)
    launch(x, weight, bias, conv_state, y)
    return y


def backward_pass(x: Tensor, weight: Tensor, bias: Tensor | None, conv_state: Tensor | None,
                  dy: Tensor) -> list[Tensor]:
    """Compute the gradients of `forward_pass` by the kernel.

    Args:
        x: (batch, length, d_inner), what `forward_pass` was given, and so are the next three.
        weight: (d_inner, d_conv).
        bias: (d_inner,), or None.
        conv_state: (batch, d_conv − 1, d_inner), or None.
        dy: (batch, length, d_inner), the gradient of the result.

    Returns:
        The gradients of x, weight, bias and conv_state, whether or not the last two are given.
    """
    dx = torch.empty_like(x, memory_format=torch.contiguous_format)
    return [dx, *backward_into(dx, x, weight, bias, conv_state, dy)]


def backward_into(dx: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None,
                  conv_state: Tensor | None, dy: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the gradients as `backward_pass` does, and write that of x to a given tensor.

    Args:
        dx: (batch, length, d_inner), receives it; laid out `in_rows`, such as a slice of features.
        x: as for `backward_pass`, and so are those after it.
        weight: (d_inner, d_conv).
        bias: (d_inner,), or None.
        conv_state: (batch, d_conv − 1, d_inner), or None.
        dy: (batch, length, d_inner), the gradient of the result.

    Returns:
        The gradients of weight, bias and conv_state, whether or not the last two are given.
    """
    x, x_row = in_rows(x)
    dy, dy_row = in_rows(dy)
    _, dx_row = in_rows(dx)
    weight, conv_state = _contiguous(weight, conv_state)
    batch, length, d_inner = x.shape
    width = weight.shape[1]
    launch = _launcher("backward", x.shape, width, (x_row, dy_row, dx_row), x.device,
                       dtypes_of(x, weight, bias, conv_state, dy))
    d_conv_state = x.new_empty(batch, width - 1, d_inner)
    # Each program's part of the gradients of the weights and, last, of the bias.
    _, step_blocks = _blocks(d_inner, length)
    sums = x.new_empty(batch, step_blocks, width + 1, d_inner, dtype=torch.float32)
    launch(x, weight, bias, conv_state, dy, dx, d_conv_state, sums)
    d_weight, d_bias = sums.sum((0, 1)).to(weight.dtype).split_with_sizes((width, 1))
    # Cloned, for no output of an operator may share its memory with another.
    return d_weight.T.clone(memory_format=torch.contiguous_format), d_bias[0], d_conv_state


@lru_cache(maxsize=LAUNCHES)
def _launcher(name: str, x_shape: torch.Size, width: int, row_strides: tuple[int, ...],
              device: torch.device, dtypes: tuple) -> Launcher:
    """The launcher of a kernel. The last two arguments decide which code Triton compiles."""
    from minimamba.ops import causal_conv1d_kernels

    batch, length, d_inner = x_shape
    channel_blocks, step_blocks = _blocks(d_inner, length)
    sizes = {"length": length, "d_inner": d_inner, "channel_blocks": channel_blocks,
             "step_blocks": step_blocks, "WIDTH": width, "STEPS": STEPS, "CHANNELS": CHANNELS,
             **dict(zip(("x_row", "dy_row", "dx_row"), row_strides, strict=False))}
    return Launcher(getattr(causal_conv1d_kernels, name),
                    (batch * channel_blocks * step_blocks, 1, 1), sizes, num_warps=1)


def _save(ctx, inputs, output):
    ctx.save_for_backward(*inputs)


def _gradients(backward, ctx, dy):
    x, weight, bias, conv_state = ctx.saved_tensors
    dx, d_weight, d_bias, d_conv_state = backward(x, weight, bias, conv_state, dy)
    return (dx, d_weight, None if bias is None else d_bias,
            None if conv_state is None else d_conv_state)


def _fake(x, weight, bias, conv_state):
    return x.new_empty(x.shape)


def _fake_backward(x, weight, bias, conv_state, dy):
    return [x.new_empty(x.shape), weight.new_empty(weight.shape),
            weight.new_empty(weight.shape[0]),
            x.new_empty(x.shape[0], weight.shape[1] - 1, x.shape[2])]


_apply = differentiable("causal_conv1d_silu", forward_pass, backward_pass, save=_save,
                        gradients=_gradients, fake=_fake, fake_backward=_fake_backward,
                        instead="Run this convolution on a CPU, or in float64.")


def _blocks(d_inner: int, length: int) -> tuple[int, int]:
    """(blocks of channels, blocks of steps): of one sequence."""
    return -(-d_inner // CHANNELS), -(-length // STEPS)


def _contiguous(*tensors: Tensor | None) -> list[Tensor | None]:
    return [None if tensor is None else tensor.contiguous() for tensor in tensors]
