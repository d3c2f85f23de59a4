"""State space duality in its two defining forms: a recurrence, and masked attention.

    h_t = α_t h_{t−1} + x_t B_tᵀ,      y_t = h_t C_t                    (linear in the length)
    y = (L ∘ C Bᵀ) x,      L_ts = α_{s+1} ⋯ α_t for s ≤ t, else 0       (quadratic in it)

(Dao and Gu 2024, arXiv:2405.21060, sections 3 and 5.) The matrix L, which is 1-semiseparable, is
the causal mask of attention with a decay in it. Here x is already multiplied by Δ, skip and gate
come later, and α_t = exp(Δ_t A), one number per head, is given by its logarithm. A logarithm of
−∞ erases the state: that is where the next of several packed sequences starts.
"""

import torch
from torch import Tensor


def recurrence(x: Tensor, log_decay: Tensor, B: Tensor, C: Tensor,
               h: Tensor) -> tuple[Tensor, Tensor]:
    """Run the recurrence one step at a time: the definition of a correct result.

    Args:
        x: (batch, length, n_heads, head_dim), the input times Δ.
        log_decay: (batch, length, n_heads), log α.
        B: (batch, length, n_groups, d_state); neighboring heads share a group.
        C: (batch, length, n_groups, d_state).
        h: (batch, n_heads, head_dim, d_state), the state before the first step.

    Returns:
        y, of x's shape, and the state after the last step.
    """
    B, C = (_per_head(t, x) for t in (B, C))
    outputs = []
    for x_t, decay_t, B_t, C_t in zip(x.unbind(1), log_decay.exp().unbind(1), B.unbind(1),
                                      C.unbind(1), strict=True):
        h = decay_t[..., None, None] * h + x_t[..., None] * B_t[:, :, None]
        outputs.append((h * C_t[:, :, None]).sum(-1))
    # A copy, which the caller may change in place: h * C_t keeps h for its gradient.
    return torch.stack(outputs, 1), h.clone()


def quadratic(x: Tensor, log_decay: Tensor, B: Tensor, C: Tensor,
              h: Tensor) -> tuple[Tensor, Tensor]:
    """Compute all outputs at once, as attention whose mask decays.

    Args:
        x: (batch, length, n_heads, head_dim), the input times Δ.
        log_decay: (batch, length, n_heads), log α.
        B: (batch, length, n_groups, d_state), the keys.
        C: (batch, length, n_groups, d_state), the queries.
        h: (batch, n_heads, head_dim, d_state), the state before the first step.

    Returns:
        y, of x's shape, and the state after the last step.
    """
    B, C = (_per_head(t, x) for t in (B, C))
    mask = decay_mask(log_decay.mT)                         # (batch, n_heads, length, length)
    scores = mask * torch.einsum("bthn,bshn->bhts", C, B)
    from_start = log_decay.cumsum(1).exp()
    y = torch.einsum("bhts,bshp->bthp", scores, x)
    y = y + from_start[..., None] * torch.einsum("bthn,bhpn->bthp", C, h)
    to_end = mask[:, :, -1].mT[..., None]                   # (batch, length, n_heads, 1)
    added = torch.einsum("bshp,bshn->bhpn", to_end * x, B)
    return y, from_start[:, -1, :, None, None] * h + added


def decay_mask(log_decay: Tensor) -> Tensor:
    """Compute the mask L: how much of step s is left at step t.

    Every entry is summed from its own terms, since the difference of two cumulative sums would
    have the rounding errors of sums over the whole past, and would be ∞ − ∞ between sequences.

    Args:
        log_decay: (…, length), log α.

    Returns:
        (…, length, length), exp of the sum of log_decay from s + 1 to t; 0 for s > t.
    """
    length = log_decay.shape[-1]
    after = log_decay.new_ones(length, length, dtype=torch.bool).tril(-1)      # t > s
    terms = log_decay[..., None].expand(*log_decay.shape, length).masked_fill(~after, 0)
    # Masked before the exponential, whose gradient would be 0 · ∞ at an overflow.
    return terms.cumsum(-2).masked_fill(after.mT, -torch.inf).exp()


def _per_head(t: Tensor, x: Tensor) -> Tensor:
    """Repeat B or C for all heads of a group."""
    return t.repeat_interleave(x.shape[2] // t.shape[2], 2)
