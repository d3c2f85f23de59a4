"""The selective scan as a loop over time: the definition of a correct result.

    h_t = exp(Δ_t A) h_{t−1} + Δ_t B_t x_t,      y_t = ⟨C_t, h_t⟩ + D x_t,      y_t silu(z_t)

(Gu and Dao 2023, arXiv:2312.00752, algorithm 2, with the official code's ΔB.) Every faster
method in this package is tested against this one.
"""

import torch
from torch import Tensor
from torch.nn.functional import silu, softplus


def scan(x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None,
         z: Tensor | None, *, delta_bias: Tensor | None, delta_softplus: bool,
         initial_state: Tensor | None) -> tuple[Tensor, Tensor]:
    """Run the selective scan one step at a time.

    `minimamba.selective_scan` has checked the arguments; all tensors are already in the dtype
    of the hidden state.

    Args:
        x: (batch, length, d_inner).
        delta: (batch, length, d_inner), before bias and softplus.
        A: (d_inner, d_state).
        B: (batch, length, groups, d_state); neighboring channels share a group.
        C: (batch, length, groups, d_state); may have other groups than B.
        D: (d_inner,) or None, the skip connection.
        z: (batch, length, d_inner) or None, the gate.
        delta_bias: (d_inner,) or None, added to delta.
        delta_softplus: whether Δ = softplus(delta + delta_bias).
        initial_state: (batch, d_inner, d_state); None for zeros.

    Returns:
        y (batch, length, d_inner) and the last state (batch, d_inner, d_state).
    """
    batch, _, d_inner = x.shape
    h = x.new_zeros(batch, d_inner, A.shape[1]) if initial_state is None else initial_state
    if delta_bias is not None:
        delta = delta + delta_bias
    if delta_softplus:
        delta = softplus(delta)
    outputs = []
    # unbind, not x[:, t]: the backward of an index fills a tensor of full length at every step.
    for x_t, delta_t, B_t, C_t in zip(x.unbind(1), delta.unbind(1), B.unbind(1), C.unbind(1),
                                      strict=True):
        B_t = B_t.repeat_interleave(d_inner // B.shape[2], 1)        # (batch, d_inner, d_state)
        C_t = C_t.repeat_interleave(d_inner // C.shape[2], 1)
        A_bar = torch.exp(delta_t[..., None] * A)                    # (batch, d_inner, d_state)
        B_bar_x = (delta_t * x_t)[..., None] * B_t
        h = A_bar * h + B_bar_x
        outputs.append((C_t * h).sum(-1))                            # (batch, d_inner)
    y = torch.stack(outputs, 1)
    if D is not None:
        y = y + D * x
    if z is not None:
        y = y * silu(z)
    # A copy, which the caller may change in place: C_t * h keeps h for its gradient.
    return y, h.clone()
