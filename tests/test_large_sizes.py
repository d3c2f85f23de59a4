"""Sizes beyond the limits of a CUDA grid and of 32-bit offsets, on a GPU.

A part of a large batch, or of a long sequence, must be what it is when it is computed alone.
"""

import pytest
import torch
from torch.testing import assert_close

from minimamba import MambaConfig, MambaLM, selective_scan
from minimamba.ops.causal_conv1d import causal_conv1d_silu

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
BEYOND_A_GRID = 2**16 + 3
LONG = 2**21 + 2**16
BEYOND_INT32 = (2, 2**20, 1100)


@pytest.fixture(autouse=True)
def free_memory():
    torch.cuda.empty_cache()
    torch.manual_seed(0)
    yield
    torch.cuda.empty_cache()


def draw(*shape, dtype=torch.float32):
    return torch.randn(shape, device="cuda", dtype=dtype)


def last_rows_close(function, per_sequence, shared, rows=1):
    """Compare outputs and gradients of the last rows of a batch with those of the rows alone."""
    def run(part):
        leaves = [tensor[part].detach().requires_grad_() for tensor in per_sequence]
        y = function(*leaves, *shared)
        dy = torch.ones_like(y)
        dy[..., ::2] = -1
        return y.detach()[-rows:], *(g[-rows:] for g in torch.autograd.grad(y, leaves, dy))

    for given, expected in zip(run(slice(None)), run(slice(-rows, None)), strict=True):
        tolerance = 1e-2 if given.dtype == torch.bfloat16 else 1e-5
        assert (given - expected).norm() <= tolerance * expected.norm()


def scan(x, delta, z, B, C, A):
    return selective_scan(x, delta, A, B, C, z=z, delta_softplus=True, method="triton")


@pytest.mark.parametrize(("shape", "dtype"), [
    ((BEYOND_A_GRID, 3, 24), torch.float32), ((2, LONG, 24), torch.float32),
    (BEYOND_INT32, torch.bfloat16), ((1, 3, 2**19 + 8), torch.float32)])
def test_scan(shape, dtype):
    A = -torch.rand(shape[2], 16, device="cuda") - 0.1
    B, C = (draw(*shape[:2], 16, dtype=dtype) for _ in range(2))
    last_rows_close(scan, [draw(*shape, dtype=dtype) for _ in range(3)] + [B, C], [A])


@pytest.mark.parametrize(("shape", "dtype"), [
    ((BEYOND_A_GRID, 3, 24), torch.float32), ((2, LONG, 24), torch.float32),
    (BEYOND_INT32, torch.bfloat16), ((BEYOND_A_GRID, 3, 24), torch.float64),
    ((2, LONG, 24), torch.float64)])
def test_convolution(shape, dtype):
    weight, bias = draw(shape[2], 4, dtype=dtype), draw(shape[2], dtype=dtype)
    last_rows_close(lambda x: causal_conv1d_silu(x, weight, bias), [draw(*shape, dtype=dtype)], [])


def test_gradients_that_add_up_over_a_large_batch():
    x, weight, bias = draw(BEYOND_A_GRID, 2, 8), draw(8, 4).requires_grad_(), draw(8)
    whole = torch.autograd.grad(causal_conv1d_silu(x, weight, bias).sum(), weight)[0]
    parts = [torch.autograd.grad(causal_conv1d_silu(part, weight, bias).sum(), weight)[0]
             for part in x.split(2**14)]
    assert_close(whole, torch.stack(parts).sum(0), rtol=1e-4, atol=1e-2)


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
