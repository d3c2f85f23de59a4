"""Bad input raises ValueError that names the argument, what was expected and what was given.

Every check of `minimamba.arguments` is tested directly. Of a public function, each argument is
tested once, to prove that it is checked at all; shapes and values that the function itself
compares have a case for each comparison.
"""

import re

import numpy as np
import pytest
import torch
from systems import C128, F64
from torch import nn

from minimamba import selective_scan
from minimamba.arguments import (
    FULL_PRECISION,
    check_count,
    check_finite,
    check_number,
    check_one_of,
    check_positive,
    check_same_device,
    check_shape,
    check_system,
    check_tensor,
    once_per_signature,
    precision,
)
from minimamba.continuous import (
    exact_step,
    impulse_response,
    simulate,
    state_impulse_response,
    time_constants,
)
from minimamba.course import classifier, plots
from minimamba.course.widgets import RooflineExplorer
from minimamba.discretize import backward_euler, bilinear, euler, mamba, zoh
from minimamba.lti import convolve, kernel, recurrence, step
from minimamba.nn.s6 import S6
from minimamba.s4 import S4, S4D, diagonal, dplr, hippo
from minimamba.s4.diagonal import vandermonde
from minimamba.s4.hippo import basis, project
from minimamba.training import (
    completed_steps,
    parallelize,
    progress,
    shuffled_batches,
    train_steps,
)

NAN, INF = float("nan"), float("inf")
RULES = (euler, backward_euler, bilinear, zoh, mamba, exact_step)


def ones(*shape, dtype=F64):
    return torch.full(shape, 0.5, dtype=dtype)


def pairs(*shape):
    return torch.complex(-ones(*shape), ones(*shape))


def numbers(*values):
    return torch.tensor(values, dtype=F64)


# The checks themselves.


@pytest.mark.parametrize(("check", "arguments", "message"), [
    (check_count, (0,), "a whole number from 1 up, got 0"),
    (check_count, (-1,), "a whole number from 1 up, got -1"),
    (check_count, (1, 2), "a whole number from 2 up, got 1"),
    (check_count, (2.0,), "a whole number from 1 up, got 2.0"),
    (check_count, (True,), "a whole number from 1 up, got True"),
    (check_count, (None,), "a whole number from 1 up, got None"),
    (check_count, ("3",), "a whole number from 1 up, got '3'"),
    (check_number, (-0.1, "a fraction", 0, 1), "a fraction, got -0.1"),
    (check_number, (1.1, "a fraction", 0, 1), "a fraction, got 1.1"),
    (check_number, (NAN, "a fraction", 0, 1), "a fraction, got nan"),
    (check_number, (True, "a fraction", 0, 1), "a fraction, got True"),
    (check_number, ("0.5", "a fraction", 0, 1), "a fraction, got '0.5'"),
    (check_number, (None, "a fraction", 0, 1), "a fraction, got None"),
    (check_positive, (0, "a step"), "a step greater than 0, got 0"),
    (check_positive, (-1.5, "a step"), "a step greater than 0, got -1.5"),
    (check_positive, (INF, "a step"), "a step greater than 0, got inf"),
    (check_positive, (NAN, "a step"), "a step greater than 0, got nan"),
    (check_one_of, ("c", ("a", "b")), "'a' or 'b', got 'c'"),
    (check_one_of, ("d", ("a", "b", "c")), "'a', 'b' or 'c', got 'd'"),
    (check_one_of, (["a"], ("a", "b")), "'a' or 'b', got ['a']"),
    (check_tensor, ([1.0], (F64,)), "a torch.Tensor, got list"),
    (check_tensor, (np.ones(2), (F64,)), "a torch.Tensor, got ndarray"),
    (check_tensor, (None, (F64,)), "a torch.Tensor, got NoneType"),
    (check_tensor, (torch.ones(2), (torch.float16, F64)), "dtype float16 or float64, got float32"),
    (check_tensor, (torch.ones(2, 0), (torch.float32,)), "at least one element, got shape (2, 0)"),
    (check_shape, (ones(2, 3), (3, 2), "(N, M)"), "shape (3, 2) = (N, M), got shape (2, 3)"),
    (check_shape, (ones(3), (3, 1), "(N, 1)"), "shape (3, 1) = (N, 1), got shape (3,)"),
    (check_finite, (numbers(1, NAN),), "finite numbers, got NaN among its 2 elements"),
    (check_finite, (numbers(INF, 1, 1),), "finite numbers, got an infinity among its 3 elements"),
    (check_finite, (numbers(-INF, INF),), "finite numbers, got an infinity among its 2 elements"),
    (check_finite, (torch.tensor([NAN, 3e38]),), "finite numbers, got NaN among its 2 elements"),
    (check_finite, (torch.complex(ones(1), numbers(NAN)),), "finite numbers, got NaN among its 1 "),
])
def test_check_refuses_and_names_all_three_parts(check, arguments, message):
    with pytest.raises(ValueError, match="^x: expected " + re.escape(message)):
        check("x", *arguments)


