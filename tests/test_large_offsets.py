"""Sizes whose offsets have more than 32 bits, in Triton's interpreter.

Of a launch beyond the limits only the last program runs, on arrays that are reserved but never
filled: what a program doesn't touch needs no memory. `test_large_sizes.py` has whole calls.
"""

import mmap
from math import prod

import pytest
import torch
from systems import randn

from minimamba import selective_scan, ssd
from minimamba.ops import causal_conv1d, decode, gated_norm, pre_norm
from minimamba.scan import why_not
from minimamba.scan.triton import backward as backward_kernels
from minimamba.scan.triton import operator
from minimamba.scan.triton import plan as plan_module
from minimamba.scan.triton.plan import ScanShape, make_plan
from minimamba.ssd.triton import operator as ssd_operator
from minimamba.ssd.triton import plan as ssd_plan

pytestmark = [
    pytest.mark.skipif(bool(why_not("triton")), reason=str(why_not("triton"))),
    pytest.mark.skipif(torch.cuda.is_available(), reason="on a GPU, the whole is computed"),
    pytest.mark.skipif(not hasattr(mmap, "MAP_ANONYMOUS"), reason="no anonymous memory")]
MAP_NORESERVE = 0x4000
"""Linux: memory may be reserved that does not exist."""
BEFORE = 2**31
"""Elements before each array, so that an offset cut to 32 bits ends in none of the others."""
GRID = (2**31, 2**16, 2**16)
CPU = torch.device("cpu")


def reserve(*shape, dtype=torch.float32):
    """Zeros."""
    size = (BEFORE + prod(shape)) * dtype.itemsize
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_NORESERVE
    memory = mmap.mmap(-1, size, flags=flags)
    return torch.frombuffer(memory, dtype=dtype)[BEFORE:].view(shape)


def array(memory, launcher, name, *shape):
    """One of the arrays in the memory that a launcher takes last."""
    return memory[launcher._places[name]:][:prod(shape)].view(shape)


def random(*shape, seed):
    return randn(*shape, seed=seed).float()


@pytest.fixture(autouse=True)
def last_programs(monkeypatch):
    """Run only the last program of each launch, and check that CUDA could run all."""
    interpreter = pytest.importorskip("triton.runtime.interpreter")
    builder = interpreter.interpreter_builder
    run = interpreter.GridExecutor.__call__

    def run_last(executor, *arguments, **options):
        grid = (*executor.grid, 1, 1)[:3]
        assert all(0 < side < limit for side, limit in zip(grid, GRID, strict=True)), grid
        last = tuple(side - 1 for side in grid)
        monkeypatch.setattr(builder, "set_grid_dim", lambda *_: setattr(builder, "grid_dim", grid))
        monkeypatch.setattr(builder, "set_grid_idx", lambda *_: setattr(builder, "grid_idx", last))
        one = interpreter.GridExecutor(executor.fn, executor.arg_names, (1, 1, 1))
        run(one, *arguments, **options)

    monkeypatch.setattr(interpreter.GridExecutor, "__call__", run_last)
    for remembered in (operator._forward_launches, operator._backward_launches,
                       causal_conv1d._launcher, gated_norm._launcher, pre_norm._launcher,
                       ssd_operator._forward_launches):
        remembered.cache_clear()


def test_convolution_and_its_gradients():
    batch, d_inner, width, tail, channels = 2, 1040, 4, 5, 16
    length = 2**24 + tail                                    # those of the last program
    x, y, dy, dx = (reserve(batch, length, d_inner, dtype=torch.bfloat16) for _ in range(4))
    step_blocks = causal_conv1d._blocks(d_inner, length)[1]
    sums = reserve(batch, step_blocks, width + 1, d_inner)
    assert sums.numel() > 2**31
    x[-1, -tail - width + 1:, -channels:] = random(tail + width - 1, channels, seed=1)
    dy[-1, -tail:, -channels:] = random(tail, channels, seed=2)
    weight, bias = random(d_inner, width, seed=3), random(d_inner, seed=4)
    for name, tensors in (("forward", (y,)),
                          ("backward", (dy, dx, reserve(batch, width - 1, d_inner), sums))):
        causal_conv1d._launcher(name, x.shape, width, (d_inner,) * 3, CPU, ("bfloat16", name))(
            x, weight, bias, None, *tensors)

    state, inputs = x[-1:, -tail - width + 1:, -channels:].float().split([width - 1, tail], 1)
    leaves = [part.clone().requires_grad_() for part in (
        inputs, weight[-channels:], bias[-channels:])]
    expected = causal_conv1d.causal_conv1d_silu(*leaves, state)
    d_inputs, d_weight, d_bias = torch.autograd.grad(
        expected, leaves, dy[-1:, -tail:, -channels:].float())
    half = {"rtol": 2**-7, "atol": 1e-5}
    torch.testing.assert_close(y[-1:, -tail:, -channels:].float(), expected, **half)
    torch.testing.assert_close(dx[-1:, -tail:, -channels:].float(), d_inputs, **half)
    torch.testing.assert_close(sums[-1, -1, :width, -channels:].T, d_weight)
    torch.testing.assert_close(sums[-1, -1, width, -channels:], d_bias)


