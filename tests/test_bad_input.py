"""Bad input raises ValueError that names the argument, what was expected and what came."""

import re

import numpy as np
import pytest
import torch
from systems import C128, F64
from torch import nn

from minimamba import selective_scan
from minimamba.arguments import check_finite
from minimamba.continuous import (
    exact_step,
    impulse_response,
    simulate,
    state_impulse_response,
    time_constants,
)
from minimamba.course import plots
from minimamba.discretize import backward_euler, bilinear, euler, mamba, zoh
from minimamba.lti import convolve, kernel, recurrence, step
from minimamba.nn.s6 import S6
from minimamba.s4 import S4, S4D, diagonal, dplr, hippo
from minimamba.s4.diagonal import vandermonde
from minimamba.s4.hippo import basis, project
from minimamba.training import shuffled, train

RULES = (euler, backward_euler, bilinear, zoh, mamba, exact_step)


def ones(*shape, dtype=F64):
    return torch.full(shape, 0.5, dtype=dtype)


def system(**more):
    return {"A": -ones(3), "B": ones(3), **more}


def dplr_kernel(Lambda, P, B, C, delta, length):
    return dplr.kernel(dplr.DPLR(Lambda, P, B), C, delta, length)


def s4d_kernel(A, B, C, delta, length):
    return diagonal.kernel(A, B, C, delta, length, zoh)


def pairs(*shape):
    return torch.complex(-ones(*shape), ones(*shape))


GOOD = {
    **{rule: system(delta=ones(4)) for rule in RULES},
    simulate: system(x=ones(2, 4), t=torch.arange(4, dtype=F64), initial_state=ones(2, 3)),
    state_impulse_response: system(lag=ones(4)),
    impulse_response: system(C=ones(3), t=ones(4)),
    time_constants: {"A": -ones(3)},
    step: {"A_bar": ones(3), "B_bar": ones(3), "C": ones(3), "x": ones(2), "h": ones(2, 3)},
    recurrence: {"A_bar": ones(3), "B_bar": ones(3), "C": ones(3), "x": ones(2, 5),
                 "initial_state": ones(2, 3)},
    kernel: {"A_bar": ones(3), "B_bar": ones(3), "C": ones(3), "length": 4},
    convolve: {"kernel": ones(3), "x": ones(2, 5)},
    basis: {"measure": "legs", "N": 3, "age": ones(4)},
    project: {"measure": "legt", "N": 3, "x": ones(2, 4), "t": torch.arange(1, 5, dtype=F64),
              "window": 2.0},
    vandermonde: {"A_bar": ones(3), "weights": ones(3), "length": 4},
    s4d_kernel: {"A": -ones(2, 3), "B": ones(2, 3), "C": ones(2, 3), "delta": ones(2),
                 "length": 4},
    dplr_kernel: {"Lambda": pairs(2, 3), "P": pairs(2, 3, 1), "B": pairs(2, 3),
                  "C": pairs(2, 3), "delta": ones(2), "length": 4},
    selective_scan: {"x": ones(2, 5, 4), "delta": ones(2, 5, 4), "A": -ones(4, 3),
                     "B": ones(2, 5, 3), "C": ones(2, 5, 3), "D": ones(4),
                     "z": ones(2, 5, 4), "delta_bias": ones(4), "initial_state": ones(2, 4, 3)},
}
TENSORS = [(function, name) for function, arguments in GOOD.items() for name, value
           in arguments.items() if isinstance(value, torch.Tensor)]
FIRST = dict(reversed(TENSORS))
AFTER_THE_FIRST = [(function, name) for function, name in TENSORS if name != FIRST[function]]


def label(value):
    return getattr(value, "__name__", None)


def every(cases):
    return pytest.mark.parametrize(("function", "name"), cases, ids=label)


def refuses(function, name, expected, given, **changes):
    """`function` turns the changed arguments down with one message of three parts."""
    message = f"^{re.escape(name)}: expected .*{expected}.*, got .*{given}"
    with pytest.raises(ValueError, match=message):
        function(**GOOD[function] | changes)


def shape(*sizes):
    return re.escape(f"shape {sizes}")


@pytest.mark.parametrize("function", GOOD, ids=label)
def test_good_input_passes(function):
    function(**GOOD[function])


