"""The Triton scan against the reference: in Triton's interpreter, or on a GPU if there is one."""

from contextlib import contextmanager
from unittest.mock import patch

import pytest
import torch
from systems import F64, randn, uniform

from minimamba import selective_scan
from minimamba.scan import methods, why_not
from minimamba.scan.triton import operator
from minimamba.scan.triton import plan as plan_module
from minimamba.scan.triton.plan import (
    BACKWARD,
    CHUNK,
    FORWARD,
    ScanShape,
    choose_plan,
    make_plan,
)

pytestmark = pytest.mark.skipif(bool(why_not("triton")), reason=str(why_not("triton")))
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
NAMES = ("x", "delta", "A", "B", "C", "D", "z", "delta_bias", "initial_state")
H100_SCHEDULERS = 132 * 4


@pytest.fixture(autouse=True)
def _no_plan_is_remembered():
    """By an earlier test, which may have chosen another one, or for a later one."""
    def forget():
        operator._forward_launches.cache_clear()
        operator._backward_launches.cache_clear()

    forget()
    yield
    forget()


def inputs(length, *, batch=1, d_inner=3, d_state=4, groups=1):
    """Random inputs, rounded to bfloat16 so that they are the same in each precision."""
    shapes = {"x": (batch, length, d_inner), "delta": (batch, length, d_inner),
              "B": (batch, length, groups, d_state), "C": (batch, length, groups, d_state),
              "D": (d_inner,), "z": (batch, length, d_inner), "delta_bias": (d_inner,),
              "initial_state": (batch, d_inner, d_state)}
    tensors = {name: randn(*shape, seed=length + i)
               for i, (name, shape) in enumerate(shapes.items())}
    # With small Δ, what the initial state leaves after all steps is more than rounding.
    tensors["delta"] = tensors["delta"] - 2
    tensors["A"] = -uniform(0.5, 8, d_inner, d_state, seed=length)
    return {name: tensors[name].to(torch.bfloat16).to(DEVICE) for name in NAMES}


@contextmanager
def chunks_of(steps):
    """Chunks of so many steps: in the interpreter, a whole one of 64 takes seconds."""
    with (patch.object(plan_module, "CHUNK", steps), patch.object(operator, "CHUNK", steps)):
        yield


def results(method, tensors, dtype, *, half=()):
    """y, the last state, and all gradients; the inputs named in `half` stay bfloat16."""
    leaves = {name: (tensor if name in half else tensor.to(dtype)).clone().requires_grad_()
              for name, tensor in tensors.items()}
    y, last_state = selective_scan(**leaves, delta_softplus=True, return_last_state=True,
                                   method=method)
    loss = sum((output.to(F64) * randn(*output.shape, seed=i).to(output.device)).sum()
               for i, output in enumerate((y, last_state)))
    gradients = torch.autograd.grad(loss, list(leaves.values()))
    return {"y": y, "last_state": last_state} | dict(zip(leaves, gradients, strict=True))


def check(tensors, tolerance=1e-6, *, chunk=CHUNK if DEVICE == "cuda" else 16, **options):
    """Compare with the reference in float64, each result relative to its norm."""
    __tracebackhide__ = True
    with chunks_of(chunk):
        given = results("triton", tensors, torch.float32, **options)
    for name, expected in results("reference", tensors, F64).items():
        assert given[name].isfinite().all(), name
        error = ((given[name].to(F64) - expected).norm() / expected.norm()).item()
        assert error <= tolerance, f"{name}: relative error {error:.1e}"
    return given


@pytest.mark.parametrize("without", [(), ("z", "initial_state")])
def test_batch_larger_than_a_grid_takes_several_launches(monkeypatch, without):
    tensors = {name: t for name, t in inputs(10, batch=3).items() if name not in without}
    monkeypatch.setattr(operator, "MAX_BATCH", 2)
    check(tensors)


@pytest.mark.parametrize("costs", [FORWARD, BACKWARD])
@pytest.mark.parametrize("length", [2**16, 2**21, 2**31 - 1])
@pytest.mark.parametrize("d_inner", [1, 24, 2**17])
def test_no_plan_is_larger_than_a_grid_of_cuda(costs, length, d_inner):
    plan = choose_plan(ScanShape(1, length, d_inner, 16, 1), costs, H100_SCHEDULERS)
    for launch in (plan.kernel, plan.carry or plan.kernel):
        x, y, z = launch.grid
        assert x < 2**31
        assert max(y, z) < 2**16