@pytest.mark.parametrize(("check", "arguments"), [
    (check_count, (1,)), (check_count, (2, 2)), (check_number, (0, "", 0, 1)),
    (check_number, (1.0, "", 0, 1)), (check_positive, (5e-324, "")), (check_one_of, ("b", "ab")),
    (check_tensor, (ones(1), FULL_PRECISION)), (check_shape, (ones(2, 3), (2, 3), "")),
    (check_finite, (torch.full((4,), 3e38),)),                    # whose sum is infinite
])
def test_check_accepts_what_is_allowed(check, arguments):
    check("x", *arguments)


def test_once_per_signature_repeats_a_check_for_whatever_differs():
    checked = []
    check = once_per_signature(lambda *tensors: checked.append(tensors) or len(checked))
    x = torch.zeros(2, 3)
    different = [(x,), (x.double(),), (x.T,), (x, None), (None, x), (x, x), (x.to_sparse(),),
                 (x.to("meta"),), (ones(3, 2),)]
    assert [check(*tensors) for tensors in different] == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert [check(*tensors) for tensors in different] == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert check(nn.Parameter(x)) == check(torch.ones(2, 3)) == 1


@pytest.mark.filterwarnings("ignore:The PyTorch API of")
@pytest.mark.parametrize("odd", [
    [1.0], 1.0, np.ones(2), torch.nested.nested_tensor([ones(1), ones(2)]),
    torch.masked.masked_tensor(ones(2), torch.tensor([True, False]))])
def test_once_per_signature_always_checks_what_is_no_plain_tensor(odd):
    def refuse_it(*_):
        raise ValueError("checked")

    check = once_per_signature(refuse_it)
    for _ in range(2):
        with pytest.raises(ValueError, match="checked"):
            check(torch.ones(2), odd)


def test_a_check_that_failed_is_repeated():
    x = torch.zeros(1, 4, 2)
    for _ in range(2):
        with pytest.raises(ValueError, match="delta: expected shape"):
            selective_scan(x, x[..., :1], -torch.ones(2, 3), *torch.ones(2, 1, 4, 3))


