"""Mamba-2's scan by Triton kernels against the loop in float64: in Triton's interpreter, or on a
GPU if there is one. The interpreter multiplies matrices of bfloat16 wrongly, so half precision is
float16 here."""

import contextlib
import re
from math import prod
from unittest.mock import patch

import pytest
import torch
from systems import F64, randn, uniform

from minimamba import ssd
from minimamba.ops.launch import Launcher
from minimamba.ops.operator import AGAIN
from minimamba.ssd import why_not
from minimamba.ssd.triton import operator
from minimamba.ssd.triton.plan import (
    BackwardTiles,
    SSDShape,
    choose_backward_plan,
    choose_backward_tiles,
    choose_plan,
    choose_tiles,
    make_backward_plan,
    make_plan,
    plan_of_gate,
)

pytestmark = pytest.mark.skipif(bool(why_not("triton")), reason=str(why_not("triton")))
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
TOLERANCE = ({torch.float32: 2e-6, torch.float16: 1e-3} if DEVICE == "cpu" else
             {torch.float32: 1e-5, torch.float16: 1e-3, torch.bfloat16: 8e-3})
"""Errors, relative to the norm of the result."""
GRADIENT_TOLERANCE = ({torch.float32: 5e-5, torch.float16: 1e-3} if DEVICE == "cpu" else
                      {torch.float32: 1e-4, torch.float16: 2e-3, torch.bfloat16: 1.6e-2})
PER_HEAD = ("A", "D", "dt_bias", "initial_state")
"""Arguments that are in float32 where x has half precision."""
OPTIONS = ("D", "z", "dt_bias", "initial_state")
H100_MULTIPROCESSORS = 132


@pytest.fixture(autouse=True)
def _no_plan_is_remembered():
    """By an earlier test, which may have chosen another one."""
    operator._forward_launches.cache_clear()
    operator._backward_launches.cache_clear()


