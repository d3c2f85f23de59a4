"""The selective scan, by each of its machines, against a loop over single numbers."""

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
every_combination = pytest.mark.parametrize("options", COMBINATIONS, ids="+".join)
lengths = pytest.mark.parametrize("length", [1, 2, 63, 64, 65])
half_types = pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
properties = settings(max_examples=40, deadline=None, derandomize=True)


# Each machine goes through every test of this file, but for the compiled one, which would compile
# for each shape anew: test_scan_agreement.py has its tests.
@pytest.fixture(scope="module", autouse=True, params=["reference", "chunked"])
def machine(request):
    scan.method = request.param


def scan(**arguments):
    return selective_scan(**arguments, method=scan.method)


def scan_inputs(options=(), batch=2, length=5, d_inner=4, d_state=3, groups=None, seed=0):
    """The arguments of a scan in float64; B and C have an axis for groups unless it is None."""
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
    """The tensors among the arguments, or the named ones, in another dtype."""
    return {name: value.to(dtype) if isinstance(value, torch.Tensor)
            and (names is None or name in names) else value for name, value in arguments.items()}


def by_loop(x, delta, A, B, C, D=None, z=None, delta_bias=None, delta_softplus=False,
            initial_state=None):
    """The recurrence of the paper, one number of one state at a time."""
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


def test_two_machines_run_everywhere():
    assert methods()["reference"] is None
    assert methods()["chunked"] is None


@every_combination
@pytest.mark.parametrize("groups", [None, 1, 2, 4])
def test_every_combination_of_options_equals_the_loop(options, groups):
    arguments = scan_inputs(options, groups=groups)
    y, last = scan(**arguments, return_last_state=True)
    wanted_y, wanted_last = by_loop(**arguments)
    close(y, wanted_y)
    close(last, wanted_last)
    assert torch.equal(scan(**arguments), y)


@properties
@given(options=st.sampled_from(COMBINATIONS), batch=st.integers(1, 3), length=st.integers(1, 9),
       width=st.integers(1, 3), d_state=st.integers(1, 4),
       groups=st.sampled_from([None, 1, 2, 3]), dtype=st.sampled_from([torch.float32, F64]),
       seed=st.integers(0, 999))
def test_any_shape_equals_the_loop(options, batch, length, width, d_state, groups, dtype, seed):
    arguments = to(scan_inputs(options, batch, length, width * (groups or 1), d_state, groups,
                               seed), dtype)
    y, last = scan(**arguments, return_last_state=True)
    wanted_y, wanted_last = by_loop(**arguments)
    rtol, atol = (1e-10, 1e-12) if dtype == F64 else (1e-4, 1e-5)
    close(y.double(), wanted_y, rtol=rtol, atol=atol)
    close(last.double(), wanted_last, rtol=rtol, atol=atol)


@lengths
def test_any_length_equals_the_loop(length):
    arguments = scan_inputs(OPTIONS, length=length, groups=2)
    y, last = scan(**arguments, return_last_state=True)
    wanted_y, wanted_last = by_loop(**arguments)
    close(y, wanted_y)
    close(last, wanted_last)


@lengths
def test_the_scan_is_mambas_discretization_run_step_by_step(length):
    arguments = scan_inputs(length=length)
    x, delta, A, B, C = arguments.values()
    A_bar, B_bar = discretize.mamba(A, B, delta)
    h, outputs = torch.zeros(2, 4, 3, dtype=F64), []
    for t in range(length):
        h = A_bar[:, t] * h + B_bar[:, t] * x[:, t, :, None]
        outputs.append(torch.einsum("bdn,bn->bd", h, C[:, t]))
    y, last = scan(**arguments, return_last_state=True)
    close(y, torch.stack(outputs, 1))
    close(last, h)


def test_with_constant_parameters_the_scan_is_an_lti_system():
    A, B, C = stable_diagonal(4, 3), randn(3, seed=1), randn(3, seed=2)
    delta, x = uniform(0.1, 1, 4, seed=3), randn(2, 20, 4, seed=4)
    system = *discretize.mamba(A, B.expand(4, 3), delta), C.expand(4, 3)
    y = scan(x=x, delta=delta.expand(2, 20, 4), A=A, B=B.expand(2, 20, 3), C=C.expand(2, 20, 3))
    close(y, lti.recurrence(*system, x))
    close(y, lti.convolve(lti.kernel(*system, 20), x))


