"""The backward kernels: `carry_back` summarizes parts of the sequence, `backward` does the rest.

`backward` walks from the end of a split to its beginning, chunk by chunk: it recomputes the states
of a chunk, from the state that `forward` saved before it, and then walks back through the chunk
(`backward_chunk.py`). Where the length is divided into splits, `carry_back` runs first: for each
piece of a split it finds what the piece adds to dh, the gradient of the state, and `backward`
combines the pieces after its split to the dh that enters it.

Arrays besides those listed in `memory.py`, all float32:

| array | shape | contents |
|---|---|---|
| piece_states | (batch, pieces, d_inner, N) | what a piece adds to dh, from 0 after it |
| piece_deltas | (batch, pieces, d_inner) | the sum of Δ over each piece |
| chunk_states | (batch, chunks, d_inner, N) | the state before each chunk, from `forward` |
| tile_states | (batch, splits, CHUNK / TILE, d_inner, N) | scratch: the state before each tile |
| dA_parts | (batch, splits, d_inner, N) | sums over a split |
| dD_parts, d_bias_parts | (batch, chunks, d_inner) | sums over a chunk |
| dBC_parts | (batch, parts, tiles, N / PART, 2, TILE, PART) | dB and dC by tile, of some channels |

dB and dC are 0 at first. A part of them is that of a group, to which all its programs add
atomically; or, if not ATOMIC, of a program, so that the order of the sum does not vary. The first
split has no pieces, since no split needs the dh before it.
"""

import triton
import triton.language as tl

from minimamba.scan.triton.backward_chunk import (
    Inputs,
    Outputs,
    PerChannel,
    chunk_gradients,
    recompute_states,
)
from minimamba.scan.triton.forward import state_entering_split, store_piece
from minimamba.scan.triton.lanes import (
    LOG2_E,
    RUNTIME_SIZES,
    STAGES,
    broadcast_step,
    decay,
    exp2_correction,
    masked_delta,
    sigmoid,
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
    unpack_channels,
)

ZEROS = tl.constexpr(1024)
"""Elements that a program sets to 0 at a time."""


@triton.jit
def write_zeros(pointer, elements, SIZE: tl.constexpr):
    """Write zeros to an array; each program of the grid writes some of them."""
    programs = tl.num_programs(0) * tl.num_programs(1) * tl.num_programs(2)
    program = (tl.program_id(2) * tl.num_programs(1) + tl.program_id(1)) * tl.num_programs(0)
    program += tl.program_id(0)
    for first in range(program.to(tl.int64) * SIZE, elements, programs.to(tl.int64) * SIZE):
        place = tl.arange(0, SIZE)
        tl.store(pointer + first + place, 0.0, place < elements - first)


