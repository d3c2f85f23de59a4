"""Recurrence, kernel and convolution against numpy loops and scipy, and against one another."""

import itertools

import numpy as np
import pytest
import torch
from scipy.signal import dlsim
from systems import C128, F64, close, leaves, randn, stable_diagonal, stable_system, uniform
from torch.autograd import gradcheck

from minimamba.continuous import simulate
from minimamba.discretize import zoh
from minimamba.lti import convolve, kernel, recurrence, step
from minimamba.shapes import apply_A

FORMS = ("dense", "diagonal", "complex", "channels", "complex channels", "dense channels")
every_form = pytest.mark.parametrize("form", FORMS)
CHANNELS = 3


def discrete_system(form, N=4, seed=0):
    """A stable (A_bar, B_bar, C), with an axis of channels where the form says so."""
    if "channels" not in form:
        A, B, C = stable_system(form, N, seed)
        return *zoh(A, B, 0.3), C
    dtype = C128 if "complex" in form else F64
    B, C = (randn(CHANNELS, N, seed=seed + k, dtype=dtype) for k in (1, 2))
    if "dense" not in form:
        return *zoh(stable_diagonal(CHANNELS, N, seed=seed, dtype=dtype), B, 0.3), C
    systems = [discrete_system("dense", N, seed + k) for k in range(CHANNELS)]
    return tuple(torch.stack(part) for part in zip(*systems, strict=True))


def signal(form, *shape, seed=5):
    return randn(*shape, CHANNELS, seed=seed) if "channels" in form else randn(*shape, seed=seed)


def time_last(form, x):
    return x.movedim(-2, -1) if "channels" in form else x


def state_shape(form, *batch, N=4):
    return (*batch, CHANNELS, N) if "channels" in form else (*batch, N)


def matrices(A_bar, B_bar):
    """A_bar as one matrix per channel: (channels, N, N) or (N, N)."""
    A_bar = A_bar.numpy()
    return A_bar if A_bar.ndim > B_bar.ndim else A_bar[..., None] * np.eye(A_bar.shape[-1])


def by_loop(system, x, h):
    """y (..., length) and the last state, for x (..., length) and h (..., N) of any batch."""
    A, B, C = matrices(*system[:2]), system[1].numpy(), system[2].numpy()
    outputs = []
    for t in range(x.shape[-1]):
        h = np.einsum("...ij,...j->...i", A, h) + B * x[..., t, None]
        outputs.append(np.einsum("...n,...n->...", C, h))
    return np.stack(outputs, -1), h


@every_form
@pytest.mark.parametrize(("N", "length", "batch"), [(4, 9, ()), (1, 5, (1,)), (3, 1, (2, 3))])
def test_recurrence_matches_a_numpy_loop(form, N, length, batch):
    system = discrete_system(form, N)
    x, h = signal(form, *batch, length), randn(*state_shape(form, *batch, N=N))
    for initial_state in (None, h):
        y, last = recurrence(*system, x, initial_state=initial_state, return_last_state=True)
        start = np.zeros(h.shape) if initial_state is None else h.numpy()
        wanted_y, wanted_last = by_loop(system, time_last(form, x).numpy(), start)
        assert y.shape == x.shape
        close(time_last(form, y), wanted_y)
        close(last, wanted_last)
        close(recurrence(*system, x, initial_state=initial_state), y, atol=0)


def test_recurrence_matches_scipy_dlsim():
    A_bar, B_bar, C = discrete_system("dense")
    x = randn(50)
    A, B, C_row = A_bar.numpy(), B_bar.numpy()[:, None], C.numpy()[None]
    _, wanted, _ = dlsim((A, B, C_row @ A, C_row @ B, 1), x.numpy())
    close(recurrence(A_bar, B_bar, C, x), wanted[:, 0])


@pytest.mark.parametrize("form", ["dense", "diagonal", "complex"])
def test_zoh_and_recurrence_give_the_exact_solution_for_a_held_input(form):
    A, B, _ = stable_system(form, 3)
    x, t = randn(20), torch.arange(21, dtype=F64) * 0.25
    exact = simulate(A, B, torch.cat([x, torch.zeros(1, dtype=F64)]), t)
    for n, C in enumerate(torch.eye(3, dtype=F64)):
        close(recurrence(*zoh(A, B, 0.25), C, x), exact[1:, n])


@every_form
def test_step_by_step_equals_recurrence(form):
    system = discrete_system(form)
    x, h = signal(form, 2, 9), randn(*state_shape(form, 2))
    y, last = recurrence(*system, x, initial_state=h, return_last_state=True)
    outputs = []
    for x_t in x.unbind(-2 if "channels" in form else -1):
        y_t, h = step(*system, x_t, h)
        assert y_t.shape == x_t.shape
        outputs.append(y_t)
    close(time_last(form, y), torch.stack(outputs, -1))
    close(h, last)


