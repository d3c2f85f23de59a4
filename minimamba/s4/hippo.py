"""HiPPO: systems whose state holds the coefficients of the past in an orthonormal basis.

The past is seen through a window and expanded in functions that are orthonormal there. The state
c is the vector of coefficients, and it obeys a linear ODE:

| | window | c' = | basis functions of the age s, from 0 (now) to 1 (the window's far end) |
|---|---|---|---|
| LegS | the whole past, rescaled | (A c + B x) / t | √(2n+1) Pₙ(1 − 2s), Legendre polynomials |
| LegT | the last θ | (A c + B x) / θ | √(2n+1) Pₙ(1 − 2s), Legendre polynomials |
| FouT | the last θ | (A c + B x) / θ | 1, √2 cos 2πs, √2 sin 2πs, √2 cos 4πs, … |

(Gu et al. 2020, arXiv:2008.07669, theorems 1 and 2; 2022, arXiv:2206.12037, for FouT and for
LegS without its 1/t.) LegS is exact. LegT and FouT need the value of the input that leaves the
window, which they estimate from the state itself, so they are approximate.
"""

from typing import Literal

import torch
from torch import Tensor

from minimamba.arguments import (
    check_count,
    check_one_of,
    check_positive,
    check_system,
    refuse,
    shape_of,
    values_exist,
)
from minimamba.continuous import simulate

Measure = Literal["legs", "legt", "fout"]
"""The name of a HiPPO system; the paper calls the window's weighting a measure."""


def legs(N: int) -> tuple[Tensor, Tensor]:
    """Construct HiPPO-LegS, whose A is lower triangular with −1, −2, …, −N on its diagonal.

    Args:
        N: the state dimension.

    Returns:
        A (N, N) and B (N,), float64.
    """
    n = _orders(N)
    root = (2 * n + 1).sqrt()
    A = -torch.outer(root, root).tril(-1) - torch.diag(n + 1)
    return A, root


def legt(N: int) -> tuple[Tensor, Tensor]:
    """Construct HiPPO-LegT for a window of length 1; for length θ, divide A and B by θ.

    This is the LMU (Voelker et al. 2019) in an orthonormal basis.

    Args:
        N: the state dimension.

    Returns:
        A (N, N) and B (N,), float64.
    """
    n = _orders(N)
    root = (2 * n + 1).sqrt()
    alternating = (-1.0) ** (n[None] - n[:, None])
    sign = torch.where(n[None] <= n[:, None], 1.0, alternating)
    return -torch.outer(root, root) * sign, root


def fout(N: int) -> tuple[Tensor, Tensor]:
    """Construct HiPPO-FouT for a window of length 1; for length θ, divide A and B by θ.

    Args:
        N: the state dimension, odd: a constant, and pairs of a cosine and a sine.

    Returns:
        A (N, N) and B (N,), float64.
    """
    n = _orders(N)
    if N % 2 == 0:
        refuse("N", "an odd number for fout: a constant, and pairs of cosine and sine", N)
    rotation = torch.zeros(N, N, dtype=n.dtype)
    cosine = torch.arange(1, N, 2)
    frequency = torch.pi * (cosine + 1).to(n.dtype)
    rotation[cosine, cosine + 1] = -frequency
    rotation[cosine + 1, cosine] = frequency
    basis_now = torch.zeros(N, dtype=n.dtype)  # the basis functions at age 0
    basis_now[0] = 1
    basis_now[cosine] = 2**0.5
    return rotation - 2 * torch.outer(basis_now, basis_now), 2 * basis_now


def matrices(measure: Measure, N: int) -> tuple[Tensor, Tensor]:
    """Construct the A and B of a HiPPO system by its name.

    Args:
        measure: "legs", "legt" or "fout".
        N: the state dimension; odd for "fout".

    Returns:
        A (N, N) and B (N,), float64; LegT and FouT for a window of length 1.
    """
    known = {"legs": legs, "legt": legt, "fout": fout}
    check_one_of("measure", measure, known)
    return known[measure](N)


def basis(measure: Measure, N: int, age: Tensor) -> Tensor:
    """Evaluate the N orthonormal basis functions that the state holds coefficients of.

    The reconstruction of the past at age s is basis(s) · c, for the state c.

    Args:
        measure: "legs", "legt" or "fout".
        N: the state dimension; odd for "fout".
        age: any shape, real: how long ago, as a fraction of the window, from 0 (now) to 1.

    Returns:
        age's shape + (N,), in age's dtype.

    Raises:
        ValueError: for an unknown measure, a wrong N or dtype, NaN, or an age outside the window.
    """
    matrices(measure, N)  # checks measure and N
    check_system(age=age)
    if age.is_complex():
        refuse("age", "a real dtype", age.dtype)
    if values_exist() and not ((age >= 0) & (age <= 1)).all():
        refuse("age", "fractions of the window, from 0 to 1", f"{age.min():g} to {age.max():g}")
    if measure == "fout":
        angle = 2 * torch.pi * age[..., None] * torch.arange(1, N // 2 + 1, device=age.device)
        waves = torch.stack([angle.cos(), angle.sin()], -1).flatten(-2) * 2**0.5
        return torch.cat([torch.ones_like(age)[..., None], waves], -1)
    z = 1 - 2 * age
    P = [torch.ones_like(z), z]
    for n in range(1, N - 1):
        P.append(((2 * n + 1) * z * P[n] - n * P[n - 1]) / (n + 1))
    return torch.stack([(2 * n + 1) ** 0.5 * P[n] for n in range(N)], -1)


def project(measure: Measure, N: int, x: Tensor, t: Tensor, window: float | None = None) -> Tensor:
    """Run a HiPPO system over a signal: the coefficients of its past at every sample time.

    Args:
        measure: "legs", "legt" or "fout".
        N: the state dimension; odd for "fout".
        x: (..., length), real or complex; each sample is held until the next one.
        t: (length,), the sample times, increasing and greater than 0. Before t[0] the past is
            taken to be constant, x[0]: since 0 for LegS, whose window begins there, and for all
            earlier times for LegT and FouT.
        window: θ, in the unit of t, for LegT and FouT; None for LegS, whose window is t.

    Returns:
        The states, (..., length, N), in x's dtype.

    Raises:
        ValueError: for an unknown measure, a window that does not fit it, a wrong shape or dtype,
            NaN, or times that do not increase.
    """
    A, B = matrices(measure, N)
    check_system(x=x, t=t)
    if t.is_complex():
        refuse("t", "a real dtype", t.dtype)
    A = A.to(t)
    B = B.to(t)
    if (window is None) != (measure == "legs"):
        refuse("window", "None for 'legs', else a time greater than 0", repr(window))
    if window is not None:
        check_positive("window", window, "a time")
    if x.ndim == 0:
        refuse("x", "shape (..., length)", shape_of(x))
    if values_exist() and not (t > 0).all():
        refuse("t", "times greater than 0", f"{t.min().item() + 0.0:g}")
    constant = torch.zeros(N, dtype=x.dtype, device=x.device)
    constant[0] = 1
    initial_state = x[..., :1] * constant
    if measure == "legs":
        # c' = (A c + B x) / t becomes c' = A c + B x in log time.
        return simulate(A, B, x, t.log(), initial_state=initial_state)
    return simulate(A / window, B / window, x, t, initial_state=initial_state)


def _orders(N: int) -> Tensor:
    """The orders n = 0 … N − 1 of the basis functions, float64."""
    check_count("N", N)
    return torch.arange(N, dtype=torch.float64)
