"""The causal convolution by its kernels, in Triton's interpreter or on a GPU, against PyTorch."""

import pytest
import torch
from systems import F64, randn

from minimamba.ops import causal_conv1d
from minimamba.scan.triton import operator

pytestmark = pytest.mark.skipif(bool(operator.missing()), reason=str(operator.missing()))
PLACE = "cuda" if torch.cuda.is_available() else "cpu"
OPERATOR = torch.ops.minimamba.causal_convolution
KERNELS = {"operator": OPERATOR, "function": causal_conv1d._operate}


def inputs(length, d_conv, *, d_inner=70, bias=True, dtype=torch.float32):
    """Without a bias also without what came before."""
    shapes = (2, length, d_inner), (d_inner, d_conv), (d_inner,), (2, d_conv - 1, d_inner)
    x, weight, bias_, before = (randn(*shape, seed=i).to(dtype) for i, shape in enumerate(shapes))
    return [x, weight, bias_ if bias else None, before if bias else None]


def run(function, parts, dtype, place):
    parts = [part if part is None else part.to(place, dtype).requires_grad_() for part in parts]
    y = function(*parts)
    leaves = [part for part in parts if part is not None]
    dy = randn(*y.shape, seed=9).to(y)
    return [part.cpu().to(F64) for part in (y.detach(), *torch.autograd.grad(y, leaves, dy))]


@pytest.mark.parametrize("length", [1, 2, 31, 67])
@pytest.mark.parametrize("d_conv", [1, 2, 4])
@pytest.mark.parametrize(("bias", "how"), [(True, "operator"), (False, "function")])
def test_both_ways(length, d_conv, bias, how):
    parts = inputs(length, d_conv, bias=bias)
    wanted = run(causal_conv1d.causal, parts, F64, "cpu")
    for one, other in zip(run(KERNELS[how], parts, torch.float32, PLACE), wanted, strict=True):
        assert (one - other).norm() <= 3e-7 * other.norm()


def test_half_precision_costs_a_rounding():
    parts = inputs(40, 4, dtype=torch.bfloat16)
    wanted = run(causal_conv1d.causal, parts, F64, "cpu")
    for one, other in zip(run(OPERATOR, parts, torch.bfloat16, PLACE), wanted, strict=True):
        assert (one - other).norm() <= 2**-7 * other.norm()


def test_it_is_an_operator_that_torch_compile_can_take():
    parts = [part.to(PLACE).requires_grad_() for part in inputs(20, 4)]
    torch.library.opcheck(OPERATOR.default, tuple(parts))


def test_in_pytorch_it_is_a_convolution():
    x, weight, bias, before = inputs(9, 4)
    whole = torch.cat([before, x], 1).mT
    wanted = torch.nn.functional.conv1d(whole, weight[:, None], bias, groups=70).mT
    torch.testing.assert_close(causal_conv1d.causal(x, weight, bias, before),
                               torch.nn.functional.silu(wanted))
    torch.testing.assert_close(causal_conv1d.causal(x, weight, bias),
                               causal_conv1d.causal(x, weight, bias, torch.zeros_like(before)))
