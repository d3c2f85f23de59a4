"""The continuous state space model, solved exactly.

    h'(t) = A h(t) + B x(t),        y(t) = C h(t)

There is no approximation error: while the input is constant or linear in time, the solution is a
matrix exponential (Gu et al. 2021, arXiv:2111.00396, section 2). Each call takes one system: A is
(N,) diagonal or (N, N) dense, real or complex; B and C are (N,); N is the state dimension.
"""

from math import factorial
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from minimamba.arguments import (
    check_count,
    check_one_of,
    check_shape,
    check_system,
    precision,
    refuse,
    shape_of,
    values_exist,
)
from minimamba.autocast import without_autocast
from minimamba.shapes import align, apply_A

SERIES_TERMS = 16
"""Enough for φ in float64 where |z| < 1/2."""


class ExactStep(NamedTuple):
    """The matrices of one exact step, for an input that is linear in time over the step.

    h(t + Δ) = A_bar h(t) + B_bar x(t) + B_slope (x(t + Δ) − x(t)).
    """

    A_bar: Tensor
    """exp(ΔA), (..., N) diagonal or (..., N, N) dense."""
    B_bar: Tensor
    """(..., N). Alone it is zero-order hold: x keeps its value x(t) over the step."""
    B_slope: Tensor
    """(..., N), for the change of x over the step, as in first-order hold."""


def phi(k: int, z: Tensor) -> Tensor:
    """Compute φ₁(z) = (eᶻ − 1)/z or φ₂(z) = (φ₁(z) − 1)/z, elementwise and to full precision.

    These are the φ-functions of exponential integrators. Near z = 0 both formulas are 0/0, so
    there the series Σ zⁿ/(n + k)! is used, which is accurate to rounding, and so is its gradient.

    Args:
        k: 1 or 2.
        z: any shape, real or complex.

    Returns:
        φₖ(z), of z's shape and dtype.

    Raises:
        ValueError: for another k, a wrong dtype, or NaN.
    """
    check_count("k", k)
    if k > 2:
        refuse("k", "1 or 2", k)
    check_system(z=z)
    is_small = z.abs() < 0.5
    # Each branch gets a harmless z where the other one is used: a NaN that `where` discards in
    # the forward pass would still come back through its gradient.
    z_small = z.where(is_small, 0)
    z_large = z.where(~is_small, 1)
    series = torch.full_like(z, 1 / factorial(SERIES_TERMS + k))
    for n in reversed(range(SERIES_TERMS)):
        series = series * z_small + 1 / factorial(n + k)
    closed_form = (z_large.exp() - 1) / z_large
    if k == 2:
        closed_form = (closed_form - 1) / z_large
    return torch.where(is_small, series, closed_form)


@without_autocast
def exact_step(A: Tensor, B: Tensor, delta: Tensor | float) -> ExactStep:
    """Solve the equation exactly over a step of length Δ, for an input linear in time.

    Args:
        A: any of the shapes in `minimamba.shapes`.
        B: any of the shapes in `minimamba.shapes`.
        delta: the step size Δ, any of the shapes in `minimamba.shapes`; in the unit of 1/A.

    Returns:
        A_bar, B_bar and B_slope. Using A_bar and B_bar alone is zero-order hold.

    Raises:
        ValueError: for a wrong shape, dtype or device, NaN, or a Δ that is not positive.
    """
    dense, A, B, delta = align(A, B, delta)
    if not dense:
        z = delta * A
        return ExactStep(z.exp(), delta * phi(1, z) * B, delta * phi(2, z) * B)
    # Add the input and its slope to the state: h' = A h + B x, x' = slope, slope' = 0. One matrix
    # exponential then gives all three answers, and A may be singular (Van Loan 1978).
    N = A.shape[0]
    delta_B = (delta * B)[..., 0]
    # The unit of x is free. This one makes ΔB of size 1, so that it can't drown A in rounding.
    unit = delta_B.detach().abs().amax(-1, keepdim=True)
    unit = torch.where(unit == 0, 1, unit)
    augmented = A.new_zeros(*delta_B.shape[:-1], N + 2, N + 2)
    augmented[..., :N, :N] = delta * A
    augmented[..., :N, N] = delta_B / unit
    augmented[..., N, N + 1] = 1
    solution = torch.linalg.matrix_exp(augmented)
    return ExactStep(solution[..., :N, :N], solution[..., :N, N] * unit,
                     solution[..., :N, N + 1] * unit)


