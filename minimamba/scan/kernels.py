"""The selective scan as Triton kernels: `carry`, `forward` and `backward`.

A program owns BLOCK neighbouring channels of one sequence and walks along time, or along one
split of it, in tiles of TILE steps. A tile is an array (TILE, BLOCK) in registers, a channel to
a thread, so that the scan along time needs no other thread. For each number of state it is the
same few lines: decay, write, scan, read out. Between tiles a state waits in memory, one number a
channel; nothing of size (batch, length, d_inner, d_state) is ever stored.

In memory: x, delta, z, y (batch, length, d_inner), any float; all else in float32: `rates` is
A log2(e), (d_state, d_inner), so that exp(Δ A) is a power of two; B and C tile by tile, (batch,
groups, tiles, d_state, TILE), zeros beyond the end; states (batch, splits, d_state, d_inner).
"""

import triton
import triton.language as tl

LOG2_E = tl.constexpr(1.4426950408889634)
LN_2 = tl.constexpr(0.6931471805599453)
KEPT_GENERAL = ["length", "tiles", "d_inner", "groups", "split_steps", "N"]
"""Arguments for whose values nothing is compiled anew. That d_inner is among them also keeps a
tile as it should be, one channel a thread: knowing it a multiple of 16, Triton would load eight
neighbours at once and hand the time axis to several threads."""


@triton.jit
def join(a1, b1, a2, b2):
    """(a1, b1) ∘ (a2, b2): two steps as one (`associative.combine`)."""
    return a2 * a1, a2 * b1 + b2


@triton.jit
def join_with_before(a1, p1, b1, h1, a2, p2, b2, h2):
    """The same, and beside it h, the state *before* the last step.

    p is the product of all decays but the last; a single step has p = 1 and h = 0.
    """
    return a2 * a1, p2 * a1, a2 * b1 + b2, p2 * b1 + h2


@triton.jit
def states_after(decay, write, h, rows):
    """h_t = decay_t h_{t-1} + write_t for the steps of a tile, from the state before it."""
    write = tl.where(rows == 0, decay * h[None, :] + write, write)
    return tl.associative_scan((decay, write), 0, join)[1]


@triton.jit
def states_around(decay, write, h, rows):
    """The same, and the states before each step."""
    write = tl.where(rows == 0, decay * h[None, :] + write, write)
    one, nothing = tl.full(decay.shape, 1.0, tl.float32), tl.zeros_like(decay)
    _, _, after, before = tl.associative_scan((decay, one, write, nothing), 0, join_with_before)
    return after, tl.where(rows == 0, h[None, :], before)


@triton.jit
def gradients_of_states(decay, read, handed, rows):
    """g_t = read_t + decay_{t+1} g_{t+1}, from what the step after the tile hands back.

    From the end, decay g is a state, and what a step receives is the state before it.
    """
    decay, read = tl.flip(decay, 0), tl.flip(read, 0)
    _, before = states_around(decay, decay * read, handed, rows)
    return tl.flip(read + before, 0)


@triton.jit
def row(tile, index, rows):
    """One row of a tile: (BLOCK,)."""
    return tl.sum(tl.where(rows == index, tile, 0.0), 0)


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
    if pointer is None:
        return tl.zeros(channels.shape, tl.float32)
    return tl.load(pointer + channels, there, 0.0)


@triton.jit
def load_tile(pointer, tile, inside):
    return tl.load(pointer + tile, inside, 0.0).to(tl.float32)


@triton.jit
def load_step(delta, bias, tile, inside, SOFTPLUS: tl.constexpr):
    """Δ before the softplus and after it; 0 beyond the end, where nothing may change."""
    raw = load_tile(delta, tile, inside) + bias[None, :]
    step = softplus(raw) if SOFTPLUS else raw
    return raw, tl.where(inside, step, 0.0)


@triton.jit
def load_states(pointer, channels, there, d_inner, UNROLL: tl.constexpr):
    """The next UNROLL rows of (d_state, d_inner): loaded together, they are waited for once."""
    states = ()
    for n in tl.static_range(UNROLL):
        states = states + (tl.load(pointer + n * d_inner + channels, there, 0.0),)
    return states


@triton.jit
def store_states(pointer, states, channels, there, d_inner, UNROLL: tl.constexpr):
    for n in tl.static_range(UNROLL):
        tl.store(pointer + n * d_inner + channels, states[n], there)


