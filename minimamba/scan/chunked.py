"""The scan chunk by chunk, with its own backward: fast in plain PyTorch, on CPU and GPU.

Only the states at the chunks' borders are kept. Within a chunk everything that does not wait
for the step before it is done for all its steps at once, and small enough to stay in the
cache; the one thing that must wait, h_t = keep_t h_{t−1} + write_t, is a multiplication and
an addition a step, in place. The backward pass walks the chunks from the last to the first,
makes each chunk's states again from its border, and scans backwards:

    g_t = C_t dy_t + keep_{t+1} g_{t+1}            g is the gradient of the state

Nothing is divided by a product of decays and no exponent is positive, so no Δ overflows.
"""

from math import lcm
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import silu, softplus

CHUNK = 16
"""Steps a chunk. A longer one makes arrays that leave the cache, a shorter one more calls."""


def scan(x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None,
         z: Tensor | None, *, delta_bias: Tensor | None, delta_softplus: bool,
         initial_state: Tensor | None) -> tuple[Tensor, Tensor]:
    """As `definition.scan`."""
    batch, _, d_inner = x.shape
    if delta_bias is not None:
        delta = delta + delta_bias
    if delta_softplus:
        delta = softplus(delta)
    h = x.new_zeros(batch, d_inner, A.shape[1]) if initial_state is None else initial_state
    groups = lcm(B.shape[2], C.shape[2])
    B, C = (part.repeat_interleave(groups // part.shape[2], 2) for part in (B, C))
    y, last_state = _Scan.apply(x, delta, A, B, C, h)
    if D is not None:
        y = y + D * x
    if z is not None:
        y = y * silu(z)
    return y, last_state


class _Chunk(NamedTuple):
    """What is known of some steps at once. Channels are split into groups, each with its own B
    and C, and stand last: next to each other in memory, so that all go through one instruction.
    """

    keep: Tensor
    """exp(Δ A), (batch, steps, groups, d_state, channels)."""
    states: Tensor
    """h after each step, of the same shape."""


def _grouped(x: Tensor, groups: int) -> Tensor:
    """(batch, steps, d_inner) to (batch, steps, groups, 1, channels)."""
    return x.unflatten(-1, (groups, 1, -1))


def _run(x: Tensor, delta: Tensor, A: Tensor, B: Tensor, h: Tensor) -> _Chunk:
    """A (groups, d_state, channels); h (batch, groups, d_state, channels) before the chunk."""
    groups = A.shape[0]
    keep = (_grouped(delta, groups) * A).exp_()
    states = _grouped(delta * x, groups) * B[..., None]
    for keep_t, state_t in zip(keep.unbind(1), states.unbind(1), strict=True):
        h = state_t.addcmul_(keep_t, h)
    return _Chunk(keep, states)


class _Scan(torch.autograd.Function):
    """y_t = ⟨C_t, h_t⟩ and the last state; h_t = exp(Δ_t A) h_{t−1} + Δ_t x_t B_t."""

    @staticmethod
    def forward(ctx, x, delta, A, B, C, initial_state):
        length, groups = x.shape[1], B.shape[2]
        A_, h = _by_group(A, groups), _by_group(initial_state, groups)
        y, borders = torch.empty_like(x), []
        for start in range(0, length, CHUNK):
            part = slice(start, start + CHUNK)
            borders.append(h)
            chunk = _run(x[:, part], delta[:, part], A_, B[:, part], h)
            y[:, part] = (C[:, part, :, None, :] @ chunk.states).flatten(2)
            h = chunk.states[:, -1].clone()
        ctx.save_for_backward(x, delta, A, B, C, *borders)
        return y, _by_channel(h)

    @staticmethod
    @once_differentiable
    def backward(ctx, dy, d_last):
        x, delta, A, B, C, *borders = ctx.saved_tensors
        groups = B.shape[2]
        A_, carry = _by_group(A, groups), _by_group(d_last, groups)
        dx, d_delta, dA = torch.empty_like(x), torch.empty_like(delta), torch.zeros_like(A_)
        dB, dC = torch.empty_like(B), torch.empty_like(C)
        for start, h in reversed(list(zip(range(0, x.shape[1], CHUNK), borders, strict=True))):
            part = slice(start, start + CHUNK)
            x_c, delta_c, B_c, dy_c = x[:, part], delta[:, part], B[:, part], dy[:, part]
            keep, states = _run(x_c, delta_c, A_, B_c, h)
            dy_c = _grouped(dy_c, groups)
            dC[:, part] = (states @ dy_c.mT)[..., 0]
            g = C[:, part, ..., None] * dy_c
            # In place, from the last step to the first: each g takes what the next one hands back.
            for g_t, keep_t in zip(reversed(g.unbind(1)), reversed(keep.unbind(1)), strict=True):
                carry = g_t.add_(carry).mul(keep_t)
            written = _grouped(delta_c * x_c, groups)
            dB[:, part] = (g @ written.mT)[..., 0]
            d_written = (B_c[..., None, :] @ g).flatten(2)
            # d(Δ A) = g · keep · h before the step
            keep.mul_(g)
            keep[:, 0].mul_(h)
            keep[:, 1:].mul_(states[:, :-1])
            dA += (keep * _grouped(delta_c, groups)).sum((0, 1))
            d_delta[:, part] = (keep * A_).sum(-2).flatten(2) + d_written * x_c
            dx[:, part] = d_written * delta_c
        return dx, d_delta, _by_channel(dA), dB, dC, _by_channel(carry)


def _by_group(x: Tensor, groups: int) -> Tensor:
    """(..., d_inner, d_state) to (..., groups, d_state, channels)."""
    return x.unflatten(-2, (groups, -1)).mT.contiguous()


def _by_channel(x: Tensor) -> Tensor:
    """And back."""
    return x.mT.flatten(-3, -2)
