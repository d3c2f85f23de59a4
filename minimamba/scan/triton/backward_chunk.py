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
    sum_dB_dC,
    sum_over_channels,
    sum_over_lanes,
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
    """Pointers to what has one number per step: gradients, and y, which has z's gate. dz or y may
    be None."""

    dx: tl.tensor
    d_delta: tl.tensor
    dz: tl.tensor
    y: tl.tensor
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


class Tile(NamedTuple):
    """The inputs of a tile, each (LANES, PER_LANE)."""

    x: tl.tensor
    dt: tl.tensor
    """Δ before softplus, with the bias."""
    delta: tl.tensor
    delta_x: tl.tensor
    d_out: tl.tensor
    dy: tl.tensor
    z: tl.tensor
    """Any tensor if there is no z, and so is the gate."""
    gate: tl.tensor
    """sigmoid(z)."""


class StateSums(NamedTuple):
    """Sums over the state dimension in a tile, each (LANES, PER_LANE)."""

    B_dh: tl.tensor
    A_d_exponent: tl.tensor
    C_h: tl.tensor


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
                     TILE: tl.constexpr, PER_LANE: tl.constexpr, RUN: tl.constexpr):
    """Walk through a chunk from the state h before it, and write the state before each tile to
    `tile_states`. Returns the sum of Δ by step of the tile, (LANES, PER_LANE)."""
    delta_sum = tl.zeros(block.channels.shape, tl.float32)
    for start in tl.range(chunk_start, chunk_start + CHUNK, 2 * TILE, num_stages=STAGES):
        offsets, inside = pair_offsets(block, span, start, d_inner, TILE, PER_LANE, RUN)
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
def tile_gradients(dh, dA, h, tile, B, C, A_log2e, correction, TILE: tl.constexpr):
    """Gradients of one tile's recurrence, from the state h before it and dh after it.

    Returns dh before the tile and dA with the tile's part added; then tuples of TILE tensors
    (LANES, PER_LANE, N / TILE), one per step: the products that are to be summed over the state,
    C h, B dh and A d(Δ A), and those that are to be summed over channels, dB and dC.
    """
    states = (h,)
    decays = ()
    for k in tl.static_range(TILE):
        A_bar = decay(broadcast_step(tile.delta, k, TILE), A_log2e, correction)
        h = A_bar * h + B[k] * broadcast_step(tile.delta_x, k, TILE)
        states = states + (h,)
        decays = decays + (A_bar,)
    C_h, B_dh, A_d_exponent, dBC = (), (), (), ()
    for k in tl.static_range(TILE - 1, -1, -1):
        dy = broadcast_step(tile.dy, k, TILE)
        dh += C[k] * dy
        dBC = (sum_dB_dC(dh * broadcast_step(tile.delta_x, k, TILE), states[k + 1] * dy, TILE),
               ) + dBC
        C_h = (tl.sum(C[k] * states[k + 1], 2),) + C_h
        B_dh = (tl.sum(dh * B[k], 2),) + B_dh
        dh *= decays[k]
        d_exponent = dh * states[k]
        A_d_exponent = (tl.sum(d_exponent * A_log2e, 2),) + A_d_exponent
        dA += d_exponent * broadcast_step(tile.delta, k, TILE)
    return dh, dA, C_h, B_dh, A_d_exponent, sum_over_channels(dBC, TILE)


@triton.jit
def add_dBC(pointers, sums, ATOMIC: tl.constexpr):
    """Add to dB and dC of a tile, where other programs do too if ATOMIC."""
    if ATOMIC:
        tl.atomic_add(pointers, sums, sem="relaxed")
    else:
        tl.store(pointers, sums)


@triton.jit
def load_inputs(inputs, offsets, inside):
    """Two successive tiles of x, delta, d_out and z, as pairs; x again if there is no z."""
    x = load_pair(inputs.x, offsets, inside)
    dt = load_pair(inputs.delta, offsets, inside)
    d_out = load_pair(inputs.d_out, offsets, inside)
    z = x
    if inputs.z is not None:
        z = load_pair(inputs.z, offsets, inside)
    return x, dt, d_out, z