@pytest.fixture
def nothing_is_left_unwritten():
    """New tensors hold NaN."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def one_split(monkeypatch):
    """As the interpreter has it; a GPU that is far from full takes more."""
    monkeypatch.setattr(operator, "multiprocessors_of", lambda _: None)
    monkeypatch.setattr(operator, "walks_that_fit", lambda *_: 0)


@pytest.fixture
def splits_of_two_chunks(monkeypatch):
    """And two parts of the heads of a group."""
    monkeypatch.setattr(operator, "choose_plan", lambda shape, itemsize, _: make_plan(
        shape, choose_tiles(shape.head_dim, shape.d_state, itemsize), 2))
    monkeypatch.setattr(operator, "choose_backward_plan", lambda shape, itemsize, _: (
        make_backward_plan(shape, choose_backward_tiles(shape.head_dim, shape.d_state, itemsize),
                           2, 2)))


def inputs(length, *, batch=1, n_heads=3, head_dim=5, n_groups=1, d_state=7, options=OPTIONS,
           D=None, dtype=torch.float32):
    """Arguments for softplus, rounded to float16 so that they are the same in each precision."""
    sequence, state = (batch, length, n_heads, head_dim), (batch, length, n_groups, d_state)
    shapes = {"x": sequence, "dt": sequence[:3], "A": (n_heads,), "B": state, "C": state,
              "D": D or (n_heads, head_dim), "z": sequence, "dt_bias": (n_heads,),
              "initial_state": (batch, n_heads, head_dim, d_state)}
    given = {name: randn(*shape, seed=length + i) for i, (name, shape) in enumerate(shapes.items())
             if name not in OPTIONS or name in options}
    given["A"] = -uniform(0.1, 2, n_heads, seed=length)
    return {name: t.half().to(torch.float32 if name in PER_HEAD else dtype).to(DEVICE)
            for name, t in given.items()}


def run(arguments, *, method="triton", **options):
    return ssd(**arguments, return_final_state=True, method=method,
               **{"dt_softplus": True, **options})


def differentiate(arguments, *, run=run, **options):
    """y, the final state, and the gradients of a weighted sum of both."""
    leaves = {name: t.detach().requires_grad_() for name, t in arguments.items()}
    y, final_state = run(leaves, **options)
    weights = [randn(*t.shape, seed=i).half().to(t) for i, t in enumerate((y, final_state))]
    gradients = torch.autograd.grad((y, final_state), list(leaves.values()), weights)
    return {"y": y, "final state": final_state, **dict(zip(leaves, gradients, strict=True))}


def check(arguments, *, tolerance=0.0, **options):
    """Compare y, the final state and all gradients with those of the loop."""
    __tracebackhide__ = True
    given = differentiate(arguments, **options)
    exact = {name: t.to(F64) for name, t in arguments.items()}
    outputs = {"y": arguments["x"].dtype, "final state": torch.float32}
    wanted = differentiate(exact, method="reference", **options)
    for name, other in wanted.items():
        one = given[name]
        assert one.shape == other.shape
        assert one.dtype == (outputs[name] if name in outputs else arguments[name].dtype)
        assert one.isfinite().all(), name
        error = ((one.to(F64) - other).norm() / other.norm()).item()
        allowed = (TOLERANCE if name in outputs else GRADIENT_TOLERANCE)[arguments["x"].dtype]
        assert error <= max(tolerance, allowed), f"{name}: {error:.1e}"


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("length", [1, 63, 64, 65, 130])
@pytest.mark.usefixtures("nothing_is_left_unwritten")
def test_kernels_match_reference_at_any_length(length, dtype):
    check(inputs(length, dtype=dtype))


@pytest.mark.parametrize(("n_heads", "n_groups", "head_dim", "d_state"), [
    (2, 1, 16, 130), (2, 2, 80, 16), (4, 2, 17, 40), (9, 1, 1, 1)])
@pytest.mark.usefixtures("nothing_is_left_unwritten")
def test_kernels_match_reference_for_any_heads_groups_and_sizes(n_heads, n_groups, head_dim,
                                                                d_state):
    check(inputs(70, batch=2, n_heads=n_heads, n_groups=n_groups, head_dim=head_dim,
                 d_state=d_state, D=(n_heads,)))


@pytest.mark.parametrize(("options", "D"), [
    ((), None), (("D",), (3,)), (("D",), (3, 5)), (("z",), None), (("dt_bias",), None),
    (("initial_state",), None)])
def test_every_option_may_come_alone(options, D):
    arguments = inputs(40, options=options, D=D)
    check(arguments)
    y, _ = run(arguments)
    assert torch.equal(ssd(**arguments, dt_softplus=True, method="triton"), y)


def test_steps_need_no_softplus_and_may_be_zero():
    arguments = inputs(70)
    arguments["dt"] = arguments["dt"].abs()
    arguments["dt"][:, 20:60:2] = 0
    arguments["dt_bias"] = arguments["dt_bias"].abs() * 0
    check(arguments, dt_softplus=False)


@pytest.mark.usefixtures("splits_of_two_chunks", "nothing_is_left_unwritten")
@pytest.mark.parametrize("options", [OPTIONS, ()])
@pytest.mark.parametrize(("length", "d_state"), [(65, 7), (150, 7), (70, 130)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_splits_carry_the_state(length, d_state, options, dtype):
    """In half precision with few states, the two passes have the same splits."""
    arguments = inputs(length, batch=2, n_heads=3 if options else 2, d_state=d_state,
                       options=options, dtype=dtype)
    arguments["A"] /= 10  # or nothing would be left of a state after a few chunks
    check(arguments, tolerance=2e-3 if dtype == torch.float16 else 0)


@pytest.mark.parametrize("seq_idx", [
    torch.tensor([[4] * 40 + [0] * 24 + [1] * 86, [0] + [3] * 149]),
    torch.arange(150).expand(2, -1) > 70])
@pytest.mark.usefixtures("splits_of_two_chunks")
def test_packed_sequences_start_from_zero(seq_idx):
    check(inputs(150, batch=2, n_heads=2), seq_idx=seq_idx.to(DEVICE), tolerance=1e-4)


def test_state_with_hardly_any_decay_keeps_its_digits():
    check(inputs(300, n_heads=1) | {"A": torch.full((1,), -0.01, device=DEVICE)})


def test_strong_decay_leaves_the_present_alone():
    arguments = inputs(130) | {"A": torch.tensor([-1e2, -1e10, -1e37], device=DEVICE)}
    # The sum of 64 times −160 is rounded to 2^−11: up to 3e-4 of a weight.
    check(arguments, tolerance=3e-4)


@pytest.mark.parametrize("offset", [0, 1])
def test_parts_of_one_projection_are_read_where_they_lie(offset):
    """With an offset, no tensor begins at a multiple of 16 bytes, and each must be copied."""
    arguments = inputs(70, batch=2, head_dim=8, d_state=16)
    names = ["x", "B", "C", "z", "dt"]
    sizes = [prod(arguments[name].shape[2:]) for name in names]
    projection = torch.zeros(2, 70, sum(sizes) + 5, device=DEVICE)
    parts = projection[..., offset:offset + sum(sizes)].split(sizes, -1)
    strided = {}
    for name, part in zip(names, parts, strict=True):
        strided[name] = part.unflatten(-1, arguments[name].shape[2:])
        strided[name].copy_(arguments[name])
    assert (operator._addressable(strided["x"]) is strided["x"]) == (offset == 0)
    for given, wanted in zip(run(arguments | strided), run(arguments), strict=True):
        assert torch.equal(given, wanted)


@pytest.mark.parametrize("D", [(3,), (3, 5)])
def test_skip_connection_is_added_before_rounding(D):
    arguments = inputs(70, options=("D",), D=D, dtype=torch.float16)
    arguments["C"] = torch.zeros_like(arguments["C"])
    arguments["D"] = torch.full(D, 1 + 2**-11, device=DEVICE)  # 1 in half precision
    y, _ = run(arguments)
    assert torch.equal(y, (arguments["x"].float() * (1 + 2**-11)).half())


@pytest.mark.parametrize("D", [(3,), (3, 5)])
def test_gradient_of_D_is_summed_before_rounding(D):
    """Behind a gate, too, whose backward pass rounds the gradient of y to x's dtype."""
    for options in (("D",), ("D", "z")):
        arguments = inputs(70, options=options, D=D, dtype=torch.float16)
        exact = {name: t.to(F64) for name, t in arguments.items()}
        given, wanted = (differentiate(given, method=method)["D"] for given, method in (
            (arguments, "triton"), (exact, "reference")))
        assert (given - wanted).norm() <= 2e-6 * wanted.norm()


