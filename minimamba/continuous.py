"""The continuous state space model, solved exactly.

    h'(t) = A h(t) + B x(t),        y(t) = C h(t)

Nothing here is approximate: where the input is constant or straight between two moments,
the solution is a matrix exponential (Gu et al. 2021, arXiv:2111.00396, section 2).
One system a call: A is (N,) diagonal or (N, N) dense, real or complex; B and C are (N,).
"""

from math import factorial
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from minimamba.arguments import check_shape, check_system, precision, refuse, shape_of
from minimamba.shapes import act, align


class ExactStep(NamedTuple):
    """h(t + Δ) = A_bar h(t) + B_held x(t) + B_ramp (x(t + Δ) − x(t))."""

    A_bar: Tensor
    B_held: Tensor
    B_ramp: Tensor


def phi(k: int, z: Tensor) -> Tensor:
    """φ₁(z) = (eᶻ − 1)/z or φ₂(z) = (φ₁(z) − 1)/z, the integrals of an exponential.

    Elementwise. Near z = 0 both are 0/0, so there their series Σ zⁿ/(n + k)! takes over:
    right to the last digit, and so are its gradients.
    """
    small = z.abs() < 0.5
    # Each branch sees a harmless number where the other one is used: a NaN that `where`
    # discards would still come back through its gradient.
    near, away = z.where(small, 0), z.where(~small, 1)
    series = torch.full_like(z, 1 / factorial(16 + k))
    for n in reversed(range(16)):
        series = series * near + 1 / factorial(n + k)
    closed = (away.exp() - 1) / away
    if k == 2:
        closed = (closed - 1) / away
    return torch.where(small, series, closed)


def exact_step(A: Tensor, B: Tensor, delta: Tensor | float) -> ExactStep:
    """One exact step of length Δ for an input that is straight between the two moments.

    Args:
        A, B, delta: any of the shapes in `minimamba.shapes`; delta in the unit of 1/A.

    Returns:
        A_bar (..., N, N) dense or (..., N) diagonal; B_held and B_ramp (..., N).
        With B_ramp left out, the input is held: that is zero-order hold.

    Raises:
        ValueError: for a wrong shape, dtype or device, NaN, or delta that is not positive.
    """
    dense, A, B, delta = align(A, B, delta)
    if not dense:
        z = delta * A
        return ExactStep(z.exp(), delta * phi(1, z) * B, delta * phi(2, z) * B)
    # x and its slope join the state, h' = A h + B x, x' = slope, slope' = 0: one
    # exponential then holds all three answers, and A may be singular (Van Loan 1978).
    N = A.shape[0]
    push = (delta * B)[..., 0]
    # The unit of x is free: one in which the push is 1 keeps it from swamping A's digits.
    unit = push.detach().abs().amax(-1, keepdim=True)
    unit = torch.where(unit == 0, 1, unit)
    joint = A.new_zeros(*push.shape[:-1], N + 2, N + 2)
    joint[..., :N, :N] = delta * A
    joint[..., :N, N] = push / unit
    joint[..., N, N + 1] = 1
    joint = torch.linalg.matrix_exp(joint)
    return ExactStep(joint[..., :N, :N], joint[..., :N, N] * unit, joint[..., :N, N + 1] * unit)


def simulate(A: Tensor, B: Tensor, x: Tensor, t: Tensor, *,
             between: Literal["hold", "line"] = "hold",
             initial_state: Tensor | None = None) -> Tensor:
    """The state h at the moments t, exactly.

    Args:
        A: (N,) diagonal or (N, N) dense, real or complex, in 1/seconds if t is in seconds.
        B: (N,).
        x: (..., length), the input at the moments t.
        t: (length,), increasing; the gaps need not be equal.
        between: what x does between two moments: "hold" keeps x(t[k]) until t[k + 1]
            (piecewise constant), "line" goes straight from one sample to the next.
        initial_state: (..., N), the state at t[0]; zero if None.

    Returns:
        h (..., length, N), with h[..., 0, :] the initial state. Differentiable in all but t.

    Raises:
        ValueError: naming the argument, what was expected and what came.
    """
    check_system(A=A, B=B, x=x, t=t)
    if between not in ("hold", "line"):
        refuse("between", "'hold' or 'line'", repr(between))
    if x.ndim == 0:
        refuse("x", "shape (..., length)", shape_of(x))
    check_shape("t", t, (x.shape[-1],), "(length,), the last axis of x")
    if t.is_complex():
        refuse("t", f"dtype {precision(t.dtype)}", t.dtype)
    if not (t.diff() > 0).all():
        refuse("t", "moments that increase", "some that do not")
    if B.ndim != 1:
        refuse("B", "shape (N,)", shape_of(B))
    align(A, B, 1.0)
    h = _initial(initial_state, x.shape[:-1], A, B, x)
    if len(t) == 1:
        return h.unsqueeze(-2)
    # An even grid, the common case, has but a few different gaps: an exponential each.
    gaps, which = torch.unique(t.diff(), return_inverse=True)
    A_bar, held, ramp = (part[which] for part in exact_step(A, B, gaps))
    push = held * x[..., :-1, None]
    if between == "line":
        push = push + ramp * x.diff()[..., None]
    states = [h]
    for A_k, push_k in zip(A_bar.unbind(0), push.unbind(-2), strict=True):
        h = act(A_k, h, dense=A.ndim == 2) + push_k
        states.append(h)
    return torch.stack(states, -2)


