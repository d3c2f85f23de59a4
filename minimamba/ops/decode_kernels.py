"""The kernels of `step`. A program of `convolution` and `scan` is one warp, BLOCK channels of one
sequence; of `add_norm`, one sequence."""

import triton
import triton.language as tl

from minimamba.scan.triton.kernels import LOG2_E, decay_of, sigmoid, softplus


@triton.jit
def convolution(x, weight, bias, inputs, after, y, x_stride, d_inner, WIDTH: tl.constexpr,
                BLOCK: tl.constexpr):
    """`after` may be `inputs`: a program writes a step only after it has read that and the next."""
    batch, channel = tl.program_id(0), tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    there = channel < d_inner
    total = tl.zeros((BLOCK,), tl.float32)
    if bias is not None:
        total += tl.load(bias + channel, there, 0.0).to(tl.float32)
    kept = batch.to(tl.int64) * (WIDTH - 1) * d_inner + channel
    for k in tl.static_range(WIDTH - 1):
        seen = tl.load(inputs + kept + k * d_inner, there, 0.0)
        total += seen.to(tl.float32) * tl.load(weight + channel * WIDTH + k, there, 0.0)
        if k > 0:
            tl.store(after + kept + (k - 1) * d_inner, seen, there)
    now = tl.load(x + batch.to(tl.int64) * x_stride + channel, there, 0.0)
    total += now.to(tl.float32) * tl.load(weight + channel * WIDTH + WIDTH - 1, there, 0.0)
    if WIDTH > 1:
        tl.store(after + kept + (WIDTH - 2) * d_inner, now, there)
    tl.store(y + batch.to(tl.int64) * d_inner + channel,
             (total * sigmoid(total)).to(y.dtype.element_ty), there)


@triton.jit
def scan(x, raw, A_log, B, C, D, z, bias, h, after, y, x_batch, x_channel, raw_batch, raw_channel,
         B_batch, B_number, C_batch, C_number, z_batch, z_channel, d_inner, d_state: tl.constexpr,
         N: tl.constexpr, BLOCK: tl.constexpr):
    """N is d_state, or the next power of two. The strides are those of (batch, channel or
    number)."""
    batch = tl.program_id(0).to(tl.int64)
    channel, number = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK), tl.arange(0, N)
    there = channel < d_inner
    both = there[:, None] & (number < d_state)[None, :]
    row = tl.load(raw + batch * raw_batch + channel * raw_channel, there, 0.0).to(tl.float32)
    step = softplus(row + tl.load(bias + channel, there, 0.0).to(tl.float32))
    x_ = tl.load(x + batch * x_batch + channel * x_channel, there, 0.0).to(tl.float32)
    B_ = tl.load(B + batch * B_batch + number * B_number, number < d_state, 0.0).to(tl.float32)
    C_ = tl.load(C + batch * C_batch + number * C_number, number < d_state, 0.0).to(tl.float32)
    place = channel[:, None] * d_state + number[None, :]
    rates = -LOG2_E * tl.exp2(tl.load(A_log + place, both, 0.0).to(tl.float32) * LOG2_E)
    kept = batch * d_inner * d_state + place
    h_ = (decay_of(step[:, None], rates) * tl.load(h + kept, both, 0.0)
          + (step * x_)[:, None] * B_[None, :])
    tl.store(after + kept, h_, both)
    out = (tl.sum(h_ * C_[None, :], 1)
           + tl.load(D + channel, there, 0.0).to(tl.float32) * x_)
    if z is not None:
        gate = tl.load(z + batch * z_batch + channel * z_channel, there, 0.0).to(tl.float32)
        out *= gate * sigmoid(gate)
    tl.store(y + batch * d_inner + channel, out.to(y.dtype.element_ty), there)


@triton.jit
def add_norm(x, added, weight, total, normed, epsilon, d_model: tl.constexpr,
             BLOCK: tl.constexpr):
    feature = tl.arange(0, BLOCK)
    there, place = feature < d_model, tl.program_id(0).to(tl.int64) * d_model + feature
    both = tl.load(x + place, there, 0.0).to(tl.float32) + tl.load(added + place, there, 0.0)
    both = both.to(total.dtype.element_ty)
    tl.store(total + place, both, there)
    # Rounded first, as in `lm.Layer`.
    both = both.to(normed.dtype.element_ty).to(tl.float32)
    both *= 1.0 / tl.sqrt(tl.sum(both * both, 0) / d_model + epsilon)
    tl.store(normed + place, (both * tl.load(weight + feature, there, 0.0)).to(
        normed.dtype.element_ty), there)
