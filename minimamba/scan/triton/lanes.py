"""Building blocks of the scan kernels: arithmetic, layouts over lanes, and sums across lanes.

`plan.py` defines the words. A program is one warp of LANES = 32 lanes; TILE neighbouring lanes
share PER_LANE channels, and each of them holds N / TILE of the N states of those channels.

| layout | shape | what lane l holds |
|---|---|---|
| tile | (LANES, PER_LANE) | step l % TILE of its PER_LANE channels |
| states | (LANES, PER_LANE, N / TILE) | part l % TILE of the states of its channels |
| one step of B or C | (LANES, 1, N / TILE) | the part of B_t or C_t that meets its states |

A tile has one number per step and channel, so what depends on the channel alone (softplus, gate,
loads, stores) is computed once; `broadcast_step` then gives one step's number to all lanes that
share the channel. Going back, sums over states or channels are halved from lane to lane
(`butterfly_add`) until each lane holds one complete sum.
"""

import triton
import triton.language as tl

from minimamba.scan.triton import plan

LANES = tl.constexpr(plan.LANES)
LOG2_E = tl.constexpr(1.4426950408889634)
LN_2 = tl.constexpr(0.6931471805599453)
STAGES = tl.constexpr(3)
"""Depth of the software pipeline: inputs of the next two iterations are copied to shared memory
while the current one computes. The asynchronous copy moves at least four bytes at a time."""
EXP2_ERROR = tl.constexpr(0.0 if triton.knobs.runtime.interpret else 1e-8)
"""Unit of the exponents added to correct the GPU's exp2, which truncates its result; 0 in the
interpreter, which rounds."""
RUNTIME_SIZES = ["length", "padded_length", "split_steps", "piece_steps", "pieces", "rows",
                 "dBC_tiles"]
"""Kernel arguments whose values don't trigger a new compilation."""


@triton.jit
def sigmoid(x):
    """1 / (1 + e^−x)."""
    return 1.0 / (1.0 + tl.exp2(-x * LOG2_E))


@triton.jit
def softplus(x):
    """log(1 + e^x) = max(x, 0) + log(1 + e) with e = e^−|x|, accurate also where 1 + e rounds to 1.

    log(1 + e) = e + e² q(e), where q is a polynomial fitted on [0, 1]; the largest relative error
    of the whole is 3.6e-8.
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
def masked_delta(dt, inside, SOFTPLUS: tl.constexpr):
    """Δ of a tile: dt or softplus(dt), and 0 outside the sequence, where Δ = 0 keeps the state."""
    delta = dt
    if SOFTPLUS:
        delta = softplus(dt)
    return tl.where(inside, delta, 0.0)


@triton.jit
def decay(delta, A_log2e, correction=3 * EXP2_ERROR):
    """exp(Δ A) as 2^(Δ A log2 e), with `correction` added to the exponent.

    The GPU's exp2 truncates, so a product of a thousand decays would be too small by 3e-5; with
    the average error of the exponent added back, the product is off by 3e-7.
    """
    return tl.exp2(delta * A_log2e + correction)


@triton.jit
def exp2_correction(mean_exponent):
    """Correction for `decay`, given the mean exponent of a state over a chunk.

    It is smaller for exponents near 0, whose states decay slowly and collect errors longest. The
    coefficients were fitted to measurements on an H100.
    """
    return EXP2_ERROR * tl.minimum(tl.maximum(-mean_exponent - 0.001, 0.0) * 300 + 0.8, 3.0)


@triton.jit
def kahan_add(total, excess, term):
    """Compensated sum (Kahan 1965): the new total, and by how much rounding made it too large."""
    term -= excess
    new_total = total + term
    return new_total, (new_total - total) - term


@triton.jit
def broadcast_step(tile, k: tl.constexpr, TILE: tl.constexpr):
    """Step k of a tile, in all lanes that share the channel: (LANES, PER_LANE, 1). One shuffle."""
    lane = tl.arange(0, LANES)[:, None]
    source = tl.broadcast_to(lane - lane % TILE + k, tile.shape)
    return tl.gather(tile, source, 0)[:, :, None]


@triton.jit
def butterfly_add(even, odd, BIT: tl.constexpr):
    """Sums over pairs of lanes whose numbers differ in BIT: of `even` in the lane without the bit,
    of `odd` in the lane with it. One shuffle, in which each lane sends what its partner sums."""
    lane = tl.arange(0, even.shape[0])[:, None]
    has_bit = (lane & BIT) != 0
    partner = tl.broadcast_to(lane ^ BIT, even.shape)
    kept = tl.where(has_bit, odd, even)
    sent = tl.where(has_bit, even, odd)
    return kept + tl.gather(sent, partner, 0)


@triton.jit
def sum_over_lanes(steps, TILE: tl.constexpr):
    """Sums over the lanes that share a channel of TILE tensors (LANES, PER_LANE), one per step, as
    a tile: each lane ends with the sum of its own step."""
    if TILE == 1:
        return steps[0]
    elif TILE == 2:
        return butterfly_add(steps[0], steps[1], 1)
    else:
        return butterfly_add(butterfly_add(steps[0], steps[2], 2),
                             butterfly_add(steps[1], steps[3], 2), 1)


@triton.jit
def sum_over_states(steps, TILE: tl.constexpr):
    """Sums over the state dimension of TILE tensors (LANES, PER_LANE, N / TILE), as
    `sum_over_lanes`."""
    in_lane = ()
    for k in tl.static_range(TILE):
        in_lane = in_lane + (tl.sum(steps[k], 2),)
    return sum_over_lanes(in_lane, TILE)


@triton.jit
def sum_over_steps(tile, TILE: tl.constexpr):
    """Sum of a tile over its steps, in all lanes that share the channel."""
    PER_LANE: tl.constexpr = tile.shape[1]
    by_step = tl.reshape(tile, (LANES // TILE, TILE, PER_LANE))
    total = tl.sum(by_step, 1)[:, None, :]
    return tl.reshape(tl.broadcast_to(total, by_step.shape), (LANES, PER_LANE))


@triton.jit
def sum_channels(states, TILE: tl.constexpr):
    """Partial sum over channels, (LANES, PER_LANE, n) to (2 TILE², n): over the channels of a lane
    and over lanes 2 TILE² apart."""
    KEPT: tl.constexpr = 2 * TILE * TILE
    over_lane = tl.sum(states, 1)
    return tl.sum(tl.reshape(over_lane, (LANES // KEPT, KEPT, states.shape[2])), 0)


@triton.jit
def sum_dB_dC(dB, dC, TILE: tl.constexpr):
    """The first half of `sum_over_channels`, for one step: sums of two tensors (LANES, PER_LANE, n)
    over some channels, (2 TILE², n)."""
    return butterfly_add(sum_channels(dB, TILE), sum_channels(dC, TILE), TILE * TILE)


@triton.jit
def sum_over_channels(steps, TILE: tl.constexpr):
    """Sums over all channels, given those of each step over some of them, from `sum_dB_dC`: as
    (2 TILE², n). Every TILE lanes hold one of the sums: those of dB in order of the steps, then
    those of dC."""
    if TILE == 1:
        return steps[0]
    elif TILE == 2:
        return butterfly_add(steps[0], steps[1], 2)
    else:
        return butterfly_add(butterfly_add(steps[0], steps[2], 8),
                             butterfly_add(steps[1], steps[3], 8), 4)
