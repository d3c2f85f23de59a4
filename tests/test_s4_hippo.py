"""HiPPO: the state holds the coefficients of the past, checked by quadrature."""

import numpy as np
import pytest
import torch
from scipy import special
from systems import F64, close, randn, uniform

from minimamba import continuous
from minimamba.s4 import hippo

SIZES = {"legs": 8, "legt": 8, "fout": 9}
MEASURES = list(SIZES)


def quadrature(points=60):
    """Gauss-Legendre nodes and weights on 0 … 1."""
    nodes, weights = np.polynomial.legendre.leggauss(points)
    return torch.from_numpy((nodes + 1) / 2), torch.from_numpy(weights / 2)


@pytest.mark.parametrize("measure", MEASURES)
def test_basis_functions_are_orthonormal(measure):
    age, weight = quadrature()
    for N in (1, 3, 15):
        functions = hippo.basis(measure, N, age)
        close(functions.T @ (weight[:, None] * functions), torch.eye(N, dtype=F64), atol=1e-10)


def test_legs_and_legt_have_the_basis_of_legendre_polynomials():
    age = uniform(0, 1, 5, 4)
    wanted = np.stack([(2 * n + 1) ** 0.5 * special.eval_legendre(n, 1 - 2 * age.numpy())
                       for n in range(12)], -1)
    close(hippo.basis("legs", 12, age), wanted)
    close(hippo.basis("legt", 12, age), wanted)


def test_legs_matches_the_formula_of_the_paper():
    # Theorem 2 of arXiv:2008.07669, entry by entry.
    N = 6
    A, B = hippo.legs(N)
    for n in range(N):
        for k in range(N):
            wanted = -((2 * n + 1) * (2 * k + 1)) ** 0.5 if n > k else -(n + 1) if n == k else 0
            assert A[n, k].item() == pytest.approx(wanted)
        assert B[n].item() == pytest.approx((2 * n + 1) ** 0.5)


def test_legt_is_the_lmu_after_a_change_of_basis():
    # Voelker et al. 2019, equation 2: (2n + 1) times −1, or (−1)^(n − k + 1) below the diagonal.
    N = 7
    n = torch.arange(N, dtype=F64)
    row, column = n[:, None], n[None]
    A = (2 * row + 1) * torch.where(row < column, -1.0, (-1.0) ** (row - column + 1))
    B = (2 * n + 1) * (-1.0) ** n
    scale = (2 * n + 1).sqrt() * (-1.0) ** n
    ours_A, ours_B = hippo.legt(N)
    close(scale[:, None] * ours_A / scale, A)
    close(scale * ours_B, B)


def test_fout_matches_the_formula_of_the_paper():
    # Theorem 6 of arXiv:2206.12037 in our order, 1, cos, sin, cos 2, sin 2.
    A, B = hippo.fout(5)
    r, pi = 8**0.5, torch.pi
    close(A, torch.tensor([
        [-2, -r, 0, -r, 0], [-r, -4, -2 * pi, -4, 0], [0, 2 * pi, 0, 0, 0],
        [-r, -4, 0, -4, -4 * pi], [0, 0, 0, 4 * pi, 0]], dtype=F64))
    close(B, torch.tensor([2, r, 0, r, 0], dtype=F64))


@pytest.mark.parametrize("measure", MEASURES)
def test_every_matrix_is_stable(measure):
    A, _ = hippo.matrices(measure, 15)
    assert torch.linalg.eigvals(A).real.max() < 0


def test_the_eigenvalues_of_legs_are_minus_1_to_minus_n():
    A, _ = hippo.legs(10)
    close(torch.linalg.eigvals(A).real.sort(descending=True).values, -torch.arange(1.0, 11))


@pytest.mark.parametrize("measure", MEASURES)
def test_a_constant_past_is_a_steady_state(measure):
    # A c + B x = 0 at c = (x, 0, …, 0), the coefficients of a constant.
    A, B = hippo.matrices(measure, SIZES[measure])
    close(A[:, 0] + B, torch.zeros(len(B), dtype=F64))


