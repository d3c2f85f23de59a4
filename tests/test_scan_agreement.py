"""All machines of the scan agree, values to 1e-10 and gradients to 1e-8, also where it is hard."""

import weakref

import pytest
import torch
from systems import F64, close, leaves, randn, uniform

from minimamba import scan as scan_package
from minimamba import selective_scan
from minimamba.scan import chunked, compiled, methods, reference
from minimamba.scan.triton import operator

WHY_NOT = methods()["compiled"]
COMPILED = pytest.param("compiled", marks=pytest.mark.skipif(bool(WHY_NOT), reason=str(WHY_NOT)))
every_other = pytest.mark.parametrize("method", ["chunked", COMPILED])
"""The compiled one takes half a minute for each new shape of A, so these tests share one."""


def inputs(length, *, batch=2, d_inner=6, d_state=4, groups=1, delta=(1e-3, 1.0)):
    low, high = (torch.tensor(end, dtype=F64).log().item() for end in delta)
    return {"x": randn(batch, length, d_inner),
            "delta": uniform(low, high, batch, length, d_inner, seed=1).exp(),
            "A": -uniform(0.5, 16, d_inner, d_state, seed=2),
            "B": randn(batch, length, groups, d_state, seed=3),
            "C": randn(batch, length, groups, d_state, seed=4),
            "D": randn(d_inner, seed=5), "z": randn(batch, length, d_inner, seed=6),
            "initial_state": randn(batch, d_inner, d_state, seed=7)}


def run(method, arguments, **options):
    """y, the last state, and the gradient of all arguments."""
    names = list(arguments)
    tensors = leaves(*arguments.values())
    y, h = selective_scan(**dict(zip(names, tensors, strict=True)), return_last_state=True,
                          method=method, **options)
    loss = (y * randn(*y.shape, seed=8)).sum() + (h * randn(*h.shape, seed=9)).sum()
    return y.detach(), h.detach(), dict(zip(names, torch.autograd.grad(loss, tensors), strict=True))


def agree(method, arguments, **options):
    __tracebackhide__ = True
    (y, h, gradients), (y_, h_, gradients_) = (run(m, arguments, **options)
                                               for m in (method, "reference"))
    close(y, y_, rtol=1e-10, atol=1e-10)
    close(h, h_, rtol=1e-10, atol=1e-10)
    for name, wanted in gradients_.items():
        assert gradients[name].isfinite().all(), name
        close(gradients[name], wanted, rtol=1e-8, atol=1e-8)


@every_other
@pytest.mark.parametrize("length", [1, 2, 15, 16, 17, 63, 64, 65, 97])
def test_at_awkward_lengths(method, length):
    agree(method, inputs(length))


@every_other
def test_at_a_great_length(method):
    agree(method, inputs(4096, batch=1))


@every_other
@pytest.mark.parametrize("delta", [(1e-6, 1e-5), (1e-6, 1e3), (10, 1e3)])
def test_from_the_smallest_step_to_the_largest(method, delta):
    # exp(−16 · 1000) is zero: what underflows is forgotten, and gives no NaN.
    agree(method, inputs(70, delta=delta))


@every_other
def test_a_state_that_grows(method):
    agree(method, inputs(20) | {"A": uniform(0, 1, 6, 4)})


@pytest.mark.parametrize("groups", [2, 3, 6])
def test_with_groups(groups):
    agree("chunked", inputs(33, groups=groups))


@every_other
@pytest.mark.parametrize("unused", ["y", "last_state"])
def test_a_loss_of_one_output_alone(method, unused):
    results = []
    for name in (method, "reference"):
        arguments = {key: value.clone().requires_grad_() for key, value in inputs(20).items()}
        y, h = selective_scan(**arguments, return_last_state=True, method=name)
        (h if unused == "y" else y).square().sum().backward()
        # What has no part in the loss may have no gradient or one of zeros.
        results.append([0 * value if value.grad is None else value.grad
                        for value in arguments.values()])
    for given, wanted in zip(*results, strict=True):
        close(given, wanted, rtol=1e-8, atol=1e-8)


@every_other
def test_inputs_that_are_not_contiguous(method):
    arguments = inputs(20)
    turned = {name: value.mT.contiguous().mT for name, value in arguments.items() if value.ndim > 1}
    assert not turned["x"].is_contiguous()
    close(selective_scan(**arguments | turned, method=method),
          selective_scan(**arguments, method="reference"))


@every_other
@pytest.mark.parametrize("without", [(), ("D",), ("z",), ("z", "D"), ("delta_bias",)])
def test_with_a_softplus_and_without_some(method, without):
    arguments = inputs(40) | {"delta": randn(2, 40, 6, seed=1), "delta_bias": randn(6, seed=10)}
    for name in without:
        del arguments[name]
    agree(method, arguments, delta_softplus=True)


