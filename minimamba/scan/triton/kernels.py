"""The selective scan as Triton kernels: `carry`, `forward`, `carry_back` and `backward`.

A program is one warp, 32 lanes. It owns some neighbouring channels of one sequence, all of their
states, and walks along time, or along one split of it. PARTS lanes (four, unless N is less) share
P channels, and each has N / PARTS numbers of their states: a program's states are (LANES, P,
N / PARTS). It takes PARTS steps at a time: what has a number a step and channel is a *tile*,
(LANES, P), where the lanes that share a channel have one step each. So Δ's softplus is done once
a step and channel; `of_step` then hands one step's number to all lanes of the channel. Sums over
the state, of PARTS steps, and over the channels, of B's and C's gradients at PARTS steps, are
halved from lane to lane (`over_state`, `over_channels`), until each lane has one sum that is
whole. Two tiles make a turn of the loop.

`forward` is the loop of `definition.py`. `backward` makes the states of a chunk again, writes down
those before each tile of it, and walks back. No tensor (batch, length, d_inner, N) is made.

In memory: x, delta, z, y (batch, length, d_inner), any float; all else in float32: `rates` is
A log2(e), (d_inner, N), so that exp(Δ A) is a power of two; B and C (batch, steps, groups, N),
zeros beyond the end, where `steps` is the length in whole chunks; `carries` (batch, pieces of
splits, d_inner, N), dA (batch, splits, d_inner, N), `borders` (batch, chunks, d_inner, N),
`inside_chunk` (batch, splits, tiles of a chunk, d_inner, N); dD and `d_bias` (batch, chunks,
d_inner); `dBC`, the gradients of B and C, (batch, groups or blocks, tiles, 2, PARTS, N).
"""

import triton
import triton.language as tl

LOG2_E = tl.constexpr(1.4426950408889634)
LN_2 = tl.constexpr(0.6931471805599453)
LANES = tl.constexpr(32)
AHEAD = tl.constexpr(3)
"""Turns of a loop under way at once: what the next two need is already being copied, by the unit
that copies to shared memory, while this one is computed. A plain load, even one written early, is
moved by the compiler to where it is used, and waits there. (That unit copies four bytes or more at
a time.)"""
CUT = tl.constexpr(0.0 if triton.knobs.runtime.interpret else 1e-8)
"""The hardware's power of two is cut off, not rounded; by how much, `shortfall` says in this unit.
The interpreter's is rounded."""
KEPT_GENERAL = ["length", "steps", "split_steps", "piece_steps", "pieces"]
"""Arguments for whose values nothing is compiled anew."""


@triton.jit
def sigmoid(x):
    return 1.0 / (1.0 + tl.exp2(-x * LOG2_E))