@triton.jit(do_not_specialize=RUNTIME_SIZES)
def carry_back(d_out_ptr, delta_ptr, A_ptr, C_ptr, z_ptr, bias_ptr, dBC_parts, piece_states,
               piece_deltas, dBC_tiles, rows, length, piece_steps, pieces,
               groups: tl.constexpr, d_inner: tl.constexpr, N: tl.constexpr,
               SOFTPLUS: tl.constexpr, PADDED: tl.constexpr, STEP: tl.constexpr,
               GROUP: tl.constexpr, TILE: tl.constexpr, PER_LANE: tl.constexpr,
               RUN: tl.constexpr):
    """Compute what each piece adds to dh when 0 enters it from the end, and its sum of Δ; and
    write the zeros with which `dBC_parts` begins, so many tiles in all.

    Grid: (blocks of channels, pieces of all splits but the first, batch).
    """
    write_zeros(dBC_parts, dBC_tiles.to(tl.int64) * (2 * TILE * N), ZEROS)
    block = locate_block(groups, d_inner, N, TILE, PER_LANE)
    begin = (pieces + tl.program_id(1)) * piece_steps
    end = tl.minimum(begin + piece_steps, length)
    span = Span(end, length)
    A_log2e = load_states(A_ptr, block, block.lane_channels_left, N) * LOG2_E
    bias = load_per_channel(bias_ptr, block)
    C_rows = first_row(C_ptr, rows, block, STEP, GROUP, N if PADDED else 0)
    dh = tl.zeros_like(A_log2e)
    delta_sum = tl.zeros(block.channels.shape, tl.float32)
    for walked in tl.range(0, end - begin, 2 * TILE, num_stages=STAGES):
        start = begin + (end - begin - 1) // (2 * TILE) * (2 * TILE) - walked
        offsets, inside = pair_offsets(block, span, start, d_inner, TILE, PER_LANE, RUN)
        dt = load_pair(delta_ptr, offsets, inside)
        d_out = load_pair(d_out_ptr, offsets, inside)
        z = dt
        if z_ptr is not None:
            z = load_pair(z_ptr, offsets, inside)
        for i in tl.static_range(1, -1, -1):
            t = start + i * TILE
            delta = masked_delta(dt[i] + bias, owned(block, span, t), SOFTPLUS)
            dy = d_out[i]
            if z_ptr is not None:
                dy = dy * z[i] * sigmoid(z[i])
            C = load_steps(C_rows, t, span, N, STEP, TILE, PADDED)
            for k in tl.static_range(TILE - 1, -1, -1):
                dh += C[k] * broadcast_step(dy, k, TILE)
                dh *= decay(broadcast_step(delta, k, TILE), A_log2e)
            delta_sum += delta
    store_piece(piece_states, piece_deltas, dh, delta_sum, block, d_inner, N, TILE)


