"""How A, B and Δ meet: which shapes they may have, and which axes line up.

| A | B | Δ | a system is |
|---|---|---|---|
| (N, N) | (N,) | any shape | dense: one state of N numbers, coupled |
| (N,) | (N,), or Δ's shape + (N,) | any shape | diagonal: N numbers that never mix |
| (d, N) | (d, N) | a number, (d,) or (..., d) | d diagonal systems, one a channel |
| (d, N) | (..., length, N), 3 axes or more | (..., length, d) | Mamba's: B anew at every step |

B has the shape of the state, so a square A is dense beside a B of shape (N,) and d = N
channels beside a B of shape (N, N). A Δ that all channels share has a last axis of size 1.
"""

from math import log
from typing import NamedTuple

import torch
from torch import Tensor

from minimamba.arguments import (
    check_finite,
    check_positive,
    check_system,
    precision,
    refuse,
    shape_of,
)


class Aligned(NamedTuple):
    """A, B and Δ with their axes lined up: elementwise when diagonal, matrices when dense."""

    dense: bool
    A: Tensor
    """(..., N) diagonal, (N, N) dense."""
    B: Tensor
    """(..., N) diagonal, a column (N, 1) dense."""
    delta: Tensor
    """(..., 1) diagonal, (..., 1, 1) dense."""


def act(A: Tensor, h: Tensor, dense: bool) -> Tensor:
    """A h for states h (..., N): a matrix times each, or number by number when diagonal."""
    if not dense:
        return A * h
    dtype = torch.promote_types(A.dtype, h.dtype)
    # Not A @ h[..., None]: that would copy A for every h when it is differentiated.
    return torch.einsum("...ij,...j->...i" if A.ndim == 2 else "dij,...dj->...di",
                        A.to(dtype), h.to(dtype))


def as_step(delta: Tensor | float, A: Tensor, name: str = "delta") -> Tensor:
    """Δ as a real tensor in A's precision and on its device; positive and finite."""
    real = precision(A.dtype)
    if isinstance(delta, (int, float)) and not isinstance(delta, bool):
        delta = torch.tensor(float(delta), dtype=real, device=A.device)
    if not isinstance(delta, Tensor):
        refuse(name, "a number or a torch.Tensor", type(delta).__name__)
    if delta.dtype != real:
        refuse(name, f"dtype {str(real).removeprefix('torch.')}, the precision of A",
               str(delta.dtype).removeprefix("torch."))
    if delta.numel() == 0:
        refuse(name, "at least one element", shape_of(delta))
    if delta.device != A.device:
        refuse(name, f"device {A.device}, that of A", delta.device)
    check_finite(name, delta)
    if not (delta > 0).all():
        refuse(name, "a step greater than 0", f"{delta.min().item() + 0.0:g}")
    return delta


def a_channel(delta: Tensor | float, A: Tensor) -> Tensor:
    """The same where delta is a number or one a channel of A, (N,) or (channels, N)."""
    step = as_step(delta, A)
    if tuple(step.shape) not in {(), tuple(A.shape[:-1])}:
        wanted = f" or shape {tuple(A.shape[:-1])}" if A.ndim > 1 else ""
        refuse("delta", f"a number{wanted}", shape_of(step))
    return step


def log_uniform(count: int, delta_min: float, delta_max: float) -> Tensor:
    """(count,), the logarithms of steps drawn between two, uniformly in the logarithm."""
    for name, bound in (("delta_min", delta_min), ("delta_max", delta_max)):
        check_positive(name, bound, "a step")
    if delta_min > delta_max:
        refuse("delta_min", f"at most delta_max = {delta_max:g}", repr(delta_min))
    low, high = log(delta_min), log(delta_max)
    return torch.rand(count) * (high - low) + low


def align(A: Tensor, B: Tensor, delta: Tensor | float) -> Aligned:
    """Check A, B and Δ against the table above and line up their axes.

    Raises:
        ValueError: naming the argument, what was expected and what came.
    """
    check_system(A=A, B=B)
    delta = as_step(delta, A)
    steps = tuple(delta.shape)
    if A.ndim == 1:
        N = A.shape[0]
        if tuple(B.shape) not in {(N,), (*steps, N)}:
            refuse("B", f"shape {(N,)} or {(*steps, N)}, for A of {shape_of(A)}", shape_of(B))
        return Aligned(False, A, B, delta[..., None])
    if A.ndim != 2:
        refuse("A", "shape (N, N), (N,) or (channels, N)", shape_of(A))
    d, N = A.shape
    if d == N and B.ndim == 1:
        if B.shape[0] != N:
            refuse("B", f"shape {(N,)} for a dense A of {shape_of(A)}", shape_of(B))
        dtype = torch.promote_types(A.dtype, B.dtype)
        return Aligned(True, A.to(dtype), B.to(dtype)[:, None], delta[..., None, None])
    if steps and steps[-1] not in {1, d}:
        refuse("delta", f"a number or a last axis of {d} channels, for A of {shape_of(A)}",
               shape_of(delta))
    if B.shape == A.shape:
        return Aligned(False, A, B, delta[..., None])
    if B.ndim >= 3 and tuple(B.shape) == (*steps[:-1], N):
        B = B[..., None, :].expand(*B.shape[:-1], d, N)
        return Aligned(False, A, B, delta[..., None])
    wanted = f"shape {(d, N)}"
    if len(steps) >= 3:
        wanted += f", or {(*steps[:-1], N)} at every step"
    refuse("B", f"{wanted}, for A of {shape_of(A)}", shape_of(B))