@pytest.mark.parametrize("d_state", [7, 200])
@pytest.mark.parametrize("name", ["B", "C"])
def test_gradient_through_an_exact_state_is_rounded_once(name, d_state):
    """The weight of a step belongs to the float32 product, not to a factor of half precision."""
    def integers(*shape, seed):
        return randn(*shape, seed=seed).round().half().to(DEVICE)

    sequence, states = (1, 65, 2, 5), (1, 65, 1, d_state)
    arguments = {"x": integers(*sequence, seed=0), "B": integers(*states, seed=1),
                 "C": integers(*states, seed=2),
                 "dt": uniform(0.1, 0.3, *sequence[:3], seed=3).half().to(DEVICE),
                 "A": torch.tensor([-0.1, -0.2], device=DEVICE),
                 "initial_state": integers(1, 2, 5, d_state, seed=4).float()}
    dy = integers(*sequence, seed=5)
    if name == "B":  # the first chunk of 64 steps is read by the step after it only, undecayed
        dy[:, :64] = 0
        arguments["dt"][:, 64] = 0
    else:            # nothing is read but the initial state
        arguments["x"][:] = 0

    def gradient(arguments, method):
        leaf = arguments[name].detach().requires_grad_()
        y = ssd(**{**arguments, name: leaf}, method=method)
        return torch.autograd.grad(y, leaf, dy.to(y))[0][:, :64].to(F64)

    given = gradient(arguments, "triton")
    exact = gradient({name: t.to(F64) for name, t in arguments.items()}, "reference")
    assert exact.norm() > 1
    assert ((given - exact).abs() <= torch.finfo(torch.half).eps / 2 * exact.abs() + 2e-6).all()


@pytest.mark.parametrize("d_state", [7, 200])
def test_initial_state_is_not_rounded_for_the_gradient_of_A(d_state):
    """As all states before later chunks are, in half precision."""
    arguments = inputs(3, d_state=d_state, options=(), dtype=torch.float16)
    arguments["x"] = torch.zeros_like(arguments["x"])
    arguments["initial_state"] = randn(1, 3, 5, d_state, seed=0).abs().float().to(DEVICE)
    d_final_state = randn(1, 3, 5, d_state, seed=1).abs().to(DEVICE)

    def gradient(arguments, method):
        A = arguments["A"].detach().requires_grad_()
        _, final_state = run({**arguments, "A": A}, method=method)
        return torch.autograd.grad(final_state, A, d_final_state.to(final_state))[0].to(F64)

    given = gradient(arguments, "triton")
    exact = gradient({name: t.to(F64) for name, t in arguments.items()}, "reference")
    torch.testing.assert_close(given, exact, rtol=2e-6, atol=0)


@pytest.mark.skipif(DEVICE == "cpu", reason="the interpreter compiles nothing")
def test_gradients_with_and_without_a_gate_take_turns():
    """Each needs kernels of its own: behind a gate, D's gradient is another kernel's task."""
    for options in (("D",), ("D", "z"), ("D",)):
        check(inputs(20, options=options))