@pytest.mark.parametrize(("tensors", "message"), [
    ({"y": [1.0]}, "y: expected a torch.Tensor, got list"),
    ({"x": torch.ones(2, dtype=torch.int64)}, "x: expected dtype float32 or .+, got int64"),
    ({"y": torch.ones(2, dtype=torch.float16)}, "y: expected dtype float32 or .+, got float16"),
    ({"y": torch.ones(2, dtype=torch.bfloat16)}, "y: expected dtype float32 or .+, got bfloat16"),
    ({"y": torch.ones(2)}, "y: expected float64 precision, that of x, got float32"),
    ({"y": torch.ones(2, dtype=torch.complex64)},
     "y: expected float64 precision, that of x, got complex64"),
    ({"x": torch.ones(2)}, "y: expected float32 precision, that of x, got float64"),
    ({"y": ones(0)}, r"y: expected at least one element, got shape \(0,\)"),
    ({"y": ones(2).to("meta")}, "y: expected device cpu, that of x, got meta"),
    ({"x": ones(2).to("meta")}, "y: expected device meta, that of x, got cpu"),
    ({"y": numbers(1, NAN)}, "y: expected finite numbers, got NaN among its 2 elements"),
])
def test_system_of_tensors_that_do_not_fit_is_refused(tensors, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        check_system(**{"x": ones(3), "y": ones(2)} | tensors)


def test_system_may_mix_real_and_complex_of_one_precision():
    check_system(x=ones(3), y=pairs(2))
    assert precision(C128) == precision(F64) == F64


def test_missing_tensor_is_on_no_other_device():
    check_same_device(x=ones(1), y=None, z=ones(1))
    with pytest.raises(ValueError, match=r"^z: expected device cpu, that of x, got meta$"):
        check_same_device(x=ones(1), y=None, z=ones(1).to("meta"))


# Public functions: each argument is checked.


def system(**more):
    return {"A": -ones(3), "B": ones(3), **more}


def dplr_kernel(Lambda, P, B, C, delta, length):
    return dplr.kernel(dplr.DPLR(Lambda, P, B), C, delta, length)


def s4d_kernel(A, B, C, delta, length):
    return diagonal.kernel(A, B, C, delta, length, zoh)


GOOD = {
    **{rule: system(delta=ones(4)) for rule in RULES},
    simulate: system(x=ones(2, 4), t=torch.arange(4, dtype=F64), initial_state=ones(2, 3),
                     interpolation="hold"),
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
                     "z": ones(2, 5, 4), "delta_bias": ones(4), "initial_state": ones(2, 4, 3),
                     "method": "chunked"},
}
BAD = {int: 0, float: -1.0, str: "unknown"}


def label(value):
    return getattr(value, "__name__", None)


def shape(*sizes):
    return re.escape(f"shape {sizes}")


def refuses(function, name, expected, given, **changes):
    """`function` refuses the changed arguments with one message of three parts."""
    message = f"^{re.escape(name)}: expected .*{expected}.*, got .*{given}"
    with pytest.raises(ValueError, match=message):
        function(**GOOD[function] | changes)


@pytest.mark.parametrize("function", GOOD, ids=label)
def test_good_arguments_are_accepted(function):
    function(**GOOD[function])


@pytest.mark.parametrize(("function", "name"), [
    (function, name) for function in GOOD for name in GOOD[function]], ids=label)
def test_every_argument_is_checked(function, name):
    good = GOOD[function][name]
    if isinstance(good, torch.Tensor):
        refuses(function, name, "torch.Tensor", "list", **{name: [1.0, 2.0]})
        spoiled = good.clone()
        spoiled.view(-1)[-1] = NAN
        refuses(function, name, "finite", f"NaN.* {good.numel()} elements", **{name: spoiled})
    else:
        bad = BAD[type(good)]
        refuses(function, name, "", re.escape(repr(bad)), **{name: bad})


