"""The norm before a mixer as kernels, in Triton's interpreter or on a GPU, against PyTorch."""

import pytest
import torch
from systems import F64, randn
from torch.nn.functional import rms_norm

from minimamba.arguments import is_transformed
from minimamba.nn import MLP, Mamba, Mamba2, layers
from minimamba.nn.layers import Layer
from minimamba.ops import causal_conv1d
from minimamba.ops import pre_norm as fused
from minimamba.ops.gated_norm import ROWS
from minimamba.scan import why_not

pytestmark = pytest.mark.skipif(bool(why_not("triton")), reason=str(why_not("triton")))
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
EPSILON = 1e-2
F16, F32 = torch.float16, torch.float32
D_MODEL = 8
BUILD = {"Mamba": lambda: Mamba(D_MODEL), "Mamba2": lambda: Mamba2(D_MODEL, headdim=4)}


def in_pytorch(x, weight, epsilon, dtype):
    return rms_norm(x.to(weight.dtype), weight.shape, weight, epsilon).to(dtype), x


def outputs_and_gradients(function, x, weight, dtype):
    leaves = [t.detach().requires_grad_() for t in (x, weight)]
    outputs = function(*leaves, EPSILON, dtype)
    gradients = [randn(*x.shape, seed=seed).to(y) for seed, y in enumerate(outputs, 8)]
    return [*outputs, *torch.autograd.grad(outputs, leaves, gradients)]


def errors(given, exact):
    return [((one.to(F64) - other).norm() / other.norm()).item()
            for one, other in zip(given, exact, strict=True)]


@pytest.mark.parametrize("shape", [(1, 1, 6), (1, 1, 8), (2, ROWS + 1, 12)])
def test_kernels_match_pytorch_in_output_and_gradients(shape):
    x, weight = randn(*shape).to(DEVICE, F32), randn(shape[-1], seed=2).to(DEVICE, F32)
    given = outputs_and_gradients(fused.pre_norm, x, weight, F32)
    exact = outputs_and_gradients(in_pytorch, x.to(F64), weight.to(F64), F64)
    assert max(errors(given, exact)) <= 1e-6


@pytest.mark.parametrize("of_weight", [F32, F16], ids=str)
@pytest.mark.parametrize("of_x", [F32, F16], ids=str)
def test_half_precision_is_off_by_no_more_than_in_pytorch(of_x, of_weight):
    x, weight = randn(3, 40, 12).to(DEVICE, of_x), randn(12, seed=2).to(DEVICE, of_weight)
    exact = outputs_and_gradients(in_pytorch, x.to(F64), weight.to(F64), F64)
    given = outputs_and_gradients(fused.pre_norm, x, weight, F16)
    wanted = outputs_and_gradients(in_pytorch, x, weight, F16)
    assert [t.dtype for t in given] == [t.dtype for t in wanted]
    for one, other in zip(errors(given, exact), errors(wanted, exact), strict=True):
        assert one <= 1.02 * other + 1e-7


def test_gradients_need_not_be_contiguous():
    x, weight = randn(2, 3, 8).to(DEVICE, F32), randn(8, seed=2).to(DEVICE, F32)
    wanted = outputs_and_gradients(fused.pre_norm, x, weight, F32)
    turned = x.mT.contiguous().mT
    given = outputs_and_gradients(fused.pre_norm, turned, weight, F32)
    for one, other in zip(given, wanted, strict=True):
        assert torch.equal(one, other)
    leaf = x.clone().requires_grad_()
    summed, = torch.autograd.grad(sum(y.sum() for y in fused.pre_norm(leaf, weight, EPSILON, F32)),
                                  leaf)
    leaf = x.clone().requires_grad_()
    expected, = torch.autograd.grad(sum(y.sum() for y in in_pytorch(leaf, weight, EPSILON, F32)),
                                    leaf)
    torch.testing.assert_close(summed, expected)


def layer(name="Mamba"):
    torch.manual_seed(0)
    made = Layer(BUILD[name](), D_MODEL).to(DEVICE)
    torch.nn.init.uniform_(made.norm.weight, 0.5, 1.5)
    return made


@pytest.fixture
def used(monkeypatch):
    """The dtypes of the norms that the kernels have computed, for any number of elements."""
    dtypes = []

    def pre_norm(x, weight, epsilon, dtype):
        dtypes.append(dtype)
        return fused.pre_norm(x, weight, epsilon, dtype)

    monkeypatch.setattr(fused, "WORTH_FUSING", 1)
    # The blocks themselves have kernels, too, which other tests compare.
    monkeypatch.setattr(layers, "pre_norm", pre_norm)
    monkeypatch.setattr(layers, "can_use_pre_norm", with_kernels)
    return dtypes