@pytest.mark.parametrize("batch", [8, 1])
@pytest.mark.parametrize(("d_state", "chunk"), [(64, 64), (128, 64), (256, 16)])
def test_gate_is_differentiated_in_the_splits_of_the_forward_pass(batch, d_state, chunk):
    shape = SSDShape(batch, 16384 // batch, 24, 64, 1, d_state)
    plan = choose_plan(shape, 2, H100_MULTIPROCESSORS)
    of_gate = plan_of_gate(shape, plan, 2)
    assert (of_gate.split_steps, of_gate.splits) == (plan.split_steps, plan.splits)
    assert of_gate.tiles.chunk == chunk
    assert plan_of_gate(shape, plan, 4) == plan


def test_gate_of_a_small_state_updates_it_last_and_leaves_room_for_two_programs():
    """Which keeps the registers from being spilled, too."""
    shape = SSDShape(8, 2048, 24, 64, 1, 64)
    plan = choose_plan(shape, 2, H100_MULTIPROCESSORS)
    assert (plan.tiles.stages, plan.tiles.is_early) == (3, True)
    of_gate = plan_of_gate(shape, plan, 2)
    assert (of_gate.tiles.stages, of_gate.tiles.is_early) == (2, False)


@pytest.mark.usefixtures("splits_of_two_chunks")
def test_gate_of_a_large_state_takes_the_states_that_enter_the_splits(monkeypatch):
    monkeypatch.setattr(operator, "MAX_KEPT", float("inf"))
    monkeypatch.setattr(operator, "choose_plan", lambda shape, itemsize, _: make_plan(
        shape, choose_tiles(shape.head_dim, shape.d_state, itemsize), 4))  # of 32 steps each
    check(inputs(300, d_state=130, dtype=torch.float16))


def test_dtypes_that_differ_are_computed_in_float32():
    arguments = inputs(40)
    mixed = arguments | {"x": arguments["x"].half(), "z": arguments["z"].half()}
    y, final_state = run(mixed)
    wanted_y, wanted_state = run(arguments)
    assert torch.equal(y, wanted_y.half())
    assert torch.equal(final_state, wanted_state)


@pytest.fixture(params=[(1, slice(0, 3), False), (1, slice(4, 7), False),
                        (2, slice(4, 7), False), (1, slice(0, 3), True)],
                ids=["below", "above", "parts", "apart"])
def tiny_backward_tiles(request, monkeypatch):
    """Of 16 steps and features, for one part or two of the heads of a group, with dB and dC apart
    or not. The states that are not in dx are below it in memory or above. A list of the heads
    across which a state in dx is."""
    parts, place, is_apart = request.param
    across, memory = [], []

    def plan(shape, *_):
        states = choose_backward_tiles(shape.head_dim, shape.d_state, 2).states
        tiles = BackwardTiles(16, 16, states, states, 16 if is_apart else states, is_apart, 4, 2, 2,
                              4, 2, 2)
        chosen = make_backward_plan(shape, tiles, 2, parts)
        across.append(chosen.across)
        return chosen

    def backward_between(dx, *arguments):
        memory.append(dx.new_empty(7, *dx.shape))
        result = backward(memory[0][3], *arguments)
        dx.copy_(memory[0][3])
        return result

    def room_beside(plan, dx):
        plan, states, others = room(plan, dx)
        if others is not None:
            others = memory[0][place].flatten(0, 1)[:len(others)]
        return plan, states, others

    backward, room = operator.backward_into, operator._room_for_states
    monkeypatch.setattr(operator, "choose_backward_plan", plan)
    monkeypatch.setattr(operator, "backward_into", backward_between)
    monkeypatch.setattr(operator, "_room_for_states", room_beside)
    return across


@pytest.mark.parametrize(("n_heads", "d_state", "length", "across"), [
    (4, 16, 64, 1), (4, 32, 64, 2), (8, 60, 64, 4), (3, 32, 64, None), (4, 32, 65, None)])
@pytest.mark.usefixtures("nothing_is_left_unwritten")
def test_states_wait_where_gradients_of_x_will_be(tiny_backward_tiles, n_heads, d_state, length,
                                                  across):
    check(inputs(length, batch=2, n_heads=n_heads, head_dim=16, d_state=d_state,
                 dtype=torch.float16), tolerance=2e-3)
    assert tiny_backward_tiles == [across]


@pytest.mark.parametrize("farthest", [0, operator.FARTHEST])
def test_states_have_memory_of_their_own_where_others_are_too_far_apart(monkeypatch, farthest):
    monkeypatch.setattr(operator, "FARTHEST", farthest)
    dx = torch.empty(1, 128, 2, 64, dtype=torch.float16)
    plan = make_backward_plan(SSDShape(1, 128, 2, 64, 1, 128), choose_backward_tiles(64, 128, 2),
                              2, 1)
    plan, states, others = operator._room_for_states(plan, dx)
    if farthest:
        assert (plan.across, states.data_ptr()) == (2, dx.data_ptr())
        assert others.shape == dx.shape
    else:
        assert (plan.across, states.shape, others) == (None, (1, 2, 128, 128), None)


@pytest.mark.usefixtures("splits_of_two_chunks")
@pytest.mark.parametrize(("d_state", "is_kept"), [(7, True), (120, False)])
def test_states_that_enter_splits_are_kept_where_they_are_small(d_state, is_kept):
    given = inputs(300, options=(), d_state=d_state, dtype=torch.float16)
    entering, _ = kept_of(given)
    assert (entering is not None) == is_kept
    check_twice(given)


@pytest.mark.usefixtures("splits_of_two_chunks")
@pytest.mark.parametrize(("head_dim", "d_state", "dtype", "is_kept"), [
    (32, 7, torch.float16, True), (23, 7, torch.float16, False), (32, 129, torch.float16, False),
    (32, 7, torch.float32, False)])
def test_decays_are_kept_where_they_are_small_and_chunks_the_same(head_dim, d_state, dtype,
                                                                  is_kept):
    given = inputs(150, head_dim=head_dim, d_state=d_state, dtype=dtype)
    _, decays = kept_of(given)
    assert (decays is not None) == is_kept
    check(given, tolerance=2e-3)
    check_twice(given)


def kept_of(arguments):
    """What the forward pass keeps."""
    names = "x", "dt", "A", "B", "C", "D", "z", "dt_bias"
    _, _, *kept = operator.forward_and_kept(
        *(arguments.get(name) for name in names), True, arguments.get("initial_state"), None, False)
    return kept


def check_twice(arguments):
    """The backward pass leaves what was kept as it was."""
    leaves = {name: t.requires_grad_() for name, t in arguments.items()}
    y, _ = run(leaves)
    first, second = (torch.autograd.grad(y.sum(), list(leaves.values()), retain_graph=True)
                     for _ in range(2))
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one, other)