@pytest.mark.parametrize(("function", "name", "size", "expected"), [
    (zoh, "A", (2, 3, 3), "shape (N, N), (N,) or (channels, N)"),
    (zoh, "B", (2,), "shape (3,) or (4, 3)"),
    (simulate, "A", (2, 3, 3), "shape (N, N)"),
    (simulate, "B", (2, 3), "shape (N,)"),
    (simulate, "B", (4,), "shape (3,)"),
    (simulate, "x", (), "(..., length)"),
    (simulate, "t", (5,), "shape (4,) = (length,)"),
    (simulate, "initial_state", (2, 4), "shape (2, 3)"),
    (impulse_response, "C", (4,), "shape (3,) = (N,)"),
    (time_constants, "A", (2, 3, 3), "shape (N,) or (N, N)"),
    (kernel, "A_bar", (2, 3), "shape (3,) (diagonal) or (3, 3) (dense)"),
    (kernel, "B_bar", (2, 5, 3), "shape (N,) or (channels, N)"),
    (kernel, "C", (1, 3), "shape (3,) = that of B_bar"),
    (step, "h", (2, 4), "shape (2, 3)"),
    (recurrence, "x", (), "shape (..., length)"),
    (recurrence, "initial_state", (2, 5, 3), "shape (2, 3)"),
    (convolve, "kernel", (2, 3, 4), "shape (taps,) or (taps, channels)"),
    (convolve, "x", (), "shape (..., length)"),
    (project, "x", (), "shape (..., length)"),
    (project, "t", (5,), "shape (4,)"),
    (vandermonde, "A_bar", (2, 3, 3), "shape (N,) or (channels, N)"),
    (vandermonde, "weights", (1, 3), "shape (3,) = that of A_bar"),
    (s4d_kernel, "A", (2, 2, 3), "shape (N,) or (channels, N)"),
    (s4d_kernel, "B", (2, 4), "shape (2, 3)"),
    (s4d_kernel, "C", (3,), "shape (2, 3)"),
    (s4d_kernel, "delta", (3,), "a number or shape (2,)"),
    (dplr_kernel, "Lambda", (2, 2, 3), "shape (N/2,) or (channels, N/2)"),
    (dplr_kernel, "P", (2, 4, 1), "shape (2, 3) + (rank,)"),
    (dplr_kernel, "B", (3,), "shape (2, 3) = that of Lambda"),
    (dplr_kernel, "C", (2, 4), "shape (2, 3) = that of Lambda"),
    (dplr_kernel, "delta", (2, 1), "a number or shape (2,)"),
    (selective_scan, "x", (5, 4), "shape (batch, length, d_inner)"),
    (selective_scan, "A", (3, 4), "shape (4, d_state)"),
    (selective_scan, "A", (4,), "shape (4, d_state)"),
    (selective_scan, "delta", (2, 5, 1), "shape (2, 5, 4) = (batch, length, d_inner)"),
    (selective_scan, "z", (2, 5, 3), "shape (2, 5, 4) = (batch, length, d_inner)"),
    *((selective_scan, name, size, "shape (2, 5, 3) = (batch, length, d_state)")
      for name in "BC" for size in [(1, 5, 3), (5, 3)]),
    *((selective_scan, name, (2, 4, 2, 3), "shape (2, 5, 2, 3) = (batch, length, groups, d_state)")
      for name in "BC"),
    *((selective_scan, name, (2, 5, 3, 3), "groups that divides d_inner = 4") for name in "BC"),
    *((selective_scan, name, (1,), "shape (4,) = (d_inner,)") for name in ("D", "delta_bias")),
    (selective_scan, "initial_state", (2, 3, 4), "shape (2, 4, 3) = (batch, d_inner, d_state)"),
], ids=lambda value: label(value) or None)
def test_wrong_shape_is_refused(function, name, size, expected):
    make = pairs if GOOD[function][name].is_complex() else ones
    given = "3" if "groups that" in expected else shape(*size)
    refuses(function, name, re.escape(expected), given, **{name: make(*size)})


@pytest.mark.parametrize(("A", "B"), [((3,), (4,)), ((3, 2), (3,)), ((2, 3, 3), (2,))])
def test_A_and_B_that_make_no_system_are_refused(A, B):
    refuses(state_impulse_response, "A and B", re.escape("shapes (N,) or (N, N), and (N,)"),
            f"{shape(*A)}, {shape(*B)}", A=ones(*A), B=ones(*B))


@pytest.mark.parametrize(("A", "B", "delta", "name", "expected"), [
    ((3, 3), (4,), (), "B", "shape (3,) for a dense A"),
    ((4, 3), (3,), (4,), "B", "shape (4, 3)"),
    ((4, 3), (5, 3), (5, 4), "B", "shape (4, 3)"),
    ((4, 3), (2, 5, 3), (2, 6, 4), "B", "shape (4, 3), or (2, 6, 3) at every step"),
    ((4, 3), (2, 5, 2), (2, 5, 4), "B", "shape (4, 3), or (2, 5, 3) at every step"),
    ((4, 3), (4, 3), (5, 3), "delta", "a number or a last axis of 4 channels"),
    ((4, 3), (2, 5, 3), (2, 5), "delta", "a number or a last axis of 4 channels"),
])
def test_A_B_and_delta_that_do_not_align_are_refused(A, B, delta, name, expected):
    given = shape(*(delta if name == "delta" else B))
    refuses(zoh, name, re.escape(expected), given, A=-ones(*A), B=ones(*B), delta=ones(*delta))


