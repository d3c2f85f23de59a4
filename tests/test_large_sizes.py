"""Sizes beyond the limits of a CUDA grid and of 32-bit offsets, on a GPU.

A part of a large batch, or of a long sequence, must be what it is when it is computed alone. Where
it is small it is computed in float64, and without the kernels.
"""

from concurrent.futures import ProcessPoolExecutor
from itertools import pairwise
from multiprocessing import get_context

import pytest
import torch
from torch.testing import assert_close

from minimamba import MambaConfig, MambaLM, selective_scan, ssd
from minimamba.nn import Mamba, MambaCache
from minimamba.ops import decode
from minimamba.ops.causal_conv1d import causal_conv1d_silu

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
DEVICE = "cuda"
MEMORY = (torch.cuda.get_device_properties(0).total_memory / 2**30 if torch.cuda.is_available()
          else 0)
BEYOND_A_GRID = 2**16 + 3
LONG = 2**21 + 2**16
TAIL = 1000
"""Steps at the end of a long sequence that are computed in float64."""
BF16 = torch.bfloat16
F32 = torch.float32
F64 = torch.float64


def sized(gibibytes, *values):
    """A case, and the GPU memory that it takes at its peak."""
    enough = pytest.mark.skipif(gibibytes > MEMORY, reason=f"takes {gibibytes} GiB of GPU memory")
    return pytest.param(*values, marks=enough, id="-".join(map(str, values)))


@pytest.fixture(autouse=True)
def free_memory():
    torch.cuda.empty_cache()
    torch.manual_seed(0)
    yield
    torch.cuda.empty_cache()


def draw(*shape, dtype=F32):
    return torch.randn(shape, device=DEVICE, dtype=dtype)


def all_close(given, expected, dtype):
    __tracebackhide__ = True
    for name, part in expected.items():
        error = torch.linalg.vector_norm(given[name] - part, dtype=F64)
        relative = (error / torch.linalg.vector_norm(part, dtype=F64)).item()
        assert relative <= (2**-7 if dtype == BF16 else 1e-5), f"{name}: {relative:.1e}"


def some_rows(batch):
    """The first and the last ones, and those where a grid ends."""
    return sorted({row for row in (0, 1, 2**15, 2**16 - 2, 2**16 - 1, 2**16, batch - 2, batch - 1)
                   if row < batch})


def gradients_of(y, leaves, dy):
    """y and the gradients, by name."""
    return {"y": y.detach(), **dict(zip(leaves, torch.autograd.grad(y, list(leaves.values()), dy),
                                        strict=True))}


def check_rows(function, tensors, dtype):
    """Compare the output and the gradients of some rows with those of the rows alone."""
    dy = draw(*tensors["x"].shape, dtype=dtype)
    whole = {name: t.requires_grad_() for name, t in tensors.items()}
    given = gradients_of(function(**whole), whole, dy)
    rows = some_rows(len(dy))
    alone = {name: t[rows].detach().double().requires_grad_() for name, t in tensors.items()}
    expected = gradients_of(function(**alone), alone, dy[rows].double())
    all_close({name: part[rows].double() for name, part in given.items()}, expected, dtype)


@pytest.mark.parametrize("shape", [
    sized(2, (2**16, 4, 32)), sized(2, (70_000, 4, 32)), sized(2, (BEYOND_A_GRID, 3, 24))])
def test_scan_of_a_large_batch(shape):
    A = -torch.rand(shape[2], 16, device=DEVICE) - 0.1

    def scan(x, delta, z, B, C):
        method = "chunked" if x.dtype == F64 else "triton"
        return selective_scan(x, delta, A.to(x.dtype), B, C, z=z, delta_softplus=True,
                              method=method)

    check_rows(scan, {**{name: draw(*shape) for name in ("x", "delta", "z")},
                      "B": draw(*shape[:2], 16), "C": draw(*shape[:2], 16)}, F32)


