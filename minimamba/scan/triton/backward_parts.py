"""The backward kernel for a large state dimension, which would not fit in the registers.

`backward_in_parts` takes a band of BAND of the N states at a time, and within a tile one PART of
the band after another: what depends on the channel alone is computed once for the band.
Most of the backward pass is the same for each state by itself; the states meet only in three sums
at each step, ⟨B, dh⟩, ⟨A, d(Δ A)⟩ and ⟨C, h⟩, from which dx, d_delta and dz follow. If there is one
band they stay in registers. Otherwise the program walks back through a section of SECTION steps
once for each band, adds up the three sums in memory, and then finishes the section.

The larger the state, the more steps a chunk has, so that the states which `forward` saves don't
take more memory than x. A chunk is then several sections. First the program walks through the
whole chunk, writing down the state before each section; a section it then treats as `backward`
treats a chunk.

Arrays besides those listed in `backward.py`, all float32 scratch; tile_states, too, has room for
one band of the states, (batch, splits, SECTION / TILE, BAND / PART, d_inner, PART):

| array | shape | contents |
|---|---|---|
| section_states | (batch, splits, CHUNK / SECTION − 1, d_inner, N) | before all but the first |
| dh_states | (batch, splits, d_inner, N) | dh, where the walk back has come to |
| state_sums | (batch, splits, 3, SECTION, d_inner) | the three sums, of the bands so far |

dD_parts and d_bias_parts are (batch, sections, d_inner).
"""

import triton
import triton.language as tl

from minimamba.scan.triton.backward import add_dA, dBC_of_program, store_channel_sums
from minimamba.scan.triton.backward_chunk import (
    Inputs,
    Outputs,
    PerChannel,
    StateSums,
    Sums,
    add_dBC,
    load_inputs,
    store_gradients,
    tile_gradients,
    tile_of,
)
from minimamba.scan.triton.forward import next_state, state_entering_split
from minimamba.scan.triton.lanes import (
    LOG2_E,
    RUNTIME_SIZES,
    exp2_correction,
    kahan_add,
    masked_delta,
    sum_over_lanes,
    sum_over_steps,
)
from minimamba.scan.triton.memory import (
    Span,
    first_row,
    load_pair,
    load_per_channel,
    load_states,
    load_steps,
    load_tile,
    locate_block,
    owned,
    pair_offsets,
    store_states,
)

STAGES = tl.constexpr(2)
"""Depth of the software pipeline: an iteration takes long enough for the next one's inputs to be
copied meanwhile, and registers are scarce."""


@triton.jit
def load_parts(pointer, block, N: tl.constexpr, PART: tl.constexpr, PARTS: tl.constexpr):
    """PARTS parts of the states (d_inner, N), a tuple; `block` locates the first."""
    parts = ()
    for p in tl.static_range(PARTS):
        parts = parts + (load_states(pointer + p * PART, block, block.lane_channels_left, N),)
    return parts


@triton.jit
def store_parts(pointer, parts, block, N: tl.constexpr, PART: tl.constexpr):
    """Write parts of the states to (d_inner, N)."""
    for p in tl.static_range(len(parts)):
        store_states(pointer + p * PART, parts[p], block, N)


@triton.jit
def load_decay_rates(A_ptr, block, N: tl.constexpr, PART: tl.constexpr, PARTS: tl.constexpr):
    """The parts of A times log2 e."""
    A_log2e = ()
    for p in tl.static_range(PARTS):
        A = load_states(A_ptr + p * PART, block, block.lane_channels_left, N)
        A_log2e = A_log2e + (A * LOG2_E,)
    return A_log2e


@triton.jit
def states_after_tile(h, delta, delta_x, B_rows, A_log2e, t, span, PART: tl.constexpr,
                      PADDED: tl.constexpr, STEP: tl.constexpr, TILE: tl.constexpr):
    """Parts of the state after a tile, from those before it."""
    after = ()
    for p in tl.static_range(len(A_log2e)):
        B = load_steps(B_rows + p * PART, t, span, PART, STEP, TILE, PADDED)
        h_part = h[p]
        for k in tl.static_range(TILE):
            h_part = next_state(h_part, delta, delta_x, B, A_log2e[p], k, TILE)
        after = after + (h_part,)
    return after


