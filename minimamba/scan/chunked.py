"""The scan in chunks, with its own backward pass: fast in plain PyTorch, on CPU and GPU.

Only the state before each chunk is saved. Within a chunk, everything that does not depend on
the step before it is computed for all steps at once, in arrays small enough for the CPU's cache.
What remains sequential, h_t = Ā_t h_{t−1} + B̄_t x_t, is one multiply-add per step, in place.
The backward pass visits the chunks from last to first, recomputes each chunk's states from the
saved one, and scans in reverse,

    g_t = C_t ∂y_t + Ā_{t+1} g_{t+1},

where g_t is the gradient of the loss with respect to h_t. Nothing is divided by a product of
decays and no exponent is positive (for A ≤ 0), so no Δ causes an overflow.

`torch.compile` would write out the loop over all steps, and take minutes for it. It is given an
operator instead, which runs the loop as it is.
"""

from collections.abc import Callable
from math import lcm
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import silu, softplus

from minimamba.autocast import without_autocast
from minimamba.ops.operator import call_once, differentiable

CHUNK_SIZE = 16
"""Steps per chunk. Larger chunks leave the CPU's cache; smaller ones mean more calls."""
INSTEAD = ("Use method='reference', whose gradients have gradients; a layer's method is its "
           "attribute `scan_method`.")
"""What to do for a second derivative."""


class ChunkFunctions(NamedTuple):
    """The two functions that compute one chunk, and the number of steps in it."""

    forward: Callable[..., tuple[Tensor, Tensor]]
    """Called as the `forward` of this module."""
    backward: Callable[..., tuple[Tensor, ...]]
    """Called as the `backward` of this module."""
    size: int
    """Steps per chunk; the last chunk may have fewer."""