@pytest.mark.parametrize("length", [1, 4])
def test_simulate_checks_the_system_at_any_length(length):
    with pytest.raises(ValueError, match=r"^B: expected .*, got shape \(3,\)"):
        simulate(-ones(2, 2), ones(3), ones(length), torch.arange(length, dtype=F64))


@pytest.mark.parametrize(("function", "changes"), [
    (recurrence, {"x": ones(5, 3), "initial_state": None}),
    (recurrence, {"x": ones(2), "initial_state": None}),
    (convolve, {"x": ones(5, 3), "kernel": ones(4, 2)}),
    (step, {"x": ones(3), "h": ones(2, 3)})], ids=label)
def test_channels_of_x_and_system_must_match(function, changes):
    if function is not convolve:
        changes = changes | {name: ones(2, 3) for name in ("A_bar", "B_bar", "C")}
    refuses(function, "x", r"2 channels|length, 2\)", shape(*changes["x"].shape), **changes)


@pytest.mark.parametrize(("function", "name"), [
    (zoh, "delta"), (simulate, "t"), (state_impulse_response, "lag"), (project, "t"),
    (basis, "age")], ids=label)
def test_complex_time_is_refused(function, name):
    refuses(function, name, "dtype", "complex128", **{name: GOOD[function][name].to(C128)})


@pytest.mark.parametrize(("delta", "expected", "given"), [
    (0, "a step size greater than 0", "0$"),
    (-0.5, "a step size greater than 0", "-0.5$"),
    (numbers(1, 0), "a step size greater than 0", "0$"),
    (numbers(1, -2), "a step size greater than 0", "-2$"),
    (NAN, "finite", "NaN"),
    (INF, "finite", "infinity"),
    ("0.1", "a number or a torch.Tensor", "str"),
    (None, "a number or a torch.Tensor", "NoneType"),
    (True, "a number or a torch.Tensor", "bool"),
    (torch.ones(4), "dtype float64, the precision of A", "float32"),
    (ones(0), "at least one element", "shape"),
    (ones(4).to("meta"), "device cpu, that of A", "meta")])
def test_delta_that_is_not_positive_or_no_number_is_refused(delta, expected, given):
    refuses(zoh, "delta", expected, given, delta=delta)


@pytest.mark.parametrize(("rule", "delta"), [(bilinear, 2.0), (backward_euler, 1.0)], ids=label)
@pytest.mark.parametrize("A", [[1.0, -1, -1], [[1.0, 0, 0], [0, -1, 0], [0, 0, -1]]])
def test_delta_for_which_an_implicit_rule_has_no_solution_is_refused(rule, delta, A):
    refuses(rule, "delta", "a step size at which", "one", A=torch.tensor(A, dtype=F64), delta=delta)


@pytest.mark.parametrize("bias", [None, "delta_bias"])
def test_negative_delta_is_refused_in_the_scan_without_softplus(bias):
    delta = ones(2, 5, 4)
    delta[1, 2, 3] = -0.75
    delta_bias = None if bias is None else 0.5 * ones(4)
    given = "-0.75" if bias is None else "-0.5"
    refuses(selective_scan, "delta", "at least 0 .*softplus", given, delta=delta,
            delta_bias=delta_bias)
    selective_scan(**GOOD[selective_scan] | {"delta": delta, "delta_softplus": True})


@pytest.mark.parametrize(("name", "dtype", "expected"), [
    ("x", torch.int64, "dtype float16 or bfloat16 or float32 or float64"),
    ("x", C128, "dtype float16 or bfloat16 or float32 or float64"),
    ("delta", torch.float32, "dtype float64"),
    ("z", torch.float16, "dtype float64")])
def test_wrong_dtype_is_refused_in_the_scan(name, dtype, expected):
    refuses(selective_scan, name, expected, str(dtype)[6:],
            **{name: GOOD[selective_scan][name].to(dtype)})