def test_gated_norm_and_its_gradients():
    rows, d, tail = 2**27 + 5, 24, 5                         # those of the last program
    x, z, y, dy, dx, dz = (reserve(rows, d, dtype=torch.float16) for _ in range(6))
    sums = reserve(gated_norm._blocks(x.shape), d)
    assert x.numel() > 2**31
    last = [t[-tail:, 12:] for t in (x, z, dy)]              # the second of two groups
    for seed, t in enumerate(last):
        t[:] = random(*t.shape, seed=seed)
    weight = random(d, seed=3)
    for name, tensors in (("forward", (y,)), ("backward", (dy, dx, dz, sums, None))):
        gated_norm._launcher(name, x.shape, (d,) * 4, 2, False, 1e-5, CPU, (name,))(
            x, z, weight, *tensors)

    leaves = [t.float().clone().requires_grad_() for t in (*last[:2], weight[12:])]
    expected = gated_norm.gated_rms_norm(*leaves, 1, False, 1e-5)
    gradients = torch.autograd.grad(expected, leaves, last[2].float())
    torch.testing.assert_close(y[-1, 12:].float(), expected[-1], rtol=2**-8, atol=1e-4)
    for given, wanted in zip((dx[-tail:, 12:], dz[-tail:, 12:], sums[-1, 12:]), gradients,
                             strict=True):
        torch.testing.assert_close(given.float(), wanted, rtol=2**-8, atol=1e-3)


def test_norm_before_a_mixer_and_its_gradients():
    rows, d, tail = 2**27 + 5, 24, 5                         # those of the last program
    x, normed, d_normed, d_residual, dx = (reserve(rows, d, dtype=torch.float16) for _ in range(5))
    sums = reserve(pre_norm._blocks(x.shape), d)
    assert x.numel() > 2**31
    last = [t[-tail:] for t in (x, d_normed, d_residual)]
    for seed, t in enumerate(last):
        t[:] = random(*t.shape, seed=seed)
    weight = random(d, seed=3)
    for name, tensors in (("forward", (normed,)), ("backward", (d_normed, d_residual, dx, sums))):
        pre_norm._launcher(name, x.shape, 1e-5, CPU, (name,))(x, weight, *tensors)

    leaves = [t.float().clone().requires_grad_() for t in (last[0], weight)]
    expected = torch.nn.functional.rms_norm(leaves[0], (d,), leaves[1], 1e-5)
    gradients = torch.autograd.grad((expected, leaves[0].clone()), leaves,
                                    tuple(t.float() for t in last[1:]))
    torch.testing.assert_close(normed[-1].float(), expected[-1], rtol=2**-8, atol=1e-4)
    for given, wanted in zip((dx[-tail:], sums[-1]), gradients, strict=True):
        torch.testing.assert_close(given.float(), wanted, rtol=2**-8, atol=1e-3)


