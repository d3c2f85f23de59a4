"""The fused kernels against the definition: in Triton's interpreter, or on a GPU if there is."""

import pytest
import torch
from systems import F64, randn, uniform

from minimamba import selective_scan
from minimamba.scan import methods
from minimamba.scan.triton import operator

pytestmark = pytest.mark.skipif(bool(operator.missing()), reason=str(operator.missing()))
PLACE = "cuda" if torch.cuda.is_available() else "cpu"
NAMES = ("x", "delta", "A", "B", "C", "D", "z", "delta_bias", "initial_state")


def inputs(length, *, batch=1, d_inner=3, d_state=2, groups=1):
    """Fresh ones for each length; rounded to bfloat16, so that each precision starts alike."""
    shapes = {"x": (batch, length, d_inner), "delta": (batch, length, d_inner),
              "B": (batch, length, groups, d_state), "C": (batch, length, groups, d_state),
              "D": (d_inner,), "z": (batch, length, d_inner), "delta_bias": (d_inner,),
              "initial_state": (batch, d_inner, d_state)}
    given = {name: randn(*shape, seed=length + i) for i, (name, shape) in enumerate(shapes.items())}
    # Small steps: what the first state leaves behind after them is not yet all rounding.
    given["delta"] = given["delta"] - 2
    given["A"] = -uniform(0.5, 8, d_inner, d_state, seed=length)
    return {name: given[name].to(torch.bfloat16).to(PLACE) for name in NAMES}


def run(method, arguments, dtype, *, half=()):
    """y, the last states, and all gradients; those in `half` are handed over as bfloat16."""
    tensors = {name: (part if name in half else part.to(dtype)).clone().requires_grad_()
               for name, part in arguments.items()}
    y, h = selective_scan(**tensors, delta_softplus=True, return_last_state=True, method=method)
    loss = sum((out.to(F64) * randn(*out.shape, seed=i).to(out.device)).sum()
               for i, out in enumerate((y, h)))
    gradients = torch.autograd.grad(loss, list(tensors.values()))
    return {"y": y, "last_state": h} | dict(zip(tensors, gradients, strict=True))


def agree(arguments, most=1e-6, **options):
    __tracebackhide__ = True
    exact = run("reference", arguments, F64)
    given = run("triton", arguments, torch.float32, **options)
    for name, wanted in exact.items():
        assert given[name].isfinite().all(), name
        error = (given[name].to(F64) - wanted).norm().item()
        assert error <= most * wanted.norm(), f"{name}: off by {error / wanted.norm():.1e}"


def let_it_divide(monkeypatch, how):
    """The length whole and few channels to a lane; or as many splits as there are chunks, and many
    channels; or splits of two chunks, of which the pass before takes one at a time."""
    def divide(sequences, per_group, chunks, lanes, schedulers, cycles):
        few, many = (channels for channels, _ in cycles.by_channels)
        return {"whole": (few, chunks, 0), "split": (many, 1, 1), "in pieces": (few, 2, 2)}[how]

    monkeypatch.setattr(operator, "divide", divide)


@pytest.mark.parametrize("cycles", [operator.FORWARD, operator.BACKWARD], ids=["forward", "backward"])
def test_a_length_is_split_only_where_programs_are_missing(cycles):
    def divide(sequences, d_inner, chunks):
        return operator.divide(sequences, d_inner, chunks, 8, 528, cycles)

    most = max(channels for channels, _ in cycles.by_channels)
    assert divide(32, 1536, 32)[1:] == (32, 0)               # enough programs without
    assert divide(8, 4096, 32) == (most, 32, 0)              # enough for more channels to a lane
    assert divide(1, 1536, 1)[1:] == (1, 0)                  # nothing to split
    channels, each, pieces = divide(1, 1536, 1024)
    assert each % pieces == 0
    assert 500 < 1536 / (8 * channels) * (1024 / each) < 2200
    assert 2**14 / divide(1, 64, 2**14)[1] < 1000            # a bound to what is tried


@pytest.mark.parametrize(("length", "how"), [
    (1, "whole"), (33, "whole"), (70, "whole"), (70, "split"), (150, "in pieces")])
def test_at_awkward_lengths(length, how, monkeypatch):
    let_it_divide(monkeypatch, how)
    agree(inputs(length))


@pytest.mark.parametrize(("batch", "d_inner", "d_state", "groups"), [
    (2, 6, 1, 2), (1, 34, 2, 1), (1, 2, 16, 1), (1, 2, 32, 1)])
def test_at_other_sizes(batch, d_inner, d_state, groups):
    agree(inputs(17, batch=batch, d_inner=d_inner, d_state=d_state, groups=groups))


@pytest.mark.parametrize("without", [("z",), ("D", "delta_bias", "initial_state")])
def test_without_some(without):
    agree({name: part for name, part in inputs(20).items() if name not in without})


def test_half_precision_costs_two_roundings():
    # One of the gradient that comes in, and one of that which goes out.
    agree(inputs(20), most=2 * 2.0**-8, half=("x", "delta", "z"))
    y = selective_scan(**{name: part if name in ("x", "delta", "z") else part.float()
                          for name, part in inputs(20).items()}, delta_softplus=True,
                       method="triton")
    assert y.dtype == torch.bfloat16


