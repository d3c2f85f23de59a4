"""One chunk of the backward pass: recompute its states, then walk back through it.

The state before the chunk was saved by `forward`. `recompute_states` walks through the chunk and
writes down the state before each tile; `chunk_gradients` walks back tile by tile, and in a tile
recomputes TILE states once more, now in registers, before it takes TILE steps back.

Gradients are named d_…; dh is the gradient of the state. With h_t = Ā_t h_{t−1} + B_t Δ_t x_t,
y_t = ⟨C_t, h_t⟩ + D x_t and the output out_t = y_t silu(z_t), one step back is

    dh += C_t dy_t        dC_t = h_t dy_t        dB_t = dh Δ_t x_t        d(Δ_t x_t) = ⟨B_t, dh⟩
    dh *= Ā_t             d(Δ_t A) = dh h_{t−1}

where dy_t = silu(z_t) d_out_t. A_log2e stands for A, so ⟨A, d(Δ_t A)⟩ is multiplied by ln 2.
"""

from typing import NamedTuple

import triton
import triton.language as tl

from minimamba.scan.triton.forward import next_state
from minimamba.scan.triton.lanes import (
    LN_2,
    STAGES,
    broadcast_step,
    decay,
    kahan_add,
    masked_delta,
    sigmoid,
    sum_over_channels,
    sum_over_states,
)
from minimamba.scan.triton.memory import (
    load_pair,
    load_states,
    load_steps,
    owned,
    pair_offsets,
    store_states,
    store_tile,
)


class Inputs(NamedTuple):
    """Pointers to the arrays that the walks through a chunk read; z may be None."""

    x: tl.tensor
    delta: tl.tensor
    B: tl.tensor
    """The `first_row`, and so is C."""
    C: tl.tensor
    z: tl.tensor
    d_out: tl.tensor


class Outputs(NamedTuple):
    """Pointers to the gradients with one number per step; dz may be None."""

    dx: tl.tensor
    d_delta: tl.tensor
    dz: tl.tensor
    dBC: tl.tensor
    """(2 TILE², N / TILE): where `sum_over_channels` goes for the first tile of the sequence."""


class PerChannel(NamedTuple):
    """What is the same at every step."""

    A_log2e: tl.tensor
    """(LANES, PER_LANE, N / TILE)."""
    D: tl.tensor
    """(LANES, PER_LANE)."""
    bias: tl.tensor
    """(LANES, PER_LANE)."""


class Sums(NamedTuple):
    """Gradients that are sums over the steps of a chunk."""

    dA: tl.tensor
    """(LANES, PER_LANE, N / TILE)."""
    dD: tl.tensor
    """(LANES, PER_LANE), by step of the tile; and so is d_bias."""
    d_bias: tl.tensor