@every(TENSORS)
def test_what_is_no_tensor(function, name):
    refuses(function, name, "torch.Tensor", "list", **{name: [1.0, 2.0]})
    refuses(function, name, "torch.Tensor", "ndarray", **{name: np.ones(3)})


@every(TENSORS)
def test_whole_numbers(function, name):
    whole = GOOD[function][name].real.to(torch.int64)
    refuses(function, name, "dtype .*float", "int64", **{name: whole})


@every([case for case in TENSORS if case[0] is not selective_scan])
@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_half_precision_outside_the_scan(function, name, half):
    refuses(function, name, "dtype .*float", str(half)[6:],
            **{name: GOOD[function][name].real.to(half)})


@every([case for case in TENSORS if case[0] is selective_scan])
def test_a_complex_tensor_in_the_scan(function, name):
    refuses(function, name, "dtype float", "complex128", **{name: GOOD[function][name].to(C128)})


@every([case for case in TENSORS if case[1] in ("delta", "t", "lag")])
def test_a_complex_time(function, name):
    refuses(function, name, "", "complex128", **{name: GOOD[function][name].to(C128)})


@every(AFTER_THE_FIRST)
def test_single_precision_among_double(function, name):
    given = GOOD[function][name]
    single = given.to(torch.complex64 if given.is_complex() else torch.float32)
    refuses(function, name, "float64", "float32|complex64", **{name: single})


@pytest.mark.parametrize("name", ["delta", "A", "B", "C", "D", "z", "delta_bias"])
def test_double_precision_beside_a_half_x(name):
    single = {other: value.float() for other, value in GOOD[selective_scan].items()}
    refuses(selective_scan, name, "dtype float16 or float32", "float64",
            **single | {"x": single["x"].half(), name: single[name].double()})


@every(TENSORS)
@pytest.mark.parametrize(("number", "word"), [(np.nan, "NaN"), (np.inf, "infinity"),
                                              (-np.inf, "infinity")])
def test_numbers_that_are_not_finite(function, name, number, word):
    spoilt = GOOD[function][name].clone()
    spoilt.view(-1)[-1] = number
    refuses(function, name, "finite", f"{word}.* {spoilt.numel()} elements", **{name: spoilt})


@every(AFTER_THE_FIRST)
def test_another_device(function, name):
    refuses(function, name, "device cpu", "meta", **{name: GOOD[function][name].to("meta")})


@every([(function, "A") for function in (*RULES, simulate, state_impulse_response,
                                         impulse_response)]
       + [(function, "A_bar") for function in (step, recurrence, kernel)]
       + [(convolve, "kernel"), (selective_scan, "x"), (project, "x"), (vandermonde, "A_bar"),
          (s4d_kernel, "A"), (dplr_kernel, "Lambda")])
def test_the_first_tensor_alone_on_another_device(function, name):
    changed = GOOD[function] | {name: GOOD[function][name].to("meta")}
    with pytest.raises(ValueError, match=r"^\w+: expected device meta.*, got cpu"):
        function(**changed)


@every(TENSORS)
def test_an_empty_tensor(function, name):
    empty = GOOD[function][name][..., :0]
    refuses(function, name, "at least one element", shape(*empty.shape), **{name: empty})


@pytest.mark.parametrize(("function", "names"), [
    (simulate, ["x", "t"]), (recurrence, ["x"]), (convolve, ["x"]),
    (selective_scan, ["x", "delta", "B", "C", "z"]),
], ids=lambda value: label(value) or "")
def test_a_signal_of_no_length(function, names):
    axis = 1 if function is selective_scan else -1
    nothing = {name: GOOD[function][name].narrow(axis, 0, 0) for name in names}
    refuses(function, "x", "at least one element", shape(*nothing["x"].shape), **nothing)


