"""A whole Mamba block as one operation on an NVIDIA GPU.

    x, z = in_proj(u)
    x = silu(conv1d(x))
    Δ_low, B, C = x_proj(x)
    Δ = softplus(dt_proj(Δ_low))
    y = SSM(x, Δ, A, B, C, D) · silu(z)
    output = out_proj(y)

Of all these tensors it keeps u, Δ_low, B and C for the backward pass, and the scan the state before
each chunk. The others, which are large, are computed again (Gu and Dao 2023, section 3.3.2,
recomputation): x, z and Δ by their products, y by the backward kernel itself. It is also one
operation for autograd, where each of these lines would be one or more: to issue them takes Python
as long as the GPU computes.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import linear

from minimamba.autocast import without_autocast
from minimamba.ops import causal_conv1d
from minimamba.ops.operator import call_once
from minimamba.scan.triton import operator

INSTEAD = "Set `scan_method` of the block to 'reference', whose gradients have gradients."


class BlockWeights(NamedTuple):
    """The parameters of a block that has no bias but in its convolution and in Δ."""

    in_proj: Tensor
    """(2 d_inner, d_model), first the rows of x, then those of z."""
    conv: Tensor
    """(d_inner, 1, d_conv)."""
    conv_bias: Tensor | None
    """(d_inner,)."""
    x_proj: Tensor
    """(dt_rank + 2 d_state, d_inner)."""
    dt_proj: Tensor
    """(d_inner, dt_rank)."""
    dt_bias: Tensor
    """(d_inner,)."""
    A_log: Tensor
    """(d_inner, d_state)."""
    D: Tensor
    """(d_inner,)."""
    out_proj: Tensor
    """(d_model, d_inner)."""


class Kept(NamedTuple):
    """What the forward pass keeps for the backward pass."""

    u: Tensor
    """(batch, length, d_model), the input."""
    projected: Tensor
    """(batch, length, dt_rank + 2 d_state): Δ_low, B and C."""
    chunk_states: Tensor
    """From the scan's `forward_pass`, and so is BC."""
    BC: Tensor | None


def can_use_mamba_block(u: Tensor, weights: BlockWeights, *, passes_state: bool) -> bool:
    """Say whether a block can be computed as one operation.

    Args:
        u: (batch, length, d_model), its input.
        weights: its parameters.
        passes_state: whether it is given a state or returns one, through which gradients could
            pass.
    """
    if not causal_conv1d.can_use_kernels(u) or torch.compiler.is_compiling():
        return False
    needs_grad = _needs_grad(u, weights)
    projections = weights.in_proj, weights.x_proj, weights.dt_proj, weights.out_proj
    batch, length, _ = u.shape
    d_inner, d_state = weights.A_log.shape
    return (weights.conv.shape[2] <= causal_conv1d.MAX_D_CONV
            and d_state <= operator.MAX_D_STATE and d_inner <= operator.MAX_D_INNER
            and batch <= operator.MAX_BATCH and length <= operator.MAX_LENGTH
            and (torch.is_autocast_enabled(u.device.type)
                 or all(weight.dtype == u.dtype for weight in projections))
            # Where only some are learned, gradients of the others would be for nothing.
            and not (needs_grad and (passes_state or not all(map(_is_learned, weights)))))


def _needs_grad(u: Tensor, weights: BlockWeights) -> bool:
    return torch.is_grad_enabled() and (u.requires_grad or any(
        weight is not None and weight.requires_grad for weight in weights))


def _is_learned(weight: Tensor | None) -> bool:
    return weight is None or weight.requires_grad


