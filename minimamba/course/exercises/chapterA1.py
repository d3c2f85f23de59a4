"""Appendix A1: the kernel of S4."""

from functools import partial

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from minimamba import discretize
from minimamba.course.exercises import Exercise, WrongAnswer
from minimamba.s4 import dplr


def generating_function(K, omega):
    """The values Σ_l K_l ω^l at each of some points."""
    return (K * omega[:, None] ** torch.arange(len(K))).sum(-1)


def solve(d, p, q, b):
    """Solution of (diag(d) + p qᵀ) y = b by the Woodbury identity."""
    y, column = b / d, p / d
    return y - column * (q * y).sum() / (1 + (q * column).sum())


class _NoMatrix(TorchDispatchMode):
    """Raises an error where a tensor is made that is much larger than N."""

    def __init__(self, N):
        super().__init__()
        self.limit = 4 * N

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        for part in made if isinstance(made, (tuple, list)) else [made]:
            if isinstance(part, torch.Tensor) and part.numel() > self.limit:
                raise WrongAnswer(f"Somewhere a tensor of shape {tuple(part.shape)} is made. "
                                  "The result needs vectors only: p qᵀ acts by the number qᵀy.")
        return made


def _without_a_matrix(answer, **case):
    with _NoMatrix(len(case["d"])):
        return answer(**case)


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


