"""The selective scan as Triton kernels without tricks: the ones to read first, and to write.

Chapter 07 builds the forward kernel, chapter 08 the backward kernel. One program walks along time
for a block of channels of one sequence, with their hidden states in registers:

    h_t = exp(Δ_t A) h_{t−1} + Δ_t B_t x_t,   y_t = ⟨C_t, h_t⟩ + D x_t,   output = y_t silu(z_t)

(Gu and Dao 2023, arXiv:2312.00752, algorithm 2.) The forward kernel saves the state before every
CHUNK-th step. The backward kernel recomputes the others from it, one chunk at a time.

| tensor | shape in memory |
|---|---|
| x, Δ, z, y | (batch, length, d_inner), float32, bfloat16 or float16 |
| A | (d_inner, d_state), float32 |
| B, C | (batch, length, d_state), float32 |
| D | (d_inner,), float32 |
| chunk_states | (batch, chunks, d_inner, d_state), float32 |

States and sums have the dtype of A. All tensors may be float64, for a check of the gradients.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from minimamba.ops.operator import call_once
from minimamba.scan.chunked import INSTEAD

CHUNK = 32
"""Steps from one saved state to the next."""
BLOCK = 32
"""Channels of one program."""


@triton.jit
def softplus(x):
    """log(1 + e^x), without overflow."""
    return tl.maximum(x, 0.0) + tl.log(1.0 + tl.exp(-tl.abs(x)))


@triton.jit
def silu(z):
    """z σ(z)."""
    return z * tl.sigmoid(z)


@triton.jit
def silu_gradient(z):
    """The derivative of silu."""
    gate = tl.sigmoid(z)
    return gate * (1.0 + z * (1.0 - gate))


@triton.jit
def load_step(x, delta, B, C, step, channel, n, d_inner, d_state, A):
    """x_t and Δ_t (BLOCK,) in A's dtype, B_t and C_t (N,); zeros where there is nothing."""
    exists = channel < d_inner
    x_t = tl.load(x + step * d_inner + channel, exists, 0.0).to(A.dtype)
    delta_t = tl.load(delta + step * d_inner + channel, exists, 0.0).to(A.dtype)
    B_t = tl.load(B + step * d_state + n, n < d_state, 0.0)
    C_t = tl.load(C + step * d_state + n, n < d_state, 0.0)
    return x_t, delta_t, B_t, C_t


@triton.jit
def next_state(h, delta, x, A, B):
    """One step of the recurrence: h (BLOCK, N), Δ and x (BLOCK,), A (BLOCK, N), B (N,)."""
    return tl.exp(delta[:, None] * A) * h + (delta * x)[:, None] * B[None, :]


@triton.jit
def forward_kernel(x, delta, A, B, C, D, z, y, chunk_states, length, d_inner, d_state,
                   SOFTPLUS: tl.constexpr, CHUNK: tl.constexpr, BLOCK: tl.constexpr,
                   N: tl.constexpr):
    """y, and the state before each chunk. Grid: (batch, blocks of channels)."""
    batch = tl.program_id(0).to(tl.int64)
    channel = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    n = tl.arange(0, N)                      # N is d_state, or the next power of two
    exists = channel < d_inner
    state = channel[:, None] * d_state + n[None, :]
    state_exists = exists[:, None] & (n < d_state)[None, :]
    A_ = tl.load(A + state, state_exists, 0.0)
    D_ = tl.load(D + channel, exists, 0.0)
    h = tl.zeros_like(A_)
    for t in tl.range(length, num_stages=4):  # inputs of later steps are loaded in advance
        if t % CHUNK == 0:
            chunk = batch * tl.cdiv(length, CHUNK) + t // CHUNK
            tl.store(chunk_states + chunk * d_inner * d_state + state, h, state_exists)
        step = batch * length + t
        x_t, delta_t, B_t, C_t = load_step(x, delta, B, C, step, channel, n, d_inner, d_state, A_)
        if SOFTPLUS:
            delta_t = softplus(delta_t)
        h = next_state(h, delta_t, x_t, A_, B_t)
        y_t = tl.sum(h * C_t[None, :], 1) + D_ * x_t
        place = step * d_inner + channel
        if z is not None:
            y_t *= silu(tl.load(z + place, exists, 0.0).to(A_.dtype))
        tl.store(y + place, y_t.to(y.dtype.element_ty), exists)


