"""The decoding step: its kernels, in the interpreter or on a GPU; in place; as a CUDA graph."""

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
import torch
from models import perturb, random_ids, small_model
from systems import randn
from torch.autograd import forward_ad

from minimamba import cuda_graph, generation, ssd
from minimamba.cuda_graph import graphed_steps
from minimamba.nn import S6, Mamba, Mamba2, MambaCache
from minimamba.ops import causal_conv1d, decode
from minimamba.ops.decode import Tile
from minimamba.scan import why_not

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
kernels = pytest.mark.skipif(bool(why_not("triton")), reason=str(why_not("triton")))
gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.fixture
def no_kernels(monkeypatch):
    monkeypatch.setattr(decode, "can_use_kernels", lambda x: False)


def random(*shape, seed):
    return randn(*shape, seed=seed).float().to(DEVICE)


@kernels
@pytest.mark.parametrize(("d_inner", "d_state", "options"), [
    (70, 16, {}), (33, 3, {"dt_rank": "broadcast"}), (8, 1, {"selective": ["delta"]}),
    (40, 4, {"selective": ["B", "C"]})])
@pytest.mark.parametrize("has_gate", [True, False])
def test_scan_step_kernel_matches_pytorch(d_inner, d_state, options, has_gate, no_kernels):
    ssm = S6(d_inner, d_state, **options).to(DEVICE)
    x, z = random(3, 2 * d_inner, seed=1).chunk(2, -1)               # rows are not contiguous
    z = z if has_gate else None
    state = random(3, d_inner, d_state, seed=2)
    with torch.no_grad():
        expected_y, expected_state = ssm.scan_step(x, state, z)
        dt, B, C = (projected[:, 0] for projected in ssm._project(x[:, None]))
        for in_place in (False, True):
            given = state.clone()
            y, new_state = decode.scan_step(x, dt, ssm.A_log, B, C, ssm.D, z, ssm.dt_bias, given,
                                            in_place=in_place)
            torch.testing.assert_close(y, expected_y)
            torch.testing.assert_close(new_state, expected_state)
            assert (new_state is given) == in_place
            assert torch.equal(given, new_state if in_place else state)


@kernels
@pytest.mark.parametrize("d_conv", [1, 2, 4])
@pytest.mark.parametrize("conv_bias", [True, False])
def test_conv_step_kernel_matches_conv1d(d_conv, conv_bias):
    block = Mamba(24, d_conv=d_conv, conv_bias=conv_bias).to(DEVICE)
    conv_state = random(2, d_conv - 1, 48, seed=1)
    x = random(2, 96, seed=2).chunk(2, -1)[0]
    window = torch.cat([conv_state, x[:, None]], 1)
    with torch.no_grad():
        expected = torch.nn.functional.silu(block.conv1d(window.mT)[..., 0])
    for in_place in (False, True):
        given = conv_state.clone()
        y, projected, new_state = decode.conv_step(
            x, block.conv1d.weight[:, 0].detach(), block.conv1d.bias, given, in_place=in_place)
        torch.testing.assert_close(y, expected)
        assert projected is None
        assert torch.equal(new_state, window[:, 1:])
        assert (new_state is given) == in_place
        assert torch.equal(given, new_state if in_place else conv_state)


@kernels
@pytest.mark.parametrize(("conv_tile", "scan_tile", "batch", "d_state", "dt_rank", "d_conv",
                          "dtype"), [
    (Tile(1, 64, 1), Tile(1, 16, 1), 1, 16, 3, 4, torch.float32),
    (Tile(1, 32, 1), Tile(1, 16, 1), 2, 3, 1, 4, torch.bfloat16),
    (Tile(16, 32, 1), Tile(8, 32, 1), 18, 16, 150, 4, torch.float16),
    (Tile(16, 64, 1), Tile(1, 64, 1), 3, 1, 67, 2, torch.float32),
    (Tile(16, 32, 1), Tile(4, 64, 1), 17, 3, 5, 1, torch.float16)])