def with_kernels(x, norm):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(causal_conv1d, "can_use_kernels", lambda _: not is_transformed())
        return fused.can_use_pre_norm(x, norm)


@pytest.mark.parametrize("name", BUILD)
def test_layer_is_the_same_with_the_kernels(name, used):
    made, x = layer(name), randn(2, 5, D_MODEL).to(DEVICE, F32).requires_grad_()
    leaves = [x, *made.parameters()]
    y = made(x)
    given = [y, *torch.autograd.grad(y.square().sum(), leaves)]
    with torch.no_grad():
        torch.testing.assert_close(made(x), y)
    assert used == [F32, F32]
    made.norm.register_forward_hook(lambda *_: None)
    y = made(x)
    assert len(used) == 2
    for one, other in zip(given, [y, *torch.autograd.grad(y.square().sum(), leaves)], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_norm_has_the_dtype_of_autocast_and_the_residual_stream_keeps_its_own(used):
    made, x = layer(), randn(2, 5, D_MODEL).to(DEVICE, F32)
    with torch.autocast(DEVICE, F16):
        y = made(x)
    assert used == [F16]
    assert y.dtype == F32


def test_a_projection_that_may_keep_full_precision_under_autocast_is_given_it(used):
    made, x = layer(), randn(2, 5, D_MODEL).to(DEVICE, F32)
    given = []
    made.mixer.in_proj.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0].dtype))
    with torch.autocast(DEVICE, F16):
        made(x)
    assert used == given == [F32]


@pytest.mark.parametrize("name", BUILD)
def test_exported_layer_takes_any_number_of_sequences(name, monkeypatch):
    made, x = Layer(BUILD[name](), D_MODEL).eval(), randn(7, 6, D_MODEL).to(F32)
    monkeypatch.setattr(fused, "WORTH_FUSING", x[:4].numel())
    run = torch.export.export(made, (x[:3],),
                              dynamic_shapes=({0: torch.export.Dim("batch")},)).module()
    with torch.no_grad():
        torch.testing.assert_close(run(x), made(x))


@pytest.mark.parametrize("change", [
    lambda made: made.double(), lambda made: setattr(made, "norm", torch.nn.RMSNorm(D_MODEL))],
    ids=["float64", "no epsilon"])
def test_a_norm_that_the_kernels_do_not_have_is_pytorchs(used, change):
    made = layer()
    change(made)
    x = randn(2, 5, D_MODEL).to(DEVICE, F32)
    y = made.to(DEVICE)(x)
    assert used == []
    torch.testing.assert_close(y, x + made.mixer(made.norm(x.to(made.norm.weight.dtype))))


def test_transformed_and_compiled_layers_take_pytorchs_norm(used):
    made, x = layer(), randn(2, 5, D_MODEL).to(DEVICE, F32)
    dx = torch.func.grad(lambda x: made(x).square().sum())(x)
    torch.compile(made, backend="eager")(x)
    assert used == []
    leaf = x.clone().requires_grad_()
    torch.testing.assert_close(torch.autograd.grad(made(leaf).square().sum(), leaf)[0], dx)
    assert used == [F32]


def test_the_residual_stream_is_rounded_to_the_weights_dtype_first():
    x = 1 + 2.0**-13 * torch.arange(8.0, device=DEVICE).view(1, 1, 8)  # ties and less, in float16
    weight = torch.ones(8, dtype=F16, device=DEVICE)
    normed, _ = fused.pre_norm(100 * x, weight, 0.0, F32)
    torch.testing.assert_close(normed, fused.pre_norm((100 * x).to(F16), weight, 0.0, F32)[0],
                               rtol=0, atol=0)


def test_other_mixers_few_elements_and_wide_rows_take_pytorchs_norm(used, monkeypatch):
    x = randn(2, 5, D_MODEL).to(DEVICE, F32)
    Layer(MLP(D_MODEL), D_MODEL).to(DEVICE)(x)
    for limit, value in (("WORTH_FUSING", x.numel() + 1), ("MAX_SIZE", D_MODEL - 1),
                         ("MAX_PROGRAMS", 9)):
        with monkeypatch.context() as patch:
            patch.setattr(fused, limit, value)
            layer()(x)
    assert used == []
    layer()(x)
    assert used == [F32]


def test_second_derivative_is_an_error():
    x = randn(2, 3, 8).to(DEVICE, F32).requires_grad_()
    normed, _ = fused.pre_norm(x, torch.ones(8, device=DEVICE), EPSILON, F32)
    dx, = torch.autograd.grad(normed.square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match=r"differentiated again.+CPU"):
        dx.sum().backward()
