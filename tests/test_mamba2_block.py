"""The Mamba-2 block as one operation, by the kernels, against its single steps."""

import pytest
import torch
from systems import F64, randn

from minimamba.nn import Mamba2
from minimamba.ops import causal_conv1d, gated_norm
from minimamba.ops import mamba2_block as fused
from minimamba.scan import why_not
from minimamba.ssd.triton import operator, plan

pytestmark = pytest.mark.skipif(bool(why_not("triton")), reason=str(why_not("triton")))
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
TOLERANCE, HALF_TOLERANCE = (5e-6, 1e-3) if DEVICE == "cpu" else (1e-4, 3e-3)
"""Errors of float32 and float16, relative to the norm of the result. Tensor cores add their own."""
D_MODEL = 6
ALIGNED = {"headdim": 4, "d_state": 4, "d_conv": 3}
"""Sizes with which the parts of each tensor begin at multiples of 16 bytes."""
OTHERS = {"headdim": 3, "d_state": 5, "ngroups": 2, "norm_before_gate": True, "D_has_hdim": True,
          "conv_bias": False}


@pytest.fixture
def is_fused(monkeypatch):
    """Take the kernels in the interpreter too, and note for each call of a block whether they ran.
    """
    calls = []
    can_use = fused.can_use_mamba2_block
    monkeypatch.setattr(causal_conv1d, "can_use_kernels", lambda x: x.dtype != F64)

    def noted(*arguments):
        calls.append(can_use(*arguments))
        return calls[-1]

    monkeypatch.setattr("minimamba.nn.mamba2.can_use_mamba2_block", noted)
    return calls


def block(dtype=torch.float32, **options):
    torch.manual_seed(0)
    made = Mamba2(D_MODEL, **ALIGNED | options)
    with torch.no_grad():
        for weight in (made.D, made.conv1d.weight, made.norm.weight):
            weight.copy_(0.5 * torch.randn_like(weight))
    return made.to(DEVICE, dtype)


def inputs(length=40, dtype=torch.float32):
    return randn(2, length, D_MODEL).to(DEVICE, dtype)


def output_and_gradients(made, u, context=torch.enable_grad):
    u = u.clone().requires_grad_()
    with context():
        y = made(u)
    gradients = torch.autograd.grad(y, [u, *made.parameters()], randn(*y.shape, seed=1).to(y))
    return [y.detach(), *gradients]


@pytest.mark.parametrize("options", [{}, OTHERS], ids=["aligned", "others"])
def test_output_and_all_gradients_are_those_of_the_single_steps(is_fused, options):
    made = block(**options)
    given = output_and_gradients(made, inputs())
    expected = output_and_gradients(block(F64, **options), inputs(dtype=F64))
    assert is_fused == [True, False]
    for one, other in zip(given, expected, strict=True):
        assert one.shape == other.shape
        assert (one - other).norm() <= TOLERANCE * other.norm()


def test_a_long_scan_in_splits_gives_the_same(is_fused, monkeypatch):
    """Of 64 steps each in both passes, so that the states that enter them are kept."""
    monkeypatch.setattr(operator, "choose_plan", lambda shape, *_: plan.make_plan(
        shape, plan.choose_tiles(shape.head_dim, shape.d_state, 4), 2))
    monkeypatch.setattr(operator, "choose_backward_plan", lambda shape, *_: (
        plan.make_backward_plan(
            shape, plan.choose_backward_tiles(shape.head_dim, shape.d_state, 4), 1, 1)))
    made, kept = block(), []
    made.A_log.data -= 3                                    # so that states reach other splits
    forward = operator.forward_and_kept
    monkeypatch.setattr(operator, "forward_and_kept", lambda *inputs: (
        kept.append(forward(*inputs)) or kept[-1]))
    given = output_and_gradients(made, inputs(150))
    monkeypatch.undo()
    expected = output_and_gradients(made.to(F64), inputs(150, F64))
    assert is_fused[0]
    assert [entering.shape[2] for *_, entering, _ in kept] == [3]
    for one, other in zip(given, expected, strict=True):
        assert (one - other).norm() <= TOLERANCE * other.norm()


