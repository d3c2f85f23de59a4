"""The selective scan, by its two plain PyTorch methods, against a loop over scalars."""

from functools import partial
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from systems import F64, close, leaves, randn, stable_diagonal, uniform
from torch.autograd import gradcheck

from minimamba import discretize, lti, selective_scan
from minimamba.scan import methods

OPTIONS = ("D", "z", "delta_bias", "delta_softplus", "initial_state")
COMBINATIONS = [chosen for r in range(len(OPTIONS) + 1) for chosen in combinations(OPTIONS, r)]
half_types = pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
properties = settings(max_examples=40, deadline=None, derandomize=True)


# The compiled method, which would compile for every shape here, is in test_scan_agreement.py.
@pytest.fixture(scope="module", params=["reference", "chunked"])
def scan(request):
    return partial(selective_scan, method=request.param)


def scan_inputs(options=(), batch=2, length=5, d_inner=4, d_state=3, groups=None, seed=0):
    """Arguments of a scan in float64; B and C have a groups axis unless groups is None."""
    axes = () if groups is None else (groups,)
    softplus = "delta_softplus" in options
    arguments = {
        "x": randn(batch, length, d_inner, seed=seed),
        "delta": uniform(-2 if softplus else 0.5, 1.5, batch, length, d_inner, seed=seed + 1),
        "A": stable_diagonal(d_inner, d_state, seed=seed + 2),
        "B": randn(batch, length, *axes, d_state, seed=seed + 3),
        "C": randn(batch, length, *axes, d_state, seed=seed + 4),
    }
    optional = {
        "D": randn(d_inner, seed=seed + 5),
        "z": randn(batch, length, d_inner, seed=seed + 6),
        "delta_bias": uniform(-0.5, 1, d_inner, seed=seed + 7),
        "delta_softplus": True,
        "initial_state": randn(batch, d_inner, d_state, seed=seed + 8),
    }
    return arguments | {name: optional[name] for name in options}


def to(arguments, dtype, names=None):
    """Convert the tensors among the arguments, or the named ones, to another dtype."""
    return {name: value.to(dtype) if isinstance(value, torch.Tensor)
            and (names is None or name in names) else value for name, value in arguments.items()}