@pytest.mark.parametrize("in_place", [True, False])
def test_step_by_kernels_matches_float64(conv_tile, scan_tile, batch, d_state, dt_rank, d_conv,
                                         dtype, in_place, monkeypatch):
    """A whole block, with x_proj and dt_proj in the kernels; d_inner, 72, fills no last tile."""
    monkeypatch.setattr(decode, "CONV_TILES", {1: conv_tile})
    monkeypatch.setattr(decode, "SCAN_TILES", {1: scan_tile})
    block = Mamba(36, d_state, d_conv, dt_rank=dt_rank)
    perturb(block, 0.1)
    block = block.to(DEVICE, dtype)
    wide = Mamba(36, d_state, d_conv, dt_rank=dt_rank).to(DEVICE, torch.float64)
    wide.load_state_dict(block.state_dict())
    x = random(batch, 36, seed=1).to(dtype)
    cache = block.init_cache(batch)
    cache.conv_state.copy_(random(batch, d_conv - 1, 72, seed=2))
    cache.ssm_state.copy_(random(batch, 72, d_state, seed=3))
    given = [state.clone() for state in cache]
    with torch.no_grad():
        expected = wide.step(x.double(), MambaCache(*(state.double() for state in cache)))
        monkeypatch.setattr(decode, "can_use_kernels", lambda x: True)
        y, new_cache = block._step(x, cache, in_place)
    tolerance = 1e-6 if dtype == torch.float32 else 3 * torch.finfo(dtype).eps
    for found, wanted in zip((y, *new_cache), (expected[0], *expected[1]), strict=True):
        assert (found.double() - wanted).norm() <= tolerance * wanted.norm()
    for new, old, before in zip(new_cache, cache, given, strict=True):
        assert (new is old) == in_place
        assert torch.equal(old, new if in_place else before)


@kernels
@pytest.mark.parametrize(("batch", "d_state", "dtype"), [
    (64, 16, torch.float16), (64, 17, torch.float16), (64, 16, torch.float32),
    (97, 17, torch.float16), (129, 16, torch.float16)])
def test_large_batches_step_as_small_ones_do(batch, d_state, dtype, monkeypatch):
    """Of several sequences per program or of one, and with the projections in the kernels or not.
    """
    monkeypatch.setattr(decode, "can_use_kernels", lambda x: True)
    block = Mamba(9, d_state).to(DEVICE, dtype)
    x, cache = random(batch, 9, seed=1).to(dtype), block.init_cache(batch)
    for seed, state in enumerate(cache, 2):
        state.copy_(random(*state.shape, seed=seed))
    with torch.no_grad():
        y, new_cache = block.step(x, cache)
        for i in (0, batch - 1):
            row = slice(i, i + 1)
            wanted_y, wanted = block.step(x[row], cache._make(state[row] for state in cache))
            # Sums in another order may be rounded to the neighboring number of half precision.
            tolerance = {} if dtype == torch.float32 else {"rtol": 2e-3, "atol": 2e-3}
            torch.testing.assert_close(y[row], wanted_y, **tolerance)
            for one, other in zip(new_cache, wanted, strict=True):
                torch.testing.assert_close(one[row], other, **tolerance)


@pytest.mark.parametrize(("batch", "d_inner", "features", "d_state", "dtype", "is_faster"), [
    (128, 1536, 80, 16, torch.bfloat16, True), (129, 1536, 80, 16, torch.bfloat16, False),
    (97, 1536, 80, 17, torch.bfloat16, False), (96, 1536, 80, 17, torch.bfloat16, True),
    (97, 1536, 80, 16, torch.float32, False), (97, 5120, 192, 16, torch.bfloat16, False)])