def test_sums_whose_order_does_not_vary():
    try:
        torch.use_deterministic_algorithms(True)
        agree(inputs(9, d_inner=18))                        # more channels than a program has
        one, other = (run("triton", inputs(9, d_inner=18), torch.float32) for _ in range(2))
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_inputs_that_are_not_contiguous():
    arguments = {name: part.float() for name, part in inputs(20).items()}
    turned = {name: part.mT.contiguous().mT for name, part in arguments.items() if part.ndim > 1}
    assert not turned["x"].is_contiguous()
    assert torch.equal(selective_scan(**arguments | turned, delta_softplus=True, method="triton"),
                       selective_scan(**arguments, delta_softplus=True, method="triton"))


def test_steps_that_are_tiny_or_huge():
    arguments = inputs(20)
    arguments["delta"] = uniform(-14, 1000, 1, 20, 3).to(torch.bfloat16).to(PLACE)
    agree(arguments)


def test_softplus_is_right_at_both_ends():
    import triton
    import triton.language as tl

    from minimamba.scan.triton import kernels

    softplus = kernels.softplus

    @triton.jit
    def store(x, y, softplus: tl.constexpr, N: tl.constexpr):
        where = tl.arange(0, N)
        tl.store(y + where, softplus(tl.load(x + where)))

    x = torch.linspace(-40, 40, 4096).to(PLACE)
    y = torch.full_like(x, torch.nan)
    store[(1,)](x, y, softplus, N=4096)
    exact = torch.logaddexp(x.double(), torch.zeros_like(x.double()))
    exact[x < -20] = x[x < -20].double().exp()             # logaddexp has no digits left there
    # x log2(e) is rounded before it is an exponent: an error in proportion to x.
    assert (((y - exact) / exact).abs() < 4e-7 + 6e-8 * x.abs()).all()


def test_it_is_an_operator_that_torch_compile_can_take():
    arguments = {name: part.float() for name, part in inputs(6).items()}
    x, delta, A, B, C, D, z, bias, initial = (arguments[name] for name in NAMES)
    for part in (x, A, z):
        part.requires_grad_()
    torch.library.opcheck(torch.ops.minimamba.scan.default,
                          (x, delta, A, B, C, D, z, bias, True, initial, True))

    def twice(x, z):
        return 2 * selective_scan(x, delta, A, B, C, D, z, delta_bias=bias, delta_softplus=True,
                                  method="triton")

    compiled = torch.compile(twice, backend="aot_eager", fullgraph=True)
    for wanted, given in zip(torch.autograd.grad(twice(x, z).sum(), (x, z)),
                             torch.autograd.grad(compiled(x, z).sum(), (x, z)), strict=True):
        torch.testing.assert_close(given, wanted)


def test_states_are_kept_only_for_who_learns(monkeypatch):
    kept = []
    operate = operator._operate
    monkeypatch.setattr(operator, "_operate",
                        lambda *given: kept.append(given[-1]) or operate(*given))
    arguments = {name: part.float() for name, part in inputs(4).items()}
    selective_scan(**arguments, delta_softplus=True, method="triton")
    arguments["A"].requires_grad_()
    selective_scan(**arguments, delta_softplus=True, method="triton")
    with torch.no_grad():
        selective_scan(**arguments, delta_softplus=True, method="triton")
    assert kept == [False, True, False]


def test_more_sequences_than_a_grid_has_are_refused():
    x = torch.empty(65536, 1, 1)
    assert operator.unfit(x, 16) == "65536 sequences at once, and it takes up to 65535"


@pytest.mark.parametrize(("change", "message"), [
    ({"x": lambda x: x.double()}, "^method: .+ such as 'chunked', got 'triton': float64"),
    ({name: lambda part: part[..., [0, 1, 1]] for name in ("A", "B", "C", "initial_state")},
     "d_state = 3, and it takes powers of two up to 256$"),
])
def test_what_it_can_not_take_is_named(change, message):
    arguments = {name: part.float() for name, part in inputs(4).items()}
    if "x" in change:
        arguments = {name: part.double() for name, part in arguments.items()}
    else:
        arguments |= {name: turn(arguments[name]) for name, turn in change.items()}
    with pytest.raises(ValueError, match=message):
        selective_scan(**arguments, delta_softplus=True, method="triton")


def test_where_it_can_not_run_it_says_what_can(monkeypatch):
    monkeypatch.setattr(operator, "interpreted", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert methods()["triton"] == ("no CUDA device was found, and TRITON_INTERPRET=1 is not set")
    with pytest.raises(ValueError, match=r"such as 'chunked', got 'triton': no CUDA device"):
        selective_scan(**{name: part.float() for name, part in inputs(4).items()},
                       delta_softplus=True, method="triton")
    monkeypatch.setattr(operator, "TRITON", False)
    assert "triton is not installed" in methods()["triton"]