@triton.jit
def recompute_states(h, inputs, per_channel, tile_states, chunk_start, block, span,
                     d_inner: tl.constexpr, N: tl.constexpr, SOFTPLUS: tl.constexpr,
                     PADDED: tl.constexpr, STEP: tl.constexpr, CHUNK: tl.constexpr,
                     TILE: tl.constexpr, PER_LANE: tl.constexpr):
    """Walk through a chunk from the state h before it, and write the state before each tile to
    `tile_states`. Returns the sum of Δ by step of the tile, (LANES, PER_LANE)."""
    delta_sum = tl.zeros(block.channels.shape, tl.float32)
    for start in tl.range(chunk_start, chunk_start + CHUNK, 2 * TILE, num_stages=STAGES):
        offsets, inside = pair_offsets(block, span, start, d_inner, TILE, PER_LANE)
        x = load_pair(inputs.x, offsets, inside)
        dt = load_pair(inputs.delta, offsets, inside)
        for i in tl.static_range(2):
            t = start + i * TILE
            store_states(tile_states + (t - chunk_start) // TILE * N * d_inner, h, block, N)
            delta = masked_delta(dt[i] + per_channel.bias, owned(block, span, t), SOFTPLUS)
            delta_x = delta * x[i]
            B = load_steps(inputs.B, t, span, N, STEP, TILE, PADDED)
            for k in tl.static_range(TILE):
                h = next_state(h, delta, delta_x, B, per_channel.A_log2e, k, TILE)
            delta_sum += delta
    return delta_sum


@triton.jit
def tile_gradients(dh, dA, h, delta, delta_x, dy, B, C, A_log2e, correction,
                   TILE: tl.constexpr):
    """Gradients of one tile's recurrence, from the state h before it and dh after it.

    Returns dh before the tile and dA with the tile's part added; then tuples of TILE tensors
    (LANES, PER_LANE, N / TILE), one per step: the products that are to be summed over the state,
    C h, B dh and A d(Δ A), and those that are to be summed over channels, dB and dC.
    """
    states = (h,)
    decays = ()
    for k in tl.static_range(TILE):
        A_bar = decay(broadcast_step(delta, k, TILE), A_log2e, correction)
        h = A_bar * h + B[k] * broadcast_step(delta_x, k, TILE)
        states = states + (h,)
        decays = decays + (A_bar,)
    C_h, B_dh, A_d_exponent, dB, dC = (), (), (), (), ()
    for k in tl.static_range(TILE - 1, -1, -1):
        dh += C[k] * broadcast_step(dy, k, TILE)
        dB = (dh * broadcast_step(delta_x, k, TILE),) + dB
        dC = (states[k + 1] * broadcast_step(dy, k, TILE),) + dC
        C_h = (C[k] * states[k + 1],) + C_h
        B_dh = (dh * B[k],) + B_dh
        dh *= decays[k]
        d_exponent = dh * states[k]
        A_d_exponent = (d_exponent * A_log2e,) + A_d_exponent
        dA += d_exponent * broadcast_step(delta, k, TILE)
    return dh, dA, C_h, B_dh, A_d_exponent, dB, dC


@triton.jit
def add_dBC(pointers, sums, ATOMIC: tl.constexpr):
    """Add to dB and dC of a tile, where other programs do too if ATOMIC."""
    if ATOMIC:
        tl.atomic_add(pointers, sums, sem="relaxed")
    else:
        tl.store(pointers, sums)


@triton.jit
def chunk_gradients(dh, inputs, outputs, per_channel, tile_states, chunk_start, correction, block,
                    span, d_inner: tl.constexpr, N: tl.constexpr, SOFTPLUS: tl.constexpr,
                    ATOMIC: tl.constexpr, PADDED: tl.constexpr, STEP: tl.constexpr,
                    CHUNK: tl.constexpr, TILE: tl.constexpr, PER_LANE: tl.constexpr):
    """Walk back through a chunk from dh after it, and write its gradients to `outputs`.

    Returns dh before the chunk, and the chunk's `Sums`.
    """
    dA = tl.zeros_like(per_channel.A_log2e)
    zero = tl.zeros(block.channels.shape, tl.float32)
    dD, dD_excess, d_bias, d_bias_excess = zero, zero, zero, zero
    chunk_dBC = outputs.dBC + chunk_start.to(tl.int64) * 2 * N
    for walked in tl.range(2 * TILE, CHUNK + 2 * TILE, 2 * TILE, num_stages=STAGES):
        start = chunk_start + CHUNK - walked
        offsets, inside = pair_offsets(block, span, start, d_inner, TILE, PER_LANE)
        x_pair = load_pair(inputs.x, offsets, inside)
        dt_pair = load_pair(inputs.delta, offsets, inside)
        d_out_pair = load_pair(inputs.d_out, offsets, inside)
        z_pair = x_pair
        if inputs.z is not None:
            z_pair = load_pair(inputs.z, offsets, inside)
        for i in tl.static_range(1, -1, -1):
            t = start + i * TILE
            own = owned(block, span, t)
            B = load_steps(inputs.B, t, span, N, STEP, TILE, PADDED)
            C = load_steps(inputs.C, t, span, N, STEP, TILE, PADDED)
            h = load_states(tile_states + (t - chunk_start) // TILE * N * d_inner, block,
                            block.lane_channels_left, N)
            x, d_out, z = x_pair[i], d_out_pair[i], z_pair[i]
            dt = dt_pair[i] + per_channel.bias
            delta = masked_delta(dt, own, SOFTPLUS)
            delta_x = delta * x
            dy = d_out
            if inputs.z is not None:
                gate = sigmoid(z)
                dy = d_out * z * gate  # in half precision the first product is exact
            dh, dA, C_h, B_dh, A_d_exponent, dB, dC = tile_gradients(
                dh, dA, h, delta, delta_x, dy, B, C, per_channel.A_log2e, correction, TILE)
            d_delta_x = sum_over_states(B_dh, TILE)
            d_delta = d_delta_x * x + sum_over_states(A_d_exponent, TILE) * LN_2
            if SOFTPLUS:
                d_delta *= sigmoid(dt)
            d_delta = tl.where(own, d_delta, 0.0)
            dD, dD_excess = kahan_add(dD, dD_excess, dy * x)
            d_bias, d_bias_excess = kahan_add(d_bias, d_bias_excess, d_delta)
            dx = d_delta_x * delta + per_channel.D * dy
            store_tile(outputs.dx, dx, block, span, t, own, d_inner)
            store_tile(outputs.d_delta, d_delta, block, span, t, own, d_inner)
            if inputs.z is not None:
                d_gate = (per_channel.D * x + sum_over_states(C_h, TILE)) * d_out
                dz = d_gate * gate * (1 + z * (1 - gate))
                store_tile(outputs.dz, dz, block, span, t, own, d_inner)
            add_dBC(chunk_dBC + (t - chunk_start) * 2 * N, sum_over_channels(dB, dC, TILE),
                    ATOMIC)
    return dh, Sums(dA, dD, d_bias)
