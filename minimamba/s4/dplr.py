"""S4: HiPPO's A as diagonal plus low rank (DPLR), and its kernel without a power per step.

    A = S − P Pᵀ               S normal, with orthonormal eigenvectors            (NPLR)
      = V (Λ − P' P'*) V*      in those eigenvectors, diagonal plus low rank      (DPLR)

(Gu et al. 2021, arXiv:2111.00396, theorems 1 and 3.) S is −c times the identity plus a
skew-symmetric matrix, so its eigenvalues come in conjugate pairs. As in `minimamba.s4.diagonal`,
only one of each pair is kept: Lambda, B and C have N/2 complex components for a state of N.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from minimamba.arguments import (
    check_count,
    check_shape,
    check_system,
    refuse,
    shape_of,
    values_exist,
)
from minimamba.autocast import without_autocast
from minimamba.s4 import hippo
from minimamba.shapes import per_channel_delta


class DPLR(NamedTuple):
    """A continuous system with A = Λ − P P*: one of each conjugate pair, with or without channels.

    The leading axes are () for one system, (channels,) for one per channel.
    """

    Lambda: Tensor
    """Λ, (..., N/2), complex, with negative real parts."""
    P: Tensor
    """(..., N/2, rank), complex."""
    B: Tensor
    """(..., N/2), complex."""


def nplr(measure: hippo.Measure, N: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Construct HiPPO's A and B and the low-rank term that makes A normal: A = S − P Pᵀ.

    Args:
        measure: "legs", "legt" or "fout".
        N: the state dimension; odd for "fout".

    Returns:
        A (N, N), B (N,), S (N, N) and P (N, rank), float64; the rank is 1 for "legs" and "fout",
        2 for "legt".
    """
    A, B = hippo.matrices(measure, N)
    root = (2 * torch.arange(N, dtype=A.dtype) + 1).sqrt()
    if measure == "legt":
        sign = (-1.0) ** torch.arange(N, dtype=A.dtype)
        P = torch.stack([root, sign * root], 1) / 2**0.5
    elif measure == "legs":
        P = root[:, None] / 2**0.5
    else:
        P = B[:, None] / 2**0.5
    return A, B, A + P @ P.T, P


def legs(N: int) -> DPLR:
    """Construct HiPPO-LegS in the eigenvectors of its normal part S.

    Args:
        N: the state dimension, even.

    Returns:
        Lambda (N/2,), P (N/2, 1) and B (N/2,), complex128.
    """
    check_count("N", N)
    if N % 2:
        refuse("N", "an even number, for conjugate pairs", N)
    with torch.device("cpu"):  # the default device may be "meta", where nothing has eigenvalues
        _, B, S, P = nplr("legs", N)
        # −i (S + I/2) is Hermitian, so `eigh` gives eigenvectors that are orthonormal to rounding.
        frequency, V = torch.linalg.eigh(-1j * (S + torch.eye(N, dtype=S.dtype) / 2))
    half = frequency > 0
    V = V[:, half]
    frequency = frequency[half]
    Lambda = torch.complex(torch.full_like(frequency, -0.5), frequency)
    device = torch.get_default_device()
    return DPLR(*(part.to(device) for part in (Lambda, V.mH @ P.to(V.dtype),
                                               V.mH @ B.to(V.dtype))))


