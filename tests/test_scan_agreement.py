"""All methods of the scan agree, values to 1e-10 and gradients to 1e-8, on hard inputs too."""

import weakref

import numpy as np
import pytest
import torch
from systems import F64, close, leaves, randn, uniform

from minimamba import compiler, selective_scan
from minimamba import scan as scan_package
from minimamba.scan import chunked, compiled, methods, reference, why_not
from minimamba.scan.triton import operator

WHY_NOT = why_not("compiled")
needs_compiler = pytest.mark.skipif(bool(WHY_NOT), reason=str(WHY_NOT))
COMPILED = pytest.param("compiled", marks=needs_compiler)
faster_methods = pytest.mark.parametrize("method", ["chunked", COMPILED])


@pytest.fixture(autouse=True)
def compiled_chunks_of_eight(monkeypatch):
    """A quarter of the steps compiles in a quarter of the time, once for all tests: A's shape
    and dtype are the same in each."""
    monkeypatch.setattr(compiled, "CHUNK_SIZE", 8)


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
    """Return y, the last state, and the gradients of all arguments."""
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


@faster_methods
@pytest.mark.parametrize("length", [1, 2, 15, 16, 17, 63, 64, 65, 97])
def test_method_matches_reference_at_lengths_around_a_chunk(method, length):
    agree(method, inputs(length))


@faster_methods
@pytest.mark.parametrize("rest", [0, 1, -1])
def test_every_gradient_matches_reference_over_three_chunks(method, rest):
    """With all options at once, and a last chunk that is full, or has one step, or
    lacks one."""
    chunk = chunked.CHUNK_SIZE if method == "chunked" else compiled.CHUNK_SIZE
    arguments = inputs(3 * chunk + rest) | {"delta_bias": randn(6, seed=10)}
    agree(method, arguments | {"delta": randn(2, 3 * chunk + rest, 6, seed=1)},
          delta_softplus=True)


@faster_methods
def test_method_matches_reference_over_many_chunks(method):
    agree(method, inputs(1024, batch=1))


@faster_methods
@pytest.mark.parametrize("delta", [(1e-6, 1e-5), (1e-6, 1e3), (10, 1e3)])
def test_method_matches_reference_from_smallest_to_largest_delta(method, delta):
    # exp(−16 · 1000) underflows to zero, which is right, and must not give NaN.
    agree(method, inputs(70, delta=delta))


@faster_methods
def test_method_matches_reference_if_the_state_grows(method):
    agree(method, inputs(20) | {"A": uniform(0, 1, 6, 4)})


@pytest.mark.parametrize("groups", [2, 3, 6])
def test_chunked_scan_matches_reference_with_groups(groups):
    agree("chunked", inputs(33, groups=groups))


@faster_methods
@pytest.mark.parametrize("unused", ["y", "last_state"])
def test_gradients_match_reference_if_one_output_is_unused(method, unused):
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


@faster_methods
def test_method_matches_reference_for_noncontiguous_inputs(method):
    arguments = inputs(20)
    transposed = {name: value.mT.contiguous().mT for name, value in arguments.items()
                  if value.ndim > 1}
    assert not transposed["x"].is_contiguous()
    close(selective_scan(**arguments | transposed, method=method),
          selective_scan(**arguments, method="reference"))


@faster_methods
@pytest.mark.parametrize("without", [(), ("D",), ("z",), ("z", "D"), ("delta_bias",)])
def test_method_matches_reference_with_softplus_and_missing_options(method, without):
    arguments = inputs(40) | {"delta": randn(2, 40, 6, seed=1), "delta_bias": randn(6, seed=10)}
    for name in without:
        del arguments[name]
    agree(method, arguments, delta_softplus=True)


@faster_methods
def test_method_matches_reference_with_bias_and_no_softplus(method):
    agree(method, inputs(40) | {"delta_bias": uniform(0, 1, 6)})


@needs_compiler
def test_polynomial_equals_exp_to_single_precision():
    x = torch.cat([torch.linspace(-120, 92, 100_001), torch.tensor([0.0, -1e-30, -1e30, 1e30])])
    exact = torch.exp(x.double())
    normal = (x >= -87.3) & (x < 88.37)
    given = compiled._exp(x)
    assert ((given.double() - exact)[normal] / exact[normal]).abs().max() < 2e-7
    assert (given[x < -87.3] < 2.0**-125).all()
    assert (given[x > 88.4] == torch.inf).all()
    assert given[-4] == 1