def scan_in_pieces(tensors, shared, h, dy, dh, cuts):
    """y, the last state and all gradients of a scan that is computed in pieces, of which the last
    of several is computed in float64."""
    shared = {name: t.detach().requires_grad_() for name, t in shared.items()}
    h0 = h.detach().requires_grad_()
    h, ys, pieces = h0, [], []
    for start, end in pairwise(cuts):
        piece = {name: t[:, start:end].detach().requires_grad_() for name, t in tensors.items()}
        pieces.append(piece)
        is_tail = start > 0 and end == cuts[-1]
        wide, method = (F64, "chunked") if is_tail else (None, "triton")
        y, h = selective_scan(
            **{name: t.to(wide) if wide else t for name, t in (piece | shared).items()},
            initial_state=h.to(wide) if wide else h, delta_softplus=True, return_last_state=True,
            method=method)
        ys.append(y.to(dy.dtype))
    leaves = [*shared.values(), h0, *(t for piece in pieces for t in piece.values())]
    dys = [dy[:, start:end] for start, end in pairwise(cuts)]
    found = list(torch.autograd.grad((*ys, h), leaves, (*dys, dh.to(h.dtype))))
    results = {f"d{name}": found.pop(0) for name in shared}
    results |= {"d_initial_state": found.pop(0), "last_state": h.detach().float()}
    for start, y in zip(cuts, ys, strict=False):
        results[f"y from {start}"] = y.detach()
        results |= {f"d{name} from {start}": found.pop(0) for name in tensors}
    return results


def cut(results, cuts):
    """The results of a whole scan, under the names that they have in pieces."""
    parts = {}
    for name, part in results.items():
        whole_name = name.removesuffix(" from 0")
        if whole_name == name:
            parts[name] = part
        else:
            parts |= {f"{whole_name} from {start}": part[:, start:end]
                      for start, end in pairwise(cuts)}
    return parts


@pytest.mark.parametrize(("batch", "length", "d_inner", "d_state", "dtype", "has_gate"), [
    sized(8, 1, 2**21, 32, 16, F32, True),
    sized(16, 1, 2**22, 32, 16, F32, True),
    sized(72, 1, 2**21, 1040, 16, BF16, True),               # x has more than 2³¹ elements
    sized(72, 2, 2**20, 1040, 16, BF16, True),
    sized(110, 1, 2**21, 1040, 256, BF16, False),            # and so have the saved states
    sized(48, 1, 2**25 + 2**16, 8, 32, BF16, False)])        # and the parts of dB and dC