def test_projections_are_folded_where_that_was_faster(batch, d_inner, features, d_state, dtype,
                                                      is_faster):
    x = torch.empty(batch, d_inner, dtype=dtype, device="meta")
    assert decode.can_fold_projections(x, features, d_state) == is_faster


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("features", [0, 3, 80, 128, 129, 192, 1000])
def test_tiles_of_the_convolution_leave_room_for_the_weight(features, dtype):
    for batch in (1, 8, 32, 64, 200):
        channels = decode._conv_tile(batch, features, dtype).channels
        assert channels == 16 or channels * features * dtype.itemsize <= 64 * 1024
    wide = decode._conv_tile(128, 80, torch.bfloat16).channels
    assert [decode._conv_tile(128, features, torch.float32).channels
            for features in (80, 192)] == [wide // 2, wide // 4] == [128, 64]


@kernels
@pytest.mark.parametrize(("n_groups", "d_state", "D_shape", "dt_limit", "has_gate"), [
    (3, 5, (6, 20), (0.0, float("inf")), True), (1, 64, (6,), (0.3, 1), False),
    (3, 128, (6,), (0.0, 0.5), True)])
def test_ssd_step_kernel_matches_reference(n_groups, d_state, D_shape, dt_limit, has_gate):
    heads = (6, 20)                                  # 20 channels fill no last tile
    groups = (n_groups, d_state)
    sizes = [120, n_groups * d_state, n_groups * d_state]
    x, B, C = random(2, sum(sizes), seed=1).split(sizes, -1)         # rows are not contiguous
    z, dt = random(2, 126, seed=2).split([120, 6], -1)
    x, z = x.unflatten(-1, heads), z.unflatten(-1, heads) if has_gate else None
    B, C = B.unflatten(-1, groups), C.unflatten(-1, groups)
    A_log, dt_bias = random(6, seed=3), random(6, seed=4)
    D = random(*D_shape, seed=5)
    state = random(2, *heads, d_state, seed=6)
    delta = torch.nn.functional.softplus(dt + dt_bias).clamp(*dt_limit)
    expected_y, expected_state = ssd(
        x[:, None], delta[:, None], -A_log.exp(), B[:, None], C[:, None], D=D,
        z=z[:, None] if has_gate else None, initial_state=state, return_final_state=True,
        method="reference")
    for in_place in (False, True):
        given = state.clone()
        y, new_state = decode.ssd_step(x, dt, A_log, B, C, D, z, dt_bias, given,
                                       dt_limit=dt_limit, in_place=in_place)
        # Of 128 terms, whose errors on a GPU are alike, for they share a decay.
        torch.testing.assert_close(y, expected_y[:, 0], rtol=1e-5, atol=3e-5)
        torch.testing.assert_close(new_state, expected_state)
        assert (new_state is given) == in_place
        assert torch.equal(given, new_state if in_place else state)
    dt[1, 5] = torch.nan                             # which no limit turns into a number
    y, _ = decode.ssd_step(x, dt, A_log, B, C, D, z, dt_bias, state, dt_limit=dt_limit,
                           in_place=False)
    assert y[1, 5].isnan().all()
    assert y.isnan().sum() == 20


@kernels
@pytest.mark.parametrize(("options", "batch", "dtype"), [
    ({}, 1, torch.float32),
    ({"ngroups": 3, "D_has_hdim": True, "dt_limit": (0.1, 0.5), "rmsnorm": False, "d_conv": 1},
     6, torch.bfloat16),
    ({"d_ssm": 24, "norm_before_gate": True, "bias": True, "conv_bias": False}, 2, torch.float16)],
    ids=str)
@pytest.mark.parametrize("in_place", [True, False])
def test_mamba2_step_by_kernels_matches_float64(options, batch, dtype, in_place, monkeypatch):
    arguments = {"d_model": 24, "d_state": 5, "headdim": 8} | options
    block = Mamba2(**arguments)
    perturb(block, 0.1)
    block = block.to(DEVICE, dtype)
    wide = Mamba2(**arguments).to(DEVICE, torch.float64)
    wide.load_state_dict(block.state_dict())
    x = random(batch, 24, seed=1).to(dtype)
    cache = block.init_cache(batch)
    for seed, state in enumerate(cache, 2):
        state.copy_(random(*state.shape, seed=seed))
    given = [state.clone() for state in cache]
    with torch.no_grad():
        expected = wide.step(x.double(), cache._make(state.double() for state in cache))
        monkeypatch.setattr(decode, "can_use_kernels", lambda x: True)
        y, new_cache = block._step(x, cache, in_place)
    tolerance = 1e-6 if dtype == torch.float32 else 3 * torch.finfo(dtype).eps
    for found, wanted in zip((y, *new_cache), (expected[0], *expected[1]), strict=True):
        assert (found.double() - wanted).norm() <= tolerance * wanted.norm()
    for new, old, before in zip(new_cache, cache, given, strict=True):
        assert (new is old) == in_place
        assert torch.equal(old, new if in_place else before)


@kernels
@pytest.mark.parametrize("block", [lambda: Mamba(8), lambda: Mamba2(8, 3, headdim=4)])
def test_what_has_replaced_in_proj_may_give_columns(block, monkeypatch):
    block = block().to(DEVICE)
    x, cache = random(2, 8, seed=1), block.init_cache(2)
    with torch.no_grad():
        expected, _ = block.step(x, cache)
        transpose = torch.nn.Sequential(block.in_proj, torch.nn.Identity())
        transpose.forward = lambda x: transpose[0](x).mT.contiguous().mT
        block.in_proj = transpose
        monkeypatch.setattr(decode, "can_use_kernels", lambda x: True)
        torch.testing.assert_close(block.step(x, cache)[0], expected)


@kernels
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_parts_give_what_their_rounded_sum_gives(dtype):
    ssm = S6(33, 3, dt_rank=5).to(DEVICE, dtype)
    x = random(3, 33, seed=1).to(dtype)
    parts = (1024 * random(6, 3, 11, seed=2)).round() / 1024            # summed without rounding
    state = random(3, 33, 3, seed=3)

    def step(projected):
        dt, B, C = projected.split(ssm._split_sizes, -1)
        return decode.scan_step(x, dt, ssm.A_log, B, C, ssm.D, None, ssm.dt_bias, state,
                                in_place=False, dt_weight=ssm.dt_proj.weight)

    with torch.no_grad():
        for given, wanted in zip(step(parts), step(parts.sum(0).to(dtype)), strict=True):
            # On a GPU, the order in which dt_proj's product is summed may differ.
            rtol = 0 if DEVICE == "cpu" else 2**-9
            torch.testing.assert_close(given, wanted, rtol=rtol, atol=rtol)


@kernels
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize(("inputs", "outputs", "bias"), [(12, 7, True), (300, 4, False),
                                                         (768, 9, True)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_linear_step_matches_linear(batch, inputs, outputs, bias, dtype, monkeypatch):
    monkeypatch.setattr(decode, "can_use_kernels", lambda x: True)
    layer = torch.nn.Linear(inputs, outputs, bias).to(DEVICE, dtype)
    x = random(batch, 2 * inputs, seed=1).to(dtype)[:, ::2]
    with torch.no_grad():
        expected = layer.double()(x.double())
        layer.to(dtype)
        y = decode.linear_step(layer, x)
    torch.testing.assert_close(y.double(), expected, rtol=torch.finfo(dtype).eps, atol=1e-5)


@kernels
@pytest.mark.parametrize("in_place", [True, False])
def test_states_need_not_be_contiguous(in_place):
    block = Mamba(8).to(DEVICE)
    x = random(2, 16, seed=1)
    conv_state = random(2, 6, 16, seed=2)[:, 3:]         # such as the end of a longer sequence
    ssm_state = random(2, 16, 16, seed=3).mT
    with torch.no_grad():
        dt, B, C = (projected[:, 0] for projected in block._project(x[:, None]))
        steps = [(decode.conv_step, (x, block.conv1d.weight[:, 0], block.conv1d.bias), conv_state),
                 (decode.scan_step, (x, dt, block.A_log, B, C, block.D, None, block.dt_bias),
                  ssm_state)]
        for step, arguments, state in steps:
            assert not state.is_contiguous()
            expected_y, *_, expected_state = step(*arguments, state.contiguous(), in_place=False)
            y, *_, new_state = step(*arguments, state, in_place=in_place)
            assert torch.equal(y, expected_y)
            assert torch.equal(new_state, expected_state)
            assert (new_state is state) == in_place


def test_kernels_are_used_on_a_gpu_with_triton_and_without_gradients(monkeypatch):
    x = SimpleNamespace(is_cuda=True, dtype=torch.float32, shape=(2, 8))
    monkeypatch.setattr(causal_conv1d, "failure", lambda: None)
    assert not decode.can_use_kernels(x)
    with torch.no_grad():
        assert (causal_conv1d.can_use_kernels(x) == decode.can_use_kernels(x)
                == causal_conv1d.TRITON)
        with forward_ad.dual_level():
            assert not causal_conv1d.can_use_kernels(x)
        x.shape = (2, decode.MAX_CHANNELS + 1)
        assert not decode.can_use_kernels(x)
        x.shape = (2, 8)
        monkeypatch.setattr(causal_conv1d, "TRITON", False)
        assert not causal_conv1d.can_use_kernels(x)
        assert not decode.can_use_kernels(x)
    assert not causal_conv1d.can_use_kernels(torch.zeros(1))


@kernels
def test_bfloat16_is_rounded_once():
    ssm = S6(32).to(DEVICE, torch.bfloat16)
    x, z = (random(4, 32, seed=i).bfloat16() for i in (1, 2))
    state = random(4, 32, 16, seed=3)
    with torch.no_grad():
        dt, B, C = (projected[:, 0] for projected in ssm._project(x[:, None]))
        arguments = dt, ssm.A_log, B, C, ssm.D, z, ssm.dt_bias
        y, new_state = decode.scan_step(x, *arguments, state, in_place=False)
        expected_y, expected_state = decode.scan_step(
            x.float(), *(tensor.float() for tensor in arguments), state, in_place=False)
    torch.testing.assert_close(new_state, expected_state)
    torch.testing.assert_close(y.float(), expected_y, rtol=2**-7, atol=0)


@kernels
def test_add_rms_norm_kernel_matches_pytorch():
    norm = torch.nn.RMSNorm(12, 1e-2).to(DEVICE)
    norm.weight.data += random(12, seed=3)
    residual, hidden_states = (random(5, 12, seed=i) for i in (1, 2))
    normed, total = decode.add_rms_norm(hidden_states, residual, norm.weight.detach(), norm.eps)
    torch.testing.assert_close(total, residual + hidden_states)
    torch.testing.assert_close(normed, norm(residual + hidden_states).detach())


@pytest.mark.parametrize("use_kernels", [True, False])
def test_step_in_place_equals_step_and_writes_into_the_cache(use_kernels, monkeypatch):
    if not use_kernels:
        monkeypatch.setattr(decode, "can_use_kernels", lambda x: False)
    model = small_model(layers="M2", head_dim=8).to(DEVICE, torch.float32)
    with torch.no_grad():
        _, cache = model(random_ids().to(DEVICE), return_cache=True)
        own = [layer._make(state.clone() for state in layer) for layer in cache]
        for token in (1, 2):
            input_ids = torch.full((2,), token, device=DEVICE)
            expected, cache = model.step(input_ids, cache)
            assert torch.equal(model.step_(input_ids, own), expected)
            for one, other in zip(cache, own, strict=True):
                assert torch.equal(one.conv_state, other.conv_state)
                assert torch.equal(one.ssm_state, other.ssm_state)


@gpu
@pytest.mark.parametrize("pattern", ["MM", "M2"])
def test_graphed_steps_equal_steps_and_one_graph_is_recorded(pattern):
    model = small_model(layers=pattern, head_dim=8).to("cuda", torch.float32)
    with torch.no_grad():
        _, cache = model(random_ids().cuda(), return_cache=True)
        with graphed_steps(model, cache) as graphed:
            for token in (3, 1, 4):
                input_ids = torch.full((2,), token, device="cuda")
                expected, cache = model.step(input_ids, cache)
                assert torch.equal(graphed(input_ids), expected)
        recorded = cuda_graph._idle[model]
        model.embedding.weight.data *= 0.5                   # in place: the graph sees it
        with graphed_steps(model, cache) as graphed:
            expected, cache = model.step(input_ids, cache)
            assert torch.equal(graphed(input_ids), expected)
            # Elsewhere in memory, between two tokens:
            model.embedding.weight.data = model.embedding.weight.data * 3
            assert torch.equal(graphed(input_ids), model.step(input_ids, cache)[0])
        assert cuda_graph._idle[model] is not recorded
        with graphed_steps(model, cache) as graphed:
            model.cpu()
            with pytest.raises(ValueError, match=r"^model: expected to stay on cuda:0 while"):
                graphed(input_ids)


@gpu
def test_interleaved_generations_on_a_gpu_equal_each_alone():
    model = small_model().to("cuda", torch.float32)
    perturb(model)
    one, other = random_ids(length=5).cuda(), random_ids(length=9).cuda()
    expected = [generation.generate(model, ids, 30)[:, ids.shape[1]:] for ids in (one, other)]
    streams = [generation.stream(model, ids, 30) for ids in (one, other)]
    rows = [torch.stack(tokens, 1) for tokens in zip(*zip(*streams, strict=True), strict=True)]
    for row, wanted in zip(rows, expected, strict=True):
        assert torch.equal(row, wanted)


@gpu
def test_generations_in_threads_on_a_gpu_equal_each_alone():
    model = small_model().to("cuda", torch.float32)
    perturb(model)
    prompts = [random_ids(length=3 + i, seed=i).cuda() for i in range(8)]
    expected = [generation.generate(model, ids, 30) for ids in prompts]
    cuda_graph._idle.clear()                                 # so that each thread records its own

    def generate(ids):
        with torch.cuda.stream(torch.cuda.Stream()):
            ids = generation.generate(model, ids, 30)
            torch.cuda.current_stream().synchronize()
            return ids

    with ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            for given, wanted in zip(pool.map(generate, prompts), expected, strict=True):
                assert torch.equal(given, wanted)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one GPU, or none")
def test_generation_on_a_second_gpu_equals_that_on_the_first():
    model = small_model().to("cuda:0", torch.float32)
    perturb(model)
    input_ids = random_ids().to("cuda:0")
    expected = generation.generate(model, input_ids, 20)
    model.to("cuda:1")
    with torch.cuda.device(0):
        for _ in range(2):                                   # with a new graph, and an old one
            given = generation.generate(model, input_ids.to("cuda:1"), 20)
            assert given.device == torch.device("cuda:1")
            assert torch.equal(given.cpu(), expected.cpu())
        with torch.no_grad():
            _, cache = model(input_ids.to("cuda:1"), return_cache=True)
            logits, _ = model.step(given[:, -1], cache)      # without a graph
        assert logits.isfinite().all()


@gpu
def test_graph_recorded_in_inference_mode_can_be_used_outside_of_it():
    model = small_model().to("cuda", torch.float32)
    perturb(model)
    input_ids = random_ids().cuda()
    with torch.inference_mode():
        inside = generation.generate(model, input_ids, 20)
    assert torch.equal(inside, generation.generate(model, input_ids, 20))


@gpu
@pytest.mark.parametrize("pattern", ["MM", "22", "2A"])
def test_generation_on_a_gpu_equals_recomputing_everything(pattern):
    model = small_model(layers=pattern, head_dim=8, n_heads=2).to("cuda", torch.float32)
    input_ids = random_ids().cuda()
    expected = input_ids
    with torch.no_grad():
        for _ in range(20):
            next_ids = model(expected)[:, -1].argmax(-1, keepdim=True)
            expected = torch.cat([expected, next_ids], 1)
    assert torch.equal(generation.generate(model, input_ids, 20), expected)
