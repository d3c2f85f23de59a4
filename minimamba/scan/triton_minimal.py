"""The selective scan as Triton kernels without tricks: the ones to read first, and to write.

One program walks along time for a block of channels of one sequence, with their hidden states in
registers. The backward kernel does not have those states any more: the forward one saved the state
before every CHUNK-th step, and the backward recomputes the others, a chunk at a time.

    h_t = exp(Δ_t A) h_{t−1} + Δ_t B_t x_t,   y_t = ⟨C_t, h_t⟩ + D x_t,   output = y_t silu(z_t)

(Gu and Dao 2023, arXiv:2312.00752, algorithm 2.) `minimamba.scan.triton` computes the same, faster:
measured on an H100 for bfloat16 inputs of 8 × 2048 × 1536 and d_state 16, in 0.09 of the GPU time
forward, and 0.10 forward + backward.

| tensor | shape in memory |
|---|---|
| x, Δ, z, y | (batch, length, d_inner), float32, bfloat16 or float16 |
| A | (d_inner, d_state), float32 |
| B, C | (batch, length, d_state), float32 |
| chunk_states | (batch, chunks, d_inner, d_state), float32 |
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
def next_state(h, delta, x, A, B):
    """One step of the recurrence: h (BLOCK, N), Δ and x (BLOCK,), A (BLOCK, N), B (N,)."""
    return tl.exp(delta[:, None] * A) * h + (delta * x)[:, None] * B[None, :]


@triton.jit
def load_step(row, pointer, channel, exists):
    """Load one step of a (rows, d_inner) tensor as float32."""
    return tl.load(pointer + row + channel, exists, 0.0).to(tl.float32)


@triton.jit
def forward_kernel(x, delta, A, B, C, D, z, bias, y, chunk_states, length, d_inner, d_state,
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
    h = tl.zeros((BLOCK, N), tl.float32)
    for t in range(length):
        if t % CHUNK == 0:
            chunk = batch * tl.cdiv(length, CHUNK) + t // CHUNK
            tl.store(chunk_states + chunk * d_inner * d_state + state, h, state_exists)
        row = (batch * length + t) * d_inner
        x_t = load_step(row, x, channel, exists)
        delta_t = load_step(row, delta, channel, exists)
        if bias is not None:
            delta_t += tl.load(bias + channel, exists, 0.0)
        if SOFTPLUS:
            delta_t = softplus(delta_t)
        B_t = tl.load(B + (batch * length + t) * d_state + n, n < d_state, 0.0)
        C_t = tl.load(C + (batch * length + t) * d_state + n, n < d_state, 0.0)
        h = next_state(h, delta_t, x_t, A_, B_t)
        y_t = tl.sum(h * C_t[None, :], 1)
        if D is not None:
            y_t += tl.load(D + channel, exists, 0.0) * x_t
        if z is not None:
            z_t = load_step(row, z, channel, exists)
            y_t *= z_t * tl.sigmoid(z_t)
        tl.store(y + row + channel, y_t.to(y.dtype.element_ty), exists)


@triton.jit
def recompute_states(h, x, delta, B, states, A_, bias_, first_step, steps, channel, state, d_inner,
                     d_state, SOFTPLUS: tl.constexpr, N: tl.constexpr):
    """Store the state before each step of a chunk, from the state h before the first one."""
    n = tl.arange(0, N)
    exists = channel < d_inner
    state_exists = exists[:, None] & (n < d_state)[None, :]
    for i in range(steps):
        tl.store(states + i * d_inner * d_state + state, h, state_exists)
        row = (first_step + i) * d_inner
        delta_t = load_step(row, delta, channel, exists) + bias_
        if SOFTPLUS:
            delta_t = softplus(delta_t)
        B_t = tl.load(B + (first_step + i) * d_state + n, n < d_state, 0.0)
        h = next_state(h, delta_t, load_step(row, x, channel, exists), A_, B_t)


@triton.jit
def backward_kernel(x, delta, A, B, C, D, z, bias, chunk_states, dy, states, dx, d_delta, dA, dB,
                    dC, dD, dz, d_bias, length, d_inner, d_state, SOFTPLUS: tl.constexpr,
                    CHUNK: tl.constexpr, BLOCK: tl.constexpr, N: tl.constexpr):
    """All gradients, from the last step to the first. Grid: (batch, blocks of channels).

    `states` (batch, CHUNK, d_inner, d_state) is room for the states before each step of a chunk.
    Several programs add to each number of dA, dB, dC, dD and d_bias.
    """
    batch = tl.program_id(0).to(tl.int64)
    channel = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    n = tl.arange(0, N)
    exists = channel < d_inner
    state = channel[:, None] * d_state + n[None, :]
    state_exists = exists[:, None] & (n < d_state)[None, :]
    size = d_inner * d_state
    A_ = tl.load(A + state, state_exists, 0.0)
    D_ = tl.zeros((BLOCK,), tl.float32)
    if D is not None:
        D_ = tl.load(D + channel, exists, 0.0)
    bias_ = tl.zeros((BLOCK,), tl.float32)
    if bias is not None:
        bias_ = tl.load(bias + channel, exists, 0.0)
    dh = tl.zeros((BLOCK, N), tl.float32)    # the gradient of h_t that comes from later steps
    dA_ = tl.zeros((BLOCK, N), tl.float32)
    dD_ = tl.zeros((BLOCK,), tl.float32)
    d_bias_ = tl.zeros((BLOCK,), tl.float32)
    chunks = tl.cdiv(length, CHUNK)
    for back in range(chunks):
        chunk = chunks - 1 - back
        begin = chunk * CHUNK
        steps = tl.minimum(CHUNK, length - begin)
        h = tl.load(chunk_states + (batch * chunks + chunk) * size + state, state_exists, 0.0)
        recompute_states(h, x, delta, B, states + batch * CHUNK * size, A_, bias_,
                         batch * length + begin, steps, channel, state, d_inner, d_state,
                         SOFTPLUS, N)
        tl.debug_barrier()                   # what one thread has stored, another will load
        for i in range(steps):
            t = begin + steps - 1 - i
            row = (batch * length + t) * d_inner
            BC = (batch * length + t) * d_state + n
            x_t = load_step(row, x, channel, exists)
            dt = load_step(row, delta, channel, exists) + bias_
            delta_t = dt
            if SOFTPLUS:
                delta_t = softplus(dt)
            B_t = tl.load(B + BC, n < d_state, 0.0)
            C_t = tl.load(C + BC, n < d_state, 0.0)
            dy_t = load_step(row, dy, channel, exists)
            before = tl.load(states + (batch * CHUNK + t - begin) * size + state, state_exists, 0.0)
            A_bar = tl.exp(delta_t[:, None] * A_)
            h = A_bar * before + (delta_t * x_t)[:, None] * B_t[None, :]
            if z is not None:                # output = y silu(z)
                z_t = load_step(row, z, channel, exists)
                gate = tl.sigmoid(z_t)
                y_t = tl.sum(h * C_t[None, :], 1) + D_ * x_t
                dz_t = dy_t * y_t * gate * (1.0 + z_t * (1.0 - gate))
                tl.store(dz + row + channel, dz_t.to(dz.dtype.element_ty), exists)
                dy_t *= z_t * gate
            dh += dy_t[:, None] * C_t[None, :]                       # y_t = ⟨C_t, h_t⟩ + D x_t
            tl.atomic_add(dC + BC, tl.sum(dy_t[:, None] * h, 0), n < d_state)
            dD_ += dy_t * x_t
            dh_B = tl.sum(dh * B_t[None, :], 1)                      # h_t = … + Δ_t B_t x_t
            tl.atomic_add(dB + BC, tl.sum(dh * (delta_t * x_t)[:, None], 0), n < d_state)
            dx_t = D_ * dy_t + delta_t * dh_B
            dh = A_bar * dh                                          # h_t = exp(Δ_t A) h_{t−1} + …
            d_exponent = dh * before                                 # the gradient of Δ_t A
            dA_ += d_exponent * delta_t[:, None]
            d_delta_t = tl.sum(d_exponent * A_, 1) + x_t * dh_B
            if SOFTPLUS:
                d_delta_t *= tl.sigmoid(dt)
            d_bias_ += d_delta_t
            tl.store(dx + row + channel, dx_t.to(dx.dtype.element_ty), exists)
            tl.store(d_delta + row + channel, d_delta_t.to(d_delta.dtype.element_ty), exists)
        tl.debug_barrier()                   # all is loaded before the next chunk overwrites it
    tl.atomic_add(dA + state, tl.where(state_exists, dA_, 0.0), state_exists)
    tl.atomic_add(dD + channel, dD_, exists)
    tl.atomic_add(d_bias + channel, d_bias_, exists)


class MinimalScan(torch.autograd.Function):
    """The two kernels as a differentiable function; call it through `selective_scan_minimal`."""

    @staticmethod
    def forward(ctx, x, delta, A, B, C, D, z, delta_bias, delta_softplus):
        batch, length, d_inner = x.shape
        d_state = A.shape[1]
        y = torch.empty_like(x)
        chunk_states = A.new_empty(batch, triton.cdiv(length, CHUNK), d_inner, d_state)
        grid = batch, triton.cdiv(d_inner, BLOCK)
        forward_kernel[grid](x, delta, A, B, C, D, z, delta_bias, y, chunk_states, length, d_inner,
                             d_state, SOFTPLUS=delta_softplus, CHUNK=CHUNK, BLOCK=BLOCK,
                             N=triton.next_power_of_2(d_state))
        ctx.save_for_backward(x, delta, A, B, C, D, z, delta_bias, chunk_states)
        ctx.delta_softplus = delta_softplus
        return y

    @staticmethod
    def backward(ctx, dy):
        return call_once(MinimalScan.gradients, INSTEAD, *ctx.saved_tensors, dy,
                         ctx.delta_softplus)

    @staticmethod
    def gradients(x, delta, A, B, C, D, z, delta_bias, chunk_states, dy, delta_softplus):
        batch, length, d_inner = x.shape
        d_state = A.shape[1]
        dx, d_delta = torch.empty_like(x), torch.empty_like(delta)
        dz = None if z is None else torch.empty_like(z)
        dA, dB, dC = torch.zeros_like(A), torch.zeros_like(B), torch.zeros_like(C)
        dD, d_bias = A.new_zeros(d_inner), A.new_zeros(d_inner)
        states = A.new_empty(batch, CHUNK, d_inner, d_state)
        grid = batch, triton.cdiv(d_inner, BLOCK)
        backward_kernel[grid](x, delta, A, B, C, D, z, delta_bias, chunk_states, dy.contiguous(),
                              states, dx, d_delta, dA, dB, dC, dD, dz, d_bias, length, d_inner,
                              d_state, SOFTPLUS=delta_softplus, CHUNK=CHUNK, BLOCK=BLOCK,
                              N=triton.next_power_of_2(d_state))
        return (dx, d_delta, dA, dB, dC, None if D is None else dD, dz,
                None if delta_bias is None else d_bias, None)


def selective_scan_minimal(x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor,
                           D: Tensor | None = None, z: Tensor | None = None, *,
                           delta_bias: Tensor | None = None,
                           delta_softplus: bool = False) -> Tensor:
    """Run the selective scan by the two kernels of this module.

    For reading and comparing; `minimamba.selective_scan` checks its arguments and is faster.

    Args:
        x: (batch, length, d_inner), float32, bfloat16 or float16, on a GPU, or on a CPU with
            TRITON_INTERPRET=1.
        delta: (batch, length, d_inner), the step size Δ.
        A: (d_inner, d_state), float32.
        B: (batch, length, d_state).
        C: (batch, length, d_state).
        D: (d_inner,), the skip connection; none if None.
        z: (batch, length, d_inner), the gate; none if None.
        delta_bias: (d_inner,), added to delta before the softplus.
        delta_softplus: whether Δ = softplus(delta + delta_bias).

    Returns:
        y (batch, length, d_inner), in x's dtype.
    """
    x, delta, z = (None if tensor is None else tensor.contiguous() for tensor in (x, delta, z))
    A, B, C, D, delta_bias = (None if tensor is None else tensor.float().contiguous()
                              for tensor in (A, B, C, D, delta_bias))
    return MinimalScan.apply(x, delta, A, B, C, D, z, delta_bias, delta_softplus)