def scalar_loop(x, delta, A, B, C, D=None, z=None, delta_bias=None, delta_softplus=False,
                initial_state=None):
    """The paper's recurrence, one component of one state at a time."""
    x, delta, A, B, C, D, z, delta_bias, h = (
        None if t is None else t.double().numpy()
        for t in (x, delta, A, B, C, D, z, delta_bias, initial_state))
    batch, length, d_inner = x.shape
    d_state = A.shape[1]
    B, C = (t.repeat(d_inner // t.shape[2], 2) if t.ndim == 4 else t[:, :, None].repeat(d_inner, 2)
            for t in (B, C))
    h = np.zeros((batch, d_inner, d_state)) if h is None else h.copy()
    y = np.zeros(x.shape)
    for b, t, d in np.ndindex(batch, length, d_inner):
        dt = delta[b, t, d] + (0 if delta_bias is None else delta_bias[d])
        dt = np.log1p(np.exp(dt)) if delta_softplus else dt
        for n in range(d_state):
            h[b, d, n] = np.exp(dt * A[d, n]) * h[b, d, n] + dt * B[b, t, d, n] * x[b, t, d]
            y[b, t, d] += C[b, t, d, n] * h[b, d, n]
        if D is not None:
            y[b, t, d] += D[d] * x[b, t, d]
        if z is not None:
            y[b, t, d] *= z[b, t, d] / (1 + np.exp(-z[b, t, d]))
    return y, h


def test_reference_and_chunked_methods_run_on_every_machine():
    assert methods()["reference"] is None
    assert methods()["chunked"] is None


@pytest.mark.parametrize(("options", "groups"), [
    *((options, 2) for options in COMBINATIONS), *((OPTIONS, groups) for groups in (None, 1, 4))],
    ids=lambda value: "+".join(value) if isinstance(value, tuple) else str(value))
def test_scan_equals_scalar_loop_with_every_combination_of_options(scan, options, groups):
    arguments = scan_inputs(options, groups=groups)
    y, last = scan(**arguments, return_last_state=True)
    expected_y, expected_last = scalar_loop(**arguments)
    close(y, expected_y)
    close(last, expected_last)
    assert torch.equal(scan(**arguments), y)


@properties
@given(options=st.sampled_from(COMBINATIONS), batch=st.integers(1, 3), length=st.integers(1, 9),
       width=st.integers(1, 3), d_state=st.integers(1, 4),
       groups=st.sampled_from([None, 1, 2, 3]), dtype=st.sampled_from([torch.float32, F64]),
       seed=st.integers(0, 999))
def test_scan_equals_scalar_loop_at_random_shapes(scan, options, batch, length, width, d_state,
                                                  groups, dtype, seed):
    arguments = to(scan_inputs(options, batch, length, width * (groups or 1), d_state, groups,
                               seed), dtype)
    y, last = scan(**arguments, return_last_state=True)
    expected_y, expected_last = scalar_loop(**arguments)
    rtol, atol = (1e-10, 1e-12) if dtype == F64 else (1e-4, 1e-5)
    close(y.double(), expected_y, rtol=rtol, atol=atol)
    close(last.double(), expected_last, rtol=rtol, atol=atol)


@pytest.mark.parametrize("length", [1, 2, 15, 16, 17, 63, 64, 65])
def test_scan_equals_scalar_loop_at_lengths_around_a_chunk(scan, length):
    arguments = scan_inputs(OPTIONS, length=length, groups=2)
    y, last = scan(**arguments, return_last_state=True)
    expected_y, expected_last = scalar_loop(**arguments)
    close(y, expected_y)
    close(last, expected_last)


def test_scan_equals_mamba_discretization_run_step_by_step(scan):
    arguments = scan_inputs(length=20)
    x, delta, A, B, C = arguments.values()
    A_bar, B_bar = discretize.mamba(A, B, delta)
    h, outputs = torch.zeros(2, 4, 3, dtype=F64), []
    for t in range(20):
        h = A_bar[:, t] * h + B_bar[:, t] * x[:, t, :, None]
        outputs.append(torch.einsum("bdn,bn->bd", h, C[:, t]))
    y, last = scan(**arguments, return_last_state=True)
    close(y, torch.stack(outputs, 1))
    close(last, h)


def test_scan_with_constant_parameters_equals_lti_recurrence_and_convolution(scan):
    A, B, C = stable_diagonal(4, 3), randn(3, seed=1), randn(3, seed=2)
    delta, x = uniform(0.1, 1, 4, seed=3), randn(2, 20, 4, seed=4)
    system = *discretize.mamba(A, B.expand(4, 3), delta), C.expand(4, 3)
    y = scan(x=x, delta=delta.expand(2, 20, 4), A=A, B=B.expand(2, 20, 3), C=C.expand(2, 20, 3))
    close(y, lti.recurrence(*system, x))
    close(y, lti.convolve(lti.kernel(*system, 20), x))


@pytest.mark.parametrize("varying", ["delta", "B", "C", None])
def test_scan_is_time_invariant_only_with_constant_parameters(scan, varying):
    arguments = scan_inputs(length=20)
    for name in {"delta", "B", "C"} - {varying}:
        arguments[name] = arguments[name][:, :1].expand(-1, 20, -1)
    x = arguments["x"]
    later = torch.cat([torch.zeros_like(x[:, :3]), x[:, :-3]], 1)
    y, y_later = scan(**arguments), scan(**arguments | {"x": later})
    same = torch.allclose(y_later[:, 3:], y[:, :-3], rtol=1e-10, atol=1e-12)
    assert same == (varying is None)


@properties
@given(groups=st.sampled_from([None, 1, 2, 4]), seed=st.integers(0, 999))
def test_scan_is_linear_in_input_and_initial_state(scan, groups, seed):
    arguments = scan_inputs(("D", "z", "initial_state"), groups=groups, seed=seed)
    other = scan_inputs(("initial_state",), seed=seed + 50)
    mixed = arguments | {name: 2 * arguments[name] - 3 * other[name]
                         for name in ("x", "initial_state")}
    swapped = arguments | {name: other[name] for name in ("x", "initial_state")}
    both, one, two = (scan(**a, return_last_state=True) for a in (mixed, arguments, swapped))
    for k in range(2):
        close(both[k], 2 * one[k] - 3 * two[k])


def test_sequences_of_a_batch_and_channels_are_independent(scan):
    arguments = scan_inputs(OPTIONS, groups=2)
    y, last = scan(**arguments, return_last_state=True)
    for b, d in np.ndindex(2, 4):
        alone = {"delta_softplus": True}
        for name in ("x", "delta", "z"):
            alone[name] = arguments[name][b:b + 1, :, d:d + 1]
        for name in ("A", "D", "delta_bias"):
            alone[name] = arguments[name][d:d + 1]
        for name in ("B", "C"):
            alone[name] = arguments[name][b:b + 1, :, d // 2]
        alone["initial_state"] = arguments["initial_state"][b:b + 1, d:d + 1]
        y_one, last_one = scan(**alone, return_last_state=True)
        close(y[b:b + 1, :, d:d + 1], y_one)
        close(last[b:b + 1, d:d + 1], last_one)


@pytest.mark.parametrize(("B_groups", "C_groups"), [(None, 3), (4, None), (1, 6), (2, 3), (4, 2)])
def test_B_and_C_may_have_different_numbers_of_groups(scan, B_groups, C_groups):
    arguments = scan_inputs(d_inner=12, groups=B_groups)
    arguments["C"] = scan_inputs(d_inner=12, groups=C_groups)["C"]
    close(scan(**arguments), scalar_loop(**arguments)[0])


def test_neighboring_channels_share_a_group(scan):
    arguments = scan_inputs(groups=2)
    other = arguments["B"].clone()
    other[:, :, 1] += 1
    changed = (scan(**arguments | {"B": other}) != scan(**arguments)).all(1).all(0)
    assert changed.tolist() == [False, False, True, True]


def test_output_does_not_depend_on_later_arguments(scan):
    arguments, later = scan_inputs(("D", "z"), length=9), scan_inputs(("z",), length=9, seed=50)
    for name in ("x", "delta", "B", "C", "z"):
        changed = arguments | {name: torch.cat([arguments[name][:, :5], later[name][:, 5:]], 1)}
        y, y_changed = scan(**arguments), scan(**changed)
        assert torch.equal(y_changed[:, :5], y[:, :5])
        assert not torch.equal(y_changed[:, 5:], y[:, 5:])


@properties
@given(cut=st.integers(1, 11), options=st.sampled_from(COMBINATIONS),
       groups=st.sampled_from([None, 2]), seed=st.integers(0, 999))
def test_split_sequence_with_carried_state_equals_one_run(scan, cut, options, groups, seed):
    arguments = scan_inputs(options, length=12, groups=groups, seed=seed)
    whole, whole_last = scan(**arguments, return_last_state=True)
    first, second = (pieces(arguments, steps) for steps in (slice(cut), slice(cut, None)))
    y_first, carried = scan(**first, return_last_state=True)
    y_second, last = scan(**second | {"initial_state": carried}, return_last_state=True)
    close(torch.cat([y_first, y_second], 1), whole)
    close(last, whole_last)


def pieces(arguments, steps):
    timed = {"x", "delta", "B", "C", "z"}
    return {name: value[:, steps] if name in timed else value for name, value in arguments.items()}


def test_gradients_flow_through_a_carried_state(scan):
    arguments = scan_inputs(OPTIONS, length=12, groups=2)
    names = [name for name, value in arguments.items() if isinstance(value, torch.Tensor)]
    weights = randn(2, 12, 4, seed=20)

    def gradients(cut):
        tensors = leaves(*(arguments[name] for name in names))
        copies = arguments | dict(zip(names, tensors, strict=True))
        h = copies.pop("initial_state")
        outputs = []
        for steps in (slice(cut), slice(cut, None)) if cut else (slice(None),):
            y, h = scan(**pieces(copies, steps), initial_state=h, return_last_state=True)
            outputs.append(y)
        return torch.autograd.grad((torch.cat(outputs, 1) * weights).sum() + h.sum(), tensors)

    for split, whole in zip(gradients(5), gradients(0), strict=True):
        close(split, whole)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, F64])
