"""State space duality in chunks: attention within a chunk, the recurrence between chunks.

The mask L of `reference.py` is cut into blocks. Those on its diagonal are attention among the
steps of one chunk. Each block below has rank d_state: what a chunk adds to the state, times the
decay of the chunks between, read by a later chunk. So four steps suffice (Dao and Gu 2024,
arXiv:2405.21060, section 6), all of them matrix products but the third, a loop over the chunks.
"""

import torch
from torch import Tensor
from torch.nn.functional import pad

from minimamba.ssd.reference import decay_mask

CHUNK_SIZE = 64
"""Steps per chunk. Larger chunks mean more attention; smaller ones, more states in memory."""


def scan(x: Tensor, log_decay: Tensor, B: Tensor, C: Tensor, h: Tensor,
         chunk_size: int = CHUNK_SIZE) -> tuple[Tensor, Tensor]:
    """Compute what `reference.recurrence` does, chunk by chunk.

    Args:
        x: (batch, length, n_heads, head_dim), the input times Δ.
        log_decay: (batch, length, n_heads), log α; −∞ where another sequence starts.
        B: (batch, length, n_groups, d_state); neighboring heads share a group.
        C: (batch, length, n_groups, d_state).
        h: (batch, n_heads, head_dim, d_state), the state before the first step.
        chunk_size: steps per chunk; the last chunk may have fewer.

    Returns:
        y, of x's shape, and the state after the last step.
    """
    length, _, head_dim = x.shape[1:]
    n_groups = B.shape[2]
    x, log_decay, B, C = (_chunks(t, min(chunk_size, length)) for t in (x, log_decay, B, C))
    B, C = (t.transpose(2, 3) for t in (B, C))  # (batch, chunks, n_groups, chunk_size, d_state)

    # 1. Within chunks: masked attention. C Bᵀ is the same for all heads of a group.
    mask = decay_mask(log_decay.mT)             # (batch, chunks, n_heads, chunk_size, chunk_size)
    scores = ((C @ B.mT)[:, :, :, None] * mask.unflatten(2, (n_groups, -1))).flatten(2, 3)
    y_within = (scores @ x.transpose(2, 3)).transpose(2, 3)

    # 2. What each chunk adds to the state by its end, with all heads of a group side by side.
    to_end = mask[..., -1, :].mT[..., None]
    added = B.mT @ _by_group(to_end * x, n_groups)          # (…, d_state, heads · head_dim)

    # 3. Between chunks: the recurrence, for the state that enters each chunk.
    from_start = log_decay.cumsum(2).exp()
    total = from_start[:, :, -1, :, None].expand(-1, -1, -1, head_dim)
    total = total.unflatten(2, (n_groups, -1)).flatten(3)[..., None, :]
    h = h.unflatten(1, (n_groups, -1)).flatten(2, 3).mT
    entering = []
    for added_c, total_c in zip(added.unbind(1), total.unbind(1), strict=True):
        entering.append(h)
        h = torch.addcmul(added_c, total_c, h)

    # 4. What the entering state adds to the outputs.
    y_entering = (C @ torch.stack(entering, 1)).transpose(2, 3).reshape(x.shape)
    y = torch.addcmul(y_within, from_start[..., None], y_entering)
    last_state = h.mT.unflatten(2, (-1, head_dim)).flatten(1, 2)
    return y.flatten(1, 2)[:, :length], last_state.contiguous()


def _chunks(t: Tensor, size: int) -> Tensor:
    """Cut the time axis into chunks: (batch, chunks, size, …).

    The last is filled up with zeros, which leave the state as it is: no input, and no decay.
    """
    missing = -t.shape[1] % size
    if missing:
        t = pad(t, (0, 0) * (t.ndim - 2) + (0, missing))
    return t.unflatten(1, (-1, size))


def _by_group(x: Tensor, n_groups: int) -> Tensor:
    """Reshape (batch, chunks, size, n_heads, head_dim) to (batch, chunks, n_groups, size, heads ·
    head_dim)."""
    return x.unflatten(3, (n_groups, -1)).flatten(4).transpose(2, 3)
