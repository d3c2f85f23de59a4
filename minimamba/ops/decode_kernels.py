"""The Triton kernels of `minimamba.ops.decode`.

A program of `conv_step` and `scan_step` computes BLOCK channels of SEQUENCES sequences, one of
`ssd_step` BLOCK channels of one head, one of `matvec` ROWS outputs of one sequence, and one of
`add_rms_norm` one sequence.

With OVERLAP, a kernel begins while the one before it ends, and waits for that end before it reads
what it has written. Weights, and states, which are a token old, can be loaded while it waits.
"""

import triton
import triton.language as tl

from minimamba.ops.overlap import wait_for_previous
from minimamba.scan.triton.lanes import LOG2_E, decay, sigmoid, softplus


@triton.jit
def load_sum(pointer, offset, part_stride, exists, parts, PARTS: tl.constexpr):
    """The sum of `parts` parts of a (SEQUENCES, features) tensor, in float32.

    PARTS is their number, or the next power of two. The order of the sum is always the same.
    """
    # Along the first axis, since along the second threads exchange three times as much; and of
    # several sequences few at a time, for registers.
    at_once: tl.constexpr = PARTS if offset.shape[0] == 1 else min(PARTS, 2)
    total = tl.zeros(offset.shape, tl.float32)
    for first in tl.static_range(0, PARTS, at_once):
        part = first + tl.arange(0, at_once)[:, None, None]
        value = tl.load(pointer + part * part_stride + offset[None], exists[None] & (part < parts),
                        0.0)
        total += tl.sum(value.to(tl.float32), 0)
    return total


@triton.jit(do_not_specialize=["batch"])
def conv_step(x, weight, bias, conv_state, new_state, y, x_proj, projected, x_stride, batch,
              d_inner, features: tl.constexpr, WIDTH: tl.constexpr, SEQUENCES: tl.constexpr,
              BLOCK: tl.constexpr, FEATURES: tl.constexpr, OVERLAP: tl.constexpr):
    """One step of the convolution with its SiLU, and what its channels add to x_proj's product.

    Grid: (blocks of sequences, blocks of channels). `projected`, (blocks of channels, batch,
    features), receives the parts of the product, FEATURES of them at a time.

    `new_state` may be `conv_state`: all of a program's part is read before any of it is written.
    """
    sequence = (tl.program_id(0) * SEQUENCES + tl.arange(0, SEQUENCES)).to(tl.int64)[:, None]
    channel = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    channel_exists = channel < d_inner
    exists = (sequence < batch) & channel_exists[None, :]
    offset = sequence * (WIDTH - 1) * d_inner + channel[None, :]
    total = tl.zeros((SEQUENCES, BLOCK), tl.float32)
    if bias is not None:
        total += tl.load(bias + channel, channel_exists, 0.0).to(tl.float32)[None, :]
    window = ()
    for k in tl.static_range(WIDTH - 1):
        window = window + (tl.load(conv_state + offset + k * d_inner, exists, 0.0),)
        tap = tl.load(weight + channel * WIDTH + k, channel_exists, 0.0).to(tl.float32)
        total += window[k].to(tl.float32) * tap[None, :]
    tap = tl.load(weight + channel * WIDTH + WIDTH - 1, channel_exists, 0.0).to(tl.float32)
    tiles = ()
    for first in tl.static_range(0, features, FEATURES):
        feature = first + tl.arange(0, FEATURES)[:, None]
        tiles = tiles + (tl.load(x_proj + feature * d_inner + channel[None, :],
                                 (feature < features) & channel_exists[None, :], 0.0),)
    wait_for_previous(OVERLAP)
    newest = tl.load(x + sequence * x_stride + channel[None, :], exists, 0.0)
    total += newest.to(tl.float32) * tap[None, :]
    y_t = (total * sigmoid(total)).to(y.dtype.element_ty)
    row = tl.program_id(1).to(tl.int64) * batch + sequence
    for k in tl.static_range(len(tiles)):
        if SEQUENCES == 1:
            part = tl.sum(y_t.to(tl.float32) * tiles[k].to(tl.float32), 1)[None, :]
        else:
            part = tl.trans(tl.dot(tiles[k], tl.trans(y_t), input_precision="ieee"))
        feature = k * FEATURES + tl.arange(0, FEATURES)[None, :]
        tl.store(projected + row * features + feature, part,
                 (sequence < batch) & (feature < features))
    tl.store(y + sequence * d_inner + channel[None, :], y_t, exists)
    for k in tl.static_range(1, WIDTH - 1):
        tl.store(new_state + offset + (k - 1) * d_inner, window[k], exists)
    if WIDTH > 1:
        tl.store(new_state + offset + (WIDTH - 2) * d_inner, newest, exists)


