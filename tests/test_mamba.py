"""The Mamba block: causal, the same in steps and in parts, deaf to padding."""

import pytest
import torch
from systems import close, randn

from minimamba.nn.mamba import Mamba, Memory

pytestmark = pytest.mark.usefixtures("double")
OPTIONS = [{}, {"d_state": 3, "d_conv": 1, "expand": 3, "dt_rank": 2},
           {"d_conv": 3, "bias": True, "conv_bias": False}]


@pytest.fixture(params=OPTIONS, ids=str)
def block(request):
    return Mamba(8, **request.param)


def by_hand(block, u):
    """Figure 3, line by line, with PyTorch's own convolution."""
    x, z = block.in_proj(u).chunk(2, -1)
    x = torch.nn.functional.conv1d(torch.nn.functional.pad(x.mT, (block.d_conv - 1, 0)),
                                   block.conv1d.weight, block.conv1d.bias, groups=block.d_inner).mT
    x = x * x.sigmoid()
    return block.out_proj(block.ssm(x, method="reference") * z * z.sigmoid())


def test_it_is_the_figure(block):
    u = randn(2, 11, 8)
    assert block(u).shape == (2, 11, 8)
    close(block(u), by_hand(block, u))


def test_one_step_after_the_other_is_the_same(block):
    u = randn(2, 9, 8)
    whole, last = block(u, return_cache=True)
    cache, outputs = block.init_cache(2), []
    for now in u.unbind(1):
        out, cache = block.step(now, cache)
        outputs.append(out)
    close(torch.stack(outputs, 1), whole)
    close(cache.h, last.h)
    close(cache.conv_state, last.conv_state)


@pytest.mark.parametrize("cut", [1, 2, 3, 8])
def test_a_sequence_may_be_cut_anywhere(block, cut):
    u = randn(2, 9, 8)
    first, cache = block(u[:, :cut], return_cache=True)
    second, last = block(u[:, cut:], cache, return_cache=True)
    whole, wanted = block(u, return_cache=True)
    close(torch.cat([first, second], 1), whole)
    close(last.h, wanted.h)
    close(last.conv_state, wanted.conv_state)


def test_padding_to_the_left_changes_nothing(block):
    u = randn(1, 7, 8)
    padded, real = torch.cat([randn(1, 4, 8, seed=1), u], 1), torch.arange(11) >= 4
    given, cache = block(padded, attention_mask=mask[None], return_cache=True)
    wanted, last = block(u, return_cache=True)
    close(given[:, 4:], wanted)
    close(cache.h, last.h)
    close(cache.conv_state[:, -min(7, block.d_conv - 1):], last.conv_state)


def test_nothing_looks_ahead(block):
    """The gradient of the output at a step is zero in every later input, and not in its own."""
    u = randn(1, 10, 8).requires_grad_()
    for t in (0, 4, 9):
        gradient, = torch.autograd.grad(block(u)[0, t].sum(), u)
        assert (gradient[0, t + 1:] == 0).all()
        assert (gradient[0, t] != 0).all()
        assert (gradient[0, :t + 1] != 0).any(-1).all()


def test_the_memory_has_one_size(block):
    sizes = {tuple(part.shape for part in block(randn(2, length, 8), return_cache=True)[1])
             for length in (1, 2, 30)}
    assert sizes == {tuple(part.shape for part in block.init_cache(2))}


def test_gradients_of_all_weights_reach_through_the_memory(block):
    u = randn(1, 6, 8)
    _, cache = block(u[:, :3], return_cache=True)
    in_parts = torch.autograd.grad(block(u[:, 3:], cache).sum(), list(block.parameters()))
    whole = torch.autograd.grad(block(u)[:, 3:].sum(), list(block.parameters()))
    for one, other in zip(in_parts, whole, strict=True):
        close(one, other)
        assert one.abs().max() > 0


def test_half_precision_keeps_its_state_in_float32():
    block = Mamba(8).bfloat16()
    out, cache = block(randn(1, 5, 8).bfloat16(), return_cache=True)
    assert out.dtype == cache.conv_state.dtype == torch.bfloat16
    assert cache.h.dtype == block.ssm.A.dtype == torch.float32
    step, after = block.step(randn(1, 8).bfloat16(), cache)
    assert step.dtype == torch.bfloat16
    assert after.h.dtype == torch.float32


@pytest.mark.parametrize(("call", "message"), [
    (lambda b: b(randn(2, 3, 7)), r"^u: expected shape \(batch, length, 8\), got .+\(2, 3, 7\)"),
    (lambda b: b(randn(2, 8)), r"^u: .+ got shape \(2, 8\)$"),
    (lambda b: b.step(randn(2, 3, 8), b.empty(2)), r"^u: expected shape \(batch, 8\)"),
    (lambda b: b(randn(2, 3, 8), attention_mask=torch.ones(2, 4, dtype=torch.bool)),
     r"^real: expected shape \(2, 3\)"),
    (lambda b: b(randn(2, 3, 8), attention_mask=torch.ones(2, 3)), "^real: expected dtype bool, got float64"),
    (lambda b: b(randn(2, 3, 8), b.empty(1)), r"^cache.conv_state: expected shape \(2, 3, 16\)"),
    (lambda b: b.step(randn(1, 8), Memory(b.empty(1).conv_state, b.empty(2).h)),
     r"^cache.h: expected shape \(1, 16, 16\)"),
    (lambda b: Mamba(0), "^d_model: expected a whole number from 1 up, got 0"),
    (lambda b: Mamba(8, d_conv=0), "^d_conv: "),
])
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(Mamba(8))