@triton.jit
def softplus(x):
    """log(1 + e^x) = max(x, 0) + log(1 + e), e = e^-|x|, right also where e is lost beside 1.

    log(1 + e) = e + e² q(e), q a polynomial fitted on [0, 1] for the least largest relative error
    of the whole, 3.6e-8.
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
def of_step(tile, k: tl.constexpr, PARTS: tl.constexpr):
    """What the lane of the k-th step has, in all lanes of the channel: (LANES, P, 1)."""
    lane = tl.arange(0, LANES)[:, None]
    source = tl.broadcast_to(lane - lane % PARTS + k, tile.shape)
    return tl.gather(tile, source, 0)[:, :, None]


@triton.jit
def decay_of(step, rate, short=3 * CUT):
    """exp(Δ A); `short` is what exponents lack, on average. A product of a thousand decays would be
    too small by 3e-5; with it added, by 3e-7."""
    return tl.exp2(step * rate + short)


@triton.jit
def shortfall(mean):
    """What the exponents of a state lack, by their mean: less where it is next to 0, for states
    that hardly decay, and so keep all errors longest. As measured on an H100."""
    return CUT * tl.minimum(tl.maximum(-mean - 0.001, 0.0) * 300 + 0.8, 3.0)


@triton.jit
def advance(h, step, given, B, rate, PARTS: tl.constexpr):
    """The states after a tile: h_t = exp(Δ_t A) h_{t−1} + B_t Δ_t x_t, PARTS times."""
    for k in tl.static_range(PARTS):
        decay = decay_of(of_step(step, k, PARTS), rate)
        h = decay * h + B[k] * of_step(given, k, PARTS)
    return h


@triton.jit
def add(total, beyond, part):
    """A sum, and what of it was rounded away, to be taken off the next part (Kahan 1965)."""
    part -= beyond
    both = total + part
    return both, (both - total) - part


@triton.jit
def meet(even, odd, BIT: tl.constexpr):
    """Each lane adds that of its partner, whose number differs in BIT: of `even` the lanes without
    BIT, of `odd` those with it. Each sends what its partner wants."""
    lane = tl.arange(0, even.shape[0])[:, None]
    has, partner = (lane & BIT) != 0, tl.broadcast_to(lane ^ BIT, even.shape)
    return tl.where(has, odd, even) + tl.gather(tl.where(has, even, odd), partner, 0)


@triton.jit
def over_state(v, PARTS: tl.constexpr):
    """Sums over the state of PARTS tensors (LANES, P, n): a tile, of each lane's own step."""
    if PARTS == 1:
        return tl.sum(v[0], 2)
    elif PARTS == 2:
        return meet(tl.sum(v[0], 2), tl.sum(v[1], 2), 1)
    else:
        return meet(meet(tl.sum(v[0], 2), tl.sum(v[2], 2), 2),
                    meet(tl.sum(v[1], 2), tl.sum(v[3], 2), 2), 1)


