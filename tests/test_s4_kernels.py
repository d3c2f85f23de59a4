"""The kernels of S4 and S4D against powers of a dense matrix."""

import numpy as np
import pytest
import torch
from systems import C128, F64, close, leaves, randn, stable_diagonal, uniform

from minimamba import discretize, lti
from minimamba.continuous import impulse_response
from minimamba.s4 import diagonal, dplr, hippo

every_discretization = pytest.mark.parametrize(
    "discretization", [discretize.zoh, discretize.bilinear])


def relative(given, wanted):
    assert given.shape == wanted.shape
    given = given.detach().numpy()
    return float(np.linalg.norm(given - wanted) / np.linalg.norm(wanted))


def by_powers(A_bar, B_bar, C, length):
    """K_l = C Ā^l B̄ in numpy: one matrix product per step."""
    h, K = np.asarray(B_bar), []
    for _ in range(length):
        K.append(C @ h)
        h = A_bar @ h
    return np.stack(K)


def bilinear_by_numpy(A, B, delta):
    one = np.eye(len(A))
    return (np.linalg.solve(one - delta / 2 * A, one + delta / 2 * A),
            np.linalg.solve(one - delta / 2 * A, delta * B))


def random_dplr(n, rank=1, *channels, seed=0):
    Lambda = stable_diagonal(*channels, n, seed=seed, dtype=C128)
    return dplr.DPLR(Lambda, randn(*channels, n, rank, seed=seed + 5, dtype=C128),
                     randn(*channels, n, seed=seed + 6, dtype=C128))


def with_conjugates(system, C):
    """A, B and C with both of each conjugate pair, complex, in numpy."""
    Lambda, P, B, C = (np.concatenate([part, part.conj()]) for part in
                       (*(p.numpy() for p in system), C.numpy()))
    return np.diag(Lambda) - P @ P.conj().T, B, C


@pytest.mark.parametrize(("measure", "N", "rank", "decay"), [
    ("legs", 12, 1, 0.5), ("legt", 12, 2, 0.0), ("fout", 13, 1, 0.0)])
def test_nplr_is_a_normal_matrix_minus_one_of_low_rank(measure, N, rank, decay):
    A, B, S, P = dplr.nplr(measure, N)
    close(A, hippo.matrices(measure, N)[0])
    close(B, hippo.matrices(measure, N)[1])
    assert P.shape == (N, rank)
    close(S - P @ P.T, A, atol=1e-11)
    close(S @ S.T, S.T @ S, atol=1e-9)                       # normal
    close(S + S.T, -2 * decay * torch.eye(N, dtype=F64), atol=1e-11)


