"""The RMS norm before a mixer as Triton kernels, `forward` and `backward`.

A row fits into the registers of a program, which therefore reads everything once. The backward
kernel computes the root mean square again, and adds the gradient that comes along the residual
connection.

| tensor | shape, contiguous |
|---|---|
| x, normed, d_normed, d_residual, dx | (rows, SIZE) |
| weight | (SIZE,) |
| sums | (blocks of rows, SIZE), float32 |
"""

import triton
import triton.language as tl

from minimamba.ops.gated_norm_kernels import inverse_rms, load, store


@triton.jit
def load_row(x, weight, offset, exists):
    """Features of the residual stream in float32, rounded to the dtype of the weight first, as for
    PyTorch's norm."""
    return tl.load(x + offset, exists, 0.0).to(weight.dtype.element_ty).to(tl.float32)


@triton.jit
def forward(x, weight, normed, SIZE: tl.constexpr, BLOCK: tl.constexpr, EPSILON: tl.constexpr):
    """One row. Grid: (rows,). BLOCK is SIZE, or the next power of two."""
    feature = tl.arange(0, BLOCK)
    exists = feature < SIZE
    offset = tl.program_id(0).to(tl.int64) * SIZE + feature
    value = load_row(x, weight, offset, exists)
    value *= inverse_rms(value, SIZE, EPSILON)
    store(normed, offset, value * load(weight, feature, exists), exists)


@triton.jit(do_not_specialize=["rows"])
def backward(x, weight, d_normed, d_residual, dx, sums, rows, SIZE: tl.constexpr,
             BLOCK: tl.constexpr, ROWS: tl.constexpr, EPSILON: tl.constexpr):
    """ROWS rows, one after another. Grid: (blocks of rows,). `sums` receives this program's part of
    the gradient of the weight."""
    block = tl.program_id(0).to(tl.int64)
    feature = tl.arange(0, BLOCK)
    exists = feature < SIZE
    weight_ = load(weight, feature, exists)
    d_weight = tl.zeros((BLOCK,), tl.float32)
    first = block * ROWS
    for i in range(0, tl.minimum(rows - first, ROWS)):
        offset = (first + i) * SIZE + feature
        value = load_row(x, weight, offset, exists)
        d_scaled = load(d_normed, offset, exists)
        scale = inverse_rms(value, SIZE, EPSILON)
        value *= scale
        d_weight += d_scaled * value
        d_scaled *= weight_
        d_value = scale * (d_scaled - value * (tl.sum(d_scaled * value, 0) / SIZE))
        store(dx, offset, d_value + load(d_residual, offset, exists), exists)
    tl.store(sums + block * SIZE + feature, d_weight, exists)
