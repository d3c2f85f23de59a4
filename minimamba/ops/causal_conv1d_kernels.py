"""The causal convolution with its SiLU as Triton kernels, `forward` and `backward`.

A program, which is one warp, walks along STEPS steps of CHANNELS channels of one sequence, AT_ONCE
steps at a time. It reads each input once, and keeps those that later outputs need in registers: the
*window*.

| tensor | shape in memory |
|---|---|
| x, dy, dx | (batch, length, d_inner), rows `x_row`, `dy_row` and `dx_row` elements apart |
| y | (batch, length, d_inner), contiguous, and so are the next two |
| conv_state | (batch, WIDTH − 1, d_inner), or None for zeros |
| weight | (d_inner, WIDTH) |
"""

import triton
import triton.language as tl

from minimamba.scan.triton.lanes import sigmoid

BLOCK_COUNTS = ("length", "channel_blocks", "step_blocks")
"""Arguments whose value should not lead to a kernel of its own."""
AT_ONCE = tl.constexpr(4)
"""Steps whose inputs are loaded before any is used, so that a program waits for memory once."""


@triton.jit
def locate_block(channel_blocks, step_blocks, STEPS: tl.constexpr, CHANNELS: tl.constexpr):
    """The sequence, the first step and the channels (CHANNELS,) of a program.

    The grid has one side, since CUDA limits the second and the third to 65,535 programs.
    """
    program = tl.program_id(0)
    channel = program % channel_blocks * CHANNELS + tl.arange(0, CHANNELS)
    row = program // channel_blocks
    return (row // step_blocks).to(tl.int64), row % step_blocks * STEPS, channel


@triton.jit
def load_row(pointer, row, channel, stride, exists):
    """One row of a matrix (rows, d_inner) in float32."""
    return tl.load(pointer + row * stride + channel, exists, 0.0).to(tl.float32)


@triton.jit
def load_rows(pointer, sequence, step, channel, stride, length, d_inner):
    """AT_ONCE steps of (batch, length, d_inner) from `step` on, as a tuple; 0 beyond the length."""
    rows = ()
    for i in tl.static_range(AT_ONCE):
        rows = rows + (load_row(pointer, sequence * length + step + i, channel, stride,
                                (channel < d_inner) & (step + i < length)),)
    return rows


@triton.jit
def load_window(x, conv_state, sequence, first, channel, x_row, length, d_inner,
                WIDTH: tl.constexpr):
    """The WIDTH − 1 inputs before step `first`, as a tuple: before the first step of all they are
    those of conv_state."""
    exists = channel < d_inner
    window = ()
    for k in tl.static_range(WIDTH - 1):
        step = first - (WIDTH - 1) + k
        value = load_row(x, sequence * length + step, channel, x_row, exists & (step >= 0))
        if conv_state is not None:
            row = sequence * (WIDTH - 1) + WIDTH - 1 + step
            value += load_row(conv_state, row, channel, d_inner, exists & (step < 0))
        window = window + (value,)
    return window


@triton.jit
def load_weights(weight, bias, channel, d_inner, WIDTH: tl.constexpr):
    """The bias, or zeros, and a tuple of the WIDTH weights, each (CHANNELS,)."""
    exists = channel < d_inner
    bias_ = tl.zeros(channel.shape, tl.float32)
    if bias is not None:
        bias_ += tl.load(bias + channel, exists, 0.0).to(tl.float32)
    weights = ()
    for k in tl.static_range(WIDTH):
        weights = weights + (tl.load(weight + channel * WIDTH + k, exists, 0.0).to(tl.float32),)
    return bias_, weights


@triton.jit
def weighted_sum(total, weights, inputs, WIDTH: tl.constexpr):
    """total + Σ_k weights_k inputs_k."""
    for k in tl.static_range(WIDTH):
        total = total + weights[k] * inputs[k]
    return total


@triton.jit(do_not_specialize=BLOCK_COUNTS)
def forward(x, weight, bias, conv_state, y, length, d_inner, channel_blocks, step_blocks,
            x_row: tl.constexpr, WIDTH: tl.constexpr, STEPS: tl.constexpr,
            CHANNELS: tl.constexpr):
    """y of one block. Grid: (batch · blocks of steps · blocks of channels,)."""
    sequence, first, channel = locate_block(channel_blocks, step_blocks, STEPS, CHANNELS)
    exists = channel < d_inner
    bias_, weights = load_weights(weight, bias, channel, d_inner, WIDTH)
    window = load_window(x, conv_state, sequence, first, channel, x_row, length, d_inner,
                         WIDTH)
    for start in range(first, tl.minimum(first + STEPS, length), AT_ONCE):
        rows = load_rows(x, sequence, start, channel, x_row, length, d_inner)
        for i in tl.static_range(AT_ONCE):
            inputs = window + (rows[i],)
            total = weighted_sum(bias_, weights, inputs, WIDTH)
            tl.store(y + (sequence * length + start + i) * d_inner + channel,
                     (total * sigmoid(total)).to(y.dtype.element_ty),
                     exists & (start + i < length))
            window = inputs[1:]


@triton.jit(do_not_specialize=BLOCK_COUNTS)
def backward(x, weight, bias, conv_state, dy, dx, d_conv_state, sums, length, d_inner,
             channel_blocks, step_blocks, x_row: tl.constexpr, dy_row: tl.constexpr,
             dx_row: tl.constexpr, WIDTH: tl.constexpr, STEPS: tl.constexpr,
             CHANNELS: tl.constexpr):
    """All gradients of one block. Grid: (batch · blocks of steps · blocks of channels,).

    An input gets its gradient from the WIDTH outputs it contributes to, so that the walk goes on
    for WIDTH − 1 steps more; what is before the SiLU is computed again. `sums`, (batch, blocks of
    steps, WIDTH + 1, d_inner), receives this program's part of the gradients of the weights and,
    last, of the bias.
    """
    sequence, first, channel = locate_block(channel_blocks, step_blocks, STEPS, CHANNELS)
    exists = channel < d_inner
    bias_, weights = load_weights(weight, bias, channel, d_inner, WIDTH)
    window = load_window(x, conv_state, sequence, first, channel, x_row, length, d_inner,
                         WIDTH)
    zero = tl.zeros(channel.shape, tl.float32)
    d_window = ()  # gradients of the sums at the WIDTH − 1 steps before
    d_weights = ()
    d_bias = zero
    reversed_weights = ()
    for k in tl.static_range(WIDTH):
        d_weights = d_weights + (zero,)
        reversed_weights = reversed_weights + (weights[WIDTH - 1 - k],)
        if k > 0:
            d_window = d_window + (zero,)
    end = tl.minimum(first + STEPS, length)
    for start in range(first, end + WIDTH - 1, AT_ONCE):
        x_rows = load_rows(x, sequence, start, channel, x_row, length, d_inner)
        dy_rows = load_rows(dy, sequence, start, channel, dy_row, length, d_inner)
        for i in tl.static_range(AT_ONCE):
            step = start + i
            inputs = window + (x_rows[i],)
            total = weighted_sum(bias_, weights, inputs, WIDTH)
            gate = sigmoid(total)
            d_total = dy_rows[i] * gate * (1 + total * (1 - gate))
            d_totals = d_window + (d_total,)
            own = tl.where(step < end, d_total, 0.0)  # the others belong to the next block
            d_bias += own
            new_d_weights = ()
            for k in tl.static_range(WIDTH):
                new_d_weights = new_d_weights + (d_weights[k] + own * inputs[k],)
            d_weights = new_d_weights
            d_input = weighted_sum(zero, reversed_weights, d_totals, WIDTH)
            before = step - (WIDTH - 1)  # the input whose last output this is
            tl.store(dx + (sequence * length + before) * dx_row + channel,
                     d_input.to(dx.dtype.element_ty), exists & (before >= first) & (before < end))
            if WIDTH > 1:
                tl.store(d_conv_state + (sequence * (WIDTH - 1) + step) * d_inner + channel,
                         d_input.to(d_conv_state.dtype.element_ty), exists & (before < 0))
            window = inputs[1:]
            d_window = d_totals[1:]
    row = (sequence * step_blocks + first // STEPS) * (WIDTH + 1)
    for k in tl.static_range(WIDTH):
        tl.store(sums + (row + k) * d_inner + channel, d_weights[k], exists)
    tl.store(sums + (row + WIDTH) * d_inner + channel, d_bias, exists)
