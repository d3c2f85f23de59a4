"""Chapter 04: S4."""

import torch

from minimamba.course.exercises import Exercise
from minimamba.s4 import hippo


def legs_matrix(N):
    """HiPPO-LegS's A (N, N)."""
    return hippo.legs(N)[0]


def s4d_kernel(A_bar, B_bar, C, length):
    """S4D's kernel from the discretized diagonal system."""
    powers = A_bar ** torch.arange(length)[:, None]
    return 2 * (powers * C * B_bar).sum(-1).real


def layer_kernel(A, B, C, delta, length):
    """The kernels of an S4D layer from its continuous parameters, by zero-order hold."""
    A_bar = torch.exp(delta[:, None] * A)
    B_bar = (A_bar - 1) / A * B
    powers = A_bar[..., None] ** torch.arange(length)
    return 2 * torch.einsum("dn,dnl->ld", C * B_bar, powers).real


def _parts(N):
    n = torch.arange(N, dtype=torch.float64)
    return torch.outer((2 * n + 1).sqrt(), (2 * n + 1).sqrt()), torch.diag(n + 1)


def _summed_over_the_channels(A, B, C, delta, length):
    A_bar = torch.exp(delta[:, None] * A)
    powers = A_bar[..., None] ** torch.arange(length)
    return 2 * torch.einsum("dn,dnl->ln", C * (A_bar - 1) / A * B, powers).real


def _complex(real, imaginary):
    return torch.complex(torch.tensor(real, dtype=torch.float64),
                         torch.tensor(imaginary, dtype=torch.float64))


A_BAR, B_BAR = _complex([0.9, 0.5], [0.2, -0.6]), _complex([1.0, 0.3], [0.0, 0.4])
C = _complex([0.5, -1.0], [1.0, 2.0])
A = _complex([[-0.5, -0.5], [-1.0, -0.2]], [[3.0, 6.0], [0.5, -2.0]])
DELTA = torch.tensor([0.1, 0.4], dtype=torch.float64)