def test_state_space_duality(monkeypatch):
    batch, n_heads, head_dim, d_state, tail = 2, 80, 16, 16, 11
    length = 2**24 + tail
    monkeypatch.setattr(ssd_operator, "choose_plan", lambda shape, itemsize, _: ssd_plan.make_plan(
        shape, ssd_plan.choose_tiles(head_dim, d_state, itemsize), 2**18))
    x, y = (reserve(batch, length, n_heads, head_dim, dtype=torch.float16) for _ in range(2))
    dt = reserve(batch, length, n_heads, dtype=torch.float16)
    B, C = (reserve(batch, length, 1, d_state, dtype=torch.float16) for _ in range(2))
    decays = reserve(batch, n_heads, 2**18 + 1, 2, 64)
    assert min(x.numel(), decays.numel()) > 2**31
    last = [t[-1:, -tail:, -1:] for t in (x, dt, B, C)]
    for seed, t in enumerate(last):
        t[:] = random(*t.shape, seed=seed).abs()
    A = -random(n_heads, seed=5).abs()
    entering = random(batch, n_heads, 2, head_dim, d_state, seed=6)
    final_state = torch.empty(batch, n_heads, head_dim, d_state)
    launches = ssd_operator._forward_launches(
        ssd_plan.SSDShape(*x.shape, 1, d_state),
        tuple(None if t is None else t.stride() for t in (x, dt, B, C, None, y, *[None] * 3)), None,
        False, True, False, CPU, (torch.float16,))
    launches.sum_decays(dt, A, None, None, decays)
    launches.walk(x, B, C, None, None, decays, entering, y, final_state, None, None, None)

    last_x, last_dt, last_B, last_C = (t.float() for t in last)
    expected, expected_state = ssd(last_x, last_dt, A[-1:], last_B, last_C, method="reference",
                                   initial_state=entering[-1:, -1:, 1], return_final_state=True)
    half = {"rtol": 2**-8, "atol": 2**-8}
    torch.testing.assert_close(y[-1:, -tail:, -1:].float(), expected, **half)
    torch.testing.assert_close(final_state[-1:, -1:], expected_state, **half)


def test_gradients_of_state_space_duality():
    """The last programs over chunks and heads have the last chunk. That of the walk back has the
    first, since it goes from the end to the beginning; there nothing decays."""
    batch, n_heads, head_dim, d_state, tail = 2, 80, 16, 16, 11
    shape = ssd_plan.SSDShape(batch, 2**24 + tail, n_heads, head_dim, 1, d_state)
    plan = ssd_plan.make_backward_plan(
        shape, ssd_plan.choose_backward_tiles(head_dim, d_state, 2), 2**18, 1)
    chunk, chunks = plan.tiles.chunk, plan.chunks
    x, dy, dx = (reserve(*shape[:4], dtype=torch.float16) for _ in range(3))
    dt, d_dt = (reserve(*shape[:3], dtype=torch.float16) for _ in range(2))
    B, C, dB, dC = (reserve(*shape[:2], 1, d_state, dtype=torch.float16) for _ in range(4))
    decays = reserve(batch, n_heads, chunks, 3, chunk)
    reads, writes = (reserve(batch, n_heads, chunks, kinds, chunk) for kinds in (2, 3))
    states = reserve(batch, n_heads, chunks, head_dim, d_state, dtype=torch.float16)
    rows_of_states = states.flatten(2, 3)
    dCB = reserve(batch * chunks, chunk, chunk, dtype=torch.float16)
    overlaps, sums = reserve(batch, n_heads, chunks, 1), reserve(batch, chunks, 2, n_heads)
    assert min(x.numel(), decays.numel(), states.numel(), dCB.numel()) > 2**31
    last = [t[-1:, -tail:, -1:] for t in (x, dt, B, C, dy)]
    for seed, t in enumerate((*last, dy[-1:, :chunk, -1:], C[-1:, :chunk], states[-1, -1, 0])):
        t[:] = random(*t.shape, seed=seed)
    last[1].abs_()
    A = -random(n_heads, seed=8).abs()
    entering, leaving = random(2, batch, n_heads, 2, head_dim, d_state, seed=9).half().float()
    leaves = [t.float().clone().requires_grad_() for t in (*last[:2], A[-1:], *last[2:4])]
    y, final_state = ssd(*leaves, method="reference", return_final_state=True,
                         initial_state=entering[-1:, -1:, 1])
    expected = torch.autograd.grad((y, final_state), leaves,
                                   (last[4].float(), leaving[-1:, -1:, 0]))

    launches = ssd_operator._backward_launches(
        shape, plan, tuple(None if t is None else t.stride() for t in (
            x, dt, B, C, None, dy, dx, dB, dC, d_dt, rows_of_states)), None, 0, False, (), CPU)
    launches.sum_decays(dt, A, None, None, decays)
    launches.save_states(x, B, decays, entering, None, rows_of_states, None, None, None)
    launches.read(x, B, C, dy, decays, rows_of_states, None, reads, dCB, dC)
    initial_state = entering[:, :, 0].contiguous()
    d_initial_state = torch.empty_like(initial_state)
    launches.walk_back(dy, C, decays, leaving, initial_state, rows_of_states, None, overlaps,
                       d_initial_state)
    overlaps[-1, -1, -1] = decays[-1, -1, -1, 0, -1].exp2() * (
        leaving[-1, -1, 0] * entering[-1, -1, 1]).sum()
    states[-1, -1, -1] = leaving[-1, -1, 0]  # as a program does that isn't the last
    launches.write(x, B, C, dy, None, decays, rows_of_states, None, dCB, writes, dx, dB, None)
    launches.step(dt, A, None, decays, reads, writes, overlaps, d_dt, sums)

    found = [*(t[-1:, -tail:, -1:] for t in (dx, d_dt)), sums[-1, -1, 0, -1:],
             *(t[-1:, -tail:] for t in (dB, dC))]
    after_first = leaving[-1, -1, 1]
    added = dy[-1, :chunk, -1].float().mT @ C[-1, :chunk, 0].float()
    for given, wanted in [*zip(found, expected, strict=True),
                          (states[-1, -1, 0], after_first),
                          (overlaps[-1, -1, 0, 0], (initial_state[-1, -1] * after_first).sum()),
                          (d_initial_state[-1, -1], after_first + added)]:
        error = (given.float() - wanted).norm() / wanted.norm()
        assert error <= 2**-9, (tuple(given.shape), error)