@without_autocast
def simulate(A: Tensor, B: Tensor, x: Tensor, t: Tensor, *,
             interpolation: Literal["hold", "linear"] = "hold",
             initial_state: Tensor | None = None) -> Tensor:
    """Compute the hidden state h at the sample times t, exactly.

    Args:
        A: (N,) diagonal or (N, N) dense, real or complex; in 1/seconds if t is in seconds.
        B: (N,).
        x: (..., length), the input at the times t.
        t: (length,), increasing; the gaps need not be equal.
        interpolation: the input between samples. "hold" keeps x(t[k]) until t[k + 1] (piecewise
            constant), "linear" goes in a straight line from one sample to the next.
        initial_state: (..., N), the state at t[0]; zero if None.

    Returns:
        h (..., length, N), with h[..., 0, :] the initial state. Differentiable in all but t.

    Raises:
        ValueError: for a wrong shape, dtype or device, NaN, or times that do not increase.

    Example:
        A leaky integrator with a time constant of 1, switched on at t = 0, reaches 1 − exp(−t):

        >>> import torch
        >>> A, B = torch.tensor([-1.0]), torch.tensor([1.0])
        >>> t = torch.tensor([0.0, 1.0, 3.0])
        >>> simulate(A, B, torch.ones(3), t)[:, 0]
        tensor([0.0000, 0.6321, 0.9502])
    """
    check_system(A=A, B=B, x=x, t=t)
    check_one_of("interpolation", interpolation, ("hold", "linear"))
    if x.ndim == 0:
        refuse("x", "shape (..., length)", shape_of(x))
    check_shape("t", t, (x.shape[-1],), "(length,), the last axis of x")
    if t.is_complex():
        refuse("t", f"dtype {precision(t.dtype)}", t.dtype)
    if values_exist() and not (t.diff() > 0).all():
        refuse("t", "times that increase", "some that do not")
    if B.ndim != 1:
        refuse("B", "shape (N,)", shape_of(B))
    align(A, B, 1.0)
    h = _initial_state(initial_state, x.shape[:-1], A, B, x)
    if len(t) == 1:
        return h.unsqueeze(-2)
    # On an even grid, the common case, only a few gaps differ: one matrix exponential for each.
    gaps, gap_index = torch.unique(t.diff(), return_inverse=True)
    A_bar, B_bar, B_slope = (part[gap_index] for part in exact_step(A, B, gaps))
    B_bar_x = B_bar * x[..., :-1, None]
    if interpolation == "linear":
        B_bar_x = B_bar_x + B_slope * x.diff()[..., None]
    states = [h]
    for A_bar_k, B_bar_x_k in zip(A_bar.unbind(0), B_bar_x.unbind(-2), strict=True):
        h = apply_A(A_bar_k, h, dense=A.ndim == 2) + B_bar_x_k
        states.append(h)
    return torch.stack(states, -2)


def _initial_state(state: Tensor | None, batch: torch.Size, A: Tensor, B: Tensor,
                   x: Tensor) -> Tensor:
    """Check the state at t[0]; zeros if None, (*batch, N)."""
    shape = (*batch, B.shape[0])
    dtype = torch.promote_types(torch.promote_types(A.dtype, B.dtype), x.dtype)
    if state is None:
        return torch.zeros(shape, dtype=dtype, device=x.device)
    check_system(A=A, initial_state=state)
    check_shape("initial_state", state, shape, "(..., N)")
    return state.to(torch.promote_types(dtype, state.dtype))


def state_impulse_response(A: Tensor, B: Tensor, lag: Tensor) -> Tensor:
    """Compute exp(A s) B, the weight of the input s ago in each component of the state.

    It is the state at time s after a unit impulse at time 0, for h(t) = ∫ exp(A s) B x(t − s) ds.
    At a negative lag it is zero, since the state is causal.

    Args:
        A: (N,) diagonal or (N, N) dense, real or complex.
        B: (N,).
        lag: s, any shape, real; in the unit of 1/A.

    Returns:
        lag's shape + (N,).

    Raises:
        ValueError: for a wrong shape, dtype or device, or NaN.
    """
    return _state_response(A, B, lag, "lag")


@without_autocast
def _state_response(A: Tensor, B: Tensor, time: Tensor, name: str) -> Tensor:
    """Compute exp(A · time) B, zero at negative times; errors call the time by `name`."""
    check_system(A=A, B=B, **{name: time})
    if time.is_complex():
        refuse(name, f"dtype {precision(A.dtype)}", time.dtype)
    if A.ndim not in (1, 2) or B.shape != A.shape[:1] or A.shape[0] != A.shape[-1]:
        refuse("A and B", "shapes (N,) or (N, N), and (N,)", f"{shape_of(A)}, {shape_of(B)}")
    past = time.clamp(min=0)[..., None]
    if A.ndim == 1:
        response = (past * A).exp() * B
    else:
        response = (torch.linalg.matrix_exp(past[..., None] * A) * B).sum(-1)
    return response * (time >= 0)[..., None]


def impulse_response(A: Tensor, B: Tensor, C: Tensor, t: Tensor) -> Tensor:
    """Compute the impulse response K(t) = C exp(A t) B, zero before t = 0.

    K is a sum of N exponentials, each with a time constant of its own.

    Args:
        A: (N,) diagonal or (N, N) dense, real or complex.
        B: (N,).
        C: (N,).
        t: the time since the impulse, any shape, real; in the unit of 1/A.

    Returns:
        K, of t's shape.

    Raises:
        ValueError: for a wrong shape, dtype or device, or NaN.
    """
    response = _state_response(A, B, t, "t")
    check_system(A=A, C=C)
    check_shape("C", C, tuple(B.shape), "(N,)")
    return (response * C).sum(-1)


def time_constants(A: Tensor) -> Tensor:
    """Compute the time constant of each mode, −1/Re(λ): in that time it decays to 1/e.

    Args:
        A: (N,) or (channels, N) diagonal, or a square (N, N), which is dense: there λ are the
            eigenvalues.

    Returns:
        Real, of A's shape (diagonal) or (N,) (dense), in the unit of 1/A. Infinite for a mode
        that does not decay, negative for one that grows.

    Raises:
        ValueError: for a wrong shape or dtype, or NaN.
    """
    check_system(A=A)
    if A.ndim not in (1, 2):
        refuse("A", "shape (N,) or (N, N)", shape_of(A))
    modes = torch.linalg.eigvals(A) if A.ndim == 2 and A.shape[0] == A.shape[1] else A
    decay_rate = -(modes.real if modes.is_complex() else modes)
    is_constant = decay_rate == 0
    return torch.where(is_constant, torch.inf, 1 / decay_rate.where(~is_constant, 1))
