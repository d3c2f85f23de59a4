"""The exact solution against mpmath, scipy's solvers and quadrature."""

import mpmath
import numpy as np
import pytest
import torch
from scipy.integrate import quad_vec, solve_ivp
from scipy.linalg import expm
from scipy.signal import lsim
from systems import C128, F64, as_matrix, close, leaves, randn, stable_dense, stable_system, uniform
from torch.autograd import gradcheck

from minimamba.continuous import (
    exact_step,
    impulse_response,
    phi,
    simulate,
    state_impulse_response,
    time_constants,
)

FORMS = ("dense", "diagonal", "complex")
every_form = pytest.mark.parametrize("form", FORMS)
every_interpolation = pytest.mark.parametrize("interpolation", ["hold", "linear"])


@mpmath.workdps(30)
def true_phi(k, z):
    return complex(mpmath.hyp1f1(1, k + 1, z) / mpmath.factorial(k))


@mpmath.workdps(30)
def true_phi_derivative(k, z):
    return complex(mpmath.hyp1f1(2, k + 2, z) / mpmath.factorial(k + 1))


def phi_arguments(dtype):
    """From 1e-300 to 30 in every direction of the dtype, more densely where the branch changes."""
    sizes = np.concatenate([np.logspace(-300, np.log10(30), 40), np.linspace(0.48, 0.52, 9)])
    directions = (1j, -1j, (1 + 1j) / 2**0.5, (-1 + 1j) / 2**0.5) if dtype.is_complex else (1, -1)
    return torch.tensor([d * size for d in directions for size in sizes], dtype=dtype,
                        requires_grad=True)


@pytest.mark.parametrize("dtype", [F64, C128])
@pytest.mark.parametrize("k", [1, 2])
def test_phi_and_its_derivative_match_mpmath_from_1e_300_to_30(k, dtype):
    z = phi_arguments(dtype)
    values = phi(k, z)
    derivative, = torch.autograd.grad(values, z, torch.ones_like(values))
    close(values.to(C128), np.array([true_phi(k, w) for w in z.tolist()]), rtol=2e-15, atol=0)
    wanted = np.conj([true_phi_derivative(k, w) for w in z.tolist()])
    close(derivative.to(C128), wanted, rtol=3e-14, atol=0)


@pytest.mark.parametrize("k", [1, 2])
def test_phi_keeps_single_precision(k):
    z = torch.tensor([-30, -3, -0.5, -0.1, -1e-4, 0, 1e-30, 1e-4, 0.1, 0.5, 3, 30])
    assert phi(k, z).dtype == torch.float32
    close(phi(k, z), np.array([true_phi(k, w).real for w in z.tolist()]), rtol=1e-6, atol=0)


@pytest.mark.parametrize("k", [1, 2])
def test_phi_and_its_derivative_at_zero(k):
    z = torch.zeros(1, dtype=F64, requires_grad=True)
    value = phi(k, z)
    derivative, = torch.autograd.grad(value, z)
    assert value.item() == 1 / k
    assert derivative.item() == pytest.approx(1 / (2 if k == 1 else 6), rel=1e-15)


@every_form
def test_exact_step_matches_expm_and_quadrature(form):
    A, B, _ = stable_system(form, 4)
    matrix, column = as_matrix(A), B.numpy()
    for delta in (0.01, 5.0):
        step = exact_step(A, B, delta)
        hold, _ = quad_vec(lambda s, delta=delta: expm((delta - s) * matrix) @ column, 0, delta,
                           epsrel=1e-12)
        slope, _ = quad_vec(
            lambda s, delta=delta: expm((delta - s) * matrix) @ column * s / delta, 0, delta,
            epsrel=1e-12)
        close(as_matrix(step.A_bar) if A.ndim == 1 else step.A_bar, expm(delta * matrix))
        close(step.B_bar, hold)
        close(step.B_slope, slope)


def test_exact_step_is_linear_in_B_at_any_scale():
    A, B, _ = stable_system("dense", 3)
    one = exact_step(A, B, 0.5)
    for size in (1e-200, 1e-8, 1e4, 1e150):
        scaled = exact_step(A, size * B, 0.5)
        close(scaled.A_bar, one.A_bar, rtol=1e-13, atol=0)
        close(scaled.B_bar / size, one.B_bar, rtol=1e-13, atol=0)
        close(scaled.B_slope / size, one.B_slope, rtol=1e-13, atol=0)


