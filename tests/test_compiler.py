"""What runs where `torch.compile` fails: a compiler that is found may not work."""

import warnings

import pytest
import torch
from models import random_ids, small_model

from minimamba import compiler, generation, lm, scan, selective_scan
from minimamba.generation import generate
from minimamba.scan import compiled


@pytest.fixture(autouse=True)
def broken_compiler(monkeypatch):
    """A compiler that is found and fails at the first call, as a g++ without headers does."""

    def fail(*arguments):
        raise IndexError("list index out of range\n  and a hundred lines more")

    monkeypatch.setattr(compiler.shutil, "which", lambda name: name)
    monkeypatch.setattr(compiler.sys, "platform", "linux")
    monkeypatch.setattr(compiler, "failures", [])
    monkeypatch.setattr(torch, "compile", lambda function, **_: fail)
    compiled._compile.cache_clear()
    yield
    compiled._compile.cache_clear()


def inputs():
    torch.manual_seed(0)
    shapes = {"x": (2, 70, 6), "delta": (2, 70, 6), "A": (6, 4), "B": (2, 70, 4), "C": (2, 70, 4)}
    tensors = {name: torch.rand(shape, dtype=torch.float64) for name, shape in shapes.items()}
    return {name: (-t if name == "A" else t).requires_grad_() for name, t in tensors.items()}


def test_default_scan_falls_back_to_chunked_with_one_warning(monkeypatch):
    monkeypatch.setattr(scan, "WORTH_COMPILING", 1)
    arguments = inputs()
    assert scan.why_not("compiled") is None
    with pytest.warns(UserWarning, match=r"^torch.compile failed: list index out of range; "):
        y = selective_scan(**arguments)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gradients = torch.autograd.grad(y.sum(), arguments.values())
        selective_scan(**arguments)
    expected = selective_scan(**arguments, method="chunked")
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(gradients,
                               torch.autograd.grad(expected.sum(), arguments.values()))
    assert scan.methods()["compiled"] == "torch.compile failed: list index out of range"
    with pytest.raises(ValueError, match=r"got 'compiled': torch.compile failed: list index"):
        selective_scan(**arguments, method="compiled")


@pytest.mark.parametrize("switch", ["TORCHDYNAMO_DISABLE", "TORCH_COMPILE_DISABLE"])
def test_switch_that_turns_compiling_off_is_named(monkeypatch, switch):
    monkeypatch.setenv(switch, "1")
    assert scan.why_not("compiled") == f"torch.compile is turned off by {switch}=1"


def test_reason_goes_on_after_a_line_that_announces_it(monkeypatch):
    def fail(_):
        raise RuntimeError("backend='inductor' raised:\nNo working C++ compiler\n\nand more")

    monkeypatch.setattr(torch, "compile", lambda function, **_: fail)
    with pytest.warns(UserWarning, match=r"raised: No working C\+\+ compiler; plain PyTorch"):
        compiler.compile_or_else("a square", torch.square, torch.square)(torch.ones(1))


def test_generation_falls_back_to_plain_steps_with_one_warning(monkeypatch):
    model = small_model()
    expected = generate(model, random_ids(), 12)
    monkeypatch.setattr(generation, "WORTH_COMPILING", 1)
    lm._compiled.cache_clear()
    with pytest.warns(UserWarning, match="^torch.compile failed") as w:
        assert torch.equal(generate(model, random_ids(), 12), expected)
    assert len(w) == 1
    lm._compiled.cache_clear()


def test_error_of_the_function_itself_is_not_taken_for_the_compiler():
    double = compiler.compile_or_else("a square", torch.square, torch.square)
    with pytest.raises(TypeError):
        double("a text")
    assert not compiler.failures