@triton.jit
def recompute_states(states, h, x, delta, A, B, step, steps, channel, n, d_inner, d_state,
                     SOFTPLUS: tl.constexpr):
    """Store the state before each step of a chunk, from the state h before its first step."""
    state = channel[:, None] * d_state + n[None, :]
    state_exists = (channel < d_inner)[:, None] & (n < d_state)[None, :]
    for i in range(steps):
        tl.store(states + i * d_inner * d_state + state, h, state_exists)
        x_t, delta_t, B_t, _ = load_step(x, delta, B, B, step + i, channel, n, d_inner, d_state, A)
        if SOFTPLUS:
            delta_t = softplus(delta_t)
        h = next_state(h, delta_t, x_t, A, B_t)
    tl.debug_barrier()                       # what one thread has stored, another will load


@triton.jit
def gradients_of_step(dh, before, x, delta, A, B):
    """From the gradient dh of h_t, those of x_t, Δ_t, A and h_{t−1}."""
    A_bar = tl.exp(delta[:, None] * A)
    d_exponent = dh * A_bar * before         # the gradient of Δ_t A
    dh_B = tl.sum(dh * B[None, :], 1)
    d_delta = tl.sum(d_exponent * A, 1) + x * dh_B
    return delta * dh_B, d_delta, d_exponent * delta[:, None], A_bar * dh


@triton.jit
def add_over_channels(dB, dC, dh, h, x, delta, dy, exists):
    """Add this program's channels to the gradients of B_t and C_t, which all channels share."""
    tl.atomic_add(dB, tl.sum(dh * (delta * x)[:, None], 0), exists)
    tl.atomic_add(dC, tl.sum(h * dy[:, None], 0), exists)


@triton.jit
def backward_kernel(x, delta, A, B, C, D, z, chunk_states, dy, states, dx, d_delta, dA, dB, dC, dD,
                    dz, length, d_inner, d_state, SOFTPLUS: tl.constexpr, CHUNK: tl.constexpr,
                    BLOCK: tl.constexpr, N: tl.constexpr):
    """All gradients, from the last step to the first. Grid: (batch, blocks of channels).

    `states` (batch, CHUNK, d_inner, d_state) has room for the states before each step of a chunk.
    Several programs add to each entry of dA, dB, dC and dD.
    """
    batch = tl.program_id(0).to(tl.int64)
    channel = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    n = tl.arange(0, N)
    exists = channel < d_inner
    state = channel[:, None] * d_state + n[None, :]
    state_exists = exists[:, None] & (n < d_state)[None, :]
    size = d_inner * d_state
    A_ = tl.load(A + state, state_exists, 0.0)
    D_ = tl.load(D + channel, exists, 0.0)
    from_later = tl.zeros_like(A_)           # the gradient of h_t by way of h_{t+1}
    dA_ = tl.zeros_like(A_)
    dD_ = tl.zeros_like(D_)
    chunks = tl.cdiv(length, CHUNK)
    for back in range(chunks):
        chunk = chunks - 1 - back
        first = batch * length + chunk * CHUNK
        steps = tl.minimum(CHUNK, length - chunk * CHUNK)
        h = tl.load(chunk_states + (batch * chunks + chunk) * size + state, state_exists, 0.0)
        recompute_states(states + batch * CHUNK * size, h, x, delta, A_, B, first, steps, channel,
                         n, d_inner, d_state, SOFTPLUS)
        for back_in_chunk in range(steps):
            i = steps - 1 - back_in_chunk
            step = first + i
            place = step * d_inner + channel
            x_t, raw, B_t, C_t = load_step(x, delta, B, C, step, channel, n, d_inner, d_state, A_)
            delta_t = raw
            if SOFTPLUS:
                delta_t = softplus(raw)
            before = tl.load(states + (batch * CHUNK + i) * size + state, state_exists, 0.0)
            h = next_state(before, delta_t, x_t, A_, B_t)
            dy_t = tl.load(dy + place, exists, 0.0).to(A_.dtype)
            if z is not None:                # output = y silu(z)
                z_t = tl.load(z + place, exists, 0.0).to(A_.dtype)
                y_t = tl.sum(h * C_t[None, :], 1) + D_ * x_t
                dz_t = dy_t * y_t * silu_gradient(z_t)
                tl.store(dz + place, dz_t.to(dz.dtype.element_ty), exists)
                dy_t *= silu(z_t)
            dh = from_later + dy_t[:, None] * C_t[None, :]
            dx_t, d_delta_t, dA_t, from_later = gradients_of_step(dh, before, x_t, delta_t, A_, B_t)
            add_over_channels(dB + step * d_state + n, dC + step * d_state + n, dh, h, x_t, delta_t,
                              dy_t, n < d_state)
            dA_ += dA_t
            dD_ += dy_t * x_t
            dx_t += D_ * dy_t
            if SOFTPLUS:
                d_delta_t *= tl.sigmoid(raw)
            tl.store(dx + place, dx_t.to(dx.dtype.element_ty), exists)
            tl.store(d_delta + place, d_delta_t.to(d_delta.dtype.element_ty), exists)
        tl.debug_barrier()                   # all is loaded before the next chunk overwrites it
    tl.atomic_add(dA + state, dA_, state_exists)
    tl.atomic_add(dD + channel, dD_, exists)