@pytest.fixture
def two_splits(monkeypatch):
    """The last one of a single chunk, and a chunk of 16 steps."""
    def plan(shape, costs, schedulers):
        fewest_channels, _ = costs.kernel[0]
        return make_plan(shape, costs, fewest_channels, shape.chunks - 1, 1)

    monkeypatch.setattr(operator, "choose_plan", plan)
    monkeypatch.setattr(plan_module, "CHUNK", 16)
    monkeypatch.setattr(operator, "CHUNK", 16)


@pytest.mark.parametrize("time_last", [False, True], ids=["channels last", "time last"])
def test_scan_and_its_gradients(two_splits, monkeypatch, time_last):
    batch, d_inner, N, tail, channels = 2, 1040, 16, 12, 8
    length = 2**26 + tail

    def long(width):
        axes = (width, length) if time_last else (length, width)
        return reserve(batch, *axes, dtype=torch.bfloat16)

    def last(t):
        return (t.mT if time_last else t)[-1:, -tail:, -channels:]

    x, delta, z, dy, y, y_again, dx, d_delta, dz = (long(d_inner) for _ in range(9))
    for seed, t in enumerate((x, delta, z, dy)):
        last(t)[:] = random(1, tail, channels, seed=seed)
    last(delta)[:] = last(delta).abs()
    A, D = -random(d_inner, N, seed=5).abs(), random(d_inner, seed=6)
    dC = long(N)
    layout = operator._layout(x, A, dC, dC, time_last)       # dC has the layout of B and C
    chunks = operator._sizes_of(*layout).kernel.chunks
    BC = reserve(batch, chunks * 16, 1, 2, N)
    BC[-1, -16:-16 + tail] = random(tail, 1, 2, N, seed=7)
    B, C = BC.unbind(3)
    forward = operator._forward_launches(layout, False, CPU, True, ("bfloat16",))
    pieces = reserve(forward.pieces)
    piece_states = array(pieces, forward.scan, "piece_states", batch, 1, d_inner, N)
    piece_states[-1, 0, -channels:] = random(channels, N, seed=8)
    last_state, chunk_states = reserve(batch, d_inner, N), reserve(batch, chunks, d_inner, N)
    forward.scan(x, delta, A, BC, BC, D, z, None, None, last_state, chunk_states, y, pieces)
    backward = operator._backward_launches(layout, False, CPU, False, False, ("bfloat16",))
    scratch = reserve(backward.scratch)
    dBC = array(scratch, backward.scan, "dBC_parts", batch, 1, chunks * 16, 2, N)
    dA = array(scratch, backward.scan, "dA_parts", batch, 2, d_inner, N)
    dD = array(scratch, backward.scan, "dD_parts", batch, chunks, d_inner)
    d_pieces = array(scratch, backward.scan, "piece_states", batch, 1, d_inner, N)
    assert dBC[0].numel() > 2**31
    # Zeros are written by all programs in turn.
    at_once, programs = 2**18, prod(backward.carry._grid)
    monkeypatch.setattr(backward_kernels.ZEROS, "value", at_once)
    by_the_last = (dBC.numel() // at_once // programs * programs - 1) * at_once
    dBC.view(-1)[by_the_last] = 1
    backward.carry(dy, delta, A, BC, z, None, scratch)
    assert by_the_last > 2**31
    assert dBC.view(-1)[by_the_last] == 0
    backward.scan(x, delta, A, BC, BC, D, z, None, chunk_states, dy, None, dx, d_delta, dz, None,
                  y_again, scratch)
    backward.finish(reserve(d_inner, N), reserve(d_inner), reserve(d_inner), torch.empty_like(dC),
                    dC, scratch)

    leaves = [t.float().clone().requires_grad_() for t in (
        last(x), last(delta), A[-channels:], B[-1:, -16:-16 + tail], C[-1:, -16:-16 + tail],
        D[-channels:], last(z), piece_states[-1, :, -channels:])]
    *inputs, initial_state = leaves
    expected, h = selective_scan(*inputs, initial_state=initial_state, return_last_state=True,
                                 method="reference")
    gradients = torch.autograd.grad(expected, leaves, last(dy).float())
    # The last program of `finish` writes dC; dB is found in its parts, (tiles, 2, TILE, N). And
    # `carry_back` gives the gradient of the state that enters the split.
    dB_part = dBC[-1, 0, -16:].view(4, 2, 4, N)[:, 0].reshape(1, 16, 1, N)[:, :tail]
    dC = dC.mT if time_last else dC
    found = [last(dx), last(d_delta), dA[-1, -1, -channels:], dB_part, dC[-1:, -tail:, None],
             dD[-1, -1, -channels:], last(dz), d_pieces[-1, :, -channels:]]
    for given, wanted in [(last(y), expected), (last(y_again), expected),
                          (last_state[-1:, -channels:], h), *zip(found, gradients, strict=True)]:
        torch.testing.assert_close(given.float(), wanted, rtol=2**-6, atol=1e-4)


@pytest.mark.parametrize("axes", [(0, 2, 1, 3), (0, 3, 1, 2)], ids=["groups", "states"])
def test_packing_of_many_groups_or_states_that_lie_apart(two_splits, axes):
    shape = (2, 2**28 + 16, 64, 16)
    batch, length, groups, N = shape
    B = reserve(*(shape[axes.index(i)] for i in range(4)), dtype=torch.bfloat16).permute(axes)
    C = reserve(*shape, dtype=torch.bfloat16)
    B[-1, -2:] = random(2, groups, N, seed=1)
    C[-1, -2:] = random(2, groups, N, seed=2)
    x = reserve(batch, length, groups, dtype=torch.bfloat16)
    layout = operator._layout(x, torch.empty(groups, N), B, C, False)
    BC = reserve(batch, length, groups, 2, N)
    operator._forward_launches(layout, False, CPU, False, ("bfloat16",)).pack(B, C, BC)
    assert torch.equal(BC[-1, -2:], torch.stack([B[-1, -2:], C[-1, -2:]], 2).float())


@pytest.mark.parametrize("shape", [(70_000, 2048), (2, decode.MAX_CHANNELS)],
                         ids=["batch", "channels"])
def test_decoding_step(shape):
    batch, d_inner = shape
    channels, d_state, width = 8, 16, 4                      # of the last program
    x, dt, z = (reserve(*shape) for _ in range(3))
    for seed, t in enumerate((x, dt, z)):
        t[-1, -channels:] = random(channels, seed=seed)
    conv_state, ssm_state = reserve(batch, width - 1, d_inner), reserve(*shape, d_state)
    conv_state[-1, :, -channels:] = random(width - 1, channels, seed=3)
    ssm_state[-1, -channels:] = random(channels, d_state, seed=4)
    window = torch.cat([conv_state[-1, :, -channels:], x[-1:, -channels:]])
    h, B, C = ssm_state[-1, -channels:].clone(), *random(2, batch, d_state, seed=5)
    weight, A_log = reserve(d_inner, width), reserve(d_inner, d_state)
    weight[-channels:] = random(channels, width, seed=6)
    A_log[-channels:] = random(channels, d_state, seed=7)
    D, bias = random(d_inner, seed=8), random(d_inner, seed=9)

    y, _, _ = decode.conv_step(x, weight, None, conv_state, in_place=True)
    expected = torch.nn.functional.silu((window.T * weight[-channels:]).sum(1))
    torch.testing.assert_close(y[-1, -channels:], expected)
    assert torch.equal(conv_state[-1, :, -channels:], window[1:])
    y, _ = decode.scan_step(x, dt, A_log, B, C, D, z, bias, ssm_state, in_place=True)
    delta = torch.nn.functional.softplus(dt + bias)[-1, -channels:, None]
    h = torch.exp(-delta * A_log[-channels:].exp()) * h + delta * window[-1][:, None] * B[-1]
    torch.testing.assert_close(ssm_state[-1, -channels:], h)
    expected = (h @ C[-1] + D[-channels:] * window[-1]) * torch.nn.functional.silu(
        z[-1, -channels:])
    torch.testing.assert_close(y[-1, -channels:], expected)

    n_heads = d_inner // channels
    heads = batch, n_heads, channels
    A_log, D, bias = random(3, n_heads, seed=10)
    y, _ = decode.ssd_step(
        x.view(heads), dt[:, -n_heads:], A_log, B[:, None], C[:, None], D, z.view(heads), bias,
        ssm_state.view(*heads, d_state), dt_limit=(0, 10), in_place=True)
    delta = torch.nn.functional.softplus(dt[-1, -1] + bias[-1])
    h = torch.exp(-delta * A_log[-1].exp()) * h + delta * window[-1][:, None] * B[-1]
    torch.testing.assert_close(ssm_state[-1, -channels:], h)
    expected = (h @ C[-1] + D[-1] * window[-1]) * torch.nn.functional.silu(z[-1, -channels:])
    torch.testing.assert_close(y[-1, -1], expected)


@pytest.mark.parametrize(("groups", "strides"), [
    (1, (0, 2**30, 0, 1)), (3, (0, 4, 2**30, 1))], ids=["steps", "groups"])
def test_parameters_that_are_read_as_they_lie_may_lie_far_apart(groups, strides):
    far = reserve(10 * 2**30).as_strided((1, 9, groups, 4), strides)
    far[:] = random(1, 9, groups, 4, seed=1)
    x = random(1, 9, groups, seed=2)
    given = [x, x.abs(), -torch.rand(groups, 4), far, far]
    found, expected = (selective_scan(*given, method=method)[..., -1]
                       for method in ("triton", "reference"))
    torch.testing.assert_close(found, expected)


def test_sizes_that_the_kernels_would_count_wrong_are_left_to_others():
    x = torch.zeros(1).expand(1, 2**30 + 1, 1)
    assert why_not("triton", x=x) == "length = 1073741825; the kernels take up to 1073741824"
    assert why_not("triton", x=x.mT) == "d_inner = 1073741825; the kernels take up to 2097152"
    assert why_not("triton", x=x[:, :-1]) is None


@pytest.mark.parametrize("d_state", [1, 4, 16, 32, 64, 256])
def test_offsets_within_the_scratch_of_a_program_have_32_bits(d_state):
    shape = ScanShape(1, operator.MAX_LENGTH, operator.MAX_D_INNER, d_state, 1)
    assert max(filter(None, operator._sizes_of_scratch(shape, 1).values())) <= 2**31


@pytest.mark.parametrize(("batch", "length", "d_inner", "d_state", "groups"), [
    (1, 2**30, 1, 16, 1), (1, 2**26, 2**10, 16, 2**10), (2**3, 2**22, 2**11, 32, 1),
    (65535, 2**16, 16, 1, 16), (65535, 2**10, 2**10, 16, 64), (65535, 4, 2**18, 16, 1)])
def test_all_launches_fit_a_grid(batch, length, d_inner, d_state, groups):
    """For an x of up to 2³⁶ elements, as many as the largest GPU has memory for."""
    x = torch.empty(1).expand(batch, length, d_inner)
    B = torch.empty(1).expand(batch, length, groups, d_state)
    layout = operator._layout(x, torch.empty(d_inner, d_state), B, B, False)
    forward = operator._forward_launches(layout, False, CPU, True, ())
    backward = operator._backward_launches(layout, False, CPU, False, False, ())
    convolutions = [causal_conv1d._launcher(name, torch.Size((batch, length, d_inner)), 4,
                                            (d_inner,) * 3, CPU, ())
                    for name in ("forward", "backward")]
    for launch in (forward.pack, forward.scan, backward.scan, backward.finish, *convolutions):
        assert all(0 < side < limit for side, limit in zip(launch._grid, GRID, strict=True))
