"""S4D: a diagonal A, whose convolution kernel is a Vandermonde product.

    K_l = Σₙ Cₙ B̄ₙ Āₙˡ

(Gu et al. 2022, arXiv:2206.11893.) The components of a complex state come in conjugate pairs, so
that the output is real, and it is enough to compute one of each pair. So **a complex A stands for
itself and its conjugate**, here and in `minimamba.s4.layers`, and K is twice the real part of the
sum. A real A stands for itself alone.
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
from minimamba.autocast import without_autocast
from minimamba.s4.dplr import legs
from minimamba.shapes import per_channel_delta

Discretization = Callable[[Tensor, Tensor, Tensor | float], tuple[Tensor, Tensor]]
"""A function (A, B, delta) → (A_bar, B_bar), such as `discretize.zoh`."""


def initial_A(init: str, d_state: int) -> Tensor:
    """Construct the A that one channel is initialized with.

    | init | Aₙ | |
    |---|---|---|
    | "lin" | −1/2 + iπn | S4D-Lin: evenly spaced frequencies |
    | "inv" | −1/2 + i(N/π)(N/(2n + 1) − 1) | S4D-Inv: few high frequencies, many low ones |
    | "legs" | the diagonal part of HiPPO-LegS | S4D-LegS |
    | "real" | −(n + 1) | S4D-Real: no oscillation; Mamba's initialization |

    Args:
        init: one of the four names.
        d_state: the state dimension N; even unless `init` is "real".

    Returns:
        (d_state/2,) complex128, one of each conjugate pair; (d_state,) float64 for "real".

    Raises:
        ValueError: for another name, or a d_state that is no positive (even) integer.
    """
    check_one_of("init", init, ("lin", "inv", "legs", "real"))
    check_count("d_state", d_state)
    if init == "real":
        return -torch.arange(1, d_state + 1, dtype=torch.float64)
    if d_state % 2:
        refuse("d_state", "an even number, for conjugate pairs", d_state)
    if init == "legs":
        return legs(d_state).Lambda
    n = torch.arange(d_state // 2, dtype=torch.float64)
    evenly_spaced = torch.pi * n
    inverse = d_state / torch.pi * (d_state / (2 * n + 1) - 1)
    frequency = evenly_spaced if init == "lin" else inverse
    return torch.complex(torch.full_like(n, -0.5), frequency)


def kernel(A: Tensor, B: Tensor, C: Tensor, delta: Tensor | float, length: int,
           discretization: Discretization) -> Tensor:
    """Compute the convolution kernel of a continuous diagonal system.

    Args:
        A: (N,) or (channels, N), in the unit of 1/delta; if complex, one of each conjugate pair.
        B: of A's shape.
        C: of A's shape.
        delta: the step size Δ, a number or (channels,).
        length: the number of entries.
        discretization: a function such as `discretize.zoh` or `discretize.bilinear`.

    Returns:
        K, real, (length,) or (length, channels).

    Raises:
        ValueError: for a wrong shape, dtype or device, NaN, a Δ that is not positive, or a length
            below 1.
    """
    check_system(A=A, B=B, C=C)
    if A.ndim not in (1, 2):
        refuse("A", "shape (N,) or (channels, N)", shape_of(A))
    for name, part in (("B", B), ("C", C)):
        check_shape(name, part, tuple(A.shape), "that of A")
    if not callable(discretization):
        refuse("discretization", "a function, such as discretize.zoh", repr(discretization))
    A_bar, B_bar = discretization(A, B, per_channel_delta(delta, A))
    return vandermonde(A_bar, include_conjugates(A, C) * B_bar, length).real


def include_conjugates(A: Tensor, C: Tensor) -> Tensor:
    """Scale C so that Re(C h) is the output of the whole state, with h one of each pair.

    Args:
        A: the A of the system; complex if h holds one of each conjugate pair.
        C: any shape.

    Returns:
        2 C for a complex A, C itself for a real one.

    Raises:
        ValueError: for a wrong dtype or device, or NaN.
    """
    check_system(A=A, C=C)
    return 2 * C if A.is_complex() else C


@without_autocast
def vandermonde(A_bar: Tensor, weights: Tensor, length: int) -> Tensor:
    """Compute Σₙ weightsₙ A_barₙˡ for l = 0 … length − 1, in blocks of about √length.

    With l = row · width + column, A_barˡ is a power for the row times a power for the column, and
    the sum over n is a product of two matrices. Only 2 N √length powers are computed and saved
    for the backward pass, instead of a table of N · length.

    Args:
        A_bar: (N,) or (channels, N).
        weights: of A_bar's shape.
        length: the number of entries.

    Returns:
        (length,) or (length, channels), complex if either argument is.

    Raises:
        ValueError: for a wrong shape, dtype or device, NaN, or a length below 1.
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
    """Compute base⁰ … base^(count − 1) and base^count, by doubling.

    Args:
        base: (..., N), raised elementwise.
        count: the number of powers, at least 1.

    Returns:
        The powers (..., count, N), and base^count (..., N).

    Raises:
        ValueError: for a wrong dtype, NaN, or a count below 1.
    """
    check_system(base=base)
    if base.ndim == 0:
        refuse("base", "shape (..., N)", shape_of(base))
    check_count("count", count)
    result = torch.ones_like(base)[..., None, :]
    power = base                                                # base^computed
    computed = 1
    while 2 * computed <= count:
        result = torch.cat([result, result * power[..., None, :]], -2)
        power = power * power
        computed *= 2
    missing = count - computed
    if missing:
        result = torch.cat([result, result[..., :missing, :] * power[..., None, :]], -2)
    return result, result[..., -1, :] * base
