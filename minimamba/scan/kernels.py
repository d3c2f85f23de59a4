"""The selective scan as Triton kernels: `carry`, `forward`, `carry_back` and `backward`.

A program is one warp. It owns BLOCK neighbouring channels of one sequence, all of their states,
and walks along time, or along one split of it, PARTS steps at a time (four, unless N is less). In
its registers are *tiles*, (PARTS, BLOCK), of what has a number a step and channel, and *states*,
(PARTS, BLOCK, N / PARTS). A lane holds a row of both: of a tile one step, of a state one part of
its N numbers. So Δ's softplus is done once a step, by four lanes at a time, and then `of_step`
hands one step's to all; and four steps' sums over the state, or over the channels, are halved from
lane to lane (`over_state`, `over_channels`): what a lane ends with is the sum of its own step.

`forward` is the loop of `definition.py`. `backward` makes the states of a chunk again, writes down
those before each tile of it, and walks back. No tensor (batch, length, d_inner, N) is made.

In memory: x, delta, z, y (batch, length, d_inner), any float; all else in float32: `rates` is
A log2(e), (d_inner, N), so that exp(Δ A) is a power of two; B and C (batch, steps, groups, N),
zeros beyond the end, where `steps` is the length in whole chunks; states (batch, splits, d_inner,
N); `dBC`, the gradients of B and C, (batch, groups or blocks, tiles, 2, PARTS, N).
"""

import triton
import triton.language as tl

LOG2_E = tl.constexpr(1.4426950408889634)
LN_2 = tl.constexpr(0.6931471805599453)
AHEAD = tl.constexpr(3)
"""Turns of a loop under way at once: what the next two need is already being copied, by the unit
that copies to shared memory, while this one is computed. Loads that a compiler may move end up
where they are used, and wait there. (That unit copies four bytes or more at a time.)"""
KEPT_GENERAL = ["length", "steps", "split_steps"]
"""Arguments for whose values nothing is compiled anew."""


@triton.jit
def sigmoid(x):
    return 1.0 / (1.0 + tl.exp2(-x * LOG2_E))


@triton.jit
def softplus(x):
    """log(1 + e^x) = max(x, 0) + log(1 + e), e = e^-|x|, right also where e is lost beside 1.

    log(1 + e) = e + e² q(e), q a polynomial fitted on [0, 1] for the least largest relative error
    of the whole, 3.3e-8.
    """
    e = tl.exp2(-tl.abs(x) * LOG2_E)
    q = e * 0.00536481896 - 0.0300657712
    q = e * q + 0.0792044997
    q = e * q - 0.137538001
    q = e * q + 0.191536531
    q = e * q - 0.248571634
    q = e * q + 0.33321324
    q = e * q - 0.499996483
    return (e * e) * q + e + tl.maximum(x, 0.0)


@triton.jit
def step_of(raw, inside, SOFTPLUS: tl.constexpr):
    """Δ; 0 beyond the end, where nothing may change."""
    step = raw
    if SOFTPLUS:
        step = softplus(raw)
    return tl.where(inside, step, 0.0)


@triton.jit
def of_step(tile, k: tl.constexpr):
    """The k-th row of a tile, in all rows: (PARTS, BLOCK, 1)."""
    return tl.gather(tile, tl.full(tile.shape, k, tl.int32), 0)[:, :, None]


@triton.jit
def meet_rows(even, odd, BIT: tl.constexpr):
    """Each row adds that of its partner, whose index differs in BIT: of `even` the rows without
    BIT, of `odd` those with it. Each sends what its partner wants."""
    row = tl.arange(0, even.shape[0])[:, None]
    has, partner = (row & BIT) != 0, tl.broadcast_to(row ^ BIT, even.shape)
    return tl.where(has, odd, even) + tl.gather(tl.where(has, even, odd), partner, 0)


@triton.jit
def over_state(v):
    """Sums over the state of PARTS tensors (PARTS, BLOCK, n): a tile, its row k that of v[k]."""
    PARTS: tl.constexpr = v[0].shape[0]
    if PARTS == 1:
        return tl.sum(v[0], 2)
    elif PARTS == 2:
        return meet_rows(tl.sum(v[0], 2), tl.sum(v[1], 2), 1)
    else:
        return meet_rows(meet_rows(tl.sum(v[0], 2), tl.sum(v[2], 2), 2),
                         meet_rows(tl.sum(v[1], 2), tl.sum(v[3], 2), 2), 1)