def test_states_don_t_wait_where_another_program_writes():
    """Three heads are one part of six: the second part would write where the first has a state."""
    shape = SSDShape(1, 128, 6, 64, 1, 128)
    tiles = choose_backward_tiles(64, 128, 2)
    across = [make_backward_plan(shape, tiles, 2, parts).across for parts in (1, 2, 3)]
    assert across == [2, None, 2]


@pytest.mark.parametrize(("dtype", "bits"), [(torch.bfloat16, 15), (torch.float16, 21)])
def test_two_numbers_of_half_precision_add_up_to_one_of_twice_as_many_bits(dtype, bits):
    import triton
    import triton.language as tl

    from minimamba.ssd.triton.forward import in_two

    @triton.jit
    def kernel(t_ptr, large_ptr, small_ptr, in_two: tl.constexpr, N: tl.constexpr):
        i = tl.arange(0, N)
        large, small = in_two(tl.load(t_ptr + i), large_ptr.dtype.element_ty)
        tl.store(large_ptr + i, large)
        tl.store(small_ptr + i, small)

    t = torch.linspace(1, 2, 1024, device=DEVICE)
    large, small = torch.empty(2, 1024, dtype=dtype, device=DEVICE)
    kernel[(1,)](t, large, small, in_two, 1024)
    assert ((large.double() + small.double() - t).abs() <= 2.0**-bits * t.abs()).all()


def test_descriptors_of_kernels_that_overlap_are_apart():
    memory = operator._DescriptorMemory(torch.empty(0), 512)
    parts = [memory._take(size, 128, None) for size in (512, 128, 300)]
    assert parts[0].data_ptr() == parts[2].data_ptr()
    assert abs(parts[0].data_ptr() - parts[1].data_ptr()) == 512 == len(parts[0])
    with pytest.raises(RuntimeError, match="descriptors: expected up to 512 bytes, got 513"):
        memory._take(513, 128, None)


@pytest.mark.parametrize("overlaps", [False, True])
@pytest.mark.parametrize(("capability", "programs"), [((8, 0), 0), ((9, 0), 12), ((12, 0), 12)])
def test_programs_have_memory_for_descriptors_where_the_gpu_has_these(
        monkeypatch, splits_of_two_chunks, capability, programs, overlaps):
    """Three heads of one block, each of four splits of two chunks."""
    monkeypatch.setattr(operator, "capability_of", lambda _: capability)
    monkeypatch.setattr(operator, "can_overlap", lambda _: overlaps)
    monkeypatch.setattr(operator, "walks_that_fit", lambda *_: 0)
    sizes = []
    monkeypatch.setattr(operator, "_DescriptorMemory", lambda like, size: (
        sizes.append(size) or contextlib.nullcontext()))
    with patch.object(Launcher, "__call__"):
        differentiate(inputs(512, dtype=torch.float16))
    gate, backward = sizes[1:]
    assert sizes[0] == gate == 1024 * programs
    assert backward >= sizes[0]


