"""The forward kernels: `sum_decays`, then `walk`; between them `add_up` and `carry` if there are
several splits.

`walk` takes the four steps of `ssd/chunked.py` for one chunk after another, with the state in
registers. Everything is transposed, (head_dim, steps) where the tensors are (steps, head_dim): the
state then is a left factor, which tensor cores take from registers. Tiles are moved by tensor
descriptors, which read zeros outside of a tensor and write nothing there, so that neither a last
chunk that isn't full nor a size that is no power of two needs a mask. A step past the end has Δ = 0
and leaves the state as it is.

In float32 a factor takes registers twice, for the two parts of each number, so there the state is a
tuple of slices, of SLICE components each, and B and C are loaded slice by slice. In half precision
there is one slice up to a d_state of 128.

Let a_t be log2 α_t and cum_t the sum of a from the start of t's chunk to t; sums never run over
more than a chunk. Δ is folded into an exponent: with low_t = cum_t − log2 Δ_t, the weight of step
s at step t is 2^(cum_t − low_s), and 0 where Δ_s = 0, whose low_s is +∞.

| array, float32 | shape | contents |
|---|---|---|
| decays | (batch, n_heads, chunks, KINDS, CHUNK) | cum and low of each step; Δ is a third kind |
| entering | (batch, n_heads, splits, head_dim, d_state) | the state that enters each split |
| spans | (batch, n_heads, splits) | the sum of a over each split but the last |
| final_state | (batch, n_heads, head_dim, d_state) | the state after the last step |
| dD | (batch, n_heads, chunks, head_dim) | the gradient of D by chunk, where there is a gate |

`entering` holds what each split but the last adds to the state, one place further on, until `carry`
turns that into states.
"""

import triton
import triton.language as tl

from minimamba.ops.overlap import wait_for_previous
from minimamba.scan.triton.lanes import LOG2_E, sigmoid, softplus

FORGOTTEN = tl.constexpr(-160.0)
"""The least a_t, also where a packed sequence starts. 2^−160 is 0 in float32, so less would only
cost the sums their precision."""
PRECISION = tl.constexpr("tf32x3")
"""How float32 is multiplied: each factor as the sum of two that tensor cores take, without the
product of the two small ones. Exact products would need all registers many times over."""
RUNTIME_SIZES = ["batch", "length", "n_heads", "n_groups", "chunks", "split_chunks", "splits"]
"""Kernel arguments whose values don't trigger a new compilation."""