@triton.jit
def meet_columns(even, odd, BIT: tl.constexpr):
    """As `meet_rows`, for columns. The lanes are numbered along the rows first."""
    PARTS: tl.constexpr = even.shape[0]
    COLUMNS: tl.constexpr = even.shape[1]
    has = (tl.arange(0, COLUMNS)[None, :, None] & BIT) != 0
    sent = tl.reshape(tl.permute(tl.where(has, even, odd), (1, 0, 2)),
                      (COLUMNS * PARTS, even.shape[2]))
    partner = tl.broadcast_to(tl.arange(0, COLUMNS * PARTS)[:, None] ^ (BIT * PARTS), sent.shape)
    got = tl.reshape(tl.gather(sent, partner, 0), (COLUMNS, PARTS, even.shape[2]))
    return tl.where(has, odd, even) + tl.permute(got, (1, 0, 2))


@triton.jit
def fold(v):
    """(PARTS, BLOCK, n) to (PARTS, 2 PARTS, n), summed over every 2 PARTS-th channel."""
    PARTS: tl.constexpr = v.shape[0]
    return tl.sum(tl.reshape(v, (PARTS, v.shape[1] // (2 * PARTS), 2 * PARTS, v.shape[2])), 1)


@triton.jit
def over_channels(v, w):
    """Sums over the channels of twice PARTS tensors (PARTS, BLOCK, n): (PARTS, 2 PARTS, n), the
    first PARTS columns those of v, the others of w."""
    PARTS: tl.constexpr = v[0].shape[0]
    if PARTS == 1:
        return meet_columns(fold(v[0]), fold(w[0]), 1)
    elif PARTS == 2:
        return meet_columns(meet_columns(fold(v[0]), fold(w[0]), 2),
                            meet_columns(fold(v[1]), fold(w[1]), 2), 1)
    else:
        even = meet_columns(meet_columns(fold(v[0]), fold(w[0]), 4),
                            meet_columns(fold(v[2]), fold(w[2]), 4), 2)
        odd = meet_columns(meet_columns(fold(v[1]), fold(w[1]), 4),
                           meet_columns(fold(v[3]), fold(w[3]), 4), 2)
        return meet_columns(even, odd, 1)


@triton.jit
def load_vector(pointer, channels, there):
    """A number a channel, in all rows of a tile; zeros where there is no pointer."""
    vector = tl.zeros(channels.shape, tl.float32)
    if pointer is not None:
        vector = tl.load(pointer + channels, there, 0.0)
    return vector


@triton.jit
def load_two(pointer, tiles, inside):
    """Two tiles, one after the other in time."""
    first, second = tl.split(tl.load(pointer + tiles, inside, 0.0))
    return first.to(tl.float32), second.to(tl.float32)


@triton.jit
def load_numbers(pointer, stride: tl.constexpr, N: tl.constexpr, PARTS: tl.constexpr):
    """B or C of PARTS steps, each (PARTS, 1, N / PARTS)."""
    numbers = tl.arange(0, N)
    if PARTS == 1:
        return (tl.reshape(tl.load(pointer + numbers), (1, 1, N)),)
    elif PARTS == 2:
        steps = tl.arange(0, 2)[None, :] * stride
        first, second = tl.split(tl.load(pointer + numbers[:, None] + steps))
        return tl.reshape(first, (2, 1, N // 2)), tl.reshape(second, (2, 1, N // 2))
    else:
        steps = (2 * tl.arange(0, 2)[None, :, None] + tl.arange(0, 2)[None, None, :]) * stride
        even, odd = tl.split(tl.load(pointer + numbers[:, None, None] + steps))
        first, third = tl.split(even)
        second, fourth = tl.split(odd)
        return (tl.reshape(first, (4, 1, N // 4)), tl.reshape(second, (4, 1, N // 4)),
                tl.reshape(third, (4, 1, N // 4)), tl.reshape(fourth, (4, 1, N // 4)))


@triton.jit
def locate(groups: tl.constexpr, d_inner: tl.constexpr, N: tl.constexpr, PARTS: tl.constexpr,
           BLOCK: tl.constexpr):
    """This program's sequence and group, its first channel and how many the group has from there
    on; in tiles, which of its channels there are, and which they are; where their states lie.

    The compiler is told that neighbouring channels are no neighbours. Else it would give two to a
    lane, for wider loads, and tiles and states would meet by way of shared memory.
    """
    per_group: tl.constexpr = d_inner // groups
    blocks: tl.constexpr = (per_group + BLOCK - 1) // BLOCK
    group = tl.program_id(0) // blocks
    first = tl.program_id(0) % blocks * BLOCK
    left = per_group - first
    first += group * per_group
    channel = tl.arange(0, BLOCK)[None, :] + tl.zeros((PARTS, 1), tl.int32)
    there, channels = channel < left, tl.max_contiguous(first + channel, [1, 1])
    numbers = (tl.arange(0, PARTS)[:, None, None] * (N // PARTS)
               + tl.arange(0, N // PARTS)[None, None, :])
    places = channels[:, :, None] * N + numbers
    return tl.program_id(2).to(tl.int64), group, first, left, there, channels, places


@triton.jit
def find_two(batch, start, end, length, first, left, d_inner: tl.constexpr, PARTS: tl.constexpr,
             BLOCK: tl.constexpr):
    """Where two tiles lie and what of them there is, (PARTS, BLOCK, 2), as they are loaded:
    neighbours together."""
    steps = (start + tl.arange(0, PARTS)[:, None, None]
             + PARTS * tl.arange(0, 2)[None, None, :])
    channel = tl.arange(0, BLOCK)[None, :, None]
    return ((batch * length + steps) * d_inner + first + channel, (steps < end) & (channel < left))


@triton.jit
def enter(initial, carries, sums, rate, places, batch, split, splits, channels, there,
          d_inner: tl.constexpr, N: tl.constexpr, BACKWARD: tl.constexpr):
    """What comes into this split: the first states, carried through all splits before it.

    From the end, with BACKWARD, "before" means after.
    """
    h = tl.zeros_like(rate)
    if initial is not None:
        h = tl.load(initial + batch * N * d_inner + places, there[:, :, None], 0.0)
    if carries is not None:
        for i in range(splits - 1 - split if BACKWARD else split):
            place = batch * splits + (splits - 1 - i if BACKWARD else i)
            passed = tl.load(sums + place * d_inner + channels, there, 0.0)
            added = tl.load(carries + place * N * d_inner + places, there[:, :, None], 0.0)
            h = tl.exp2(passed[:, :, None] * rate) * h + added
    return h


@triton.jit(do_not_specialize=KEPT_GENERAL)
def carry(x, delta, rates, B, bias, carries, sums, length, steps, split_steps,
          groups: tl.constexpr, d_inner: tl.constexpr, N: tl.constexpr, SOFTPLUS: tl.constexpr,
          PARTS: tl.constexpr, BLOCK: tl.constexpr):
    """What a split adds of its own, its last states when it starts from zero, in `carries`;
    beside it its sum of Δ, (batch, splits, d_inner)."""
    batch, group, first, left, there, channels, places = locate(groups, d_inner, N, PARTS, BLOCK)
    split, splits = tl.program_id(1), tl.num_programs(1)
    end = tl.minimum((split + 1) * split_steps, length)
    rate = tl.load(rates + places, there[:, :, None], 0.0)
    bias_, rows = load_vector(bias, channels, there), tl.arange(0, PARTS)[:, None]
    h, passed = tl.zeros_like(rate), tl.zeros((PARTS, BLOCK), tl.float32)
    # Nothing waits for what the last split hands on.
    for start in tl.range(split * split_steps, end if split < splits - 1 else 0, 2 * PARTS,
                          num_stages=AHEAD):
        two, inside = find_two(batch, start, end, length, first, left, d_inner, PARTS, BLOCK)
        x_, raw = load_two(x, two, inside), load_two(delta, two, inside)
        for i in tl.static_range(2):
            at = start + i * PARTS
            step = step_of(raw[i] + bias_, (at + rows < end) & there, SOFTPLUS)
            given, side = step * x_[i], ((batch * steps + at) * groups + group) * N
            B_ = load_numbers(B + side, groups * N, N, PARTS)
            for k in tl.static_range(PARTS):
                h = tl.exp2(of_step(step, k) * rate) * h + B_[k] * of_step(given, k)
            passed += step
    place = batch * splits + split
    tl.store(carries + place * N * d_inner + places, h, there[:, :, None])
    tl.store(sums + place * d_inner + channels, tl.sum(passed, 0)[None, :], there)


@triton.jit(do_not_specialize=KEPT_GENERAL)
def forward(x, delta, rates, B, C, D, z, bias, initial, carries, sums, last, borders, y, length,
            steps, split_steps, groups: tl.constexpr, d_inner: tl.constexpr, N: tl.constexpr,
            SOFTPLUS: tl.constexpr, CHUNK: tl.constexpr, PARTS: tl.constexpr,
            BLOCK: tl.constexpr):
    """y and the last states; in `borders`, (batch, chunks, d_inner, N), those before each chunk."""
    batch, group, first, left, there, channels, places = locate(groups, d_inner, N, PARTS, BLOCK)
    split, splits = tl.program_id(1), tl.num_programs(1)
    end = tl.minimum((split + 1) * split_steps, length)
    rate, rows = tl.load(rates + places, there[:, :, None], 0.0), tl.arange(0, PARTS)[:, None]
    skip, bias_ = load_vector(D, channels, there), load_vector(bias, channels, there)
    h = enter(initial, carries, sums, rate, places, batch, split, splits, channels, there, d_inner,
              N, False)
    for start in tl.range(split * split_steps, end, 2 * PARTS, num_stages=AHEAD):
        if borders is not None:
            if start % CHUNK == 0:
                border = batch * tl.cdiv(length, CHUNK) + start // CHUNK
                tl.store(borders + border * N * d_inner + places, h, there[:, :, None])
        two, inside = find_two(batch, start, end, length, first, left, d_inner, PARTS, BLOCK)
        x_, raw = load_two(x, two, inside), load_two(delta, two, inside)
        gate = x_
        if z is not None:
            gate = load_two(z, two, inside)
        for i in tl.static_range(2):
            at = start + i * PARTS
            here = (at + rows < end) & there
            step = step_of(raw[i] + bias_, here, SOFTPLUS)
            given, side = step * x_[i], ((batch * steps + at) * groups + group) * N
            B_ = load_numbers(B + side, groups * N, N, PARTS)
            C_ = load_numbers(C + side, groups * N, N, PARTS)
            reads = ()
            for k in tl.static_range(PARTS):
                h = tl.exp2(of_step(step, k) * rate) * h + B_[k] * of_step(given, k)
                reads = reads + (C_[k] * h,)
            out = skip * x_[i] + over_state(reads)
            if z is not None:
                out *= gate[i] * sigmoid(gate[i])
            tile = (batch * length + at + rows) * d_inner + channels
            tl.store(y + tile, out.to(y.dtype.element_ty), here)
    if split == splits - 1:
        tl.store(last + batch * N * d_inner + places, h, there[:, :, None])


@triton.jit(do_not_specialize=KEPT_GENERAL)
def carry_back(dy, delta, rates, C, z, bias, carries, sums, length, steps, split_steps,
               groups: tl.constexpr, d_inner: tl.constexpr, N: tl.constexpr,
               SOFTPLUS: tl.constexpr, PARTS: tl.constexpr, BLOCK: tl.constexpr):
    """`carry` from the end: the gradient that a split hands back when it is handed none."""
    batch, group, first, left, there, channels, places = locate(groups, d_inner, N, PARTS, BLOCK)
    split, splits = tl.program_id(1), tl.num_programs(1)
    begin, end = split * split_steps, tl.minimum((split + 1) * split_steps, length)
    rate = tl.load(rates + places, there[:, :, None], 0.0)
    bias_, rows = load_vector(bias, channels, there), tl.arange(0, PARTS)[:, None]
    back, passed = tl.zeros_like(rate), tl.zeros((PARTS, BLOCK), tl.float32)
    # Nothing waits for what the first split hands back.
    for ahead in tl.range(0, end - begin if split > 0 else 0, 2 * PARTS, num_stages=AHEAD):
        start = begin + (end - begin - 1) // (2 * PARTS) * (2 * PARTS) - ahead
        two, inside = find_two(batch, start, end, length, first, left, d_inner, PARTS, BLOCK)
        raw, d_y = load_two(delta, two, inside), load_two(dy, two, inside)
        gate = raw
        if z is not None:
            gate = load_two(z, two, inside)
        for i in tl.static_range(1, -1, -1):
            at = start + i * PARTS
            step = step_of(raw[i] + bias_, (at + rows < end) & there, SOFTPLUS)
            d_out, side = d_y[i], ((batch * steps + at) * groups + group) * N
            if z is not None:
                d_out *= gate[i] * sigmoid(gate[i])
            C_ = load_numbers(C + side, groups * N, N, PARTS)
            for k in tl.static_range(PARTS - 1, -1, -1):
                back += C_[k] * of_step(d_out, k)
                back *= tl.exp2(of_step(step, k) * rate)
            passed += step
    place = batch * splits + split
    tl.store(carries + place * N * d_inner + places, back, there[:, :, None])
    tl.store(sums + place * d_inner + channels, tl.sum(passed, 0)[None, :], there)


@triton.jit(do_not_specialize=KEPT_GENERAL)
def backward(x, delta, rates, B, C, D, z, bias, borders, dy, d_last, carries, sums, inside_chunk,
             dx, d_delta, dA, dBC, dD, dz, d_bias, d_initial, length, steps, split_steps,
             groups: tl.constexpr, d_inner: tl.constexpr, N: tl.constexpr,
             SOFTPLUS: tl.constexpr, CHUNK: tl.constexpr, ATOMIC: tl.constexpr,
             PARTS: tl.constexpr, BLOCK: tl.constexpr):
    """All gradients, from the last tile of a split to its first.

    `d_initial` is the gradient of the states that came into the first split. dA, dD and d_bias
    are sums over the split; dB and dC sums over BLOCK channels, added up in place or apart.
    """
    batch, group, first, left, there, channels, places = locate(groups, d_inner, N, PARTS, BLOCK)
    split, splits, tiles = tl.program_id(1), tl.num_programs(1), steps // PARTS
    begin, end = split * split_steps, tl.minimum((split + 1) * split_steps, length)
    place, rows = batch * splits + split, tl.arange(0, PARTS)[:, None]
    rate = tl.load(rates + places, there[:, :, None], 0.0)
    skip, bias_ = load_vector(D, channels, there), load_vector(bias, channels, there)
    back = enter(d_last, carries, sums, rate, places, batch, split, splits, channels, there,
                 d_inner, N, True)
    before_tile = inside_chunk + place * (CHUNK // PARTS) * N * d_inner + places
    before_chunk = borders + batch * tl.cdiv(length, CHUNK) * N * d_inner + places
    numbers = (tl.arange(0, PARTS)[:, None, None] * (N // PARTS)
               + tl.arange(0, N // PARTS)[None, None, :])
    into = (batch * groups + group) * tiles
    if not ATOMIC:
        into = (batch * tl.num_programs(0) + tl.program_id(0)) * tiles
    into_tile = dBC + into * 2 * PARTS * N + tl.arange(0, 2 * PARTS)[None, :, None] * N + numbers
    chunks = tl.cdiv(end - begin, CHUNK)
    opening = begin + (chunks - 1) * CHUNK
    next_h = tl.load(before_chunk + opening // CHUNK * N * d_inner, there[:, :, None], 0.0)
    for _ in range(chunks):
        # The states before each tile of the chunk, made again.
        h = next_h
        for start in tl.range(opening, opening + CHUNK, 2 * PARTS, num_stages=AHEAD):
            two, inside = find_two(batch, start, end, length, first, left, d_inner, PARTS, BLOCK)
            x_, raw = load_two(x, two, inside), load_two(delta, two, inside)
            for i in tl.static_range(2):
                at = start + i * PARTS
                tl.store(before_tile + (at - opening) // PARTS * N * d_inner, h, there[:, :, None])
                step = step_of(raw[i] + bias_, (at + rows < end) & there, SOFTPLUS)
                given, side = step * x_[i], ((batch * steps + at) * groups + group) * N
                B_ = load_numbers(B + side, groups * N, N, PARTS)
                for k in tl.static_range(PARTS):
                    h = tl.exp2(of_step(step, k) * rate) * h + B_[k] * of_step(given, k)
        # What one lane has written another may copy.
        tl.debug_barrier()
        next_h = tl.load(before_chunk + (opening // CHUNK - 1) * N * d_inner,
                         there[:, :, None] & (opening > begin), 0.0)
        sum_A, sum_D = tl.zeros_like(rate), tl.zeros((PARTS, BLOCK), tl.float32)
        sum_bias = tl.zeros((PARTS, BLOCK), tl.float32)
        for ahead in tl.range(2 * PARTS, CHUNK + 2 * PARTS, 2 * PARTS, num_stages=AHEAD):
            start = opening + CHUNK - ahead
            two, inside = find_two(batch, start, end, length, first, left, d_inner, PARTS, BLOCK)
            xs, raws = load_two(x, two, inside), load_two(delta, two, inside)
            d_ys, gates = load_two(dy, two, inside), xs
            if z is not None:
                gates = load_two(z, two, inside)
            for i in tl.static_range(1, -1, -1):
                at = start + i * PARTS
                here, side = (at + rows < end) & there, ((batch * steps + at) * groups + group) * N
                B_ = load_numbers(B + side, groups * N, N, PARTS)
                C_ = load_numbers(C + side, groups * N, N, PARTS)
                h = tl.load(before_tile + (at - opening) // PARTS * N * d_inner, there[:, :, None],
                            0.0)
                x_, raw, d_y, gate = xs[i], raws[i] + bias_, d_ys[i], gates[i]
                step = step_of(raw, here, SOFTPLUS)
                given, d_out = step * x_, d_y
                if z is not None:
                    opened = sigmoid(gate)
                    d_out *= gate * opened
                states, decays = (h,), ()
                for k in tl.static_range(PARTS):
                    decay = tl.exp2(of_step(step, k) * rate)
                    h = decay * h + B_[k] * of_step(given, k)
                    states, decays = states + (h,), decays + (decay,)
                reads, writes, exponents, dB, dC = (), (), (), (), ()
                for k in tl.static_range(PARTS - 1, -1, -1):
                    back += C_[k] * of_step(d_out, k)
                    dB = (back * of_step(given, k),) + dB
                    dC = (states[k + 1] * of_step(d_out, k),) + dC
                    reads, writes = (C_[k] * states[k + 1],) + reads, (back * B_[k],) + writes
                    back *= decays[k]
                    d_exponent = back * states[k]
                    exponents = (d_exponent * rate,) + exponents
                    sum_A += d_exponent * of_step(step, k)
                d_given = over_state(writes)
                d_step = d_given * x_ + over_state(exponents) * LN_2
                if SOFTPLUS:
                    d_step *= sigmoid(raw)
                d_step = tl.where(here, d_step, 0.0)
                sum_D += d_out * x_
                sum_bias += d_step
                d_x = d_given * step + skip * d_out
                tile = (batch * length + at + rows) * d_inner + channels
                tl.store(dx + tile, d_x.to(dx.dtype.element_ty), here)
                tl.store(d_delta + tile, d_step.to(d_delta.dtype.element_ty), here)
                if z is not None:
                    out = (skip * x_ + over_state(reads)) * d_y
                    d_gate = out * opened * (1 + gate * (1 - opened))
                    tl.store(dz + tile, d_gate.to(dz.dtype.element_ty), here)
                if ATOMIC:
                    tl.atomic_add(into_tile + at // PARTS * 2 * PARTS * N, over_channels(dB, dC),
                                  sem="relaxed")
                else:
                    tl.store(into_tile + at // PARTS * 2 * PARTS * N, over_channels(dB, dC))
        # Chunk by chunk: a sum of sums of 64 is rounded less than one of all. No other program
        # adds to these places, and nothing is waited for.
        tl.atomic_add(dA + place * N * d_inner + places, sum_A, there[:, :, None], sem="relaxed")
        once = there & (rows == 0)
        sum_D, sum_bias = tl.sum(sum_D, 0)[None, :], tl.sum(sum_bias, 0)[None, :]
        tl.atomic_add(dD + place * d_inner + channels, tl.broadcast_to(sum_D, channels.shape), once,
                      sem="relaxed")
        tl.atomic_add(d_bias + place * d_inner + channels,
                      tl.broadcast_to(sum_bias, channels.shape), once, sem="relaxed")
        tl.debug_barrier()
        opening -= CHUNK
    if split == 0:
        tl.store(d_initial + batch * N * d_inner + places, back, there[:, :, None])