@pytest.mark.parametrize(("function", "name", "size", "expected"), [
    *((rule, "A", size, "shape (N, N)") for rule in RULES for size in [(), (2, 3, 3)]),
    *((rule, "B", size, "shape (3,)") for rule in RULES for size in [(), (2,), (3, 3), (5, 3)]),
    (simulate, "A", (2, 3, 3), "shape (N, N)"),
    (simulate, "B", (2, 3), "shape (N,)"),
    (simulate, "B", (4,), ""),
    (simulate, "x", (), "(..., length)"),
    (simulate, "t", (5,), "shape (4,) = (length,)"),
    (simulate, "t", (1, 4), "shape (4,) = (length,)"),
    (simulate, "initial_state", (3,), "shape (2, 3)"),
    (simulate, "initial_state", (2, 4), "shape (2, 3)"),
    (impulse_response, "C", (4,), "shape (3,) = (N,)"),
    (impulse_response, "C", (1, 3), "shape (3,) = (N,)"),
    (time_constants, "A", (), "shape (N,) or (N, N)"),
    (time_constants, "A", (2, 3, 3), "shape (N,) or (N, N)"),
    *((function, "A_bar", size, "shape (3,) (diagonal) or (3, 3) (dense)")
      for function in (step, recurrence, kernel) for size in [(2,), (2, 3), (5, 3, 3), ()]),
    *((function, "B_bar", size, "shape (N,) or (channels, N)")
      for function in (step, recurrence, kernel) for size in [(), (2, 5, 3)]),
    *((function, "C", size, "shape (3,) = that of B_bar")
      for function in (step, recurrence, kernel) for size in [(2,), (1, 3), ()]),
    (step, "h", (3,), "shape (2, 3)"),
    (step, "h", (2, 4), "shape (2, 3)"),
    (recurrence, "x", (), "shape (..., length)"),
    (recurrence, "initial_state", (3,), "shape (2, 3)"),
    (recurrence, "initial_state", (2, 5, 3), "shape (2, 3)"),
    (convolve, "kernel", (2, 3, 4), "shape (taps,) or (taps, channels)"),
    (convolve, "kernel", (), "shape (taps,) or (taps, channels)"),
    (convolve, "x", (), "shape (..., length)"),
    (project, "x", (), "shape (..., length)"),
    (project, "t", (5,), "shape (4,)"),
    (project, "t", (1, 4), "shape (4,)"),
    *((vandermonde, "A_bar", size, "shape (N,) or (channels, N)") for size in [(), (2, 3, 3)]),
    *((vandermonde, "weights", size, "shape (3,) = that of A_bar") for size in [(), (2,), (1, 3)]),
    *((s4d_kernel, name, size, "shape") for name in "BC" for size in [(3,), (2, 4), (1, 3)]),
    (s4d_kernel, "delta", (3,), "a number or shape (2,)"),
    (dplr_kernel, "Lambda", (), "shape (N/2,) or (channels, N/2)"),
    (dplr_kernel, "Lambda", (2, 2, 3), "shape (N/2,) or (channels, N/2)"),
    (dplr_kernel, "P", (2, 3), "shape (2, 3) + (rank,)"),
    (dplr_kernel, "P", (2, 4, 1), "shape (2, 3) + (rank,)"),
    *((dplr_kernel, name, size, "shape (2, 3) = that of Lambda") for name in "BC"
      for size in [(3,), (2, 4)]),
    (dplr_kernel, "delta", (3,), "a number or shape (2,)"),
    (selective_scan, "x", (5, 4), "shape (batch, length, d_inner)"),
    (selective_scan, "x", (2, 5, 4, 1), "shape (batch, length, d_inner)"),
    (selective_scan, "A", (3, 4), "shape (4, d_state)"),
    (selective_scan, "A", (4,), "shape (4, d_state)"),
    (selective_scan, "delta", (2, 5, 1), "shape (2, 5, 4) = (batch, length, d_inner)"),
    (selective_scan, "delta", (2, 4), "shape (2, 5, 4) = (batch, length, d_inner)"),
    (selective_scan, "z", (2, 5, 3), "shape (2, 5, 4) = (batch, length, d_inner)"),
    *((selective_scan, name, size, "shape (2, 5, 3) = (batch, length, d_state)")
      for name in "BC" for size in [(2, 5, 4), (1, 5, 3), (5, 3), (2, 3, 5)]),
    *((selective_scan, name, (2, 4, 2, 3), "shape (2, 5, 2, 3) = (batch, length, groups, d_state)")
      for name in "BC"),
    *((selective_scan, name, (3,), "shape (4,) = (d_inner,)") for name in ("D", "delta_bias")),
    (selective_scan, "D", (1,), "shape (4,) = (d_inner,)"),
    (selective_scan, "initial_state", (2, 3, 4), "shape (2, 4, 3) = (batch, d_inner, d_state)"),
    (selective_scan, "initial_state", (4, 3), "shape (2, 4, 3) = (batch, d_inner, d_state)"),
], ids=lambda value: label(value) or None)
def test_a_wrong_shape(function, name, size, expected):
    given = GOOD[function][name]
    make = pairs if isinstance(given, torch.Tensor) and given.is_complex() else ones
    refuses(function, name, re.escape(expected), shape(*size), **{name: make(*size)})