@triton.jit
def store_section_states(h, inputs, per_channel, section_states, begin, end, block, span,
                         d_inner: tl.constexpr, N: tl.constexpr, PART: tl.constexpr,
                         SOFTPLUS: tl.constexpr, PADDED: tl.constexpr, STEP: tl.constexpr,
                         SECTION: tl.constexpr, TILE: tl.constexpr, PER_LANE: tl.constexpr,
                         RUN: tl.constexpr):
    """Walk from the state h at step `begin` of a chunk to `end`, where its last section begins, and
    write the state after each section."""
    for section_start in range(begin, end, SECTION):
        for start in tl.range(section_start, section_start + SECTION, 2 * TILE, num_stages=STAGES):
            offsets, inside = pair_offsets(block, span, start, d_inner, TILE, PER_LANE, RUN)
            x = load_pair(inputs.x, offsets, inside)
            dt = load_pair(inputs.delta, offsets, inside)
            for i in tl.static_range(2):
                t = start + i * TILE
                delta = masked_delta(dt[i] + per_channel.bias, owned(block, span, t), SOFTPLUS)
                h = states_after_tile(h, delta, delta * x[i], inputs.B, per_channel.A_log2e, t,
                                      span, PART, PADDED, STEP, TILE)
        store_parts(section_states, h, block, N, PART)
        section_states += N * d_inner


