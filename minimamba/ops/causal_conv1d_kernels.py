"""The causal convolution with its SiLU as Triton kernels, `forward` and `backward`.

A program computes a tile: TILE_STEPS steps of TILE_CHANNELS channels of one sequence. It loads each
input once for each of the WIDTH outputs it contributes to; all but the first load hit the cache.

| tensor | shape in memory |
|---|---|
| x, y | (batch, length, d_inner) |
| conv_state | (batch, WIDTH − 1, d_inner), or None for zeros |
| weight | (d_inner, WIDTH) |
"""

import triton
import triton.language as tl

from minimamba.scan.triton.lanes import sigmoid

BLOCK_COUNTS = ("channel_blocks", "step_blocks")
"""Arguments whose value should not lead to a kernel of its own."""


@triton.jit
def locate_tile(first_step, channel_blocks, step_blocks, TILE_STEPS: tl.constexpr,
                TILE_CHANNELS: tl.constexpr):
    """The sequence, the steps (TILE_STEPS, 1) and the channels (1, TILE_CHANNELS) of a program.

    The grid has one side, since CUDA limits the second and the third to 65,535 programs.
    """
    program = tl.program_id(0)
    channel = program % channel_blocks * TILE_CHANNELS + tl.arange(0, TILE_CHANNELS)
    row = program // channel_blocks
    step = first_step + row % step_blocks * TILE_STEPS + tl.arange(0, TILE_STEPS)
    return (row // step_blocks).to(tl.int64), step[:, None], channel[None, :]


@triton.jit
def load_input(x, conv_state, batch, step, channel, length, d_inner, WIDTH: tl.constexpr):
    """x at some steps: from conv_state before the first one, and zero beyond the last."""
    exists = channel < d_inner
    value = tl.load(x + (batch * length + step) * d_inner + channel,
                    exists & (step >= 0) & (step < length), 0.0).to(tl.float32)
    if conv_state is not None and WIDTH > 1:
        before = conv_state + (batch * (WIDTH - 1) + WIDTH - 1 + step) * d_inner + channel
        value += tl.load(before, exists & (step < 0) & (step > -WIDTH), 0.0).to(tl.float32)
    return value


@triton.jit
def load_weights(weight, bias, channel, d_inner, WIDTH: tl.constexpr):
    """The bias, or zeros, and a tuple of the WIDTH weights, each (1, TILE_CHANNELS)."""
    exists = channel < d_inner
    bias_ = tl.zeros(channel.shape, tl.float32)
    if bias is not None:
        bias_ += tl.load(bias + channel, exists, 0.0).to(tl.float32)
    weights = ()
    for k in tl.static_range(WIDTH):
        weights = weights + (tl.load(weight + channel * WIDTH + k, exists, 0.0).to(tl.float32),)
    return bias_, weights


@triton.jit(do_not_specialize=BLOCK_COUNTS)
def forward(x, weight, bias, conv_state, y, length, d_inner, channel_blocks, step_blocks,
            WIDTH: tl.constexpr, TILE_STEPS: tl.constexpr, TILE_CHANNELS: tl.constexpr):
    """y of one tile. Grid: (batch · blocks of steps · blocks of channels,)."""
    batch, step, channel = locate_tile(0, channel_blocks, step_blocks, TILE_STEPS, TILE_CHANNELS)
    total, weights = load_weights(weight, bias, channel, d_inner, WIDTH)
    for k in tl.static_range(WIDTH):
        total = total + weights[k] * load_input(x, conv_state, batch, step - (WIDTH - 1) + k,
                                                channel, length, d_inner, WIDTH)
    tl.store(y + (batch * length + step) * d_inner + channel,
             (total * sigmoid(total)).to(y.dtype.element_ty),
             (step < length) & (channel < d_inner))


@triton.jit(do_not_specialize=BLOCK_COUNTS)
def backward(x, weight, bias, conv_state, dy, dx, d_conv_state, sums, length, d_inner,
             channel_blocks, step_blocks, WIDTH: tl.constexpr, TILE_STEPS: tl.constexpr,
             TILE_CHANNELS: tl.constexpr):
    """All gradients of one tile. Grid: (batch · blocks of steps · blocks of channels,).

    `sums`, (batch, blocks of steps, WIDTH + 1, d_inner), receives this program's part of the
    gradients of the weights and, last, of the bias. The gradient of an input comes from the WIDTH
    outputs it contributes to, whose sums before the SiLU are recomputed. Steps begin at 1 − WIDTH,
    so that the first tile covers conv_state.
    """
    batch, step, channel = locate_tile(1 - WIDTH, channel_blocks, step_blocks, TILE_STEPS,
                                       TILE_CHANNELS)
    bias_, weights = load_weights(weight, bias, channel, d_inner, WIDTH)
    exists = channel < d_inner
    inputs = ()
    for k in tl.static_range(2 * WIDTH - 1):
        inputs = inputs + (load_input(x, conv_state, batch, step - (WIDTH - 1) + k, channel,
                                      length, d_inner, WIDTH),)
    d_input = tl.zeros((TILE_STEPS, TILE_CHANNELS), tl.float32)
    row = (tl.program_id(0) // channel_blocks).to(tl.int64) * (WIDTH + 1) * d_inner + channel
    for later in tl.static_range(WIDTH):
        total = bias_
        for k in tl.static_range(WIDTH):
            total = total + weights[k] * inputs[later + k]
        gate = sigmoid(total)
        d_y = tl.load(dy + (batch * length + step + later) * d_inner + channel,
                      exists & (step + later >= 0) & (step + later < length), 0.0).to(tl.float32)
        d_total = d_y * gate * (1 + total * (1 - gate))
        d_input += weights[WIDTH - 1 - later] * d_total
        if later == 0:
            for k in tl.static_range(WIDTH):
                tl.store(sums + row + k * d_inner, tl.sum(d_total * inputs[k], 0)[None, :],
                         exists)
            tl.store(sums + row + WIDTH * d_inner, tl.sum(d_total, 0)[None, :], exists)
    tl.store(dx + (batch * length + step) * d_inner + channel, d_input.to(dx.dtype.element_ty),
             exists & (step >= 0) & (step < length))
    if WIDTH > 1:
        before = d_conv_state + (batch * (WIDTH - 1) + WIDTH - 1 + step) * d_inner + channel
        tl.store(before, d_input.to(d_conv_state.dtype.element_ty), exists & (step < 0))
