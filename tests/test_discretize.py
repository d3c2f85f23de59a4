"""The discretization rules against scipy: values, order, stability, limits and gradients."""

import numpy as np
import pytest
import torch
from scipy.linalg import expm
from scipy.signal import cont2discrete
from systems import (
    C128,
    F64,
    as_matrix,
    close,
    leaves,
    randn,
    stable_dense,
    stable_diagonal,
    stable_system,
    uniform,
)
from torch.autograd import gradcheck

from minimamba import lti
from minimamba.discretize import backward_euler, bilinear, euler, mamba, zoh

RULES = (euler, backward_euler, bilinear, zoh, mamba)
SCIPY = {euler: "euler", backward_euler: "backward_diff", bilinear: "bilinear", zoh: "zoh"}
FORMS = ("dense", "diagonal", "complex")
every_rule = pytest.mark.parametrize("rule", RULES)
every_form = pytest.mark.parametrize("form", FORMS)


def by_scipy(rule, A, B, delta):
    """One dense system and one Δ, by numpy and scipy alone."""
    if rule is mamba:
        return expm(delta * A), delta * B
    system = A, B[:, None], np.eye(len(B)), np.zeros((len(B), 1))
    A_bar, B_bar, *_ = cont2discrete(system, delta, SCIPY[rule])
    return A_bar, B_bar[:, 0]


def by_formula(rule, a, b, delta):
    """The textbook formula, elementwise in numpy: for scalars, or arrays that broadcast."""
    z = delta * a
    return {
        euler: lambda: (1 + z, delta * b),
        backward_euler: lambda: (1 / (1 - z), delta * b / (1 - z)),
        bilinear: lambda: ((1 + z / 2) / (1 - z / 2), delta * b / (1 - z / 2)),
        zoh: lambda: (np.exp(z), np.expm1(z) / a * b),
        mamba: lambda: (np.exp(z), delta * b),
    }[rule]()


def check(given, wanted):
    """A_bar and B_bar against what they should be."""
    for one, other in zip(given, wanted, strict=True):
        close(one, other)


@every_rule
def test_dense_rule_matches_scipy(rule):
    A, B = stable_dense(4), randn(4)
    for delta in (0.003, 0.4, 3.0):
        check(rule(A, B, delta), by_scipy(rule, A.numpy(), B.numpy(), delta))


@every_rule
def test_dense_rule_matches_scipy_at_each_of_many_steps(rule):
    A, B, delta = stable_dense(3), randn(3), uniform(0.01, 2, 2, 3)
    A_bar, B_bar = rule(A, B, delta)
    assert A_bar.shape == (2, 3, 3, 3)
    assert B_bar.shape == (2, 3, 3)
    for index in np.ndindex(2, 3):
        wanted = by_scipy(rule, A.numpy(), B.numpy(), delta[index].item())
        check((A_bar[index], B_bar[index]), wanted)


@every_rule
def test_dense_complex_rule_equals_the_real_one_after_a_change_of_basis(rule):
    A, B, V = stable_dense(3), randn(3), randn(3, 3, seed=4, dtype=C128)
    inverse = torch.linalg.inv(V)
    A_bar, B_bar = rule(V @ A.to(C128) @ inverse, V @ B.to(C128), 0.4)
    wanted = by_scipy(rule, A.numpy(), B.numpy(), 0.4)
    check((inverse @ A_bar @ V, inverse @ B_bar), wanted)


@every_rule
@pytest.mark.parametrize("dtype", [F64, C128])
def test_diagonal_rule_matches_the_formula_for_a_delta_of_any_shape(rule, dtype):
    A, B = stable_diagonal(3, dtype=dtype), randn(3, dtype=dtype)
    for steps in ((), (1,), (4,), (2, 5)):
        delta = uniform(0.01, 2, *steps)
        check(rule(A, B, delta),
              by_formula(rule, A.numpy(), B.numpy(), delta.numpy()[..., None]))