class MinimalScan(torch.autograd.Function):
    """The two kernels as a differentiable function; call it through `selective_scan_minimal`."""

    @staticmethod
    def forward(ctx, x, delta, A, B, C, D, z, delta_softplus):
        batch, length, d_inner = x.shape
        d_state = A.shape[1]
        y = torch.empty_like(x)
        chunk_states = A.new_empty(batch, triton.cdiv(length, CHUNK), d_inner, d_state)
        grid = batch, triton.cdiv(d_inner, BLOCK)
        forward_kernel[grid](x, delta, A, B, C, D, z, y, chunk_states, length, d_inner, d_state,
                             SOFTPLUS=delta_softplus, CHUNK=CHUNK, BLOCK=BLOCK,
                             N=triton.next_power_of_2(d_state))
        ctx.save_for_backward(x, delta, A, B, C, D, z, chunk_states)
        ctx.delta_softplus = delta_softplus
        return y

    @staticmethod
    def backward(ctx, dy):
        return call_once(MinimalScan.gradients, INSTEAD, *ctx.saved_tensors, dy,
                         ctx.delta_softplus)

    @staticmethod
    def gradients(x, delta, A, B, C, D, z, chunk_states, dy, delta_softplus):
        batch, length, d_inner = x.shape
        d_state = A.shape[1]
        dx, d_delta = torch.empty_like(x), torch.empty_like(delta)
        dz = None if z is None else torch.empty_like(z)
        dA, dB, dC, dD = (torch.zeros_like(shared) for shared in (A, B, C, D))
        states = A.new_empty(batch, CHUNK, d_inner, d_state)
        grid = batch, triton.cdiv(d_inner, BLOCK)
        backward_kernel[grid](x, delta, A, B, C, D, z, chunk_states, dy.contiguous(), states, dx,
                              d_delta, dA, dB, dC, dD, dz, length, d_inner, d_state,
                              SOFTPLUS=delta_softplus, CHUNK=CHUNK, BLOCK=BLOCK,
                              N=triton.next_power_of_2(d_state))
        return dx, d_delta, dA, dB, dC, dD, dz, None


def selective_scan_minimal(x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor,
                           D: Tensor | None = None, z: Tensor | None = None, *,
                           delta_softplus: bool = False) -> Tensor:
    """Run the selective scan by the two kernels of this module.

    For reading and comparing; `minimamba.selective_scan` checks its arguments and is faster.

    Args:
        x: (batch, length, d_inner), float32, bfloat16 or float16, on a GPU, or on a CPU with
            TRITON_INTERPRET=1. If A is float64, all tensors must be.
        delta: (batch, length, d_inner), the step size Δ.
        A: (d_inner, d_state), float32 or float64: the dtype of states and sums.
        B: (batch, length, d_state).
        C: (batch, length, d_state).
        D: (d_inner,), the skip connection; none if None.
        z: (batch, length, d_inner), the gate; none if None.
        delta_softplus: whether Δ = softplus(delta).

    Returns:
        y (batch, length, d_inner), in x's dtype.
    """
    D = x.new_zeros(x.shape[2]) if D is None else D
    x, delta, z = (None if tensor is None else tensor.contiguous() for tensor in (x, delta, z))
    dtype = torch.float64 if A.dtype == torch.float64 else torch.float32
    A, B, C, D = (tensor.to(dtype).contiguous() for tensor in (A, B, C, D))
    return MinimalScan.apply(x, delta, A, B, C, D, z, delta_softplus)