@pytest.mark.parametrize("options", [(), OPTIONS])
def test_output_has_dtype_of_x_and_state_at_least_single_precision(scan, dtype, options):
    y, last = scan(**to(scan_inputs(options), dtype), return_last_state=True)
    assert y.dtype == dtype
    assert last.dtype == (F64 if dtype == F64 else torch.float32)


@half_types
@pytest.mark.parametrize("options", [(), ("D", "z"), OPTIONS], ids="+".join)
def test_half_precision_output_is_single_precision_rounded_once(scan, half, options):
    arguments = to(scan_inputs(options, length=65, groups=2), half)
    y, last = scan(**arguments, return_last_state=True)
    single, single_last = scan(**to(arguments, torch.float32), return_last_state=True)
    assert torch.equal(y, single.to(half))
    assert torch.equal(last, single_last)
    assert not torch.equal(last, last.to(half).float())


@pytest.mark.parametrize("name", ["delta", "A", "B", "C", *OPTIONS[:3], "initial_state"])
def test_single_precision_arguments_beside_half_precision_x_are_not_rounded(scan, name):
    half = torch.bfloat16
    arguments = to(to(scan_inputs(OPTIONS), torch.float32), half, {"x"})
    rounded = to(arguments, half, {name})
    y, last = scan(**rounded, return_last_state=True)
    expected_y, expected_last = scalar_loop(**rounded)
    close(last.double(), expected_last, rtol=1e-4, atol=1e-5)
    close(y.double(), expected_y, rtol=1e-2, atol=1e-2)
    y_single, last_single = scan(**arguments, return_last_state=True)
    assert not (torch.equal(y, y_single) and torch.equal(last, last_single))


