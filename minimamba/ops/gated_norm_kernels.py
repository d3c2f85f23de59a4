"""The gated RMS norm as Triton kernels, `forward` and `backward`.

A group of a row fits into the registers of a program, which therefore reads everything once. The
backward kernel computes the root mean square again and saves the forward one from writing it.

| tensor | shape in memory |
|---|---|
| x, z, dy, dz | (rows, groups · SIZE), rows `x_row`, `z_row`, … elements apart |
| y, dx, y_again | (rows, groups · SIZE), contiguous |
| weight | (groups · SIZE,) |
| sums | (blocks of rows, groups · SIZE), float32 |
"""

import triton
import triton.language as tl

from minimamba.scan.triton.lanes import sigmoid


@triton.jit
def load(pointer, offset, exists):
    """Features in float32; 0 beyond the last."""
    return tl.load(pointer + offset, exists, 0.0).to(tl.float32)


@triton.jit
def store(pointer, offset, value, exists):
    """Features, rounded to the dtype of the tensor."""
    tl.store(pointer + offset, value.to(pointer.dtype.element_ty), exists)


@triton.jit
def inverse_rms(value, SIZE: tl.constexpr, EPSILON: tl.constexpr):
    """1 / √(mean of the squares + EPSILON)."""
    return 1.0 / tl.sqrt(tl.sum(value * value, 0) / SIZE + EPSILON)


@triton.jit
def forward(x, z, weight, y, x_row: tl.constexpr, z_row: tl.constexpr, groups: tl.constexpr,
            SIZE: tl.constexpr, BLOCK: tl.constexpr, EPSILON: tl.constexpr,
            NORM_FIRST: tl.constexpr):
    """One group of one row. Grid: (rows · groups,). BLOCK is SIZE, or the next power of two."""
    row = (tl.program_id(0) // groups).to(tl.int64)
    feature = tl.program_id(0) % groups * SIZE + tl.arange(0, BLOCK)
    exists = tl.arange(0, BLOCK) < SIZE
    value = load(x, row * x_row + feature, exists)
    gate = load(z, row * z_row + feature, exists)
    gate *= sigmoid(gate)
    if not NORM_FIRST:
        value *= gate
    value *= inverse_rms(value, SIZE, EPSILON)
    value *= load(weight, feature, exists)
    if NORM_FIRST:
        value *= gate
    store(y, row * (groups * SIZE) + feature, value, exists)


@triton.jit(do_not_specialize=["rows"])
def backward(x, z, weight, dy, dx, dz, sums, y_again, rows, x_row: tl.constexpr,
             z_row: tl.constexpr, dy_row: tl.constexpr, dz_row: tl.constexpr,
             groups: tl.constexpr, SIZE: tl.constexpr, BLOCK: tl.constexpr, ROWS: tl.constexpr,
             EPSILON: tl.constexpr, NORM_FIRST: tl.constexpr):
    """One group of ROWS rows, one after another. Grid: (blocks of rows · groups,).

    `sums` receives this program's part of the gradient of the weight, and `y_again`, unless it is
    None, what `forward` computes.
    """
    block = (tl.program_id(0) // groups).to(tl.int64)
    feature = tl.program_id(0) % groups * SIZE + tl.arange(0, BLOCK)
    exists = tl.arange(0, BLOCK) < SIZE
    weight_ = load(weight, feature, exists)
    d_weight = tl.zeros((BLOCK,), tl.float32)
    first = block * ROWS
    for i in range(0, tl.minimum(rows - first, ROWS)):
        row = first + i
        own = row * (groups * SIZE) + feature
        x_ = load(x, row * x_row + feature, exists)
        z_ = load(z, row * z_row + feature, exists)
        dy_ = load(dy, row * dy_row + feature, exists)
        gate = sigmoid(z_)
        silu = z_ * gate
        value = x_
        d_scaled = dy_
        if NORM_FIRST:
            d_scaled *= silu
        else:
            value *= silu
        scale = inverse_rms(value, SIZE, EPSILON)
        normed = value * scale
        d_weight += d_scaled * normed
        d_normed = d_scaled * weight_
        d_value = scale * (d_normed - normed * (tl.sum(d_normed * normed, 0) / SIZE))
        y_ = normed * weight_
        if NORM_FIRST:
            d_silu = dy_ * y_
            y_ *= silu
        else:
            d_silu = d_value * x_
            d_value *= silu
        store(dx, own, d_value, exists)
        store(dz, row * dz_row + feature, d_silu * (gate + silu * (1.0 - gate)), exists)
        if y_again is not None:
            store(y_again, own, y_, exists)
    tl.store(sums + block * (groups * SIZE) + feature, d_weight, exists)
