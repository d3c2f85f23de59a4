"""S4D: a diagonal A, whose kernel is a Vandermonde product.

    K_l = Σₙ Cₙ B̄ₙ Āₙˡ

(Gu et al. 2022, arXiv:2206.11893.) A state of complex numbers that gives real outputs has
them in conjugate pairs, and one of each is enough: **a complex A stands for itself and its
conjugate**, here and in `layers`, so K is twice the real part of the sum. A real A stands for
itself alone.
"""

from collections.abc import Callable
from math import ceil, isqrt

import torch
from torch import Tensor

from minimamba.arguments import (
    check_count,
    check_one_of,
    check_shape,
    check_system,
    refuse,
    shape_of,
)
from minimamba.s4.dplr import legs
from minimamba.shapes import a_channel

Rule = Callable[[Tensor, Tensor, Tensor | float], tuple[Tensor, Tensor]]


def initial(kind: str, d_state: int) -> Tensor:
    """A of one feature at the start of training, d_state numbers or half as many pairs.

    | kind | Aₙ | |
    |---|---|---|
    | "lin" | −1/2 + iπn | waves of evenly spaced frequencies: S4D-Lin |
    | "inv" | −1/2 + i(N/π)(N/(2n + 1) − 1) | few fast ones, many slow ones: S4D-Inv |
    | "legs" | the diagonal part of HiPPO-LegS | S4D-LegS |
    | "real" | −(n + 1) | no waves at all: S4D-Real, and Mamba's |

    Returns:
        (d_state/2,) complex128, or (d_state,) float64 for "real".
    """
    check_one_of("kind", kind, ("lin", "inv", "legs", "real"))
    check_count("d_state", d_state)
    if kind == "real":
        return -torch.arange(1, d_state + 1, dtype=torch.float64)
    if d_state % 2:
        refuse("d_state", "an even number, for conjugate pairs", d_state)
    if kind == "legs":
        return legs(d_state).Lambda
    n = torch.arange(d_state // 2, dtype=torch.float64)
    inverse = d_state / torch.pi * (d_state / (2 * n + 1) - 1)
    return torch.complex(torch.full_like(n, -0.5), torch.pi * n if kind == "lin" else inverse)


def kernel(A: Tensor, B: Tensor, C: Tensor, delta: Tensor | float, length: int,
           rule: Rule) -> Tensor:
    """The kernel of a continuous diagonal system.

    Args:
        A, B, C: (N,) or (channels, N), in 1/unit of delta. Complex: of each pair, one.
        delta: a number, or (channels,).
        length: how many entries.
        rule: `discretize.zoh`, `discretize.bilinear` or another.

    Returns:
        Real, (length,) or (length, channels).
    """
    check_system(A=A, B=B, C=C)
    if A.ndim not in (1, 2):
        refuse("A", "shape (N,) or (channels, N)", shape_of(A))
    for name, part in (("B", B), ("C", C)):
        check_shape(name, part, tuple(A.shape), "that of A")
    if not callable(rule):
        refuse("rule", "a function, such as discretize.zoh", repr(rule))
    A_bar, B_bar = rule(A, B, a_channel(delta, A))
    return vandermonde(A_bar, fold(A, C) * B_bar, length).real


def fold(A: Tensor, C: Tensor) -> Tensor:
    """C such that Re(C h) is what the whole state, conjugates too, gives for h of one half."""
    return 2 * C if A.is_complex() else C


def vandermonde(A_bar: Tensor, weights: Tensor, length: int) -> Tensor:
    """Σₙ weightsₙ A_barₙˡ for l = 0 … length − 1.

    With l = row · width + column and width ≈ √length, A_barˡ is a power for the row times one
    for the column, and the sum a product of two matrices: 2 N √length powers are computed and
    kept for the backward pass, where a table of all of them has N · length.

    Args:
        A_bar, weights: (N,) or (channels, N).

    Returns:
        (length,) or (length, channels), complex if either is.
    """
    check_system(A_bar=A_bar, weights=weights)
    if A_bar.ndim not in (1, 2):
        refuse("A_bar", "shape (N,) or (channels, N)", shape_of(A_bar))
    check_shape("weights", weights, tuple(A_bar.shape), "that of A_bar")
    check_count("length", length)
    width = isqrt(length - 1) + 1
    columns, next_row = powers(A_bar, width)
    rows, _ = powers(next_row, ceil(length / width))
    dtype = torch.promote_types(A_bar.dtype, weights.dtype)
    table = (rows * weights[..., None, :]).to(dtype) @ columns.mT.to(dtype)
    return table.flatten(-2)[..., :length].movedim(-1, 0)


def powers(base: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """base⁰ … base^(count − 1), stacked before the last axis, and base^count; by doubling."""
    found, power, made = torch.ones_like(base)[..., None, :], base, 1
    while 2 * made <= count:
        found = torch.cat([found, found * power[..., None, :]], -2)
        power, made = power * power, 2 * made
    rest = count - made
    if rest:
        found = torch.cat([found, found[..., :rest, :] * power[..., None, :]], -2)
    return found, found[..., -1, :] * base
