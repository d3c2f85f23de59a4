"""The exact solution against mpmath, scipy's solvers and quadrature."""

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad_vec, solve_ivp
from scipy.linalg import expm
from scipy.signal import lsim
from systems import C128, F64, as_matrix, close, leaves, randn, stable_dense, stable_system, uniform
from torch.autograd import gradcheck

from minimamba.continuous import (
    exact_step,
    impulse_response,
    memory,
    phi,
    simulate,
    time_constants,
)

FORMS = ("dense", "diagonal", "complex")
DIRECTIONS = (1, -1, 1j, -1j, (1 + 1j) / 2**0.5, (-1 + 1j) / 2**0.5)
SIZES = np.concatenate([np.logspace(-300, np.log10(30), 60), np.linspace(0.45, 0.55, 11)])
properties = settings(max_examples=30, deadline=None, derandomize=True)


@mpmath.workdps(30)
def true_phi(k, z):
    return complex(mpmath.hyp1f1(1, k + 1, z) / mpmath.factorial(k))


@mpmath.workdps(30)
def true_phi_slope(k, z):
    return complex(mpmath.hyp1f1(2, k + 2, z) / mpmath.factorial(k + 1))


def arguments(direction):
    dtype = C128 if isinstance(direction, complex) else F64
    return torch.tensor([direction * size for size in SIZES], dtype=dtype, requires_grad=True)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("k", [1, 2])
def test_phi_is_right_to_the_last_digits_from_1e_300_to_30(k, direction):
    z = arguments(direction)
    close(phi(k, z).to(C128), np.array([true_phi(k, w) for w in z.tolist()]), rtol=2e-15, atol=0)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("k", [1, 2])
def test_slope_of_phi_is_right_from_1e_300_to_30(k, direction):
    z = arguments(direction)
    values = phi(k, z)
    slope, = torch.autograd.grad(values, z, torch.ones_like(values))
    wanted = np.conj([true_phi_slope(k, w) for w in z.tolist()])
    close(slope.to(C128), wanted, rtol=3e-14, atol=0)


@pytest.mark.parametrize("k", [1, 2])
def test_phi_keeps_single_precision(k):
    z = torch.tensor([-30, -3, -0.5, -0.1, -1e-4, 0, 1e-30, 1e-4, 0.1, 0.5, 3, 30])
    assert phi(k, z).dtype == torch.float32
    close(phi(k, z), np.array([true_phi(k, w).real for w in z.tolist()]), rtol=1e-6, atol=0)


@pytest.mark.parametrize("k", [1, 2])
def test_phi_and_its_slope_at_zero(k):
    z = torch.zeros(1, dtype=F64, requires_grad=True)
    value = phi(k, z)
    slope, = torch.autograd.grad(value, z)
    assert value.item() == 1 / k
    assert slope.item() == pytest.approx(1 / (2 if k == 1 else 6), rel=1e-15)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("delta", [0.01, 0.7, 5.0])
def test_exact_step_equals_expm_and_the_integrals_of_the_solution(form, delta):
    A, B, _ = stable_system(form, 4)
    matrix, column = as_matrix(A), B.numpy()
    step = exact_step(A, B, delta)
    A_bar = expm(delta * matrix)
    held, _ = quad_vec(lambda s: expm((delta - s) * matrix) @ column, 0, delta, epsrel=1e-12)
    ramp, _ = quad_vec(lambda s: expm((delta - s) * matrix) @ column * s / delta, 0, delta,
                       epsrel=1e-12)
    close(as_matrix(step.A_bar) if A.ndim == 1 else step.A_bar, A_bar)
    close(step.B_held, held)
    close(step.B_ramp, ramp)


@pytest.mark.parametrize("size", [1e-200, 1e-8, 1.0, 1e4, 1e8, 1e150])
def test_exact_step_is_linear_in_B_whatever_its_size(size):
    A, B, _ = stable_system("dense", 3)
    one, scaled = exact_step(A, B, 0.5), exact_step(A, size * B, 0.5)
    close(scaled.A_bar, one.A_bar, rtol=1e-13, atol=0)
    close(scaled.B_held / size, one.B_held, rtol=1e-13, atol=0)
    close(scaled.B_ramp / size, one.B_ramp, rtol=1e-13, atol=0)


