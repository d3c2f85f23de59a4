"""The gated norm's kernels, in Triton's interpreter or on a GPU, against PyTorch."""

import pytest
import torch
from systems import F64, randn

from minimamba.ops import causal_conv1d, gated_norm
from minimamba.ops.gated_norm import ROWS, _apply, backward_into, gated_rms_norm
from minimamba.ops.rows import in_rows
from minimamba.scan import why_not

pytestmark = pytest.mark.skipif(bool(why_not("triton")), reason=str(why_not("triton")))
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
OPERATOR = torch.ops.minimamba.gated_rms_norm
KERNELS = {"operator": OPERATOR, "function": _apply}
EPSILON = 1e-2
HALF = [torch.float16] if DEVICE == "cpu" else [torch.float16, torch.bfloat16]
"""The interpreter cuts numbers off to bfloat16, and doesn't round them."""


def inputs(*shape, dtype=torch.float32):
    """x, z and weight; z is a slice of something wider, as in_proj's output is."""
    wide = randn(*shape[:-1], shape[-1] + 5, seed=1).to(DEVICE, dtype)
    return [randn(*shape).to(DEVICE, dtype), wide[..., 2:-3],
            randn(shape[-1], seed=2).to(DEVICE, dtype)]


def output_and_gradients(function, arguments, options):
    leaves = [t.detach().requires_grad_() for t in arguments]
    y = function(*leaves, *options, EPSILON)
    dy = randn(*y.shape, seed=9).to(y)
    return [y.detach(), *torch.autograd.grad(y, leaves, dy)]


def errors(given, exact):
    return [((one.to(F64) - other).norm() / other.norm()).item()
            for one, other in zip(given, exact, strict=True)]


@pytest.mark.parametrize("shape", [(6,), (1, 6), (2, ROWS + 1, 12)])
@pytest.mark.parametrize("norm_before_gate", [False, True])
@pytest.mark.parametrize(("n_groups", "how"), [(1, "operator"), (3, "function")])
def test_kernels_match_pytorch_in_output_and_gradients(shape, norm_before_gate, n_groups, how):
    arguments, options = inputs(*shape), (n_groups, norm_before_gate)
    given = output_and_gradients(KERNELS[how], arguments, options)
    exact = output_and_gradients(gated_rms_norm, [t.to(F64) for t in arguments], options)
    assert max(errors(given, exact)) <= 1e-6


@pytest.mark.parametrize("norm_before_gate", [False, True])
@pytest.mark.parametrize("dtype", HALF)
def test_half_precision_is_off_by_no_more_than_in_pytorch(dtype, norm_before_gate):
    arguments, options = inputs(40, 12, dtype=dtype), (2, norm_before_gate)
    exact = output_and_gradients(gated_rms_norm, [t.to(F64) for t in arguments], options)
    given = errors(output_and_gradients(OPERATOR, arguments, options), exact)
    cpu = [t.cpu() for t in arguments]
    wanted = errors([t.to(DEVICE) for t in output_and_gradients(gated_rms_norm, cpu, options)],
                    exact)
    for one, other in zip(given, wanted, strict=True):
        assert one <= 1.02 * other


def test_gradient_of_the_gate_is_written_to_a_slice_and_the_output_computed_again():
    arguments = [t.requires_grad_() for t in inputs(3, 4, 8)]
    expected = _apply(*arguments, 2, False, EPSILON)
    dy = randn(3, 4, 8, seed=3).to(expected)
    wider = torch.full((3, 4, 13), 7.0, device=DEVICE)
    y = torch.empty_like(dy)
    backward_into(wider[..., 2:10], y, *(t.detach() for t in arguments), 2, False, EPSILON, dy)
    dz, = torch.autograd.grad(expected, arguments[1:2], dy)
    assert torch.equal(y, expected)
    assert torch.equal(wider[..., 2:10], dz)
    assert (wider[..., :2] == 7).all()
    assert (wider[..., 10:] == 7).all()


def test_operator_is_registered_as_torch_compile_needs_it():
    arguments = [t.detach().requires_grad_() for t in inputs(5, 12)]
    torch.library.opcheck(OPERATOR.default, (*arguments, 3, True, EPSILON))


def test_large_groups_run_without_the_kernels_which_keep_them_in_registers(monkeypatch):
    ran = []
    monkeypatch.setattr(causal_conv1d, "can_use_kernels", lambda _: True)
    monkeypatch.setattr(gated_norm, "_apply", lambda x, *_: ran.append(x.shape[-1]))
    for d, n_groups in ((2**14, 1), (2**15, 2), (2**14 + 1, 1)):
        gated_rms_norm(torch.ones(d), torch.ones(d), torch.ones(d), n_groups, False, EPSILON)
    assert ran == [2**14, 2**15]


def test_rows_that_are_evenly_spaced_are_not_copied():
    whole = torch.arange(120.0).view(2, 3, 4, 5)
    for t, expected in [(whole, 5), (whole[..., 1:3], 5), (whole[:, :, 2:3], 20),
                        (whole[:1, :, 1, :2], 20), (whole[:, 1], None), (whole.mT, None),
                        (whole[..., ::2], None), (whole[0, 0, 0, 1:3], 2),
                        (whole[:1, 0].transpose(0, 1), 5), (whole[..., 3:4], 5)]:
        laid_out, stride = in_rows(t)
        assert torch.equal(laid_out, t)
        assert (laid_out is t) == (expected is not None)
        assert stride == expected or (expected is None and stride == t.shape[-1])
        rows = laid_out.as_strided((t[..., 0].numel(), t.shape[-1]), (stride, 1))
        assert torch.equal(rows, t.reshape(rows.shape))