def test_long_scan_equals_its_pieces(batch, length, d_inner, d_state, dtype, has_gate):
    def draw_long(width):
        return draw(batch, length, width, dtype=dtype)

    tensors = {"x": draw_long(d_inner), "delta": draw_long(d_inner).sub_(3),
               "B": draw_long(d_state), "C": draw_long(d_state)}
    if has_gate:
        tensors["z"] = draw_long(d_inner)
    shared = {"A": -torch.rand(d_inner, d_state, device=DEVICE) - 0.1, "D": draw(d_inner)}
    h, dh = draw(2, batch, d_inner, d_state)
    dy = draw_long(d_inner)
    cuts = [0, length // 2, length - TAIL, length]
    whole = scan_in_pieces(tensors, shared, h, dy, dh, [0, length])
    all_close(cut(whole, cuts), scan_in_pieces(tensors, shared, h, dy, dh, cuts), dtype)


def parts_of_a_projection():
    """x, dt, B and C as a Mamba-2 block has them: slices of one tensor, here of 2³¹ elements and
    50 million more. From step 128,071 on, they begin beyond 2³¹."""
    n_heads, head_dim, d_state = 128, 64, 128
    sizes = [n_heads * head_dim, n_heads * head_dim, d_state, d_state, n_heads]
    _, x, B, C, dt = draw(1, 2**17, sum(sizes), dtype=BF16).split(sizes, -1)
    return {"x": x.unflatten(-1, (n_heads, head_dim)), "dt": dt,
            "B": B[:, :, None], "C": C[:, :, None]}, -torch.rand(n_heads, device=DEVICE) - 0.1


def ssd_in_pieces(tensors, A, dy, cuts):
    """y and all gradients of Mamba-2's scan, computed in pieces, of which the last of several is
    computed in float64."""
    A = A.detach().requires_grad_()
    state, ys, pieces = None, [], []
    for start, end in pairwise(cuts):
        is_whole = end - start == dy.shape[1]
        is_tail = end == dy.shape[1] and not is_whole
        wide, method = (F64, "chunked") if is_tail else (None, "triton")
        piece = {name: (t if is_whole else t[:, start:end].contiguous()).detach().requires_grad_()
                 for name, t in tensors.items()}
        pieces.append(piece)
        y, state = ssd(**{name: t.to(wide) if wide else t for name, t in piece.items()},
                       A=A.to(wide) if wide else A,
                       initial_state=state if state is None or not wide else state.to(wide),
                       dt_softplus=True, return_final_state=True, method=method)
        ys.append(y.to(dy.dtype))
    leaves = [A, *(t for piece in pieces for t in piece.values())]
    dA, *found = torch.autograd.grad(
        ys, leaves, [dy[:, start:end] for start, end in pairwise(cuts)])
    results = {"dA": dA, "final_state": state.detach().float()}
    for start, y in zip(cuts, ys, strict=False):
        results[f"y from {start}"] = y.detach()
        results |= {f"d{name} from {start}": found.pop(0) for name in tensors}
    return results


@pytest.mark.skipif(MEMORY < 40, reason="takes 40 GiB of GPU memory")
def test_ssd_of_a_large_projection_equals_its_pieces():
    tensors, A = parts_of_a_projection()
    length = tensors["x"].shape[1]
    dy = draw(*tensors["x"].shape, dtype=BF16)
    cuts = [0, length // 2, length - TAIL, length]
    whole = ssd_in_pieces(tensors, A, dy, [0, length])
    all_close(cut(whole, cuts), ssd_in_pieces(tensors, A, dy, cuts), BF16)


def run_the_official_ssd():
    from mamba_ssm.ops.triton.ssd_combined import mamba_chunk_scan_combined

    tensors, A = parts_of_a_projection()
    x, dt, B, C = tensors.values()
    mamba_chunk_scan_combined(x, dt, A, B, C, 256, dt_softplus=True)
    torch.cuda.synchronize()


@pytest.mark.skipif(MEMORY < 40, reason="takes 40 GiB of GPU memory")
def test_official_ssd_of_a_large_projection_fails():
    """Its offsets have 32 bits (github.com/state-spaces/mamba, issue 1015), in version 2.3.2. It
    runs in a process of its own, which can't use the GPU afterwards."""
    pytest.importorskip("mamba_ssm")
    with (ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool,
          pytest.raises(RuntimeError, match="illegal memory access")):
        pool.submit(run_the_official_ssd).result()


def test_scan_of_many_channels():
    d_inner = 2**19 + 8
    last = slice(d_inner - 8, None)
    x, delta = draw(2, 1, 3, d_inner)
    A, (B, C) = -torch.rand(d_inner, 16, device=DEVICE) - 0.1, draw(2, 1, 3, 16)
    leaves = [t.requires_grad_() for t in (x, delta, A)]
    y = selective_scan(x, delta, A, B, C, delta_softplus=True, method="triton")
    few = [t.detach().double().requires_grad_() for t in (x[..., last], delta[..., last], A[last])]
    expected = selective_scan(*few, B.double(), C.double(), delta_softplus=True, method="chunked")
    assert_close(y[..., last].double(), expected, rtol=1e-4, atol=1e-5)
    for given, wanted in zip(torch.autograd.grad(y.sum(), leaves),
                             torch.autograd.grad(expected.sum(), few), strict=True):
        given = given[last] if given.ndim == 2 else given[..., last]
        assert_close(given.double(), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("shape", "dtype"), [
    sized(2, (2**16, 4, 32), F32), sized(2, (70_000, 4, 32), F32),
    sized(2, (BEYOND_A_GRID, 3, 24), F64)])
def test_convolution_of_a_large_batch(shape, dtype):
    weight, bias = draw(shape[2], 4, dtype=dtype), draw(shape[2], dtype=dtype)
    check_rows(lambda x: causal_conv1d_silu(x, weight.to(x.dtype), bias.to(x.dtype)),
               {"x": draw(*shape, dtype=dtype)}, dtype)


def convolution_in_pieces(x, weight, bias, conv_state, dy, cuts):
    """y and all gradients of a convolution that is computed in pieces, of which the last of
    several is computed in float64."""
    leaves = [t.detach().requires_grad_() for t in (weight, bias, conv_state)]
    weight, bias, conv_state = leaves
    ys, pieces = [], []
    for start, end in pairwise(cuts):
        pieces.append(x[:, start:end].detach().requires_grad_())
        given = [pieces[-1], weight, bias, conv_state]
        if start > 0 and end == cuts[-1]:
            given = [t.to(F64) for t in given]
        ys.append(causal_conv1d_silu(*given).to(dy.dtype))
        conv_state = pieces[-1][:, end - start - 3:]
    dys = [dy[:, start:end] for start, end in pairwise(cuts)]
    found = torch.autograd.grad(ys, [*leaves, *pieces], dys)
    results = dict(zip(("dweight", "dbias", "d_conv_state"), found, strict=False))
    for start, y, dx in zip(cuts, ys, found[3:], strict=False):
        results |= {f"y from {start}": y.detach(), f"dx from {start}": dx}
    return results


@pytest.mark.parametrize(("shape", "dtype"), [
    sized(8, (1, 2**21, 32), F32), sized(16, (1, 2**22, 32), F32),
    sized(32, (1, 2**21, 1040), BF16), sized(40, (2, 2**20, 1040), BF16),
    sized(72, (1, 2**22, 1040), BF16), sized(16, (2, LONG, 24), F64)])
def test_long_convolution_equals_its_pieces(shape, dtype):
    batch, length, d_inner = shape
    x, dy = (draw(*shape, dtype=dtype) for _ in range(2))
    given = (x, draw(d_inner, 4), draw(d_inner), draw(batch, 3, d_inner, dtype=dtype), dy)
    cuts = [0, length // 2, length - TAIL, length]
    whole = convolution_in_pieces(*given, [0, length])
    all_close(cut(whole, cuts), convolution_in_pieces(*given, cuts), dtype)


def test_gradients_that_add_up_over_a_large_batch():
    x, weight, bias = draw(BEYOND_A_GRID, 2, 8), draw(8, 4).requires_grad_(), draw(8)
    whole = torch.autograd.grad(causal_conv1d_silu(x, weight, bias).sum(), weight)[0]
    parts = [torch.autograd.grad(causal_conv1d_silu(part, weight, bias).sum(), weight)[0]
             for part in x.split(2**14)]
    assert_close(whole, torch.stack(parts).sum(0), rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize(("batch", "d_model", "expand"), [
    sized(24, 70_000, 1024, 2),                              # 2³¹ components of states and more
    sized(8, 2, 8, 2**18 + 8)])                              # blocks of channels beyond a grid
def test_decoding_step(batch, d_model, expand, monkeypatch):
    block = Mamba(d_model, expand=expand, device=DEVICE)
    cache = MambaCache(draw(batch, 3, block.d_inner), draw(batch, block.d_inner, 16))
    x = draw(batch, d_model)
    rows = some_rows(batch)
    few = MambaCache(cache.conv_state[rows], cache.ssm_state[rows])
    with torch.no_grad():
        y = block.step_(x, cache)
        monkeypatch.setattr(decode, "can_use_kernels", lambda x: False)
        expected = block.step_(x[rows], few)
    for given, wanted in ((y, expected), *zip(cache, few, strict=True)):
        assert_close(given[rows], wanted, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("letter", "MAFL64")
def test_model_takes_a_batch_beyond_a_grid(letter):
    model = MambaLM(MambaConfig(vocab_size=16, d_model=8, layers=letter * 2, d_state=4, n_heads=4))
    model.cuda()
    input_ids = torch.randint(16, (BEYOND_A_GRID, 5), device="cuda")
    logits = model(input_ids)
    logits.square().mean().backward()
    with torch.no_grad():
        assert_close(logits[-9:], model(input_ids[-9:]), rtol=1e-4, atol=1e-5)
    given = model.generate(input_ids, 3)
    assert torch.equal(given[-9:], model.generate(input_ids[-9:], 3))


@pytest.mark.parametrize("letter", "MF64")
def test_model_takes_a_long_sequence(letter):
    model = MambaLM(MambaConfig(vocab_size=16, d_model=8, layers=letter, d_state=4)).cuda()
    input_ids = torch.randint(16, (1, LONG), device="cuda")
    logits = model(input_ids)
    logits.square().mean().backward()
    with torch.no_grad():
        assert_close(logits[:, :1000], model(input_ids[:, :1000]), rtol=1e-3, atol=1e-4)
        stepwise = model.generate(input_ids, 2)                # a prefill in parts
        assert torch.equal(stepwise[:, -2], logits[:, -1].argmax(-1))