@pytest.mark.parametrize("dense", [True, False])
def test_a_long_step_of_a_slow_system_is_right(dense):
    A = torch.tensor([-1e-9], dtype=F64)
    step = exact_step(A[:, None] if dense else A, torch.ones(1, dtype=F64), 1e6)
    close(step.A_bar.flatten(), np.exp([-1e-3]), rtol=1e-14, atol=0)
    close(step.B_held, -np.expm1([-1e-3]) * 1e9, rtol=1e-13, atol=0)


def test_an_integrator_adds_the_input_up():
    A, B = torch.zeros(1, 1, dtype=F64), torch.ones(1, dtype=F64)
    x, t = randn(8), torch.linspace(0, 1.4, 8, dtype=F64)
    held = np.concatenate([[0], np.cumsum(0.2 * x[:-1].numpy())])
    line = np.concatenate([[0], np.cumsum(0.1 * (x[:-1] + x[1:]).numpy())])
    close(simulate(A, B, x, t)[:, 0], held)
    close(simulate(A[0], B, x, t, between="line")[:, 0], line)


def test_a_double_integrator_turns_force_into_position():
    A = torch.tensor([[0.0, 1], [0, 0]], dtype=F64)
    t = torch.tensor([0, 0.5, 2, 3.5], dtype=F64)
    h = simulate(A, torch.tensor([0.0, 1], dtype=F64), 3 * torch.ones(4, dtype=F64), t)
    close(h, torch.stack([1.5 * t**2, 3 * t], -1))


@pytest.mark.parametrize("form", ["dense", "diagonal"])
@pytest.mark.parametrize("between", ["hold", "line"])
def test_simulate_equals_lsim(form, between):
    A, B, _ = stable_system(form, 4)
    x, t, h0 = randn(60), torch.arange(60, dtype=F64) * 0.1, randn(4, seed=1)
    h = simulate(A, B, x, t, between=between, initial_state=h0)
    system = as_matrix(A), B.numpy()[:, None], np.eye(4), np.zeros((4, 1))
    _, _, wanted = lsim(system, x.numpy(), t.numpy(), h0.numpy(), interp=between == "line")
    close(h, wanted)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("between", ["hold", "line"])
def test_simulate_equals_solve_ivp_at_uneven_moments(form, between):
    A, B, _ = stable_system(form, 3)
    x = randn(6).numpy()
    t = uniform(0.1, 1, 6, seed=3).cumsum(0).numpy()
    matrix, column = as_matrix(A).astype(complex), B.numpy()
    states = [np.array([1, -2, 0.5], dtype=complex)]
    for k in range(5):
        end = x[k + 1] if between == "line" else x[k]

        def slope(s, h, k=k, end=end):
            mix = (s - t[k]) / (t[k + 1] - t[k])
            return matrix @ h + column * ((1 - mix) * x[k] + mix * end)

        solved = solve_ivp(slope, (t[k], t[k + 1]), states[-1], "DOP853", rtol=1e-11, atol=1e-12)
        states.append(solved.y[:, -1])
    h = simulate(A, B, torch.tensor(x), torch.tensor(t), between=between,
                 initial_state=torch.tensor([1, -2, 0.5], dtype=F64))
    assert h.is_complex() == A.is_complex()
    close(h.to(C128), np.array(states), rtol=1e-8, atol=1e-9)


@properties
@given(st.sampled_from(FORMS), st.sampled_from(["hold", "line"]), st.integers(1, 4),
       st.integers(1, 8), st.sampled_from([(), (1,), (3,), (2, 3)]), st.integers(0, 99))