def test_impulse_response_of_legs_is_a_legendre_polynomial_of_a_decay():
    # Without its 1/t, e^{As}B = e^{−s} times the functions at age 1 − e^{−s} (2206.12037).
    lag = uniform(0, 5, 20)
    A, B = hippo.legs(6)
    age = 1 - (-lag).exp()
    close(continuous.state_impulse_response(A, B, lag),
          (-lag).exp()[:, None] * hippo.basis("legs", 6, age), atol=1e-9)


def integrals(measure, N, x, edges, t, window):
    """The coefficients by quadrature: (1/θ) ∫ x(τ) φ((t − τ)/θ) dτ, x constant between edges."""
    node, weight = quadrature()
    total = torch.zeros(N, dtype=F64)
    for value, start, end in zip(x, edges[:-1], edges[1:], strict=True):
        start = start.clamp(min=t - window)
        if end > start:
            tau = start + (end - start) * node
            functions = hippo.basis(measure, N, (t - tau) / window)
            total += value * (end - start) / window * (weight[:, None] * functions).sum(0)
    return total


def test_legs_holds_the_exact_coefficients_of_the_whole_past():
    x, t = randn(30), uniform(0.01, 1, 30).cumsum(0)
    c = hippo.project("legs", 9, x, t)
    held = torch.cat([x[:1], x])  # x[0] since time 0
    edges = torch.cat([torch.zeros(1, dtype=F64), t])
    for k in (0, 1, 7, 29):
        wanted = integrals("legs", 9, held[:k + 1], edges[:k + 2], t[k], t[k])
        close(c[k], wanted, atol=1e-11)


def test_legs_does_not_depend_on_the_time_scale():
    x, t = randn(20), torch.arange(1, 21, dtype=F64)
    close(hippo.project("legs", 8, x, t), hippo.project("legs", 8, x, 1000 * t))


@pytest.mark.parametrize("measure", ["legt", "fout"])
def test_the_error_of_windowed_coefficients_falls_with_the_state_dimension(measure):
    t = torch.arange(1, 401, dtype=F64) / 100
    x = (2 * t).sin() + (5 * t).cos() / 2
    errors = []
    for N in (5, 9, 17):
        c = hippo.project(measure, N, x, t, window=2.0)[-1]
        wanted = integrals(measure, N, x[:-1], t, t[-1], torch.tensor(2.0, dtype=F64))
        errors.append(((c - wanted).norm() / wanted.norm()).item())
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < (0.01 if measure == "legt" else 0.15)


@pytest.mark.parametrize("measure", MEASURES)
def test_the_past_can_be_reconstructed(measure):
    t = torch.arange(1, 401, dtype=F64) / 100
    x = (torch.pi * t).sin()                             # with a period of two seconds
    window = None if measure == "legs" else 2.0
    c = hippo.project(measure, 41, x, t, window)[-1]
    age = torch.linspace(0.02, 0.98, 200, dtype=F64)
    past = (torch.pi * (t[-1] - age * (window or t[-1]))).sin()
    assert (hippo.basis(measure, 41, age) @ c - past).abs().max() < 0.1


def test_signals_of_a_batch_are_projected_independently():
    x, t = randn(2, 3, 12), torch.arange(1, 13, dtype=F64)
    together = hippo.project("legt", 5, x, t, 4.0)
    assert together.shape == (2, 3, 12, 5)
    close(together[1, 2], hippo.project("legt", 5, x[1, 2], t, 4.0))


def test_project_keeps_the_dtype():
    x, t = randn(12).float(), torch.arange(1, 13).float()
    c = hippo.project("legs", 5, x, t)
    assert c.dtype == torch.float32
    close(c.double(), hippo.project("legs", 5, x.double(), t.double()), rtol=1e-4, atol=1e-5)


def test_gradient_of_project():
    x, t = randn(8).requires_grad_(), torch.arange(1, 9, dtype=F64)
    assert torch.autograd.gradcheck(lambda x: hippo.project("legs", 4, x, t), (x,))


def test_project_does_not_depend_on_the_default_dtype():
    x, t = randn(6).float(), torch.arange(1, 7).float()
    wanted = hippo.project("legs", 3, x, t)
    torch.set_default_dtype(F64)
    try:
        assert hippo.project("legs", 3, x, t).equal(wanted)
    finally:
        torch.set_default_dtype(torch.float32)
    x = x.double()
    assert hippo.project("legs", 3, x, t.double()).dtype == F64