@every_other
def test_with_a_bias_and_no_softplus(method):
    agree(method, inputs(40) | {"delta_bias": uniform(0, 1, 6)})


@pytest.mark.skipif(bool(WHY_NOT), reason=str(WHY_NOT))
def test_the_polynomial_is_exp_to_the_last_digits():
    x = torch.cat([torch.linspace(-120, 92, 100_001), torch.tensor([0.0, -1e-30, -1e30, 1e30])])
    exact = torch.exp(x.double())
    normal = (x >= -87.3) & (x < 88.37)
    given = compiled._exp(x)
    assert ((given.double() - exact)[normal] / exact[normal]).abs().max() < 2e-7
    assert (given[x < -87.3] < 2.0**-125).all()
    assert (given[x > 88.4] == torch.inf).all()
    assert given[-4] == 1


def test_no_state_is_held_where_nothing_learns():
    """Not even where a weight would require a gradient."""
    alive = []

    def forward(*arguments):
        alive.append(sum(state() is not None for state in states))
        y, h = chunked.forward(*arguments)
        states.append(weakref.ref(h))
        return y, h

    arguments = inputs(200) | {"delta_bias": None, "delta_softplus": False}
    arguments["A"].requires_grad_()
    for learns, most in ((False, 1), (True, 12)):
        states = []
        alive.clear()
        with torch.set_grad_enabled(learns):
            chunked.scan(**arguments, chunk=chunked.Chunk(forward, chunked.backward, 16))
        assert max(alive) == most


def test_no_state_of_every_step_is_kept():
    length, batch, d_inner, d_state = 512, 1, 64, 64
    arguments = {name: value.requires_grad_() for name, value in
                 inputs(length, batch=batch, d_inner=d_inner, d_state=d_state).items()}
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x.numel()) or x,
                                                  lambda x: x):
        selective_scan(**arguments, method="chunked").sum().backward()
    assert max(kept) <= batch * length * d_inner * 2
    assert sum(kept) < batch * length * d_inner * d_state / 3


def test_the_compiled_one_says_so_once_while_it_compiles(capsys, monkeypatch):
    monkeypatch.setattr(compiled.torch, "compile", lambda steps, **_: steps)
    compiled._compile.cache_clear()
    arguments = inputs(48)
    for _ in range(2):
        y = selective_scan(**arguments, method="compiled")
    said = capsys.readouterr().err
    assert said.count("compiling") == 1
    assert "forward scan for 6 channels of 4 states, torch.float64" in said
    close(y, selective_scan(**arguments, method="reference"))
    compiled._compile.cache_clear()


def test_a_machine_that_cannot_run_here_says_why_and_nothing_else_is_run(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert methods()["compiled"] == "no C++ compiler was found; looked for no-such-compiler"
    with pytest.raises(ValueError, match=r"^method: .+ can run here, got 'compiled': no C"):
        selective_scan(**inputs(4), method="compiled")


class OnGPU:
    """What is looked at of inputs, where they are on a GPU; this machine may have none."""

    device = torch.device("cuda")

    def __init__(self, dtype=torch.bfloat16, batch=2):
        self.dtype, self.batch = dtype, batch

    def __len__(self):
        return self.batch


@pytest.mark.parametrize(("x", "d_state", "chosen"), [
    (OnGPU(), 16, "triton"), (OnGPU(torch.float64), 16, "chunked"), (OnGPU(), 12, "chunked"),
    (OnGPU(batch=70_000), 16, "chunked")])
def test_auto_takes_the_fused_one_on_a_gpu_if_it_can(monkeypatch, x, d_state, chosen):
    monkeypatch.setattr(operator, "missing", lambda: None)
    assert scan_package._choose("auto", x, d_state) == chosen
    monkeypatch.setattr(operator, "missing", lambda: "there is no triton")
    assert scan_package._choose("auto", x, d_state) == "chunked"


def test_auto_takes_the_compiled_one_for_large_inputs_where_there_is_a_compiler(monkeypatch):
    ran = []
    monkeypatch.setattr(scan_package, "MACHINES", {
        name: lambda *a, name=name, **k: ran.append(name) or reference.scan(*a, **k)
        for name in scan_package.MACHINES})
    monkeypatch.setattr(scan_package, "LARGE", 2 * 20 * 6 * 4)
    monkeypatch.setattr(compiled, "missing", lambda: None)
    selective_scan(**inputs(19))
    selective_scan(**inputs(20))
    monkeypatch.setattr(compiled, "missing", lambda: "none here")
    selective_scan(**inputs(20))
    assert ran == ["chunked", "compiled", "chunked"]