@pytest.mark.parametrize("length", [1, 64, 65])
def test_results_match_reference_at_awkward_lengths(length):
    check(inputs(length), chunk=CHUNK)


def test_results_match_reference_if_the_length_is_split(monkeypatch):
    """In memory that is full of NaN until something is written."""
    def two_pieces_per_split(shape, costs, schedulers):
        fewest_channels, _ = costs.kernel[0]
        return make_plan(shape, costs, fewest_channels, chunks_per_split=2, pieces_per_split=2)

    monkeypatch.setattr(operator, "choose_plan", two_pieces_per_split)
    monkeypatch.setattr(torch.Tensor, "new_empty", lambda like, *shape, **options: (
        like.new_full(shape, torch.nan, **options)))
    check(inputs(150))


def test_results_match_reference_if_every_loop_runs_more_than_twice(monkeypatch):
    """Chunks of a split, pieces of it, splits, and tiles of a chunk, with a last one not full."""
    chunk, chunks_per_split, splits = 16, 4, 3
    plans = []

    def small_plan(shape, costs, schedulers):
        fewest_channels, _ = costs.kernel[0]
        plans.append(make_plan(shape, costs, fewest_channels, chunks_per_split, 2))
        assert chunk > 2 * (2 * shape.tile) - 1              # a loop takes two tiles at once
        return plans[-1]

    monkeypatch.setattr(operator, "choose_plan", small_plan)
    check(inputs(chunk * chunks_per_split * splits - 5), chunk=chunk)
    assert {plan.kernel.grid[1] for plan in plans} == {splits}
    assert {plan.carry.grid[1] for plan in plans} == {2 * (splits - 1)}
    assert {plan.piece_steps for plan in plans} == {2 * chunk}


@pytest.mark.parametrize(("batch", "d_inner", "d_state", "groups"), [
    (1, 1, 1, 1), (2, 1, 2, 1), (1, 33, 4, 1), (1, 2, 16, 2)])
def test_results_match_reference_at_other_sizes(batch, d_inner, d_state, groups):
    check(inputs(17, batch=batch, d_inner=d_inner, d_state=d_state, groups=groups))


@pytest.mark.parametrize(("d_state", "d_inner", "groups", "sections", "chunks"), [
    (32, 1, 1, 5, 1), (33, 2, 2, 5, 1), (33, 1, 1, 13, 2)])
def test_results_match_reference_if_the_states_are_taken_in_parts(monkeypatch, d_state, d_inner,
                                                                 groups, sections, chunks):
    """Several sections of a chunk, and several splits of one or two chunks, the last not full."""
    section = 8
    plans = []

    def few_chunks_per_split(shape, costs, schedulers):
        fewest_channels, _ = costs.kernel[0]
        plans.append(make_plan(shape, costs, fewest_channels, chunks, 1))
        assert shape.chunk > section
        return plans[-1]

    monkeypatch.setattr(operator, "choose_plan", few_chunks_per_split)
    check(inputs(section * sections - 3, d_inner=d_inner, d_state=d_state, groups=groups),
          chunk=section)
    assert all(plan.kernel.grid[1] > 1 for plan in plans)


@pytest.mark.parametrize("d_state", [17, 33], ids=["two parts", "two bands"])
def test_deterministic_sums_over_parts_of_the_states_are_the_same_twice(d_state):
    tensors = inputs(9, d_inner=9, d_state=d_state)          # two programs
    try:
        torch.use_deterministic_algorithms(True)
        first, second = check(tensors, chunk=8), check(tensors, chunk=8)
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_optional_inputs_may_be_missing():
    check({name: tensor for name, tensor in inputs(20).items() if name in ("x", "delta", *"ABC")})


def test_half_precision_inputs_cost_two_roundings():
    # One of the incoming gradient, and one of the result.
    given = check(inputs(20), 2 * 2.0**-8, half=("x", "delta", "z"))
    assert given["y"].dtype == torch.bfloat16


def test_tiny_and_huge_steps_match_reference():
    tensors = inputs(20)
    del tensors["initial_state"]                             # its gradient underflows to 0
    tensors["delta"] = uniform(-14, 1000, 1, 20, 3).to(torch.bfloat16).to(DEVICE)
    check(tensors)


