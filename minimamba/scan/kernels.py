"""The selective scan as Triton kernels: `carry`, `forward`, `carry_back` and `backward`.

A program is one warp. It owns BLOCK = 64 neighbouring channels of one sequence, two to a thread,
and walks along time, or along one split of it: `forward` is the loop of `definition.py`, its state
a tile (N, BLOCK) in registers. `backward` makes the states of a chunk again, writes down those
before each tile of it, and walks back tile by tile. No tensor (batch, length, d_inner, N) is made.

In memory: x, delta, z, y (batch, length, d_inner), any float; all else in float32: `rates` is
A log2(e), (N, d_inner), so that exp(Δ A) is a power of two; B and C (batch, steps, groups, N),
`B_tiled` and `C_tiled` (batch, groups, tiles, N, TILE), zeros beyond the end, where `steps` is the
length in whole chunks; states (batch, splits, N, d_inner).
"""

import triton
import triton.language as tl

LOG2_E = tl.constexpr(1.4426950408889634)
LN_2 = tl.constexpr(0.6931471805599453)
AHEAD = tl.constexpr(3)
"""Turns of a loop under way at once: what the next two need is already being copied, by the unit
that copies to shared memory, while this one is computed. Loads that a compiler may move end up
where they are used, and wait there. (The unit copies four bytes or more: of half types only where
a thread has two neighbours, PER_THREAD = 2.)"""
KEPT_GENERAL = ["length", "steps", "groups", "split_steps"]
"""Arguments for whose values nothing is compiled anew."""


@triton.jit
def row(tile, index, rows):
    """One row of a tile, (BLOCK,). Adding −0 changes nothing, so that no instruction is left."""
    return tl.sum(tl.where(rows == index, tile, -0.0), 0)


@triton.jit
def inverse(x):
    """1 / x for positive x, in two instructions where a division takes ten."""
    root = tl.rsqrt(x)
    return root * root


@triton.jit
def sigmoid(x):
    return inverse(1.0 + tl.exp2(-x * LOG2_E))


@triton.jit
def softplus(x):
    """log(1 + e^x) = max(x, 0) + log(1 + e), e = e^-|x|, right also where e is lost beside 1.

    log(1 + e) = 2 artanh(s) with s = e / (2 + e), at most 1/3: its series to s^13.
    """
    e = tl.exp2(-tl.abs(x) * LOG2_E)
    s = e * inverse(2.0 + e)
    q = s * s
    series = q * (1 / 13) + 1 / 11
    series = q * series + 1 / 9
    series = q * series + 1 / 7
    series = q * series + 1 / 5
    series = q * series + 1 / 3
    return tl.maximum(x, 0.0) + 2.0 * s * (q * series + 1.0)


@triton.jit
def load_vector(pointer, channels, there):
    """A number a channel; zeros where there is no pointer."""
    vector = tl.zeros(channels.shape, tl.float32)
    if pointer is not None:
        vector = tl.load(pointer + channels, there, 0.0)
    return vector


@triton.jit
def load_tile(pointer, tile, inside):
    return tl.load(pointer + tile, inside, 0.0).to(tl.float32)


@triton.jit
def load_step(delta, bias, tile, inside, SOFTPLUS: tl.constexpr):
    """Δ before the softplus, and after it; 0 beyond the end, where nothing may change."""
    raw = load_tile(delta, tile, inside) + bias[None, :]
    step = raw
    if SOFTPLUS:
        step = softplus(raw)
    return raw, tl.where(inside, step, 0.0)


@triton.jit
def advance(h, step, given, rate, B):
    """h_t = exp(Δ_t A) h_{t−1} + B_t Δ_t x_t, from a pointer to B_t."""
    return tl.exp2(step[None, :] * rate) * h + tl.load(B)[:, None] * given[None, :]


