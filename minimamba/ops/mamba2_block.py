"""A training step's Mamba-2 block as one operation on an NVIDIA GPU.

    z, (x, B, C), dt = in_proj(u)
    x, B, C = silu(conv1d(x, B, C))
    y = SSD(x, Δ, A, B, C, D)                  Δ = softplus(dt + dt_bias)
    output = out_proj(norm(y · silu(z)))

Of all these tensors it keeps u and y for the backward pass, and of a long scan the few states that
enter its splits. The others are computed again: z, the convolution's input and dt by their
products, x, B and C by the convolution, and the norm by its own backward kernel (Gu and Dao 2023,
section 3.3.2, recomputation). The kernels write the gradients of z, of the convolution's input and
of dt side by side, as one product with in_proj's weight needs them.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import linear

from minimamba.autocast import without_autocast
from minimamba.ops import causal_conv1d, gated_norm
from minimamba.ops.operator import call_once
from minimamba.ssd.triton import operator

INSTEAD = "Run this block on a CPU, or in float64."


class BlockWeights(NamedTuple):
    """The parameters of a block that has no bias but in its convolution and in Δ."""

    in_proj: Tensor
    """(d_inner + conv_channels + n_heads, d_model): the rows of z, then of x, B and C, then of dt.
    """
    conv: Tensor
    """(conv_channels, 1, d_conv)."""
    conv_bias: Tensor | None
    """(conv_channels,)."""
    dt_bias: Tensor
    """(n_heads,)."""
    A_log: Tensor
    """(n_heads,)."""
    D: Tensor
    """(n_heads,) or (d_inner,)."""
    norm: Tensor
    """(d_inner,)."""
    out_proj: Tensor
    """(d_model, d_inner)."""


class Options(NamedTuple):
    """What `gated_norm` is told after its tensors."""

    n_groups: int
    """Groups of heads, and of the norm's features."""
    norm_before_gate: bool
    epsilon: float


def can_use_mamba2_block(u: Tensor, weights: BlockWeights, n_groups: int) -> bool:
    """Say whether a training step can take a block as one operation.

    Args:
        u: (batch, length, d_model), its input.
        weights: its parameters. If only some are learned, gradients of the others would be computed
            for nothing.
        n_groups: the number of groups.
    """
    if not (torch.is_grad_enabled() and causal_conv1d.can_use_kernels(u)
            and all(weight is None or weight.requires_grad for weight in weights)
            and not torch.compiler.is_compiling()):
        return False
    batch, length, _ = u.shape
    channels, _, d_conv = weights.conv.shape
    d_inner = len(weights.norm)
    return (d_conv <= causal_conv1d.MAX_D_CONV
            and (channels - d_inner) // (2 * n_groups) <= operator.MAX_D_STATE
            and length <= operator.MAX_LENGTH and batch * d_inner <= operator.MAX_PROGRAMS
            and d_inner // n_groups <= gated_norm.MAX_SIZE
            and batch * length * n_groups <= gated_norm.MAX_PROGRAMS
            and (torch.is_autocast_enabled(u.device.type)
                 or weights.in_proj.dtype == weights.out_proj.dtype == u.dtype))


def mamba2_block(u: Tensor, weights: BlockWeights, options: Options) -> Tensor:
    """Compute a Mamba-2 block, in the dtype of autocast if it is on, else in that of its input.

    Args:
        u: (batch, length, d_model), the input.
        weights: the parameters.
        options: the groups, and those of the norm.

    Returns:
        The output (batch, length, d_model).
    """
    dtype = u.dtype
    if torch.is_autocast_enabled(u.device.type):
        dtype = torch.get_autocast_dtype(u.device.type)
    return _mamba2_block(u, dtype, weights, options)


@without_autocast
def _mamba2_block(u: Tensor, dtype: torch.dtype, weights: BlockWeights, options: Options) -> Tensor:
    return _Block.apply(u, dtype, options, *weights)


class _Block(torch.autograd.Function):
    """`mamba2_block` with its gradients."""

    @staticmethod
    def forward(ctx, u, dtype, options, *weights):
        u = u.to(dtype)
        output, y, entering = _forward(u, _converted(BlockWeights(*weights), dtype), options)
        ctx.dtype = dtype
        ctx.options = options
        ctx.save_for_backward(u, y, entering, *weights)
        return output

    @staticmethod
    def backward(ctx, d_output):
        du, *d_weights = call_once(_backward, INSTEAD, ctx.dtype, ctx.options, d_output,
                                   *ctx.saved_tensors)
        return du, None, None, *d_weights


