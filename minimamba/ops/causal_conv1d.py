"""The causal convolution of a block and its SiLU: along time, each channel by itself.

On an NVIDIA GPU it is a Triton kernel each way, and an operator of PyTorch: cuDNN's convolutions of
one channel a group are made for pictures, and take longer than the scan. Elsewhere it is PyTorch's.
"""

from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad, silu

from minimamba.scan.triton.operator import TRITON

STEPS, CHANNELS, WARPS = 32, 64, 8
"""Of a program's tile, and of a program."""


def runs(x: Tensor) -> bool:
    """Whether the kernels take this input."""
    return TRITON and x.is_cuda and x.dtype != torch.float64


def causal(x: Tensor, weight: Tensor, bias: Tensor | None,
           inputs: Tensor | None = None) -> Tensor:
    """SiLU(bias + Σ_k weight_k x_{t − d_conv + 1 + k}).

    Args:
        x: (batch, length, d_inner). weight: (d_inner, d_conv). bias: (d_inner,).
        inputs: (batch, d_conv − 1, d_inner), what came before x; zeros if None.
    """
    if runs(x):
        return _operate(x, weight, bias, inputs)
    # As a picture of one row: its channels may lie next to each other, as they do here,
    # where a one-dimensional convolution would first turn everything over.
    seen = pad(x, (0, 0, weight.shape[1] - 1, 0)) if inputs is None else torch.cat([inputs, x], 1)
    y = conv2d(seen.mT[:, :, None], weight[:, None, None], bias, groups=x.shape[2])
    return silu(y[:, :, 0].mT)


def _causal(x: Tensor, weight: Tensor, bias: Tensor | None, inputs: Tensor | None) -> Tensor:
    from minimamba.ops import causal_conv1d_kernels

    x, weight, inputs = _contiguous(x, weight, inputs)
    y = torch.empty_like(x)
    causal_conv1d_kernels.forward[_grid(x, x.shape[1])](
        x, weight, bias, inputs, y, x.shape[1], x.shape[2], WIDTH=weight.shape[1], STEPS=STEPS,
        CHANNELS=CHANNELS, num_warps=WARPS)
    return y


def _causal_backward(x: Tensor, weight: Tensor, bias: Tensor | None, inputs: Tensor | None,
                     dy: Tensor) -> list[Tensor]:
    """The gradients of x, weight, bias and inputs, whether or not there are the last two."""
    from minimamba.ops import causal_conv1d_kernels

    x, weight, inputs, dy = _contiguous(x, weight, inputs, dy)
    (batch, length, d_inner), width = x.shape, weight.shape[1]
    grid = _grid(x, length + width - 1)
    dx, d_inputs = torch.empty_like(x), x.new_empty(batch, width - 1, d_inner)
    sums = x.new_empty(batch, grid[1], width + 1, d_inner, dtype=torch.float32)
    causal_conv1d_kernels.backward[grid](x, weight, bias, inputs, dy, dx, d_inputs, sums, length, d_inner,
                                WIDTH=width, STEPS=STEPS, CHANNELS=CHANNELS, num_warps=WARPS)
    d_weight, d_bias = sums[:, :, :-1].sum((0, 1)).T, sums[:, :, -1].sum((0, 1))
    return [dx, d_weight.contiguous().to(weight.dtype), d_bias.to(weight.dtype), d_inputs]


def _keep(ctx, inputs, output):
    ctx.save_for_backward(*inputs)


def _differentiate(back, ctx, dy):
    dx, d_weight, d_bias, d_inputs = back(*ctx.saved_tensors, dy)
    _, _, bias, inputs = ctx.saved_tensors
    return dx, d_weight, None if bias is None else d_bias, None if inputs is None else d_inputs


class _Causal(torch.autograd.Function):
    @staticmethod
    def forward(ctx, *arguments):
        output = _causal(*arguments)
        _keep(ctx, arguments, output)
        return output

    backward = staticmethod(partial(_differentiate, _causal_backward))


def _operate(*arguments) -> Tensor:
    """As an operator where something is compiled; see `scan.fused`."""
    return (torch.ops.minimamba.causal_convolution if torch.compiler.is_compiling()
            else _Causal.apply)(*arguments)


_operator = torch.library.custom_op("minimamba::causal_convolution", _causal, mutates_args=())
_backward = torch.library.custom_op("minimamba::causal_convolution_backward", _causal_backward,
                                    mutates_args=())
_operator.register_autograd(partial(_differentiate, _backward), setup_context=_keep)


@_operator.register_fake
def _(x, weight, bias, inputs):
    return x.new_empty(x.shape)


@_backward.register_fake
def _(x, weight, bias, inputs, dy):
    return [x.new_empty(x.shape), weight.new_empty(weight.shape),
            weight.new_empty(weight.shape[0]),
            x.new_empty(x.shape[0], weight.shape[1] - 1, x.shape[2])]


def _grid(x: Tensor, steps: int) -> tuple[int, int, int]:
    return -(-x.shape[2] // CHANNELS), -(-steps // STEPS), len(x)


def _contiguous(*parts: Tensor | None) -> list[Tensor | None]:
    return [part if part is None else part.contiguous() for part in parts]