@pytest.mark.parametrize("N", [2, 32])
def test_dplr_legs_has_the_impulse_response_of_hippo(N):
    A, B = hippo.legs(N)
    system = dplr.legs(N)
    assert system.Lambda.shape == system.B.shape == (N // 2,)
    assert system.P.shape == (N // 2, 1)
    # With C = B*, the response B* e^{At} B does not depend on the basis.
    A_real, B_real, C_real = dplr.to_dense(system, system.B.conj())
    close(C_real, B_real)
    lag = uniform(0, 3, 10)
    close(impulse_response(A_real, B_real, B_real, lag), impulse_response(A, B, B, lag), rtol=1e-7,
          atol=1e-7)
    close(torch.linalg.eigvals(A_real).real.sum(), torch.trace(A))


@pytest.mark.parametrize("rank", [1, 2])
def test_to_dense_is_a_real_form_of_the_whole_system(rank):
    system, C = random_dplr(4, rank), randn(4, seed=3, dtype=C128)
    A, B, C_whole = with_conjugates(system, C)
    A_real, B_real, C_real = dplr.to_dense(system, C)
    for power in range(4):
        wanted = C_whole @ np.linalg.matrix_power(A, power) @ B
        assert abs(wanted.imag) < 1e-9 * abs(wanted)
        close(C_real @ torch.linalg.matrix_power(A_real, power) @ B_real, wanted.real)


def test_dplr_kernel_matches_powers_of_hippo_at_full_size():
    # As in chapter 04: N = 64, L = 1024.
    N, length = 64, 1024
    A, B, S, _ = dplr.nplr("legs", N)
    frequency, V = torch.linalg.eigh(-1j * (S + torch.eye(N, dtype=F64) / 2))
    V = V[:, frequency > 0]
    C = randn(N)
    # eigh fixes each eigenvector up to a phase, so B and C need this V.
    system = dplr.DPLR(dplr.legs(N).Lambda, V.mH @ (B[:, None] / 2**0.5).to(V.dtype),
                       V.mH @ B.to(V.dtype))
    for delta in (0.1, 0.01, 0.001):
        A_bar, B_bar = bilinear_by_numpy(A.numpy(), B.numpy(), delta)
        wanted = by_powers(A_bar, B_bar, C.numpy(), length)
        assert relative(dplr.kernel(system, C.to(V.dtype) @ V, delta, length), wanted) < 1e-11


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_dplr_kernel_matches_dense_powers_at_any_length(rank):
    for n, length, delta in ((1, 1, 0.01), (2, 2, 3), (3, 7, 1), (4, 63, 0.3), (5, 64, 0.1),
                             (6, 65, 0.03)):
        system, C = random_dplr(n, rank, seed=n), randn(n, seed=n + 1, dtype=C128)
        A, B, C_whole = with_conjugates(system, C)
        wanted = by_powers(*bilinear_by_numpy(A, B, delta), C_whole, length)
        assert relative(dplr.kernel(system, C, delta, length), wanted.real) < 1e-8


def test_channels_are_independent_systems():
    system, C = random_dplr(3, 2, 4), randn(4, 3, dtype=C128)
    delta = uniform(0.1, 1, 4)
    K = dplr.kernel(system, C, delta, 20)
    assert K.shape == (20, 4)
    for d in range(4):
        one = dplr.DPLR(*(part[d] for part in system))
        close(K[:, d], dplr.kernel(one, C[d], delta[d], 20), atol=1e-10)
        A_bar, B_bar, C_real = (part[d] for part in dplr.bilinear(system, C, delta))
        close(K[:, d], lti.kernel(A_bar, B_bar, C_real, 20), atol=1e-10)


def test_dplr_bilinear_is_the_bilinear_rule():
    system, C = random_dplr(4), randn(4, dtype=C128)
    A, B, _ = dplr.to_dense(system, C)
    A_bar, B_bar, _ = dplr.bilinear(system, C, 0.3)
    wanted = discretize.bilinear(A, B, 0.3)
    close(A_bar, wanted[0])
    close(B_bar, wanted[1])


def test_dplr_kernel_without_the_low_rank_term_is_that_of_s4d():
    system, C = random_dplr(5), randn(5, dtype=C128)
    system = system._replace(P=torch.zeros(5, 1, dtype=C128))
    close(dplr.kernel(system, C, 0.2, 33),
          diagonal.kernel(system.Lambda, system.B, C, 0.2, 33, discretize.bilinear), atol=1e-11)


def test_gradient_of_the_dplr_kernel():
    inputs = leaves(*random_dplr(2, 1, 1), randn(1, 2, dtype=C128), uniform(0.1, 1, 1))
    assert torch.autograd.gradcheck(
        lambda Lambda, P, B, C, delta: dplr.kernel(dplr.DPLR(Lambda, P, B), C, delta, 5), inputs)


@pytest.mark.parametrize("init", ["lin", "inv", "legs", "real"])
@every_discretization
def test_s4d_kernel_matches_dense_powers_at_any_length(init, discretization):
    A = diagonal.initial_A(init, 8)
    B, C = randn(len(A), seed=1, dtype=A.dtype), randn(len(A), seed=2, dtype=A.dtype)
    A_bar, B_bar = discretization(A, B, 0.07)
    parts = [A_bar.numpy(), B_bar.numpy(), C.numpy()]
    if A.is_complex():
        parts = [np.concatenate([part, part.conj()]) for part in parts]
    A_bar, B_bar, C_whole = parts
    wanted = by_powers(np.diag(A_bar), B_bar, C_whole, 100).real
    for length in (1, 2, 3, 16, 17, 100):
        close(diagonal.kernel(A, B, C, 0.07, length, discretization), wanted[:length])


@pytest.mark.parametrize("dtype", [F64, C128])
def test_vandermonde_matches_a_table_of_powers_at_any_length(dtype):
    for length in (*range(1, 20), 63, 64, 65, 255, 256, 257, 300):
        A_bar = stable_diagonal(3, 4, dtype=dtype).exp()
        weights = randn(3, 4, seed=1, dtype=dtype)
        table = A_bar ** torch.arange(length)[:, None, None]
        close(diagonal.vandermonde(A_bar, weights, length), (weights * table).sum(-1), atol=1e-11)


def test_a_pole_at_zero_has_a_finite_kernel_and_gradient():
    # The bilinear rule puts one there at Δλ = −2. 0⁰ is 1, and its gradient no NaN.
    A_bar = torch.tensor([0.0, 0.5], dtype=F64, requires_grad=True)
    K = diagonal.vandermonde(A_bar, torch.ones(2, dtype=F64), 9)
    close(K.detach(), 0.5 ** torch.arange(9, dtype=F64) + torch.tensor([1.0] + 8 * [0.0]))
    K.sum().backward()
    assert A_bar.grad.isfinite().all()
    assert A_bar.grad[0] == 1


@every_discretization
def test_gradient_of_the_s4d_kernel(discretization):
    A = stable_diagonal(2, 2, dtype=C128)
    inputs = leaves(A, randn(2, 2, dtype=C128), randn(2, 2, seed=1, dtype=C128), uniform(0.1, 1, 2))
    assert torch.autograd.gradcheck(
        lambda A, B, C, delta: diagonal.kernel(A, B, C, delta, 7, discretization), inputs)


def test_s4d_kernel_saves_no_table_of_all_powers_for_the_backward_pass():
    d, n, length = 4, 8, 4096
    A = stable_diagonal(d, n, dtype=C128).requires_grad_()
    C = randn(d, n, dtype=C128)
    sizes = []
    with torch.autograd.graph.saved_tensors_hooks(
            lambda x: sizes.append(x.untyped_storage().nbytes() // x.element_size()) or x,
            lambda x: x):
        diagonal.kernel(A, torch.ones_like(C), C, 0.01, length, discretize.zoh).sum().backward()
    assert max(sizes) < d * n * length / 20
    assert sum(sizes) < d * n * length / 4


def test_the_four_initializations():
    n = torch.arange(4, dtype=F64)
    half = -torch.full_like(n, 0.5)
    close(diagonal.initial_A("lin", 8), torch.complex(half, torch.pi * n))
    close(diagonal.initial_A("inv", 8),
          torch.complex(half, 8 / torch.pi * (8 / (2 * n + 1) - 1)))
    close(diagonal.initial_A("real", 4), -(n + 1))
    legs = diagonal.initial_A("legs", 8)
    _, _, S, _ = dplr.nplr("legs", 8)
    wanted = np.linalg.eigvals(S.numpy())
    close(legs.imag.sort().values, np.sort(wanted.imag[wanted.imag > 0]))
    close(legs.real, half)


@pytest.mark.parametrize("length", [64, 1000, 4096])
def test_dplr_kernel_is_accurate_in_single_precision(length):
    # The bilinear rule maps high frequencies near z = −1, where a rounded angle would show.
    Lambda = torch.complex(torch.full((4,), -0.5, dtype=F64), torch.linspace(1, 100, 4, dtype=F64))
    one = torch.ones(4, dtype=C128)
    parts = Lambda, torch.zeros(4, 1, dtype=C128), one, one
    single = [part.to(torch.complex64) for part in parts]
    given = dplr.kernel(dplr.DPLR(*single[:3]), single[3], 0.1, length)
    assert given.dtype == torch.float32
    wanted = dplr.kernel(dplr.DPLR(*parts[:3]), one, 0.1, length).numpy()
    assert relative(given.double(), wanted) < 1e-5


@pytest.mark.parametrize(("A_complex", "C_complex"), [(True, False), (False, True)])
def test_only_a_complex_A_stands_for_its_conjugate_as_well(A_complex, C_complex):
    A = stable_diagonal(3, dtype=C128 if A_complex else F64)
    B, C = randn(3, seed=1), randn(3, seed=2, dtype=C128 if C_complex else F64)
    A_bar, B_bar = discretize.zoh(A, B, 0.1)
    wanted = (A_bar ** torch.arange(9)[:, None] * C * B_bar).sum(-1).real
    close(diagonal.kernel(A, B, C, 0.1, 9, discretize.zoh), 2 * wanted if A_complex else wanted)


@pytest.mark.parametrize(("of_A", "of_weights"), [(F64, C128), (C128, F64)])
def test_vandermonde_of_a_real_and_a_complex_argument_is_complex(of_A, of_weights):
    A_bar = stable_diagonal(3, dtype=of_A).exp()
    weights = randn(3, seed=1, dtype=of_weights)
    table = A_bar ** torch.arange(10)[:, None]
    close(diagonal.vandermonde(A_bar, weights, 10), (weights * table).sum(-1))
