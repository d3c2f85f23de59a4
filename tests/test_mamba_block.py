"""The Mamba block as one operation, by the kernels, against its single steps."""

import pytest
import torch
from systems import F64, randn

from minimamba import Mamba
from minimamba.ops import causal_conv1d
from minimamba.ops import mamba_block as fused
from minimamba.scan import why_not

pytestmark = pytest.mark.skipif(bool(why_not("triton")), reason=str(why_not("triton")))
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
D_MODEL = 6
SIZES = {"d_model": D_MODEL, "d_state": 3, "d_conv": 3}
CHUNK = 64 if DEVICE == "cuda" else 16                       # as `short_chunks` sets it


@pytest.fixture
def is_fused(monkeypatch, short_chunks):
    """Take the kernels in the interpreter too, and note for each call of a block whether they ran.
    """
    calls = []
    can_use = fused.can_use_mamba_block
    monkeypatch.setattr(causal_conv1d, "can_use_kernels", lambda x: x.dtype != F64)

    def noted(*arguments, **options):
        calls.append(can_use(*arguments, **options))
        return calls[-1]

    monkeypatch.setattr("minimamba.nn.mamba.can_use_mamba_block", noted)
    return calls


def block(dtype=torch.float32, **options):
    torch.manual_seed(0)
    made = Mamba(**SIZES, **options)
    with torch.no_grad():
        for weight in (made.D, made.conv1d.weight, made.x_proj.weight, made.dt_proj.weight):
            weight.copy_(0.5 * torch.randn_like(weight))
    return made.to(DEVICE, dtype)


def inputs(length=CHUNK + 6, dtype=torch.float32):
    return randn(2, length, D_MODEL).to(DEVICE, dtype)


def output_and_gradients(made, u, context=torch.enable_grad):
    u = u.clone().requires_grad_()
    with context():
        y = made(u)
    leaves = [u, *made.parameters()]
    gradients = torch.autograd.grad(y, leaves, randn(*y.shape, seed=1).to(y))
    return [y.detach(), *gradients]


@pytest.mark.parametrize("options", [{}, {"conv_bias": False}])
def test_output_and_all_gradients_are_those_of_the_single_steps(is_fused, options):
    made = block(**options)
    given = output_and_gradients(made, inputs())
    expected = output_and_gradients(block(F64, **options), inputs(dtype=F64))
    assert is_fused == [True, False]
    for one, other in zip(given, expected, strict=True):
        assert one.shape == other.shape
        assert (one - other).norm() <= 2e-6 * other.norm()


def test_under_autocast_results_are_those_of_the_single_steps_to_rounding(is_fused):
    def autocast():
        return torch.autocast(DEVICE, torch.bfloat16)

    made = block()
    given = output_and_gradients(made, inputs(), autocast)
    made.scan_method = "reference"
    single = output_and_gradients(made, inputs(), autocast)
    expected = output_and_gradients(block(F64), inputs(dtype=F64))
    assert is_fused == [True, False]
    for one, other, exact in zip(given, single, expected, strict=True):
        assert one.dtype == other.dtype
        assert (one - exact).norm() <= 1.5 * (other - exact).norm() + 1e-3 * exact.norm()


def test_sequence_in_two_parts_passes_both_states_on(is_fused):
    made, u = block(), inputs(9)
    with torch.no_grad():
        whole = made(u)
        first, cache = made(u[:, :4], return_cache=True)
        second, cache = made(u[:, 4:], cache, return_cache=True)
        _, expected = made.to(F64)(u.double(), return_cache=True)
    assert is_fused == [True, True, True, False]
    torch.testing.assert_close(torch.cat([first, second], 1), whole)
    for one, other in zip(cache, expected, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-5, atol=1e-6)


def test_little_is_kept_for_the_backward_pass(is_fused):
    made, u = block(), inputs()
    kept = {}

    def keep(tensor):
        kept[tensor.data_ptr()] = tensor.numel()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        made(u)
    batch, length, _ = u.shape
    weights = sum(weight.numel() for weight in made.parameters())
    per_step = D_MODEL + made.dt_proj.in_features + 2 * made.d_state
    states = batch * 2 * made.d_inner * 4                    # before two chunks, N padded to 4
    packed = batch * 2 * CHUNK * 2 * 4                       # BC, of two whole chunks
    assert is_fused == [True]
    assert sum(kept.values()) == weights + batch * length * per_step + states + packed


@pytest.mark.parametrize("change", [
    lambda made: made.A_log.requires_grad_(False),
    lambda made: made.x_proj.register_forward_hook(lambda *_: None),
    lambda made: setattr(made, "scan_method", "chunked"),
    lambda made: setattr(made, "in_proj", torch.nn.Linear(D_MODEL, 4 * D_MODEL).to(DEVICE)),
], ids=["frozen", "hook", "method", "bias"])
def test_a_block_that_is_not_as_it_was_made_runs_step_by_step(is_fused, change):
    made = block()
    change(made)
    made(inputs(4))
    assert True not in is_fused


@pytest.mark.parametrize("limit", ["MAX_BATCH", "MAX_LENGTH", "MAX_D_INNER", "MAX_D_STATE"])
def test_a_block_beyond_a_limit_of_the_scan_runs_step_by_step(is_fused, monkeypatch, limit):
    monkeypatch.setattr(fused.operator, limit, 1)
    block()(inputs(4))
    assert True not in is_fused


def test_gradients_through_a_cache_are_those_of_the_single_steps(is_fused):
    made, u = block(), inputs(6)
    cache = made.init_cache(2)
    cache.ssm_state.requires_grad_()
    made(u, cache).sum().backward()
    assert is_fused == [False]
    assert cache.ssm_state.grad.norm() > 0


def test_second_derivative_is_an_error(is_fused):
    made, u = block(), inputs(4).requires_grad_()
    (du,) = torch.autograd.grad(made(u).sum(), u, create_graph=True)
    assert is_fused == [True]
    with pytest.raises(RuntimeError, match=r"differentiated again.+scan_method"):
        du.sum().backward()
