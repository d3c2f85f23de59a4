"""The forward kernels: `carry` summarizes parts of the sequence, `forward` computes y.

`forward` is the loop of `scan/reference.py` for a block of channels, with the states in registers;
it never writes a tensor (batch, length, d_inner, N). Where the length is divided into splits,
`carry` runs first: for each piece of a split it finds the last state from a zero start, and
`forward` combines the pieces before its split to the state that enters it.

Arrays besides those listed in `memory.py`, all float32:

| array | shape | contents |
|---|---|---|
| piece_states | (batch, pieces, d_inner, N) | the last state of each piece, from a zero start |
| piece_deltas | (batch, pieces, d_inner) | the sum of Δ over each piece |
| chunk_states | (batch, chunks, d_inner, N) | the state before each chunk, saved for backward |

The last split has no pieces, since no split needs its state; so there are (splits − 1) times the
pieces of a split.
"""

import triton
import triton.language as tl

from minimamba.scan.triton.lanes import (
    LOG2_E,
    RUNTIME_SIZES,
    STAGES,
    broadcast_step,
    decay,
    masked_delta,
    sigmoid,
    sum_over_states,
    sum_over_steps,
)
from minimamba.scan.triton.memory import (
    Span,
    first_row,
    load_pair,
    load_per_channel,
    load_states,
    load_steps,
    locate_block,
    owned,
    pair_offsets,
    store_states,
    store_tile,
)


@triton.jit
def next_state(h, delta, delta_x, B, A_log2e, k: tl.constexpr, TILE: tl.constexpr):
    """h_t = exp(Δ_t A) h_{t−1} + B_t Δ_t x_t at step k of a tile."""
    A_bar = decay(broadcast_step(delta, k, TILE), A_log2e)
    return A_bar * h + B[k] * broadcast_step(delta_x, k, TILE)


@triton.jit
def state_entering_split(first, piece_states, piece_deltas, A_log2e, block, pieces,
                         d_inner: tl.constexpr, N: tl.constexpr, BACKWARD: tl.constexpr):
    """The state that enters this split: `first`, or 0, carried through all pieces before it.

    With BACKWARD it is the gradient of the state that leaves the split, which comes from the end
    of the sequence through all pieces after it.
    """
    h = tl.zeros_like(A_log2e)
    if first is not None:
        h = load_states(first + block.sequence * N * d_inner, block, block.lane_channels_left, N)
    if piece_states is not None:
        split, splits = tl.program_id(1), tl.num_programs(1)
        all_pieces = (splits - 1) * pieces
        for i in range((splits - 1 - split if BACKWARD else split) * pieces):
            piece = block.sequence * all_pieces + (all_pieces - 1 - i if BACKWARD else i)
            delta_sum = tl.load(piece_deltas + piece * d_inner + block.channels, block.exists,
                                0.0)
            added = load_states(piece_states + piece * N * d_inner, block,
                                block.lane_channels_left, N)
            h = decay(delta_sum[:, :, None], A_log2e) * h + added
    return h


@triton.jit
def store_piece(piece_states, piece_deltas, state, delta_sum, block, d_inner: tl.constexpr,
                N: tl.constexpr, TILE: tl.constexpr):
    """Write what one piece adds, and its sum of Δ."""
    piece = block.sequence * tl.num_programs(1) + tl.program_id(1)
    store_states(piece_states + piece * N * d_inner, state, block, N)
    tl.store(piece_deltas + piece * d_inner + block.channels, sum_over_steps(delta_sum, TILE),
             block.exists)