@triton.jit
def locate(d_inner, groups, BLOCK: tl.constexpr):
    """This program's sequence and group, its channels, and which of those there are."""
    per_group = d_inner // groups
    blocks = tl.cdiv(per_group, BLOCK)
    group = tl.program_id(0) // blocks
    channel = tl.program_id(0) % blocks * BLOCK + tl.arange(0, BLOCK)
    return tl.program_id(2).to(tl.int64), group, group * per_group + channel, channel < per_group


@triton.jit
def enter(states, initial, carries, sums, rates, batch, split, splits, channels, there, d_inner,
          N, BACKWARD: tl.constexpr):
    """Write down what comes into this split: the first states, carried through all before it.

    From the end, with BACKWARD, "before" means after.
    """
    for n in range(N):
        h = tl.zeros(channels.shape, tl.float32)
        if initial is not None:
            h = tl.load(initial + (batch * N + n) * d_inner + channels, there, 0.0)
        if carries is not None:
            rate = tl.load(rates + n * d_inner + channels, there, 0.0)
            for i in range(splits - 1 - split if BACKWARD else split):
                place = batch * splits + (splits - 1 - i if BACKWARD else i)
                passed = tl.load(sums + place * d_inner + channels, there, 0.0)
                added = tl.load(carries + (place * N + n) * d_inner + channels, there, 0.0)
                h = tl.exp2(passed * rate) * h + added
        tl.store(states + ((batch * splits + split) * N + n) * d_inner + channels, h, there)


