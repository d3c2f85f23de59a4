"""The environment report, `methods`, `why_not` and `selective_scan` agree about Triton."""

from types import SimpleNamespace

import pytest
import torch

from minimamba import environment, selective_scan
from minimamba.ops import causal_conv1d
from minimamba.scan import methods, why_not
from minimamba.scan.triton import operator


@pytest.fixture
def machine(monkeypatch):
    """Pretend that Triton is installed or not, a GPU is there or not, and TRITON_INTERPRET."""
    def pretend(installed, gpu, interpret):
        monkeypatch.setattr(operator, "TRITON", installed)
        monkeypatch.setattr(operator, "failure", lambda: None)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
        monkeypatch.setenv("TRITON_INTERPRET", interpret)
        if gpu:
            monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: H100)
    return pretend


class H100:
    name = "NVIDIA H100"
    total_memory = 80 * 2**30


@pytest.mark.parametrize(("installed", "gpu", "interpret", "mode", "reason"), [
    (False, False, "0", "none", "triton is not installed"),
    (False, True, "0", "none", "triton is not installed"),
    (True, False, "0", "none", "no CUDA device was found"),
    (True, False, "1", "interpreter", None),
    (True, True, "0", "native", None),
    (True, True, "1", "interpreter", None)])
def test_all_reports_agree_whether_triton_can_run(machine, installed, gpu, interpret, mode, reason):
    if installed:
        pytest.importorskip("triton")
    machine(installed, gpu, interpret)
    assert environment.triton_mode() == mode
    assert (why_not("triton") is None) == (reason is None)
    assert methods()["triton"] == why_not("triton")
    line = environment.report().splitlines()[-1]
    assert line.startswith(f"Triton     {mode}: ")
    if reason:
        assert why_not("triton").startswith(reason)
        assert line == f"Triton     none: {why_not('triton')}"
        ones = torch.ones(1, 2, 1)
        with pytest.raises(ValueError, match=f"^method: .+, got 'triton': {reason}"):
            selective_scan(ones, ones, -torch.ones(1, 1), ones, ones, method="triton")


def test_triton_that_cannot_compile_is_warned_of_once_and_not_used(machine, monkeypatch):
    trial = pytest.importorskip("minimamba.scan.triton.trial")
    failure = operator.failure
    machine(True, True, "0")
    monkeypatch.setattr(operator, "failure", failure)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)

    class Broken:
        def __getitem__(self, grid):
            raise RuntimeError("Failed to find C compiler.\nPlease specify via CC")

    monkeypatch.setattr(trial, "_kernel", Broken())
    trial.failure.cache_clear()
    try:
        with pytest.warns(UserWarning, match=r"^Triton can't compile here: .+ more slowly$"):
            assert why_not("triton") == ("Triton can't compile here: "
                                         "Failed to find C compiler. Please specify via CC")
        x = SimpleNamespace(is_cuda=True, dtype=torch.float32)
        monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
        assert not causal_conv1d.can_use_kernels(x)          # the second call warns no more
    finally:
        trial.failure.cache_clear()


def test_report_has_one_line_per_item():
    lines = dict(line.split(maxsplit=1) for line in environment.report().splitlines())
    assert list(lines) == ["Python", "torch", "processor", "GPU", "Triton"]
    assert lines["torch"] == torch.__version__
