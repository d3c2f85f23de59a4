"""From continuous to discrete: (A, B, Δ) to (Ā, B̄) with h_t = Ā h_{t−1} + B̄ x_t.

Every rule takes the same three arguments and gives (A_bar, B_bar). Which shapes they may
have, and how Δ's axes meet those of A and B, is the table in `minimamba.shapes`:

    A (N, N) dense, (N,) or (channels, N) diagonal; real or complex
    Δ a number, one a channel, or one a step; in the unit of 1/A; greater than 0
    A_bar, B_bar: Δ's axes before those of A and of B, an axis of channels once; on A's
    device and in its precision

A wrong shape, dtype or device, NaN, or a Δ that is not positive raises ValueError.
"""

import torch
from torch import Tensor

from minimamba.arguments import refuse
from minimamba.continuous import exact_step
from minimamba.shapes import align


def euler(A: Tensor, B: Tensor, delta: Tensor | float) -> tuple[Tensor, Tensor]:
    """Forward Euler: Ā = I + ΔA, B̄ = ΔB. First order; explodes when |1 + Δλ| > 1."""
    return _blend(A, B, delta, 0.0)


def backward_euler(A: Tensor, B: Tensor, delta: Tensor | float) -> tuple[Tensor, Tensor]:
    """Backward Euler: Ā = (I − ΔA)⁻¹, B̄ = (I − ΔA)⁻¹ΔB. First order; no mode
    that fades can explode."""
    return _blend(A, B, delta, 1.0)


def bilinear(A: Tensor, B: Tensor, delta: Tensor | float) -> tuple[Tensor, Tensor]:
    """Bilinear (Tustin): Ā = (I − ΔA/2)⁻¹(I + ΔA/2), B̄ = (I − ΔA/2)⁻¹ΔB. Second order
    in A, for an input held over the step; no mode that fades can explode.

    S4's rule (Gu et al. 2021, arXiv:2111.00396, equation 3).
    """
    return _blend(A, B, delta, 0.5)


def zoh(A: Tensor, B: Tensor, delta: Tensor | float) -> tuple[Tensor, Tensor]:
    """Zero-order hold: Ā = exp(ΔA), B̄ = A⁻¹(exp(ΔA) − I)B, right also where A is singular.

    Exact for an input held over the step that ends at t (Gu and Dao 2023, arXiv:2312.00752,
    equation 4).
    """
    A_bar, B_held, _ = exact_step(A, B, delta)
    return A_bar, B_held


def mamba(A: Tensor, B: Tensor, delta: Tensor | float) -> tuple[Tensor, Tensor]:
    """What Mamba's code computes: Ā = exp(ΔA) as in `zoh`, but B̄ = ΔB as in `euler`.

    The paper writes zero-order hold for both; the official kernel takes B̄'s first-order
    term alone (state-spaces/mamba, issues 19 and 114). Chapter 02 measures what that costs.
    """
    return zoh(A, B, delta)[0], euler(A, B, delta)[1]


def _blend(A: Tensor, B: Tensor, delta: Tensor | float, new: float) -> tuple[Tensor, Tensor]:
    """h_t − h_{t−1} = Δ A (new · h_t + (1 − new) · h_{t−1}) + Δ B x_t, solved for h_t."""
    dense, A, B, delta = align(A, B, delta)
    one = torch.eye(A.shape[-1], dtype=A.dtype, device=A.device) if dense else torch.ones_like(A)
    ahead, behind, push = one - new * delta * A, one + (1 - new) * delta * A, delta * B
    if new == 0:
        A_bar, B_bar = behind, push
    elif dense:
        try:
            A_bar, B_bar = torch.linalg.solve(ahead, behind), torch.linalg.solve(ahead, push)
        except torch.linalg.LinAlgError:
            refuse("delta", f"a step for which I − {new:g}ΔA has an inverse", "one without")
    else:
        if (ahead == 0).any():
            refuse("delta", f"a step for which 1 − {new:g}ΔA is not 0", "one for which it is")
        A_bar, B_bar = behind / ahead, push / ahead
    return A_bar, B_bar[..., 0] if dense else B_bar