@triton.jit
def recompute_parts(h, inputs, per_channel, tile_states, section_start, block, span,
                    d_inner: tl.constexpr, PART: tl.constexpr, SOFTPLUS: tl.constexpr,
                    PADDED: tl.constexpr, STEP: tl.constexpr, SECTION: tl.constexpr,
                    TILE: tl.constexpr, PER_LANE: tl.constexpr, RUN: tl.constexpr):
    """`recompute_states` for parts of the state: walk through a section from the state h before it,
    and write the state before each tile. Returns the sum of Δ by step of the tile."""
    PARTS: tl.constexpr = len(per_channel.A_log2e)
    delta_sum = tl.zeros(block.channels.shape, tl.float32)
    for walked in tl.range(0, SECTION, 2 * TILE, num_stages=STAGES):
        start = section_start + walked
        offsets, inside = pair_offsets(block, span, start, d_inner, TILE, PER_LANE, RUN)
        x = load_pair(inputs.x, offsets, inside)
        dt = load_pair(inputs.delta, offsets, inside)
        for i in tl.static_range(2):
            t = start + i * TILE
            place = tile_states + (walked // TILE + i) * (PARTS * PART * d_inner)
            for p in tl.static_range(PARTS):
                store_states(place + p * PART * d_inner, h[p], block, PART)
            delta = masked_delta(dt[i] + per_channel.bias, owned(block, span, t), SOFTPLUS)
            h = states_after_tile(h, delta, delta * x[i], inputs.B, per_channel.A_log2e, t, span,
                                  PART, PADDED, STEP, TILE)
            delta_sum += delta
    return delta_sum


@triton.jit
def add_steps(sums, steps, part: tl.constexpr, TILE: tl.constexpr):
    """Add TILE tensors of a part of the states to those of the parts before it."""
    if part == 0:
        return steps
    else:
        added = ()
        for k in tl.static_range(TILE):
            added = added + (sums[k] + steps[k],)
        return added


@triton.jit
def tile_gradients_of_parts(dh, dA, tile, inputs, dBC, per_channel, tile_states, correction, block,
                            span, t, d_inner: tl.constexpr, PART: tl.constexpr,
                            ATOMIC: tl.constexpr, PADDED: tl.constexpr, STEP: tl.constexpr,
                            TILE: tl.constexpr):
    """`tile_gradients`, one part of the states after another; adds dB and dC to those at dBC.
    Returns dh before the tile, dA, and the tile's `StateSums`."""
    C_h, B_dh, A_d_exponent, dh_before, new_dA = (), (), (), (), ()
    for p in tl.static_range(len(dh)):
        B = load_steps(inputs.B + p * PART, t, span, PART, STEP, TILE, PADDED)
        C = load_steps(inputs.C + p * PART, t, span, PART, STEP, TILE, PADDED)
        h = load_states(tile_states + p * PART * d_inner, block, block.lane_channels_left, PART)
        dh_part, dA_part, C_h_part, B_dh_part, A_d_exponent_part, dBC_part = tile_gradients(
            dh[p], dA[p], h, tile, B, C, per_channel.A_log2e[p], correction[p], TILE)
        add_dBC(dBC + p * (2 * TILE * PART), dBC_part, ATOMIC)
        C_h = add_steps(C_h, C_h_part, p, TILE)
        B_dh = add_steps(B_dh, B_dh_part, p, TILE)
        A_d_exponent = add_steps(A_d_exponent, A_d_exponent_part, p, TILE)
        dh_before = dh_before + (dh_part,)
        new_dA = new_dA + (dA_part,)
    return dh_before, new_dA, StateSums(sum_over_lanes(B_dh, TILE),
                                        sum_over_lanes(A_d_exponent, TILE),
                                        sum_over_lanes(C_h, TILE))


@triton.jit
def add_tile(pointer, tile, block, row, inside, band, d_inner: tl.constexpr):
    """Add a tile to those of the bands before, in an array (steps, d_inner), at the step `row`.

    A lane adds to what it wrote itself, so the order of the sum never varies. It adds atomically
    because that needs no load, and there is no register left for what a load returns.
    """
    pointers = pointer + (row + block.step) * d_inner + block.channels
    if band == 0:
        tl.store(pointers, tile, inside)
    else:
        tl.atomic_add(pointers, tile, inside, sem="relaxed")


@triton.jit
def band_gradients(dh, inputs, outputs, state_sums, per_channel, tile_states, section_start, band,
                   correction, block, span, d_inner: tl.constexpr, N: tl.constexpr,
                   PART: tl.constexpr, SOFTPLUS: tl.constexpr, ATOMIC: tl.constexpr,
                   PADDED: tl.constexpr, STEP: tl.constexpr, SECTION: tl.constexpr,
                   TILE: tl.constexpr, PER_LANE: tl.constexpr, RUN: tl.constexpr):
    """Walk back through a section with one band of the states, from dh after it, and add to
    dBC and `state_sums`; or, if there is but one band, write the gradients. Returns dh before the
    section, and its dA."""
    GATED: tl.constexpr = inputs.z is not None
    PARTS: tl.constexpr = len(dh)
    ALL: tl.constexpr = N == PART * PARTS
    dA = ()
    for p in tl.static_range(PARTS):
        dA = dA + (tl.zeros_like(dh[p]),)
    zero = tl.zeros(block.channels.shape, tl.float32)
    dD, dD_excess, d_bias, d_bias_excess = zero, zero, zero, zero
    for walked in tl.range(2 * TILE, SECTION + 2 * TILE, 2 * TILE, num_stages=STAGES):
        ahead = SECTION - walked
        start = section_start + ahead
        offsets, inside = pair_offsets(block, span, start, d_inner, TILE, PER_LANE, RUN)
        pairs = load_inputs(inputs, offsets, inside)
        for i in tl.static_range(1, -1, -1):
            t = start + i * TILE
            own = owned(block, span, t)
            tile = tile_of(pairs, i, per_channel.bias, own, GATED, SOFTPLUS)
            # Counted in tiles, an offset of 64 bits takes no more registers than one of 32.
            dh, dA, sums = tile_gradients_of_parts(
                dh, dA, tile, inputs, outputs.dBC + (t // TILE).to(tl.int64) * (2 * TILE * N),
                per_channel, tile_states + (ahead // TILE + i) * (PARTS * PART * d_inner),
                correction, block, span, t, d_inner, PART, ATOMIC, PADDED, STEP, TILE)
            if ALL:
                d_delta = store_gradients(outputs, tile, sums, per_channel, block, span, t, own,
                                          d_inner, SOFTPLUS, RUN)
                dD, dD_excess = kahan_add(dD, dD_excess, tile.dy * tile.x)
                d_bias, d_bias_excess = kahan_add(d_bias, d_bias_excess, d_delta)
            else:
                row = ahead + i * TILE
                add_tile(state_sums.B_dh, sums.B_dh, block, row, own, band, d_inner)
                add_tile(state_sums.A_d_exponent, sums.A_d_exponent, block, row, own, band,
                         d_inner)
                if GATED:
                    add_tile(state_sums.C_h, sums.C_h, block, row, own, band, d_inner)
    return dh, Sums(dA, dD, d_bias)


@triton.jit
def finish_section(inputs, outputs, state_sums, per_channel, section_start, block, span,
                   d_inner: tl.constexpr, SOFTPLUS: tl.constexpr, SECTION: tl.constexpr,
                   TILE: tl.constexpr, PER_LANE: tl.constexpr, RUN: tl.constexpr):
    """Write the gradients that need all states. Returns those of D and of the bias, by step of the
    tile, summed over the section."""
    GATED: tl.constexpr = inputs.z is not None
    zero = tl.zeros(block.channels.shape, tl.float32)
    dD, dD_excess, d_bias, d_bias_excess = zero, zero, zero, zero
    for row in tl.range(0, SECTION, TILE, num_stages=STAGES):
        t = section_start + row
        own = owned(block, span, t)
        x = load_tile(inputs.x, block, span, t, own, d_inner, RUN)
        dt = load_tile(inputs.delta, block, span, t, own, d_inner, RUN)
        d_out = load_tile(inputs.d_out, block, span, t, own, d_inner, RUN)
        z = x
        if GATED:
            z = load_tile(inputs.z, block, span, t, own, d_inner, RUN)
        tile = tile_of(((x,), (dt,), (d_out,), (z,)), 0, per_channel.bias, own, GATED, SOFTPLUS)
        places = (row + block.step) * d_inner + block.channels
        B_dh = tl.load(state_sums.B_dh + places, own, 0.0)
        A_d_exponent = tl.load(state_sums.A_d_exponent + places, own, 0.0)
        C_h = B_dh
        if GATED:
            C_h = tl.load(state_sums.C_h + places, own, 0.0)
        d_delta = store_gradients(outputs, tile, StateSums(B_dh, A_d_exponent, C_h), per_channel,
                                  block, span, t, own, d_inner, SOFTPLUS, RUN)
        dD, dD_excess = kahan_add(dD, dD_excess, tile.dy * tile.x)
        d_bias, d_bias_excess = kahan_add(d_bias, d_bias_excess, d_delta)
    return dD, d_bias


@triton.jit(do_not_specialize=RUNTIME_SIZES)
def backward_in_parts(x_ptr, delta_ptr, A_ptr, B_ptr, C_ptr, D_ptr, z_ptr, bias_ptr, chunk_states,
                      d_out_ptr, d_last_state, dx_ptr, d_delta_ptr, dz_ptr, d_initial_state,
                      y_again_ptr, dBC_parts, dA_parts, dD_parts, d_bias_parts, piece_states,
                      piece_deltas, section_states, tile_states, dh_states, state_sums_ptr,
                      rows, length, padded_length, split_steps, pieces, groups: tl.constexpr,
                      d_inner: tl.constexpr, N: tl.constexpr, PART: tl.constexpr,
                      BAND: tl.constexpr, SOFTPLUS: tl.constexpr, ATOMIC: tl.constexpr,
                      PADDED: tl.constexpr, STEP: tl.constexpr, GROUP: tl.constexpr,
                      CHUNK: tl.constexpr, SECTION: tl.constexpr, TILE: tl.constexpr,
                      PER_LANE: tl.constexpr, RUN: tl.constexpr):
    """All gradients, walking from the end of each split to its beginning; and y again, gated, where
    `y_again_ptr` is not None.

    Grid: (blocks of channels, splits, batch).
    """
    PARTS: tl.constexpr = BAND // PART
    BANDS: tl.constexpr = N // BAND
    block = locate_block(groups, d_inner, PART, TILE, PER_LANE)
    split = tl.program_id(1)
    splits = tl.num_programs(1)
    begin = split * split_steps
    span = Span(tl.minimum((split + 1) * split_steps, length), length)
    split_index = block.sequence * splits + split
    bias = load_per_channel(bias_ptr, block)
    B_rows = first_row(B_ptr, rows, block, STEP, GROUP)
    # Packed, they need one pointer, and fewer registers.
    C_rows = B_rows + N if PADDED else first_row(C_ptr, rows, block, STEP, GROUP)
    dBC = dBC_of_program(dBC_parts, block, padded_length, groups, N, PART, ATOMIC, TILE)
    section_states += split_index * (CHUNK // SECTION - 1) * N * d_inner
    tile_states += split_index * (SECTION // TILE) * BAND * d_inner
    dh_states += split_index * N * d_inner
    state_sums = StateSums(None, None, None)
    if BANDS > 1:
        state_sums_ptr += split_index * 3 * SECTION * d_inner
        state_sums = StateSums(state_sums_ptr, state_sums_ptr + SECTION * d_inner,
                               state_sums_ptr + 2 * SECTION * d_inner)
    sections = tl.cdiv(span.end - begin, SECTION)
    section_start = begin + (sections - 1) * SECTION
    for walked in range(sections):
        section_of_chunk = section_start // SECTION % (CHUNK // SECTION)
        index = block.sequence * tl.cdiv(length, SECTION) + section_start // SECTION
        for band in range(BANDS):
            states = locate_block(groups, d_inner, N, TILE, PER_LANE, band * PARTS, N // PART)
            A_log2e = load_decay_rates(A_ptr, states, N, PART, PARTS)
            per_channel = PerChannel(A_log2e, load_per_channel(D_ptr, block), bias)
            first = band * BAND
            inputs = Inputs(x_ptr, delta_ptr, B_rows + first, C_rows + first, z_ptr, d_out_ptr)
            outputs = Outputs(dx_ptr, d_delta_ptr, dz_ptr, y_again_ptr, dBC + first * (2 * TILE))
            chunk_start = section_start - section_of_chunk * SECTION
            chunk = block.sequence * tl.cdiv(length, CHUNK) + chunk_start // CHUNK
            before_chunk = chunk_states + chunk * N * d_inner
            if (section_of_chunk > 0) & ((walked == 0)
                                         | (section_of_chunk == CHUNK // SECTION - 1)):
                h = load_parts(before_chunk, states, N, PART, PARTS)
                store_section_states(h, inputs, per_channel, section_states, chunk_start,
                                     section_start, states, span, d_inner, N, PART, SOFTPLUS,
                                     PADDED, STEP, SECTION, TILE, PER_LANE, RUN)
                tl.debug_barrier()  # section_states: what one lane wrote another may read
            if section_of_chunk > 0:
                before_section = section_states + (section_of_chunk - 1) * N * d_inner
            else:
                before_section = before_chunk
            h = load_parts(before_section, states, N, PART, PARTS)
            delta_sum = recompute_parts(h, inputs, per_channel, tile_states, section_start, block,
                                        span, d_inner, PART, SOFTPLUS, PADDED, STEP, SECTION,
                                        TILE, PER_LANE, RUN)
            mean_delta = sum_over_steps(delta_sum, TILE)[:, :, None] * (1 / SECTION)
            correction = ()
            for p in tl.static_range(PARTS):
                correction = correction + (exp2_correction(mean_delta * A_log2e[p]),)
            if walked == 0:
                dh = ()
                for p in tl.static_range(PARTS):
                    part = locate_block(groups, d_inner, N, TILE, PER_LANE, band * PARTS + p,
                                        N // PART)
                    dh = dh + (state_entering_split(d_last_state, piece_states, piece_deltas,
                                                    A_log2e[p], part, pieces, d_inner, N, True),)
                    # 0, to which `add_dA` adds.
                    store_states(dA_parts + split_index * N * d_inner, tl.zeros_like(dh[p]), part,
                                 N)
            else:
                dh = load_parts(dh_states, states, N, PART, PARTS)
            tl.debug_barrier()  # and so in tile_states and dA_parts
            dh, sums = band_gradients(
                dh, inputs, outputs, state_sums, per_channel, tile_states, section_start,
                band, correction, block, span, d_inner, N, PART, SOFTPLUS, ATOMIC, PADDED, STEP,
                SECTION, TILE, PER_LANE, RUN)
            store_parts(dh_states, dh, states, N, PART)
            for p in tl.static_range(PARTS):
                add_dA(dA_parts + p * PART, sums.dA[p], split_index, states, d_inner, N)
            if BANDS == 1:
                store_channel_sums(dD_parts, d_bias_parts, sums.dD, sums.d_bias, index, block,
                                   d_inner, TILE)
            tl.debug_barrier()  # all scratch is read before more is written, and the other way
        if BANDS > 1:
            inputs = Inputs(x_ptr, delta_ptr, B_rows, C_rows, z_ptr, d_out_ptr)
            outputs = Outputs(dx_ptr, d_delta_ptr, dz_ptr, y_again_ptr, dBC)
            per_channel = PerChannel(bias, load_per_channel(D_ptr, block), bias)
            dD, d_bias = finish_section(inputs, outputs, state_sums, per_channel, section_start,
                                        block, span, d_inner, SOFTPLUS, SECTION, TILE, PER_LANE,
                                        RUN)
            store_channel_sums(dD_parts, d_bias_parts, dD, d_bias, index, block, d_inner, TILE)
            tl.debug_barrier()  # the sums are read before the next section's are written
        section_start -= SECTION
    if d_initial_state is not None:
        if split == 0:
            for band in range(BANDS):
                states = locate_block(groups, d_inner, N, TILE, PER_LANE, band * PARTS, N // PART)
                dh = load_parts(dh_states, states, N, PART, PARTS)
                store_parts(d_initial_state + block.sequence * N * d_inner, dh, states, N, PART)