def test_deterministic_sums_match_reference_and_are_the_same_twice():
    tensors = inputs(9, d_inner=18)                          # more channels than a program has
    try:
        torch.use_deterministic_algorithms(True)
        first, second = check(tensors), check(tensors)
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_inputs_need_not_be_contiguous():
    tensors = {name: tensor.float() for name, tensor in inputs(20).items()}
    transposed = {name: tensor.mT.contiguous().mT for name, tensor in tensors.items()
                  if tensor.ndim > 1}
    assert not transposed["x"].is_contiguous()
    assert torch.equal(
        selective_scan(**tensors | transposed, delta_softplus=True, method="triton"),
        selective_scan(**tensors, delta_softplus=True, method="triton"))

def time_last(tensor):
    """(batch, length, …) as (batch, …, length), contiguous."""
    return tensor.movedim(1, -1).contiguous()


def two_splits(shape, costs, schedulers):
    """Of one chunk each."""
    fewest_channels, _ = costs.kernel[0]
    return make_plan(shape, costs, fewest_channels, chunks_per_split=1, pieces_per_split=1)


ORDERS = {
    "official": (time_last, lambda t: t.movedim(-1, 1)),
    "transposed": (lambda t: time_last(t).movedim(-1, 1), lambda t: t),
    "official, channels together": (lambda t: t.movedim(1, -1), lambda t: t.movedim(-1, 1))}
"""How the inputs are laid out, and how their gradients are brought back to the library's shape."""


@pytest.mark.parametrize(("length", "batch", "without", "groups", "d_state", "plan", "orders"), [
    (8, 1, (), 1, 4, choose_plan, list(ORDERS)),
    (10, 1, ("z", "D"), 2, 4, choose_plan, ["official"]),
    (9, 1, ("initial_state",), 1, 4, choose_plan, ["transposed"]),
    (16, 2, (), 1, 4, two_splits, ["official"]),
    (16, 1, (), 1, 33, choose_plan, ["official", "transposed"])])
def test_results_do_not_depend_on_which_axis_is_contiguous(monkeypatch, length, batch, without,
                                                           groups, d_state, plan, orders):
    monkeypatch.setattr(operator, "choose_plan", plan)
    tensors = {name: t if name == "x" else t.float() for name, t in inputs(
        length, batch=batch, d_inner=2 * groups, d_state=d_state, groups=groups).items()
        if name not in without}
    d_y = randn(*tensors["x"].shape, seed=1).to(tensors["x"])
    d_last_state = randn(batch, 2 * groups, d_state, seed=2).float().to(DEVICE)

    def results(lay_out, d_y, **options):
        leaves = {name: (lay_out(t) if name in ("x", "delta", *"BCz") else t).requires_grad_()
                  for name, t in tensors.items()}
        optional = dict.fromkeys(NAMES) | leaves | {"delta_softplus": True}
        with chunks_of(CHUNK if DEVICE == "cuda" else 8):
            y, last_state = operator.scan(**optional, **options)
            gradients = torch.autograd.grad((y, last_state), list(leaves.values()),
                                            (d_y, d_last_state))
        return {"y": y, "last_state": last_state} | dict(zip(leaves, gradients, strict=True))

    expected = results(torch.clone, d_y)
    for order in orders:
        lay_out, back = ORDERS[order]
        is_official = order.startswith("official")
        given = results(lay_out, d_y.mT if is_official else d_y, time_last=is_official)
        for name, t in given.items():
            if name in ("y", "x", "delta", "z"):
                assert (t if order == "official" else t.mT).is_contiguous(), (order, name)
            t = back(t) if name in ("y", "x", "delta", *"BCz") else t
            torch.testing.assert_close(t, expected[name], rtol=1e-5, atol=1e-5)


def test_D_and_the_bias_may_have_half_precision_and_so_do_their_gradients():
    found = []
    for dtype in (torch.bfloat16, torch.float32):
        tensors = {name: t.to(dtype if name in ("D", "delta_bias") else torch.float32)
                   .requires_grad_() for name, t in inputs(9).items()}
        with chunks_of(CHUNK if DEVICE == "cuda" else 8):
            y, _ = operator.scan(**tensors, delta_softplus=True)
            found.append([y, *torch.autograd.grad(y.square().sum(), list(tensors.values()))])
        assert [t.dtype for t in found[-1][1:]] == [t.dtype for t in tensors.values()]
    for half, single in zip(*found, strict=True):
        torch.testing.assert_close(half, single.to(half.dtype))