def test_every_signal_of_a_batch_is_simulated_alone(form, between, N, length, batch, seed):
    A, B, _ = stable_system(form, N, seed)
    x, h0 = randn(*batch, length, seed=seed), randn(*batch, N, seed=seed + 1, dtype=B.dtype)
    t = uniform(0.1, 1, length, seed=seed).cumsum(0)
    h = simulate(A, B, x, t, between=between, initial_state=h0)
    assert h.shape == (*batch, length, N)
    close(h[..., 0, :], h0)
    for one, x_one, start in zip(h.reshape(-1, length, N), x.reshape(-1, length),
                                 h0.reshape(-1, N), strict=True):
        close(one, simulate(A, B, x_one, t, between=between, initial_state=start))


@properties
@given(st.sampled_from(FORMS), st.sampled_from(["hold", "line"]), st.integers(0, 99))
def test_simulate_is_linear_in_input_and_initial_state(form, between, seed):
    A, B, _ = stable_system(form, 3, seed)
    t = uniform(0.1, 1, 7, seed=seed).cumsum(0)
    x, h0 = randn(2, 7, seed=seed), randn(2, 3, seed=seed + 1)
    a, b = simulate(A, B, x, t, between=between, initial_state=h0)
    both = simulate(A, B, 2 * x[0] - 3 * x[1], t, between=between,
                    initial_state=2 * h0[0] - 3 * h0[1])
    close(both, 2 * a - 3 * b)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("between", ["hold", "line"])
def test_a_moment_more_in_between_changes_nothing(form, between):
    A, B, _ = stable_system(form, 3)
    x, t = randn(6), uniform(0.1, 1, 6).cumsum(0)
    extra = x[2] if between == "hold" else 0.7 * x[2] + 0.3 * x[3]
    x_more = torch.cat([x[:3], extra[None], x[3:]])
    t_more = torch.cat([t[:3], (0.7 * t[2] + 0.3 * t[3])[None], t[3:]])
    h_more = simulate(A, B, x_more, t_more, between=between)
    close(h_more[[0, 1, 2, 4, 5, 6]], simulate(A, B, x, t, between=between))


@pytest.mark.parametrize(("between", "first"), [("hold", 4), ("line", 3)])
def test_a_sample_acts_when_its_interpolation_says(between, first):
    A, B, _ = stable_system("diagonal", 2)
    x, t = randn(6), torch.arange(6, dtype=F64)
    other = x.clone()
    other[3] += 1
    changed = simulate(A, B, x, t, between=between) != simulate(A, B, other, t, between=between)
    assert not changed[:first].any()
    assert changed[first:].all()


@pytest.mark.parametrize("form", FORMS)
def test_a_constant_input_leads_to_the_rest_state(form):
    A, B, _ = stable_system(form, 3)
    x, t = torch.full((2,), 2.0, dtype=F64), torch.tensor([0, 400.0], dtype=F64)
    close(simulate(A, B, x, t)[-1], -2 * np.linalg.solve(as_matrix(A), B.numpy()))


@pytest.mark.parametrize("form", FORMS)
def test_memory_equals_the_matrix_exponential_and_is_blind_to_the_future(form):
    A, B, _ = stable_system(form, 3)
    lag = torch.tensor([[-1e4, -1.0, -1e-9], [0, 0.3, 7]], dtype=F64)
    weights = memory(A, B, lag)
    assert weights.shape == (2, 3, 3)
    assert (weights[0] == 0).all()
    close(weights[1, 0], B)
    for k in (1, 2):
        close(weights[1, k], expm(as_matrix(A) * lag[1, k].item()) @ B.numpy())


def test_memory_of_a_growing_system_is_zero_before_the_impulse():
    weights = memory(torch.tensor([3.0], dtype=F64), torch.ones(1, dtype=F64),
                     torch.tensor([-1e3, 1.0], dtype=F64))
    close(weights[:, 0], np.array([0, np.exp(3)]))


@pytest.mark.parametrize("form", FORMS)
def test_state_is_the_past_input_weighted_by_memory(form):
    A, B, _ = stable_system(form, 3)
    t, x = torch.tensor([0, 1.5, 2.0], dtype=F64), torch.tensor([2.0, -1.0, 0.0], dtype=F64)

    def weighted(s):
        value = 2.0 if 2.0 - s < 1.5 else -1.0
        return memory(A, B, torch.tensor(s, dtype=F64)).numpy() * value

    integral, _ = quad_vec(weighted, 0, 2, epsrel=1e-11, points=[0.5])
    close(simulate(A, B, x, t)[-1], integral)