@triton.jit(do_not_specialize=KEPT_GENERAL)
def carry(x, delta, rates, side, z, bias, carries, sums, length, tiles, d_inner, groups,
          split_steps, N, SOFTPLUS: tl.constexpr, BACKWARD: tl.constexpr, TILE: tl.constexpr,
          BLOCK: tl.constexpr, UNROLL: tl.constexpr):
    """What a split adds of its own: its last states when it starts from zero, or, from the end,
    the gradient that it hands back. Beside it its sum of Δ, (batch, splits, d_inner).

    `side` is B and x what is written; from the end C, and x the gradient of y.
    """
    batch, group, channels, there = locate(d_inner, groups, BLOCK)
    rows, split, splits = tl.arange(0, TILE)[:, None], tl.program_id(1), tl.num_programs(1)
    tile, bias_ = rows * d_inner + channels[None, :], load_vector(bias, channels, there)
    place = batch * splits + split
    enter(carries, None, None, sums, rates, batch, split, splits, channels, there, d_inner, N,
          BACKWARD)
    passed = tl.zeros((BLOCK,), tl.float32)
    count = tl.cdiv(tl.minimum(split_steps, length - split * split_steps), TILE)
    # Nothing waits for what the last split hands on, or from the end the first.
    count = tl.where(split == (0 if BACKWARD else splits - 1), 0, count)
    for i in range(count):
        start = split * split_steps + (count - 1 - i if BACKWARD else i) * TILE
        inside = (start + rows < length) & there[None, :]
        first = (batch * length + start) * d_inner
        at = ((batch * groups + group) * tiles + start // TILE) * N * TILE + tl.arange(0, TILE)
        _, step = load_step(delta + first, bias_, tile, inside, SOFTPLUS)
        passed += tl.sum(step, 0)
        given = load_tile(x + first, tile, inside)
        if not BACKWARD:
            given *= step
        elif z is not None:
            gate = load_tile(z + first, tile, inside)
            given *= gate * sigmoid(gate)
        for n in range(0, N, UNROLL):
            here = carries + (place * N + n) * d_inner
            h, new = load_states(here, channels, there, d_inner, UNROLL), ()
            rate = load_states(rates + n * d_inner, channels, there, d_inner, UNROLL)
            for k in tl.static_range(UNROLL):
                decay = tl.exp2(step * rate[k][None, :])
                added = tl.load(side + at + (n + k) * TILE)[:, None] * given
                if BACKWARD:
                    g = gradients_of_states(decay, added, h[k], rows)
                    new = new + (row(decay * g, 0, rows),)
                else:
                    new = new + (row(states_after(decay, added, h[k], rows), TILE - 1, rows),)
            store_states(here, new, channels, there, d_inner, UNROLL)
    tl.store(sums + place * d_inner + channels, passed, there)


@triton.jit(do_not_specialize=KEPT_GENERAL)
def forward(x, delta, rates, B, C, D, z, bias, initial, carries, sums, states, borders, y, length,
            tiles, d_inner, groups, split_steps, N, SOFTPLUS: tl.constexpr, CHUNK: tl.constexpr,
            TILE: tl.constexpr, BLOCK: tl.constexpr, UNROLL: tl.constexpr):
    """y; in `states` those after each split; in `borders`, (batch, chunks, d_state, d_inner),
    those before each chunk."""
    batch, group, channels, there = locate(d_inner, groups, BLOCK)
    rows, split, splits = tl.arange(0, TILE)[:, None], tl.program_id(1), tl.num_programs(1)
    tile, bias_ = rows * d_inner + channels[None, :], load_vector(bias, channels, there)
    skip, place = load_vector(D, channels, there), batch * splits + split
    enter(states, initial, carries, sums, rates, batch, split, splits, channels, there, d_inner, N,
          False)
    for start in range(split * split_steps, tl.minimum((split + 1) * split_steps, length), TILE):
        inside = (start + rows < length) & there[None, :]
        first = (batch * length + start) * d_inner
        at = ((batch * groups + group) * tiles + start // TILE) * N * TILE + tl.arange(0, TILE)
        x_ = load_tile(x + first, tile, inside)
        _, step = load_step(delta + first, bias_, tile, inside, SOFTPLUS)
        out = skip[None, :] * x_
        for n in range(0, N, UNROLL):
            here = states + (place * N + n) * d_inner
            h, new = load_states(here, channels, there, d_inner, UNROLL), ()
            rate = load_states(rates + n * d_inner, channels, there, d_inner, UNROLL)
            if borders is not None:
                if start % CHUNK == 0:
                    border = (batch * tl.cdiv(length, CHUNK) + start // CHUNK) * N + n
                    store_states(borders + border * d_inner, h, channels, there, d_inner, UNROLL)
            for k in tl.static_range(UNROLL):
                write = tl.load(B + at + (n + k) * TILE)[:, None] * (step * x_)
                after = states_after(tl.exp2(step * rate[k][None, :]), write, h[k], rows)
                out += tl.load(C + at + (n + k) * TILE)[:, None] * after
                new = new + (row(after, TILE - 1, rows),)
            store_states(here, new, channels, there, d_inner, UNROLL)
        if z is not None:
            gate = load_tile(z + first, tile, inside)
            out *= gate * sigmoid(gate)
        tl.store(y + first + tile, out.to(y.dtype.element_ty), inside)


@triton.jit
def halfway(x, step, rates, B, border, states, channels, there, rows, N, d_inner,
            TILE: tl.constexpr, UNROLL: tl.constexpr):
    """The states after the first of a chunk's two tiles, from those before the chunk."""
    for n in range(0, N, UNROLL):
        h, new = load_states(border + n * d_inner, channels, there, d_inner, UNROLL), ()
        rate = load_states(rates + n * d_inner, channels, there, d_inner, UNROLL)
        for k in tl.static_range(UNROLL):
            write = tl.load(B + (n + k) * TILE)[:, None] * (step * x)
            after = states_after(tl.exp2(step * rate[k][None, :]), write, h[k], rows)
            new = new + (row(after, TILE - 1, rows),)
        store_states(states + n * d_inner, new, channels, there, d_inner, UNROLL)


@triton.jit(do_not_specialize=KEPT_GENERAL)
def backward(x, delta, rates, B, C, D, z, bias, borders, dy, d_last, carries, sums, middle,
             handed, dx, d_delta, dA, dB, dC, dD, dz, d_bias, length, tiles, d_inner, groups,
             split_steps, N, SOFTPLUS: tl.constexpr, CHUNK: tl.constexpr, ATOMIC: tl.constexpr,
             TILE: tl.constexpr, BLOCK: tl.constexpr, UNROLL: tl.constexpr):
    """All gradients, from the last chunk of a split to its first; CHUNK is two tiles.

    `middle` and `handed` are states: those halfway through a chunk, and the gradient that a tile
    hands to the one before it, in the end to the first states. dA, dD and d_bias are sums over
    the split, dA over zeros; dB and dC sums over BLOCK channels, added up in place or apart.
    """
    batch, group, channels, there = locate(d_inner, groups, BLOCK)
    rows, split, splits = tl.arange(0, TILE)[:, None], tl.program_id(1), tl.num_programs(1)
    tile, bias_ = rows * d_inner + channels[None, :], load_vector(bias, channels, there)
    skip, place = load_vector(D, channels, there), batch * splits + split
    enter(handed, d_last, carries, sums, rates, batch, split, splits, channels, there, d_inner, N,
          True)
    dD_, d_bias_ = tl.zeros((BLOCK,), tl.float32), tl.zeros((BLOCK,), tl.float32)
    count = tl.cdiv(tl.minimum(split_steps, length - split * split_steps), CHUNK) * 2
    for i in range(count):
        start = split * split_steps + (count - 1 - i) * TILE
        chunk = start // CHUNK
        border = borders + (batch * tl.cdiv(length, CHUNK) + chunk) * N * d_inner
        own = middle + place * N * d_inner
        if i % 2 == 0:
            begin = chunk * CHUNK
            within = (begin + rows < length) & there[None, :]
            at_first = (batch * length + begin) * d_inner
            _, step = load_step(delta + at_first, bias_, tile, within, SOFTPLUS)
            at = ((batch * groups + group) * tiles + begin // TILE) * N * TILE
            halfway(load_tile(x + at_first, tile, within), step, rates, B + at + tl.arange(0, TILE),
                    border, own, channels, there, rows, N, d_inner, TILE, UNROLL)
            border = own
        inside = (start + rows < length) & there[None, :]
        first = (batch * length + start) * d_inner
        at = ((batch * groups + group) * tiles + start // TILE) * N * TILE + tl.arange(0, TILE)
        into = at
        if not ATOMIC:
            into = (batch * tl.num_programs(0) + tl.program_id(0)) * tiles + start // TILE
            into = into * N * TILE + tl.arange(0, TILE)
        x_ = load_tile(x + first, tile, inside)
        raw, step = load_step(delta + first, bias_, tile, inside, SOFTPLUS)
        d_out, out = load_tile(dy + first, tile, inside), skip[None, :] * x_
        if z is not None:
            gate = load_tile(z + first, tile, inside)
            opened = sigmoid(gate)
            d_gate = d_out * opened * (1 + gate * (1 - opened))
            d_out *= gate * opened
        d_write, d_step = tl.zeros_like(x_), tl.zeros_like(x_)
        for n in range(0, N, UNROLL):
            here = (place * N + n) * d_inner
            h = load_states(border + n * d_inner, channels, there, d_inner, UNROLL)
            back = load_states(handed + here, channels, there, d_inner, UNROLL)
            sums_A = load_states(dA + here, channels, there, d_inner, UNROLL)
            rate = load_states(rates + n * d_inner, channels, there, d_inner, UNROLL)
            new, new_A = (), ()
            for k in tl.static_range(UNROLL):
                j = (n + k) * TILE
                B_, C_ = tl.load(B + at + j)[:, None], tl.load(C + at + j)[:, None]
                decay = tl.exp2(step * rate[k][None, :])
                after, before = states_around(decay, B_ * (step * x_), h[k], rows)
                g = gradients_of_states(decay, C_ * d_out, back[k], rows)
                out += C_ * after
                d_write += g * B_
                new = new + (row(decay * g, 0, rows),)
                d_exponent = g * decay * before
                d_step += d_exponent * (rate[k] * LN_2)[None, :]
                new_A = new_A + (sums_A[k] + tl.sum(d_exponent * step, 0),)
                dB_, dC_ = tl.sum(g * (step * x_), 1), tl.sum(after * d_out, 1)
                if ATOMIC:
                    tl.atomic_add(dB + into + j, dB_, sem="relaxed")
                    tl.atomic_add(dC + into + j, dC_, sem="relaxed")
                else:
                    tl.store(dB + into + j, dB_)
                    tl.store(dC + into + j, dC_)
            store_states(handed + here, new, channels, there, d_inner, UNROLL)
            store_states(dA + here, new_A, channels, there, d_inner, UNROLL)
        dD_ += tl.sum(d_out * x_, 0)
        d_step += d_write * x_
        if SOFTPLUS:
            d_step *= sigmoid(raw)
        d_bias_ += tl.sum(tl.where(inside, d_step, 0.0), 0)
        d_x = d_write * step + skip[None, :] * d_out
        tl.store(dx + first + tile, d_x.to(dx.dtype.element_ty), inside)
        tl.store(d_delta + first + tile, d_step.to(d_delta.dtype.element_ty), inside)
        if z is not None:
            tl.store(dz + first + tile, (d_gate * out).to(dz.dtype.element_ty), inside)
    tl.store(dD + place * d_inner + channels, dD_, there)
    tl.store(d_bias + place * d_inner + channels, d_bias_, there)