@triton.jit
def locate(groups, d_inner: tl.constexpr, N: tl.constexpr, BLOCK: tl.constexpr,
           PER_THREAD: tl.constexpr):
    """This program's sequence and group, its channels, which of those there are, and where their
    states lie: (N, BLOCK).

    Neighbouring channels to a thread, and no more than that, keep a tile as it should be, its
    rows within a thread; so the compiler is told of no longer runs.
    """
    per_group = d_inner // groups
    blocks = tl.cdiv(per_group, BLOCK)
    group = tl.program_id(0) // blocks
    channel = tl.program_id(0) % blocks * BLOCK + tl.arange(0, BLOCK)
    channels = tl.max_contiguous(tl.multiple_of(group * per_group + channel, PER_THREAD),
                                 PER_THREAD)
    there = channel // PER_THREAD < per_group // PER_THREAD
    places = tl.arange(0, N)[:, None] * d_inner + channels[None, :]
    return tl.program_id(2).to(tl.int64), group, channels, there, places


@triton.jit
def enter(initial, carries, sums, rate, places, batch, split, splits, channels, there,
          d_inner: tl.constexpr, N: tl.constexpr, BACKWARD: tl.constexpr):
    """What comes into this split: the first states, carried through all splits before it.

    From the end, with BACKWARD, "before" means after.
    """
    h = tl.zeros_like(rate)
    if initial is not None:
        h = tl.load(initial + batch * N * d_inner + places, there[None, :], 0.0)
    if carries is not None:
        for i in range(splits - 1 - split if BACKWARD else split):
            place = batch * splits + (splits - 1 - i if BACKWARD else i)
            passed = tl.load(sums + place * d_inner + channels, there, 0.0)
            added = tl.load(carries + place * N * d_inner + places, there[None, :], 0.0)
            h = tl.exp2(passed[None, :] * rate) * h + added
    return h


@triton.jit(do_not_specialize=KEPT_GENERAL)
def carry(x, delta, rates, B, bias, carries, sums, length, steps, groups, split_steps,
          d_inner: tl.constexpr, N: tl.constexpr, SOFTPLUS: tl.constexpr, STEPS: tl.constexpr,
          BLOCK: tl.constexpr, PER_THREAD: tl.constexpr):
    """What a split adds of its own, its last states when it starts from zero, in `carries`;
    beside it its sum of Δ, (batch, splits, d_inner)."""
    batch, group, channels, there, places = locate(groups, d_inner, N, BLOCK, PER_THREAD)
    rows, split, splits = tl.arange(0, STEPS)[:, None], tl.program_id(1), tl.num_programs(1)
    rate = tl.load(rates + places, there[None, :], 0.0)
    bias_ = load_vector(bias, channels, there)
    h, passed = tl.zeros_like(rate), tl.zeros_like(bias_)
    end = tl.minimum((split + 1) * split_steps, length)
    # Nothing waits for what the last split hands on.
    for start in tl.range(split * split_steps, end if split < splits - 1 else 0, STEPS,
                          num_stages=AHEAD):
        inside = (start + rows < end) & there[None, :]
        tile = (batch * length + start + rows) * d_inner + channels[None, :]
        _, step = load_step(delta, bias_, tile, inside, SOFTPLUS)
        given = step * load_tile(x, tile, inside)
        side = ((batch * steps + start) * groups + group) * N + tl.arange(0, N)
        for k in tl.static_range(STEPS):
            h = advance(h, row(step, k, rows), row(given, k, rows), rate, B + side + k * groups * N)
        passed += tl.sum(step, 0)
    place = batch * splits + split
    tl.store(carries + place * N * d_inner + places, h, there[None, :])
    tl.store(sums + place * d_inner + channels, passed, there)


