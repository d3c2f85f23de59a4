"""The Triton kernels of `minimamba.ops.decode`.

A program of `conv_step` and `scan_step` is one warp, which computes BLOCK channels of one sequence;
a program of `add_rms_norm` computes one sequence.
"""

import triton
import triton.language as tl

from minimamba.scan.triton.lanes import LOG2_E, decay, sigmoid, softplus


@triton.jit
def locate_block(d_inner: tl.constexpr, BLOCK: tl.constexpr):
    """The sequence and the channels (BLOCK,) of a program, int64.

    The grid has one side, since CUDA limits the second and the third to 65,535 programs.
    """
    blocks: tl.constexpr = (d_inner + BLOCK - 1) // BLOCK
    batch = (tl.program_id(0) // blocks).to(tl.int64)
    channel = (tl.program_id(0) % blocks).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    return batch, channel


@triton.jit
def conv_step(x, weight, bias, conv_state, new_state, y, x_stride, d_inner: tl.constexpr,
              WIDTH: tl.constexpr, BLOCK: tl.constexpr):
    """One step of the convolution. Grid: (batch · blocks of channels,).

    `new_state` may be `conv_state`: a program writes each row after it has read it and the next.
    """
    batch, channel = locate_block(d_inner, BLOCK)
    exists = channel < d_inner
    total = tl.zeros((BLOCK,), tl.float32)
    if bias is not None:
        total += tl.load(bias + channel, exists, 0.0).to(tl.float32)
    offset = batch * (WIDTH - 1) * d_inner + channel
    for k in tl.static_range(WIDTH - 1):
        value = tl.load(conv_state + offset + k * d_inner, exists, 0.0)
        total += value.to(tl.float32) * tl.load(weight + channel * WIDTH + k, exists, 0.0)
        if k > 0:
            tl.store(new_state + offset + (k - 1) * d_inner, value, exists)
    value = tl.load(x + batch * x_stride + channel, exists, 0.0)
    total += value.to(tl.float32) * tl.load(weight + channel * WIDTH + WIDTH - 1, exists, 0.0)
    if WIDTH > 1:
        tl.store(new_state + offset + (WIDTH - 2) * d_inner, value, exists)
    tl.store(y + batch * d_inner + channel, (total * sigmoid(total)).to(y.dtype.element_ty),
             exists)


@triton.jit
def scan_step(x, dt, A_log, B, C, D, z, dt_bias, ssm_state, new_state, y, x_batch, x_channel,
              dt_batch, dt_channel, B_batch, B_state, C_batch, C_state, z_batch, z_channel,
              d_inner: tl.constexpr, d_state: tl.constexpr, N: tl.constexpr,
              BLOCK: tl.constexpr):
    """One step of the selective scan. Grid: (batch · blocks of channels,).

    N is d_state, or the next power of two. `x_batch`, `x_channel` and so on are strides.
    """
    batch, channel = locate_block(d_inner, BLOCK)
    n = tl.arange(0, N)
    exists = channel < d_inner
    state_exists = exists[:, None] & (n < d_state)[None, :]
    delta = tl.load(dt + batch * dt_batch + channel * dt_channel, exists, 0.0).to(tl.float32)
    delta = softplus(delta + tl.load(dt_bias + channel, exists, 0.0).to(tl.float32))
    x_t = tl.load(x + batch * x_batch + channel * x_channel, exists, 0.0).to(tl.float32)
    B_t = tl.load(B + batch * B_batch + n * B_state, n < d_state, 0.0).to(tl.float32)
    C_t = tl.load(C + batch * C_batch + n * C_state, n < d_state, 0.0).to(tl.float32)
    place = channel[:, None] * d_state + n[None, :]
    A_log_ = tl.load(A_log + place, state_exists, 0.0).to(tl.float32)
    A_log2e = -LOG2_E * tl.exp2(A_log_ * LOG2_E)
    offset = batch * d_inner * d_state + place
    h = tl.load(ssm_state + offset, state_exists, 0.0)
    h = decay(delta[:, None], A_log2e) * h + (delta * x_t)[:, None] * B_t[None, :]
    tl.store(new_state + offset, h, state_exists)
    y_t = tl.sum(h * C_t[None, :], 1) + tl.load(D + channel, exists, 0.0).to(tl.float32) * x_t
    if z is not None:
        gate = tl.load(z + batch * z_batch + channel * z_channel, exists, 0.0).to(tl.float32)
        y_t *= gate * sigmoid(gate)
    tl.store(y + batch * d_inner + channel, y_t.to(y.dtype.element_ty), exists)


@triton.jit
def add_rms_norm(residual, hidden_states, weight, total, normed, epsilon, d_model: tl.constexpr,
                 BLOCK: tl.constexpr):
    """The sum of residual and hidden_states, and its RMS norm. Grid: (batch,)."""
    feature = tl.arange(0, BLOCK)
    exists = feature < d_model
    offset = tl.program_id(0).to(tl.int64) * d_model + feature
    added = tl.load(hidden_states + offset, exists, 0.0)
    value = tl.load(residual + offset, exists, 0.0).to(tl.float32) + added
    value = value.to(total.dtype.element_ty)
    tl.store(total + offset, value, exists)
    # Rounded to the weight's dtype before the norm, as `add_norm` in nn/layers.py does.
    value = value.to(normed.dtype.element_ty).to(tl.float32)
    value *= 1.0 / tl.sqrt(tl.sum(value * value, 0) / d_model + epsilon)
    value = value * tl.load(weight + feature, exists, 0.0)
    tl.store(normed + offset, value.to(normed.dtype.element_ty), exists)