def _four_steps(Lambda, P, B, C, delta, length, *, paired=True, power=0, power_sign=1, half=0.5,
                correction=1, eta_below=True, eta_above=True, row=torch.conj,
                transform=lambda spectrum: torch.fft.ifft(spectrum).real):
    """The kernel by the four steps of the text, with mistakes if asked for."""
    if paired:
        Lambda, P, B, C = (torch.cat([part, part.conj()]) for part in (Lambda, P, B, C))
    A_bar, _ = discretize.bilinear(torch.diag(Lambda) - torch.outer(P, P.conj()), B, delta)
    C_tilde = C - power_sign * C @ torch.linalg.matrix_power(A_bar, length + power)
    omega = torch.exp(-2j * torch.pi * torch.arange(length, dtype=torch.float64) / length)
    eta = (1 + omega) * delta * half
    fractions = 1 / ((1 - omega)[:, None] - eta[:, None] * Lambda)
    CB, CP = fractions @ (C_tilde * B), fractions @ (C_tilde * P)
    PB, PP = fractions @ (row(P) * B), fractions @ (row(P) * P)
    below = 1 + (eta * PP if eta_below else PP)
    above = CP * (eta if eta_above else 1) * PB
    return transform(delta * (CB - correction * above / below))


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
            lambda K, omega: generating_function(K, 1 / omega),
         "The terms are still apart: sum over the lags.":
            lambda K, omega: K * omega[:, None] ** torch.arange(len(K)),
         "That sums over the points. Sum over the lags, the other axis.":
            lambda K, omega: (K * omega[:, None] ** torch.arange(len(K))).sum(0),
         "ω to the power of l, `**`, not times l.":
            lambda K, omega: (K * omega[:, None] * torch.arange(len(K))).sum(-1),
         "The kernel is missing: K_l multiplies the l-th power.":
            lambda K, omega: generating_function(torch.ones_like(K), omega),
         "Only ω is raised to the power l: K_l is a factor in front.":
            lambda K, omega: ((K * omega[:, None]) ** torch.arange(len(K))).sum(-1),
         "It is a sum over the lags, not their mean.":
            lambda K, omega: generating_function(K, omega) / len(K),
         "That is the real part. The values are complex.":
            lambda K, omega: generating_function(K, omega).real,
         "That is the size of the values, without their angle.":
            lambda K, omega: generating_function(K, omega).abs(),
         "The kernel is finite: that is a geometric series, K_0/(1 − ω).":
            lambda K, omega: K[0] / (1 - omega)}),
    "A1.2": Exercise(
        solve,
        ({"d": D, "p": P, "q": Q, "b": B}, {"d": D, "p": Q, "q": P, "b": B.conj()},
         {name: vector.repeat(6) for name, vector in zip("dpqb", (D, P, Q, B), strict=True)}),
        {"The sign is wrong: the low-rank term is added to the matrix, so the correction is "
         "subtracted, with the denominator 1 + qᵀD⁻¹p.":
            lambda d, p, q, b: b / d + p / d * (q * b / d).sum() / (1 - (q * p / d).sum()),
         "That solves with the diagonal only: p qᵀ is missing.":
            lambda d, p, q, b: b / d,
         "The denominator 1 + qᵀD⁻¹p is missing.":
            lambda d, p, q, b: b / d - p / d * (q * b / d).sum(),
         "Nothing is conjugated: qᵀ is not q*.":
            lambda d, p, q, b: solve(d, p, q.conj(), b),
         "p and q are swapped: in p qᵀ, q multiplies y.":
            lambda d, p, q, b: solve(d, q, p, b),
         "The correction has p/d: the inverse of the diagonal acts on p too.":
            lambda d, p, q, b: b / d - p * (q * b / d).sum() / (1 + (q * p / d).sum()),
         "In the denominator, too, p is divided by d: 1 + qᵀ(p/d).":
            lambda d, p, q, b: b / d - p / d * (q * b / d).sum() / (1 + (q * p).sum()),
         "In the numerator it is qᵀ(b/d): b is divided by d first.":
            lambda d, p, q, b: b / d - p / d * (q * b).sum() / (1 + (q * p / d).sum()),
         "The 1 in the denominator is missing: 1 + qᵀ(p/d).":
            lambda d, p, q, b: b / d - p / d * (q * b / d).sum() / (q * p / d).sum(),
         "The correction is subtracted from b/d, not added.":
            lambda d, p, q, b: b / d + p / d * (q * b / d).sum() / (1 + (q * p / d).sum()),
         "The denominator is 1 plus qᵀ(p/d), not 1 minus it.":
            lambda d, p, q, b: b / d - p / d * (q * b / d).sum() / (1 - (q * p / d).sum()),
         "p qᵀ is a matrix of all products; p · q, entry by entry, is only its diagonal.":
            lambda d, p, q, b: b / (d + p * q),
         "qᵀ(…) is one number, a sum over the components; here they are still apart.":
            lambda d, p, q, b: b / d - p / d * (q * b / d) / (1 + (q * p / d).sum()),
         "That multiplies by the matrix. Asked for is the y that it maps to b.":
            lambda d, p, q, b: d * b + p * (q * b).sum()},
        _without_a_matrix),
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
            s4_kernel(Lambda, P, B, C, delta, length)[(-torch.arange(length)) % length],
         "The conjugates are missing: append them to all four before anything else.":
            partial(_four_steps, paired=False),
         "C_tilde has the power L of A_bar, not L − 1: K ends with C A_bar^(L − 1) B_bar.":
            partial(_four_steps, power=-1),
         "In C_tilde, C A_bar^L is subtracted, not added.":
            partial(_four_steps, power_sign=-1),
         "η has the factor Δ/2: (1 + ω)Δ/2.":
            partial(_four_steps, half=1.0),
         "The correction is subtracted, since P P* is subtracted from Λ: see A1.2.":
            partial(_four_steps, correction=-1),
         "η is missing from the denominator: 1 + η P*P.":
            partial(_four_steps, eta_below=False),
         "η is missing from the correction: once from the low-rank term, once from each fraction.":
            partial(_four_steps, eta_above=False),
         "In two of the four sums P is conjugated: P* is the row, P the column.":
            partial(_four_steps, row=torch.clone),
         "That is the spectrum: the inverse FFT makes the kernel of it.":
            partial(_four_steps, transform=lambda spectrum: spectrum),
         "From the spectrum to the kernel it is the inverse FFT, `ifft`.":
            partial(_four_steps, transform=lambda spectrum: torch.fft.fft(spectrum).real),
         "The kernel is real: what is left of the imaginary part is rounding. Take the real part.":
            partial(_four_steps, transform=torch.fft.ifft)}),
}