@triton.jit(do_not_specialize=KEPT_GENERAL)
def forward(x, delta, rates, B, C, D, z, bias, initial, carries, sums, last, borders, y, length,
            steps, groups, split_steps, d_inner: tl.constexpr, N: tl.constexpr,
            SOFTPLUS: tl.constexpr, CHUNK: tl.constexpr, STEPS: tl.constexpr,
            BLOCK: tl.constexpr, PER_THREAD: tl.constexpr):
    """y and the last states; in `borders`, (batch, chunks, N, d_inner), those before each chunk."""
    batch, group, channels, there, places = locate(groups, d_inner, N, BLOCK, PER_THREAD)
    rows, split, splits = tl.arange(0, STEPS)[:, None], tl.program_id(1), tl.num_programs(1)
    rate = tl.load(rates + places, there[None, :], 0.0)
    skip, bias_ = load_vector(D, channels, there), load_vector(bias, channels, there)
    h = enter(initial, carries, sums, rate, places, batch, split, splits, channels, there, d_inner,
              N, False)
    end = tl.minimum((split + 1) * split_steps, length)
    for start in tl.range(split * split_steps, end, STEPS, num_stages=AHEAD):
        if borders is not None:
            if start % CHUNK == 0:
                border = batch * tl.cdiv(length, CHUNK) + start // CHUNK
                tl.store(borders + border * N * d_inner + places, h, there[None, :])
        inside = (start + rows < end) & there[None, :]
        tile = (batch * length + start + rows) * d_inner + channels[None, :]
        x_ = load_tile(x, tile, inside)
        _, step = load_step(delta, bias_, tile, inside, SOFTPLUS)
        given, out = step * x_, skip[None, :] * x_
        side = ((batch * steps + start) * groups + group) * N + tl.arange(0, N)
        for k in tl.static_range(STEPS):
            h = advance(h, row(step, k, rows), row(given, k, rows), rate, B + side + k * groups * N)
            read = tl.sum(tl.load(C + side + k * groups * N)[:, None] * h, 0)
            out = tl.where(rows == k, out + read[None, :], out)
        if z is not None:
            gate = load_tile(z, tile, inside)
            out *= gate * sigmoid(gate)
        tl.store(y + tile, out.to(y.dtype.element_ty), inside)
    if split == splits - 1:
        tl.store(last + batch * N * d_inner + places, h, there[None, :])


@triton.jit(do_not_specialize=KEPT_GENERAL)
def carry_back(dy, delta, rates, C, z, bias, carries, sums, length, steps, groups, split_steps,
               d_inner: tl.constexpr, N: tl.constexpr, SOFTPLUS: tl.constexpr,
               STEPS: tl.constexpr, BLOCK: tl.constexpr, PER_THREAD: tl.constexpr):
    """`carry` from the end: the gradient that a split hands back when it is handed none."""
    batch, group, channels, there, places = locate(groups, d_inner, N, BLOCK, PER_THREAD)
    rows, split, splits = tl.arange(0, STEPS)[:, None], tl.program_id(1), tl.num_programs(1)
    rate = tl.load(rates + places, there[None, :], 0.0)
    bias_ = load_vector(bias, channels, there)
    back, passed = tl.zeros_like(rate), tl.zeros_like(bias_)
    begin, end = split * split_steps, tl.minimum((split + 1) * split_steps, length)
    # Nothing waits for what the first split hands back.
    for ahead in tl.range(0, end - begin if split > 0 else 0, STEPS,
                          num_stages=AHEAD):
        start = begin + (end - begin - 1) // STEPS * STEPS - ahead
        inside = (start + rows < end) & there[None, :]
        tile = (batch * length + start + rows) * d_inner + channels[None, :]
        _, step = load_step(delta, bias_, tile, inside, SOFTPLUS)
        d_out = load_tile(dy, tile, inside)
        if z is not None:
            gate = load_tile(z, tile, inside)
            d_out *= gate * sigmoid(gate)
        side = ((batch * steps + start) * groups + group) * N + tl.arange(0, N)
        for k in tl.static_range(STEPS - 1, -1, -1):
            C_ = tl.load(C + side + k * groups * N)
            back += C_[:, None] * row(d_out, k, rows)[None, :]
            back *= tl.exp2(row(step, k, rows)[None, :] * rate)
        passed += tl.sum(step, 0)
    place = batch * splits + split
    tl.store(carries + place * N * d_inner + places, back, there[None, :])
    tl.store(sums + place * d_inner + channels, passed, there)