@pytest.mark.parametrize("function", [state_impulse_response, impulse_response], ids=label)
@pytest.mark.parametrize(("A", "B"), [((3,), (4,)), ((3, 2), (3,)), ((2, 3), (3,)), ((), ())])
def test_shapes_that_make_no_system(function, A, B):
    refuses(function, "A and B", re.escape("shapes (N,) or (N, N), and (N,)"),
            f"{shape(*A)}, {shape(*B)}", A=ones(*A), B=ones(*B))


@pytest.mark.parametrize("rule", RULES, ids=label)
@pytest.mark.parametrize(("A", "B", "delta", "name", "expected"), [
    ((3, 3), (4,), (), "B", "shape (3,) for a dense A"),
    ((4, 3), (3,), (4,), "B", "shape (4, 3)"),
    ((4, 3), (5, 3), (5, 4), "B", "shape (4, 3)"),
    ((4, 3), (2, 5, 3), (2, 6, 4), "B", "shape (4, 3), or (2, 6, 3) at every step"),
    ((4, 3), (2, 5, 2), (2, 5, 4), "B", "shape (4, 3), or (2, 5, 3) at every step"),
    ((4, 3), (4, 3), (5, 3), "delta", "a number or a last axis of 4 channels"),
    ((4, 3), (2, 5, 3), (2, 5), "delta", "a number or a last axis of 4 channels"),
])
def test_shapes_that_do_not_meet(rule, A, B, delta, name, expected):
    came = shape(*(delta if name == "delta" else B))
    refuses(rule, name, re.escape(expected), came, A=-ones(*A), B=ones(*B), delta=ones(*delta))


@pytest.mark.parametrize("length", [1, 4])
@pytest.mark.parametrize(("A", "B"), [((2, 2), (3,)), ((3, 2), (2,)), ((3,), (2,))])
def test_simulate_checks_the_system_however_short_the_signal(A, B, length):
    with pytest.raises(ValueError, match=r"^(A|B)[^:]*: expected .*, got .*shape"):
        simulate(-ones(*A), ones(*B), ones(length), torch.arange(length, dtype=F64))


def test_channels_that_do_not_match():
    two = {"A_bar": ones(2, 3), "B_bar": ones(2, 3), "C": ones(2, 3)}
    refuses(recurrence, "x", re.escape("shape (..., length, 2)"), shape(5, 3),
            x=ones(5, 3), initial_state=None, **two)
    refuses(recurrence, "x", re.escape("shape (..., length, 2)"), shape(2),
            x=ones(2), initial_state=None, **two)
    refuses(convolve, "x", re.escape("shape (..., length, 2)"), shape(5, 3),
            x=ones(5, 3), kernel=ones(4, 2))
    for size in [(3,), (), (2, 3)]:
        refuses(step, "x", "2 channels", shape(*size), x=ones(*size), h=ones(2, 3), **two)


@pytest.mark.parametrize("name", ["B", "C"])
@pytest.mark.parametrize("groups", [3, 5, 8])
def test_groups_that_do_not_divide_the_channels(name, groups):
    refuses(selective_scan, name, "groups that divides d_inner = 4", groups,
            **{name: ones(2, 5, groups, 3)})


@pytest.mark.parametrize("rule", RULES, ids=label)
@pytest.mark.parametrize(("delta", "came"), [
    (0, "0"), (0.0, "0"), (-0.5, "-0.5"), (torch.tensor([1, 0.0], dtype=F64), "0"),
    (torch.tensor([[1, -2.0]], dtype=F64), "-2"),
])
def test_a_step_that_is_not_positive(rule, delta, came):
    refuses(rule, "delta", "a step size greater than 0", f"{came}$", delta=delta)