@triton.jit
def over_lanes(tile, PARTS: tl.constexpr):
    """The sum over the lanes of a channel, in all of them."""
    P: tl.constexpr = tile.shape[1]
    total = tl.sum(tl.reshape(tile, (LANES // PARTS, PARTS, P)), 1)[:, None, :]
    return tl.reshape(tl.broadcast_to(total, (LANES // PARTS, PARTS, P)), (LANES, P))


@triton.jit
def fold(v, PARTS: tl.constexpr):
    """(LANES, P, n) to (2 PARTS², n): summed over the channels of a lane, and over lanes."""
    KEPT: tl.constexpr = 2 * PARTS * PARTS
    return tl.sum(tl.reshape(tl.sum(v, 1), (LANES // KEPT, KEPT, v.shape[2])), 0)


@triton.jit
def over_channels(v, w, PARTS: tl.constexpr):
    """Sums over the channels of twice PARTS tensors (LANES, P, n): (2 PARTS², n). PARTS lanes
    after another hold the sum of one tensor, first those of v, then those of w."""
    if PARTS == 1:
        return meet(fold(v[0], 1), fold(w[0], 1), 1)
    elif PARTS == 2:
        return meet(meet(fold(v[0], 2), fold(w[0], 2), 4), meet(fold(v[1], 2), fold(w[1], 2), 4), 2)
    else:
        even = meet(meet(fold(v[0], 4), fold(w[0], 4), 16),
                    meet(fold(v[2], 4), fold(w[2], 4), 16), 8)
        odd = meet(meet(fold(v[1], 4), fold(w[1], 4), 16),
                   meet(fold(v[3], 4), fold(w[3], 4), 16), 8)
        return meet(even, odd, 4)


@triton.jit
def load_vector(pointer, channels, there):
    """A number a channel, as a tile; zeros where there is no pointer."""
    vector = tl.zeros(channels.shape, tl.float32)
    if pointer is not None:
        vector = tl.load(pointer + channels, there, 0.0)
    return vector


@triton.jit
def load_two(pointer, tiles, inside, P: tl.constexpr):
    """Two tiles, one after the other in time, from where `find_two` says."""
    PARTS: tl.constexpr = tiles.shape[0]
    first, second = tl.split(tl.load(pointer + tiles, inside, 0.0))
    first = tl.permute(tl.reshape(first, (PARTS, LANES // PARTS, P)), (1, 0, 2))
    second = tl.permute(tl.reshape(second, (PARTS, LANES // PARTS, P)), (1, 0, 2))
    return (tl.reshape(first, (LANES, P)).to(tl.float32),
            tl.reshape(second, (LANES, P)).to(tl.float32))


@triton.jit
def to_lanes(v, PARTS: tl.constexpr):
    """N numbers, those of its part to each lane: (LANES, 1, N / PARTS)."""
    SHARE: tl.constexpr = v.shape[0] // PARTS
    whole = tl.broadcast_to(tl.reshape(v, (1, PARTS, SHARE)), (LANES // PARTS, PARTS, SHARE))
    return tl.reshape(whole, (LANES, 1, SHARE))


@triton.jit
def load_numbers(pointer, stride: tl.constexpr, N: tl.constexpr, PARTS: tl.constexpr):
    """B or C of PARTS steps, each (LANES, 1, N / PARTS)."""
    numbers = tl.arange(0, N)
    if PARTS == 1:
        return (to_lanes(tl.load(pointer + numbers), 1),)
    elif PARTS == 2:
        steps = tl.arange(0, 2)[None, :] * stride
        first, second = tl.split(tl.load(pointer + numbers[:, None] + steps))
        return to_lanes(first, 2), to_lanes(second, 2)
    else:
        steps = (2 * tl.arange(0, 2)[None, :, None] + tl.arange(0, 2)[None, None, :]) * stride
        even, odd = tl.split(tl.load(pointer + numbers[:, None, None] + steps))
        first, third = tl.split(even)
        second, fourth = tl.split(odd)
        return to_lanes(first, 4), to_lanes(second, 4), to_lanes(third, 4), to_lanes(fourth, 4)


@triton.jit
def locate(groups: tl.constexpr, d_inner: tl.constexpr, N: tl.constexpr, PARTS: tl.constexpr,
           P: tl.constexpr):
    """This program's sequence and group, its first channel and how many the group has from there
    on; in tiles, which of its channels there are, and which they are; of each lane, where the
    states of its first channel lie, (LANES, N / PARTS), and how many there are from that on."""
    per_group: tl.constexpr = d_inner // groups
    blocks: tl.constexpr = (per_group * PARTS + P * LANES - 1) // (P * LANES)
    group = tl.program_id(0) // blocks
    first = tl.program_id(0) % blocks * (P * LANES // PARTS)
    left = per_group - first
    first += group * per_group
    lane = tl.arange(0, LANES)[:, None]
    mine = lane // PARTS * P
    places = ((first + mine) * N + lane % PARTS * (N // PARTS)
              + tl.arange(0, N // PARTS)[None, :])
    channel = mine + tl.arange(0, P)[None, :]
    return (tl.program_id(2).to(tl.int64), group, first, left, channel < left, first + channel,
            places, left - mine)


@triton.jit
def find_two(batch, start, end, length, first, left, d_inner: tl.constexpr, PARTS: tl.constexpr,
             P: tl.constexpr):
    """Where two tiles lie and what of them there is, (PARTS, channels, 2), neighbours together."""
    steps = (start + tl.arange(0, PARTS)[:, None, None]
             + PARTS * tl.arange(0, 2)[None, None, :])
    channel = tl.arange(0, P * LANES // PARTS)[None, :, None]
    return ((batch * length + steps) * d_inner + first + channel, (steps < end) & (channel < left))


@triton.jit
def load_states(pointer, places, left, N: tl.constexpr, P: tl.constexpr):
    """States, (LANES, P, N / PARTS): each channel of a lane by itself, sixteen bytes at a time."""
    first = tl.load(pointer + places, left > 0, 0.0)
    if P == 1:
        return tl.reshape(first, (LANES, 1, first.shape[1]))
    elif P == 2:
        second = tl.load(pointer + places + N, left > 1, 0.0)
        return tl.permute(tl.join(first, second), (0, 2, 1))
    else:
        second = tl.load(pointer + places + N, left > 1, 0.0)
        third = tl.load(pointer + places + 2 * N, left > 2, 0.0)
        fourth = tl.load(pointer + places + 3 * N, left > 3, 0.0)
        both = tl.join(tl.join(first, third), tl.join(second, fourth))
        return tl.permute(tl.reshape(both, (LANES, first.shape[1], 4)), (0, 2, 1))


@triton.jit
def apart(h, P: tl.constexpr):
    """The states of a lane's channels, each (LANES, N / PARTS)."""
    if P == 1:
        return (tl.reshape(h, (LANES, h.shape[2])),)
    elif P == 2:
        return tl.split(tl.permute(h, (0, 2, 1)))
    else:
        even, odd = tl.split(tl.reshape(tl.permute(h, (0, 2, 1)), (LANES, h.shape[2], 2, 2)))
        first, third = tl.split(even)
        second, fourth = tl.split(odd)
        return first, second, third, fourth


@triton.jit
def store_states(pointer, places, h, left, N: tl.constexpr, P: tl.constexpr):
    parts = apart(h, P)
    for p in tl.static_range(P):
        tl.store(pointer + places + p * N, parts[p], left > p)


@triton.jit
def enter(initial, carries, sums, rate, places, room, batch, split, splits, pieces, channels,
          there, d_inner: tl.constexpr, N: tl.constexpr, P: tl.constexpr, BACKWARD: tl.constexpr):
    """What comes into this split: the first states, carried through all pieces before it.

    From the end, with BACKWARD, "before" means after.
    """
    h = tl.zeros_like(rate)
    if initial is not None:
        h = load_states(initial + batch * N * d_inner, places, room, N, P)
    if carries is not None:
        whole = (splits - 1) * pieces
        for i in range((splits - 1 - split if BACKWARD else split) * pieces):
            place = batch * whole + (whole - 1 - i if BACKWARD else i)
            passed = tl.load(sums + place * d_inner + channels, there, 0.0)
            added = load_states(carries + place * N * d_inner, places, room, N, P)
            h = decay_of(passed[:, :, None], rate) * h + added
    return h


@triton.jit(do_not_specialize=KEPT_GENERAL)
def carry(x, delta, rates, B, bias, carries, sums, length, steps, piece_steps,
          groups: tl.constexpr, d_inner: tl.constexpr, N: tl.constexpr, SOFTPLUS: tl.constexpr,
          PARTS: tl.constexpr, P: tl.constexpr):
    """What a piece of a split adds of its own, its last states when it starts from zero, in
    `carries`; beside it its sum of Δ, (batch, pieces, d_inner). No piece is of the last split,
    which nothing follows."""
    batch, group, first, left, there, channels, places, room = locate(groups, d_inner, N, PARTS,
                                                                      P)
    begin = tl.program_id(1) * piece_steps
    end = begin + piece_steps
    rate = load_states(rates, places, room, N, P)
    bias_, rows = load_vector(bias, channels, there), tl.arange(0, LANES)[:, None] % PARTS
    h, passed = tl.zeros_like(rate), tl.zeros((LANES, P), tl.float32)
    for start in tl.range(begin, end, 2 * PARTS, num_stages=AHEAD):
        two, inside = find_two(batch, start, end, length, first, left, d_inner, PARTS, P)
        x_, raw = load_two(x, two, inside, P), load_two(delta, two, inside, P)
        for i in tl.static_range(2):
            at = start + i * PARTS
            step = step_of(raw[i] + bias_, (at + rows < end) & there, SOFTPLUS)
            given, side = step * x_[i], ((batch * steps + at) * groups + group) * N
            B_ = load_numbers(B + side, groups * N, N, PARTS)
            h = advance(h, step, given, B_, rate, PARTS)
            passed += step
    place = batch * tl.num_programs(1) + tl.program_id(1)
    store_states(carries + place * N * d_inner, places, h, room, N, P)
    tl.store(sums + place * d_inner + channels, over_lanes(passed, PARTS), there)


@triton.jit(do_not_specialize=KEPT_GENERAL)
def forward(x, delta, rates, B, C, D, z, bias, initial, carries, sums, last, borders, y, length,
            steps, split_steps, pieces, groups: tl.constexpr, d_inner: tl.constexpr,
            N: tl.constexpr, SOFTPLUS: tl.constexpr, CHUNK: tl.constexpr, PARTS: tl.constexpr,
            P: tl.constexpr):
    """y and the last states; in `borders`, (batch, chunks, d_inner, N), those before each chunk."""
    batch, group, first, left, there, channels, places, room = locate(groups, d_inner, N, PARTS,
                                                                      P)
    split, splits = tl.program_id(1), tl.num_programs(1)
    end = tl.minimum((split + 1) * split_steps, length)
    rate, rows = load_states(rates, places, room, N, P), tl.arange(0, LANES)[:, None] % PARTS
    skip, bias_ = load_vector(D, channels, there), load_vector(bias, channels, there)
    h = enter(initial, carries, sums, rate, places, room, batch, split, splits, pieces, channels,
              there, d_inner, N, P, False)
    for start in tl.range(split * split_steps, end, 2 * PARTS, num_stages=AHEAD):
        if borders is not None:
            if start % CHUNK == 0:
                border = batch * tl.cdiv(length, CHUNK) + start // CHUNK
                store_states(borders + border * N * d_inner, places, h, room, N, P)
        two, inside = find_two(batch, start, end, length, first, left, d_inner, PARTS, P)
        x_, raw = load_two(x, two, inside, P), load_two(delta, two, inside, P)
        gate = x_
        if z is not None:
            gate = load_two(z, two, inside, P)
        for i in tl.static_range(2):
            at = start + i * PARTS
            here = (at + rows < end) & there
            step = step_of(raw[i] + bias_, here, SOFTPLUS)
            given, side = step * x_[i], ((batch * steps + at) * groups + group) * N
            B_ = load_numbers(B + side, groups * N, N, PARTS)
            C_ = load_numbers(C + side, groups * N, N, PARTS)
            reads = ()
            for k in tl.static_range(PARTS):
                decay = decay_of(of_step(step, k, PARTS), rate)
                h = decay * h + B_[k] * of_step(given, k, PARTS)
                reads = reads + (C_[k] * h,)
            out = skip * x_[i] + over_state(reads, PARTS)
            if z is not None:
                out *= gate[i] * sigmoid(gate[i])
            tile = (batch * length + at + rows) * d_inner + channels
            tl.store(y + tile, out.to(y.dtype.element_ty), here)
    if split == splits - 1:
        store_states(last + batch * N * d_inner, places, h, room, N, P)


@triton.jit(do_not_specialize=KEPT_GENERAL)
def carry_back(dy, delta, rates, C, z, bias, carries, sums, length, steps, piece_steps, pieces,
               groups: tl.constexpr, d_inner: tl.constexpr, N: tl.constexpr,
               SOFTPLUS: tl.constexpr, PARTS: tl.constexpr, P: tl.constexpr):
    """`carry` from the end: the gradient that a piece of a split hands back when it is handed none.
    No piece is of the first split, which has `pieces` of them."""
    batch, group, first, left, there, channels, places, room = locate(groups, d_inner, N, PARTS,
                                                                      P)
    begin = (pieces + tl.program_id(1)) * piece_steps
    end = tl.minimum(begin + piece_steps, length)
    rate = load_states(rates, places, room, N, P)
    bias_, rows = load_vector(bias, channels, there), tl.arange(0, LANES)[:, None] % PARTS
    back, passed = tl.zeros_like(rate), tl.zeros((LANES, P), tl.float32)
    for ahead in tl.range(0, end - begin, 2 * PARTS, num_stages=AHEAD):
        start = begin + (end - begin - 1) // (2 * PARTS) * (2 * PARTS) - ahead
        two, inside = find_two(batch, start, end, length, first, left, d_inner, PARTS, P)
        raw, d_y = load_two(delta, two, inside, P), load_two(dy, two, inside, P)
        gate = raw
        if z is not None:
            gate = load_two(z, two, inside, P)
        for i in tl.static_range(1, -1, -1):
            at = start + i * PARTS
            step = step_of(raw[i] + bias_, (at + rows < end) & there, SOFTPLUS)
            d_out, side = d_y[i], ((batch * steps + at) * groups + group) * N
            if z is not None:
                d_out = d_out * gate[i] * sigmoid(gate[i])
            C_ = load_numbers(C + side, groups * N, N, PARTS)
            for k in tl.static_range(PARTS - 1, -1, -1):
                back += C_[k] * of_step(d_out, k, PARTS)
                back *= decay_of(of_step(step, k, PARTS), rate)
            passed += step
    place = batch * tl.num_programs(1) + tl.program_id(1)
    store_states(carries + place * N * d_inner, places, back, room, N, P)
    tl.store(sums + place * d_inner + channels, over_lanes(passed, PARTS), there)


@triton.jit(do_not_specialize=KEPT_GENERAL)
def backward(x, delta, rates, B, C, D, z, bias, borders, dy, d_last, carries, sums, inside_chunk,
             dx, d_delta, dA, dBC, dD, dz, d_bias, d_initial, length, steps, split_steps, pieces,
             groups: tl.constexpr, d_inner: tl.constexpr, N: tl.constexpr,
             SOFTPLUS: tl.constexpr, CHUNK: tl.constexpr, ATOMIC: tl.constexpr,
             PARTS: tl.constexpr, P: tl.constexpr):
    """All gradients, from the last tile of a split to its first.

    `d_initial` is the gradient of the states that came into the first split. dA is a sum over the
    split, dD and d_bias are sums over a chunk; dB and dC over a program's channels, added up in
    place or apart.
    """
    batch, group, first, left, there, channels, places, room = locate(groups, d_inner, N, PARTS,
                                                                      P)
    split, splits, tiles = tl.program_id(1), tl.num_programs(1), steps // PARTS
    begin, end = split * split_steps, tl.minimum((split + 1) * split_steps, length)
    place, rows = batch * splits + split, tl.arange(0, LANES)[:, None] % PARTS
    rate = load_states(rates, places, room, N, P)
    skip, bias_ = load_vector(D, channels, there), load_vector(bias, channels, there)
    back = enter(d_last, carries, sums, rate, places, room, batch, split, splits, pieces, channels,
                 there, d_inner, N, P, True)
    before_tile = inside_chunk + place * (CHUNK // PARTS) * N * d_inner
    into = (batch * groups + group) * tiles
    if not ATOMIC:
        into = (batch * tl.num_programs(0) + tl.program_id(0)) * tiles
    lane = tl.arange(0, 2 * PARTS * PARTS)[:, None]
    into_tile = (dBC + into * 2 * PARTS * N + lane // PARTS * N + lane % PARTS * (N // PARTS)
                 + tl.arange(0, N // PARTS)[None, :])
    chunks = tl.cdiv(end - begin, CHUNK)
    opening = begin + (chunks - 1) * CHUNK
    border = batch * tl.cdiv(length, CHUNK) + opening // CHUNK     # 64 bits, as batch has
    next_h = load_states(borders + border * N * d_inner, places, room, N, P)
    for _ in range(chunks):
        # The states before each tile of the chunk, made again.
        h, passed = next_h, tl.zeros((LANES, P), tl.float32)
        for start in tl.range(opening, opening + CHUNK, 2 * PARTS, num_stages=AHEAD):
            two, inside = find_two(batch, start, end, length, first, left, d_inner, PARTS, P)
            x_, raw = load_two(x, two, inside, P), load_two(delta, two, inside, P)
            for i in tl.static_range(2):
                at = start + i * PARTS
                tile = before_tile + (at - opening) // PARTS * N * d_inner
                store_states(tile, places, h, room, N, P)
                step = step_of(raw[i] + bias_, (at + rows < end) & there, SOFTPLUS)
                given, side = step * x_[i], ((batch * steps + at) * groups + group) * N
                B_ = load_numbers(B + side, groups * N, N, PARTS)
                h = advance(h, step, given, B_, rate, PARTS)
                passed += step
        short = shortfall(over_lanes(passed, PARTS)[:, :, None] * rate * (1 / CHUNK))
        # What one lane has written another may copy.
        tl.debug_barrier()
        more = tl.where(opening > begin, room, 0)
        next_h = load_states(borders + (border - 1) * N * d_inner, places, more, N, P)
        sum_A, nothing = tl.zeros_like(rate), tl.zeros((LANES, P), tl.float32)
        sum_D, beyond_D, sum_bias, beyond_bias = nothing, nothing, nothing, nothing
        for ahead in tl.range(2 * PARTS, CHUNK + 2 * PARTS, 2 * PARTS, num_stages=AHEAD):
            start = opening + CHUNK - ahead
            two, inside = find_two(batch, start, end, length, first, left, d_inner, PARTS, P)
            xs, raws = load_two(x, two, inside, P), load_two(delta, two, inside, P)
            d_ys, gates = load_two(dy, two, inside, P), xs
            if z is not None:
                gates = load_two(z, two, inside, P)
            for i in tl.static_range(1, -1, -1):
                at = start + i * PARTS
                here, side = (at + rows < end) & there, ((batch * steps + at) * groups + group) * N
                B_ = load_numbers(B + side, groups * N, N, PARTS)
                C_ = load_numbers(C + side, groups * N, N, PARTS)
                tile = before_tile + (at - opening) // PARTS * N * d_inner
                h = load_states(tile, places, room, N, P)
                x_, raw, d_y, gate = xs[i], raws[i] + bias_, d_ys[i], gates[i]
                step = step_of(raw, here, SOFTPLUS)
                given, d_out = step * x_, d_y
                if z is not None:
                    opened = sigmoid(gate)
                    d_out = d_y * gate * opened   # of half types, the first product is exact
                states, decays = (h,), ()
                for k in tl.static_range(PARTS):
                    decay = decay_of(of_step(step, k, PARTS), rate, short)
                    h = decay * h + B_[k] * of_step(given, k, PARTS)
                    states, decays = states + (h,), decays + (decay,)
                reads, writes, exponents, dB, dC = (), (), (), (), ()
                for k in tl.static_range(PARTS - 1, -1, -1):
                    back += C_[k] * of_step(d_out, k, PARTS)
                    dB = (back * of_step(given, k, PARTS),) + dB
                    dC = (states[k + 1] * of_step(d_out, k, PARTS),) + dC
                    reads, writes = (C_[k] * states[k + 1],) + reads, (back * B_[k],) + writes
                    back *= decays[k]
                    d_exponent = back * states[k]
                    exponents = (d_exponent * rate,) + exponents
                    sum_A += d_exponent * of_step(step, k, PARTS)
                d_given = over_state(writes, PARTS)
                d_step = d_given * x_ + over_state(exponents, PARTS) * LN_2
                if SOFTPLUS:
                    d_step *= sigmoid(raw)
                d_step = tl.where(here, d_step, 0.0)
                sum_D, beyond_D = add(sum_D, beyond_D, d_out * x_)
                sum_bias, beyond_bias = add(sum_bias, beyond_bias, d_step)
                d_x = d_given * step + skip * d_out
                tile = (batch * length + at + rows) * d_inner + channels
                tl.store(dx + tile, d_x.to(dx.dtype.element_ty), here)
                tl.store(d_delta + tile, d_step.to(d_delta.dtype.element_ty), here)
                if z is not None:
                    out = (skip * x_ + over_state(reads, PARTS)) * d_y
                    d_gate = out * opened * (1 + gate * (1 - opened))
                    tl.store(dz + tile, d_gate.to(dz.dtype.element_ty), here)
                tile = into_tile + at // PARTS * 2 * PARTS * N
                if ATOMIC:
                    tl.atomic_add(tile, over_channels(dB, dC, PARTS), sem="relaxed")
                else:
                    tl.store(tile, over_channels(dB, dC, PARTS))
        # Chunk by chunk: a sum of sums of 64 is rounded less than one of all. No other program
        # adds to these places of dA, and nothing is waited for.
        parts_A = apart(sum_A, P)
        for p in tl.static_range(P):
            # (`where` copies: the interpreter's atomics take only what lies in one piece.)
            tl.atomic_add(dA + place * N * d_inner + places + p * N,
                          tl.where(room > p, parts_A[p], 0.0), room > p, sem="relaxed")
        once = there & (rows == 0)
        of_chunk = border * d_inner + channels
        tl.store(dD + of_chunk, over_lanes(sum_D, PARTS), once)
        tl.store(d_bias + of_chunk, over_lanes(sum_bias, PARTS), once)
        tl.debug_barrier()  # all of it is read before the next chunk's is written
        opening, border = opening - CHUNK, border - 1
    if split == 0:
        store_states(d_initial + batch * N * d_inner, places, back, room, N, P)
