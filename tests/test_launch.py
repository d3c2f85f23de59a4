"""Launching a kernel: Triton looks at the arguments once, unless they are laid out differently."""

from types import SimpleNamespace

import pytest
import torch

from minimamba.ops.launch import Launcher


class Kernel:
    """In place of a kernel of Triton: it records how it is launched."""

    arg_names = ("x", "y", "length", "TILE")

    def __init__(self):
        self.launches = []

    def __getitem__(self, grid):
        def launch(*tensors, **arguments):
            self.launches.append(("by Triton", grid, tensors, arguments))
            return SimpleNamespace(run=lambda *given: self.launches.append(("again", *given)),
                                   function="function", packed_metadata="metadata")
        return launch


@pytest.fixture
def launched(monkeypatch):
    runtime = pytest.importorskip("triton").runtime
    driver = SimpleNamespace(active=SimpleNamespace(get_current_stream=lambda _: "stream"))
    monkeypatch.setattr(runtime, "driver", driver)
    kernel = Kernel()
    return kernel, Launcher(kernel, (2, 3, 4), {"TILE": 8, "length": 5, "other": 6}, num_warps=1)


def test_first_launch_is_left_to_triton_and_the_next_passes_addresses(launched):
    kernel, launcher = launched
    x, y = torch.zeros(4), torch.zeros(4)
    launcher(x, None)
    launcher(y, None)
    assert kernel.launches == [
        ("by Triton", (2, 3, 4), (x, None), {"length": 5, "TILE": 8, "num_warps": 1}),
        ("again", 2, 3, 4, "stream", "function", "metadata", None, None, None, y.data_ptr(), None,
         5, 8)]


def test_code_for_aligned_arrays_is_never_used_for_others(launched):
    kernel, launcher = launched
    aligned = torch.zeros(8)
    beside = aligned[1:]
    assert aligned.data_ptr() % 16 == 0 != beside.data_ptr() % 16
    for x in (beside, aligned, beside, aligned):
        launcher(x, x)
    assert [how for how, *_ in kernel.launches] == ["by Triton", "by Triton", "by Triton", "again"]


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one GPU, or none")
def test_kernels_run_on_the_gpu_of_their_tensors():
    from minimamba import selective_scan

    def scan(device):
        torch.manual_seed(0)
        x, delta = torch.randn(2, 1, 70, 5)
        parts = [x, delta, -torch.rand(5, 4), *torch.randn(2, 1, 70, 4)]
        leaves = [part.to(device).requires_grad_() for part in parts]
        y = selective_scan(*leaves, delta_softplus=True)
        return [y, *torch.autograd.grad(y.sum(), leaves)]

    with torch.cuda.device(0):
        for _ in range(2):
            for first, second in zip(scan("cuda:0"), scan("cuda:1"), strict=True):
                assert second.device == torch.device("cuda:1")
                assert torch.equal(first.cpu(), second.cpu())
