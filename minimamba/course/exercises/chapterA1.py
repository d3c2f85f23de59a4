"""Appendix A1: the kernel of S4."""

import torch

from minimamba.course.exercises import Exercise
from minimamba.s4 import dplr


def generating_function(K, omega):
    """The values Σ_l K_l ω^l at each of some points."""
    return (K * omega[:, None] ** torch.arange(len(K))).sum(-1)


def solve(d, p, q, b):
    """Solution of (diag(d) + p qᵀ) y = b by the Woodbury identity."""
    y, column = b / d, p / d
    return y - column * (q * y).sum() / (1 + (q * column).sum())


def s4_kernel(Lambda, P, B, C, delta, length):
    """S4's kernel from its spectrum, for one system with one eigenvalue of each conjugate pair."""
    return dplr.kernel(dplr.DPLR(Lambda, P[:, None], B), C, delta, length)


def _without_the_power(Lambda, P, B, C, delta, length):
    """The inverse FFT of C (I − Ā ω)⁻¹ B̄ at the roots of unity."""
    A_bar, B_bar, row = dplr.bilinear(dplr.DPLR(Lambda, P[:, None], B), C, delta)
    omega = torch.exp(-2j * torch.pi * torch.arange(length, dtype=row.dtype) / length)
    inside = torch.eye(len(A_bar), dtype=row.dtype) - A_bar * omega[:, None, None]
    states = torch.linalg.solve(inside, B_bar.to(omega)[:, None])[..., 0]
    return torch.fft.ifft(states @ row.to(omega)).real


def _complex(real, imaginary):
    return torch.complex(torch.tensor(real, dtype=torch.float64),
                         torch.tensor(imaginary, dtype=torch.float64))


K = torch.tensor([1.0, 0.5, 0.25, 0.125], dtype=torch.float64)
OMEGA = _complex([1.0, 0.0, -1.0, 0.0], [0.0, -1.0, 0.0, 1.0])
D, P = _complex([2.0, 1.0, -3.0], [0.5, 1.0, 0.0]), _complex([1.0, 0.5, -1.0], [0.0, 1.0, 0.5])
Q, B = _complex([0.2, 1.0, 0.7], [1.0, 0.0, -0.3]), _complex([1.0, 2.0, 3.0], [0.0, -1.0, 1.0])
LAMBDA, COLUMN = _complex([-0.5, -0.4], [2.0, 5.0]), _complex([0.8, 1.0], [0.3, -0.2])
INPUT, OUTPUT = _complex([1.0, 0.5], [0.5, -0.5]), _complex([0.7, -0.4], [-1.2, 1.2])

EXERCISES = {
    "A1.1": Exercise(
        generating_function,
        ({"K": K, "omega": OMEGA}, {"K": K.flip(0)[:3], "omega": 0.9 * OMEGA[1:]}),
        {"The powers begin with 0: the first value of the kernel is multiplied by 1.":
            lambda K, omega: omega * generating_function(K, omega),
         "That is the kernel backwards: K_l goes with the l-th power.":
            lambda K, omega: generating_function(K.flip(0), omega),
         "The powers are ω^l, not ω^(−l).":
            lambda K, omega: generating_function(K, 1 / omega)}),
    "A1.2": Exercise(
        solve,
        ({"d": D, "p": P, "q": Q, "b": B}, {"d": D, "p": Q, "q": P, "b": B.conj()}),
        {"The sign is wrong: the low-rank term is added to the matrix, so the correction is "
         "subtracted, with the denominator 1 + qᵀD⁻¹p.":
            lambda d, p, q, b: b / d + p / d * (q * b / d).sum() / (1 - (q * p / d).sum()),
         "That solves with the diagonal only: p qᵀ is missing.":
            lambda d, p, q, b: b / d,
         "The denominator 1 + qᵀD⁻¹p is missing.":
            lambda d, p, q, b: b / d - p / d * (q * b / d).sum()}),
    "A1.3": Exercise(
        s4_kernel,
        ({"Lambda": LAMBDA, "P": COLUMN, "B": INPUT, "C": OUTPUT, "delta": 0.3, "length": 6},
         {"Lambda": 2 * LAMBDA, "P": INPUT, "B": COLUMN, "C": OUTPUT, "delta": 0.1, "length": 5}),
        {"That is the kernel of the diagonal part only: the low-rank part is missing.":
            lambda Lambda, P, B, C, delta, length: s4_kernel(Lambda, 0 * P, B, C, delta, length),
         "The factor Δ in front of the whole spectrum is missing.":
            lambda Lambda, P, B, C, delta, length:
            s4_kernel(Lambda, P, B, C, delta, length) / delta,
         "C_tilde is missing: a finite kernel needs C (I − A_bar^L), not C.": _without_the_power,
         "The roots of unity run the other way: ω = exp(−2πi k/L).":
            lambda Lambda, P, B, C, delta, length:
            s4_kernel(Lambda, P, B, C, delta, length)[(-torch.arange(length)) % length]}),
}