@triton.jit(do_not_specialize=["batch"])
def scan_step(x, dt, A_log, B, C, D, z, dt_bias, dt_weight, ssm_state, new_state, y, x_batch,
              x_channel, dt_part, dt_batch, dt_channel, B_part, B_batch, B_state, C_part, C_batch,
              C_state, z_batch, z_channel, batch, d_inner, parts, d_state: tl.constexpr,
              dt_rank: tl.constexpr, N: tl.constexpr, PARTS: tl.constexpr, RANKS: tl.constexpr,
              SEQUENCES: tl.constexpr, BLOCK: tl.constexpr, OVERLAP: tl.constexpr):
    """One step of the selective scan. Grid: (blocks of sequences, blocks of channels).

    N is d_state, or the next power of two. `x_batch`, `x_channel` and so on are strides. With
    `dt_weight`, dt is multiplied by it, RANKS of its features at a time.
    """
    sequence = (tl.program_id(0) * SEQUENCES + tl.arange(0, SEQUENCES)).to(tl.int64)[:, None]
    channel = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    n = tl.arange(0, N)
    channel_exists = channel < d_inner
    sequence_exists = sequence < batch
    exists = sequence_exists & channel_exists[None, :]
    n_exists = sequence_exists & (n < d_state)[None, :]
    state_exists = exists[:, :, None] & (n < d_state)[None, None, :]
    place = channel[:, None] * d_state + n[None, :]
    offset = (sequence * d_inner * d_state)[:, :, None] + place[None]
    h = tl.load(ssm_state + offset, state_exists, 0.0)
    A_log_ = tl.load(A_log + place, channel_exists[:, None] & (n < d_state)[None, :], 0.0)
    A_log2e = -LOG2_E * tl.exp2(A_log_.to(tl.float32) * LOG2_E)
    bias = tl.load(dt_bias + channel, channel_exists, 0.0).to(tl.float32)[None, :]
    skip = tl.load(D + channel, channel_exists, 0.0).to(tl.float32)[None, :]
    if dt_weight is None:
        wait_for_previous(OVERLAP)
        delta = load_sum(dt, sequence * dt_batch + channel[None, :] * dt_channel, dt_part, exists,
                         parts, PARTS)
    else:
        delta = tl.zeros((SEQUENCES, BLOCK), tl.float32)
        for first in tl.static_range(0, dt_rank, RANKS):
            rank = first + tl.arange(0, RANKS)
            matrix = tl.load(dt_weight + channel[:, None] * dt_rank + rank[None, :],
                             channel_exists[:, None] & (rank < dt_rank)[None, :], 0.0)
            if first == 0:
                wait_for_previous(OVERLAP)
            low = load_sum(dt, sequence * dt_batch + rank[None, :] * dt_channel, dt_part,
                           sequence_exists & (rank < dt_rank)[None, :], parts, PARTS)
            low = low.to(x.dtype.element_ty)
            if SEQUENCES == 1:
                delta += tl.sum(low.to(tl.float32)[:, None, :] * matrix.to(tl.float32)[None], 2)
            else:
                # Transposed, since channels fill the tiles of tensor cores better than sequences.
                delta += tl.dot(matrix, low.T, input_precision="ieee").T
    # As in PyTorch, the results of the two projections are rounded to the dtype of x.
    delta = softplus(delta.to(x.dtype.element_ty).to(tl.float32) + bias)
    x_t = tl.load(x + sequence * x_batch + channel[None, :] * x_channel, exists, 0.0)
    x_t = x_t.to(tl.float32)
    B_t = load_sum(B, sequence * B_batch + n[None, :] * B_state, B_part, n_exists, parts, PARTS)
    C_t = load_sum(C, sequence * C_batch + n[None, :] * C_state, C_part, n_exists, parts, PARTS)
    B_t = B_t.to(x.dtype.element_ty).to(tl.float32)
    C_t = C_t.to(x.dtype.element_ty).to(tl.float32)
    h = decay(delta[:, :, None], A_log2e[None]) * h + (delta * x_t)[:, :, None] * B_t[:, None, :]
    tl.store(new_state + offset, h, state_exists)
    y_t = tl.sum(h * C_t[:, None, :], 2) + skip * x_t
    if z is not None:
        gate = tl.load(z + sequence * z_batch + channel[None, :] * z_channel, exists, 0.0)
        gate = gate.to(tl.float32)
        y_t *= gate * sigmoid(gate)
    tl.store(y + sequence * d_inner + channel[None, :], y_t.to(y.dtype.element_ty), exists)


