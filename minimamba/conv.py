"""The causal convolution of a block and its SiLU: along time, each channel by itself.

On an NVIDIA GPU it is a Triton kernel each way, and an operator of PyTorch: cuDNN's convolutions of
one channel a group are made for pictures, and take longer than the scan. Elsewhere it is PyTorch's.
"""

import torch
from torch import Tensor
from torch.nn.functional import conv2d, silu

STEPS, CHANNELS, WARPS = 32, 64, 8
"""Of a program's tile, and of a program."""


def causal(x: Tensor, weight: Tensor, bias: Tensor | None, inputs: Tensor) -> Tensor:
    """SiLU(bias + Σ_k weight_k x_{t − d_conv + 1 + k}).

    Args:
        x: (batch, length, d_inner). weight: (d_inner, d_conv). bias: (d_inner,).
        inputs: (batch, d_conv − 1, d_inner), what came before x.
    """
    if x.is_cuda and x.dtype != torch.float64:
        return torch.ops.minimamba.causal_convolution(x, weight, bias, inputs)
    # As a picture of one row: its channels may lie next to each other, as they do here,
    # where a one-dimensional convolution would first turn everything over.
    seen = torch.cat([inputs, x], 1).mT[:, :, None]
    return silu(conv2d(seen, weight[:, None, None], bias, groups=x.shape[2])[:, :, 0].mT)


@torch.library.custom_op("minimamba::causal_convolution", mutates_args=())
def _causal(x: Tensor, weight: Tensor, bias: Tensor | None, inputs: Tensor) -> Tensor:
    from minimamba import conv_kernels

    x, weight, inputs = x.contiguous(), weight.contiguous(), inputs.contiguous()
    y = torch.empty_like(x)
    conv_kernels.forward[_grid(x, x.shape[1])](
        x, weight, bias, inputs, y, x.shape[1], x.shape[2], WIDTH=weight.shape[1], STEPS=STEPS,
        CHANNELS=CHANNELS, num_warps=WARPS)
    return y


@torch.library.custom_op("minimamba::causal_convolution_backward", mutates_args=())
def _causal_backward(x: Tensor, weight: Tensor, bias: Tensor | None, inputs: Tensor,
                     dy: Tensor) -> list[Tensor]:
    """The gradients of x, weight, bias, whether or not there is one, and inputs."""
    from minimamba import conv_kernels

    x, weight, inputs, dy = (part.contiguous() for part in (x, weight, inputs, dy))
    (batch, length, d_inner), width = x.shape, weight.shape[1]
    grid = _grid(x, length + width - 1)
    dx, d_inputs = torch.empty_like(x), torch.empty_like(inputs)
    sums = x.new_empty(batch, grid[1], width + 1, d_inner, dtype=torch.float32)
    conv_kernels.backward[grid](x, weight, bias, inputs, dy, dx, d_inputs, sums, length, d_inner,
                                WIDTH=width, STEPS=STEPS, CHANNELS=CHANNELS, num_warps=WARPS)
    d_weight, d_bias = sums[:, :, :-1].sum((0, 1)).T, sums[:, :, -1].sum((0, 1))
    return [dx, d_weight.contiguous().to(weight.dtype), d_bias.to(weight.dtype), d_inputs]


@_causal.register_fake
def _(x, weight, bias, inputs):
    return x.new_empty(x.shape)


@_causal_backward.register_fake
def _(x, weight, bias, inputs, dy):
    return [x.new_empty(x.shape), weight.new_empty(weight.shape),
            weight.new_empty(weight.shape[0]), inputs.new_empty(inputs.shape)]


def _keep(ctx, inputs, output):
    ctx.save_for_backward(*inputs)


def _differentiate(ctx, dy):
    dx, d_weight, d_bias, d_inputs = torch.ops.minimamba.causal_convolution_backward(
        *ctx.saved_tensors, dy)
    return dx, d_weight, None if ctx.saved_tensors[2] is None else d_bias, d_inputs


_causal.register_autograd(_differentiate, setup_context=_keep)


def _grid(x: Tensor, steps: int) -> tuple[int, int, int]:
    return -(-x.shape[2] // CHANNELS), -(-steps // STEPS), len(x)