@pytest.mark.parametrize("dense", [True, False])
def test_exact_step_is_accurate_for_a_long_step_of_a_slow_system(dense):
    A = torch.tensor([-1e-9], dtype=F64)
    step = exact_step(A[:, None] if dense else A, torch.ones(1, dtype=F64), 1e6)
    close(step.A_bar.flatten(), np.exp([-1e-3]), rtol=1e-14, atol=0)
    close(step.B_bar, -np.expm1([-1e-3]) * 1e9, rtol=1e-13, atol=0)


def test_integrator_sums_the_input():
    A, B = torch.zeros(1, 1, dtype=F64), torch.ones(1, dtype=F64)
    x, t = randn(8), torch.linspace(0, 1.4, 8, dtype=F64)
    hold = np.concatenate([[0], np.cumsum(0.2 * x[:-1].numpy())])
    linear = np.concatenate([[0], np.cumsum(0.1 * (x[:-1] + x[1:]).numpy())])
    close(simulate(A, B, x, t)[:, 0], hold)
    close(simulate(A[0], B, x, t, interpolation="linear")[:, 0], linear)


def test_double_integrator_turns_force_into_position():
    A = torch.tensor([[0.0, 1], [0, 0]], dtype=F64)
    t = torch.tensor([0, 0.5, 2, 3.5], dtype=F64)
    h = simulate(A, torch.tensor([0.0, 1], dtype=F64), 3 * torch.ones(4, dtype=F64), t)
    close(h, torch.stack([1.5 * t**2, 3 * t], -1))


@pytest.mark.parametrize("form", ["dense", "diagonal"])
@every_interpolation
def test_simulate_matches_scipy_lsim(form, interpolation):
    A, B, _ = stable_system(form, 4)
    x, t, h0 = randn(60), torch.arange(60, dtype=F64) * 0.1, randn(4, seed=1)
    h = simulate(A, B, x, t, interpolation=interpolation, initial_state=h0)
    system = as_matrix(A), B.numpy()[:, None], np.eye(4), np.zeros((4, 1))
    _, _, wanted = lsim(system, x.numpy(), t.numpy(), h0.numpy(),
                        interp=interpolation == "linear")
    close(h, wanted)


@every_form
@every_interpolation
def test_simulate_matches_scipy_solve_ivp_on_an_uneven_grid(form, interpolation):
    A, B, _ = stable_system(form, 3)
    x = randn(6).numpy()
    t = uniform(0.1, 1, 6, seed=3).cumsum(0).numpy()
    matrix, column = as_matrix(A).astype(complex), B.numpy()
    states = [np.array([1, -2, 0.5], dtype=complex)]
    for k in range(5):
        end = x[k + 1] if interpolation == "linear" else x[k]

        def derivative(s, h, k=k, end=end):
            fraction = (s - t[k]) / (t[k + 1] - t[k])
            return matrix @ h + column * ((1 - fraction) * x[k] + fraction * end)

        solved = solve_ivp(derivative, (t[k], t[k + 1]), states[-1], "DOP853", rtol=1e-11,
                           atol=1e-12)
        states.append(solved.y[:, -1])
    h = simulate(A, B, torch.tensor(x), torch.tensor(t), interpolation=interpolation,
                 initial_state=torch.tensor([1, -2, 0.5], dtype=F64))
    assert h.is_complex() == A.is_complex()
    close(h.to(C128), np.array(states), rtol=1e-8, atol=1e-9)


@every_form
@every_interpolation
@pytest.mark.parametrize(("batch", "length"), [((1,), 5), ((2, 3), 8), ((3,), 1)])
def test_signals_of_a_batch_are_independent(form, interpolation, batch, length):
    A, B, _ = stable_system(form, 2)
    x, h0 = randn(*batch, length), randn(*batch, 2, seed=1, dtype=B.dtype)
    t = uniform(0.1, 1, length).cumsum(0)
    h = simulate(A, B, x, t, interpolation=interpolation, initial_state=h0)
    assert h.shape == (*batch, length, 2)
    close(h[..., 0, :], h0)
    for index in np.ndindex(*batch):
        close(h[index], simulate(A, B, x[index], t, interpolation=interpolation,
                                 initial_state=h0[index]))


