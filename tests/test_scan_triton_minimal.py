"""The readable kernels against the loop, in Triton's interpreter or on a GPU."""

import pytest
import torch
from systems import F64, randn

from minimamba import selective_scan
from minimamba.scan import why_not

pytestmark = pytest.mark.skipif(bool(why_not("triton")), reason=str(why_not("triton")))
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
NAMES = ("x", "delta", "A", "B", "C", "D", "z")


def inputs(length, d_inner=5, d_state=4, options=("D", "z")):
    shapes = {"x": (2, length, d_inner), "delta": (2, length, d_inner), "A": (d_inner, d_state),
              "B": (2, length, d_state), "C": (2, length, d_state), "D": (d_inner,),
              "z": (2, length, d_inner)}
    tensors = {name: randn(*shapes[name], seed=i) for i, name in enumerate(NAMES)
               if name in ("x", "delta", "A", "B", "C", *options)}
    tensors["A"] = -tensors["A"].exp()
    return tensors


def output_and_gradients(scan, tensors, dtype, device, **options):
    half = dtype in (torch.bfloat16, torch.float16)
    leaves = {name: tensor.to(device, torch.float32 if half and name in "ABCD" else dtype)
              for name, tensor in tensors.items()}
    leaves = {name: tensor.detach().requires_grad_() for name, tensor in leaves.items()}
    y = scan(**leaves, delta_softplus=True, **options)
    dy = randn(*y.shape, seed=9).to(y)
    return [y.detach().cpu().to(F64), *(gradient.cpu().to(F64) for gradient in
                                        torch.autograd.grad(y, list(leaves.values()), dy))]


def check(tensors, dtype=torch.float32, tolerance=4e-6):
    from minimamba.scan.triton_minimal import selective_scan_minimal

    given = output_and_gradients(selective_scan_minimal, tensors, dtype, DEVICE)
    rounded = {name: tensor.to(dtype).to(F64) for name, tensor in tensors.items()}
    expected = output_and_gradients(selective_scan, rounded, F64, "cpu", method="reference")
    for name, one, other in zip(("y", *tensors), given, expected, strict=True):
        assert (one - other).norm() <= tolerance * other.norm(), name


@pytest.mark.parametrize("length", [1, 31, 32, 33, 64, 65])
def test_minimal_scan_matches_reference_in_output_and_gradients(length):
    check(inputs(length))


def test_minimal_scan_matches_reference_over_three_chunks_and_blocks(monkeypatch):
    from minimamba.scan import triton_minimal

    monkeypatch.setattr(triton_minimal, "CHUNK", 4)
    monkeypatch.setattr(triton_minimal, "BLOCK", 4)
    check(inputs(2 * triton_minimal.CHUNK + 3, d_inner=2 * triton_minimal.BLOCK + 1))


@pytest.mark.parametrize("d_state", [1, 3, 16])
@pytest.mark.parametrize("d_inner", [1, 33])
def test_minimal_scan_takes_any_number_of_channels_and_states(d_inner, d_state):
    check(inputs(7, d_inner, d_state))


@pytest.mark.parametrize("options", [(), ("D",), ("z",)])
def test_minimal_scan_takes_each_option_alone(options):
    check(inputs(7, options=options))


def test_minimal_scan_without_softplus_matches_reference():
    from minimamba.scan.triton_minimal import selective_scan_minimal

    tensors = inputs(9, options=())
    tensors["delta"] = tensors["delta"].abs()
    y = selective_scan_minimal(**{name: tensor.float().to(DEVICE)
                                  for name, tensor in tensors.items()})
    torch.testing.assert_close(y.cpu().to(F64), selective_scan(**tensors, method="reference"),
                               rtol=1e-5, atol=1e-5)


def test_minimal_scan_of_bfloat16_is_computed_in_float32():
    check(inputs(33), torch.bfloat16, tolerance=2**-7)