@triton.jit
def dBC_of_program(dBC_parts, block, padded_length, groups: tl.constexpr, N: tl.constexpr,
                   PART: tl.constexpr, ATOMIC: tl.constexpr, TILE: tl.constexpr):
    """`Outputs.dBC`, for the first PART of the states: in the part of this program's group or, if
    not ATOMIC, of its own."""
    part = block.sequence * groups + block.group
    if not ATOMIC:
        part = block.sequence * tl.num_programs(0) + tl.program_id(0)
    part *= padded_length // TILE
    lane = tl.arange(0, 2 * TILE * TILE)[:, None]
    return (dBC_parts + part * 2 * TILE * N + lane * (PART // TILE)
            + tl.arange(0, PART // TILE)[None, :])


@triton.jit
def add_dA(dA_parts, dA, split_index, block, d_inner: tl.constexpr, N: tl.constexpr):
    """Add dA of a chunk to that of the split, since a sum of sums is rounded less than one long
    sum. Atomically, not because others add there too, but so that nothing waits for the old
    value."""
    dA = unpack_channels(dA)
    for p in tl.static_range(block.channels.shape[1]):
        exists = block.lane_channels_left > p
        # `where` copies dA: the interpreter's atomics take only contiguous tensors.
        tl.atomic_add(dA_parts + split_index * N * d_inner + block.states + p * N,
                      tl.where(exists, dA[p], 0.0), exists, sem="relaxed")


@triton.jit
def store_channel_sums(dD_parts, d_bias_parts, dD, d_bias, chunk, block, d_inner: tl.constexpr,
                       TILE: tl.constexpr):
    """Write the gradients of D and of the bias, by step of the tile, to the chunk's place."""
    one_lane = block.exists & (block.step == 0)
    offsets = chunk * d_inner + block.channels
    tl.store(dD_parts + offsets, sum_over_steps(dD, TILE), one_lane)
    tl.store(d_bias_parts + offsets, sum_over_steps(d_bias, TILE), one_lane)


@triton.jit(do_not_specialize=RUNTIME_SIZES)
def backward(x_ptr, delta_ptr, A_ptr, B_ptr, C_ptr, D_ptr, z_ptr, bias_ptr, chunk_states, d_out_ptr,
             d_last_state, dx_ptr, d_delta_ptr, dz_ptr, d_initial_state, y_again_ptr, dBC_parts,
             dA_parts, dD_parts, d_bias_parts, piece_states, piece_deltas, tile_states, rows,
             length, padded_length, split_steps, pieces, groups: tl.constexpr,
             d_inner: tl.constexpr, N: tl.constexpr, SOFTPLUS: tl.constexpr, ATOMIC: tl.constexpr,
             PADDED: tl.constexpr, STEP: tl.constexpr, GROUP: tl.constexpr, CHUNK: tl.constexpr,
             TILE: tl.constexpr, PER_LANE: tl.constexpr, RUN: tl.constexpr):
    """All gradients, walking from the end of each split to its beginning; and y again, gated, where
    `y_again_ptr` is not None.

    Grid: (blocks of channels, splits, batch).
    """
    block = locate_block(groups, d_inner, N, TILE, PER_LANE)
    split = tl.program_id(1)
    splits = tl.num_programs(1)
    begin = split * split_steps
    span = Span(tl.minimum((split + 1) * split_steps, length), length)
    split_index = block.sequence * splits + split
    A_log2e = load_states(A_ptr, block, block.lane_channels_left, N) * LOG2_E
    per_channel = PerChannel(A_log2e, load_per_channel(D_ptr, block),
                             load_per_channel(bias_ptr, block))
    dh = state_entering_split(d_last_state, piece_states, piece_deltas, A_log2e, block, pieces,
                              d_inner, N, True)
    tile_states += split_index * (CHUNK // TILE) * N * d_inner
    # 0, to which `add_dA` adds, after a barrier of the loop.
    store_states(dA_parts + split_index * N * d_inner, tl.zeros_like(A_log2e), block, N)
    dBC = dBC_of_program(dBC_parts, block, padded_length, groups, N, N, ATOMIC, TILE)
    inputs = Inputs(x_ptr, delta_ptr, first_row(B_ptr, rows, block, STEP, GROUP),
                    first_row(C_ptr, rows, block, STEP, GROUP, N if PADDED else 0), z_ptr,
                    d_out_ptr)
    outputs = Outputs(dx_ptr, d_delta_ptr, dz_ptr, y_again_ptr, dBC)
    chunks = tl.cdiv(span.end - begin, CHUNK)
    chunk_start = begin + (chunks - 1) * CHUNK
    chunk = block.sequence * tl.cdiv(length, CHUNK) + chunk_start // CHUNK  # int64, as sequence is
    before_chunk = load_states(chunk_states + chunk * N * d_inner, block,
                               block.lane_channels_left, N)
    for _ in range(chunks):
        delta_sum = recompute_states(before_chunk, inputs, per_channel, tile_states, chunk_start,
                                     block, span, d_inner, N, SOFTPLUS, PADDED, STEP, CHUNK, TILE,
                                     PER_LANE, RUN)
        mean_exponent = sum_over_steps(delta_sum, TILE)[:, :, None] * A_log2e * (1 / CHUNK)
        correction = exp2_correction(mean_exponent)
        tl.debug_barrier()  # tile_states: what one lane wrote another may read
        left = tl.where(chunk_start > begin, block.lane_channels_left, 0)
        before_chunk = load_states(chunk_states + (chunk - 1) * N * d_inner, block, left, N)
        dh, sums = chunk_gradients(dh, inputs, outputs, per_channel, tile_states, chunk_start,
                                   correction, block, span, d_inner, N, SOFTPLUS, ATOMIC, PADDED,
                                   STEP, CHUNK, TILE, PER_LANE, RUN)
        add_dA(dA_parts, sums.dA, split_index, block, d_inner, N)
        store_channel_sums(dD_parts, d_bias_parts, sums.dD, sums.d_bias, chunk, block, d_inner,
                           TILE)
        tl.debug_barrier()  # all of tile_states is read before the next chunk's is written
        chunk_start -= CHUNK
        chunk -= 1
    if d_initial_state is not None:
        if split == 0:
            store_states(d_initial_state + block.sequence * N * d_inner, dh, block, N)