@triton.jit
def tile_of(pairs, i: tl.constexpr, bias, own, GATED: tl.constexpr, SOFTPLUS: tl.constexpr):
    """The `Tile` with index i of two that `load_inputs` loaded."""
    x, d_out, z = pairs[0][i], pairs[2][i], pairs[3][i]
    dt = pairs[1][i] + bias
    delta = masked_delta(dt, own, SOFTPLUS)
    gate = z
    dy = d_out
    if GATED:
        gate = sigmoid(z)
        dy = d_out * z * gate  # in half precision the first product is exact
    return Tile(x, dt, delta, delta * x, d_out, dy, z, gate)


@triton.jit
def store_gradients(outputs, tile, sums, per_channel, block, span, t, own, d_inner: tl.constexpr,
                    SOFTPLUS: tl.constexpr, RUN: tl.constexpr):
    """Write the gradients of x, delta and z of the tile at step t, and y, from the `StateSums`.
    Returns the gradient of delta."""
    d_delta = sums.B_dh * tile.x + sums.A_d_exponent * LN_2
    if SOFTPLUS:
        d_delta *= sigmoid(tile.dt)
    d_delta = tl.where(own, d_delta, 0.0)
    dx = sums.B_dh * tile.delta + per_channel.D * tile.dy
    store_tile(outputs.dx, dx, block, span, t, own, d_inner, RUN)
    store_tile(outputs.d_delta, d_delta, block, span, t, own, d_inner, RUN)
    if outputs.dz is not None:
        before_gate = per_channel.D * tile.x + sums.C_h
        dz = before_gate * tile.d_out * tile.gate * (1 + tile.z * (1 - tile.gate))
        store_tile(outputs.dz, dz, block, span, t, own, d_inner, RUN)
        if outputs.y is not None:
            y = before_gate * tile.z * tile.gate
            store_tile(outputs.y, y, block, span, t, own, d_inner, RUN)
    return d_delta


@triton.jit
def chunk_gradients(dh, inputs, outputs, per_channel, tile_states, chunk_start, correction, block,
                    span, d_inner: tl.constexpr, N: tl.constexpr, SOFTPLUS: tl.constexpr,
                    ATOMIC: tl.constexpr, PADDED: tl.constexpr, STEP: tl.constexpr,
                    CHUNK: tl.constexpr, TILE: tl.constexpr, PER_LANE: tl.constexpr,
                    RUN: tl.constexpr):
    """Walk back through a chunk from dh after it, and write its gradients to `outputs`.

    Returns dh before the chunk, and the chunk's `Sums`.
    """
    dA = tl.zeros_like(per_channel.A_log2e)
    zero = tl.zeros(block.channels.shape, tl.float32)
    dD, dD_excess, d_bias, d_bias_excess = zero, zero, zero, zero
    chunk_dBC = outputs.dBC + chunk_start.to(tl.int64) * 2 * N
    for walked in tl.range(2 * TILE, CHUNK + 2 * TILE, 2 * TILE, num_stages=STAGES):
        start = chunk_start + CHUNK - walked
        offsets, inside = pair_offsets(block, span, start, d_inner, TILE, PER_LANE, RUN)
        pairs = load_inputs(inputs, offsets, inside)
        for i in tl.static_range(1, -1, -1):
            t = start + i * TILE
            own = owned(block, span, t)
            B = load_steps(inputs.B, t, span, N, STEP, TILE, PADDED)
            C = load_steps(inputs.C, t, span, N, STEP, TILE, PADDED)
            h = load_states(tile_states + (t - chunk_start) // TILE * N * d_inner, block,
                            block.lane_channels_left, N)
            tile = tile_of(pairs, i, per_channel.bias, own, inputs.z is not None, SOFTPLUS)
            dh, dA, C_h, B_dh, A_d_exponent, dBC = tile_gradients(
                dh, dA, h, tile, B, C, per_channel.A_log2e, correction, TILE)
            sums = StateSums(sum_over_lanes(B_dh, TILE), sum_over_lanes(A_d_exponent, TILE),
                             sum_over_lanes(C_h, TILE))
            d_delta = store_gradients(outputs, tile, sums, per_channel, block, span, t, own,
                                      d_inner, SOFTPLUS, RUN)
            dD, dD_excess = kahan_add(dD, dD_excess, tile.dy * tile.x)
            d_bias, d_bias_excess = kahan_add(d_bias, d_bias_excess, d_delta)
            add_dBC(chunk_dBC + (t - chunk_start) * 2 * N, dBC, ATOMIC)
    return dh, Sums(dA, dD, d_bias)