@pytest.mark.parametrize("rule", RULES, ids=label)
@pytest.mark.parametrize("delta", [np.nan, np.inf])
def test_a_step_that_is_no_finite_number(rule, delta):
    refuses(rule, "delta", "finite", "NaN|infinity", delta=delta)


@pytest.mark.parametrize("rule", RULES, ids=label)
@pytest.mark.parametrize(("delta", "came"), [("0.1", "str"), (None, "NoneType"), (True, "bool")])
def test_a_step_that_is_no_number(rule, delta, came):
    refuses(rule, "delta", "a number or a torch.Tensor", came, delta=delta)


@pytest.mark.parametrize(("rule", "delta"), [(bilinear, 2.0), (backward_euler, 1.0)], ids=label)
@pytest.mark.parametrize("A", [[1.0, -1, -1], [[1.0, 0, 0], [0, -1, 0], [0, 0, -1]]])
def test_a_step_at_which_an_implicit_rule_has_no_answer(rule, delta, A):
    refuses(rule, "delta", "a step size at which", "one", A=torch.tensor(A, dtype=F64), delta=delta)


@pytest.mark.parametrize("bias", [None, "delta_bias"])
def test_a_negative_step_in_the_scan_without_softplus(bias):
    delta = ones(2, 5, 4)
    delta[1, 2, 3] = -0.75
    delta_bias = None if bias is None else 0.5 * ones(4)
    came = "-0.75" if bias is None else "-0.5"
    refuses(selective_scan, "delta", "at least 0 .*softplus", came, delta=delta,
            delta_bias=delta_bias)
    selective_scan(**GOOD[selective_scan] | {"delta": delta, "delta_softplus": True})


def test_an_unknown_method():
    refuses(selective_scan, "method", "'auto' or one of 'reference'", "'magic'", method="magic")


def test_an_unknown_interpolation():
    refuses(simulate, "interpolation", "'hold' or 'linear'", "'spline'", interpolation="spline")


@pytest.mark.parametrize("t", [[0.0, 1, 1, 2], [0.0, 2, 1, 3], [3.0, 2, 1, 0]])
def test_times_that_do_not_increase(t):
    refuses(simulate, "t", "times that increase", "", t=torch.tensor(t, dtype=F64))


@pytest.mark.parametrize("length", [0, -1, 2.0, True, None, "3"])
@pytest.mark.parametrize("function", [kernel, vandermonde, s4d_kernel, dplr_kernel], ids=label)
def test_a_kernel_of_no_length(function, length):
    refuses(function, "length", "a whole number from 1 up", re.escape(repr(length)), length=length)


@pytest.mark.parametrize("N", [0, -1, 2.0, True, None, "3"])
@pytest.mark.parametrize("function", [basis, project], ids=label)
def test_a_state_of_no_size(function, N):
    refuses(function, "N", "a whole number from 1 up", re.escape(repr(N)), N=N)


def test_waves_come_in_pairs():
    refuses(basis, "N", "an odd number for fout", "4", measure="fout", N=4)


@pytest.mark.parametrize("function", [basis, project], ids=label)
def test_an_unknown_measure(function):
    refuses(function, "measure", "'legs', 'legt' or 'fout'", "'lagt'", measure="lagt")


@pytest.mark.parametrize(("measure", "window"), [
    ("legs", 2.0), ("legt", None), ("fout", None), ("legt", 0.0), ("legt", -1.0),
    ("legt", np.inf), ("legt", np.nan)])
def test_a_window_that_does_not_fit_its_measure(measure, window):
    refuses(project, "window", "", re.escape(repr(window)), measure=measure, window=window)


def test_a_past_that_begins_too_late():
    refuses(project, "t", "times greater than 0", "0", t=torch.arange(4, dtype=F64))


@pytest.mark.parametrize("name", ["Lambda", "P", "B", "C"])
def test_real_numbers_where_pairs_are_wanted(name):
    refuses(dplr_kernel, name, "a complex dtype", "float64", **{name: GOOD[dplr_kernel][name].real})


