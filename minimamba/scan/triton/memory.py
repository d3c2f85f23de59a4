"""Where a program finds its data in memory, and loads and stores of tiles, states, B and C.

`plan.py` defines the words, `lanes.py` the layouts over lanes. The kernels see these arrays, all
contiguous but B and C; N is d_state, rounded up to a power of two. In B and C it is STEP elements
from a step to the next, GROUP from a group to the next, and `rows` steps from a sequence to the
next; PADDED says that they are one array, BC in `pack.py`, which goes on beyond the end, to whole
chunks, and has N elements of B before those of C. The table holds where RUN is 0;
otherwise x, and all that has its shape, is (batch, d_inner, length), with a multiple of RUN steps:

| array | shape | dtype |
|---|---|---|
| x, delta, z, y and their gradients | (batch, length, d_inner) | any float |
| A | (d_inner, N) | float32 |
| B, C | (batch, length or steps, groups, N) | any float |
| D, delta_bias | (d_inner,) | any float |
| initial_state, last_state and their gradients | (batch, d_inner, N) | float32 |
"""

from typing import NamedTuple

import triton
import triton.language as tl

from minimamba.scan.triton.lanes import LANES


class Block(NamedTuple):
    """The channels that a program owns, in which sequence, and how its lanes share them."""

    sequence: tl.tensor
    """Index in the batch, int64."""
    group: tl.tensor
    """Index of the group of B and C that the channels use."""
    first_channel: tl.tensor
    channels_left: tl.tensor
    """Channels of the group from the first one on; may be more or fewer than the program owns."""
    step: tl.tensor
    """(LANES, 1): which step of a tile a lane holds."""
    channels: tl.tensor
    """(LANES, PER_LANE): which channels a lane holds."""
    exists: tl.tensor
    """(LANES, PER_LANE): whether the group has that channel."""
    states: tl.tensor
    """(LANES, N / TILE): offsets of a lane's part of its first channel's states in (d_inner, N);
    (LANES, PART / TILE) if the program works on PART of the N states at a time."""
    lane_channels_left: tl.tensor
    """(LANES, 1): channels of the group from the lane's first one on."""


class Span(NamedTuple):
    """Where along time a program's own steps end, and the sequence."""

    end: tl.tensor
    """The step after the last of the split or piece."""
    length: tl.tensor
    """Steps of the whole sequence."""


