"""The shapes that A, B and Δ may have together, and how their axes line up.

| A | B | Δ | the system |
|---|---|---|---|
| (N, N) | (N,) | any shape | dense: one system whose state dimension is N |
| (N,) | (N,), or Δ's shape + (N,) | any shape | diagonal: one system, N independent components |
| (d, N) | (d, N) | a number, (d,) or (..., d) | d diagonal systems, one per channel |
| (d, N) | (..., length, N), 3 axes or more | (..., length, d) | Mamba: a new B at every step |

B decides what a square A means: with a B of shape (N,) it is one dense system, with a B of shape
(N, N) it is d = N diagonal ones. The last axis of Δ may have size 1 where all channels share Δ.
"""

from math import log
from typing import NamedTuple

import torch
from torch import Tensor

from minimamba.arguments import (
    LARGEST,
    check_count,
    check_finite,
    check_positive,
    check_system,
    check_tensor,
    precision,
    refuse,
    shape_of,
    values_exist,
)
from minimamba.autocast import without_autocast


class Aligned(NamedTuple):
    """A, B and Δ with axes added so that they broadcast.

    A diagonal system is then computed elementwise, a dense one with matrix products.
    """

    dense: bool
    """Whether A is a matrix."""
    A: Tensor
    """(..., N) if diagonal, (N, N) if dense."""
    B: Tensor
    """(..., N) if diagonal, a column (N, 1) if dense."""
    delta: Tensor
    """(..., 1) if diagonal, (..., 1, 1) if dense."""


@without_autocast
def apply_A(A: Tensor, h: Tensor, dense: bool) -> Tensor:
    """Multiply hidden states by A: a matrix product if dense, elementwise if diagonal.

    Args:
        A: (N, N) or (channels, N, N) if dense; (N,) or (channels, N) if diagonal.
        h: (..., N), or (..., channels, N) if A has channels.
        dense: whether A is a matrix. Its shape can't tell: (N, N) may be N diagonal systems.

    Returns:
        A h, of h's shape, in the wider of the two dtypes.
    """
    if not dense:
        return A * h
    dtype = torch.promote_types(A.dtype, h.dtype)
    # Not A @ h[..., None]: its backward pass would save a copy of A for every h.
    return torch.einsum("...ij,...j->...i" if A.ndim == 2 else "dij,...dj->...di",
                        A.to(dtype), h.to(dtype))


def as_delta(delta: Tensor | float, A: Tensor) -> Tensor:
    """Check the step size Δ and return it as a tensor.

    Args:
        delta: a number, or a real tensor of any shape; positive and finite, in the unit of 1/A.
        A: the A that it belongs to, which says the precision and the device.

    Returns:
        Δ of the same shape (a number gives shape ()), real, in A's precision.

    Raises:
        ValueError: for another type, dtype or device, an empty tensor, NaN, or a Δ that is not
            positive.
    """
    real = precision(A.dtype)
    if isinstance(delta, (int, float)) and not isinstance(delta, bool):
        if abs(delta) > LARGEST and isinstance(delta, int):
            refuse("delta", f"a number up to {LARGEST:g}", "a larger one")
        values = torch.tensor(float(delta), dtype=real, device=A.device)
    elif isinstance(delta, Tensor):
        values = delta
    else:
        refuse("delta", "a number or a torch.Tensor", type(delta).__name__)
    if values.dtype != real:
        refuse("delta", f"dtype {str(real).removeprefix('torch.')}, the precision of A",
               str(values.dtype).removeprefix("torch."))
    check_tensor("delta", values, (real,))
    if values.device != A.device:
        refuse("delta", f"device {A.device}, that of A", values.device)
    check_finite("delta", values)
    if values_exist() and not (values > 0).all():
        refuse("delta", "a step size greater than 0", f"{values.min().item() + 0.0:g}")
    return values


def per_channel_delta(delta: Tensor | float, A: Tensor) -> Tensor:
    """Check a step size Δ that is the same at every step: one number, or one per channel.

    Args:
        delta: a number, or (channels,) if A has channels; positive and finite.
        A: (N,) or (channels, N), diagonal.

    Returns:
        Δ of shape () or (channels,), real, in A's precision.

    Raises:
        ValueError: for any other shape, and where `as_delta` raises it.
    """
    values = as_delta(delta, A)
    if tuple(values.shape) not in ((), tuple(A.shape[:-1])):
        per_channel = f" or shape {tuple(A.shape[:-1])}" if A.ndim > 1 else ""
        refuse("delta", f"a number{per_channel}", shape_of(values))
    return values


def log_uniform(count: int, delta_min: float, delta_max: float) -> Tensor:
    """Draw initial step sizes Δ, uniformly in log Δ, and return their logarithms.

    Args:
        count: how many to draw.
        delta_min: the smallest Δ, greater than 0.
        delta_max: the largest Δ.

    Returns:
        log Δ, (count,), in the default dtype.

    Raises:
        ValueError: for bounds that are not positive or not in this order.
    """
    check_count("count", count)
    for name, bound in (("delta_min", delta_min), ("delta_max", delta_max)):
        check_positive(name, bound, "a step size")
    if delta_min > delta_max:
        refuse("delta_min", f"at most delta_max = {delta_max:g}", repr(delta_min))
    low = log(delta_min)
    high = log(delta_max)
    return torch.rand(count) * (high - low) + low


def align(A: Tensor, B: Tensor, delta: Tensor | float) -> Aligned:
    """Check A, B and Δ against the table above, and add the axes that make them broadcast.

    Args:
        A: (N, N), (N,) or (channels, N); real or complex.
        B: one of the shapes that the table allows beside A.
        delta: the step size Δ; a number, or one of the shapes that the table allows.

    Returns:
        The three, and whether A is a matrix.

    Raises:
        ValueError: for shapes that don't fit, a wrong dtype or device, NaN, or a Δ that is not
            positive.
    """
    check_system(A=A, B=B)
    delta_values = as_delta(delta, A)
    steps = tuple(delta_values.shape)
    if A.ndim == 1:
        N = A.shape[0]
        if tuple(B.shape) not in ((N,), (*steps, N)):
            refuse("B", f"shape {(N,)} or {(*steps, N)}, for A of {shape_of(A)}", shape_of(B))
        return Aligned(False, A, B, delta_values[..., None])
    if A.ndim != 2:
        refuse("A", "shape (N, N), (N,) or (channels, N)", shape_of(A))
    d, N = A.shape
    if d == N and B.ndim == 1:
        if B.shape[0] != N:
            refuse("B", f"shape {(N,)} for a dense A of {shape_of(A)}", shape_of(B))
        dtype = torch.promote_types(A.dtype, B.dtype)
        return Aligned(True, A.to(dtype), B.to(dtype)[:, None], delta_values[..., None, None])
    if steps and steps[-1] not in (1, d):
        refuse("delta", f"a number or a last axis of {d} channels, for A of {shape_of(A)}",
               shape_of(delta_values))
    if B.shape == A.shape:
        return Aligned(False, A, B, delta_values[..., None])
    if B.ndim >= 3 and tuple(B.shape) == (*steps[:-1], N):
        B_per_channel = B[..., None, :].expand(*B.shape[:-1], d, N)
        return Aligned(False, A, B_per_channel, delta_values[..., None])
    allowed = f"shape {(d, N)}"
    if len(steps) >= 3:
        allowed += f", or {(*steps[:-1], N)} at every step"
    refuse("B", f"{allowed}, for A of {shape_of(A)}", shape_of(B))