def test_a_lambda_that_grows():
    refuses(dplr_kernel, "Lambda", "real parts below 0", "0.5", Lambda=-GOOD[dplr_kernel]["Lambda"])


@pytest.mark.parametrize("function", [s4d_kernel, dplr_kernel], ids=label)
@pytest.mark.parametrize("delta", [0.0, -1.0])
def test_a_kernel_with_a_step_that_is_not_positive(function, delta):
    refuses(function, "delta", "a step size greater than 0", f"{delta:g}", delta=delta)


@pytest.mark.parametrize("size", [(1,), (3,), (2, 1), (2, 3)])
def test_a_step_that_is_neither_one_nor_one_a_channel(size):
    refuses(dplr_kernel, "delta", r"a number or shape \(2,\)", "shape", delta=ones(*size))
    # One system has no channels.
    refuses(dplr_kernel, "delta", "a number", "shape", Lambda=pairs(3), P=pairs(3, 1),
            B=pairs(3), C=pairs(3), delta=ones(*size))


def test_a_lambda_that_never_fades():
    refuses(dplr_kernel, "Lambda", "real parts below 0", "0",
            Lambda=torch.complex(torch.zeros(2, 3, dtype=F64), ones(2, 3)))


@pytest.mark.parametrize(("call", "message"), [
    (lambda: hippo.matrices(["legs"], 3), "measure: expected 'legs', 'legt' or 'fout'"),
    (lambda: S4D(2, discretization=["zoh"]), "discretization: expected 'zoh' or 'bilinear'"),
    (lambda: S4D(2, delta_min="a"), "delta_min: expected a step size greater than 0, got 'a'"),
    (lambda: S4D(2, delta_min=0), "delta_min: expected a step size greater than 0, got 0"),
    (lambda: S4(2, delta_max=float("inf")),
     "delta_max: expected a step size greater than 0, got inf"),
    (lambda: S6(2, delta_min=0.2), "delta_min: expected at most delta_max = 0.1, got 0.2"),
    (lambda: S4(2, True), "N: expected a whole number from 1 up, got True"),
    (lambda: S4(2)(None), "x: expected a torch.Tensor, got NoneType"),
    (lambda: S4D(2).init_cache(-1), "batch: expected a whole number from 1 up, got -1"),
    (lambda: diagonal.kernel(-ones(2), ones(2), ones(2), 0.1, 4, "zoh"),
     "discretization: expected a function"),
    (lambda: diagonal.kernel(-ones(2), ones(2), ones(2), ones(3), 4, zoh),
     "delta: expected a number, got shape (3,)"),
    (lambda: project("legt", 3, ones(4), torch.arange(1, 5, dtype=F64), "a"),
     "window: expected a time greater than 0, got 'a'"),
    (lambda: project("legt", 3, ones(4), torch.arange(1, 5, dtype=F64), True),
     "window: expected a time greater than 0, got True"),
    (lambda: basis("legs", 3, pairs(4)), "age: expected a real dtype"),
    (lambda: project("legs", 3, ones(1), torch.tensor([-0.0], dtype=F64)), "t: expected times "
     "greater than 0, got 0"),
    (lambda: list(train(nn.Linear(1, 1), None, [], 0, lr=0.1)), "steps: expected a whole number"),
    (lambda: next(shuffled(ones(3), ones(4), batch_size=2, seed=0)), "data[1]: expected length 3"),
    (lambda: plots.spread(ones(3), {str(i): ones(2, 3) for i in range(7)}, "x", "y"),
     "lines: expected at most 6"),
    (lambda: plots.curves(ones(3), {str(i): ones(3) for i in range(7)}, "x", "y"),
     "lines: expected at most 6"),
])
def test_one_kind_of_error_for_whatever_is_wrong(call, message):
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        call()


def test_what_is_finite_is_judged_by_its_numbers_and_not_by_their_sum():
    large = torch.full((4,), 3e38)
    check_finite("x", large)                               # the sum of these is infinite
    for bad, what in (([torch.inf, 1.0], "an infinity"), ([torch.inf, -torch.inf], "an infinity"),
                      ([torch.nan, 3e38], "NaN")):
        with pytest.raises(ValueError, match=f"^x: expected finite numbers, got {what} among"):
            check_finite("x", torch.tensor(bad))