@triton.jit
def locate_block(groups: tl.constexpr, d_inner: tl.constexpr, N: tl.constexpr,
                 TILE: tl.constexpr, PER_LANE: tl.constexpr, part=0, PARTS: tl.constexpr = 1):
    """The `Block` of a program, from its place in the grid (blocks, splits or pieces, batch), with
    one of PARTS equal parts of the states."""
    PART: tl.constexpr = N // PARTS
    group_size: tl.constexpr = d_inner // groups
    block_size: tl.constexpr = PER_LANE * LANES // TILE
    blocks: tl.constexpr = (group_size + block_size - 1) // block_size
    group = tl.program_id(0) // blocks
    first = tl.program_id(0) % blocks * block_size
    left = group_size - first
    first += group * group_size
    lane = tl.arange(0, LANES)[:, None]
    lane_first = lane // TILE * PER_LANE
    states = ((first + lane_first) * N + part * PART + lane % TILE * (PART // TILE)
              + tl.arange(0, PART // TILE)[None, :])
    channel = lane_first + tl.arange(0, PER_LANE)[None, :]
    return Block(tl.program_id(2).to(tl.int64), group, first, left, lane % TILE, first + channel,
                 channel < left, states, left - lane_first)


@triton.jit
def load_per_channel(pointer, block):
    """One number per channel, as a tile; zeros if the pointer is None."""
    vector = tl.zeros(block.channels.shape, tl.float32)
    if pointer is not None:
        vector = tl.load(pointer + block.channels, block.exists, 0.0).to(tl.float32)
    return vector


@triton.jit
def pair_offsets(block, span, start, d_inner: tl.constexpr, TILE: tl.constexpr,
                 PER_LANE: tl.constexpr, RUN: tl.constexpr):
    """Offsets of two successive tiles in x, and which of them the program owns: (TILE, channels,
    2), so that neighbouring channels are loaded together; or (channels, 2 TILE), so that RUN
    neighbouring steps are."""
    CHANNELS: tl.constexpr = PER_LANE * LANES // TILE
    if RUN:
        PAIR: tl.constexpr = 2 * TILE
        channel = tl.arange(0, CHANNELS)[:, None]
        # Each quotient is exact. It tells the compiler where runs begin: wide loads need that.
        steps = start // PAIR * PAIR + tl.arange(0, PAIR)[None, :]
        rows = block.sequence * d_inner + block.first_channel + channel
        offsets = rows * (span.length // RUN * RUN) + steps
        return offsets, (steps < span.end // RUN * RUN) & (channel < block.channels_left)
    else:
        steps = (start + tl.arange(0, TILE)[:, None, None]
                 + TILE * tl.arange(0, 2)[None, None, :])
        channel = tl.arange(0, CHANNELS)[None, :, None]
        rows = block.sequence * span.length + steps
        offsets = rows * d_inner + block.first_channel + channel
        return offsets, (steps < span.end) & (channel < block.channels_left)


@triton.jit
def load_pair(pointer, offsets, inside):
    """The two tiles at `pair_offsets`, in float32."""
    pair = tl.load(pointer + offsets, inside, 0.0)
    if len(offsets.shape) == 2:
        TILE: tl.constexpr = offsets.shape[1] // 2
        PER_LANE: tl.constexpr = offsets.shape[0] * TILE // LANES
        by_step = tl.permute(tl.reshape(pair, (LANES // TILE, PER_LANE, 2, TILE)), (0, 3, 1, 2))
        first, second = tl.split(tl.reshape(by_step, (LANES, PER_LANE, 2)))
        return first.to(tl.float32), second.to(tl.float32)
    else:
        TILE: tl.constexpr = offsets.shape[0]
        PER_LANE: tl.constexpr = offsets.shape[1] * TILE // LANES
        first, second = tl.split(pair)
        first = tl.permute(tl.reshape(first, (TILE, LANES // TILE, PER_LANE)), (1, 0, 2))
        second = tl.permute(tl.reshape(second, (TILE, LANES // TILE, PER_LANE)), (1, 0, 2))
        return (tl.reshape(first, (LANES, PER_LANE)).to(tl.float32),
                tl.reshape(second, (LANES, PER_LANE)).to(tl.float32))


@triton.jit
def owned(block, span, t):
    """Which entries of the tile at step t the program owns."""
    return (t + block.step < span.end) & block.exists


@triton.jit
def first_row(pointer, rows, block, STEP: tl.constexpr, GROUP: tl.constexpr,
              BEFORE: tl.constexpr = 0):
    """A pointer to step 0 of B or C, for the sequence and the group of the program, where there
    are BEFORE elements of something else before each row."""
    return pointer + BEFORE + block.sequence * rows * STEP + block.group * GROUP


@triton.jit
def tile_offsets(block, span, t, d_inner: tl.constexpr, RUN: tl.constexpr):
    """Offsets in x of the tile of steps t, t + 1, …, those of each lane."""
    if RUN:
        return (block.sequence * d_inner + block.channels) * span.length + t + block.step
    # Unsigned, since the sign would be extended to 64 bits, and take a register for that.
    return (block.sequence * span.length + t + block.step) * d_inner + block.channels.to(tl.uint32)


@triton.jit
def load_tile(pointer, block, span, t, inside, d_inner: tl.constexpr, RUN: tl.constexpr):
    """The tile of steps t, t + 1, … of an array of x's shape, in float32."""
    offsets = tile_offsets(block, span, t, d_inner, RUN)
    return tl.load(pointer + offsets, inside, 0.0).to(tl.float32)


@triton.jit
def store_tile(pointer, tile, block, span, t, inside, d_inner: tl.constexpr,
               RUN: tl.constexpr):
    """Write the tile of steps t, t + 1, … to an array of x's shape, in the array's dtype."""
    offsets = tile_offsets(block, span, t, d_inner, RUN)
    tl.store(pointer + offsets, tile.to(pointer.dtype.element_ty), inside)


@triton.jit
def to_lanes(vector, TILE: tl.constexpr):
    """(N,) to (LANES, 1, N / TILE): to each lane the part that meets its states."""
    PART: tl.constexpr = vector.shape[0] // TILE
    parts = tl.reshape(vector, (1, TILE, PART))
    return tl.reshape(tl.broadcast_to(parts, (LANES // TILE, TILE, PART)), (LANES, 1, PART))


@triton.jit
def load_rows(first, states, t, steps, span, STEP: tl.constexpr, PADDED: tl.constexpr):
    """Some states at steps t + `steps` of B or C, in float32."""
    pointers = first + t.to(tl.int64) * STEP + states + steps * STEP
    if PADDED:
        return tl.load(pointers).to(tl.float32)
    return tl.load(pointers, t + steps < span.length, 0.0).to(tl.float32)


@triton.jit
def load_steps(first, t, span, N: tl.constexpr, STEP: tl.constexpr, TILE: tl.constexpr,
               PADDED: tl.constexpr):
    """B or C at the steps t, t + 1, … of a tile: a tuple of TILE tensors from `to_lanes`. `first`
    is the `first_row`."""
    states = tl.arange(0, N)
    if TILE == 1:
        steps = tl.zeros_like(states)
        return (to_lanes(load_rows(first, states, t, steps, span, STEP, PADDED), 1),)
    elif TILE == 2:
        steps = tl.arange(0, 2)[None, :]
        first, second = tl.split(load_rows(first, states[:, None], t, steps, span, STEP, PADDED))
        return to_lanes(first, 2), to_lanes(second, 2)
    else:
        steps = 2 * tl.arange(0, 2)[None, :, None] + tl.arange(0, 2)[None, None, :]
        even, odd = tl.split(load_rows(first, states[:, None, None], t, steps, span, STEP, PADDED))
        first, third = tl.split(even)
        second, fourth = tl.split(odd)
        return to_lanes(first, 4), to_lanes(second, 4), to_lanes(third, 4), to_lanes(fourth, 4)


@triton.jit
def load_states(pointer, block, left, N: tl.constexpr):
    """States (LANES, PER_LANE, n) from (d_inner, N), channel by channel, so that a lane loads
    sixteen bytes at a time. A lane has `left` channels; the others' states are 0."""
    PER_LANE: tl.constexpr = block.channels.shape[1]
    offsets = pointer + block.states
    first = tl.load(offsets, left > 0, 0.0)
    if PER_LANE == 1:
        return tl.reshape(first, (LANES, 1, first.shape[1]))
    elif PER_LANE == 2:
        second = tl.load(offsets + N, left > 1, 0.0)
        return tl.permute(tl.join(first, second), (0, 2, 1))
    else:
        second = tl.load(offsets + N, left > 1, 0.0)
        third = tl.load(offsets + 2 * N, left > 2, 0.0)
        fourth = tl.load(offsets + 3 * N, left > 3, 0.0)
        both = tl.join(tl.join(first, third), tl.join(second, fourth))
        return tl.permute(tl.reshape(both, (LANES, first.shape[1], 4)), (0, 2, 1))


@triton.jit
def unpack_channels(states):
    """(LANES, PER_LANE, n) as PER_LANE tensors (LANES, n), one for each channel of a lane."""
    PER_LANE: tl.constexpr = states.shape[1]
    if PER_LANE == 1:
        return (tl.reshape(states, (LANES, states.shape[2])),)
    elif PER_LANE == 2:
        return tl.split(tl.permute(states, (0, 2, 1)))
    else:
        by_channel = tl.reshape(tl.permute(states, (0, 2, 1)), (LANES, states.shape[2], 2, 2))
        even, odd = tl.split(by_channel)
        first, third = tl.split(even)
        second, fourth = tl.split(odd)
        return first, second, third, fourth


@triton.jit
def store_states(pointer, states, block, N: tl.constexpr):
    """Write states (LANES, PER_LANE, n) to (d_inner, N)."""
    channels = unpack_channels(states)
    for p in tl.static_range(states.shape[1]):
        tl.store(pointer + block.states + p * N, channels[p], block.lane_channels_left > p)
