"""One step by the kernels, in Triton's interpreter or on a GPU; in place; and as a CUDA graph."""

from types import SimpleNamespace

import pytest
import torch
from systems import randn
from test_lm import SMALL, shake, tokens

from minimamba import MambaConfig, MambaLM, generation
from minimamba.cuda_graph import Replay, replay
from minimamba.nn.mamba import Mamba
from minimamba.nn.s6 import S6
from minimamba.ops import causal_conv1d, decode
from minimamba.scan.triton import operator

PLACE = "cuda" if torch.cuda.is_available() else "cpu"
kernels = pytest.mark.skipif(bool(operator.missing()), reason=str(operator.missing()))
gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.fixture
def in_pytorch(monkeypatch):
    monkeypatch.setattr(decode, "runs", lambda x: False)


@kernels
@pytest.mark.parametrize(("d_inner", "d_state", "options"), [
    (70, 16, {}), (33, 3, {"dt_rank": "broadcast"}), (8, 1, {"selective": ["delta"]}),
    (40, 4, {"selective": ["B", "C"]})])
@pytest.mark.parametrize("gated", [True, False])
def test_the_scan_of_one_step(d_inner, d_state, options, gated, in_pytorch):
    ssm = S6(d_inner, d_state, **options).to(PLACE)
    both, h = randn(3, 2 * d_inner, seed=1).float().to(PLACE), randn(3, d_inner, d_state, seed=2)
    x, z = both.chunk(2, -1)                                 # rows that are not in one piece
    z, h = z if gated else None, h.float().to(PLACE)
    with torch.no_grad():
        wanted = ssm.step(x, h, z)
        raw, B, C = (part[:, 0] for part in ssm._raw(x[:, None]))
        for in_place in (False, True):
            given = h.clone()
            y, after = decode.scan(x, raw, ssm.A_log, B, C, ssm.D, z, ssm.dt_bias, given,
                                 in_place=in_place)
            torch.testing.assert_close(y, wanted[0])
            torch.testing.assert_close(after, wanted[1])
            assert (after is given) == in_place
            assert torch.equal(given, after if in_place else h)


@kernels
@pytest.mark.parametrize("d_conv", [1, 2, 4])
@pytest.mark.parametrize("conv_bias", [True, False])
def test_the_convolution_of_one_step(d_conv, conv_bias):
    block = Mamba(24, d_conv=d_conv, conv_bias=conv_bias).to(PLACE)
    inputs = randn(2, d_conv - 1, 48, seed=1).float().to(PLACE)
    x = randn(2, 96, seed=2).float().to(PLACE).chunk(2, -1)[0]
    whole = torch.cat([inputs, x[:, None]], 1).mT
    with torch.no_grad():
        wanted = torch.nn.functional.silu(block.conv1d(whole)[..., 0])
    for in_place in (False, True):
        given = inputs.clone()
        y, after = decode.convolution(x, block.conv1d.weight[:, 0].detach(),
                                    block.conv1d.bias, given, in_place=in_place)
        torch.testing.assert_close(y, wanted)
        assert torch.equal(after, whole.mT[:, 1:])
        assert (after is given) == in_place
        assert torch.equal(given, after if in_place else inputs)


@kernels
@pytest.mark.parametrize("in_place", [True, False])
def test_a_memory_that_is_not_in_one_piece(in_place):
    """Such as a prompt leaves behind: the end of something longer."""
    block, x = Mamba(8).to(PLACE), randn(2, 16, seed=1).float().to(PLACE)
    longer = randn(2, 6, 16, seed=2).float().to(PLACE)
    turned = randn(2, 16, 16, seed=3).float().to(PLACE).mT
    with torch.no_grad():
        raw, B, C = (part[:, 0] for part in block.ssm._raw(x[:, None]))
        ssm = x, raw, block.ssm.A_log, B, C, block.ssm.D, None, block.ssm.dt_bias
        short = x, block.conv1d.weight[:, 0], block.conv1d.bias
        for kernel, given, cache in ((decode.convolution, short, longer.clone()[:, 3:]),
                                      (decode.scan, ssm, turned.mT.clone().mT)):
            assert not cache.is_contiguous()
            y, after = kernel(*given, cache.contiguous(), in_place=False)
            y_, after_ = kernel(*given, cache, in_place=in_place)
            assert torch.equal(y, y_)
            assert torch.equal(after, after_)
            assert (after_ is cache) == in_place