@without_autocast
def to_dense(system: DPLR, C: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Write the system with real, dense matrices.

    A component h and its conjugate become the two real numbers √2 Re h and √2 Im h.

    Args:
        system: Λ, P and B.
        C: of B's shape, complex.

    Returns:
        A (..., N, N), B and C (..., N), real.
    """
    _check(system, C)
    Lambda, P, B = system
    decay = torch.diag_embed(Lambda.real)
    rotation = torch.diag_embed(Lambda.imag)
    diagonal = torch.cat([torch.cat([decay, -rotation], -1), torch.cat([rotation, decay], -1)], -2)
    P_real = _to_real(P.mT).mT
    return diagonal - P_real @ P_real.mT, _to_real(B), _to_real(_conjugate(C))


@without_autocast
def bilinear(system: DPLR, C: Tensor, delta: Tensor | float) -> tuple[Tensor, Tensor, Tensor]:
    """Discretize the system of `to_dense` by the bilinear rule.

    Args:
        system: Λ, P and B.
        C: of B's shape, complex.
        delta: the step size Δ, a number or (channels,).

    Returns:
        A_bar (..., N, N), B_bar and C (..., N), real.
    """
    A, B, C_real = to_dense(system, C)
    step = per_channel_delta(delta, system.Lambda)[..., None, None]
    one = torch.eye(A.shape[-1], dtype=A.dtype, device=A.device)
    right_sides = torch.cat([one + step / 2 * A, step * B[..., None]], -1)
    A_bar, B_bar = torch.linalg.solve(one - step / 2 * A, right_sides).split([A.shape[-1], 1], -1)
    return A_bar, B_bar[..., 0], C_real


@without_autocast
def kernel(system: DPLR, C: Tensor, delta: Tensor | float, length: int) -> Tensor:
    """Compute the kernel under the bilinear rule, from its generating function.

    At z with z^L = 1 the generating function is Σ_l K_l z^l = C (I − Ā^L) (I − Ā z)⁻¹ B̄, and for
    the bilinear rule the last two factors are ((1 − z) I − (1 + z) Δ/2 A)⁻¹ ΔB, which has A itself
    and no power of Ā. The diagonal part of that inverse is a Cauchy product, its low-rank part
    follows by Woodbury's identity, and an inverse FFT over the roots of unity gives K. This is
    algorithm 1 of the paper, which divides by 1 + z, so must leave out z = −1; this form need not.

    The paper learns C (I − Ā^L) as a parameter, for one L. Here C is the parameter, so that the
    same C serves any length and the recurrence; one power, Ā^L, is computed.

    Args:
        system: Λ, P and B; one system, or one per channel.
        C: of B's shape, complex.
        delta: the step size Δ, a number or (channels,).
        length: the number of entries.

    Returns:
        K, real, (length,) or (length, channels).

    Raises:
        ValueError: for a wrong shape, dtype or device, NaN, a Λ whose real parts are not below 0,
            a Δ that is not positive, or a length below 1.
    """
    check_count("length", length)
    A_bar, _, C_real = bilinear(system, C, delta)
    C_power = (C_real[..., None, :] @ torch.linalg.matrix_power(A_bar, length))[..., 0, :]
    real, imag = (C_real - C_power).chunk(2, -1)
    C_tilde = torch.complex(real, -imag) / 2**0.5
    Lambda, P, B = system
    rank = P.shape[-1]
    step = per_channel_delta(delta, Lambda)
    # Half of the roots of unity: K is real, so the others give the conjugates. Computed in
    # float64, since an angle rounded to float32 would cost K its last digits.
    angle = torch.arange(length // 2 + 1, dtype=torch.float64) * (-2 * torch.pi / length)
    z = torch.polar(torch.ones_like(angle), angle).to(Lambda)
    w = (1 + z) * step[..., None] / 2                                # (..., roots)
    # The rows C̃ and P*, and the columns B and P, over the whole state: one half and its conjugate.
    rows = torch.cat([C_tilde[..., None, :], _conjugate(P).mT], -2)
    rows = _with_conjugate(rows, -1)                                 # (..., 1 + rank, N)
    columns = torch.cat([B[..., None], P], -1)
    columns = _with_conjugate(columns, -2)                           # (..., N, 1 + rank)
    products = (rows[..., None, :] * columns.mT[..., None, :, :]).flatten(-3, -2)
    # Everything above is small. This is the large array: channels · roots · N.
    inverse = 1 / ((1 - z)[:, None] - w[..., None] * _with_conjugate(Lambda, -1)[..., None, :])
    cauchy = (inverse @ products.mT).unflatten(-1, (1 + rank, 1 + rank))
    CB = cauchy[..., :1, :1]
    CP = cauchy[..., :1, 1:]
    PB = cauchy[..., 1:, :1]
    PP = cauchy[..., 1:, 1:]
    w = w[..., None, None]
    one = torch.eye(rank, dtype=z.dtype, device=z.device)
    spectrum = CB - w * CP @ torch.linalg.solve(one + w * PP, PB)
    return torch.fft.irfft(spectrum[..., 0, 0] * step[..., None], length).movedim(-1, 0)


def _to_real(v: Tensor) -> Tensor:
    """The coordinates of `to_dense`: (..., N/2) complex to (..., N) real."""
    return 2**0.5 * torch.cat([v.real, v.imag], -1)


def _conjugate(v: Tensor) -> Tensor:
    """The conjugate, not as the view that `conj` returns, which `torch.vmap` can't take apart."""
    return torch.complex(v.real, -v.imag)


def _with_conjugate(v: Tensor, axis: int) -> Tensor:
    """Append the conjugates along an axis: from one of each pair to the whole state."""
    return torch.cat([v, _conjugate(v)], axis)


def _check(system: DPLR, C: Tensor) -> None:
    """Check the dtypes and shapes of a system, and that Λ decays."""
    if not isinstance(system, DPLR):
        refuse("system", "a DPLR", type(system).__name__)
    Lambda, P, B = system
    check_system(Lambda=Lambda, P=P, B=B, C=C)
    for name, part in (("Lambda", Lambda), ("P", P), ("B", B), ("C", C)):
        if not part.is_complex():
            refuse(name, "a complex dtype", part.dtype)
    if Lambda.ndim not in (1, 2):
        refuse("Lambda", "shape (N/2,) or (channels, N/2)", shape_of(Lambda))
    if values_exist() and not (Lambda.real < 0).all():
        refuse("Lambda", "real parts below 0", f"{Lambda.real.max().item() + 0.0:g}")
    shape = tuple(Lambda.shape)
    if tuple(P.shape[:-1]) != shape:
        refuse("P", f"shape {shape} + (rank,)", shape_of(P))
    check_shape("B", B, shape, "that of Lambda")
    check_shape("C", C, shape, "that of Lambda")