def test_chunk_states_are_kept_only_if_gradients_are_needed():
    # Without gradients, also where a parameter has requires_grad.
    alive = []

    def forward(*arguments):
        alive.append(sum(state() is not None for state in states))
        y, h = chunked.forward(*arguments)
        states.append(weakref.ref(h))
        return y, h

    arguments = inputs(200) | {"delta_bias": None, "delta_softplus": False}
    arguments["A"].requires_grad_()
    functions = chunked.ChunkFunctions(forward, chunked.backward, 16)
    for needs_grad, most in ((False, 1), (True, 12)):
        states = []
        alive.clear()
        with torch.set_grad_enabled(needs_grad):
            chunked.scan(**arguments, functions=functions)
        assert max(alive) == most


def test_chunked_scan_does_not_save_the_states_of_all_steps():
    length, batch, d_inner, d_state = 128, 1, 64, 64
    arguments = {name: value.requires_grad_() for name, value in
                 inputs(length, batch=batch, d_inner=d_inner, d_state=d_state).items()}
    sizes = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: sizes.append(x.numel()) or x,
                                                  lambda x: x):
        selective_scan(**arguments, method="chunked").sum().backward()
    assert max(sizes) <= batch * length * d_inner * 2
    assert sum(sizes) < batch * length * d_inner * d_state / 3


def test_compilation_is_announced_once(capsys, monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda steps, **_: steps)
    compiled._compile.cache_clear()
    arguments = inputs(48)
    for _ in range(2):
        y = selective_scan(**arguments, method="compiled")
    printed = capsys.readouterr().err
    assert printed.count("compiling") == 1
    assert "forward scan for d_inner = 6, d_state = 4, torch.float64" in printed
    close(y, selective_scan(**arguments, method="reference"))
    compiled._compile.cache_clear()


def test_method_that_cannot_run_is_refused_with_the_reason(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert methods()["compiled"] == "no C++ compiler was found; looked for no-such-compiler"
    with pytest.raises(ValueError, match=r"^method: .+ can run .+, got 'compiled': no C"):
        selective_scan(**inputs(4), method="compiled")


class OnGPU(torch.Tensor):
    """A tensor that says it is on a GPU, which may not be there."""

    device = torch.device("cuda")
    is_cuda = True

    def __new__(cls, dtype=torch.bfloat16, batch=2):
        return torch.empty(batch, 1, 1, dtype=dtype).as_subclass(cls)


@pytest.mark.parametrize(("x", "d_state", "chosen"), [
    (OnGPU(), 16, "triton"), (OnGPU(torch.float64), 16, "chunked"), (OnGPU(), 257, "chunked"),
    (OnGPU(batch=70_000), 16, "triton")])
def test_auto_picks_triton_on_a_gpu_for_inputs_it_can_take(monkeypatch, x, d_state, chosen):
    pytest.importorskip("triton")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert scan_package._choose("auto", x, d_state) == chosen
    assert (why_not("triton", x=x, d_state=d_state) is None) == (chosen == "triton")


def test_auto_picks_chunked_on_a_gpu_without_triton(monkeypatch):
    monkeypatch.setattr(operator, "TRITON", False)
    assert scan_package._choose("auto", OnGPU(), 16) == "chunked"


def test_compiled_method_is_refused_on_a_gpu(monkeypatch):
    monkeypatch.setattr(compiler.shutil, "which", lambda name: name)
    assert why_not("compiled") is None
    assert why_not("compiled", x=OnGPU()) == "it runs on the CPU, and the tensors are on cuda"
    with pytest.raises(ValueError, match="got 'compiled': it runs on the CPU"):
        scan_package._choose("compiled", OnGPU(), 16)


def test_why_not_names_an_unknown_method():
    with pytest.raises(ValueError, match=r"^method: expected 'reference', .+, got 'fast'$"):
        why_not("fast")


def test_auto_picks_compiled_for_large_cpu_inputs_if_there_is_a_compiler(monkeypatch):
    ran = []
    monkeypatch.setattr(scan_package, "METHODS", {
        name: lambda *a, name=name, **k: ran.append(name) or reference.scan(*a, **k)
        for name in scan_package.METHODS})
    monkeypatch.setattr(scan_package, "WORTH_COMPILING", 2 * 20 * 6 * 4)
    monkeypatch.setattr(compiler.shutil, "which", lambda name: name)
    selective_scan(**inputs(19))
    selective_scan(**inputs(20))
    monkeypatch.setattr(compiler.shutil, "which", lambda name: None)
    selective_scan(**inputs(20))
    assert ran == ["chunked", "compiled", "chunked"]


def test_method_that_is_an_array_is_refused_by_name():
    with pytest.raises(ValueError, match=r"^method: expected 'auto', .+, got array"):
        selective_scan(**inputs(4), method=np.ones(3))
