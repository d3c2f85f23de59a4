"""The backward kernels: `walk_states` forward, `read_gradients`, `walk_states` back,
`write_gradients`, `step_gradients`, `add_up_chunks`.

The states before all chunks are computed again, and so are the decays unless they were kept. If
there are several splits, `add_up` and `carry` of the forward kernels compute the gradients that
enter them, from the last step to the first; and the states that enter them, unless the forward pass
has kept them. With H the state before a chunk, G the gradient of the one after it, dy that of y
(before gate), and for one head, in the notation of `forward.py`,

    dC_t = Σ_s≤t Δ_s L_ts ⟨dy_t, x_s⟩ B_s + 2^cum_t Hᵀ dy_t             L_ts = 2^(cum_t − cum_s)
    dx_s = Δ_s u_s + D dy_s,    u_s = Σ_t≥s L_ts ⟨C_t, B_s⟩ dy_t + 2^(total − cum_s) G B_s
    dB_s = Δ_s (Σ_t≥s L_ts ⟨dy_t, x_s⟩ C_t + 2^(total − cum_s) Gᵀ x_s)
    dΔ_s = ⟨x_s, u_s⟩ + A da_s,    gradient before the chunk = 2^total G + Σ_t 2^cum_t dy_t C_tᵀ

where a_t = Δ_t A decays all that goes from before step t to t or later, so that da_t has four
parts: what steps s < t of the chunk add to y at t and later in it, what the state before the chunk
adds there, what the steps s < t add to the state after the chunk, and 2^total ⟨G, H⟩. The first is
a double sum; it is the sum over t' ≥ t of what t' reads from other steps less what others read from
it, which are row sums and column sums of one matrix below its diagonal. No sum runs over more than
a chunk, and the diagonal, which does not depend on decays, is in none of them: so strong decay
leaves no rounding errors of large sums, and weak decay has them in float32 only. With weak decay
the last part is a sum over all pairs of earlier and later steps, so the errors of H and G are those
of the gradient of A: in half precision `walk_states` adds what the rounded weighted x leaves out.
With a gate, dy is rounded to x's dtype before it gets here, as tensor cores need it; in bfloat16
that alone leaves errors of 1 to 4 · 10⁻³ in the gradients of A and dt_bias, relative to their norm.
Only D's needs no product of matrices: `walk` sums it up before dy is rounded.

B and C belong to a group of heads: `read_gradients` and `write_gradients` take one chunk and the
heads of a group one after another, or some of them if there are several parts, whose sums PyTorch
adds up. No two programs write to one place, so the result never varies.

If the state of a head fits into the gradient of x for one chunk and ACROSS heads, it is kept
there until this is written, for each first of ACROSS heads; those of the others are in a tensor of
the same strides. `write_gradients` reads G of a head before it writes dx of that and later heads.

A state of more than 128 components, taken at once, takes more registers than a program of 4 warps
has. So does any state in float32, where the operands of each product take registers twice, for the
two parts of each number. There both kernels take it in slices of SLICE components, and compute dB
and dC apart from all else, for all the heads once more (APART): dB first, since dx may take the
place of states, and dC last.

| array, float32 unless said otherwise | shape | contents |
|---|---|---|
| states, x's dtype | (batch, n_heads, chunks · blocks · BLOCK, N) | H, then G |
| overlaps | (batch · n_heads, chunks, tiles of a state) | 2^total ⟨G, H⟩ by tile |
| reads | (batch · n_heads · blocks, chunks, 2, CHUNK) | row: what t reads of steps s < t and of H |
| | | column: what steps t > s read of s, without Δ_s |
| writes | (batch · n_heads · blocks, chunks, 3, CHUNK) | ahead: 2^(total − cum_s) ⟨x_s, G B_s⟩ |
| | | direct: ahead and the diagonal, ⟨x_s, dy_s⟩ ⟨C_s, B_s⟩ |
| | | along: ⟨x_s, dy_s⟩, whose sum is the gradient of D, if each head has one number |
| dCB, x's dtype | (programs, CHUNK, CHUNK) | the gradient of C Bᵀ, with Δ and L, over heads |
| sums | (batch · chunks, D_sums + 2 · n_heads) | the gradients of D, A and dt_bias by chunk |

D_sums are as many as D has numbers; 0 with a gate, where `walk` sums up the gradient of D.
"""

import triton
import triton.language as tl

from minimamba.ops.overlap import wait_for_previous
from minimamba.scan.triton.lanes import sigmoid
from minimamba.ssd.triton import forward
from minimamba.ssd.triton.forward import (
    PRECISION,
    describe,
    locate,
    next_precise_state,
    state_tile,
)