def test_double_precision_beside_half_precision_x_is_refused_in_the_scan():
    single = {name: value.float() for name, value in GOOD[selective_scan].items()
              if isinstance(value, torch.Tensor)}
    refuses(selective_scan, "D", "dtype float16 or float32", "float64",
            **single | {"x": single["x"].half(), "D": single["D"].double()})


def test_tensors_on_two_devices_are_refused_in_the_scan():
    refuses(selective_scan, "z", "device cpu, that of x", "meta", z=ones(2, 5, 4).to("meta"))


@pytest.mark.parametrize(("function", "names", "axis"), [
    (simulate, ["x", "t"], -1), (recurrence, ["x"], -1), (convolve, ["x"], -1),
    (selective_scan, ["x", "delta", "B", "C", "z"], 1)], ids=label)
def test_signal_of_length_zero_is_refused(function, names, axis):
    empty = {name: GOOD[function][name].narrow(axis, 0, 0) for name in names}
    refuses(function, "x", "at least one element", shape(*empty["x"].shape), **empty)


@pytest.mark.parametrize("t", [[0.0, 1, 1, 2], [3.0, 2, 1, 0]])
def test_times_that_do_not_increase_are_refused(t):
    refuses(simulate, "t", "times that increase", "", t=torch.tensor(t, dtype=F64))


def test_times_must_be_positive_for_hippo():
    refuses(project, "t", "times greater than 0", "0", t=torch.arange(4, dtype=F64))


def test_even_number_of_fourier_functions_is_refused():
    refuses(basis, "N", "an odd number for fout", "4", measure="fout", N=4)


@pytest.mark.parametrize(("measure", "window"), [("legs", 2.0), ("legt", None), ("legt", INF)])
def test_window_that_does_not_fit_its_measure_is_refused(measure, window):
    refuses(project, "window", "", re.escape(repr(window)), measure=measure, window=window)


@pytest.mark.parametrize("name", ["Lambda", "P", "B", "C"])
def test_real_numbers_are_refused_where_conjugate_pairs_are_expected(name):
    refuses(dplr_kernel, name, "a complex dtype", "float64", **{name: GOOD[dplr_kernel][name].real})


@pytest.mark.parametrize("real_part", [0.5, 0.0])
def test_lambda_that_does_not_decay_is_refused(real_part):
    refuses(dplr_kernel, "Lambda", "real parts below 0", f"{real_part:g}",
            Lambda=torch.complex(torch.full((2, 3), real_part, dtype=F64), ones(2, 3)))


@pytest.mark.parametrize("size", [(1,), (2, 3)])
def test_delta_of_a_system_without_channels_must_be_one_number(size):
    refuses(dplr_kernel, "delta", "a number", shape(*size), Lambda=pairs(3), P=pairs(3, 1),
            B=pairs(3), C=pairs(3), delta=ones(*size))