@triton.jit(do_not_specialize=RUNTIME_SIZES)
def carry(x_ptr, delta_ptr, A_ptr, B_ptr, bias_ptr, piece_states, piece_deltas, rows, length,
          piece_steps, groups: tl.constexpr, d_inner: tl.constexpr, N: tl.constexpr,
          SOFTPLUS: tl.constexpr, PADDED: tl.constexpr, STEP: tl.constexpr, GROUP: tl.constexpr,
          TILE: tl.constexpr, PER_LANE: tl.constexpr, RUN: tl.constexpr):
    """Last state of each piece from a zero start, and its sum of Δ.

    Grid: (blocks of channels, pieces of all splits but the last, batch).
    """
    block = locate_block(groups, d_inner, N, TILE, PER_LANE)
    begin = tl.program_id(1) * piece_steps
    span = Span(begin + piece_steps, length)
    A_log2e = load_states(A_ptr, block, block.lane_channels_left, N) * LOG2_E
    bias = load_per_channel(bias_ptr, block)
    B_rows = first_row(B_ptr, rows, block, STEP, GROUP)
    h = tl.zeros_like(A_log2e)
    delta_sum = tl.zeros(block.channels.shape, tl.float32)
    for start in tl.range(begin, span.end, 2 * TILE, num_stages=STAGES):
        offsets, inside = pair_offsets(block, span, start, d_inner, TILE, PER_LANE, RUN)
        x = load_pair(x_ptr, offsets, inside)
        dt = load_pair(delta_ptr, offsets, inside)
        for i in tl.static_range(2):
            t = start + i * TILE
            delta = masked_delta(dt[i] + bias, owned(block, span, t), SOFTPLUS)
            delta_x = delta * x[i]
            B = load_steps(B_rows, t, span, N, STEP, TILE, PADDED)
            for k in tl.static_range(TILE):
                h = next_state(h, delta, delta_x, B, A_log2e, k, TILE)
            delta_sum += delta
    store_piece(piece_states, piece_deltas, h, delta_sum, block, d_inner, N, TILE)


@triton.jit(do_not_specialize=RUNTIME_SIZES)
def forward(x_ptr, delta_ptr, A_ptr, B_ptr, C_ptr, D_ptr, z_ptr, bias_ptr, initial_state,
            last_state, chunk_states, y_ptr, piece_states, piece_deltas, rows, length, split_steps,
            pieces, groups: tl.constexpr, d_inner: tl.constexpr, N: tl.constexpr,
            SOFTPLUS: tl.constexpr, PADDED: tl.constexpr, STEP: tl.constexpr, GROUP: tl.constexpr,
            CHUNK: tl.constexpr, TILE: tl.constexpr, PER_LANE: tl.constexpr, RUN: tl.constexpr):
    """y; the last state and the state before each chunk, where there is room for them.

    Grid: (blocks of channels, splits, batch).
    """
    block = locate_block(groups, d_inner, N, TILE, PER_LANE)
    split = tl.program_id(1)
    splits = tl.num_programs(1)
    end = tl.minimum((split + 1) * split_steps, length)
    span = Span(end, length)
    A_log2e = load_states(A_ptr, block, block.lane_channels_left, N) * LOG2_E
    B_rows = first_row(B_ptr, rows, block, STEP, GROUP)
    C_rows = first_row(C_ptr, rows, block, STEP, GROUP, N if PADDED else 0)
    D = load_per_channel(D_ptr, block)
    bias = load_per_channel(bias_ptr, block)
    h = state_entering_split(initial_state, piece_states, piece_deltas, A_log2e, block, pieces,
                             d_inner, N, False)
    for start in tl.range(split * split_steps, end, 2 * TILE, num_stages=STAGES):
        if chunk_states is not None:
            if start % CHUNK == 0:
                chunk = block.sequence * tl.cdiv(length, CHUNK) + start // CHUNK
                store_states(chunk_states + chunk * N * d_inner, h, block, N)
        offsets, inside = pair_offsets(block, span, start, d_inner, TILE, PER_LANE, RUN)
        x = load_pair(x_ptr, offsets, inside)
        dt = load_pair(delta_ptr, offsets, inside)
        z = x
        if z_ptr is not None:
            z = load_pair(z_ptr, offsets, inside)
        for i in tl.static_range(2):
            t = start + i * TILE
            own = owned(block, span, t)
            delta = masked_delta(dt[i] + bias, own, SOFTPLUS)
            delta_x = delta * x[i]
            B = load_steps(B_rows, t, span, N, STEP, TILE, PADDED)
            C = load_steps(C_rows, t, span, N, STEP, TILE, PADDED)
            C_h = ()
            for k in tl.static_range(TILE):
                h = next_state(h, delta, delta_x, B, A_log2e, k, TILE)
                C_h = C_h + (C[k] * h,)
            y = D * x[i] + sum_over_states(C_h, TILE)
            if z_ptr is not None:
                y *= z[i] * sigmoid(z[i])
            store_tile(y_ptr, y, block, span, t, own, d_inner, RUN)
    if last_state is not None:
        if split == splits - 1:
            store_states(last_state + block.sequence * N * d_inner, h, block, N)
