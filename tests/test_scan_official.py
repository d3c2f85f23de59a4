"""The parameter space and tolerances of the official package's own test of its scan.

Complex A is left out. On a GPU all lengths run, through the Triton kernels; elsewhere two lengths,
through the scan in PyTorch, and a few cases through the kernels in Triton's interpreter.
"""

from itertools import product

import pytest
import torch

from minimamba import compat, selective_scan
from minimamba.scan.triton import operator

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
CHANNELS = 4
STATES = 8
LENGTHS = [8, 16, 32, 64, 128, 256, 372, 512, 784, 1024, 1134, 2048, 4096]
TOLERANCES = {torch.float32: (6e-4, 2e-3), torch.float16: (3e-3, 5e-3),
              torch.bfloat16: (3e-2, 5e-2)}
# (groups of B, groups of C); None: constant over time.
LAYOUTS = [(1, 1), (2, 2), (None, 1), (1, None), (None, None)]


def inputs(length, dtype, layout, has_D, has_z, has_bias, batch):
    def B_or_C(groups):
        if groups is None:
            return torch.randn(CHANNELS, STATES)
        shape = (batch, STATES, length) if groups == 1 else (batch, groups, STATES, length)
        return torch.randn(shape, dtype=dtype)

    B, C = map(B_or_C, layout)
    tensors = {"u": torch.randn(batch, CHANNELS, length, dtype=dtype),
               "delta": 0.5 * torch.rand(batch, CHANNELS, length, dtype=dtype),
               "A": -0.5 * torch.rand(CHANNELS, STATES), "B": B, "C": C,
               "D": torch.randn(CHANNELS) if has_D else None,
               "z": torch.randn(batch, CHANNELS, length, dtype=dtype) if has_z else None,
               "delta_bias": 0.5 * torch.rand(CHANNELS) if has_bias else None}
    return {name: tensor.to(DEVICE).requires_grad_() for name, tensor in tensors.items()
            if tensor is not None}


def exact(u, delta, A, B, C, softplus, D=None, z=None, delta_bias=None):
    """In float64, by the chunked scan, which is tested against the reference."""
    def in_our_layout(tensor):
        if tensor.ndim == 2:
            tensor = tensor[None, :, :, None].expand(len(u), -1, -1, u.shape[2])
        return (tensor if tensor.ndim == 4 else tensor[:, None]).permute(0, 3, 1, 2)

    y, last_state = selective_scan(
        u.mT, delta.mT, A, in_our_layout(B), in_our_layout(C), D, None if z is None else z.mT,
        delta_bias=delta_bias, delta_softplus=softplus, return_last_state=True, method="chunked")
    return y.mT, last_state


def check(length, dtype, layout, softplus, *has, batch=2):
    rtol, atol = TOLERANCES[dtype]
    plain = {"rtol": rtol, "atol": atol}
    weights = {"rtol": max(1e-3, rtol), "atol": max(1e-3, atol)}
    by_name = {"u": {"rtol": 2 * rtol, "atol": 2 * atol}, "z": plain, "D": weights,
               "delta": {"rtol": 5 * rtol, "atol": 10 * atol}, "delta_bias": weights,
               "A": {"rtol": weights["rtol"], "atol": 5 * weights["atol"]},
               **dict(zip("BC", (plain if groups else weights for groups in layout),
                          strict=True))}
    leaves = inputs(length, dtype, layout, *has, batch)
    y, last_state = compat.selective_scan_fn(**leaves, delta_softplus=softplus,
                                             return_last_state=True)
    doubles = {name: leaf.detach().double().requires_grad_() for name, leaf in leaves.items()}
    expected_y, expected_state = exact(**doubles, softplus=softplus)
    torch.testing.assert_close(y.double(), expected_y, rtol=rtol, atol=atol)
    torch.testing.assert_close(last_state.double(), expected_state, rtol=rtol, atol=atol)
    dy = torch.randn_like(y)
    gradients = torch.autograd.grad(y, list(leaves.values()), dy)
    expected_gradients = torch.autograd.grad(expected_y, list(doubles.values()), dy.double())
    for name, given, expected in zip(leaves, gradients, expected_gradients, strict=True):
        torch.testing.assert_close(given.double(), expected.to(given.dtype).double(),
                                   **by_name[name], msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize("length", LENGTHS if DEVICE == "cuda" else [8, 32])
@pytest.mark.parametrize("dtype", list(TOLERANCES), ids=str)
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_scan_is_within_the_official_tolerances(length, dtype, layout):
    torch.manual_seed(length)
    for options in product([False, True], repeat=4):
        check(length, dtype, layout, *options)


@pytest.mark.skipif(DEVICE == "cuda", reason="the test above runs the kernels themselves")
@pytest.mark.parametrize(("layout", "dtype"), [
    ((2, 2), torch.bfloat16), ((None, 1), torch.float16)], ids=str)
@pytest.mark.usefixtures("short_chunks")
def test_kernels_in_the_interpreter_are_within_the_official_tolerances(layout, dtype, monkeypatch):
    monkeypatch.setattr(operator, "is_chosen", lambda *_: True)
    torch.manual_seed(0)
    check(8, dtype, layout, True, True, True, True, batch=1)
