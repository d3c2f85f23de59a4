"""The scan chunk by chunk, with its own backward: fast in plain PyTorch, on CPU and GPU.

Only the states at the chunks' borders are kept. Within a chunk everything that does not wait
for the step before it is done for all its steps at once, and small enough to stay in the
cache; the one thing that must wait, h_t = keep_t h_{t−1} + write_t, is a multiplication and
an addition a step, in place. The backward pass walks the chunks from the last to the first,
makes each chunk's states again from its border, and scans backwards:

    g_t = C_t dy_t + keep_{t+1} g_{t+1}            g is the gradient of the state

Nothing is divided by a product of decays and no exponent is positive, so no Δ overflows.
"""

from collections.abc import Callable
from math import lcm
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import silu, softplus

CHUNK = 16
"""Steps a chunk. A longer one makes arrays that leave the cache, a shorter one more calls."""


class Chunk(NamedTuple):
    """What does one chunk, and how many steps it has."""

    forward: Callable
    backward: Callable
    steps: int


def scan(x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None,
         z: Tensor | None, *, delta_bias: Tensor | None, delta_softplus: bool,
         initial_state: Tensor | None, chunk: Chunk | None = None) -> tuple[Tensor, Tensor]:
    """As `definition.scan`. `chunk` is `forward` and `backward` below, unless given."""
    batch, _, d_inner = x.shape
    h = x.new_zeros(batch, d_inner, A.shape[1]) if initial_state is None else initial_state
    groups = lcm(B.shape[2], C.shape[2])
    B, C = (part.repeat_interleave(groups // part.shape[2], 2) for part in (B, C))
    # Asked here: within a Function gradients are off, and a weight requires one all the same.
    parts = x, delta, A, B, C, D, z, delta_bias, h
    learns = torch.is_grad_enabled() and any(
        part is not None and part.requires_grad for part in parts)
    return _Scan.apply(*parts, delta_softplus, learns,
                       chunk or Chunk(forward, backward, CHUNK))


def forward(x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, h: Tensor
            ) -> tuple[Tensor, Tensor]:
    """One chunk. Channels are split into groups, each with its own B and C, and stand last: next
    to each other in memory, so that one instruction works on many.

    Args:
        x, delta: (batch, steps, groups, channels). A: (groups, d_state, channels).
        B, C: (batch, steps, groups, d_state).
        h: (batch, groups, d_state, channels), the state before the chunk.

    Returns:
        y as x, and the state after the chunk.
    """
    _, states = _run(x, delta, A, B, h)
    return (C[..., None, :] @ states)[..., 0, :], states[:, -1].clone()


def backward(x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, h: Tensor, dy: Tensor,
             carry: Tensor) -> tuple[Tensor, ...]:
    """The gradients of x, delta, A, B, C and h, from those of y and of the state after."""
    keep, states = _run(x, delta, A, B, h)
    dy = dy[..., None, :]
    dC = (states @ dy.mT)[..., 0]
    g = C[..., None] * dy
    # In place, from the last step to the first: each g takes what the one after hands back.
    for g_t, keep_t in zip(reversed(g.unbind(1)), reversed(keep.unbind(1)), strict=True):
        carry = g_t.add_(carry).mul(keep_t)
    dB = (g @ (delta * x)[..., None]).squeeze(-1)
    d_written = (B[..., None, :] @ g)[..., 0, :]
    # The exponent's gradient, g · keep · (h before the step), in keep's place.
    keep.mul_(g)
    keep[:, 0].mul_(h)
    keep[:, 1:].mul_(states[:, :-1])
    dA = (keep * delta[..., None, :]).sum((0, 1))
    d_delta = (keep * A).sum(-2) + d_written * x
    return d_written * delta, d_delta, dA, dB, dC, carry


def _run(x: Tensor, delta: Tensor, A: Tensor, B: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    """exp(Δ A) and h after each step, both (batch, steps, groups, d_state, channels)."""
    keep = (delta[..., None, :] * A).exp_()
    states = (delta * x)[..., None, :] * B[..., None]
    for keep_t, state_t in zip(keep.unbind(1), states.unbind(1), strict=True):
        h = state_t.addcmul_(keep_t, h)
    return keep, states


class _Scan(torch.autograd.Function):
    """The whole scan. What belongs to a step alone, Δ = softplus(raw + bias) and the gate, is
    done chunk by chunk too: nothing of x's size is made on the way."""

    @staticmethod
    def forward(ctx, x, delta, A, B, C, D, z, bias, h, use_softplus, learns, chunk):
        groups = B.shape[2]
        x, delta, z, D, bias = (_split(part, groups) for part in (x, delta, z, D, bias))
        A, h, B, C = _by_group(A, groups), _by_group(h, groups), B.contiguous(), C.contiguous()
        out, borders = x.new_empty(x.shape), []
        before_gate = torch.empty_like(out) if learns and z is not None else None
        for part in _parts(x, chunk):
            if learns:
                borders.append(h)
            x_ = x[:, part].contiguous()
            _, step = _step(delta[:, part], bias, use_softplus)
            y, h = chunk.forward(x_, step, A, B[:, part], C[:, part], h)
            if D is not None:
                y.addcmul_(D, x_)
            if before_gate is not None:
                before_gate[:, part] = y
            if z is None:
                out[:, part] = y
            else:
                torch.mul(y, silu(z[:, part]), out=out[:, part])
        ctx.use_softplus, ctx.chunk = use_softplus, chunk
        ctx.save_for_backward(x, delta, A, B, C, D, z, bias, before_gate, *borders)
        return out.flatten(2), _by_channel(h)

    @staticmethod
    @once_differentiable
    def backward(ctx, d_out, d_last):
        x, delta, A, B, C, D, z, bias, before_gate, *borders = ctx.saved_tensors
        d_out, carry = _split(d_out, A.shape[0]), _by_group(d_last, A.shape[0])
        dx, d_delta, dB, dC = (part.new_empty(part.shape) for part in (x, delta, B, C))
        dA, dD, dz, d_bias = (part if part is None else part.new_zeros(part.shape)
                              for part in (A, D, z, bias))
        for part, h in reversed(list(zip(_parts(x, ctx.chunk), borders, strict=True))):
            x_, dy = x[:, part].contiguous(), d_out[:, part].contiguous()
            raw, step = _step(delta[:, part], bias, ctx.use_softplus)
            if z is not None:
                dz[:, part] = torch.ops.aten.silu_backward(
                    dy * before_gate[:, part], z[:, part])
                dy = dy * silu(z[:, part])
            dx[:, part], d_step, dA_, dB[:, part], dC[:, part], carry = ctx.chunk.backward(
                x_, step, A, B[:, part], C[:, part], h, dy, carry)
            dA += dA_
            if D is not None:
                dx[:, part].addcmul_(D, dy)
                dD += (dy * x_).sum((0, 1))
            if ctx.use_softplus:
                d_step = torch.ops.aten.softplus_backward(d_step, raw, 1, 20)
            if bias is not None:
                d_bias += d_step.sum((0, 1))
            d_delta[:, part] = d_step
        dx, d_delta, dz = (part if part is None else part.flatten(2) for part in (dx, d_delta, dz))
        dD, d_bias = (part if part is None else part.flatten() for part in (dD, d_bias))
        return (dx, d_delta, _by_channel(dA), dB, dC, dD, dz, d_bias, _by_channel(carry),
                None, None, None)


def _parts(x: Tensor, chunk: Chunk) -> list[slice]:
    return [slice(start, start + chunk.steps) for start in range(0, x.shape[1], chunk.steps)]


def _step(delta: Tensor, bias: Tensor | None, use_softplus: bool) -> tuple[Tensor, Tensor]:
    """Δ before the softplus and after it."""
    raw = delta.contiguous() if bias is None else delta + bias
    return raw, softplus(raw) if use_softplus else raw


def _split(x: Tensor | None, groups: int) -> Tensor | None:
    """(..., d_inner) to (..., groups, channels)."""
    return x if x is None else x.unflatten(-1, (groups, -1))


def _by_group(x: Tensor, groups: int) -> Tensor:
    """(..., d_inner, d_state) to (..., groups, d_state, channels)."""
    return x.unflatten(-2, (groups, -1)).mT.contiguous()


def _by_channel(x: Tensor) -> Tensor:
    """And back."""
    return x.mT.flatten(-3, -2)