@every_rule
def test_diagonal_rule_takes_a_B_for_every_step(rule):
    A, B, delta = stable_diagonal(3), randn(2, 5, 3), uniform(0.1, 2, 2, 5)
    A_bar, B_bar = rule(A, B, delta)
    for index in np.ndindex(2, 5):
        wanted = by_formula(rule, A.numpy(), B[index].numpy(), delta[index].numpy())
        check((A_bar[index], B_bar[index]), wanted)


@every_rule
@pytest.mark.parametrize("N", [3, 4])
def test_channels_are_independent_diagonal_systems(rule, N):
    A, B = stable_diagonal(4, N), randn(4, N)      # square for N = 4, and still diagonal
    for steps in ((), (4,), (7, 4), (2, 7, 4), (2, 7, 1), (1,)):
        delta = uniform(0.1, 2, *steps)
        A_bar, B_bar = rule(A, B, delta)
        shape = (*steps[:-1], 4, N)
        assert A_bar.shape == B_bar.shape == shape
        per_channel = np.broadcast_to(delta.numpy(), shape[:-1])[..., None]
        wanted = by_formula(rule, A.numpy(), B.numpy(), per_channel)
        check((A_bar, B_bar), [np.broadcast_to(part, shape) for part in wanted])


@every_rule
@pytest.mark.parametrize("N", [2, 3])
@pytest.mark.parametrize("d_delta", [1, 3])
def test_mambas_shapes_give_every_channel_the_B_of_the_step(rule, N, d_delta):
    A, B = stable_diagonal(3, N), randn(2, 5, N)
    delta = uniform(0.1, 2, 2, 5, d_delta)
    A_bar, B_bar = rule(A, B, delta)
    shape = (2, 5, 3, N)
    assert A_bar.shape == B_bar.shape == shape
    wanted = by_formula(rule, A.numpy(), B.numpy()[:, :, None], delta.numpy()[..., None])
    check((A_bar, B_bar), [np.broadcast_to(part, shape) for part in wanted])


@every_rule
@every_form
def test_a_number_as_delta_equals_the_same_delta_at_every_step(rule, form):
    A, B, _ = stable_system(form, 3)
    once = rule(A, B, 0.7)
    for repeated in (torch.tensor(0.7, dtype=F64), torch.full((4,), 0.7, dtype=F64)):
        check(rule(A, B, repeated), [part.expand(*repeated.shape, *part.shape) for part in once])


@every_rule
@pytest.mark.parametrize("dtype", [F64, C128])
def test_a_diagonal_matrix_gives_what_its_diagonal_gives(rule, dtype):
    A, B = stable_diagonal(3, dtype=dtype), randn(3, dtype=dtype)
    A_bar, B_bar = rule(A, B, 0.7)
    check(rule(torch.diag(A), B, 0.7), (torch.diag(A_bar), B_bar))


@every_rule
@pytest.mark.parametrize("dtype", [torch.float32, F64, torch.complex64, C128])
def test_the_dtype_is_kept(rule, dtype):
    A = stable_diagonal(3, dtype=C128 if dtype.is_complex else F64).to(dtype)
    for form in (A, torch.diag(A)):
        for delta in (1, 0.5, torch.tensor([0.5, 1], dtype=dtype.to_real())):
            assert {part.dtype for part in rule(form, torch.ones(3, dtype=dtype), delta)} == {dtype}


@every_rule
@every_form
def test_B_bar_is_linear_in_B_and_A_bar_does_not_depend_on_it(rule, form):
    A, B, C = stable_system(form, 3)
    (A_bar, one), (_, other), (A_both, both) = (rule(A, b, 0.7) for b in (B, C, 2 * B - 3 * C))
    close(both, 2 * one - 3 * other)
    close(A_both, A_bar)


@every_form
def test_two_half_steps_of_zoh_with_one_input_are_one_step(form):
    A, B, _ = stable_system(form, 3)
    for delta in (1e-3, 3.0):
        half_A, half_B = zoh(A, B, delta / 2)
        M, v = as_matrix(half_A), half_B.numpy()
        A_bar, B_bar = zoh(A, B, delta)
        check((as_matrix(A_bar), B_bar), (M @ M, M @ v + v))