@half_types
def test_half_precision_gradients_are_single_precision_ones_rounded(scan, half):
    arguments = to(scan_inputs(OPTIONS, groups=2), half)
    names = [name for name, value in arguments.items() if isinstance(value, torch.Tensor)]

    def gradients(dtype):
        parts = leaves(*(arguments[name].to(dtype) for name in names))
        _, last = scan(**arguments | dict(zip(names, parts, strict=True)), return_last_state=True)
        return torch.autograd.grad(last.sum(), parts, allow_unused=True, materialize_grads=True)

    for actual, expected in zip(gradients(half), gradients(torch.float32), strict=True):
        assert actual.dtype == half
        assert torch.equal(actual, expected.to(half))


def test_state_of_half_precision_scan_accumulates_small_terms(scan):
    shape = 1, 1000, 1
    ones, small = torch.ones(shape), torch.full(shape, 2.0**-10)
    arguments = to({"x": ones, "delta": small, "A": torch.zeros(1, 1), "B": ones, "C": ones,
                    "initial_state": torch.full((1, 1, 1), 64.0)}, torch.bfloat16)
    _, last = scan(**arguments, return_last_state=True)
    assert last.item() == 64 + 1000 * 2**-10


def test_zero_delta_leaves_the_state_unchanged(scan):
    arguments = scan_inputs(("initial_state",))
    arguments["delta"] = torch.zeros_like(arguments["delta"])
    y, last = scan(**arguments, return_last_state=True)
    assert torch.equal(last, arguments["initial_state"])
    close(y, torch.einsum("bdn,btn->btd", last, arguments["C"]))


def test_negative_delta_is_accepted_if_bias_makes_it_positive(scan):
    arguments = scan_inputs(("delta_bias",))
    arguments["delta"] = arguments["delta"] - 3
    arguments["delta_bias"] = arguments["delta_bias"] + 3.5
    close(scan(**arguments), scalar_loop(**arguments)[0])


def test_large_delta_erases_the_past(scan):
    arguments, other = scan_inputs(("initial_state",)), scan_inputs(("initial_state",), seed=70)
    arguments["delta"][:, 2] = 1e5
    past = arguments | {name: torch.cat([other[name][:, :2], arguments[name][:, 2:]], 1)
                        for name in ("x", "delta", "B")}
    past["initial_state"] = other["initial_state"]
    (y, last), (y_past, last_past) = (scan(**a, return_last_state=True) for a in (arguments, past))
    assert not torch.equal(y[:, :2], y_past[:, :2])
    assert torch.equal(y[:, 2:], y_past[:, 2:])
    assert torch.equal(last, last_past)


def test_gate_of_zero_gives_zero_and_large_gate_scales_output(scan):
    arguments = scan_inputs(("D",))
    y = scan(**arguments)
    assert (scan(**arguments, z=torch.zeros_like(y)) == 0).all()
    close(scan(**arguments, z=torch.full_like(y, 50.0)), 50 * y)


def test_arguments_are_not_modified(scan):
    arguments = scan_inputs(OPTIONS)
    before = {name: value.clone() for name, value in arguments.items()
              if isinstance(value, torch.Tensor)}
    scan(**arguments)
    assert all(torch.equal(value, arguments[name]) for name, value in before.items())


@pytest.mark.parametrize(("options", "groups"), [
    ((), 2), (("D", "z"), 2), (("delta_bias", "delta_softplus"), 2), (OPTIONS, 2), (OPTIONS, None)])
def test_gradcheck_of_output_and_last_state(scan, options, groups):
    arguments = scan_inputs(options, batch=1, length=3, d_inner=2, d_state=2, groups=groups)
    names = [name for name, value in arguments.items() if isinstance(value, torch.Tensor)]

    def run(*parts):
        return scan(**arguments | dict(zip(names, parts, strict=True)), return_last_state=True)

    assert gradcheck(run, leaves(*(arguments[name] for name in names)))