@triton.jit
def ssd_step(x, dt, A_log, B, C, D, z, dt_bias, ssm_state, new_state, y, x_batch, dt_batch,
             B_batch, C_batch, z_batch, dt_min, dt_max, n_heads: tl.constexpr,
             n_groups: tl.constexpr, head_dim: tl.constexpr, d_state: tl.constexpr,
             D_PER_HEAD: tl.constexpr, N: tl.constexpr, BLOCK: tl.constexpr,
             OVERLAP: tl.constexpr):
    """One step of Mamba-2's scan. Grid: (batch · n_heads · blocks of channels,).

    N is d_state, or the next power of two. `x_batch` and so on are strides from one sequence to
    the next. Δ and the decay are one number per program, in place of one per component of the
    state: to read and write that is nearly all there is to do.
    """
    blocks: tl.constexpr = tl.cdiv(head_dim, BLOCK)
    row = tl.program_id(0) // blocks
    head = row % n_heads
    sequence = (row // n_heads).to(tl.int64)
    channel = tl.program_id(0) % blocks * BLOCK + tl.arange(0, BLOCK)
    n = tl.arange(0, N)
    channel_exists = channel < head_dim
    exists = channel_exists[:, None] & (n < d_state)[None, :]
    offset = row.to(tl.int64) * (head_dim * d_state) + channel[:, None] * d_state + n[None, :]
    h = tl.load(ssm_state + offset, exists, 0.0)
    A_log2e = -LOG2_E * tl.exp2(tl.load(A_log + head).to(tl.float32) * LOG2_E)
    bias = tl.load(dt_bias + head).to(tl.float32)
    if D_PER_HEAD:
        skip = tl.load(D + head).to(tl.float32)
    else:
        skip = tl.load(D + head * head_dim + channel, channel_exists, 0.0).to(tl.float32)
    wait_for_previous(OVERLAP)
    dt_t = tl.load(dt + sequence * dt_batch + head).to(tl.float32)
    own = head * head_dim + channel
    x_t = tl.load(x + sequence * x_batch + own, channel_exists, 0.0).to(tl.float32)
    # Once per channel, as x in `matvec`, and four at a time, as the state is: half precision would
    # be loaded eight at a time, and threads would have to exchange the state.
    group = head // (n_heads // n_groups) * d_state + tl.broadcast_to(n[None, :], (BLOCK, N))
    group = tl.max_contiguous(group, (1, min(N, 4)))
    B_t = tl.load(B + sequence * B_batch + group, exists, 0.0).to(tl.float32)
    C_t = tl.load(C + sequence * C_batch + group, exists, 0.0).to(tl.float32)
    delta = tl.clamp(softplus(dt_t + bias), dt_min, dt_max, tl.PropagateNan.ALL)
    h = decay(delta, A_log2e) * h + (delta * x_t)[:, None] * B_t
    tl.store(new_state + offset, h, exists)
    y_t = tl.sum(h * C_t, 1) + skip * x_t
    if z is not None:
        gate = tl.load(z + sequence * z_batch + own, channel_exists, 0.0).to(tl.float32)
        y_t *= gate * sigmoid(gate)
    tl.store(y + row.to(tl.int64) * head_dim + channel, y_t.to(y.dtype.element_ty),
             channel_exists)


@triton.jit
def add_rms_norm(residual, hidden_states, weight, total, normed, epsilon, d_model: tl.constexpr,
                 BLOCK: tl.constexpr, OVERLAP: tl.constexpr):
    """The sum of residual and hidden_states, and its RMS norm. Grid: (batch,)."""
    feature = tl.arange(0, BLOCK)
    exists = feature < d_model
    offset = tl.program_id(0).to(tl.int64) * d_model + feature
    wait_for_previous(OVERLAP)
    added = tl.load(hidden_states + offset, exists, 0.0)
    value = tl.load(residual + offset, exists, 0.0).to(tl.float32) + added
    value = value.to(total.dtype.element_ty)
    tl.store(total + offset, value, exists)
    # Rounded to the weight's dtype before the norm, as `add_norm` in nn/layers.py does.
    value = value.to(normed.dtype.element_ty).to(tl.float32)
    value *= 1.0 / tl.sqrt(tl.sum(value * value, 0) / d_model + epsilon)
    value = value * tl.load(weight + feature, exists, 0.0)
    tl.store(normed + offset, value.to(normed.dtype.element_ty), exists)


@triton.jit
def matvec(x, weight, bias, y, outputs, inputs: tl.constexpr, ROWS: tl.constexpr,
           COLUMNS: tl.constexpr, PRELOAD: tl.constexpr, OVERLAP: tl.constexpr):
    """A weight (outputs, inputs) times each row of x. Grid: (blocks of outputs, batch).

    The weight is read COLUMNS columns at a time, with PRELOAD while the kernel waits.
    """
    wait_for_previous(OVERLAP and not PRELOAD)
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    sequence = tl.program_id(1).to(tl.int64)
    exists = row < outputs
    tiles = ()
    for first in tl.static_range(0, inputs, COLUMNS):
        column = first + tl.arange(0, COLUMNS)
        tiles = tiles + (tl.load(weight + row.to(tl.int64)[:, None] * inputs + column[None, :],
                                 exists[:, None] & (column < inputs)[None, :], 0.0),)
    wait_for_previous(OVERLAP and PRELOAD)
    total = tl.zeros((ROWS, COLUMNS), tl.float32)
    for k in tl.static_range(len(tiles)):
        # Read once per row, from the L1 cache, or threads would have to exchange it.
        column = tl.broadcast_to(k * COLUMNS + tl.arange(0, COLUMNS)[None, :], (ROWS, COLUMNS))
        x_k = tl.load(x + sequence * inputs + column, column < inputs, 0.0)
        total += tiles[k].to(tl.float32) * x_k.to(tl.float32)
    y_t = tl.sum(total, 1)
    if bias is not None:
        y_t += tl.load(bias + row, exists, 0.0).to(tl.float32)
    tl.store(y + sequence * outputs + row, y_t.to(y.dtype.element_ty), exists)