@triton.jit(do_not_specialize=RUNTIME_SIZES)
def sum_decays(dt_ptr, A_ptr, bias_ptr, seq_idx_ptr, decays_ptr, length, n_heads, chunks,
               dt_sequence, dt_step, dt_head, seq_sequence, seq_step, SOFTPLUS: tl.constexpr,
               CHUNK: tl.constexpr, HEADS: tl.constexpr, KINDS: tl.constexpr,
               OVERLAP: tl.constexpr):
    """Compute the decays of one chunk for HEADS heads: a program of grid
    (batch · chunks · ceil(n_heads / HEADS),)."""
    wait_for_previous(OVERLAP)
    parts = tl.cdiv(n_heads, HEADS)
    head = (tl.program_id(0) % parts * HEADS + tl.arange(0, HEADS)).to(tl.int64)
    chunk = tl.program_id(0) // parts % chunks
    sequence = (tl.program_id(0) // parts // chunks).to(tl.int64)
    t = chunk * CHUNK + tl.arange(0, CHUNK)
    steps = t.to(tl.int64)
    is_head = head < n_heads
    is_inside = (t < length)[:, None] & is_head[None, :]
    dt = tl.load(dt_ptr + sequence * dt_sequence + steps[:, None] * dt_step
                 + head[None, :] * dt_head, is_inside, 0.0).to(tl.float32)
    if bias_ptr is not None:
        dt += tl.load(bias_ptr + head, is_head, 0.0)[None, :]
    if SOFTPLUS:
        dt = softplus(dt)
    dt = tl.where(is_inside, dt, 0.0)
    a = dt * (tl.load(A_ptr + head, is_head, 0.0) * LOG2_E)[None, :]
    if seq_idx_ptr is not None:
        row = seq_idx_ptr + sequence * seq_sequence
        own = tl.load(row + steps * seq_step, t < length, 0)
        before = tl.load(row + (steps - 1) * seq_step, (t > 0) & (t < length), 0)
        is_start = (t > 0) & (t < length) & (own != before)
        a = tl.where(is_start[:, None], FORGOTTEN, a)
    cum = tl.cumsum(tl.where(a < FORGOTTEN, FORGOTTEN, a), 0)  # where keeps NaN, maximum doesn't
    of_chunk = (sequence * n_heads + head) * chunks + chunk
    at = decays_ptr + of_chunk[None, :] * KINDS * CHUNK + tl.arange(0, CHUNK)[:, None]
    is_head = tl.broadcast_to(is_head[None, :], at.shape)
    tl.store(at, cum, is_head)
    low = tl.where(dt == 0.0, float("inf"), cum - tl.log2(tl.where(dt == 0.0, 1.0, dt)))
    tl.store(at + CHUNK, low, is_head)
    if KINDS == 3:
        tl.store(at + 2 * CHUNK, dt, is_head)


@triton.jit
def describe(ptr, batch, heads, length, features, sequence_stride, step_stride, head_stride,
             STEPS: tl.constexpr, BLOCK: tl.constexpr):
    """A descriptor of (batch, length, heads, features), for tiles (STEPS, BLOCK) of one head."""
    return tl.make_tensor_descriptor(
        ptr, [batch, heads, length, features],
        [sequence_stride.to(tl.int64), head_stride.to(tl.int64), step_stride.to(tl.int64), 1],
        [1, 1, STEPS, BLOCK])


@triton.jit
def in_two(t, dtype: tl.constexpr):
    """Two tensors of a half-precision dtype whose sum is t up to rounding the smaller one."""
    if dtype == tl.bfloat16:  # its upper 16 bits: fewer instructions than to round and convert back
        large = (t.to(tl.int32, bitcast=True) & -0x10000).to(tl.float32, bitcast=True)
    else:
        large = t.to(dtype).to(tl.float32)
    return large.to(dtype), (t - large).to(dtype)


@triton.jit
def next_state(state, x, B, low, total):
    """The state after a chunk, (head_dim, d_state), from the one before: what is left of it, and
    what the steps add."""
    weighted = (x.T.to(tl.float32) * tl.exp2(total - low)[None, :]).to(x.dtype)
    return tl.dot(weighted, B, state * tl.exp2(total), input_precision=PRECISION)


@triton.jit
def next_slices(slices, x, B, low, total, B_tiles, sequence, group, t):
    """`next_state` for a state in slices. With one slice, B is all that it needs; with several, B
    is loaded again for each."""
    count: tl.constexpr = len(slices)
    size: tl.constexpr = slices[0].shape[1]
    after = ()
    for k in tl.static_range(count):
        if count > 1:
            B = B_tiles.load([sequence, group, t, k * size]).reshape(x.shape[0], size)
        after += (next_state(slices[k], x, B, low, total),)
    return after


@triton.jit
def next_precise_state(state, x, B, weight, total):
    """The state after a chunk, from the one before and the weights of the steps. In half precision,
    what rounding leaves out of the weighted x is added, too."""
    weighted = x.T.to(tl.float32) * weight[None, :]
    state *= tl.exp2(total)
    if x.dtype == tl.float32:
        return tl.dot(weighted, B, state, input_precision=PRECISION)
    large, small = in_two(weighted, x.dtype)
    return tl.dot(small, B, tl.dot(large, B, state))


@triton.jit
def locate(program, n_heads, n_groups, head_dim, BLOCK: tl.constexpr):
    """The sequence, head, group and first feature of a block, of which a program has one."""
    blocks = tl.cdiv(head_dim, BLOCK)
    row = program // blocks
    head = row % n_heads
    return row // n_heads, head, head // (n_heads // n_groups), program % blocks * BLOCK


@triton.jit
def state_tile(row, p_first, n_first, head_dim, d_state, BLOCK: tl.constexpr, N: tl.constexpr):
    """Offsets of a tile of a state (head_dim, d_state), the row-th of many, and what exists."""
    p = p_first + tl.arange(0, BLOCK)[:, None]
    n = n_first + tl.arange(0, N)[None, :]
    return (row * head_dim + p) * d_state + n, (p < head_dim) & (n < d_state)


@triton.jit(do_not_specialize=RUNTIME_SIZES)
def add_up(x_ptr, B_ptr, decays_ptr, entering_ptr, spans_ptr, batch, length, n_heads, n_groups,
           chunks, split_chunks, splits, x_sequence, x_step, x_head, B_sequence, B_step, B_group,
           head_dim: tl.constexpr, d_state: tl.constexpr, CHUNK: tl.constexpr, N: tl.constexpr,
           BLOCK: tl.constexpr, COLUMNS: tl.constexpr, KINDS: tl.constexpr, STAGES: tl.constexpr,
           BACK: tl.constexpr, OVERLAP: tl.constexpr):
    """Compute what a split adds to the state: a program of grid (batch · heads · blocks ·
    N / COLUMNS, splits − 1).

    If BACK, x and B are dy and C, and what a split adds is a gradient: that of the state before it.
    The splits, and the chunks of each, are then counted from the end.
    """
    columns: tl.constexpr = N // COLUMNS
    sequence, head, group, p_first = locate(tl.program_id(0) // columns, n_heads, n_groups,
                                            head_dim, BLOCK)
    n_first = tl.program_id(0) % columns * COLUMNS
    split = tl.program_id(1)
    x_tiles = describe(x_ptr, batch, n_heads, length, head_dim, x_sequence, x_step, x_head, CHUNK,
                       BLOCK)
    B_tiles = describe(B_ptr, batch, n_groups, length, d_state, B_sequence, B_step, B_group, CHUNK,
                       COLUMNS)
    wait_for_previous(OVERLAP)
    row = (sequence * n_heads + head).to(tl.int64)
    state = tl.zeros((BLOCK, COLUMNS), tl.float32)
    span = 0.0
    for walked in tl.range(split * split_chunks, (split + 1) * split_chunks, num_stages=STAGES):
        chunk = walked
        if BACK:
            chunk = chunks - 1 - walked
        t = chunk * CHUNK
        x = x_tiles.load([sequence, head, t, p_first]).reshape(CHUNK, BLOCK)
        B = B_tiles.load([sequence, group, t, n_first]).reshape(CHUNK, COLUMNS)
        cum_at = decays_ptr + (row * chunks + chunk) * KINDS * CHUNK
        total = tl.load(cum_at + CHUNK - 1)
        if BACK:
            weight = tl.exp2(tl.load(cum_at + tl.arange(0, CHUNK)))
        else:
            weight = tl.exp2(total - tl.load(cum_at + CHUNK + tl.arange(0, CHUNK)))
        state = next_precise_state(state, x, B, weight, total)
        span += total
    place = row * splits + split
    offsets, exists = state_tile(place + 1, p_first, n_first, head_dim, d_state, BLOCK, COLUMNS)
    tl.store(entering_ptr + offsets, state, exists)
    tl.store(spans_ptr + place, span)


@triton.jit(do_not_specialize=RUNTIME_SIZES)
def carry(entering_ptr, spans_ptr, initial_ptr, splits, SIZE: tl.constexpr, WIDTH: tl.constexpr,
          OVERLAP: tl.constexpr):
    """Turn what each split adds into the state that enters it: a program of grid (batch · heads,
    …) for WIDTH of the SIZE components of a state."""
    wait_for_previous(OVERLAP)
    row = tl.program_id(0).to(tl.int64)
    i = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    exists = i < SIZE
    state = tl.zeros((WIDTH,), tl.float32)
    if initial_ptr is not None:
        state += tl.load(initial_ptr + row * SIZE + i, exists, 0.0)
    place = row * splits
    tl.store(entering_ptr + place * SIZE + i, state, exists)
    for split in range(1, splits):
        decay = tl.exp2(tl.load(spans_ptr + place + split - 1))
        at = entering_ptr + (place + split) * SIZE + i
        state = state * decay + tl.load(at, exists, 0.0)
        tl.store(at, state, exists)


@triton.jit(do_not_specialize=RUNTIME_SIZES)
def walk(x_ptr, B_ptr, C_ptr, D_ptr, z_ptr, decays_ptr, entering_ptr, y_ptr, final_state_ptr,
         d_out_ptr, dy_ptr, dD_ptr, batch, length, n_heads, n_groups, chunks, split_chunks, splits,
         x_sequence, x_step, x_head, B_sequence, B_step, B_group, C_sequence, C_step, C_group,
         z_sequence, z_step, z_head, y_sequence, y_step, y_head, d_out_sequence, d_out_step,
         d_out_head, dy_sequence, dy_step, dy_head, head_dim: tl.constexpr, d_state: tl.constexpr,
         D_PER_HEAD: tl.constexpr, CHUNK: tl.constexpr, N: tl.constexpr, SLICE: tl.constexpr,
         BLOCK: tl.constexpr, KINDS: tl.constexpr, STAGES: tl.constexpr, EARLY: tl.constexpr,
         OVERLAP: tl.constexpr):
    """Compute y for one split of the length: a program of grid (batch · heads · blocks, splits).

    A block is BLOCK of a head's features. The last split stores the final state. In the backward
    pass of the gate, d_out is the gradient of y silu(z): that of y goes to dy, and that of z to
    where y goes otherwise. The gradient of D is summed here, before dy is rounded to x's dtype.
    If EARLY, the state is updated before y is finished and stored, otherwise after.
    """
    sequence, head, group, p_first = locate(tl.program_id(0), n_heads, n_groups, head_dim, BLOCK)
    split = tl.program_id(1)
    x_tiles = describe(x_ptr, batch, n_heads, length, head_dim, x_sequence, x_step, x_head, CHUNK,
                       BLOCK)
    B_tiles = describe(B_ptr, batch, n_groups, length, d_state, B_sequence, B_step, B_group, CHUNK,
                       SLICE)
    C_tiles = describe(C_ptr, batch, n_groups, length, d_state, C_sequence, C_step, C_group, CHUNK,
                       SLICE)
    y_tiles = describe(y_ptr, batch, n_heads, length, head_dim, y_sequence, y_step, y_head, CHUNK,
                       BLOCK)
    if z_ptr is not None:
        z_tiles = describe(z_ptr, batch, n_heads, length, head_dim, z_sequence, z_step, z_head,
                           CHUNK, BLOCK)
    if d_out_ptr is not None:
        d_out_tiles = describe(d_out_ptr, batch, n_heads, length, head_dim, d_out_sequence,
                               d_out_step, d_out_head, CHUNK, BLOCK)
        dy_tiles = describe(dy_ptr, batch, n_heads, length, head_dim, dy_sequence, dy_step,
                            dy_head, CHUNK, BLOCK)
    wait_for_previous(OVERLAP)
    row = (sequence * n_heads + head).to(tl.int64)
    i = tl.arange(0, CHUNK)
    state = ()
    for n in tl.static_range(0, N, SLICE):
        part = tl.zeros((BLOCK, SLICE), tl.float32)
        if entering_ptr is not None:
            offsets, exists = state_tile(row * splits + split, p_first, n, head_dim, d_state,
                                         BLOCK, SLICE)
            part += tl.load(entering_ptr + offsets, exists, 0.0)
        state += (part,)
    p = p_first + tl.arange(0, BLOCK)
    if D_ptr is not None:
        if D_PER_HEAD:
            D = tl.load(D_ptr + head)
        else:
            D = tl.load(D_ptr + head * head_dim + p, p < head_dim, 0.0)[:, None]
    end = tl.minimum((split + 1) * split_chunks, chunks)
    for chunk in tl.range(split * split_chunks, end, num_stages=STAGES):
        t = chunk * CHUNK
        x = x_tiles.load([sequence, head, t, p_first]).reshape(CHUNK, BLOCK)
        B = B_tiles.load([sequence, group, t, 0]).reshape(CHUNK, SLICE)
        C = C_tiles.load([sequence, group, t, 0]).reshape(CHUNK, SLICE)
        cum_at = decays_ptr + (row * chunks + chunk) * KINDS * CHUNK
        total = tl.load(cum_at + CHUNK - 1)  # loaded last, it would cost 6 % of the time
        cum = tl.load(cum_at + i)
        low = tl.load(cum_at + CHUNK + i)

        # Masked attention, transposed: (s, t). The mask comes before the exponential.
        scores = tl.dot(B, C.T, input_precision=PRECISION)
        y = tl.dot(state[0].to(C.dtype), C.T, input_precision=PRECISION)
        for k in tl.static_range(1, N // SLICE):
            B = B_tiles.load([sequence, group, t, k * SLICE]).reshape(CHUNK, SLICE)
            C = C_tiles.load([sequence, group, t, k * SLICE]).reshape(CHUNK, SLICE)
            scores = tl.dot(B, C.T, scores, input_precision=PRECISION)
            y = tl.dot(state[k].to(C.dtype), C.T, y, input_precision=PRECISION)
        y *= tl.exp2(cum)[None, :]
        exponent = tl.where(i[None, :] >= i[:, None], cum[None, :] - low[:, None], float("-inf"))
        scores *= tl.exp2(exponent)
        y = tl.dot(x.T, scores.to(x.dtype), y, input_precision=PRECISION)
        if EARLY:
            state = next_slices(state, x, B, low, total, B_tiles, sequence, group, t)
        if D_ptr is not None:
            y += D * x.T.to(tl.float32)  # among the scores, D would be rounded to x's dtype
        y = y.T
        if z_ptr is not None:
            z = z_tiles.load([sequence, head, t, p_first]).reshape(CHUNK, BLOCK).to(tl.float32)
            gate = sigmoid(z)
            silu = z * gate
            if d_out_ptr is None:
                y *= silu
            else:
                d_out = d_out_tiles.load([sequence, head, t, p_first]).reshape(CHUNK, BLOCK)
                d_out = d_out.to(tl.float32)
                dy = d_out * silu
                if dD_ptr is not None:
                    tl.store(dD_ptr + (row * chunks + chunk) * head_dim + p,
                             tl.sum(dy * x.to(tl.float32), 0), p < head_dim)
                dy = dy.to(dy_ptr.dtype.element_ty)
                dy_tiles.store([sequence, head, t, p_first], dy.reshape(1, 1, CHUNK, BLOCK))
                y *= d_out * (gate + silu * (1.0 - gate))
        y_tiles.store([sequence, head, t, p_first],
                      y.to(y_ptr.dtype.element_ty).reshape(1, 1, CHUNK, BLOCK))
        if not EARLY:
            state = next_slices(state, x, B, low, total, B_tiles, sequence, group, t)
    if final_state_ptr is not None and split == splits - 1:
        for k in tl.static_range(N // SLICE):
            offsets, exists = state_tile(row, p_first, k * SLICE, head_dim, d_state, BLOCK, SLICE)
            tl.store(final_state_ptr + offsets, state[k], exists)
