"""The rules against scipy, their orders, their stability and their limits."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
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
properties = settings(max_examples=25, deadline=None, derandomize=True)


def by_scipy(rule, A, B, delta):
    """The rule for one dense system and one Δ, by numpy and scipy alone."""
    if rule is mamba:
        return expm(delta * A), delta * B
    system = A, B[:, None], np.eye(len(B)), np.zeros((len(B), 1))
    A_bar, B_bar, *_ = cont2discrete(system, delta, SCIPY[rule])
    return A_bar, B_bar[:, 0]


def by_hand(rule, a, b, delta):
    """The rule for one number and one Δ, as it stands in the textbooks."""
    z = delta * a
    return {
        euler: lambda: (1 + z, delta * b),
        backward_euler: lambda: (1 / (1 - z), delta * b / (1 - z)),
        bilinear: lambda: ((1 + z / 2) / (1 - z / 2), delta * b / (1 - z / 2)),
        zoh: lambda: (np.exp(z), np.expm1(z) / a * b),
        mamba: lambda: (np.exp(z), delta * b),
    }[rule]()


@every_rule
@pytest.mark.parametrize("delta", [0.003, 0.4, 3.0])
def test_a_dense_rule_equals_scipy(rule, delta):
    A, B = stable_dense(4), randn(4)
    A_bar, B_bar = rule(A, B, delta)
    wanted_A, wanted_B = by_scipy(rule, A.numpy(), B.numpy(), delta)
    close(A_bar, wanted_A)
    close(B_bar, wanted_B)


@every_rule
def test_a_dense_complex_rule_equals_the_real_one_in_other_coordinates(rule):
    A, B, turn = stable_dense(3), randn(3), randn(3, 3, seed=4, dtype=C128)
    back = torch.linalg.inv(turn)
    A_bar, B_bar = rule(turn @ A.to(C128) @ back, turn @ B.to(C128), 0.4)
    wanted_A, wanted_B = by_scipy(rule, A.numpy(), B.numpy(), 0.4)
    close(back @ A_bar @ turn, wanted_A)
    close(back @ B_bar, wanted_B)


@every_rule
@properties
@given(data=st.data())
def test_a_diagonal_rule_equals_the_textbook_number_by_number(rule, data):
    dtype = data.draw(st.sampled_from([F64, C128]))
    N, seed = data.draw(st.integers(1, 4)), data.draw(st.integers(0, 99))
    steps = data.draw(st.sampled_from([(), (1,), (3,), (2, 5)]))
    A, B = stable_diagonal(N, seed=seed, dtype=dtype), randn(N, seed=seed, dtype=dtype)
    delta = uniform(0.01, 2, *steps, seed=seed)
    A_bar, B_bar = rule(A, B, delta)
    wanted_A, wanted_B = by_hand(rule, A.numpy(), B.numpy(), delta.numpy()[..., None])
    close(A_bar, wanted_A)
    close(B_bar, wanted_B)


@every_rule
@properties
@given(st.integers(1, 4), st.sampled_from([(1,), (3,), (2, 1), (2, 3)]), st.integers(0, 99))
def test_dense_steps_are_taken_one_by_one(rule, N, steps, seed):
    A, B, delta = stable_dense(N, seed), randn(N, seed=seed), uniform(0.01, 2, *steps, seed=seed)
    A_bar, B_bar = rule(A, B, delta)
    assert A_bar.shape == (*steps, N, N)
    assert B_bar.shape == (*steps, N)
    for index in np.ndindex(*steps):
        wanted_A, wanted_B = by_scipy(rule, A.numpy(), B.numpy(), delta[index].item())
        close(A_bar[index], wanted_A)
        close(B_bar[index], wanted_B)


@every_rule
def test_one_system_may_have_a_B_at_every_step(rule):
    A, B, delta = stable_diagonal(3), randn(2, 5, 3), uniform(0.1, 2, 2, 5)
    A_bar, B_bar = rule(A, B, delta)
    for index in np.ndindex(2, 5):
        wanted_A, wanted_B = by_hand(rule, A.numpy(), B[index].numpy(), delta[index].numpy())
        close(A_bar[index], wanted_A)
        close(B_bar[index], wanted_B)


@every_rule
@pytest.mark.parametrize("steps", [(), (4,), (7, 4), (2, 7, 4), (2, 7, 1), (1,)])
@pytest.mark.parametrize("N", [3, 4])
def test_every_channel_is_a_diagonal_system_with_its_own_step(rule, steps, N):
    A, B, delta = stable_diagonal(4, N), randn(4, N), uniform(0.1, 2, *steps)
    A_bar, B_bar = rule(A, B, delta)
    shape = (*steps[:-1], 4, N)
    assert A_bar.shape == B_bar.shape == shape
    deltas = np.broadcast_to(delta.numpy(), shape[:-1])
    for index in np.ndindex(*shape):
        wanted_A, wanted_B = by_hand(rule, A[index[-2:]].item(), B[index[-2:]].item(),
                                     deltas[index[:-1]])
        close(A_bar[index], wanted_A)
        close(B_bar[index], wanted_B)


@every_rule
@pytest.mark.parametrize("N", [2, 3])
@pytest.mark.parametrize("shared", [True, False])
def test_mambas_shapes_give_every_channel_the_steps_B(rule, N, shared):
    A, B = stable_diagonal(3, N), randn(2, 5, N)
    delta = uniform(0.1, 2, 2, 5, 1 if shared else 3)
    A_bar, B_bar = rule(A, B, delta)
    assert A_bar.shape == B_bar.shape == (2, 5, 3, N)
    for b, t, d, n in np.ndindex(2, 5, 3, N):
        wanted_A, wanted_B = by_hand(rule, A[d, n].item(), B[b, t, n].item(),
                                     delta[b, t, 0 if shared else d].item())
        close(A_bar[b, t, d, n], wanted_A)
        close(B_bar[b, t, d, n], wanted_B)


@every_rule
@properties
@given(st.sampled_from(FORMS), st.integers(1, 4), st.integers(1, 5), st.floats(1e-3, 3),
       st.integers(0, 99))
def test_a_number_equals_the_same_step_repeated(rule, form, N, length, delta, seed):
    A, B, _ = stable_system(form, N, seed)
    once = rule(A, B, delta)
    for repeated in (torch.tensor(delta, dtype=F64), torch.full((length,), delta, dtype=F64)):
        for one, many in zip(once, rule(A, B, repeated), strict=True):
            close(many, one.expand(*repeated.shape, *one.shape))


@every_rule
@properties
@given(st.integers(1, 4), st.integers(1, 4), st.floats(1e-3, 3), st.integers(0, 99))
def test_a_number_equals_the_same_step_for_all_channels(rule, channels, N, delta, seed):
    A, B = stable_diagonal(channels, N, seed=seed), randn(channels, N, seed=seed)
    once = rule(A, B, delta)
    for steps in ((channels,), (5, channels), (5, 1)):
        repeated = torch.full(steps, delta, dtype=F64)
        for one, many in zip(once, rule(A, B, repeated), strict=True):
            close(many, one.expand(*steps[:-1], *one.shape))


@every_rule
@properties
@given(st.sampled_from([F64, C128]), st.integers(1, 4), st.floats(1e-3, 3), st.integers(0, 99))
def test_a_diagonal_matrix_equals_its_diagonal(rule, dtype, N, delta, seed):
    A, B = stable_diagonal(N, seed=seed, dtype=dtype), randn(N, seed=seed, dtype=dtype)
    A_bar, B_bar = rule(A, B, delta)
    dense_A_bar, dense_B_bar = rule(torch.diag(A), B, delta)
    close(dense_A_bar, torch.diag(A_bar))
    close(dense_B_bar, B_bar)


@every_rule
@pytest.mark.parametrize("dtype", [torch.float32, F64, torch.complex64, C128])
def test_a_rule_keeps_the_dtype(rule, dtype):
    A = stable_diagonal(3, dtype=C128 if dtype.is_complex else F64).to(dtype)
    for form in (A, torch.diag(A)):
        for step in (1, 0.5, torch.tensor([0.5, 1], dtype=dtype.to_real())):
            assert {part.dtype for part in rule(form, torch.ones(3, dtype=dtype), step)} == {dtype}


@every_rule
@every_form
def test_B_bar_is_linear_in_B_and_A_bar_knows_nothing_of_it(rule, form):
    A, B, C = stable_system(form, 3)
    (A_bar, one), (_, other), (A_both, both) = (rule(A, b, 0.7) for b in (B, C, 2 * B - 3 * C))
    close(both, 2 * one - 3 * other)
    close(A_both, A_bar)


@properties
@given(st.sampled_from(FORMS), st.integers(1, 4), st.floats(1e-3, 3), st.integers(0, 99))
def test_two_half_steps_of_zoh_with_a_held_input_are_one(form, N, delta, seed):
    A, B, _ = stable_system(form, N, seed)
    half_A, half_B = (part.numpy() for part in zoh(A, B, delta / 2))
    half_A = as_matrix(torch.tensor(half_A))
    A_bar, B_bar = zoh(A, B, delta)
    close(as_matrix(A_bar), half_A @ half_A)
    close(B_bar, half_A @ half_B + half_B)


@pytest.mark.parametrize("rule", [euler, backward_euler, bilinear, zoh])
@every_form
def test_the_rest_state_under_a_constant_input_is_the_exact_one(rule, form):
    A, B, _ = stable_system(form, 3)
    A_bar, B_bar = (part.numpy() for part in rule(A, B, 0.1))
    rest = np.linalg.solve(np.eye(3) - as_matrix(torch.tensor(A_bar)), B_bar)
    close(rest, -np.linalg.solve(as_matrix(A), B.numpy()))


def test_mambas_rest_state_is_not_the_exact_one():
    A, B = torch.tensor([-1.0], dtype=F64), torch.ones(1, dtype=F64)
    A_bar, B_bar = mamba(A, B, 1.0)
    close(B_bar / (1 - A_bar), np.array([1 / (1 - np.exp(-1))]))


def final_state(rule, steps, signal, moment=1.0):
    """h at t = 2 of h' = −h + 2 h₂ + x, h₂' = −3 h₂ from h = (1, 1); the input of a step is
    its value `moment` of the way through the step."""
    A = torch.tensor([[-1.0, 2], [0, -3]], dtype=F64)
    A_bar, B_bar = rule(A, torch.tensor([1.0, 0], dtype=F64), 2 / steps)
    t = (torch.arange(steps, dtype=F64) + moment) * (2 / steps)
    _, h = lti.recurrence(A_bar, B_bar, torch.ones(2, dtype=F64), signal(t),
                          initial_state=torch.ones(2, dtype=F64), return_last_state=True)
    return h[0].item()


def order(rule, signal, moment=1.0):
    """The power of Δ with which the error at t = 2 shrinks from Δ = 1/200 to 1/400."""
    free = 2 * np.exp(-2) - np.exp(-6)
    forced = {torch.zeros_like: 0, torch.ones_like: 1 - np.exp(-2),
              torch.cos: (np.sin(2) + np.cos(2) - np.exp(-2)) / 2}[signal]
    coarse, fine = (abs(final_state(rule, steps, signal, moment) - free - forced)
                    for steps in (400, 800))
    return np.log2(coarse / fine)


@pytest.mark.parametrize(("rule", "power"), [(euler, 1), (backward_euler, 1), (bilinear, 2)])
@pytest.mark.parametrize("signal", [torch.zeros_like, torch.ones_like])
def test_order_of_the_error_without_input_and_with_a_constant_one(rule, power, signal):
    assert order(rule, signal) == pytest.approx(power, abs=0.05)


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_is_first_order_for_a_smooth_input_read_at_the_end_of_the_step(rule):
    assert order(rule, torch.cos) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("rule", [bilinear, zoh])
def test_second_order_for_a_smooth_input_read_in_the_middle_of_the_step(rule):
    assert order(rule, torch.cos, moment=0.5) == pytest.approx(2, abs=0.05)


def test_mamba_is_first_order_for_a_constant_input():
    assert order(mamba, torch.ones_like) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("steps", [1, 2, 17])
def test_zoh_is_exact_for_a_held_input_however_long_the_step(steps):
    wanted = 2 * np.exp(-2) - np.exp(-6) + 1 - np.exp(-2)
    assert final_state(zoh, steps, torch.ones_like) == pytest.approx(wanted, rel=1e-12)


@properties
@given(st.floats(-50, -1e-3), st.floats(-50, 50), st.floats(1e-2, 20))
def test_what_fades_in_continuous_time_fades_in_all_but_forward_euler(decay, turn, delta):
    A, B = torch.tensor([complex(decay, turn)], dtype=C128), torch.ones(1, dtype=C128)
    for rule in (backward_euler, bilinear, zoh, mamba):
        assert rule(A, B, delta)[0].abs().item() < 1


@properties
@given(st.floats(-50, -1e-3), st.floats(1e-2, 20))
def test_forward_euler_explodes_beyond_a_step_of_two_time_constants(decay, delta):
    A_bar, _ = euler(torch.tensor([decay], dtype=F64), torch.ones(1, dtype=F64), delta)
    assert (A_bar.abs().item() > 1) == (delta * -decay > 2)


@properties
@given(st.floats(-50, 50), st.floats(1e-2, 20))
def test_a_pure_oscillation_keeps_its_size_in_bilinear_and_zoh(turn, delta):
    A, B = torch.tensor([turn * 1j], dtype=C128), torch.ones(1, dtype=C128)
    for rule in (bilinear, zoh):
        assert rule(A, B, delta)[0].abs().item() == pytest.approx(1, rel=1e-12)


def test_a_long_step_makes_bilinear_ring_and_backward_euler_forget():
    A, B = torch.tensor([-1.0], dtype=F64), torch.ones(1, dtype=F64)
    assert bilinear(A, B, 1e6)[0].item() == pytest.approx(-1, abs=1e-5)
    assert backward_euler(A, B, 1e6)[0].item() == pytest.approx(0, abs=1e-5)


@every_rule
@pytest.mark.parametrize("size", [0.0, 1e-300, 1e-12])
@pytest.mark.parametrize("dense", [True, False])
def test_where_A_vanishes_every_rule_is_an_integrator(rule, size, dense):
    A = torch.full((2,), -size, dtype=F64)
    A_bar, B_bar = rule(torch.diag(A) if dense else A, torch.tensor([1.0, -2], dtype=F64), 0.25)
    close(A_bar, np.eye(2) if dense else np.ones(2), rtol=1e-11)
    close(B_bar, np.array([0.25, -0.5]), rtol=1e-11)


@pytest.mark.parametrize("size", [1e-300, 1e-12, 1e-6, 1e-3, 1.0])
@pytest.mark.parametrize("dense", [True, False])
def test_zoh_loses_no_digits_near_a_singular_A(size, dense):
    A, B = torch.tensor([-size], dtype=F64), torch.ones(1, dtype=F64)
    A_bar, B_bar = zoh(A[:, None] if dense else A, B, 0.5)
    assert A_bar.item() == pytest.approx(np.exp(-size / 2), rel=1e-15)
    assert B_bar.item() == pytest.approx(-np.expm1(-size / 2) / size, rel=1e-14)


def test_zoh_of_a_nilpotent_A_is_a_polynomial_in_the_step():
    A = torch.tensor([[0.0, 1, 0], [0, 0, 1], [0, 0, 0]], dtype=F64)
    A_bar, B_bar = zoh(A, torch.tensor([0.0, 0, 1], dtype=F64), 0.6)
    close(A_bar, np.array([[1, 0.6, 0.18], [0, 1, 0.6], [0, 0, 1]]))
    close(B_bar, np.array([0.6**3 / 6, 0.18, 0.6]))


@pytest.mark.parametrize("dense", [True, False])
@pytest.mark.parametrize("size", [0.0, 1e-300, 1e-12])
def test_the_gradient_of_zoh_near_a_singular_A_is_that_of_its_series(dense, size):
    A, B = torch.full((1, 1) if dense else (1,), -size, dtype=F64), torch.tensor([3.0], dtype=F64)
    A, B, delta = leaves(A, B, torch.tensor(0.4, dtype=F64))
    A_bar, B_bar = zoh(A, B, delta)
    given_ = [g.sum().item() for g in torch.autograd.grad(B_bar.sum(), [A, B, delta],
                                                         retain_graph=True)]
    assert given_ == pytest.approx([3 * 0.4**2 / 2, 0.4, 3], rel=1e-10)
    assert torch.autograd.grad(A_bar.sum(), A)[0].item() == pytest.approx(0.4, rel=1e-10)


@every_rule
@every_form
@pytest.mark.parametrize("delta", [0.3, [0.2, 1.5]])
def test_gradients(rule, form, delta):
    A, B, _ = stable_system(form, 2)
    assert gradcheck(rule, leaves(A, B, torch.tensor(delta, dtype=F64)))


@every_rule
def test_gradients_with_mambas_shapes(rule):
    A, B, delta = stable_diagonal(2, 3), randn(1, 2, 3), uniform(0.1, 2, 1, 2, 2)
    assert gradcheck(rule, leaves(A, B, delta))


@every_rule
@pytest.mark.parametrize("A", [[0.0, 0], [[0.0, 1], [0, 0]]])
def test_gradients_where_A_is_singular(rule, A):
    assert gradcheck(rule, leaves(torch.tensor(A, dtype=F64), randn(2),
                                  torch.tensor(0.5, dtype=F64)))
