"""S4: HiPPO's A as a normal matrix minus one of low rank, and its kernel without any power.

    A = S − P Pᵀ               S normal: orthogonal eigenvectors, safe to change to   (NPLR)
      = V (Λ − P' P'*) V*      in those coordinates, diagonal plus low rank           (DPLR)

(Gu et al. 2021, arXiv:2111.00396, theorems 1 and 3.) S is −c times the identity plus a
skew-symmetric matrix, so its eigenvalues come in conjugate pairs, and as in `diagonal` one of
each pair is kept: Lambda, B and C have N/2 complex numbers for a state of N.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from minimamba.arguments import check_count, check_shape, check_system, refuse, shape_of
from minimamba.s4 import hippo
from minimamba.shapes import a_channel


class DPLR(NamedTuple):
    """A = Λ − P P* and B, one of each conjugate pair; leading axes are channels."""

    Lambda: Tensor
    """(..., N/2) complex, real parts below 0."""
    P: Tensor
    """(..., N/2, rank)."""
    B: Tensor
    """(..., N/2)."""


def nplr(measure: hippo.Measure, N: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """HiPPO's A and B with the low-rank part that makes A normal: A = S − P Pᵀ.

    Returns:
        A (N, N), B (N,), S (N, N) and P (N, rank), float64; rank 1 for "legs" and "fout", 2
        for "legt".
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
    """HiPPO-LegS in the coordinates in which its normal part is diagonal; N even."""
    check_count("N", N)
    if N % 2:
        refuse("N", "an even number, for conjugate pairs", N)
    _, B, S, P = nplr("legs", N)
    # −i (S + I/2) is Hermitian, so its eigenvectors are orthogonal to the last digit.
    frequency, V = torch.linalg.eigh(-1j * (S + torch.eye(N, dtype=S.dtype) / 2))
    half = frequency > 0
    V, frequency = V[:, half], frequency[half]
    Lambda = torch.complex(torch.full_like(frequency, -0.5), frequency)
    return DPLR(Lambda, V.mH @ P.to(V.dtype), V.mH @ B.to(V.dtype))


def dense(system: DPLR, C: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The same system with real matrices: A (..., N, N), B and C (..., N).

    A pair (h, its conjugate) becomes the two real numbers √2 (Re h, Im h).
    """
    _check(system, C)
    Lambda, P, B = system
    decay, turn = torch.diag_embed(Lambda.real), torch.diag_embed(Lambda.imag)
    diagonal = torch.cat([torch.cat([decay, -turn], -1), torch.cat([turn, decay], -1)], -2)
    P = _real(P.mT).mT
    return diagonal - P @ P.mT, _real(B), _real(C.conj())


def discrete(system: DPLR, C: Tensor, delta: Tensor | float) -> tuple[Tensor, Tensor, Tensor]:
    """The bilinear rule for `dense`: A_bar (..., N, N), B_bar and C (..., N), all real."""
    A, B, C = dense(system, C)
    step = a_channel(delta, system.Lambda)[..., None, None]
    one = torch.eye(A.shape[-1], dtype=A.dtype, device=A.device)
    both = torch.cat([one + step / 2 * A, step * B[..., None]], -1)
    A_bar, B_bar = torch.linalg.solve(one - step / 2 * A, both).split([A.shape[-1], 1], -1)
    return A_bar, B_bar[..., 0], C


def kernel(system: DPLR, C: Tensor, delta: Tensor | float, length: int) -> Tensor:
    """The bilinear kernel, from its generating function at the roots of unity.

    At z with z^L = 1, Σ_l K_l z^l = C (I − Ā^L) (I − Ā z)⁻¹ B̄, and for the bilinear rule the
    last two factors are ((1 − z) I − (1 + z) Δ/2 A)⁻¹ Δ B: A itself, no power of it. Its
    diagonal part inverts number by number (a Cauchy product), its low-rank part by Woodbury's
    identity; an inverse FFT then gives K (algorithm 1 of the paper, which divides by 1 + z and
    so must leave out z = −1; this form need not).

    The paper learns C (I − Ā^L) itself, for one L. Here C is given, so the same numbers serve
    any length and the recurrence, and Ā^L, one power, is computed.

    Args:
        system: one, or with a leading axis of channels.
        C: of B's shape.
        delta: a number, or (channels,).

    Returns:
        Real, (length,) or (length, channels).
    """
    check_count("length", length)
    A_bar, _, C_real = discrete(system, C, delta)
    C_real = C_real - (C_real[..., None, :] @ torch.linalg.matrix_power(A_bar, length))[..., 0, :]
    C = torch.complex(*C_real.chunk(2, -1)).conj() / 2**0.5
    Lambda, P, B = system
    rank = P.shape[-1]
    step = a_channel(delta, Lambda)
    # Half of the roots: K is real, so the others are their conjugates. In float64, since an
    # angle rounded to float32 is off by as much as K's last digits.
    angle = torch.arange(length // 2 + 1, dtype=torch.float64) * (-2 * torch.pi / length)
    z = torch.polar(torch.ones_like(angle), angle).to(Lambda)
    half_step = (1 + z) * step[..., None] / 2                        # (..., nodes)
    # Rows C and P*, columns B and P, over the whole state: each pair's second half is the
    # conjugate of its first.
    left = _pair(torch.cat([C[..., None, :], P.mH], -2), -1)         # (..., 1 + rank, N)
    right = _pair(torch.cat([B[..., None], P], -1), -2)              # (..., N, 1 + rank)
    products = (left[..., None, :] * right.mT[..., None, :, :]).flatten(-3, -2)
    # Everything above is small. This is the large array: channels · nodes · N.
    inverse = 1 / ((1 - z)[:, None] - half_step[..., None] * _pair(Lambda, -1)[..., None, :])
    cauchy = (inverse @ products.mT).unflatten(-1, (1 + rank, 1 + rank))
    CB, CP = cauchy[..., :1, :1], cauchy[..., :1, 1:]
    PB, PP = cauchy[..., 1:, :1], cauchy[..., 1:, 1:]
    w = half_step[..., None, None]
    one = torch.eye(rank, dtype=z.dtype, device=z.device)
    spectrum = CB - w * CP @ torch.linalg.solve(one + w * PP, PB)
    spectrum = spectrum[..., 0, 0] * step[..., None]
    return torch.fft.irfft(spectrum, length).movedim(-1, 0)


def _real(v: Tensor) -> Tensor:
    return 2**0.5 * torch.cat([v.real, v.imag], -1)


def _pair(v: Tensor, axis: int) -> Tensor:
    return torch.cat([v, v.conj()], axis)


def _check(system: DPLR, C: Tensor) -> None:
    Lambda, P, B = system
    check_system(Lambda=Lambda, P=P, B=B, C=C)
    for name, part in (("Lambda", Lambda), ("P", P), ("B", B), ("C", C)):
        if not part.is_complex():
            refuse(name, "a complex dtype", part.dtype)
    if Lambda.ndim not in (1, 2):
        refuse("Lambda", "shape (N/2,) or (channels, N/2)", shape_of(Lambda))
    if not (Lambda.real < 0).all():
        refuse("Lambda", "real parts below 0", f"{Lambda.real.max().item() + 0.0:g}")
    shape = tuple(Lambda.shape)
    if tuple(P.shape[:-1]) != shape:
        refuse("P", f"shape {shape} + (rank,)", shape_of(P))
    check_shape("B", B, shape, "that of Lambda")
    check_shape("C", C, shape, "that of Lambda")
