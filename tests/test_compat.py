"""The official package's call: its layout, its shapes of B and C, its errors."""

import pytest
import torch
from systems import close, leaves, randn, uniform

from minimamba import selective_scan
from minimamba.compat import selective_scan_fn

BATCH, CHANNELS, LENGTH, D_STATE = 2, 6, 20, 4


def arguments_in_official_layout():
    return {"u": randn(BATCH, CHANNELS, LENGTH), "delta": randn(BATCH, CHANNELS, LENGTH, seed=1),
            "A": -uniform(0.5, 4, CHANNELS, D_STATE, seed=2),
            "B": randn(BATCH, D_STATE, LENGTH, seed=3), "C": randn(BATCH, D_STATE, LENGTH, seed=4),
            "D": randn(CHANNELS, seed=5), "z": randn(BATCH, CHANNELS, LENGTH, seed=6),
            "delta_bias": randn(CHANNELS, seed=7), "delta_softplus": True}


def reference(u, delta, A, B, C, D, z, delta_bias, delta_softplus):
    """Run the reference method on the official layout, B and C (batch, groups, d_state, length)."""
    y, h = selective_scan(u.mT, delta.mT, A, B.permute(0, 3, 1, 2), C.permute(0, 3, 1, 2), D, z.mT,
                          delta_bias=delta_bias, delta_softplus=delta_softplus,
                          return_last_state=True, method="reference")
    return y.mT, h


@pytest.mark.parametrize("shape", ["constant", "per step", "per group"])
@pytest.mark.parametrize("name", ["B", "C"])
def test_every_official_shape_of_B_and_C_matches_reference(name, shape):
    arguments = arguments_in_official_layout()
    grouped = {other: arguments[other][:, None] for other in ("B", "C")}
    if shape == "constant":
        arguments[name] = randn(CHANNELS, D_STATE, seed=8)
        grouped[name] = arguments[name][None, ..., None].expand(BATCH, -1, -1, LENGTH)
    if shape == "per group":
        arguments[name] = grouped[name] = randn(BATCH, 3, D_STATE, LENGTH, seed=9)
    y, h = selective_scan_fn(**arguments, return_last_state=True)
    expected_y, expected_h = reference(**arguments | grouped)
    close(y, expected_y)
    close(h, expected_h)
    close(selective_scan_fn(**arguments), expected_y)


def test_gradients_match_reference_in_the_official_layout():
    arguments = arguments_in_official_layout()
    flag = arguments.pop("delta_softplus")
    tensors = dict(zip(arguments, leaves(*arguments.values()), strict=True))
    gradients = torch.autograd.grad(selective_scan_fn(**tensors, delta_softplus=flag).sum(),
                                    list(tensors.values()))
    grouped = tensors | {name: tensors[name][:, None] for name in ("B", "C")}
    expected = torch.autograd.grad(reference(**grouped, delta_softplus=flag)[0].sum(),
                                   list(tensors.values()))
    for ours, theirs in zip(gradients, expected, strict=True):
        close(ours, theirs, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", ["B", "C"])
def test_constant_parameter_in_float32_is_not_rounded_beside_half_precision(name):
    half, single = torch.bfloat16, torch.float32
    rounded = {other: t if other == "delta_softplus" else t.to(half)
               for other, t in arguments_in_official_layout().items()}
    exact = {other: t if other == "delta_softplus" else t.to(single)
             for other, t in rounded.items()}
    rounded[name] = exact[name] = randn(CHANNELS, D_STATE, seed=8).to(single)
    y, h = selective_scan_fn(**rounded, return_last_state=True)
    expected_y, expected_h = selective_scan_fn(**exact, return_last_state=True)
    assert torch.equal(y, expected_y.to(half))
    assert torch.equal(h, expected_h)


@pytest.mark.parametrize(("name", "bad", "message"), [
    ("A", lambda a: a.to(torch.complex128), "^A: expected a real A: .+ got complex128$"),
    ("u", lambda u: u[0], r"^u: .+\(batch, channels, length\), got shape \(6, 20\)$"),
    ("u", lambda u: u.tolist(), "^u: expected a torch.Tensor, got list$"),
    ("delta", lambda d: d.mT, r"^delta: .+\(batch, channels, length\), got shape \(2, 20, 6\)$"),
    ("delta", lambda d: d.tolist(), "^delta: expected a torch.Tensor, got list$"),
    ("delta", lambda d: None, "^delta: expected a torch.Tensor, got NoneType$"),
    ("z", lambda z: z[:1], r"^z: expected shape \(2, 6, 20\)"),
    ("B", lambda b: b[0, 0], r"^B: expected shape \(channels, d_state\), .+ got shape \(20,\)$"),
    ("C", lambda c: c[0], r"^C: expected shape \(6, 20\) = \(channels, d_state\), got shape \(4"),
    ("B", lambda b: b[:, :3], "^B: expected shape"),
    ("C", lambda c: None, "^C: expected a torch.Tensor, got NoneType$"),
])
def test_bad_argument_is_named(name, bad, message):
    arguments = arguments_in_official_layout()
    arguments[name] = bad(arguments[name])
    with pytest.raises(ValueError, match=message):
        selective_scan_fn(**arguments)
