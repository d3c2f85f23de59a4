"""The causal convolution's kernels, in Triton's interpreter or on a GPU, against PyTorch."""

import pytest
import torch
from systems import F64, randn

from minimamba.ops import causal_conv1d
from minimamba.ops.causal_conv1d import (
    CHANNELS,
    _apply,
    causal_conv1d_silu,
)
from minimamba.scan import why_not

pytestmark = pytest.mark.skipif(bool(why_not("triton")), reason=str(why_not("triton")))
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
STEPS = causal_conv1d.STEPS if DEVICE == "cuda" else 16      # the interpreter takes long for 64
OPERATOR = torch.ops.minimamba.causal_conv1d_silu
KERNELS = {"operator": OPERATOR, "function": _apply}


@pytest.fixture(autouse=True)
def _short_tiles(monkeypatch):
    causal_conv1d._launcher.cache_clear()
    monkeypatch.setattr(causal_conv1d, "STEPS", STEPS)
    yield
    causal_conv1d._launcher.cache_clear()


def inputs(length, d_conv, *, d_inner=70, bias=True, dtype=torch.float32):
    """x, a slice of something wider, weight, bias and conv_state; without a bias there is no
    conv_state either."""
    shapes = (2, length, d_inner + 5), (d_inner, d_conv), (d_inner,), (2, d_conv - 1, d_inner)
    wider, weight, bias_, conv_state = (
        randn(*shape, seed=i).to(dtype) for i, shape in enumerate(shapes))
    return [wider[..., 3:-2], weight, bias_ if bias else None, conv_state if bias else None]


def output_and_gradients(function, arguments, dtype, device):
    arguments = [None if tensor is None else tensor.to(device, dtype).requires_grad_()
                 for tensor in arguments]
    y = function(*arguments)
    leaves = [tensor for tensor in arguments if tensor is not None]
    dy = randn(*y.shape, seed=9).to(y)
    return [tensor.cpu().to(F64) for tensor in (y.detach(), *torch.autograd.grad(y, leaves, dy))]


@pytest.mark.parametrize("length", [1, 2, STEPS - 1, STEPS + 3])
@pytest.mark.parametrize("d_conv", [1, 2, 4])
@pytest.mark.parametrize(("bias", "how"), [(True, "operator"), (False, "function")])
def test_kernels_match_pytorch_in_output_and_gradients(length, d_conv, bias, how):
    arguments = inputs(length, d_conv, bias=bias)
    given = output_and_gradients(KERNELS[how], arguments, torch.float32, DEVICE)
    expected = output_and_gradients(causal_conv1d_silu, arguments, F64, "cpu")
    for one, other in zip(given, expected, strict=True):
        assert (one - other).norm() <= 3e-7 * other.norm()


@pytest.mark.parametrize("how", KERNELS)
def test_kernels_match_pytorch_over_three_tiles_of_steps_and_channels(how):
    arguments = inputs(2 * STEPS + 3, 4, d_inner=2 * CHANNELS + 3)
    given = output_and_gradients(KERNELS[how], arguments, torch.float32, DEVICE)
    expected = output_and_gradients(causal_conv1d_silu, arguments, F64, "cpu")
    for one, other in zip(given, expected, strict=True):
        assert (one - other).norm() <= 3e-7 * other.norm()


def test_bfloat16_is_rounded_once():
    arguments = inputs(40, 4, dtype=torch.bfloat16)
    given = output_and_gradients(OPERATOR, arguments, torch.bfloat16, DEVICE)
    expected = output_and_gradients(causal_conv1d_silu, arguments, F64, "cpu")
    for one, other in zip(given, expected, strict=True):
        assert (one - other).norm() <= 2**-7 * other.norm()


def test_operator_is_registered_as_torch_compile_needs_it():
    arguments = tuple(tensor.to(DEVICE).requires_grad_() for tensor in inputs(20, 4))
    torch.library.opcheck(OPERATOR.default, arguments)


def test_pytorch_form_is_a_grouped_conv1d_and_silu():
    x, weight, bias, conv_state = inputs(9, 4)
    padded = torch.cat([conv_state, x], 1).mT
    expected = torch.nn.functional.conv1d(padded, weight[:, None], bias, groups=70).mT
    torch.testing.assert_close(causal_conv1d_silu(x, weight, bias, conv_state),
                               torch.nn.functional.silu(expected))
    torch.testing.assert_close(
        causal_conv1d_silu(x, weight, bias),
        causal_conv1d_silu(x, weight, bias, torch.zeros_like(conv_state)))


def test_wide_convolutions_run_without_the_kernels_which_are_unrolled(monkeypatch):
    ran = []
    monkeypatch.setattr(causal_conv1d, "can_use_kernels", lambda x: True)
    monkeypatch.setattr(causal_conv1d, "_apply", lambda x, weight, *_: ran.append(weight.shape[1]))
    for d_conv in (4, 16, 17, 100):
        causal_conv1d_silu(randn(1, 5, 2), randn(2, d_conv), None)
    assert ran == [4, 16]