@every_form
@every_interpolation
def test_simulate_is_linear_in_the_input_and_the_initial_state(form, interpolation):
    A, B, _ = stable_system(form, 3)
    t = uniform(0.1, 1, 7).cumsum(0)
    x, h0 = randn(2, 7), randn(2, 3, seed=1)
    a, b = simulate(A, B, x, t, interpolation=interpolation, initial_state=h0)
    combined = simulate(A, B, 2 * x[0] - 3 * x[1], t, interpolation=interpolation,
                        initial_state=2 * h0[0] - 3 * h0[1])
    close(combined, 2 * a - 3 * b)


@every_form
@every_interpolation
def test_an_extra_sample_on_the_interpolated_input_changes_nothing(form, interpolation):
    A, B, _ = stable_system(form, 3)
    x, t = randn(6), uniform(0.1, 1, 6).cumsum(0)
    extra = x[2] if interpolation == "hold" else 0.7 * x[2] + 0.3 * x[3]
    x_more = torch.cat([x[:3], extra[None], x[3:]])
    t_more = torch.cat([t[:3], (0.7 * t[2] + 0.3 * t[3])[None], t[3:]])
    h_more = simulate(A, B, x_more, t_more, interpolation=interpolation)
    close(h_more[[0, 1, 2, 4, 5, 6]], simulate(A, B, x, t, interpolation=interpolation))


@pytest.mark.parametrize(("interpolation", "first"), [("hold", 4), ("linear", 3)])
def test_a_sample_changes_the_state_from_the_right_time_on(interpolation, first):
    A, B, _ = stable_system("diagonal", 2)
    x, t = randn(6), torch.arange(6, dtype=F64)
    other = x.clone()
    other[3] += 1
    before, after = (simulate(A, B, signal, t, interpolation=interpolation)
                     for signal in (x, other))
    assert torch.equal(before[:first], after[:first])
    assert (before != after)[first:].all()


@every_form
def test_a_constant_input_leads_to_the_steady_state(form):
    A, B, _ = stable_system(form, 3)
    x, t = torch.full((2,), 2.0, dtype=F64), torch.tensor([0, 400.0], dtype=F64)
    close(simulate(A, B, x, t)[-1], -2 * np.linalg.solve(as_matrix(A), B.numpy()))


@every_form
def test_state_impulse_response_matches_expm_and_is_zero_before_the_impulse(form):
    A, B, _ = stable_system(form, 3)
    lag = torch.tensor([[-1e4, -1.0, -1e-9], [0, 0.3, 7]], dtype=F64)
    response = state_impulse_response(A, B, lag)
    assert response.shape == (2, 3, 3)
    assert (response[0] == 0).all()
    close(response[1, 0], B)
    for k in (1, 2):
        close(response[1, k], expm(as_matrix(A) * lag[1, k].item()) @ B.numpy())


def test_state_impulse_response_of_a_growing_system_is_zero_before_the_impulse():
    response = state_impulse_response(torch.tensor([3.0], dtype=F64), torch.ones(1, dtype=F64),
                                      torch.tensor([-1e3, 1.0], dtype=F64))
    close(response[:, 0], np.array([0, np.exp(3)]))


@every_form
def test_the_state_is_the_past_input_weighted_by_its_impulse_response(form):
    A, B, _ = stable_system(form, 3)
    t, x = torch.tensor([0, 1.5, 2.0], dtype=F64), torch.tensor([2.0, -1.0, 0.0], dtype=F64)

    def weighted(s):
        value = 2.0 if 2.0 - s < 1.5 else -1.0
        return state_impulse_response(A, B, torch.tensor(s, dtype=F64)).numpy() * value

    integral, _ = quad_vec(weighted, 0, 2, epsrel=1e-11, points=[0.5])
    close(simulate(A, B, x, t)[-1], integral)