def test_states_wait_in_gradients_that_are_a_slice(is_fused, monkeypatch):
    """That of x is a slice of the one of x, B and C together."""
    across = []

    def tiny(shape, *_):
        states = plan.choose_backward_tiles(shape.head_dim, shape.d_state, 2).states
        tiles = plan.BackwardTiles(16, 16, states, states, states, False, 4, 2, 2, 4, 2, 2)
        chosen = plan.make_backward_plan(shape, tiles, 4, 1)
        across.append(chosen.across)
        return chosen

    monkeypatch.setattr(operator, "choose_backward_plan", tiny)
    torch.manual_seed(0)
    made = Mamba2(8, d_state=32, headdim=16, expand=8).to(DEVICE, torch.float16)  # four heads
    u = randn(2, 64, 8)
    given = output_and_gradients(made, u.to(DEVICE, torch.float16))
    expected = output_and_gradients(made.to(F64), u.to(DEVICE, F64))
    assert is_fused == [True, False]
    assert across == [2]
    for one, other in zip(given, expected, strict=True):
        assert (one - other).norm() <= 4 * HALF_TOLERANCE * other.norm()


def test_under_autocast_results_are_those_of_the_single_steps_to_rounding(is_fused):
    def autocast():
        return torch.autocast(DEVICE, torch.float16)

    made = block()
    given = output_and_gradients(made, inputs(), autocast)
    made.scan_method = "reference"
    single = output_and_gradients(made, inputs(), autocast)
    expected = output_and_gradients(block(F64), inputs(dtype=F64))
    assert is_fused == [True, False]
    for one, other, exact in zip(given, single, expected, strict=True):
        assert one.dtype == other.dtype
        error = (one - exact).norm()
        assert error <= 1.5 * (other - exact).norm() + HALF_TOLERANCE * exact.norm()


def test_only_the_input_and_y_are_kept_for_the_backward_pass(is_fused):
    made, u = block(), inputs()
    kept = {}

    def keep(tensor):
        kept[tensor.data_ptr()] = tensor.numel()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        made(u)
    weights = sum(weight.numel() for weight in made.parameters())
    assert is_fused == [True]
    assert sum(kept.values()) == weights + u.numel() + u[..., 0].numel() * made.d_inner


@pytest.mark.parametrize("change", [
    lambda made: made.A_log.requires_grad_(False),
    lambda made: made.norm.register_forward_hook(lambda *_: None),
    lambda made: made.in_proj.register_forward_hook(lambda *_: None),
    lambda made: setattr(made, "scan_method", "chunked"),
    lambda made: setattr(made, "dt_limit", (0.1, 1.0)),
], ids=["frozen", "norm", "hook", "method", "limits"])
def test_a_block_that_is_not_as_it_was_made_runs_step_by_step(is_fused, change):
    made = block()
    change(made)
    made(inputs(4))
    assert True not in is_fused


@pytest.mark.parametrize("options", [{"bias": True}, {"rmsnorm": False}, {"d_ssm": 8}], ids=str)
def test_a_block_with_more_or_fewer_parts_runs_step_by_step(is_fused, options):
    Mamba2(D_MODEL, **ALIGNED | options).to(DEVICE)(inputs(4))
    assert is_fused == []


def test_what_needs_a_state_a_mask_or_no_gradient_runs_step_by_step(is_fused):
    made, u = block(), inputs(4)
    y, cache = made(u, return_cache=True)
    torch.testing.assert_close(made(u, cache), made(u, cache, return_cache=True)[0])
    mask = torch.ones(2, 4, dtype=torch.bool, device=DEVICE)
    torch.testing.assert_close(made(u, attention_mask=mask), y)
    assert is_fused == []
    with torch.no_grad():
        torch.testing.assert_close(made(u), y)
    assert is_fused == [False]


@pytest.mark.parametrize(("module", "limit"), [
    (fused.operator, "MAX_LENGTH"), (fused.operator, "MAX_D_STATE"),
    (fused.operator, "MAX_PROGRAMS"), (gated_norm, "MAX_SIZE")])
def test_a_block_beyond_a_limit_of_a_kernel_runs_step_by_step(is_fused, monkeypatch, module, limit):
    monkeypatch.setattr(module, limit, 1)
    block()(inputs(4))
    assert True not in is_fused


def test_second_derivative_is_an_error(is_fused):
    made, u = block(), inputs(4).requires_grad_()
    (du,) = torch.autograd.grad(made(u).sum(), u, create_graph=True)
    assert is_fused == [True]
    with pytest.raises(RuntimeError, match=r"differentiated again.+CPU"):
        du.sum().backward()
