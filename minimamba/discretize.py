"""Discretization: from (A, B, Δ) to (Ā, B̄), so that h_t = Ā h_{t−1} + B̄ x_t.

All rules take the same three arguments and return (A_bar, B_bar). The table in
`minimamba.shapes` says which shapes A, B and Δ may have together. In short:

    A             (N, N) dense, (N,) or (channels, N) diagonal; real or complex
    delta         the step size Δ: a number, one per channel or one per step; in the unit of
                  1/A; greater than 0
    A_bar, B_bar  the axes of Δ, then those of A or of B, with the channels once; on A's device
                  and in its precision
"""

import torch
from torch import Tensor

from minimamba.arguments import refuse, values_exist
from minimamba.autocast import without_autocast
from minimamba.continuous import exact_step
from minimamba.shapes import align


def euler(A: Tensor, B: Tensor, delta: Tensor | float) -> tuple[Tensor, Tensor]:
    """Discretize by forward Euler: Ā = I + ΔA, B̄ = ΔB.

    It is a first-order method, and unstable where |1 + Δλ| > 1 for an eigenvalue λ of A.

    Args:
        A: any of the shapes in `minimamba.shapes`.
        B: any of the shapes in `minimamba.shapes`.
        delta: the step size Δ.

    Returns:
        A_bar and B_bar.

    Raises:
        ValueError: for a wrong shape, dtype or device, NaN, or a Δ that is not positive.
    """
    return _theta_method(A, B, delta, 0.0)


def backward_euler(A: Tensor, B: Tensor, delta: Tensor | float) -> tuple[Tensor, Tensor]:
    """Discretize by backward Euler: Ā = (I − ΔA)⁻¹, B̄ = (I − ΔA)⁻¹ΔB.

    It is a first-order method. A mode that decays in continuous time decays at any Δ.

    Args:
        A: any of the shapes in `minimamba.shapes`.
        B: any of the shapes in `minimamba.shapes`.
        delta: the step size Δ.

    Returns:
        A_bar and B_bar.

    Raises:
        ValueError: for a wrong shape, dtype or device, NaN, a Δ that is not positive, or one at
            which I − ΔA is singular.
    """
    return _theta_method(A, B, delta, 1.0)


def bilinear(A: Tensor, B: Tensor, delta: Tensor | float) -> tuple[Tensor, Tensor]:
    """Discretize by the bilinear (Tustin) rule: Ā = (I − ΔA/2)⁻¹(I + ΔA/2), B̄ = (I − ΔA/2)⁻¹ΔB.

    It is a second-order method for an input that is constant over the step. A mode that decays in
    continuous time decays at any Δ. This is S4's rule (Gu et al. 2021, arXiv:2111.00396,
    equation 3).

    Args:
        A: any of the shapes in `minimamba.shapes`.
        B: any of the shapes in `minimamba.shapes`.
        delta: the step size Δ.

    Returns:
        A_bar and B_bar.

    Raises:
        ValueError: for a wrong shape, dtype or device, NaN, a Δ that is not positive, or one at
            which I − ΔA/2 is singular.
    """
    return _theta_method(A, B, delta, 0.5)


def zoh(A: Tensor, B: Tensor, delta: Tensor | float) -> tuple[Tensor, Tensor]:
    """Discretize by zero-order hold: Ā = exp(ΔA), B̄ = A⁻¹(exp(ΔA) − I)B.

    It is exact for an input that is constant over the step that ends at t, and accurate where A
    is singular or nearly so, too (Gu and Dao 2023, arXiv:2312.00752, equation 4).

    Args:
        A: any of the shapes in `minimamba.shapes`.
        B: any of the shapes in `minimamba.shapes`.
        delta: the step size Δ.

    Returns:
        A_bar and B_bar.

    Raises:
        ValueError: for a wrong shape, dtype or device, NaN, or a Δ that is not positive.

    Example:
        >>> import torch
        >>> A_bar, B_bar = zoh(torch.tensor([-1.0, 0.0]), torch.ones(2), 0.5)
        >>> A_bar, B_bar
        (tensor([0.6065, 1.0000]), tensor([0.3935, 0.5000]))
    """
    step = exact_step(A, B, delta)
    return step.A_bar, step.B_bar


def mamba(A: Tensor, B: Tensor, delta: Tensor | float) -> tuple[Tensor, Tensor]:
    """Discretize as Mamba's code does: Ā = exp(ΔA) as in `zoh`, but B̄ = ΔB as in `euler`.

    The paper writes zero-order hold for both; the official kernel uses only the first-order term
    of B̄ (state-spaces/mamba, issues 19 and 114). Chapter 02 measures the difference.

    Args:
        A: any of the shapes in `minimamba.shapes`.
        B: any of the shapes in `minimamba.shapes`.
        delta: the step size Δ.

    Returns:
        A_bar and B_bar.

    Raises:
        ValueError: for a wrong shape, dtype or device, NaN, or a Δ that is not positive.
    """
    return zoh(A, B, delta)[0], euler(A, B, delta)[1]


@without_autocast
def _theta_method(A: Tensor, B: Tensor, delta: Tensor | float,
                  theta: float) -> tuple[Tensor, Tensor]:
    """Solve h_t − h_{t−1} = ΔA (θ h_t + (1 − θ) h_{t−1}) + ΔB x_t for h_t."""
    dense, A, B, delta = align(A, B, delta)
    one = torch.eye(A.shape[-1], dtype=A.dtype, device=A.device) if dense else torch.ones_like(A)
    implicit = one - theta * delta * A
    explicit = one + (1 - theta) * delta * A
    delta_B = delta * B
    if theta == 0:
        A_bar = explicit
        B_bar = delta_B
    elif dense:
        try:
            A_bar = torch.linalg.solve(implicit, explicit)
            B_bar = torch.linalg.solve(implicit, delta_B)
        except torch.linalg.LinAlgError:
            refuse("delta", f"a step size at which I − {theta:g}ΔA is invertible",
                   "one at which it is singular")
    else:
        if values_exist() and (implicit == 0).any():
            refuse("delta", f"a step size at which 1 − {theta:g}ΔA is not 0", "one at which it is")
        A_bar = explicit / implicit
        B_bar = delta_B / implicit
    return A_bar, B_bar[..., 0] if dense else B_bar
