"""HiPPO: states that hold the best polynomial, or Fourier series, of the past.

The past is seen through a window and expanded in functions that are orthonormal there; the
state c is the list of coefficients. When time moves on, c moves by a linear equation:

| | the window | c' = | the functions of the age s, a share of the window |
|---|---|---|---|
| LegS | all of the past, scaled | (A c + B x) / t | √(2n+1) Pₙ(1 − 2s) |
| LegT | the last θ | (A c + B x) / θ | √(2n+1) Pₙ(1 − 2s) |
| FouT | the last θ | (A c + B x) / θ | 1, √2 cos 2πs, √2 sin 2πs, √2 cos 4πs, … |

(Gu et al. 2020, arXiv:2008.07669, theorems 1 and 2; 2022, arXiv:2206.12037, for FouT and for
what LegS means without its 1/t.) LegS is exact. The other two must know what leaves the
window, and take it from the state itself: that is approximate.
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
)
from minimamba.continuous import simulate

Measure = Literal["legs", "legt", "fout"]


def legs(N: int) -> tuple[Tensor, Tensor]:
    """HiPPO-LegS: A (N, N), lower triangular with −1, −2, …, −N on its diagonal, and B (N,)."""
    n = _orders(N)
    root = (2 * n + 1).sqrt()
    A = -torch.outer(root, root).tril(-1) - torch.diag(n + 1)
    return A, root


def legt(N: int) -> tuple[Tensor, Tensor]:
    """HiPPO-LegT for a window of length 1: A (N, N) and B (N,). Divide both by θ for another.

    The LMU's matrix (Voelker et al. 2019) in orthonormal coordinates.
    """
    n = _orders(N)
    root = (2 * n + 1).sqrt()
    alternating = (-1.0) ** (n[None] - n[:, None])
    sign = torch.where(n[None] <= n[:, None], 1.0, alternating)
    return -torch.outer(root, root) * sign, root


def fout(N: int) -> tuple[Tensor, Tensor]:
    """HiPPO-FouT for a window of length 1: A (N, N) and B (N,), N odd: 1, and pairs of waves."""
    n = _orders(N)
    if N % 2 == 0:
        refuse("N", "an odd number for fout, a constant and pairs of waves", N)
    turn = torch.zeros(N, N, dtype=n.dtype)
    cosine = torch.arange(1, N, 2)
    speed = torch.pi * (cosine + 1).to(n.dtype)
    turn[cosine, cosine + 1], turn[cosine + 1, cosine] = -speed, speed
    now = torch.zeros(N, dtype=n.dtype)  # each function's value at age 0
    now[0], now[cosine] = 1, 2**0.5
    return turn - 2 * torch.outer(now, now), 2 * now


def matrices(measure: Measure, N: int) -> tuple[Tensor, Tensor]:
    """A (N, N) and B (N,) of one of the three, float64."""
    known = {"legs": legs, "legt": legt, "fout": fout}
    check_one_of("measure", measure, known)
    return known[measure](N)


def basis(measure: Measure, N: int, age: Tensor) -> Tensor:
    """The N orthonormal functions at ages between 0 (now) and 1 (the window's far end).

    Args:
        age: any shape, as a share of the window.

    Returns:
        age's shape + (N,). The past is this times the state, summed over its last axis.
    """
    matrices(measure, N)  # refuses what it does not know
    check_system(age=age)
    if age.is_complex():
        refuse("age", "a real dtype", age.dtype)
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
    """Run the state over a signal: the coefficients of its past at every moment.

    Args:
        x: (..., length), held from each moment until the next.
        t: (length,), increasing and greater than 0. Until t[0] the past is constant, x[0]: from
            0 on for LegS, whose window begins there, and for ever for LegT and FouT.
        window: θ, in the unit of t, for LegT and FouT. LegS takes none: its window is t.

    Returns:
        (..., length, N), in x's dtype.
    """
    A, B = matrices(measure, N)
    check_system(x=x, t=t)
    if t.is_complex():
        refuse("t", "a real dtype", t.dtype)
    A, B = A.to(t), B.to(t)
    if (window is None) != (measure == "legs"):
        refuse("window", "None for 'legs', else a time greater than 0", repr(window))
    if window is not None:
        check_positive("window", window, "a time")
    if x.ndim == 0:
        refuse("x", "shape (..., length)", shape_of(x))
    if not (t > 0).all():
        refuse("t", "moments greater than 0", f"{t.min().item() + 0.0:g}")
    constant = torch.zeros(N, dtype=x.dtype, device=x.device)
    constant[0] = 1
    start = x[..., :1] * constant
    if measure == "legs":
        # c' = (A c + B x) / t is c' = A c + B x in the logarithm of time.
        return simulate(A, B, x, t.log(), initial_state=start)
    return simulate(A / window, B / window, x, t, initial_state=start)


def _orders(N: int) -> Tensor:
    check_count("N", N)
    return torch.arange(N, dtype=torch.float64)