def _initial(state: Tensor | None, batch: torch.Size, A: Tensor, B: Tensor, x: Tensor) -> Tensor:
    shape = (*batch, B.shape[0])
    dtype = torch.promote_types(torch.promote_types(A.dtype, B.dtype), x.dtype)
    if state is None:
        return torch.zeros(shape, dtype=dtype, device=x.device)
    check_system(A=A, initial_state=state)
    check_shape("initial_state", state, shape, "(..., N)")
    return state.to(dtype)


def memory(A: Tensor, B: Tensor, lag: Tensor) -> Tensor:
    """What a state remembers: the weight it gives now to the input `lag` ago.

    h(t) = ∫ memory(s) x(t − s) ds, so the n-th number of the state holds the past input
    weighted by exp(A s) B, and by nothing before it: zero at a negative lag.

    Args:
        A: (N,) or (N, N). B: (N,). lag: any shape, in the unit of 1/A.

    Returns:
        The weights, lag's shape + (N,).
    """
    return _memory(A, B, lag, "lag")


def _memory(A: Tensor, B: Tensor, lag: Tensor, name: str) -> Tensor:
    check_system(A=A, B=B, **{name: lag})
    if lag.is_complex():
        refuse(name, f"dtype {precision(A.dtype)}", lag.dtype)
    if A.ndim not in (1, 2) or B.shape != A.shape[:1] or A.shape[0] != A.shape[-1]:
        refuse("A and B", "shapes (N,) or (N, N), and (N,)", f"{shape_of(A)}, {shape_of(B)}")
    past = lag.clamp(min=0)[..., None]
    if A.ndim == 1:
        weights = (past * A).exp() * B
    else:
        weights = (torch.linalg.matrix_exp(past[..., None] * A) * B).sum(-1)
    return weights * (lag >= 0)[..., None]


def impulse_response(A: Tensor, B: Tensor, C: Tensor, t: Tensor) -> Tensor:
    """K(t) = C exp(A t) B: the output after a unit impulse at t = 0; zero before it.

    Args:
        A: (N,) or (N, N). B, C: (N,). t: any shape, in the unit of 1/A.

    Returns:
        K, of t's shape: a sum of N exponentials, each with its own time constant.
    """
    weights = _memory(A, B, t, "t")
    check_system(A=A, C=C)
    check_shape("C", C, tuple(B.shape), "(N,)")
    return (weights * C).sum(-1)


def time_constants(A: Tensor) -> Tensor:
    """The time in which each mode of A falls to 1/e, −1/Re(λ).

    Args:
        A: (N,) or (channels, N) diagonal is read as it is; a square (N, N) is dense, and its
            eigenvalues are taken.

    Returns:
        Real, of A's shape (diagonal) or (N,) (dense), in the unit of 1/A. Infinite for a mode
        that never fades, negative for one that grows.
    """
    check_system(A=A)
    if A.ndim not in (1, 2):
        refuse("A", "shape (N,) or (N, N)", shape_of(A))
    modes = torch.linalg.eigvals(A) if A.ndim == 2 and A.shape[0] == A.shape[1] else A
    rate = -(modes.real if modes.is_complex() else modes)
    still = rate == 0
    return torch.where(still, torch.inf, 1 / rate.where(~still, 1))