def test_they_run_on_a_gpu_where_triton_is(monkeypatch):
    x = SimpleNamespace(is_cuda=True, dtype=torch.float32)
    with torch.no_grad():
        assert causal_conv1d.runs(x) == decode.runs(x) == operator.TRITON
        monkeypatch.setattr(causal_conv1d, "TRITON", False)
        assert not causal_conv1d.runs(x)
        assert not decode.runs(x)
    assert not causal_conv1d.runs(torch.zeros(1))


@kernels
def test_half_precision_costs_one_rounding():
    ssm = S6(32).to(PLACE, torch.bfloat16)
    x, z = (randn(4, 32, seed=i).to(torch.bfloat16).to(PLACE) for i in (1, 2))
    h = randn(4, 32, 16, seed=3).float().to(PLACE)
    with torch.no_grad():
        raw, B, C = (part[:, 0] for part in ssm._raw(x[:, None]))
        parts = raw, ssm.A_log, B, C, ssm.D, z, ssm.dt_bias
        y, after = decode.scan(x, *parts, h, in_place=False)
        wanted, h_ = decode.scan(x.float(), *(part.float() for part in parts), h, in_place=False)
    torch.testing.assert_close(after, h_)
    torch.testing.assert_close(y.float(), wanted, rtol=2**-7, atol=0)


@kernels
def test_the_sum_and_its_norm():
    norm = torch.nn.RMSNorm(12, 1e-2).to(PLACE)
    norm.weight.data += randn(12, seed=3).float().to(PLACE)
    x, added = (randn(5, 12, seed=i).float().to(PLACE) for i in (1, 2))
    total, normed = decode.add_norm(x, added, norm.weight.detach(), norm.eps)
    torch.testing.assert_close(total, x + added)
    torch.testing.assert_close(normed, norm(x + added).detach())


@pytest.mark.parametrize("where", [PLACE, "in PyTorch"])
def test_in_place_is_the_same_in_the_same_tensors(where, monkeypatch):
    if where == "in PyTorch":
        monkeypatch.setattr(decode, "runs", lambda x: False)
    model = MambaLM(MambaConfig(**SMALL)).to(PLACE)
    shake(model)
    with torch.no_grad():
        _, cache = model(tokens().to(PLACE), return_cache=True)
        own = [type(part)(part.conv_state.clone(), part.h.clone()) for part in cache]
        for new in (1, 2):
            scores, cache = model.step(torch.full((2,), new, device=PLACE), cache)
            again, after = model.step(torch.full((2,), new, device=PLACE), own, in_place=True)
            assert torch.equal(scores, again)
            for one, other, kept in zip(cache, own, after, strict=True):
                assert kept.conv_state is other.conv_state
                assert kept.h is other.h
                assert torch.equal(one.conv_state, other.conv_state)
                assert torch.equal(one.h, other.h)


@gpu
def test_a_recorded_step_is_that_step():
    model = MambaLM(MambaConfig(**SMALL)).cuda()
    shake(model)
    text = tokens().cuda()
    with torch.no_grad():
        cache = model(text, return_cache=True)[1]
        recorded = replay(model, cache)
        for new in (3, 1, 4):
            new = torch.full((2,), new, device="cuda")
            wanted, cache = model.step(new, cache)
            assert torch.equal(recorded(new), wanted)
        assert replay(model, cache) is recorded             # recorded once
        model.embedding.weight.data *= 0.5                   # in place: the graph sees it
        assert torch.equal(replay(model, cache)(new), model.step(new, cache)[0])
        model.embedding.weight.data = model.embedding.weight.data * 3    # elsewhere
        assert replay(model, cache) is not recorded
        assert torch.equal(replay(model, cache)(new), model.step(new, cache)[0])
        assert isinstance(recorded, Replay)


@gpu
def test_what_was_recorded_in_inference_mode_goes_on_outside_of_it():
    model = MambaLM(MambaConfig(**SMALL)).cuda()
    shake(model)
    text = tokens().cuda()
    with torch.inference_mode():
        inside = generation.generate(model, text, 20)
    outside = generation.generate(model, text, 20)
    assert all(map(torch.equal, inside, outside))


@gpu
def test_writing_on_a_gpu_is_reading_again():
    model = MambaLM(MambaConfig(**SMALL)).cuda()
    shake(model)
    text = tokens().cuda()
    for row, prompt in zip(generation.generate(model, text, 20), text, strict=True):
        whole = prompt[None]
        with torch.no_grad():
            for _ in range(20):
                whole = torch.cat([whole, model(whole)[:, -1].argmax(-1, keepdim=True)], 1)
        assert torch.equal(row, whole[0, len(prompt):])