def mamba_block(u: Tensor, weights: BlockWeights, conv_state: Tensor | None = None,
                ssm_state: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Compute a Mamba block, in the dtype of autocast if it is on, else in that of its input.

    Args:
        u: (batch, length, d_model), the input.
        weights: the parameters.
        conv_state: (batch, d_conv − 1, d_inner), inputs of the convolution before the first step;
            zeros if None. Only without gradients, and so is `ssm_state`.
        ssm_state: (batch, d_inner, d_state), the state before the first step; zeros if None.

    Returns:
        The output (batch, length, d_model); the inputs of the convolution, (batch, length,
        d_inner), and the last state, (batch, d_inner, d_state), or None where there are gradients.
    """
    dtype = u.dtype
    if torch.is_autocast_enabled(u.device.type):
        dtype = torch.get_autocast_dtype(u.device.type)
    return _mamba_block(u, dtype, weights, conv_state, ssm_state)


@without_autocast
def _mamba_block(u: Tensor, dtype: torch.dtype, weights: BlockWeights, conv_state: Tensor | None,
                 ssm_state: Tensor | None) -> tuple[Tensor, Tensor | None, Tensor | None]:
    if _needs_grad(u, weights):
        return _Block.apply(u, dtype, *weights), None, None
    output, conv_input, last_state, _ = _forward(
        u.to(dtype), _converted(weights, dtype), conv_state, ssm_state, needs_grad=False)
    return output, conv_input, last_state


class _Block(torch.autograd.Function):
    """`mamba_block` with its gradients."""

    @staticmethod
    def forward(ctx, u, dtype, *weights):
        output, _, _, kept = _forward(
            u.to(dtype), _converted(BlockWeights(*weights), dtype), None, None, needs_grad=True)
        ctx.dtype = dtype
        ctx.save_for_backward(*kept, *weights)
        return output

    @staticmethod
    def backward(ctx, d_output):
        du, *d_weights = call_once(_backward, INSTEAD, ctx.dtype, d_output, *ctx.saved_tensors)
        return du, None, *d_weights


def _forward(u: Tensor, weights: BlockWeights, conv_state: Tensor | None,
             ssm_state: Tensor | None, *,
             needs_grad: bool) -> tuple[Tensor, Tensor, Tensor | None, Kept]:
    """The output, the inputs of the convolution, the last state or, with `needs_grad`, None; and
    what the backward needs."""
    conv_input, z = _in_branches(u, weights)
    x = causal_conv1d.forward_pass(conv_input, weights.conv.squeeze(1), weights.conv_bias,
                                   conv_state)
    projected = linear(x, weights.x_proj)
    dt, B, C = _scan_inputs(projected, weights)
    y, last_state, chunk_states, BC = operator.forward_pass(
        x, dt, _A(weights), B, C, weights.D, z, weights.dt_bias, True, ssm_state, needs_grad,
        wants_last_state=not needs_grad)
    output = linear(y, weights.out_proj)
    return output, conv_input, last_state, Kept(u, projected, chunk_states, BC)


def _backward(dtype: torch.dtype, d_output: Tensor, *saved: Tensor) -> list[Tensor | None]:
    """The gradients of u and of all weights."""
    kept = Kept(*saved[:len(Kept._fields)])
    weights = _converted(BlockWeights(*saved[len(Kept._fields):]), dtype)
    conv_input, z = _in_branches(kept.u, weights)
    conv = weights.conv.squeeze(1)
    x = causal_conv1d.forward_pass(conv_input, conv, weights.conv_bias, None)
    dt, B, C = _scan_inputs(kept.projected, weights)
    A = _A(weights)
    d_output = d_output.to(dtype)
    y = torch.empty_like(x)
    # In the memory of dt and of y's gradient are afterwards d_dt and dz.
    dx, d_dt, dA, dB, dC, dD, dz, d_bias = operator.backward_pass(
        x, dt, A, B, C, weights.D, z, weights.dt_bias, True, kept.chunk_states, kept.BC,
        d_output @ weights.out_proj, None, False, y_again=y)
    d_out_proj = _rows(d_output).mT @ _rows(y)
    d_projected = _rows(torch.cat([d_dt @ weights.dt_proj, dB, dC], -1))
    low_rank_dt = kept.projected[..., :weights.dt_proj.shape[1]]
    d_dt_proj = _rows(d_dt).mT @ _rows(low_rank_dt)
    d_x_proj = d_projected.mT @ _rows(x)
    _rows(dx).addmm_(d_projected, weights.x_proj)
    dx, d_conv, d_conv_bias, _ = causal_conv1d.backward_pass(
        conv_input, conv, weights.conv_bias, None, dx)
    to_x, to_z = weights.in_proj.chunk(2)
    u, dx, dz = _rows(kept.u), _rows(dx), _rows(dz)
    du = (dx @ to_x).addmm_(dz, to_z).view(kept.u.shape)
    d_in_proj = torch.empty_like(weights.in_proj)
    d_to_x, d_to_z = d_in_proj.chunk(2)
    torch.mm(dx.mT, u, out=d_to_x)
    torch.mm(dz.mT, u, out=d_to_z)
    # A = −exp(A_log) is its own derivative.
    return [du, d_in_proj, d_conv[:, None], None if weights.conv_bias is None else d_conv_bias,
            d_x_proj, d_dt_proj, d_bias, dA * A, dD, d_out_proj]


def _in_branches(u: Tensor, weights: BlockWeights) -> tuple[Tensor, Tensor]:
    """x before the convolution, and z; by two products, for halves of one would not be contiguous.
    """
    to_x, to_z = weights.in_proj.chunk(2)
    return linear(u, to_x), linear(u, to_z)


def _scan_inputs(projected: Tensor, weights: BlockWeights) -> tuple[Tensor, Tensor, Tensor]:
    """dt, B and C from (Δ_low, B, C)."""
    d_state = weights.A_log.shape[1]
    sizes = weights.dt_proj.shape[1], d_state, d_state
    low_rank_dt, B, C = projected.split_with_sizes(sizes, -1)
    return linear(low_rank_dt, weights.dt_proj), B, C


def _A(weights: BlockWeights) -> Tensor:
    return weights.A_log.exp().neg_()


def _converted(weights: BlockWeights, dtype: torch.dtype) -> BlockWeights:
    """The weights of the projections in the dtype of the block, and A_log in float32. The kernels
    convert the others."""
    return weights._replace(
        in_proj=weights.in_proj.to(dtype), x_proj=weights.x_proj.to(dtype),
        dt_proj=weights.dt_proj.to(dtype), A_log=weights.A_log.float(),
        out_proj=weights.out_proj.to(dtype))


def _rows(t: Tensor) -> Tensor:
    """(batch, length, features) as a matrix (batch · length, features)."""
    return t.flatten(0, 1)