@pytest.mark.parametrize("form", FORMS)
def test_impulse_response_reads_memory_out_through_C(form):
    A, B, C = stable_system(form, 3)
    t = torch.tensor([[-2.0], [0.0], [0.4]], dtype=F64)
    wanted = np.array([[0], [C.numpy() @ B.numpy()],
                       [C.numpy() @ expm(0.4 * as_matrix(A)) @ B.numpy()]])
    close(impulse_response(A, B, C, t), wanted)


def test_a_conjugate_pair_equals_its_real_two_by_two_form():
    decay, turn = 0.4, 3.0
    pair = torch.tensor([-decay + turn * 1j, -decay - turn * 1j], dtype=C128)
    real = torch.tensor([[-decay, -turn], [turn, -decay]], dtype=F64)
    half, ones = torch.full((2,), 0.5, dtype=C128), torch.ones(2, dtype=C128)
    first = torch.tensor([1.0, 0], dtype=F64)
    t = torch.linspace(0, 4, 9, dtype=F64)
    K = impulse_response(pair, ones, half, t)
    close(K, impulse_response(real, first, first, t).to(C128))
    close(K.real, torch.exp(-decay * t) * torch.cos(turn * t))


def test_time_constant_is_the_time_in_which_a_mode_falls_to_1_over_e():
    A = torch.tensor([-0.5, -2.0 + 7j, -10.0], dtype=C128)
    tau = time_constants(A)
    assert tau.dtype == F64
    close(tau, np.array([2, 0.5, 0.1]))
    close(memory(A, torch.ones(3, dtype=C128), tau).abs().diagonal(), np.full(3, np.exp(-1)))


def test_time_constants_of_a_dense_matrix_are_those_of_its_eigenvalues():
    A = stable_dense(5)
    wanted = np.sort(-1 / np.linalg.eigvals(A.numpy()).real)
    close(np.sort(time_constants(A).numpy()), wanted)


def test_time_constants_of_many_channels_are_read_as_they_are():
    A = -uniform(0.1, 2, 2, 3)
    close(time_constants(A), -1 / A)


def test_a_mode_that_stays_has_an_infinite_time_constant_and_one_that_grows_a_negative():
    assert time_constants(torch.tensor([0.0, -0.0, 4.0])).tolist() == [np.inf, np.inf, -0.25]
    swinging = torch.tensor([[0.0, 1], [-1, 0]], dtype=F64)
    assert time_constants(swinging).tolist() == [np.inf, np.inf]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("delta", [[0.2, 1.5], 0.3])
def test_gradients_of_exact_step(form, delta):
    A, B, _ = stable_system(form, 2)
    assert gradcheck(exact_step, leaves(A, B, torch.tensor(delta, dtype=F64)))


@pytest.mark.parametrize("A", [[0.0, 1e-300], [[0.0, 0], [0, 0]], [[0.0, 1], [0, 0]]])
def test_gradients_of_exact_step_where_A_is_singular(A):
    assert gradcheck(exact_step, leaves(torch.tensor(A, dtype=F64), randn(2),
                                        torch.tensor(0.5, dtype=F64)))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("between", ["hold", "line"])
def test_gradients_of_simulate(form, between):
    A, B, _ = stable_system(form, 2)
    t = torch.tensor([0, 0.5, 0.9, 2], dtype=F64)

    def states(A, B, x, h0):
        return simulate(A, B, x, t, between=between, initial_state=h0)

    assert gradcheck(states, leaves(A, B, randn(2, 4), randn(2, 2, seed=1, dtype=B.dtype)))


@pytest.mark.parametrize("form", FORMS)
def test_gradients_of_impulse_response(form):
    A, B, C = stable_system(form, 2)
    assert gradcheck(impulse_response, leaves(A, B, C, uniform(-1, 2, 4)))