def test_array_may_begin_anywhere_where_time_is_contiguous():
    x, delta = randn(2, 1, 2, 8).bfloat16().to(DEVICE)
    A, B, C = -torch.ones(2, 4, device=DEVICE), *randn(2, 1, 4, 8).float().to(DEVICE)
    beside = torch.cat((torch.zeros(1).to(x), x.flatten()))[1:].view_as(x)
    assert x.data_ptr() % 16 == 0 != beside.data_ptr() % 16
    on_grid, off_grid = (operator.scan(
        t, delta, A, B, C, None, None, delta_bias=None, delta_softplus=True, initial_state=None,
        time_last=True)[0] for t in (x, beside))
    assert torch.equal(on_grid, off_grid)


LAYOUTS = {
    "parts of one projection": lambda wide: (wide[..., 3:7], wide[..., 7:11]),
    "at different distances": lambda wide: (wide[..., :4], wide[..., :8].contiguous()[..., 4:]),
    "the same in every sequence": lambda wide: (wide[:1, ..., :4].expand(2, -1, -1, -1),) * 2,
    "the same at every step": lambda wide: (wide[:, :1, :, :4].expand(-1, 9, -1, -1),) * 2,
    "states apart": lambda wide: (wide[..., :8:2], wide[..., 1:9:2]),
    "time first": lambda wide: [part.transpose(0, 1).contiguous().transpose(0, 1)
                                for part in (wide[..., :4], wide[..., 4:8])],
    "without groups": lambda wide: (wide[:, :, 0, 3:7], wide[:, :, 0, 7:11])}


