"""The official package's own test of its scan, its parameter space and its tolerances.

Complex A is left out. There batch is 2, channels 4, d_state 8; lengths 8 to 4096. On a GPU this
runs through the fused kernels; elsewhere, and shorter, through the scan in PyTorch, and a few of it
through the kernels in Triton's interpreter.
"""

from functools import partial
from itertools import product

import pytest
import torch

from minimamba import compat, selective_scan

PLACE = "cuda" if torch.cuda.is_available() else "cpu"
BATCH, CHANNELS, STATES = 2, 4, 8
LENGTHS = [8, 16, 32, 64, 128, 256, 372, 512, 784, 1024, 1134, 2048, 4096]
TOLERANCES = {torch.float32: (6e-4, 2e-3), torch.float16: (3e-3, 5e-3),
              torch.bfloat16: (3e-2, 5e-2)}
# (groups of B, groups of C); None: the same at every step.
LAYOUTS = [(1, 1), (2, 2), (None, 1), (1, None), (None, None)]


def inputs(length, dtype, layout, has_D, has_z, has_bias):
    def part(groups):
        if groups is None:
            return torch.randn(CHANNELS, STATES)
        shape = (BATCH, STATES, length) if groups == 1 else (BATCH, groups, STATES, length)
        return torch.randn(shape, dtype=dtype)

    B, C = map(part, layout)
    given = {"u": torch.randn(BATCH, CHANNELS, length, dtype=dtype),
             "delta": 0.5 * torch.rand(BATCH, CHANNELS, length, dtype=dtype),
             "A": -0.5 * torch.rand(CHANNELS, STATES), "B": B, "C": C,
             "D": torch.randn(CHANNELS) if has_D else None,
             "z": torch.randn(BATCH, CHANNELS, length, dtype=dtype) if has_z else None,
             "delta_bias": 0.5 * torch.rand(CHANNELS) if has_bias else None}
    return {name: value.to(PLACE).requires_grad_() for name, value in given.items()
            if value is not None}


def exact(u, delta, A, B, C, softplus, D=None, z=None, delta_bias=None):
    """In float64, by the scan that is tested against the definition."""
    def by_step(part):
        if part.ndim == 2:
            part = part[None, :, :, None].expand(BATCH, -1, -1, u.shape[2])
        return (part if part.ndim == 4 else part[:, None]).permute(0, 3, 1, 2)

    y, h = selective_scan(u.mT, delta.mT, A, by_step(B), by_step(C), D, None if z is None else z.mT,
                          delta_bias=delta_bias, delta_softplus=softplus, return_last_state=True,
                          method="chunked")
    return y.mT, h


def check(length, dtype, layout, softplus, *has):
    rtol, atol = TOLERANCES[dtype]
    plain = {"rtol": rtol, "atol": atol}
    weights = {"rtol": max(1e-3, rtol), "atol": max(1e-3, atol)}
    by_name = {"u": {"rtol": 2 * rtol, "atol": 2 * atol}, "z": plain, "D": weights,
               "delta": {"rtol": 5 * rtol, "atol": 10 * atol}, "delta_bias": weights,
               "A": {"rtol": weights["rtol"], "atol": 5 * weights["atol"]},
               **dict(zip("BC", (plain if groups else weights for groups in layout),
                          strict=True))}
    given = inputs(length, dtype, layout, *has)
    y, h = compat.selective_scan_fn(**given, delta_softplus=softplus, return_last_state=True)
    wide = {name: part.detach().double().requires_grad_() for name, part in given.items()}
    y_, h_ = exact(**wide, softplus=softplus)
    torch.testing.assert_close(y.double(), y_, rtol=rtol, atol=atol)
    torch.testing.assert_close(h.double(), h_, rtol=rtol, atol=atol)
    dy = torch.randn_like(y)
    wanted = torch.autograd.grad(y_, list(wide.values()), dy.double())
    for name, gradient, other in zip(given, torch.autograd.grad(y, list(given.values()), dy),
                                     wanted, strict=True):
        torch.testing.assert_close(gradient.double(), other.to(gradient.dtype).double(),
                                   **by_name[name], msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize("length", LENGTHS if PLACE == "cuda" else [8, 32])
@pytest.mark.parametrize("dtype", list(TOLERANCES), ids=str)
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_within_the_official_tolerances(length, dtype, layout):
    torch.manual_seed(length)
    for options in product([False, True], repeat=4):
        check(length, dtype, layout, *options)


@pytest.mark.skipif(PLACE == "cuda", reason="the test above runs the kernels themselves")
@pytest.mark.parametrize(("layout", "dtype"), [
    ((2, 2), torch.float32), ((None, 1), torch.bfloat16), ((1, None), torch.float16)], ids=str)
def test_the_fused_kernels_in_the_interpreter(layout, dtype, monkeypatch):
    monkeypatch.setattr(compat, "selective_scan", partial(selective_scan, method="triton"))
    torch.manual_seed(0)
    check(8, dtype, layout, True, True, True, True)