@every_form
def test_impulse_response_is_C_times_that_of_the_state(form):
    A, B, C = stable_system(form, 3)
    t = torch.tensor([[-2.0], [0.0], [0.4]], dtype=F64)
    wanted = np.array([[0], [C.numpy() @ B.numpy()],
                       [C.numpy() @ expm(0.4 * as_matrix(A)) @ B.numpy()]])
    close(impulse_response(A, B, C, t), wanted)


def test_a_conjugate_pair_equals_its_real_two_by_two_form():
    decay, frequency = 0.4, 3.0
    pair = torch.tensor([-decay + frequency * 1j, -decay - frequency * 1j], dtype=C128)
    real = torch.tensor([[-decay, -frequency], [frequency, -decay]], dtype=F64)
    half, ones = torch.full((2,), 0.5, dtype=C128), torch.ones(2, dtype=C128)
    first = torch.tensor([1.0, 0], dtype=F64)
    t = torch.linspace(0, 4, 9, dtype=F64)
    K = impulse_response(pair, ones, half, t)
    close(K, impulse_response(real, first, first, t).to(C128))
    close(K.real, torch.exp(-decay * t) * torch.cos(frequency * t))


def test_a_mode_decays_to_1_over_e_in_its_time_constant():
    A = torch.tensor([-0.5, -2.0 + 7j, -10.0], dtype=C128)
    tau = time_constants(A)
    assert tau.dtype == F64
    close(tau, np.array([2, 0.5, 0.1]))
    response = state_impulse_response(A, torch.ones(3, dtype=C128), tau)
    close(response.abs().diagonal(), np.full(3, np.exp(-1)))


def test_time_constants_of_a_dense_matrix_are_those_of_its_eigenvalues():
    A = stable_dense(5)
    wanted = np.sort(-1 / np.linalg.eigvals(A.numpy()).real)
    close(np.sort(time_constants(A).numpy()), wanted)


def test_time_constants_of_channels_are_taken_elementwise():
    A = -uniform(0.1, 2, 2, 3)
    close(time_constants(A), -1 / A)


def test_time_constant_is_infinite_without_decay_and_negative_with_growth():
    assert time_constants(torch.tensor([0.0, -0.0, 4.0])).tolist() == [np.inf, np.inf, -0.25]
    oscillator = torch.tensor([[0.0, 1], [-1, 0]], dtype=F64)
    assert time_constants(oscillator).tolist() == [np.inf, np.inf]


@every_form
def test_gradients_of_exact_step(form):
    A, B, _ = stable_system(form, 2)
    assert gradcheck(exact_step, leaves(A, B, torch.tensor([0.2, 1.5], dtype=F64)))


@pytest.mark.parametrize("A", [[0.0, 1e-300], [[0.0, 0], [0, 0]], [[0.0, 1], [0, 0]]])
def test_gradients_of_exact_step_where_A_is_singular(A):
    assert gradcheck(exact_step, leaves(torch.tensor(A, dtype=F64), randn(2),
                                        torch.tensor(0.5, dtype=F64)))


@every_form
@every_interpolation
def test_gradients_of_simulate(form, interpolation):
    A, B, _ = stable_system(form, 2)
    t = torch.tensor([0, 0.5, 1.4], dtype=F64)

    def states(A, B, x, h0):
        return simulate(A, B, x, t, interpolation=interpolation, initial_state=h0)

    assert gradcheck(states, leaves(A, B, randn(2, 3), randn(2, 2, seed=1, dtype=B.dtype)))


@every_form
def test_gradients_of_impulse_response(form):
    A, B, C = stable_system(form, 2)
    assert gradcheck(impulse_response, leaves(A, B, C, uniform(-1, 2, 4)))


def test_a_complex_initial_state_of_a_real_system_keeps_its_imaginary_part():
    A, B, t = -torch.arange(1, 4, dtype=F64), randn(3), torch.arange(5, dtype=F64)
    x, real, imag = randn(2, 5), randn(2, 3, seed=1), randn(2, 3, seed=2)
    h = simulate(A, B, x, t, initial_state=torch.complex(real, imag))
    close(h.real, simulate(A, B, x, t, initial_state=real))
    close(h.imag, simulate(A, B, torch.zeros_like(x), t, initial_state=imag))