@pytest.mark.parametrize("rule", [euler, backward_euler, bilinear, zoh])
@every_form
def test_the_steady_state_under_a_constant_input_is_the_exact_one(rule, form):
    A, B, _ = stable_system(form, 3)
    A_bar, B_bar = rule(A, B, 0.1)
    steady = np.linalg.solve(np.eye(3) - as_matrix(A_bar), B_bar.numpy())
    close(steady, -np.linalg.solve(as_matrix(A), B.numpy()))


def test_mambas_steady_state_is_not_the_exact_one():
    A, B = torch.tensor([-1.0], dtype=F64), torch.ones(1, dtype=F64)
    A_bar, B_bar = mamba(A, B, 1.0)
    close(B_bar / (1 - A_bar), np.array([1 / (1 - np.exp(-1))]))


def final_state(rule, steps, signal, read_at=1.0):
    """h at t = 2 of h' = −h + 2 h₂ + x, h₂' = −3 h₂ from h = (1, 1).

    The input of a step is the signal's value at `read_at`, a fraction of the step.
    """
    A = torch.tensor([[-1.0, 2], [0, -3]], dtype=F64)
    A_bar, B_bar = rule(A, torch.tensor([1.0, 0], dtype=F64), 2 / steps)
    t = (torch.arange(steps, dtype=F64) + read_at) * (2 / steps)
    _, h = lti.recurrence(A_bar, B_bar, torch.ones(2, dtype=F64), signal(t),
                          initial_state=torch.ones(2, dtype=F64), return_last_state=True)
    return h[0].item()


def order(rule, signal, read_at=1.0):
    """The power of Δ by which the error at t = 2 falls from Δ = 1/100 to Δ = 1/200."""
    free = 2 * np.exp(-2) - np.exp(-6)
    forced = {torch.zeros_like: 0, torch.ones_like: 1 - np.exp(-2),
              torch.cos: (np.sin(2) + np.cos(2) - np.exp(-2)) / 2}[signal]
    coarse, fine = (abs(final_state(rule, steps, signal, read_at) - free - forced)
                    for steps in (200, 400))
    return np.log2(coarse / fine)


@pytest.mark.parametrize(("rule", "power"), [(euler, 1), (backward_euler, 1), (bilinear, 2)])
@pytest.mark.parametrize("signal", [torch.zeros_like, torch.ones_like])
def test_order_of_the_error_without_input_and_with_a_constant_one(rule, power, signal):
    assert order(rule, signal) == pytest.approx(power, abs=0.05)


@every_rule
def test_every_rule_is_first_order_for_a_smooth_input_read_at_the_end_of_the_step(rule):
    assert order(rule, torch.cos) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("rule", [bilinear, zoh])
def test_second_order_for_a_smooth_input_read_in_the_middle_of_the_step(rule):
    assert order(rule, torch.cos, read_at=0.5) == pytest.approx(2, abs=0.05)


def test_mamba_is_first_order_for_a_constant_input():
    assert order(mamba, torch.ones_like) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("steps", [1, 2, 17])
def test_zoh_is_exact_for_a_constant_input_at_any_step_size(steps):
    wanted = 2 * np.exp(-2) - np.exp(-6) + 1 - np.exp(-2)
    assert final_state(zoh, steps, torch.ones_like) == pytest.approx(wanted, rel=1e-12)


DECAYS = -torch.logspace(-3, np.log10(50), 20, dtype=F64)
DELTAS = torch.logspace(-2, np.log10(20), 20, dtype=F64)


@pytest.mark.parametrize("rule", [backward_euler, bilinear, zoh, mamba])
def test_a_mode_that_decays_in_continuous_time_decays_at_any_delta(rule):
    frequency = torch.linspace(-50, 50, 21, dtype=F64)
    A = torch.complex(*torch.meshgrid(DECAYS, frequency, indexing="ij")).flatten()
    assert (rule(A, torch.ones_like(A), DELTAS)[0].abs() < 1).all()


def test_euler_is_unstable_beyond_a_delta_of_two_time_constants():
    A_bar, _ = euler(DECAYS, torch.ones_like(DECAYS), DELTAS)
    unstable = DELTAS[:, None] * -DECAYS > 2
    assert ((A_bar.abs() > 1) == unstable).all()
    assert unstable.any()
    assert not unstable.all()