@pytest.mark.parametrize("is_packed", [True, False], ids=["packed", "read_as_they_are"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_parameters_may_be_laid_out_in_any_way(monkeypatch, layout, is_packed):
    tensors = {name: t.float() for name, t in inputs(9, batch=2, d_inner=2).items()}
    B, C = LAYOUTS[layout](randn(2, 9, 1, 11, seed=1).float().to(DEVICE))

    def scan(method, B, C):
        return selective_scan(**tensors | {"B": B, "C": C}, delta_softplus=True, method=method)

    if is_packed:
        monkeypatch.setattr(operator, "WORTH_PACKING", 0)
    torch.testing.assert_close(scan("triton", B, C), scan("reference", B, C))


def test_packed_parameters_of_two_distances_get_their_gradients(monkeypatch):
    monkeypatch.setattr(operator, "WORTH_PACKING", 0)
    tensors = {name: t.float() for name, t in inputs(9, d_inner=2).items()}
    wide = randn(1, 9, 1, 11, seed=1).float().to(DEVICE).requires_grad_()
    B, C = LAYOUTS["at different distances"](wide)
    found = [torch.autograd.grad(selective_scan(
        **tensors | {"B": B, "C": C}, delta_softplus=True, method=method).sum(), wide)[0]
        for method in ("triton", "reference")]
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("costs", [FORWARD, BACKWARD], ids=["forward", "backward"])
def test_length_is_split_only_if_programs_are_missing(costs):
    def plan(batch, d_inner, chunks):
        return choose_plan(ScanShape(batch, chunks * CHUNK, d_inner, 16, 1), costs,
                           H100_SCHEDULERS)

    many = max(channels for channels, _ in costs.kernel)
    assert plan(32, 1536, 32).carry is None                  # enough programs
    assert plan(8, 4096, 32).kernel[1:] == plan(8, 4096, 64).kernel[1:]
    assert plan(8, 4096, 32).kernel.channels_per_lane == many
    assert plan(1, 1536, 1).carry is None                    # nothing to split
    long = plan(1, 1536, 1024)
    assert long.piece_steps * long.pieces_per_split == long.split_steps
    assert long.carry.grid[1] == (long.kernel.grid[1] - 1) * long.pieces_per_split
    assert 500 < long.kernel.grid[0] * long.kernel.grid[1] < 2200
    assert plan(1, 64, 2**14).kernel.grid[1] < 1000          # the number of splits has a bound


def test_interpreter_never_splits():
    plan = choose_plan(ScanShape(1, 2**16, 1536, 16, 1), FORWARD, None)
    assert plan.kernel.grid == (48, 1, 1)
    assert plan.carry is None


def test_softplus_is_accurate_at_both_ends():
    import triton
    import triton.language as tl

    from minimamba.scan.triton.lanes import softplus

    @triton.jit
    def store(x, y, softplus: tl.constexpr, N: tl.constexpr):
        places = tl.arange(0, N)
        tl.store(y + places, softplus(tl.load(x + places)))

    x = torch.linspace(-40, 40, 4096).to(DEVICE)
    y = torch.full_like(x, torch.nan)
    store[(1,)](x, y, softplus, N=4096)
    exact = torch.logaddexp(x.double(), torch.zeros_like(x.double()))
    exact[x < -20] = x[x < -20].double().exp()             # where logaddexp has no digits left
    # x log2(e) is rounded before it is an exponent: an error in proportion to x.
    assert (((y - exact) / exact).abs() < 4e-7 + 6e-8 * x.abs()).all()


def test_operator_is_registered_as_torch_compile_needs_it():
    tensors = {name: tensor.float() for name, tensor in inputs(6, d_inner=1).items()}
    x, delta, A, B, C, D, z, delta_bias, initial_state = (tensors[name] for name in NAMES)
    for tensor in (x, A, z):
        tensor.requires_grad_()
    stepwise = [x, delta, B, C, z]
    for time_is_last in (False, True):
        x_, delta_, B_, C_, z_ = map(time_last, stepwise) if time_is_last else stepwise
        torch.library.opcheck(
            torch.ops.minimamba.scan.default,
            (x_, delta_, A, B_, C_, D, z_, delta_bias, True, initial_state, True, time_is_last),
            test_utils=("test_schema", "test_autograd_registration", "test_faketensor"))

    def doubled(x, z):
        return 2 * selective_scan(x, delta, A, B, C, D, z, delta_bias=delta_bias,
                                  delta_softplus=True, method="triton")

    compiled = torch.compile(doubled, backend="aot_eager", fullgraph=True)
    for expected, given in zip(torch.autograd.grad(doubled(x, z).sum(), (x, z)),
                               torch.autograd.grad(compiled(x, z).sum(), (x, z)), strict=True):
        torch.testing.assert_close(given, expected)


def test_states_are_saved_only_if_an_input_needs_a_gradient(monkeypatch):
    saves = []
    for name in ("_apply", "forward_pass"):
        run = getattr(operator, name)
        monkeypatch.setattr(operator, name, lambda *arguments, run=run: (
            saves.append(arguments[10]) or run(*arguments)))
    tensors = {name: tensor.float() for name, tensor in inputs(4).items()}
    selective_scan(**tensors, delta_softplus=True, method="triton")
    tensors["A"].requires_grad_()
    selective_scan(**tensors, delta_softplus=True, method="triton")
    with torch.no_grad():
        selective_scan(**tensors, delta_softplus=True, method="triton")
    assert saves == [False, True, False]


def test_reason_names_what_the_kernels_can_not_take():
    x = torch.empty(2, 1, 1, device=DEVICE)
    assert operator.why_not(x[:1], 257) == "d_state = 257; the kernels take up to 256"
    assert operator.why_not(x[:1].double()) == "float64, which the kernels don't have"
    assert operator.why_not(x[:1], 256) is None
    tensors = {name: tensor.double() for name, tensor in inputs(4).items()}
    with pytest.raises(ValueError, match=r"such as 'chunked', got 'triton': float64"):
        selective_scan(**tensors, delta_softplus=True, method="triton")


def test_reason_names_what_the_machine_lacks(monkeypatch):
    monkeypatch.setattr(operator, "interpreted", lambda: False)
    assert operator.why_not(torch.zeros(1, 1, 1), 1) in (
        "tensors on cpu; the kernels run on CUDA",
        "no CUDA device was found, and TRITON_INTERPRET=1 is not set")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert methods()["triton"] == "no CUDA device was found, and TRITON_INTERPRET=1 is not set"
    with pytest.raises(ValueError, match=r"such as 'chunked', got 'triton': no CUDA device"):
        selective_scan(**{name: tensor.float().cpu() for name, tensor in inputs(4).items()},
                       delta_softplus=True, method="triton")
    monkeypatch.setattr(operator, "TRITON", False)
    assert "triton is not installed" in methods()["triton"]