def _forward(u: Tensor, weights: BlockWeights,
             options: Options) -> tuple[Tensor, Tensor, Tensor | None]:
    """The output, y before its norm, and the states that enter the splits of the scan."""
    z, conv_input, dt = linear(u, weights.in_proj).split_with_sizes(_branch_sizes(weights), -1)
    xBC = causal_conv1d.forward_pass(conv_input, weights.conv.squeeze(1), weights.conv_bias, None)
    x, B, C = _scan_inputs(xBC, weights, options)
    y, _, entering, _ = operator.forward_and_kept(
        x, dt, _A(weights), B, C, weights.D, None, weights.dt_bias, True, None, None, False)
    y = y.flatten(2)
    normed = gated_norm.forward_pass(y, z, weights.norm, *options)
    return linear(normed, weights.out_proj), y, entering


def _backward(dtype: torch.dtype, options: Options, d_output: Tensor, u: Tensor, y: Tensor,
              entering: Tensor | None, *weights: Tensor | None) -> list[Tensor | None]:
    """The gradients of u and of all weights."""
    given, weights = BlockWeights(*weights), _converted(BlockWeights(*weights), dtype)
    sizes = _branch_sizes(weights)
    d_projected = u.new_empty(*u.shape[:2], sum(sizes))
    dz, d_conv_input, d_dt = d_projected.split_with_sizes(sizes, -1)
    d_output = d_output.to(dtype)
    # z first and alone: it is large, and after the norm not needed any more.
    to_z, to_others = weights.in_proj.split_with_sizes((sizes[0], sum(sizes[1:])))
    normed = torch.empty_like(y)
    dy, d_norm = gated_norm.backward_into(dz, normed, y, linear(u, to_z), weights.norm, *options,
                                          d_output @ weights.out_proj)
    d_out_proj = _rows(d_output).mT @ _rows(normed)
    del normed
    conv_input, dt = linear(u, to_others).split_with_sizes(sizes[1:], -1)
    conv = weights.conv.squeeze(1)
    xBC = causal_conv1d.forward_pass(conv_input, conv, weights.conv_bias, None)
    d_xBC = torch.empty_like(xBC)
    x, B, C = _scan_inputs(xBC, weights, options)
    dx, dB, dC = _scan_inputs(d_xBC, weights, options)
    A = _A(weights)
    dA, dD, _, d_bias, _ = operator.backward_into(
        dx, d_dt, dB, dC, x, dt, A, B, C, weights.D, None, weights.dt_bias, True, None, None,
        entering, None, dy.view(x.shape), None)
    d_conv, d_conv_bias, _ = causal_conv1d.backward_into(
        d_conv_input, conv_input, conv, weights.conv_bias, None, d_xBC)
    du = d_projected @ weights.in_proj
    d_in_proj = _rows(d_projected).mT @ _rows(u)
    # A = −exp(A_log) is its own derivative.
    return [du, d_in_proj, d_conv[:, None], None if given.conv_bias is None else d_conv_bias,
            d_bias, dA * A, dD.view(given.D.shape), d_norm, d_out_proj]


def _branch_sizes(weights: BlockWeights) -> tuple[int, int, int]:
    """Features of z, of the convolution's input and of dt."""
    return len(weights.norm), len(weights.conv), len(weights.A_log)


def _scan_inputs(xBC: Tensor, weights: BlockWeights,
                 options: Options) -> tuple[Tensor, Tensor, Tensor]:
    """x by heads, and B and C by groups, where they lie."""
    d_inner = len(weights.norm)
    of_BC = (len(weights.conv) - d_inner) // 2
    x, B, C = xBC.split_with_sizes((d_inner, of_BC, of_BC), -1)
    return (x.unflatten(-1, (len(weights.A_log), -1)), B.unflatten(-1, (options.n_groups, -1)),
            C.unflatten(-1, (options.n_groups, -1)))


def _A(weights: BlockWeights) -> Tensor:
    return weights.A_log.exp().neg_()


def _converted(weights: BlockWeights, dtype: torch.dtype) -> BlockWeights:
    """The weights of the projections in the dtype of the block, those of the scan in float32, and D
    by heads. The kernels convert the others."""
    D = weights.D.float()
    n_heads = len(weights.A_log)
    return weights._replace(
        in_proj=weights.in_proj.to(dtype), dt_bias=weights.dt_bias.float(),
        A_log=weights.A_log.float(), D=D if len(D) == n_heads else D.view(n_heads, -1),
        out_proj=weights.out_proj.to(dtype))


def _rows(t: Tensor) -> Tensor:
    """(batch, length, features) as a matrix (batch · length, features)."""
    return t.flatten(0, 1)