def scan(x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None,
         z: Tensor | None, *, delta_bias: Tensor | None, delta_softplus: bool,
         initial_state: Tensor | None, functions: ChunkFunctions | None = None
         ) -> tuple[Tensor, Tensor]:
    """Run the selective scan chunk by chunk.

    `minimamba.selective_scan` has checked the arguments; all tensors are already in the dtype
    of the hidden state.

    Args:
        x: (batch, length, d_inner).
        delta: (batch, length, d_inner), before bias and softplus.
        A: (d_inner, d_state).
        B: (batch, length, groups, d_state).
        C: (batch, length, groups, d_state); may have other groups than B.
        D: (d_inner,) or None, the skip connection.
        z: (batch, length, d_inner) or None, the gate.
        delta_bias: (d_inner,) or None, added to delta.
        delta_softplus: whether Δ = softplus(delta + delta_bias).
        initial_state: (batch, d_inner, d_state); None for zeros.
        functions: what computes one chunk; None for this module's `forward` and `backward`, and
            within `torch.compile`.

    Returns:
        y (batch, length, d_inner) and the last state (batch, d_inner, d_state).
    """
    batch, length, d_inner = x.shape
    h = x.new_zeros(batch, d_inner, A.shape[1]) if initial_state is None else initial_state
    groups = lcm(B.shape[2], C.shape[2])
    B, C = (t.repeat_interleave(groups // t.shape[2], 2) for t in (B, C))
    tensors = x, delta, A, B, C, D, z, delta_bias, h
    # Decided here: inside a Function gradients are always off.
    needs_grad = torch.is_grad_enabled() and any(
        t is not None and t.requires_grad for t in tensors)
    if torch.compiler.is_compiling():
        # The list makes PyTorch compile again for another length. Code for all lengths fails in
        # torch 2.13, which can't say which of the convolution's strides is the larger one.
        chunks = len(_chunks(length, CHUNK_SIZE))
        result, last_state, *_ = _in_graph(*tensors, delta_softplus, needs_grad, chunks)
        return result, last_state
    return _Scan.apply(*tensors, delta_softplus, needs_grad, functions or _own_functions())


def _own_functions() -> ChunkFunctions:
    return ChunkFunctions(forward, backward, CHUNK_SIZE)


def forward(x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, h: Tensor
            ) -> tuple[Tensor, Tensor]:
    """Compute the outputs and the last state of one chunk.

    Channels are split into groups, each with its own B and C. They are the last axis, adjacent
    in memory, so that one CPU instruction handles several.

    Args:
        x: (batch, steps, groups, channels).
        delta: (batch, steps, groups, channels), the final Δ.
        A: (groups, d_state, channels).
        B: (batch, steps, groups, d_state).
        C: (batch, steps, groups, d_state).
        h: (batch, groups, d_state, channels), the state before the chunk.

    Returns:
        y, of x's shape and without skip and gate, and the state after the chunk.
    """
    _, states = _states(x, delta, A, B, h)
    return (C[..., None, :] @ states)[..., 0, :], states[:, -1].clone()


def backward(x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, h: Tensor, dy: Tensor,
             dh: Tensor) -> tuple[Tensor, ...]:
    """Compute the gradients of one chunk.

    Args:
        x: (batch, steps, groups, channels), as in `forward`.
        delta: (batch, steps, groups, channels), the final Δ.
        A: (groups, d_state, channels).
        B: (batch, steps, groups, d_state).
        C: (batch, steps, groups, d_state).
        h: (batch, groups, d_state, channels), the state before the chunk.
        dy: (batch, steps, groups, channels), the gradient of y.
        dh: (batch, groups, d_state, channels), the gradient of the state after the chunk.

    Returns:
        The gradients of x, delta, A, B, C and h, each of its shape.
    """
    A_bar, states = _states(x, delta, A, B, h)
    dy = dy[..., None, :]
    dC = (states @ dy.mT)[..., 0]
    g = C[..., None] * dy
    # In place, from the last step to the first: each g_t adds what comes back from step t + 1.
    for g_t, A_bar_t in zip(reversed(g.unbind(1)), reversed(A_bar.unbind(1)), strict=True):
        dh = g_t.add_(dh).mul(A_bar_t)
    dB = (g @ (delta * x)[..., None]).squeeze(-1)
    d_delta_x = (B[..., None, :] @ g)[..., 0, :]
    # The gradient of the exponent Δ_t A, g_t Ā_t h_{t−1}, overwrites A_bar.
    d_exponent = A_bar.mul_(g)
    d_exponent[:, 0].mul_(h)
    d_exponent[:, 1:].mul_(states[:, :-1])
    dA = (d_exponent * delta[..., None, :]).sum((0, 1))
    d_delta = (d_exponent * A).sum(-2) + d_delta_x * x
    return d_delta_x * delta, d_delta, dA, dB, dC, dh


def _states(x: Tensor, delta: Tensor, A: Tensor, B: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    """Compute Ā and the states, both (batch, steps, groups, d_state, channels)."""
    A_bar = (delta[..., None, :] * A).exp_()
    states = (delta * x)[..., None, :] * B[..., None]      # B̄ x, to which Ā h is added in place
    for A_bar_t, state in zip(A_bar.unbind(1), states.unbind(1), strict=True):
        h = state.addcmul_(A_bar_t, h)
    return A_bar, states


class _Scan(torch.autograd.Function):
    """The scan over all chunks, including Δ = softplus(delta + bias), skip and gate.

    Those are computed chunk by chunk too, so that no intermediate tensor has x's size.
    """

    @staticmethod
    def forward(ctx, *arguments):
        *inputs, _, use_softplus, _, functions = arguments
        result, last_state, before_gate, chunk_states = _Scan.outputs(*arguments)
        ctx.use_softplus = use_softplus
        ctx.functions = functions
        ctx.save_for_backward(*inputs, before_gate, *chunk_states)
        return result, last_state

    @staticmethod
    def outputs(x, delta, A, B, C, D, z, bias, h, use_softplus, needs_grad, functions):
        inputs = x, delta, A, B, C, D, z, bias
        result = x.new_empty(x.shape)
        x, delta, A, B, C, D, z, bias = _by_group(*inputs)
        out, h = _split_channels(result, B.shape[2]), _channels_last(h.detach(), B.shape[2])
        before_gate = torch.empty_like(out) if needs_grad and z is not None else None
        chunk_states = []
        for chunk in _chunks(x.shape[1], functions.size):
            if needs_grad:
                chunk_states.append(h)
            x_chunk = x[:, chunk].contiguous()
            _, delta_chunk = _delta(delta[:, chunk], bias, use_softplus)
            y, h = functions.forward(x_chunk, delta_chunk, A, B[:, chunk], C[:, chunk], h)
            if D is not None:
                y.addcmul_(D, x_chunk)
            if before_gate is not None:
                before_gate[:, chunk] = y
            if z is not None:
                y.mul_(silu(z[:, chunk]))
            out[:, chunk] = y
        # A copy: what a Function returns can be changed in place only if it is no view.
        last_state = _state_last(h).clone(memory_format=torch.contiguous_format)
        return result, last_state, before_gate, chunk_states

    @staticmethod
    def backward(ctx, d_out, d_last):
        return *call_once(_Scan.gradients, INSTEAD, d_out, d_last, ctx.use_softplus,
                          ctx.functions, *ctx.saved_tensors), None, None, None

    @staticmethod
    @without_autocast
    def gradients(d_out, d_last, use_softplus, functions, *saved):
        before_gate, *chunk_states = saved[8:]
        x, delta, A, B, C, D, z, bias = _by_group(*saved[:8])
        d_out, dh = _split_channels(d_out, A.shape[0]), _channels_last(d_last, A.shape[0])
        dx, d_delta, dB, dC = (t.new_empty(t.shape) for t in (x, delta, B, C))
        dA, dD, dz, d_bias = (t if t is None else t.new_zeros(t.shape) for t in (A, D, z, bias))
        chunks = list(zip(_chunks(x.shape[1], functions.size), chunk_states, strict=True))
        for chunk, h in reversed(chunks):
            x_chunk, dy = x[:, chunk].contiguous(), d_out[:, chunk].contiguous()
            raw, delta_chunk = _delta(delta[:, chunk], bias, use_softplus)
            if z is not None:
                dz[:, chunk] = torch.ops.aten.silu_backward(
                    dy * before_gate[:, chunk], z[:, chunk])
                dy = dy * silu(z[:, chunk])
            dx[:, chunk], d_raw, dA_chunk, dB[:, chunk], dC[:, chunk], dh = functions.backward(
                x_chunk, delta_chunk, A, B[:, chunk], C[:, chunk], h, dy, dh)
            dA += dA_chunk
            if D is not None:
                dx[:, chunk].addcmul_(D, dy)
                dD += (dy * x_chunk).sum((0, 1))
            if use_softplus:
                d_raw = torch.ops.aten.softplus_backward(d_raw, raw, 1, 20)
            if bias is not None:
                d_bias += d_raw.sum((0, 1))
            d_delta[:, chunk] = d_raw
        dx, d_delta, dz = (t if t is None else t.flatten(2) for t in (dx, d_delta, dz))
        dD, d_bias = (t if t is None else t.flatten() for t in (dD, d_bias))
        return dx, d_delta, _state_last(dA), dB, dC, dD, dz, d_bias, _state_last(dh)


@without_autocast
def _operator(x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None,
              z: Tensor | None, bias: Tensor | None, h: Tensor, use_softplus: bool,
              needs_grad: bool, chunks: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """y and the last state, and what the backward pass needs: y before its gate, and the state
    before each chunk, (chunks, batch, groups, d_state, channels), or empty tensors. `chunks`, how
    many there are, is for `_fake`."""
    result, last_state, before_gate, chunk_states = _Scan.outputs(
        x, delta, A, B, C, D, z, bias, h, use_softplus, needs_grad, _own_functions())
    return (result, last_state, x.new_empty(0) if before_gate is None else before_gate,
            torch.stack(chunk_states) if chunk_states else x.new_empty(0))


@without_autocast
def _operator_gradients(d_out: Tensor, d_last: Tensor, use_softplus: bool, x: Tensor,
                        delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None,
                        z: Tensor | None, bias: Tensor | None, before_gate: Tensor,
                        chunk_states: Tensor) -> list[Tensor]:
    """The gradients of x, …, bias and h; empty for what is not given."""
    gradients = _Scan.gradients(d_out, d_last, use_softplus, _own_functions(), x, delta, A, B, C, D,
                                z, bias, before_gate, *chunk_states)
    return [x.new_empty(0) if t is None else t.contiguous() for t in gradients]


def _save(ctx, inputs, output):
    *tensors, _, use_softplus, _, _ = inputs
    _, _, before_gate, chunk_states = output
    ctx.use_softplus = use_softplus
    ctx.save_for_backward(*tensors, before_gate, chunk_states)


def _gradients(backward, ctx, d_out, d_last, *_):
    gradients = backward(d_out, d_last, ctx.use_softplus, *ctx.saved_tensors)
    given = *ctx.saved_tensors[:8], d_last
    return *(None if t is None else gradient
             for t, gradient in zip(given, gradients, strict=True)), None, None, None


def _fake(x, delta, A, B, C, D, z, bias, h, use_softplus, needs_grad, chunks):
    batch, length, d_inner = x.shape
    groups = B.shape[2]
    in_groups = batch, length, groups, d_inner // groups
    states = chunks, batch, groups, A.shape[1], d_inner // groups
    return (x.new_empty(x.shape), h.new_empty(h.shape),
            x.new_empty(in_groups if needs_grad and z is not None else 0),
            x.new_empty(states if needs_grad else 0))


def _fake_gradients(d_out, d_last, use_softplus, *saved):
    *tensors, _, _ = saved
    return [d_out.new_empty(0 if t is None else t.shape) for t in (*tensors, d_last)]


_in_graph = differentiable(
    "scan_in_chunks", _operator, _operator_gradients, save=_save, gradients=_gradients,
    fake=_fake, fake_backward=_fake_gradients, instead=INSTEAD)


def _chunks(length: int, size: int) -> list[slice]:
    """Cut the time axis into chunks; the last may be shorter."""
    return [slice(start, start + size) for start in range(0, length, size)]


def _delta(delta: Tensor, bias: Tensor | None, use_softplus: bool) -> tuple[Tensor, Tensor]:
    """Return delta + bias, and the final Δ, which is its softplus if asked for."""
    raw = delta.contiguous() if bias is None else delta + bias
    return raw, softplus(raw) if use_softplus else raw


def _by_group(*tensors: Tensor | None) -> tuple[Tensor | None, ...]:
    """Bring x, delta, A, B, C, D, z and bias into the shapes that `forward` takes."""
    # Detached, because a compiled chunk would be compiled again for tensors that require
    # gradients, which views of an input do even within a Function.
    x, delta, A, B, C, D, z, bias = (t if t is None else t.detach() for t in tensors)
    groups = B.shape[2]
    x, delta, z, D, bias = (_split_channels(t, groups) for t in (x, delta, z, D, bias))
    return x, delta, _channels_last(A, groups), B.contiguous(), C.contiguous(), D, z, bias


def _split_channels(x: Tensor | None, groups: int) -> Tensor | None:
    """Reshape (..., d_inner) to (..., groups, channels); None stays None."""
    return x if x is None else x.unflatten(-1, (groups, -1))


def _channels_last(x: Tensor, groups: int) -> Tensor:
    """Reshape (..., d_inner, d_state) to (..., groups, d_state, channels)."""
    # Copied even if contiguous: a group axis of size 1 may still have another stride, and a
    # compiled chunk would be compiled again for it.
    return x.unflatten(-2, (groups, -1)).mT.clone(memory_format=torch.contiguous_format)


def _state_last(x: Tensor) -> Tensor:
    """Reshape (..., groups, d_state, channels) to (..., d_inner, d_state)."""
    return x.mT.flatten(-3, -2)
