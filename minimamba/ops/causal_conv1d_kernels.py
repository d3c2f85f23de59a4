"""The causal convolution with its SiLU as Triton kernels, `forward` and `backward`.

A program has a tile: STEPS steps of CHANNELS channels of one sequence. What a step looks back at it
loads again for each of the WIDTH steps that it looks at; all but the first time it is in the cache.
In memory: x, y (batch, length, d_inner), inputs (batch, WIDTH − 1, d_inner), zeros if there are
none, weight (d_inner, WIDTH).
"""

import triton
import triton.language as tl

from minimamba.scan.triton.kernels import sigmoid


@triton.jit
def tile(first, STEPS: tl.constexpr, CHANNELS: tl.constexpr):
    """The sequence, the steps (STEPS, 1) and the channels (1, CHANNELS) of a program."""
    channel = tl.program_id(0) * CHANNELS + tl.arange(0, CHANNELS)
    step = first + tl.program_id(1) * STEPS + tl.arange(0, STEPS)
    return tl.program_id(2).to(tl.int64), step[:, None], channel[None, :]


@triton.jit
def at(x, inputs, batch, step, channel, length, d_inner, WIDTH: tl.constexpr):
    """x at some steps, before its first what came before, zeros beyond its last."""
    there = channel < d_inner
    value = tl.load(x + (batch * length + step) * d_inner + channel,
                    there & (step >= 0) & (step < length), 0.0).to(tl.float32)
    if inputs is not None and WIDTH > 1:
        before = inputs + (batch * (WIDTH - 1) + WIDTH - 1 + step) * d_inner + channel
        value += tl.load(before, there & (step < 0) & (step > -WIDTH), 0.0).to(tl.float32)
    return value


@triton.jit
def weights(weight, bias, channel, d_inner, WIDTH: tl.constexpr):
    """The bias, and the WIDTH weights, each (1, CHANNELS)."""
    there = channel < d_inner
    start = tl.zeros(channel.shape, tl.float32)
    if bias is not None:
        start += tl.load(bias + channel, there, 0.0).to(tl.float32)
    w = ()
    for k in tl.static_range(WIDTH):
        w = w + (tl.load(weight + channel * WIDTH + k, there, 0.0).to(tl.float32),)
    return start, w


@triton.jit
def forward(x, weight, bias, inputs, y, length, d_inner, WIDTH: tl.constexpr,
            STEPS: tl.constexpr, CHANNELS: tl.constexpr):
    batch, step, channel = tile(0, STEPS, CHANNELS)
    total, w = weights(weight, bias, channel, d_inner, WIDTH)
    for k in tl.static_range(WIDTH):
        seen = at(x, inputs, batch, step - (WIDTH - 1) + k, channel, length, d_inner, WIDTH)
        total = total + w[k] * seen
    tl.store(y + (batch * length + step) * d_inner + channel,
             (total * sigmoid(total)).to(y.dtype.element_ty),
             (step < length) & (channel < d_inner))


@triton.jit
def backward(x, weight, bias, inputs, dy, dx, d_inputs, sums, length, d_inner,
             WIDTH: tl.constexpr, STEPS: tl.constexpr, CHANNELS: tl.constexpr):
    """`sums`, (batch, tiles, WIDTH + 1, d_inner), are the tiles' parts of the gradients of the
    weights and, last, of the bias. What a step hands back comes from the WIDTH steps that look at
    it, whose sums before the SiLU are made again; the first tile begins with what came before."""
    batch, step, channel = tile(1 - WIDTH, STEPS, CHANNELS)
    start, w = weights(weight, bias, channel, d_inner, WIDTH)
    there = channel < d_inner
    seen = ()
    for k in tl.static_range(2 * WIDTH - 1):
        seen = seen + (at(x, inputs, batch, step - (WIDTH - 1) + k, channel, length, d_inner,
                          WIDTH),)
    back = tl.zeros((STEPS, CHANNELS), tl.float32)
    place = (batch * tl.num_programs(1) + tl.program_id(1)) * (WIDTH + 1) * d_inner + channel
    for later in tl.static_range(WIDTH):
        total = start
        for k in tl.static_range(WIDTH):
            total = total + w[k] * seen[later + k]
        opened = sigmoid(total)
        d_y = tl.load(dy + (batch * length + step + later) * d_inner + channel,
                      there & (step + later >= 0) & (step + later < length), 0.0).to(tl.float32)
        d_total = d_y * opened * (1 + total * (1 - opened))
        back += w[WIDTH - 1 - later] * d_total
        if later == 0:
            for k in tl.static_range(WIDTH):
                tl.store(sums + place + k * d_inner, tl.sum(d_total * seen[k], 0)[None, :], there)
            tl.store(sums + place + WIDTH * d_inner, tl.sum(d_total, 0)[None, :], there)
    tl.store(dx + (batch * length + step) * d_inner + channel, back.to(dx.dtype.element_ty),
             there & (step >= 0) & (step < length))
    if WIDTH > 1:
        tl.store(d_inputs + (batch * (WIDTH - 1) + WIDTH - 1 + step) * d_inner + channel,
                 back.to(d_inputs.dtype.element_ty), there & (step < 0))