@every_form
def test_kernel_matches_matrix_powers_at_any_length(form):
    system = discrete_system(form)
    A, B, C = matrices(*system[:2]), system[1].numpy(), system[2].numpy()
    wanted = np.array([np.einsum("...i,...ij,...j->...", C, np.linalg.matrix_power(A, l), B)
                       for l in range(130)])
    for length in (1, 2, 3, 63, 64, 65, 130):
        close(kernel(*system, length), wanted[:length])


@every_form
def test_kernel_is_the_response_to_a_unit_impulse(form):
    system = discrete_system(form)
    impulse = torch.zeros_like(signal(form, 20))
    impulse[0] = 1
    close(recurrence(*system, impulse), kernel(*system, 20))


@pytest.mark.parametrize("complex_part", ["A_bar", "B_bar", "C"])
@pytest.mark.parametrize("form", ["dense", "diagonal"])
def test_one_complex_part_makes_the_output_complex(complex_part, form):
    parts = dict(zip(("A_bar", "B_bar", "C"), discrete_system(form), strict=True))
    parts[complex_part] = parts[complex_part] * (0.8 + 0.3j)
    x = randn(30)
    y = recurrence(**parts, x=x)
    assert y.dtype == C128
    close(y, by_loop(tuple(parts.values()), x.numpy(), np.zeros(4))[0])
    close(convolve(kernel(**parts, length=30), x), y)


@every_form
def test_a_complex_input_equals_its_real_and_imaginary_parts(form):
    system = discrete_system(form)
    real, imaginary = signal(form, 2, 12, seed=1), signal(form, 2, 12, seed=2)
    x = torch.complex(real, imaginary)
    wanted = recurrence(*system, real) + 1j * recurrence(*system, imaginary)
    close(recurrence(*system, x), wanted)
    close(convolve(kernel(*system, 12), x), wanted)


@every_form
def test_convolution_with_the_kernel_equals_recurrence(form):
    system = discrete_system(form, 3)
    for length, batch in ((1, ()), (2, (1,)), (63, ()), (64, (2, 3)), (65, ())):
        x = signal(form, *batch, length)
        y = convolve(kernel(*system, length), x)
        assert y.shape == x.shape
        close(y, recurrence(*system, x))


@pytest.mark.parametrize("axes", [(), (3,)])
@pytest.mark.parametrize("dtype", [F64, C128])
def test_convolve_matches_numpy_at_any_number_of_taps(axes, dtype):
    for taps, length in itertools.product((1, 2, 7, 8, 9, 40), repeat=2):
        K, x = randn(taps, *axes, dtype=dtype), randn(2, length, *axes, seed=1)
        y = convolve(K, x)
        assert y.shape == x.shape
        for b, *c in np.ndindex(2, *axes):
            one_K, one_x, one_y = (a[(..., *c)].numpy() for a in (K, x[b], y[b]))
            close(one_y, np.convolve(one_K, one_x)[:length])


@pytest.mark.parametrize("length", [1, 2, 31, 64])
def test_the_last_input_does_not_wrap_around_to_earlier_outputs(length):
    x = torch.zeros(length, dtype=F64)
    x[-1] = 1
    for taps in (1, 5, 20, 64, 200):
        K = 1 + uniform(0, 1, taps)
        y = convolve(K, x)
        close(y[:-1], np.zeros(length - 1), atol=1e-14)
        assert y[-1].item() == pytest.approx(K[0].item(), rel=1e-13)


@every_form
def test_outputs_do_not_depend_on_later_inputs(form):
    system, x = discrete_system(form), signal(form, 24)
    other = x.clone()
    other[10:] = 100
    K = kernel(*system, 24)
    close(convolve(K, other)[:10], convolve(K, x)[:10], atol=1e-11)
    assert torch.equal(recurrence(*system, other)[:10], recurrence(*system, x)[:10])


@every_form
def test_outputs_are_linear_in_the_input_and_the_initial_state(form):
    system = discrete_system(form)
    x, h = signal(form, 2, 9), randn(*state_shape(form, 2))
    a, b = recurrence(*system, x, initial_state=h)
    combined = recurrence(*system, 2 * x[0] - 3 * x[1], initial_state=2 * h[0] - 3 * h[1])
    close(combined, 2 * a - 3 * b)


@every_form
def test_a_delayed_input_gives_the_delayed_output(form):
    system, x = discrete_system(form), signal(form, 20)
    y, K = recurrence(*system, x), kernel(*system, 20)
    for delay in (1, 15):
        delayed = torch.cat([torch.zeros_like(x[:delay]), x])[:20]
        y_delayed = recurrence(*system, delayed)
        assert (y_delayed[:delay] == 0).all()
        close(y_delayed[delay:], y[:20 - delay])
        close(convolve(K, delayed), y_delayed)


@every_form
def test_two_parts_with_the_state_carried_over_equal_one_run(form):
    system, x = discrete_system(form), signal(form, 13)
    h0 = randn(*state_shape(form))
    whole, whole_last = recurrence(*system, x, initial_state=h0, return_last_state=True)
    for cut in (1, 7, 12):
        first, carried = recurrence(*system, x[:cut], initial_state=h0, return_last_state=True)
        second, last = recurrence(*system, x[cut:], initial_state=carried, return_last_state=True)
        close(torch.cat([first, second]), whole)
        close(last, whole_last)