@pytest.mark.parametrize("rule", [bilinear, zoh])
def test_an_undamped_oscillation_keeps_its_amplitude(rule):
    A = torch.linspace(-50, 50, 21, dtype=F64) * 1j
    size = rule(A, torch.ones_like(A), DELTAS)[0].abs()
    close(size, torch.ones_like(size))


def test_at_a_large_delta_bilinear_alternates_and_backward_euler_resets():
    A, B = torch.tensor([-1.0], dtype=F64), torch.ones(1, dtype=F64)
    assert bilinear(A, B, 1e6)[0].item() == pytest.approx(-1, abs=1e-5)
    assert backward_euler(A, B, 1e6)[0].item() == pytest.approx(0, abs=1e-5)


@every_rule
@pytest.mark.parametrize("dense", [True, False])
def test_where_A_vanishes_every_rule_is_an_integrator(rule, dense):
    for size in (0.0, 1e-300, 1e-12):
        A = torch.full((2,), -size, dtype=F64)
        A_bar, B_bar = rule(torch.diag(A) if dense else A, torch.tensor([1.0, -2], dtype=F64), 0.25)
        close(A_bar, np.eye(2) if dense else np.ones(2), rtol=1e-11)
        close(B_bar, np.array([0.25, -0.5]), rtol=1e-11)


@pytest.mark.parametrize("dense", [True, False])
def test_zoh_is_accurate_near_a_singular_A(dense):
    for size in (1e-300, 1e-12, 1e-6, 1e-3, 1.0):
        A, B = torch.tensor([-size], dtype=F64), torch.ones(1, dtype=F64)
        A_bar, B_bar = zoh(A[:, None] if dense else A, B, 0.5)
        assert A_bar.item() == pytest.approx(np.exp(-size / 2), rel=1e-15)
        assert B_bar.item() == pytest.approx(-np.expm1(-size / 2) / size, rel=1e-14)


def test_zoh_of_a_nilpotent_A_is_a_polynomial_in_delta():
    A = torch.tensor([[0.0, 1, 0], [0, 0, 1], [0, 0, 0]], dtype=F64)
    A_bar, B_bar = zoh(A, torch.tensor([0.0, 0, 1], dtype=F64), 0.6)
    close(A_bar, np.array([[1, 0.6, 0.18], [0, 1, 0.6], [0, 0, 1]]))
    close(B_bar, np.array([0.6**3 / 6, 0.18, 0.6]))


@pytest.mark.parametrize("dense", [True, False])
@pytest.mark.parametrize("size", [0.0, 1e-300, 1e-12])
def test_gradient_of_zoh_near_a_singular_A_is_that_of_its_series(dense, size):
    A, B = torch.full((1, 1) if dense else (1,), -size, dtype=F64), torch.tensor([3.0], dtype=F64)
    A, B, delta = leaves(A, B, torch.tensor(0.4, dtype=F64))
    A_bar, B_bar = zoh(A, B, delta)
    gradients = [g.sum().item() for g in torch.autograd.grad(B_bar.sum(), [A, B, delta],
                                                             retain_graph=True)]
    assert gradients == pytest.approx([3 * 0.4**2 / 2, 0.4, 3], rel=1e-10)
    assert torch.autograd.grad(A_bar.sum(), A)[0].item() == pytest.approx(0.4, rel=1e-10)


@every_rule
@every_form
def test_gradients(rule, form):
    A, B, _ = stable_system(form, 2)
    assert gradcheck(rule, leaves(A, B, torch.tensor([0.2, 1.5], dtype=F64)))


@every_rule
def test_gradients_with_mambas_shapes(rule):
    A, B, delta = stable_diagonal(2, 3), randn(1, 2, 3), uniform(0.1, 2, 1, 2, 2)
    assert gradcheck(rule, leaves(A, B, delta))


@every_rule
@pytest.mark.parametrize("A", [[0.0, 0], [[0.0, 1], [0, 0]]])
def test_gradients_where_A_is_singular(rule, A):
    assert gradcheck(rule, leaves(torch.tensor(A, dtype=F64), randn(2),
                                  torch.tensor(0.5, dtype=F64)))