@pytest.mark.parametrize("varying", ["delta", "B", "C", None])
def test_a_later_input_gives_the_same_output_later_only_with_constant_parameters(varying):
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
def test_the_output_is_linear_in_input_and_initial_state(groups, seed):
    arguments = scan_inputs(("D", "z", "initial_state"), groups=groups, seed=seed)
    other = scan_inputs(("initial_state",), seed=seed + 50)
    mixed = arguments | {name: 2 * arguments[name] - 3 * other[name]
                         for name in ("x", "initial_state")}
    swapped = arguments | {name: other[name] for name in ("x", "initial_state")}
    both, one, two = (scan(**a, return_last_state=True) for a in (mixed, arguments, swapped))
    for k in range(2):
        close(both[k], 2 * one[k] - 3 * two[k])


def test_every_signal_of_a_batch_and_every_channel_is_scanned_alone():
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


@pytest.mark.parametrize("B_groups", [None, 1, 2, 4])
@pytest.mark.parametrize("C_groups", [None, 1, 2, 4])
def test_B_and_C_may_have_groups_of_their_own(B_groups, C_groups):
    arguments = scan_inputs(groups=B_groups) | {"C": scan_inputs(groups=C_groups)["C"]}
    close(scan(**arguments), by_loop(**arguments)[0])


def test_neighbouring_channels_share_a_group():
    arguments = scan_inputs(groups=2)
    other = arguments["B"].clone()
    other[:, :, 1] += 1
    changed = (scan(**arguments | {"B": other}) != scan(**arguments)).all(1).all(0)
    assert changed.tolist() == [False, False, True, True]


def test_the_output_knows_nothing_of_later_arguments():
    arguments, later = scan_inputs(("D", "z"), length=9), scan_inputs(("z",), length=9, seed=50)
    for name in ("x", "delta", "B", "C", "z"):
        changed = arguments | {name: torch.cat([arguments[name][:, :5], later[name][:, 5:]], 1)}
        y, y_changed = scan(**arguments), scan(**changed)
        assert torch.equal(y_changed[:, :5], y[:, :5])
        assert not torch.equal(y_changed[:, 5:], y[:, 5:])


@properties
@given(cut=st.integers(1, 11), options=st.sampled_from(COMBINATIONS),
       groups=st.sampled_from([None, 2]), seed=st.integers(0, 999))
def test_two_halves_with_the_state_carried_are_one_run(cut, options, groups, seed):
    arguments = scan_inputs(options, length=12, groups=groups, seed=seed)
    whole, whole_last = scan(**arguments, return_last_state=True)
    first, second = (pieces(arguments, part) for part in (slice(cut), slice(cut, None)))
    y_first, carried = scan(**first, return_last_state=True)
    y_second, last = scan(**second | {"initial_state": carried}, return_last_state=True)
    close(torch.cat([y_first, y_second], 1), whole)
    close(last, whole_last)


def pieces(arguments, part):
    timed = {"x", "delta", "B", "C", "z"}
    return {name: value[:, part] if name in timed else value for name, value in arguments.items()}


def test_the_gradient_passes_through_a_carried_state():
    arguments = scan_inputs(OPTIONS, length=12, groups=2)
    names = [name for name, value in arguments.items() if isinstance(value, torch.Tensor)]
    weights = randn(2, 12, 4, seed=20)

    def gradients(cut):
        parts = leaves(*(arguments[name] for name in names))
        given_ = arguments | dict(zip(names, parts, strict=True))
        h, outputs = given_.pop("initial_state"), []
        for part in (slice(cut), slice(cut, None)) if cut else (slice(None),):
            y, h = scan(**pieces(given_, part), initial_state=h, return_last_state=True)
            outputs.append(y)
        return torch.autograd.grad((torch.cat(outputs, 1) * weights).sum() + h.sum(), parts)

    for halves, whole in zip(gradients(5), gradients(0), strict=True):
        close(halves, whole)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, F64])
@pytest.mark.parametrize("options", [(), OPTIONS])
def test_the_output_has_the_dtype_of_x_and_the_state_at_least_single(dtype, options):
    y, last = scan(**to(scan_inputs(options), dtype), return_last_state=True)
    assert y.dtype == dtype
    assert last.dtype == (F64 if dtype == F64 else torch.float32)


@half_types
@lengths
@pytest.mark.parametrize("options", [(), ("D", "z"), OPTIONS], ids="+".join)
def test_half_precision_is_single_precision_rounded_once(half, length, options):
    arguments = to(scan_inputs(options, length=length, groups=2), half)
    y, last = scan(**arguments, return_last_state=True)
    single, single_last = scan(**to(arguments, torch.float32), return_last_state=True)
    assert torch.equal(y, single.to(half))
    assert torch.equal(last, single_last)
    assert not torch.equal(last, last.to(half).float())