@pytest.mark.parametrize(("call", "message"), [
    (lambda: hippo.matrices(["legs"], 3), "measure: expected 'legs', 'legt' or 'fout'"),
    (lambda: S4D(2, discretization=["zoh"]), "discretization: expected 'zoh' or 'bilinear'"),
    (lambda: S4D(2, delta_min=0), "delta_min: expected a step size greater than 0, got 0"),
    (lambda: S4(2, delta_max=INF), "delta_max: expected a step size greater than 0, got inf"),
    (lambda: S6(2, dt_min=0.2), "dt_min: expected at most dt_max = 0.1, got 0.2"),
    (lambda: S4(2, True), "d_state: expected a whole number from 1 up, got True"),
    (lambda: S4(2)(None), "x: expected a torch.Tensor, got NoneType"),
    (lambda: S4D(2).init_cache(-1), "batch: expected a whole number from 1 up, got -1"),
    (lambda: diagonal.kernel(-ones(2), ones(2), ones(2), 0.1, 4, "zoh"),
     "discretization: expected a function"),
    (lambda: basis("legs", 3, pairs(4)), "age: expected a real dtype"),
    (lambda: project("legs", 3, ones(1), numbers(-0.0)), "t: expected times greater than 0, got 0"),
    (lambda: train_steps(nn.Linear(1, 1), None, [], 0, learning_rate=0.1),
     "steps: expected a whole number"),
    (lambda: train_steps(nn.Linear(1, 1), "loss", [], 1, learning_rate=0.1),
     "loss: expected a function of the tensors of a batch, got str"),
    (lambda: train_steps(nn.Linear(1, 1), print, print, 1, learning_rate=0.1),
     "batches: expected an iterable of tuples of tensors, got builtin_function_or_method"),
    (lambda: next(train_steps(nn.Linear(1, 1), print, [ones(2)], 1, learning_rate=0.1)),
     "batches: expected tuples of tensors, got Tensor"),
    (lambda: shuffled_batches(ones(3), ones(4), batch_size=2, seed=0),
     "data[1]: expected length 3"),
    (lambda: shuffled_batches(ones(0, 3), batch_size=2, seed=0),
     "data[0]: expected shape (count, …), with at least one row, got shape (0, 3)"),
    (lambda: shuffled_batches(numbers(1)[0], batch_size=2, seed=0), "data[0]: expected shape ("),
    (lambda: shuffled_batches([1, 2], batch_size=2, seed=0), "data[0]: expected a torch.Tensor"),
    (lambda: shuffled_batches(ones(3), batch_size=2, seed=None), "seed: expected a whole number"),
    (lambda: train_steps(nn.Linear(1, 1), print, [], 1, learning_rate=0.1, stop=True),
     "stop: expected a function without arguments, got bool"),
    (lambda: train_steps(nn.Linear(1, 1), print, [], 1, learning_rate=0.1, bf16="no"),
     "bf16: expected True or False, got 'no'"),
    *((lambda path=path: train_steps(nn.Linear(1, 1), print, [], 1, learning_rate=0.1,
                                     checkpoint=path), "checkpoint: expected ")
      for path in (3, "", ".", "/")),
    *((lambda path=path: completed_steps(path), "checkpoint: expected ") for path in (3, "", ".")),
    (lambda: next(progress([1.0], "3")), "steps: expected a whole number"),
    (lambda: next(progress([1.0], 1, completed=-5)), "completed: expected a whole number"),
    (lambda: next(progress([1.0], 1, unit=0)), "unit: expected a number greater than 0"),
    (lambda: next(progress(None, 1)), "losses: expected an iterable of numbers, got NoneType"),
    (lambda: parallelize(None), "model: expected a torch.nn.Module, got NoneType"),
    *((lambda age=age: basis("legs", 3, numbers(age)), "age: expected fractions of the window")
      for age in (-1e-9, 1.1)),
    *((lambda x=x: classifier.LSTMClassifier(1, 3, 4)(x), "x: expected ")
      for x in (ones(5, 1), ones(1, 5, 1), torch.full((1, 5, 1), NAN), torch.ones(1, 0, 1))),
    *((lambda x=x, run=run: run(classifier.S4Classifier(S4D, 1, 3), x), "x: expected ")
      for x in (ones(5, 1), ones(1, 5, 1), torch.full((1, 5, 1), NAN), torch.ones(1, 0, 1))
      for run in (classifier.S4Classifier.forward, classifier.S4Classifier.forward_recurrent)),
    (lambda: classifier.S4Classifier(S4D, 1, 3, n_layer=0), "n_layer: expected a whole number"),
    (lambda: classifier.S4Classifier(None, 1, 3), "layer: expected a function"),
    (lambda: classifier.LSTMClassifier(True, 3, 4), "d_input: expected a whole number"),
    (lambda: zoh(-ones(3), ones(3), 10**400), "delta: expected a number up to 1.79769e+308"),
    *((lambda passes=passes: RooflineExplorer().estimate(passes), "passes: expected a whole number")
      for passes in (-1, 17, 1.5, "3")),
    (lambda: plots.mean_and_range(ones(3), {str(i): ones(2, 3) for i in range(7)}, "x", "y"),
     "lines: expected at most 6"),
    (lambda: plots.curves(ones(3), {str(i): ones(3) for i in range(7)}, "x", "y"),
     "lines: expected at most 6"),
])
def test_other_bad_argument_is_named(call, message):
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        call()