RUNTIME_SIZES = [*forward.RUNTIME_SIZES, "parts", "D_sums", "of_chunks"]
"""Kernel arguments whose values don't trigger a new compilation."""


@triton.jit
def describe_states(ptr, others_ptr, batch, chunks, n_heads, head_dim, sequence_stride, slot_stride,
                    row_stride, ACROSS: tl.constexpr, N: tl.constexpr, BLOCK: tl.constexpr,
                    COLUMNS: tl.constexpr):
    """A descriptor of the states, for tiles (BLOCK, COLUMNS), and the plane that `ptr` is.

    If there are others, they are a second plane: one descriptor can have both, since the distance
    between two tensors in memory can be a stride.
    """
    plane = 0
    distance = row_stride.to(tl.int64)
    if ACROSS > 1:
        distance = (others_ptr.to(tl.int64) - ptr.to(tl.int64)) // (
            ptr.dtype.element_ty.primitive_bitwidth // 8)
        if distance < 0:
            plane = 1
            distance = -distance
            ptr = others_ptr
    rows = chunks * tl.cdiv(head_dim, BLOCK) * BLOCK
    return plane, tl.make_tensor_descriptor(
        ptr, [1 if ACROSS == 1 else 2, batch * max(1, ACROSS - 1), n_heads // ACROSS, rows, N],
        [distance, sequence_stride.to(tl.int64), slot_stride.to(tl.int64), row_stride.to(tl.int64),
         1], [1, 1, 1, BLOCK, COLUMNS])


@triton.jit
def place_state(first_plane, batch, sequence, head, ACROSS: tl.constexpr):
    """Where in that descriptor the states of a head are: the plane, the entry and the slot.

    In dx an entry is a sequence. In the other plane each sequence has one for every head of a slot
    but the first.
    """
    i = head % ACROSS
    return (tl.minimum(i, 1) ^ first_plane, tl.maximum(i - 1, 0) * batch + sequence,
            head // ACROSS)


@triton.jit
def describe_decays(ptr, count, stride, CHUNK: tl.constexpr):
    """A descriptor of one kind of decays, (count, CHUNK): those of so many chunks, the first of
    which is at `ptr`.

    Tiles in flight follow one another in shared memory, each from a multiple of 128 bytes: CHUNK
    is 32 or more.
    """
    return tl.make_tensor_descriptor(ptr, [count, CHUNK], [stride, 1], [1, CHUNK])


@triton.jit(do_not_specialize=RUNTIME_SIZES)
def walk_states(x_ptr, B_ptr, decays_ptr, entering_ptr, initial_ptr, states_ptr, others_ptr,
                overlaps_ptr, last_ptr, batch, length, n_heads, n_groups, chunks, split_chunks,
                splits,
                x_sequence, x_step, x_head, B_sequence, B_step, B_group, states_sequence,
                states_slot, states_row, head_dim: tl.constexpr, d_state: tl.constexpr,
                ACROSS: tl.constexpr, CHUNK: tl.constexpr, N: tl.constexpr, BLOCK: tl.constexpr,
                COLUMNS: tl.constexpr, STAGES: tl.constexpr, BACK: tl.constexpr,
                OVERLAP: tl.constexpr):
    """Write down the state before each chunk of a split, from the one that enters the split: a
    program of grid (batch · heads · tiles of a state, splits).

    If BACK, x and B are dy and C, and the walk is from the last chunk to the first: each G takes
    the place of H. If there is an initial state, its gradient goes to `last`, and the overlap of
    the first chunk has it as it is, not rounded to x's dtype.
    """
    columns: tl.constexpr = N // COLUMNS
    features: tl.constexpr = (head_dim + BLOCK - 1) // BLOCK * BLOCK
    tiles = features // BLOCK * columns
    sequence, head, group, p_first = locate(tl.program_id(0) // columns, n_heads, n_groups,
                                            head_dim, BLOCK)
    n_first = tl.program_id(0) % columns * COLUMNS
    split = tl.program_id(1)
    x_tiles = describe(x_ptr, batch, n_heads, length, head_dim, x_sequence, x_step, x_head, CHUNK,
                       BLOCK)
    B_tiles = describe(B_ptr, batch, n_groups, length, d_state, B_sequence, B_step, B_group, CHUNK,
                       COLUMNS)
    sum_tiles = describe_decays(decays_ptr + (0 if BACK else CHUNK), batch * n_heads * chunks,
                                3 * CHUNK, CHUNK)
    plane, state_tiles = describe_states(
        states_ptr, others_ptr, batch, chunks, n_heads, head_dim, states_sequence, states_slot,
        states_row, ACROSS, N, BLOCK, COLUMNS)
    plane, entry, slot = place_state(plane, batch, sequence, head, ACROSS)
    wait_for_previous(OVERLAP)
    row = (sequence * n_heads + head).to(tl.int64)
    state = tl.zeros((BLOCK, COLUMNS), tl.float32)
    if entering_ptr is not None:
        offsets, exists = state_tile(row * splits + split, p_first, n_first, head_dim, d_state,
                                     BLOCK, COLUMNS)
        state += tl.load(entering_ptr + offsets, exists, 0.0)
    end = tl.minimum((split + 1) * split_chunks, chunks)
    for walked in tl.range(split * split_chunks, end, num_stages=STAGES):
        chunk = walked
        if BACK:
            chunk = chunks - 1 - walked
        t = chunk * CHUNK
        x = x_tiles.load([sequence, head, t, p_first]).reshape(CHUNK, BLOCK)
        B = B_tiles.load([sequence, group, t, n_first]).reshape(CHUNK, COLUMNS)
        of_chunk = (sequence * n_heads + head) * chunks + chunk
        sums = sum_tiles.load([of_chunk, 0]).reshape(CHUNK)
        total = tl.load(decays_ptr + (row * chunks + chunk) * 3 * CHUNK + CHUNK - 1)
        row_first = chunk * features + p_first
        if BACK:
            before = state_tiles.load([plane, entry, slot, row_first, n_first]).reshape(
                BLOCK, COLUMNS)
            overlap = tl.sum(tl.sum(state * before.to(tl.float32), 1), 0) * tl.exp2(total)
            tile = tl.program_id(0) % tiles
            tl.store(overlaps_ptr + (row * chunks + chunk) * tiles + tile, overlap)
        state_tiles.store([plane, entry, slot, row_first, n_first],
                          state.to(x.dtype).reshape(1, 1, 1, BLOCK, COLUMNS))
        state = next_precise_state(state, x, B, tl.exp2(sums if BACK else total - sums), total)
    if last_ptr is not None and split == splits - 1:
        offsets, exists = state_tile(row, p_first, n_first, head_dim, d_state, BLOCK, COLUMNS)
        tl.store(last_ptr + offsets, state, exists)
        # What the chunk has added to G is computed again: to keep G would take as many registers.
        x = x_tiles.load([sequence, head, 0, p_first]).reshape(CHUNK, BLOCK)
        B = B_tiles.load([sequence, group, 0, n_first]).reshape(CHUNK, COLUMNS)
        cum = tl.load(decays_ptr + row * chunks * 3 * CHUNK + tl.arange(0, CHUNK))
        added = next_precise_state(tl.zeros((BLOCK, COLUMNS), tl.float32), x, B, tl.exp2(cum), 0.0)
        initial = tl.load(initial_ptr + offsets, exists, 0.0)
        tl.store(overlaps_ptr + row * chunks * tiles + tl.program_id(0) % tiles,
                 tl.sum(tl.sum((state - added) * initial, 1), 0))


@triton.jit
def locate_chunk(chunks, n_heads, n_groups, parts, blocks):
    """The sequence, chunk, group, part and the blocks of heads [first, end) of a program of grid
    (batch · chunks · groups · parts,)."""
    part = tl.program_id(0) % parts
    group = tl.program_id(0) // parts % n_groups
    chunk = tl.program_id(0) // parts // n_groups % chunks
    sequence = tl.program_id(0) // parts // n_groups // chunks
    of_group = n_heads // n_groups * blocks
    of_part = tl.cdiv(of_group, parts)
    first = group * of_group + part * of_part
    return (sequence, chunk, group, part, first,
            tl.minimum(first + of_part, (group + 1) * of_group))


@triton.jit
def decay_since(later, earlier, cum_later, cum_earlier):
    """L for all pairs of steps, 0 where `later` is the earlier one."""
    return tl.exp2(tl.where(later >= earlier, cum_later - cum_earlier, float("-inf")))


@triton.jit
def rows_of_state(C, dy, H, from_start):
    """What steps read of the state before their chunk, or of a slice of it."""
    # ⟨dy, H C⟩, not ⟨Hᵀ dy, C⟩: the smaller tile.
    return tl.sum(tl.dot(C, H.T, input_precision=PRECISION) * dy.to(tl.float32), 1) * from_start


@triton.jit
def add_weighted(total, steps, state, weight):
    """`total` with the product of steps and a state, or a slice of it, weighted per step.

    The product is weighted, not its first factor, which would have to be rounded to x's dtype.
    """
    return total + tl.dot(steps, state, input_precision=PRECISION) * weight[:, None]


@triton.jit(do_not_specialize=RUNTIME_SIZES)
def read_gradients(x_ptr, B_ptr, C_ptr, dy_ptr, decays_ptr, states_ptr, others_ptr, reads_ptr,
                   dCB_ptr, dC_ptr, batch, length, n_heads, n_groups, chunks, parts, x_sequence,
                   x_step, x_head, B_sequence, B_step, B_group, C_sequence, C_step, C_group,
                   dy_sequence, dy_step, dy_head, dC_sequence, dC_step, dC_group,
                   states_sequence, states_slot, states_row,
                   head_dim: tl.constexpr, d_state: tl.constexpr, ACROSS: tl.constexpr,
                   CHUNK: tl.constexpr, N: tl.constexpr, SLICE: tl.constexpr, BLOCK: tl.constexpr,
                   STAGES: tl.constexpr, APART: tl.constexpr, OVERLAP: tl.constexpr):
    """Compute what the steps of a chunk read: rows, columns, dCB and dC. Tiles are (t, s).

    If APART, what they read from the state comes after all else, a slice of it after another.
    """
    blocks: tl.constexpr = (head_dim + BLOCK - 1) // BLOCK
    sequence, chunk, group, part, first, end = locate_chunk(chunks, n_heads, n_groups, parts,
                                                            blocks)
    x_tiles = describe(x_ptr, batch, n_heads, length, head_dim, x_sequence, x_step, x_head, CHUNK,
                       BLOCK)
    dy_tiles = describe(dy_ptr, batch, n_heads, length, head_dim, dy_sequence, dy_step, dy_head,
                        CHUNK, BLOCK)
    B_tiles = describe(B_ptr, batch, n_groups, length, d_state, B_sequence, B_step, B_group, CHUNK,
                       SLICE)
    C_tiles = describe(C_ptr, batch, n_groups, length, d_state, C_sequence, C_step, C_group, CHUNK,
                       SLICE)
    first_plane, state_tiles = describe_states(
        states_ptr, others_ptr, batch, chunks, n_heads, head_dim, states_sequence, states_slot,
        states_row, ACROSS, N, BLOCK, SLICE)
    row_first = chunk * blocks * BLOCK
    of_head = chunks.to(tl.int64) * 3 * CHUNK
    cums_at = decays_ptr + sequence * n_heads * of_head + chunk * 3 * CHUNK
    cum_tiles = describe_decays(cums_at, n_heads, of_head, CHUNK)
    delta_tiles = describe_decays(cums_at + 2 * CHUNK, n_heads, of_head, CHUNK)
    i = tl.arange(0, CHUNK)
    t = chunk * CHUNK
    B = B_tiles.load([sequence, group, t, 0]).reshape(CHUNK, SLICE)
    C = C_tiles.load([sequence, group, t, 0]).reshape(CHUNK, SLICE)
    CB = tl.dot(C, B.T, input_precision=PRECISION)
    for n in tl.range(SLICE, N, SLICE, num_stages=1):
        B = B_tiles.load([sequence, group, t, n]).reshape(CHUNK, SLICE)
        C = C_tiles.load([sequence, group, t, n]).reshape(CHUNK, SLICE)
        CB = tl.dot(C, B.T, CB, input_precision=PRECISION)
    CB = tl.where(i[:, None] > i[None, :], CB, 0.0)
    dCB = tl.zeros((CHUNK, CHUNK), tl.float32)
    dC = tl.zeros((CHUNK, SLICE), tl.float32)
    wait_for_previous(OVERLAP)
    for block in tl.range(first, end, num_stages=STAGES):
        head = block // blocks
        p_first = block % blocks * BLOCK
        cum = cum_tiles.load([head, 0]).reshape(CHUNK)
        delta = delta_tiles.load([head, 0]).reshape(CHUNK)
        x = x_tiles.load([sequence, head, t, p_first]).reshape(CHUNK, BLOCK)
        dy = dy_tiles.load([sequence, head, t, p_first]).reshape(CHUNK, BLOCK)
        if not APART:
            plane, entry, slot = place_state(first_plane, batch, sequence, head, ACROSS)
            H = state_tiles.load([plane, entry, slot, row_first + p_first, 0]).reshape(BLOCK, N)
        if APART:
            rows = tl.zeros((CHUNK,), tl.float32)
        else:
            from_start = tl.exp2(cum)
            rows = rows_of_state(C, dy, H, from_start)
        weights = tl.dot(dy, x.T, input_precision=PRECISION)
        weights *= decay_since(i[:, None], i[None, :], cum[:, None], cum[None, :])
        dCB += weights * delta[None, :]
        weights *= CB
        rows += tl.sum(weights * delta[None, :], 1)
        of_block = (sequence * n_heads * blocks + block).to(tl.int64) * chunks + chunk
        at = reads_ptr + of_block * 2 * CHUNK + i
        tl.store(at, rows)
        tl.store(at + CHUNK, tl.sum(weights, 0))
        if not APART:  # last, when the tiles above need no registers any more
            dC = add_weighted(dC, dy, H, from_start)
    dCB = dCB.to(C.dtype)
    own = dCB_ptr + tl.program_id(0).to(tl.int64) * CHUNK * CHUNK
    tl.store(own + i[:, None] * CHUNK + i[None, :], dCB)
    dC_tiles = describe(dC_ptr, batch * parts, n_groups, length, d_state, dC_sequence, dC_step,
                        dC_group, CHUNK, SLICE)
    for n in tl.range(0, N, SLICE, num_stages=1):
        if APART:
            tl.debug_barrier()  # what a thread stored above or for the last slice, others load
            C = C_tiles.load([sequence, group, t, n]).reshape(CHUNK, SLICE)
            dC = tl.zeros((CHUNK, SLICE), tl.float32)
            for block in tl.range(first, end, num_stages=STAGES):
                head = block // blocks
                p_first = block % blocks * BLOCK
                dy = dy_tiles.load([sequence, head, t, p_first]).reshape(CHUNK, BLOCK)
                plane, entry, slot = place_state(first_plane, batch, sequence, head, ACROSS)
                H = state_tiles.load([plane, entry, slot, row_first + p_first, n]).reshape(
                    BLOCK, SLICE)
                row = (sequence * n_heads + head).to(tl.int64)
                cum = tl.load(decays_ptr + (row * chunks + chunk) * 3 * CHUNK + i)
                from_start = tl.exp2(cum)
                rows = rows_of_state(C, dy, H, from_start)
                dC = add_weighted(dC, dy, H, from_start)
                of_block = (sequence * n_heads * blocks + block).to(tl.int64) * chunks + chunk
                at = reads_ptr + of_block * 2 * CHUNK + i
                tl.store(at, rows + tl.load(at))
            dCB = tl.load(own + i[:, None] * CHUNK + i[None, :])
        # Kept since its first use, B would take shared memory from the heads' tensors.
        B = B_tiles.load([sequence, group, t, n]).reshape(CHUNK, SLICE)
        dC = tl.dot(dCB, B, dC, input_precision=PRECISION)
        dC_tiles.store([part * batch + sequence, group, t, n],
                       dC.to(dC_ptr.dtype.element_ty).reshape(1, 1, CHUNK, SLICE))


@triton.jit
def add_pairs(a, b, other_a, other_b):
    """Add two pairs of sums."""
    return a + other_a, b + other_b


@triton.jit
def finish_dB(dB, C, dCB, dB_tiles, entry, group, t, n):
    """Add to a slice of dB what comes from the scores within the chunk, and store it."""
    i = tl.arange(0, dB.shape[0])
    dBC = tl.load(dCB + i[None, :] * dB.shape[0] + i[:, None])
    dB = tl.dot(dBC, C, dB, input_precision=PRECISION)
    dB_tiles.store([entry, group, t, n], dB.to(dB_tiles.dtype).reshape(dB_tiles.block_shape))


@triton.jit(do_not_specialize=RUNTIME_SIZES)
def write_gradients(x_ptr, B_ptr, C_ptr, dy_ptr, D_ptr, decays_ptr, states_ptr, others_ptr,
                    dCB_ptr, writes_ptr, dx_ptr, dB_ptr, sums_ptr, batch, length, n_heads,
                    n_groups, chunks, parts, D_sums, x_sequence, x_step, x_head, B_sequence,
                    B_step, B_group, C_sequence, C_step, C_group, dy_sequence, dy_step, dy_head,
                    dx_sequence, dx_step, dx_head, dB_sequence, dB_step, dB_group,
                    states_sequence, states_slot, states_row, head_dim: tl.constexpr,
                    d_state: tl.constexpr, ACROSS: tl.constexpr, D_PER_HEAD: tl.constexpr,
                    CHUNK: tl.constexpr, N: tl.constexpr, SLICE: tl.constexpr,
                    BLOCK: tl.constexpr, STAGES: tl.constexpr, APART: tl.constexpr,
                    ALONGS: tl.constexpr, OVERLAP: tl.constexpr):
    """Compute the gradients of what the steps of a chunk write: aheads, directs, alongs, dx and dB,
    and that of D if it has a number for each feature. Tiles are (s, t).

    If APART, dB is computed before all else, a slice of the state after another.
    """
    blocks: tl.constexpr = (head_dim + BLOCK - 1) // BLOCK
    sequence, chunk, group, part, first, end = locate_chunk(chunks, n_heads, n_groups, parts,
                                                            blocks)
    x_tiles = describe(x_ptr, batch, n_heads, length, head_dim, x_sequence, x_step, x_head, CHUNK,
                       BLOCK)
    dy_tiles = describe(dy_ptr, batch, n_heads, length, head_dim, dy_sequence, dy_step, dy_head,
                        CHUNK, BLOCK)
    dx_tiles = describe(dx_ptr, batch, n_heads, length, head_dim, dx_sequence, dx_step, dx_head,
                        CHUNK, BLOCK)
    B_tiles = describe(B_ptr, batch, n_groups, length, d_state, B_sequence, B_step, B_group, CHUNK,
                       SLICE)
    C_tiles = describe(C_ptr, batch, n_groups, length, d_state, C_sequence, C_step, C_group, CHUNK,
                       SLICE)
    first_plane, state_tiles = describe_states(
        states_ptr, others_ptr, batch, chunks, n_heads, head_dim, states_sequence, states_slot,
        states_row, ACROSS, N, BLOCK, SLICE)
    row_first = chunk * blocks * BLOCK
    i = tl.arange(0, CHUNK)
    t = chunk * CHUNK
    if APART:
        own = dCB_ptr + tl.program_id(0).to(tl.int64) * CHUNK * CHUNK
        dB_tiles = describe(dB_ptr, batch * parts, n_groups, length, d_state, dB_sequence, dB_step,
                            dB_group, CHUNK, SLICE)
        wait_for_previous(OVERLAP)
        for n in tl.range(0, N, SLICE, num_stages=1):
            dB = tl.zeros((CHUNK, SLICE), tl.float32)
            for block in tl.range(first, end, num_stages=STAGES):
                head = block // blocks
                p_first = block % blocks * BLOCK
                x = x_tiles.load([sequence, head, t, p_first]).reshape(CHUNK, BLOCK)
                plane, entry, slot = place_state(first_plane, batch, sequence, head, ACROSS)
                G = state_tiles.load([plane, entry, slot, row_first + p_first, n]).reshape(
                    BLOCK, SLICE)
                row = (sequence * n_heads + head).to(tl.int64)
                cum_at = decays_ptr + (row * chunks + chunk) * 3 * CHUNK
                cum = tl.load(cum_at + i)
                delta = tl.load(cum_at + 2 * CHUNK + i)
                total = tl.load(cum_at + CHUNK - 1)
                dB = add_weighted(dB, x, G, delta * tl.exp2(total - cum))
            C = C_tiles.load([sequence, group, t, n]).reshape(CHUNK, SLICE)
            finish_dB(dB, C, own, dB_tiles, part * batch + sequence, group, t, n)
    B = B_tiles.load([sequence, group, t, 0]).reshape(CHUNK, SLICE)
    C = C_tiles.load([sequence, group, t, 0]).reshape(CHUNK, SLICE)
    BC = tl.dot(B, C.T, input_precision=PRECISION)
    for n in tl.range(SLICE, N, SLICE, num_stages=1):
        B = B_tiles.load([sequence, group, t, n]).reshape(CHUNK, SLICE)
        C = C_tiles.load([sequence, group, t, n]).reshape(CHUNK, SLICE)
        BC = tl.dot(B, C.T, BC, input_precision=PRECISION)
    diagonal = tl.sum(tl.where(i[:, None] == i[None, :], BC, 0.0), 1)
    dB = tl.zeros((CHUNK, SLICE), tl.float32)
    wait_for_previous(OVERLAP and not APART)
    for block in tl.range(first, end, num_stages=STAGES):
        head = block // blocks
        p_first = block % blocks * BLOCK
        x = x_tiles.load([sequence, head, t, p_first]).reshape(CHUNK, BLOCK)
        dy = dy_tiles.load([sequence, head, t, p_first]).reshape(CHUNK, BLOCK)
        if not APART:
            plane, entry, slot = place_state(first_plane, batch, sequence, head, ACROSS)
            G = state_tiles.load([plane, entry, slot, row_first + p_first, 0]).reshape(BLOCK, N)
        row = (sequence * n_heads + head).to(tl.int64)
        cum_at = decays_ptr + (row * chunks + chunk) * 3 * CHUNK
        cum = tl.load(cum_at + i)
        delta = tl.load(cum_at + 2 * CHUNK + i)
        total = tl.load(cum_at + CHUNK - 1)
        to_end = tl.exp2(total - cum)
        if APART:
            u = tl.zeros((CHUNK, BLOCK), tl.float32)
            for n in tl.range(0, N, SLICE, num_stages=1):
                B = B_tiles.load([sequence, group, t, n]).reshape(CHUNK, SLICE)
                plane, entry, slot = place_state(first_plane, batch, sequence, head, ACROSS)
                G = state_tiles.load([plane, entry, slot, row_first + p_first, n]).reshape(
                    BLOCK, SLICE)
                u = tl.dot(B, G.T, u, input_precision=PRECISION)
        else:
            u = tl.dot(B, G.T, input_precision=PRECISION)
        u *= to_end[:, None]
        of_block = (sequence * n_heads * blocks + block).to(tl.int64) * chunks + chunk
        at = writes_ptr + of_block * 3 * CHUNK + i
        xdy = x.to(tl.float32) * dy.to(tl.float32)
        # In one reduction, so that x and dy are loaded once, in the layout of u.
        ahead, along = tl.reduce((u * x.to(tl.float32), xdy), 1, add_pairs)
        tl.store(at, ahead)
        tl.store(at + CHUNK, ahead + along * diagonal)
        if ALONGS:
            tl.store(at + 2 * CHUNK, along)
        scores = BC * decay_since(i[None, :], i[:, None], cum[None, :], cum[:, None])
        u = tl.dot(scores.to(dy.dtype), dy, u, input_precision=PRECISION)
        dx = u * delta[:, None]
        if D_ptr is not None:
            if D_PER_HEAD:
                dx += tl.load(D_ptr + head) * dy.to(tl.float32)
            else:
                p = p_first + tl.arange(0, BLOCK)
                D = tl.load(D_ptr + head * head_dim + p, p < head_dim, 0.0)
                dx += D[None, :] * dy.to(tl.float32)
                if sums_ptr is not None:
                    of_chunk = (sequence * chunks + chunk).to(tl.int64) * (D_sums + 2 * n_heads)
                    tl.store(sums_ptr + of_chunk + head * head_dim + p, tl.sum(xdy, 0),
                             p < head_dim)
        dx_tiles.store([sequence, head, t, p_first], dx.to(x.dtype).reshape(1, 1, CHUNK, BLOCK))
        if not APART:  # last, as in read_gradients
            dB = add_weighted(dB, x, G, delta * to_end)
    if not APART:  # here, so that these take no registers in the loop
        own = dCB_ptr + tl.program_id(0).to(tl.int64) * CHUNK * CHUNK
        dB_tiles = describe(dB_ptr, batch * parts, n_groups, length, d_state, dB_sequence, dB_step,
                            dB_group, CHUNK, SLICE)
        finish_dB(dB, C, own, dB_tiles, part * batch + sequence, group, t, 0)


@triton.jit(do_not_specialize=RUNTIME_SIZES)
def step_gradients(dt_ptr, A_ptr, bias_ptr, decays_ptr, reads_ptr, writes_ptr, overlaps_ptr,
                   d_dt_ptr, sums_ptr, length, n_heads, chunks, D_sums, dt_sequence, dt_step,
                   dt_head, d_dt_sequence, d_dt_step, d_dt_head,
                   SOFTPLUS: tl.constexpr, CHUNK: tl.constexpr, HEADS: tl.constexpr,
                   BLOCKS: tl.constexpr, TILES: tl.constexpr, ALONGS: tl.constexpr,
                   OVERLAP: tl.constexpr):
    """Compute the gradients of dt, and those of A, dt_bias and D by chunk, for one chunk and HEADS
    heads: a program of grid (batch · chunks · ceil(n_heads / HEADS),)."""
    wait_for_previous(OVERLAP)
    parts = tl.cdiv(n_heads, HEADS)
    head = (tl.program_id(0) % parts * HEADS + tl.arange(0, HEADS)).to(tl.int64)
    of_chunk = tl.program_id(0) // parts
    chunk = of_chunk % chunks
    sequence = (of_chunk // chunks).to(tl.int64)
    i = tl.arange(0, CHUNK)[:, None]
    t = chunk * CHUNK + i
    is_head = (head < n_heads)[None, :]
    here = is_head & (i >= 0)
    after_first = is_head & (i > 0)
    row = sequence * n_heads + head
    delta_at = decays_ptr + ((row[None, :] * chunks + chunk) * 3 + 2) * CHUNK + i
    delta = tl.load(delta_at, here, 0.0)
    rows = tl.zeros((CHUNK, HEADS), tl.float32)
    columns = tl.zeros((CHUNK, HEADS), tl.float32)
    directs = tl.zeros((CHUNK, HEADS), tl.float32)
    alongs = tl.zeros((CHUNK, HEADS), tl.float32)
    before = tl.zeros((CHUNK, HEADS), tl.float32)
    for block in tl.static_range(BLOCKS):
        of_block = (row[None, :] * BLOCKS + block) * chunks + chunk
        read = reads_ptr + of_block * 2 * CHUNK + i
        written = writes_ptr + of_block * 3 * CHUNK + i
        rows += tl.load(read, here, 0.0)
        columns += tl.load(read + CHUNK, here, 0.0)
        before += tl.load(written - 1, after_first, 0.0)
        directs += tl.load(written + CHUNK, here, 0.0)
        if ALONGS:
            alongs += tl.load(written + 2 * CHUNK, here, 0.0)
    overlap = tl.zeros((HEADS,), tl.float32)
    for tile in tl.static_range(TILES):
        overlap += tl.load(overlaps_ptr + (row * chunks + chunk) * TILES + tile, head < n_heads,
                           0.0)
    before *= tl.load(delta_at - 1, after_first, 0.0)
    d_decay = tl.cumsum(rows - delta * columns, 0, reverse=True) + tl.cumsum(before, 0)
    d_decay += overlap[None, :]
    d_dt = columns + directs + d_decay * tl.load(A_ptr + head, head < n_heads, 0.0)[None, :]
    exists = (t < length) & is_head
    if SOFTPLUS:
        dt = tl.load(dt_ptr + sequence * dt_sequence + t.to(tl.int64) * dt_step
                     + head[None, :] * dt_head, exists, 0.0).to(tl.float32)
        if bias_ptr is not None:
            dt += tl.load(bias_ptr + head, head < n_heads, 0.0)[None, :]
        d_dt *= sigmoid(dt)
    d_dt = tl.where(exists, d_dt, 0.0)
    tl.store(d_dt_ptr + sequence * d_dt_sequence + t.to(tl.int64) * d_dt_step
             + head[None, :] * d_dt_head, d_dt.to(d_dt_ptr.dtype.element_ty), exists)
    sums = sums_ptr + of_chunk.to(tl.int64) * (D_sums + 2 * n_heads) + head
    if ALONGS:
        tl.store(sums, tl.sum(alongs, 0), head < n_heads)
    tl.store(sums + D_sums, tl.sum(d_decay * delta, 0), head < n_heads)
    tl.store(sums + D_sums + n_heads, tl.sum(d_dt, 0), head < n_heads)


@triton.jit(do_not_specialize=RUNTIME_SIZES)
def add_up_chunks(sums_ptr, dA_ptr, d_bias_ptr, dD_ptr, n_heads, of_chunks, D_sums,
                  CHUNKS: tl.constexpr, WIDTH: tl.constexpr, OVERLAP: tl.constexpr):
    """Add up the sums of all chunks, and write the gradients of A, dt_bias and D: a program of grid
    (ceil((D_sums + 2 n_heads) / WIDTH),)."""
    wait_for_previous(OVERLAP)
    columns = D_sums + 2 * n_heads
    column = tl.program_id(0) * WIDTH + tl.arange(0, WIDTH)
    total = tl.zeros((CHUNKS, WIDTH), tl.float32)
    for first in range(0, of_chunks, CHUNKS):
        of_chunk = first + tl.arange(0, CHUNKS)[:, None]
        total += tl.load(sums_ptr + of_chunk.to(tl.int64) * columns + column[None, :],
                         (of_chunk < of_chunks) & (column < columns)[None, :], 0.0)
    total = tl.sum(total, 0)
    head = column - D_sums
    tl.store(dA_ptr + head, total, (head >= 0) & (head < n_heads))
    tl.store(d_bias_ptr + head - n_heads, total, (head >= n_heads) & (head < 2 * n_heads))
    if dD_ptr is not None:
        tl.store(dD_ptr + column, total, head < 0)