EXERCISES = {
    "04.1": Exercise(
        legs_matrix,
        ({"N": 3}, {"N": 6}, {"N": 1}),
        {"That is the transpose: row n has its entries to the left of the diagonal, k < n.":
            lambda N: legs_matrix(N).T,
         "The sign is wrong: this state would grow.":
            lambda N: -legs_matrix(N),
         "Above the diagonal all entries are zero: a polynomial of degree n needs no polynomials "
         "of higher degree.":
            lambda N: -_parts(N)[0].tril(-1) - _parts(N)[0].triu(1) - _parts(N)[1],
         "On the diagonal the entry is −(n + 1), not the formula for the entries below it.":
            lambda N: -_parts(N)[0].tril(),
         "The square roots are missing: the entries have √(2n + 1) √(2k + 1).":
            lambda N: -(_parts(N)[0]**2).tril(-1) - _parts(N)[1],
         "n starts at 0: the first root is √1.":
            lambda N: legs_matrix(N + 1)[1:, 1:],
         "On the diagonal n starts at 0 too: the entries are −1, −2, ….":
            lambda N: legs_matrix(N) + torch.eye(N, dtype=torch.float64),
         "The sign is wrong on the diagonal: A's eigenvalues must be negative.":
            lambda N: legs_matrix(N) + 2 * _parts(N)[1],
         "The sign is wrong below the diagonal.":
            lambda N: legs_matrix(N).tril(-1).neg() - _parts(N)[1],
         "Below the diagonal there are entries too, for k < n.":
            lambda N: -_parts(N)[1],
         "The diagonal is missing: −(n + 1).":
            lambda N: legs_matrix(N).tril(-1),
         "Below the diagonal both roots count, that of n and that of k: it is their product.":
            lambda N: -_parts(N)[0].diag().sqrt()[:, None].expand(N, N).tril(-1) - _parts(N)[1]}),
    "04.2": Exercise(
        s4d_kernel,
        ({"A_bar": A_BAR, "B_bar": B_BAR, "C": C, "length": 6},
         {"A_bar": A_BAR.conj(), "B_bar": C, "C": B_BAR, "length": 3}),
        {"Each component stands for itself and its conjugate: the sum is twice the real part.":
            lambda A_bar, B_bar, C, length: s4d_kernel(A_bar, B_bar, C, length) / 2,
         "The outputs are real: take the real part, and twice, for the conjugates.":
            lambda A_bar, B_bar, C, length:
            (A_bar ** torch.arange(length)[:, None] * C * B_bar).sum(-1),
         "Take the real part at the end: that of a product is not the product of real parts.":
            lambda A_bar, B_bar, C, length:
            2 * ((A_bar ** torch.arange(length)[:, None]).real * (C * B_bar).real).sum(-1),
         "The output is C h, without a conjugate of C.":
            lambda A_bar, B_bar, C, length: s4d_kernel(A_bar, B_bar, C.conj(), length),
         "No factor is conjugated, B_bar neither.":
            lambda A_bar, B_bar, C, length: s4d_kernel(A_bar, B_bar.conj(), C, length),
         "The powers of A_bar begin with 0: the first entry is C B_bar.":
            lambda A_bar, B_bar, C, length: s4d_kernel(A_bar, A_bar * B_bar, C, length),
         "That is the imaginary part. A number and its conjugate add up to twice the real part.":
            lambda A_bar, B_bar, C, length: s4d_kernel(A_bar, B_bar, -1j * C, length),
         "That is the absolute value: it loses the sign, so the kernel can't oscillate.":
            lambda A_bar, B_bar, C, length:
            2 * (A_bar ** torch.arange(length)[:, None] * C * B_bar).sum(-1).abs(),
         "B_bar is missing, which adds an input to the state.":
            lambda A_bar, B_bar, C, length: s4d_kernel(A_bar, torch.ones_like(B_bar), C, length),
         "C is missing, which reads the state.":
            lambda A_bar, B_bar, C, length: s4d_kernel(A_bar, B_bar, torch.ones_like(C), length),
         "A power of the real part is not the real part of the power: keep A_bar complex.":
            lambda A_bar, B_bar, C, length: s4d_kernel(A_bar.real + 0j, B_bar, C, length),
         "The components are still apart: sum over them.":
            lambda A_bar, B_bar, C, length:
            2 * (A_bar ** torch.arange(length)[:, None] * C * B_bar).real,
         "That sums over the lags. Sum over the components, the other axis.":
            lambda A_bar, B_bar, C, length:
            2 * (A_bar ** torch.arange(length)[:, None] * C * B_bar).real.sum(0)}),
    "04.3": Exercise(
        layer_kernel,
        ({"A": A, "B": A.conj(), "C": A / 2, "delta": DELTA, "length": 5},
         {"A": A.conj(), "B": A / 3, "C": A.conj() + 1, "delta": DELTA.flip(0), "length": 1}),
        {"Each component stands for itself and its conjugate: the kernel is twice the real part.":
            lambda A, B, C, delta, length: layer_kernel(A, B, C, delta, length) / 2,
         "B is not discretized: by zero-order hold, B_bar = (A_bar − 1) / A · B.":
            lambda A, B, C, delta, length: layer_kernel(
                A, B * A / (torch.exp(delta[:, None] * A) - 1), C, delta, length),
         "That is B_bar = Δ B, Mamba's rule; here it is zero-order hold's, (A_bar − 1) / A · B.":
            lambda A, B, C, delta, length: layer_kernel(
                A, delta[:, None] * B * A / (torch.exp(delta[:, None] * A) - 1), C, delta, length),
         "The axes are (length, channels): transpose the result.":
            lambda A, B, C, delta, length: layer_kernel(A, B, C, delta, length).T,
         "Δ belongs to the channels, the rows of A: it needs an axis of size 1 for the components.":
            lambda A, B, C, delta, length: layer_kernel(
                delta * A, B * delta, C, torch.ones_like(delta), length),
         "That sums over the channels. Each has its own kernel: sum over the components.":
            _summed_over_the_channels,
         "The outputs are real: take the real part, and twice, for the conjugates.":
            lambda A, B, C, delta, length: torch.complex(
                layer_kernel(A, B, C / 2, delta, length),
                layer_kernel(A, B, -1j * C / 2, delta, length)),
         "C is missing, which reads the state.":
            lambda A, B, C, delta, length: layer_kernel(A, B, torch.ones_like(C), delta, length),
         "B is missing, which scales the input.":
            lambda A, B, C, delta, length: layer_kernel(A, torch.ones_like(B), C, delta, length),
         "The powers of A_bar begin with 0: the first entry is C B_bar.":
            lambda A, B, C, delta, length: layer_kernel(
                A, torch.exp(delta[:, None] * A) * B, C, delta, length),
         "The output is C h, without a conjugate of C.":
            lambda A, B, C, delta, length: layer_kernel(A, B, C.conj(), delta, length),
         "Δ is missing from the exponent: A_bar = exp(Δ A).":
            lambda A, B, C, delta, length: layer_kernel(A, B, C, torch.ones_like(delta), length),
         "The division by A is missing from B_bar.":
            lambda A, B, C, delta, length: layer_kernel(A, B * A, C, delta, length)}),
}