@pytest.mark.parametrize("D_sums", [0, 3, 192])
def test_sums_of_more_chunks_than_a_program_takes_at_once_are_added_up(D_sums):
    from minimamba.ssd.triton import backward

    n_heads, of_chunks = 3, 2 * operator.SUMS["CHUNKS"] + 1
    columns = D_sums + 2 * n_heads
    sums = torch.randn(of_chunks, columns, device=DEVICE)
    dD, dA, d_bias = (torch.full((size,), torch.nan, device=DEVICE)
                      for size in (D_sums, n_heads, n_heads))
    Launcher(backward.add_up_chunks, (-(-columns // operator.SUMS["WIDTH"]), 1, 1),
             {"n_heads": n_heads, "of_chunks": of_chunks, "D_sums": D_sums, "OVERLAP": False,
              **operator.SUMS})(sums, dA, d_bias, dD if D_sums else None)
    torch.testing.assert_close(torch.cat([dD, dA, d_bias]), sums.sum(0), rtol=1e-4, atol=1e-4)


FORWARD = ["sum_decays", "add_up", "carry", "walk"]
BACKWARD = ["sum_decays", "add_up", "carry", "save_states", "read", "add_up_back", "carry_back",
            "walk_back", "write", "step", "add_up_chunks"]


@pytest.mark.parametrize("options", [(), ("z",)])
@pytest.mark.parametrize(("is_split", "dtype"), [
    (False, torch.float16), (True, torch.float16), (True, torch.float32)])
def test_kernels_launched(request, monkeypatch, is_split, dtype, options):
    """If there are splits, a pass before each walk, but for walks from states that are known. The
    forward pass once more for z's gradient, but with decays that are known."""
    if is_split:
        request.getfixturevalue("splits_of_two_chunks")
    else:
        request.getfixturevalue("one_split")
    names = {}

    def naming(plan_launches):
        def plan_and_name(*key):
            launches = plan_launches(*key)
            names.update({launcher: name for name, launcher in launches._asdict().items()})
            return launches
        return plan_and_name

    for function in ("_forward_launches", "_backward_launches"):
        monkeypatch.setattr(operator, function, naming(getattr(operator, function)))
    launched = []
    with patch.object(Launcher, "__call__", lambda launcher, *_: launched.append(launcher)):
        differentiate(inputs(150, head_dim=32, options=options, dtype=dtype))
    before = ("add_up", "carry")
    before_back = ("add_up_back", "carry_back")
    # In float32, chunks and splits of the backward pass are others, and nothing is kept for it.
    known = ("sum_decays", *before) if dtype == torch.float16 else ()
    again = [*(FORWARD if options else []), *BACKWARD]
    wanted = [*FORWARD, *(name for name in again if name not in known)]
    assert [names[launcher] for launcher in launched] == [
        name for name in wanted if is_split or name not in (*before, *before_back)]


@pytest.mark.parametrize("options", [(), ("z",)])
@pytest.mark.parametrize("splits", ["one_split", "splits_of_two_chunks"])
@pytest.mark.parametrize("head_dim", [5, 32])
def test_the_first_kernel_of_a_call_waits_for_all_before_it(request, monkeypatch, splits, options,
                                                            head_dim):
    """Memory for descriptors, which the others write before they wait, may have been freed since
    the kernel before was launched."""
    request.getfixturevalue(splits)
    monkeypatch.setattr(operator, "can_overlap", lambda _: True)
    monkeypatch.setattr(operator, "walks_that_fit", lambda *_: 0)
    launched = []

    class Memory(operator._DescriptorMemory):
        def __enter__(self):
            launched.append("first")
            super().__enter__()

    monkeypatch.setattr(operator, "_DescriptorMemory", Memory)
    with patch.object(Launcher, "__call__", lambda launcher, *_: launched.append(
            launcher._options.get("launch_pdl", False))):
        differentiate(inputs(150, head_dim=head_dim, options=options, dtype=torch.float16))
    calls = [i for i, one in enumerate(launched) if one == "first"]
    assert len(calls) == 2 + len(options)
    assert not any(launched[i + 1] for i in calls)
    assert launched[-2:] == [True, True]


def launches_of_24_heads(batch, d_state):
    """Those of the backward pass, on an H100 or another GPU, as tests have patched it."""
    shape = SSDShape(batch, 2048, 24, 64, 1, d_state)
    plan = choose_backward_plan(shape, 2, H100_MULTIPROCESSORS)
    return operator._backward_launches(shape, plan, ((1,) * 4,) * 11, 1, 24, True, (),
                                       torch.device(DEVICE))


@pytest.mark.parametrize(("batch", "overlaps"), [(8, False), (32, True)])
def test_walks_of_states_overlap_only_where_they_fill_the_gpu(monkeypatch, batch, overlaps):
    monkeypatch.setattr(operator, "capability_of", lambda _: (9, 0))
    monkeypatch.setattr(operator, "can_overlap", lambda _: True)
    monkeypatch.setattr(operator, "multiprocessors_of", lambda _: H100_MULTIPROCESSORS)
    launches = launches_of_24_heads(batch, 64)
    walks = launches.walk_back._grid[0]
    assert (walks > H100_MULTIPROCESSORS * 16 // 4) == overlaps
    assert launches.walk_back._options["launch_pdl"] == overlaps
    assert launches.write._options["launch_pdl"]


@pytest.mark.parametrize(("capability", "stages"), [((9, 0), 3), ((10, 0), 1), ((12, 0), 3)])
def test_one_chunk_is_in_flight_where_triton_compiles_no_more(monkeypatch, capability, stages):
    """Its compiler is run by test_scan_triton_compile.py."""
    monkeypatch.setattr(operator, "capability_of", lambda _: capability)
    launches = launches_of_24_heads(8, 128)
    assert launches.save_states._constants["STAGES"] == stages
    assert launches.walk_back._constants["STAGES"] == 3


def test_operator_is_registered_for_torch_compile():
    arguments = inputs(40)
    given = [arguments[name] for name in ("x", "dt", "A", "B", "C", "D", "z", "dt_bias")]
    given = [t.requires_grad_() for t in given]
    torch.library.opcheck(
        torch.ops.minimamba.ssd.default, (*given, True, arguments["initial_state"], None, True),
        test_utils=("test_schema", "test_autograd_registration", "test_faketensor"))
    compiled = torch.compile(run, backend="aot_eager", fullgraph=True)
    wanted = differentiate(arguments)
    for name, one in differentiate(arguments, run=compiled).items():
        torch.testing.assert_close(one, wanted[name])


def test_auto_takes_the_kernels_on_a_gpu():
    arguments = inputs(40)
    chosen = "triton" if DEVICE == "cuda" else "chunked"
    wanted = differentiate(arguments, method=chosen)
    for name, one in differentiate(arguments, method="auto").items():
        assert torch.equal(one, wanted[name])


@pytest.mark.skipif(DEVICE == "cpu", reason="the interpreter runs one program after another")
def test_gradients_are_the_same_each_time():
    arguments = inputs(200, batch=2)
    first = differentiate(arguments)
    for name, one in differentiate(arguments).items():
        assert torch.equal(one, first[name])


def test_gradient_of_one_output_alone():
    given = inputs(33, n_heads=1, options=())
    arguments = {name: t.requires_grad_() for name, t in given.items()}
    leaves = [arguments[name] for name in ("x", "dt", "A", "B")]
    for i in range(2):
        given, wanted = (torch.autograd.grad(run(arguments, method=method)[i].sum(), leaves)
                         for method in ("triton", "chunked"))
        for one, other in zip(given, wanted, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    alone = ssd(**arguments, dt_softplus=True, method="triton")
    given = torch.autograd.grad(alone.sum(), leaves)
    wanted = torch.autograd.grad(run(arguments)[0].sum(), leaves)
    for one, other in zip(given, wanted, strict=True):
        assert torch.equal(one, other)


def test_second_derivative_is_refused():
    arguments = inputs(9, options=())
    x = arguments["x"].requires_grad_()
    gradient, = torch.autograd.grad(run(arguments)[0].square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match=f"^{re.escape(AGAIN)}"):
        gradient.sum().backward()


@pytest.mark.parametrize(("change", "reason"), [
    (lambda t: {name: part.double() for name, part in t.items()}, "float64, .+"),
    (lambda t: t | dict.fromkeys("BC", torch.ones(1, 9, 1, 257, device=DEVICE)) | {
        "initial_state": None}, "d_state = 257; the kernels take up to 256")])
def test_input_that_the_kernels_cannot_take_is_refused(change, reason):
    with pytest.raises(ValueError, match="^method: expected one that can run with these inputs, "
                                         f"such as 'chunked', got 'triton': {reason}$"):
        run(change(inputs(9)))


def test_longest_input_is_told():
    x = torch.empty(1, device=DEVICE).expand(1, 2**30 + 1, 1, 1)
    assert why_not("triton", x=x) == "length = 1073741825; the kernels take up to 1073741824"
    x = torch.empty(1, device=DEVICE).expand(2**16, 1, 2**15, 1)
    assert why_not("triton", x=x, d_state=3).startswith("batch · n_heads · head_dim = 2147483648;")


def test_negative_step_is_refused_where_values_can_be_read():
    if DEVICE == "cpu":
        with pytest.raises(ValueError, match=r"^dt: expected steps of at least 0"):
            run(inputs(9), dt_softplus=False)


@pytest.mark.parametrize("shape", [
    SSDShape(8, 2048, 24, 64, 1, 128), SSDShape(1, 65536, 24, 64, 1, 128),
    SSDShape(1, 100_003, 3, 80, 1, 256), SSDShape(1, 1, 1, 16, 1, 16),
    SSDShape(4, 100, 1000, 128, 8, 16)])
def test_plan_covers_the_length_once_and_splits_it_only_to_fill_the_gpu(shape):
    plan = choose_plan(shape, 2, H100_MULTIPROCESSORS)
    assert plan.chunks * plan.tiles.chunk >= shape.length
    assert (plan.splits - 1) * plan.split_chunks < plan.chunks <= plan.splits * plan.split_chunks
    that_fit = H100_MULTIPROCESSORS * 8 // plan.tiles.warps
    programs = shape.batch * shape.n_heads * plan.blocks
    assert plan.splits == 1 or programs * plan.splits <= that_fit
    if shape.length > 50_000:
        assert programs * plan.splits > 0.9 * that_fit
    assert choose_plan(shape, 2, None).splits == 1


@pytest.mark.parametrize(("shape", "columns"), [
    (SSDShape(8, 2048, 24, 64, 1, 128), 64), (SSDShape(8, 2048, 80, 64, 1, 128), 128),
    (SSDShape(1, 65536, 24, 64, 1, 128), 128), (SSDShape(8, 2048, 24, 64, 1, 64), 32),
    (SSDShape(8, 2048, 12, 128, 1, 128), 64), (SSDShape(8, 2048, 24, 64, 1, 256), 64)])
def test_walks_are_as_wide_as_was_fastest(shape, columns):
    plan = choose_backward_plan(shape, 2, H100_MULTIPROCESSORS)
    assert plan.tiles.columns == columns
    assert plan.state_tiles == shape.head_dim // 64 * shape.d_state // columns
    assert (plan.splits == 1) == (shape.batch > 1)


@pytest.mark.parametrize("shape", [
    SSDShape(8, 2048, 24, 64, 1, 128), SSDShape(1, 65536, 24, 64, 1, 128),
    SSDShape(1, 100_003, 3, 80, 1, 256), SSDShape(1, 1, 1, 16, 1, 16),
    SSDShape(4, 100, 1000, 128, 8, 16)])
def test_backward_plan_splits_length_and_heads_only_to_fill_the_gpu(shape):
    plan = choose_backward_plan(shape, 2, H100_MULTIPROCESSORS)
    assert plan.chunks * plan.tiles.chunk >= shape.length
    assert (plan.splits - 1) * plan.split_chunks < plan.chunks <= plan.splits * plan.split_chunks
    programs = shape.batch * plan.chunks * shape.n_groups
    assert 1 <= plan.parts <= shape.n_heads // shape.n_groups * plan.blocks
    assert plan.parts == 1 or programs < 2 * H100_MULTIPROCESSORS
    whole = choose_backward_plan(shape, 2, None)
    assert whole.splits == whole.parts == 1


@pytest.mark.parametrize(("shape", "itemsize"), [
    (SSDShape(1, 65536, 24, 64, 1, 128), 2), (SSDShape(1, 65536, 24, 64, 1, 64), 2),
    (SSDShape(1, 2048, 80, 64, 1, 128), 2), (SSDShape(1, 4096, 24, 64, 1, 128), 4),
    (SSDShape(1, 65536, 24, 64, 1, 256), 2), (SSDShape(1, 65536, 24, 64, 1, 128), 4)])
def test_both_passes_have_the_same_splits(shape, itemsize):
    """Or the backward pass would compute the states that enter them again."""
    plan = choose_plan(shape, itemsize, H100_MULTIPROCESSORS)
    assert plan.splits > 1
    assert choose_backward_plan(shape, itemsize, H100_MULTIPROCESSORS).split_steps == (
        plan.split_steps)