@triton.jit
def again(x, delta, rates, B, bias_, borders, inside_chunk, batch, group, start, end, length, steps,
          groups, channels, there, places, rows, d_inner: tl.constexpr, N: tl.constexpr,
          SOFTPLUS: tl.constexpr, CHUNK: tl.constexpr, TILE: tl.constexpr):
    """The states before each tile of a chunk, from those before the chunk: (tiles, N, d_inner)."""
    rate = tl.load(rates + places, there[None, :], 0.0)
    border = batch * tl.cdiv(length, CHUNK) + start // CHUNK
    h = tl.load(borders + border * N * d_inner + places, there[None, :], 0.0)
    for i in range(CHUNK // TILE):
        tl.store(inside_chunk + i * N * d_inner + places, h, there[None, :])
        at = start + i * TILE
        inside = (at + rows < end) & there[None, :]
        tile = (batch * length + at + rows) * d_inner + channels[None, :]
        _, step = load_step(delta, bias_, tile, inside, SOFTPLUS)
        given = step * load_tile(x, tile, inside)
        side = ((batch * steps + at) * groups + group) * N + tl.arange(0, N)
        for k in tl.static_range(TILE):
            h = advance(h, row(step, k, rows), row(given, k, rows), rate, B + side + k * groups * N)


@triton.jit(do_not_specialize=KEPT_GENERAL)
def backward(x, delta, rates, B, B_tiled, C_tiled, D, z, bias, borders, dy, d_last, carries, sums,
             inside_chunk, handed, dx, d_delta, dA, dB, dC, dD, dz, d_bias, length, steps, groups,
             split_steps, d_inner: tl.constexpr, N: tl.constexpr, SOFTPLUS: tl.constexpr,
             CHUNK: tl.constexpr, ATOMIC: tl.constexpr, TILE: tl.constexpr, BLOCK: tl.constexpr,
             PER_THREAD: tl.constexpr):
    """All gradients, from the last tile of a split to its first.

    `handed` is the gradient that a tile hands to the one before it, in the end to the first
    states. dA, dD and d_bias are sums over the split; dB and dC sums over BLOCK channels, tiled,
    added up in place or apart.
    """
    batch, group, channels, there, places = locate(groups, d_inner, N, BLOCK, PER_THREAD)
    split, splits, tiles = tl.program_id(1), tl.num_programs(1), steps // TILE
    rows, place = tl.arange(0, TILE)[:, None], batch * splits + split
    skip, bias_ = load_vector(D, channels, there), load_vector(bias, channels, there)
    rate = tl.load(rates + places, there[None, :], 0.0)
    entering = enter(d_last, carries, sums, rate, places, batch, split, splits, channels, there,
                     d_inner, N, True)
    tl.store(handed + place * N * d_inner + places, entering, there[None, :])
    tl.store(dA + place * N * d_inner + places, tl.zeros_like(rate), there[None, :])
    dD_, d_bias_ = tl.zeros_like(skip), tl.zeros_like(skip)
    begin, end = split * split_steps, tl.minimum((split + 1) * split_steps, length)
    for ahead in range(0, tl.cdiv(end - begin, CHUNK) * CHUNK, TILE):
        start = begin + tl.cdiv(end - begin, CHUNK) * CHUNK - TILE - ahead
        before_tile = inside_chunk + place * (CHUNK // TILE) * N * d_inner
        if ahead % CHUNK == 0:
            again(x, delta, rates, B, bias_, borders, before_tile, batch, group,
                  start + TILE - CHUNK, end, length, steps, groups, channels, there, places,
                  rows, d_inner, N, SOFTPLUS, CHUNK, TILE)
        before_tile += start % CHUNK // TILE * N * d_inner
        inside = (start + rows < end) & there[None, :]
        tile = (batch * length + start + rows) * d_inner + channels[None, :]
        at = ((batch * groups + group) * tiles + start // TILE) * N * TILE + tl.arange(0, TILE)
        into = at
        if not ATOMIC:
            into = (batch * tl.num_programs(0) + tl.program_id(0)) * tiles + start // TILE
            into = into * N * TILE + tl.arange(0, TILE)
        x_ = load_tile(x, tile, inside)
        raw, step = load_step(delta, bias_, tile, inside, SOFTPLUS)
        given, d_out = step * x_, load_tile(dy, tile, inside)
        if z is not None:
            gate = load_tile(z, tile, inside)
            d_out *= gate * sigmoid(gate)
        out, d_given, d_step = skip[None, :] * x_, tl.zeros_like(x_), tl.zeros_like(x_)
        # What one thread has written, here and in the tile before, another may copy.
        tl.debug_barrier()
        for n in tl.range(0, N, num_stages=AHEAD):
            state = n * d_inner + channels
            h = tl.load(before_tile + state, there, 0.0)
            back = tl.load(handed + place * N * d_inner + state, there, 0.0)
            rate_ = tl.load(rates + state, there, 0.0)
            B_ = tl.load(B_tiled + at + n * TILE)[:, None]
            C_ = tl.load(C_tiled + at + n * TILE)[:, None]
            decay, write, read = tl.exp2(step * rate_[None, :]), B_ * given, C_ * d_out
            before, after, g, decayed = decay, decay, decay, decay
            for k in tl.static_range(TILE):
                before = tl.where(rows == k, h[None, :], before)
                h = row(decay, k, rows) * h + row(write, k, rows)
                after = tl.where(rows == k, h[None, :], after)
            for k in tl.static_range(TILE - 1, -1, -1):
                back += row(read, k, rows)
                g = tl.where(rows == k, back[None, :], g)
                back *= row(decay, k, rows)
                decayed = tl.where(rows == k, back[None, :], decayed)
            out += C_ * after
            d_given += g * B_
            d_exponent = decayed * before
            d_step += d_exponent * (rate_ * LN_2)[None, :]
            sum_A = tl.load(dA + place * N * d_inner + state, there, 0.0)
            tl.store(dA + place * N * d_inner + state, sum_A + tl.sum(d_exponent * step, 0), there)
            tl.store(handed + place * N * d_inner + state, back, there)
            dB_, dC_ = tl.sum(g * given, 1), tl.sum(after * d_out, 1)
            if ATOMIC:
                tl.atomic_add(dB + into + n * TILE, dB_, sem="relaxed")
                tl.atomic_add(dC + into + n * TILE, dC_, sem="relaxed")
            else:
                tl.store(dB + into + n * TILE, dB_)
                tl.store(dC + into + n * TILE, dC_)
        d_step += d_given * x_
        if SOFTPLUS:
            d_step *= sigmoid(raw)
        dD_ += tl.sum(d_out * x_, 0)
        d_bias_ += tl.sum(tl.where(inside, d_step, 0.0), 0)
        d_x = d_given * step + skip[None, :] * d_out
        tl.store(dx + tile, d_x.to(dx.dtype.element_ty), inside)
        tl.store(d_delta + tile, d_step.to(d_delta.dtype.element_ty), inside)
        if z is not None:
            gate = load_tile(z, tile, inside)
            opened = sigmoid(gate)
            out *= load_tile(dy, tile, inside)
            d_gate = out * opened * (1 + gate * (1 - opened))
            tl.store(dz + tile, d_gate.to(dz.dtype.element_ty), inside)
    tl.store(dD + place * d_inner + channels, dD_, there)
    tl.store(d_bias + place * d_inner + channels, d_bias_, there)
