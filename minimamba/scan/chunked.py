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

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import silu, softplus

CHUNK = 16
"""Steps a chunk. A longer one makes arrays that leave the cache, a shorter one more calls."""


def scan(x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None,
         z: Tensor | None, *, delta_bias: Tensor | None, delta_softplus: bool,
         initial_state: Tensor | None,
         chunk: tuple[Callable, Callable] | None = None) -> tuple[Tensor, Tensor]:
    """As `definition.scan`. `chunk` is what does one, `forward` and `backward` unless given."""
    batch, _, d_inner = x.shape
    if delta_bias is not None:
        delta = delta + delta_bias
    if delta_softplus:
        delta = softplus(delta)
    h = x.new_zeros(batch, d_inner, A.shape[1]) if initial_state is None else initial_state
    groups = lcm(B.shape[2], C.shape[2])
    B, C = (part.repeat_interleave(groups // part.shape[2], 2) for part in (B, C))
    y, last_state = _Scan.apply(x, delta, A, B, C, h, *(chunk or (forward, backward)))
    if D is not None:
        y = y + D * x
    if z is not None:
        y = y * silu(z)
    return y, last_state


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
    """y_t = ⟨C_t, h_t⟩ and the last state; h_t = exp(Δ_t A) h_{t−1} + Δ_t x_t B_t."""

    @staticmethod
    def forward(ctx, x, delta, A, B, C, initial_state, forward, backward):
        groups = B.shape[2]
        x, delta = (part.unflatten(-1, (groups, -1)).contiguous() for part in (x, delta))
        B, C = B.contiguous(), C.contiguous()
        A, h = _by_group(A, groups), _by_group(initial_state, groups)
        y, borders = torch.empty_like(x), []
        for start in range(0, x.shape[1], CHUNK):
            part = slice(start, start + CHUNK)
            if any(ctx.needs_input_grad):
                borders.append(h)
            y[:, part], h = forward(x[:, part], delta[:, part], A, B[:, part], C[:, part], h)
        ctx.backward_of_a_chunk = backward
        ctx.save_for_backward(x, delta, A, B, C, *borders)
        return y.flatten(2), _by_channel(h)

    @staticmethod
    @once_differentiable
    def backward(ctx, dy, d_last):
        x, delta, A, B, C, *borders = ctx.saved_tensors
        dy, carry = dy.unflatten(-1, x.shape[2:]).contiguous(), _by_group(d_last, A.shape[0])
        dx, d_delta, dA = torch.empty_like(x), torch.empty_like(delta), torch.zeros_like(A)
        dB, dC = torch.empty_like(B), torch.empty_like(C)
        for start, h in reversed(list(zip(range(0, x.shape[1], CHUNK), borders, strict=True))):
            part = slice(start, start + CHUNK)
            dx[:, part], d_delta[:, part], more, dB[:, part], dC[:, part], carry = \
                ctx.backward_of_a_chunk(x[:, part], delta[:, part], A, B[:, part], C[:, part], h,
                                        dy[:, part], carry)
            dA += more
        return (dx.flatten(2), d_delta.flatten(2), _by_channel(dA), dB, dC, _by_channel(carry),
                None, None)


def _by_group(x: Tensor, groups: int) -> Tensor:
    """(..., d_inner, d_state) to (..., groups, d_state, channels)."""
    return x.unflatten(-2, (groups, -1)).mT.contiguous()


def _by_channel(x: Tensor) -> Tensor:
    """And back."""
    return x.mT.flatten(-3, -2)