@half_types
@pytest.mark.parametrize("name", ["delta", "A", "B", "C", *OPTIONS[:3], "initial_state"])
def test_beside_a_half_x_each_tensor_may_be_single_and_keeps_its_digits(half, name):
    arguments = to(to(scan_inputs(OPTIONS), torch.float32), half, {"x"})
    rounded = to(arguments, half, {name})
    y, last = scan(**rounded, return_last_state=True)
    wanted_y, wanted_last = by_loop(**rounded)
    close(last.double(), wanted_last, rtol=1e-4, atol=1e-5)
    close(y.double(), wanted_y, rtol=1e-2, atol=1e-2)
    y_single, last_single = scan(**arguments, return_last_state=True)
    assert not (torch.equal(y, y_single) and torch.equal(last, last_single))


@half_types
def test_half_inputs_receive_half_gradients_equal_to_the_single_ones(half):
    arguments = to(scan_inputs(OPTIONS, groups=2), half)
    names = [name for name, value in arguments.items() if isinstance(value, torch.Tensor)]

    def gradients(dtype):
        parts = leaves(*(arguments[name].to(dtype) for name in names))
        _, last = scan(**arguments | dict(zip(names, parts, strict=True)), return_last_state=True)
        return torch.autograd.grad(last.sum(), parts, allow_unused=True, materialize_grads=True)

    for given_, wanted in zip(gradients(half), gradients(torch.float32), strict=True):
        assert given_.dtype == half
        assert torch.equal(given_, wanted.to(half))


def test_a_small_addition_survives_in_the_state_of_a_half_precision_scan():
    shape = 1, 1000, 1
    ones, small = torch.ones(shape), torch.full(shape, 2.0**-10)
    arguments = to({"x": ones, "delta": small, "A": torch.zeros(1, 1), "B": ones, "C": ones,
                    "initial_state": torch.full((1, 1, 1), 64.0)}, torch.bfloat16)
    _, last = scan(**arguments, return_last_state=True)
    assert last.item() == 64 + 1000 * 2**-10


def test_a_step_of_zero_holds_the_state_exactly():
    arguments = scan_inputs(("initial_state",))
    arguments["delta"] = torch.zeros_like(arguments["delta"])
    y, last = scan(**arguments, return_last_state=True)
    assert torch.equal(last, arguments["initial_state"])
    close(y, torch.einsum("bdn,btn->btd", last, arguments["C"]))


def test_a_bias_may_lift_a_negative_delta():
    arguments = scan_inputs(("delta_bias",))
    arguments["delta"] = arguments["delta"] - 3
    arguments["delta_bias"] = arguments["delta_bias"] + 3.5
    close(scan(**arguments), by_loop(**arguments)[0])


def test_a_large_step_forgets_the_past():
    arguments, other = scan_inputs(("initial_state",)), scan_inputs(("initial_state",), seed=70)
    arguments["delta"][:, 2] = 1e5
    past = arguments | {name: torch.cat([other[name][:, :2], arguments[name][:, 2:]], 1)
                        for name in ("x", "delta", "B")}
    past["initial_state"] = other["initial_state"]
    (y, last), (y_past, last_past) = (scan(**a, return_last_state=True) for a in (arguments, past))
    assert not torch.equal(y[:, :2], y_past[:, :2])
    assert torch.equal(y[:, 2:], y_past[:, 2:])
    assert torch.equal(last, last_past)


def test_a_closed_gate_lets_nothing_out_and_a_wide_one_scales():
    arguments = scan_inputs(("D",))
    y = scan(**arguments)
    assert (scan(**arguments, z=torch.zeros_like(y)) == 0).all()
    close(scan(**arguments, z=torch.full_like(y, 50.0)), 50 * y)


def test_the_arguments_are_left_as_they_were():
    arguments = scan_inputs(OPTIONS)
    before = {name: value.clone() for name, value in arguments.items()
              if isinstance(value, torch.Tensor)}
    scan(**arguments)
    assert all(torch.equal(value, arguments[name]) for name, value in before.items())


@pytest.mark.parametrize("groups", [None, 1, 2])
@pytest.mark.parametrize("options", [(), ("D", "z"), ("delta_bias", "delta_softplus"), OPTIONS],
                         ids="+".join)
def test_gradients_through_output_and_last_state(options, groups):
    arguments = scan_inputs(options, batch=1, length=3, d_inner=2, d_state=2, groups=groups)
    names = [name for name, value in arguments.items() if isinstance(value, torch.Tensor)]

    def run(*parts):
        return scan(**arguments | dict(zip(names, parts, strict=True)), return_last_state=True)

    assert gradcheck(run, leaves(*(arguments[name] for name in names)))