@every_form
def test_gradients_flow_through_a_carried_state(form):
    system, x = discrete_system(form), signal(form, 12)
    weights = randn(*x.shape, seed=8)

    def gradients(cut):
        parts = leaves(*system, x)
        outputs, h = [], None
        for piece in (parts[3][:cut], parts[3][cut:]) if cut else (parts[3],):
            y, h = recurrence(*parts[:3], piece, initial_state=h, return_last_state=True)
            outputs.append(y)
        loss = (torch.cat(outputs) * weights).sum() + h.sum()
        return torch.autograd.grad(loss.abs(), parts)

    for in_parts, whole in zip(gradients(5), gradients(0), strict=True):
        close(in_parts, whole)


@pytest.mark.parametrize("form", ["channels", "complex channels", "dense channels"])
def test_channels_are_independent(form):
    system, x = discrete_system(form), signal(form, 2, 9)
    y = recurrence(*system, x)
    for c in range(CHANNELS):
        alone = tuple(part[c] for part in system)
        close(y[..., c], recurrence(*alone, x[..., c]))
        close(kernel(*system, 9)[:, c], kernel(*alone, 9))


def test_a_square_A_bar_beside_a_square_B_bar_is_diagonal():
    A_bar, B_bar, C = (uniform(0.1, 0.9, 3, 3, seed=k) for k in range(3))
    x = randn(7, 3)
    y = recurrence(A_bar, B_bar, C, x)
    for c in range(3):
        close(y[:, c], recurrence(A_bar[c], B_bar[c], C[c], x[:, c]))


def test_a_conjugate_pair_equals_its_real_two_by_two_form():
    radius, angle = 0.9, 0.7
    pair = radius * torch.exp(torch.tensor([angle * 1j, -angle * 1j], dtype=C128))
    rotation = radius * torch.tensor(
        [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]], dtype=F64)
    ones, half = torch.ones(2, dtype=C128), torch.full((2,), 0.5, dtype=C128)
    first = torch.tensor([1.0, 0], dtype=F64)
    x = randn(40)
    y = recurrence(pair, ones, half, x)
    close(y.real, recurrence(rotation, first, first, x))
    close(y.imag, np.zeros(40))
    powers = np.arange(40)
    close(kernel(rotation, first, first, 40), radius**powers * np.cos(angle * powers))


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
def test_single_precision_is_kept(dtype):
    system = (torch.full((2,), 0.5, dtype=dtype), torch.ones(2, dtype=dtype),
              torch.ones(2, dtype=dtype))
    x = torch.ones(4)
    K = kernel(*system, 4)
    y, h = recurrence(*system, x, return_last_state=True)
    one_y, one_h = step(*system, x, torch.zeros(4, 2))
    for result in (K, y, h, convolve(K, x), one_y, one_h):
        assert result.dtype == dtype
    close(K, torch.tensor([2, 1, 0.5, 0.25], dtype=dtype))


@every_form
def test_gradients_of_recurrence_through_output_and_last_state(form):
    system = discrete_system(form, N=2)
    x, h = signal(form, 2, 3), randn(*state_shape(form, 2, N=2), dtype=system[1].dtype)

    def run(A_bar, B_bar, C, x, h):
        return recurrence(A_bar, B_bar, C, x, initial_state=h, return_last_state=True)

    assert gradcheck(run, leaves(*system, x, h))


@every_form
def test_gradients_of_step(form):
    system = discrete_system(form, N=2)
    x, h = signal(form, 2), randn(*state_shape(form, 2, N=2), dtype=system[1].dtype)
    assert gradcheck(step, leaves(*system, x, h))


@every_form
def test_gradients_of_kernel(form):
    system = discrete_system(form, N=2)
    assert gradcheck(lambda *parts: kernel(*parts, 6), leaves(*system))


@pytest.mark.parametrize(("axes", "dtype", "taps"), [((), F64, 2), ((), C128, 5), ((2,), F64, 5),
                                                     ((2,), C128, 2)])
def test_gradients_of_convolve(axes, dtype, taps):
    assert gradcheck(convolve, leaves(randn(taps, *axes, dtype=dtype), randn(2, 3, *axes)))


@pytest.mark.parametrize("axes", [(), (2,)])
def test_a_dense_A_is_not_copied_for_every_state_in_the_backward_pass(axes):
    N, many = 16, 200
    A = randn(*axes, N, N).requires_grad_()
    h = randn(many, *axes, N).requires_grad_()
    sizes = []
    with torch.autograd.graph.saved_tensors_hooks(
            lambda x: sizes.append(x.untyped_storage().nbytes() // x.element_size()) or x,
            lambda x: x):
        apply_A(A, h, dense=True)
    assert max(sizes) <= h.numel()
