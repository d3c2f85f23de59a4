"""Mamba-2's scan as a Triton kernel without tricks: the one to read first, and to write.

Chapter 12 builds it. One program takes the four steps of `ssd/chunked.py` for one chunk of a head
after another, with the state h in registers (Dao and Gu 2024, arXiv:2405.21060, section 6).

| tensor | shape in memory |
|---|---|
| x, y | (batch, length, n_heads, head_dim), float32; x is already multiplied by Δ |
| log_decay | (batch, length, n_heads), float32: Δ A |
| B, C | (batch, length, d_state), float32, shared by all heads |
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

CHUNK = 64
"""Steps that a program computes at once."""


@triton.jit
def matmul(a, b):
    """a b in float32; without the option, tensor cores round their factors to 10 bits."""
    return tl.dot(a, b, input_precision="ieee")


@triton.jit
def ssd_kernel(x, log_decay, B, C, y, length, n_heads, Q: tl.constexpr, P: tl.constexpr,
               N: tl.constexpr):
    """y. Grid: (batch, n_heads). Q steps per chunk, P = head_dim and N = d_state: powers of two."""
    batch = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1)
    i, p, n = tl.arange(0, Q), tl.arange(0, P), tl.arange(0, N)
    h = tl.zeros((N, P), tl.float32)         # the state, transposed
    for start in range(0, length, Q):
        exists = start + i < length          # beyond: no input, and no decay
        step = batch * length + start + i
        place = (step * n_heads + head)[:, None] * P + p[None, :]
        x_c = tl.load(x + place, exists[:, None], 0.0)                            # (Q, P)
        a_c = tl.load(log_decay + step * n_heads + head, exists, 0.0)             # (Q,)
        B_c = tl.load(B + step[:, None] * N + n[None, :], exists[:, None], 0.0)   # (Q, N)
        C_c = tl.load(C + step[:, None] * N + n[None, :], exists[:, None], 0.0)   # (Q, N)
        cum = tl.cumsum(a_c, 0)
        total = tl.sum(a_c, 0)
        exponent = tl.where(i[:, None] >= i[None, :], cum[:, None] - cum[None, :], float("-inf"))
        scores = tl.exp(exponent) * matmul(C_c, tl.trans(B_c))                    # (Q, Q)
        y_c = matmul(scores, x_c) + tl.exp(cum)[:, None] * matmul(C_c, h)
        to_end = tl.exp(total - cum)[:, None]
        h = tl.exp(total) * h + matmul(tl.trans(B_c), to_end * x_c)
        tl.store(y + place, y_c, exists[:, None])


def ssd_minimal(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """Run Mamba-2's scan by the kernel of this module.

    For reading and comparing; `minimamba.ssd` checks its arguments, is faster and has gradients.

    Args:
        x: (batch, length, n_heads, head_dim), float32, on a GPU, or on a CPU with
            TRITON_INTERPRET=1; head_dim is a power of two, 16 or more.
        dt: (batch, length, n_heads), the step Δ.
        A: (n_heads,).
        B: (batch, length, 1, d_state); d_state is a power of two, 16 or more.
        C: (batch, length, 1, d_state).

    Returns:
        y, of x's shape and dtype.
    """
    batch, length, n_heads, head_dim = x.shape
    y = torch.empty_like(x, memory_format=torch.contiguous_format)
    ssd_kernel[batch, n_heads]((dt[..., None] * x).contiguous(), (dt * A).contiguous(),
                               B.contiguous(), C.contiguous(), y, length, n_heads, Q=CHUNK,
                               P=head_dim, N=B.shape[3])
    return y
