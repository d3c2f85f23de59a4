"""Launching a kernel: Triton looks at the arguments once, unless they are laid out differently."""

from collections import Counter
from types import SimpleNamespace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from minimamba import Mamba, arguments, scan, selective_scan
from minimamba.compat import selective_scan_fn
from minimamba.nn import Mamba2
from minimamba.ops import causal_conv1d
from minimamba.ops.launch import Launcher
from minimamba.scan.triton import operator


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
        ("again", 2, 3, 4, "stream", "function", "metadata", None, None, None, y.data_ptr(), 0,
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
    def results(device):
        torch.manual_seed(0)
        x, delta = torch.randn(2, 1, 70, 5)
        parts = [x, delta, -torch.rand(5, 4), *torch.randn(2, 1, 70, 4)]
        leaves = [part.to(device).requires_grad_() for part in parts]
        y = selective_scan(*leaves, delta_softplus=True)
        return [y, *torch.autograd.grad(y.sum(), leaves)]

    with torch.cuda.device(0):
        for _ in range(2):
            for first, second in zip(results("cuda:0"), results("cuda:1"), strict=True):
                assert second.device == torch.device("cuda:1")
                assert torch.equal(first.cpu(), second.cpu())


class Operations(TorchDispatchMode):
    """Counts the operations of PyTorch, each of which takes a few microseconds to call."""

    def __init__(self):
        super().__init__()
        self.count = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count[function.overloadpacket.__name__] += 1
        return function(*args, **(kwargs or {}))


@pytest.fixture
def counted(monkeypatch):
    """Count launches and operations, as on a GPU: without looking at values."""
    launches = []
    monkeypatch.setattr(Launcher, "__call__", lambda self, *tensors: launches.append(self))
    monkeypatch.setattr(scan, "can_read_values", lambda _: False)

    def count(call):
        launches.clear()
        with Operations() as operations:
            call()
        return len(launches), operations.count

    return count


VIEWS = {"split", "t", "view", "_unsafe_view", "squeeze", "split_with_sizes", "slice", "transpose",
         "permute", "select", "unsqueeze", "unbind", "alias"}
IN_INTERPRETER = pytest.mark.skipif(bool(scan.why_not("triton")) or torch.cuda.is_available(),
                                    reason="counted where a plan has as few programs as possible")


@IN_INTERPRETER
def test_a_call_of_the_scan_does_nothing_that_it_could_leave_out(counted):
    x, delta, z = torch.randn(3, 2, 70, 6).bfloat16()
    B, C = torch.randn(2, 70, 10).bfloat16().split(5, -1)
    B, C = B[..., :4], C[..., :4]
    given = [x, delta, -torch.rand(6, 4), B, C, torch.randn(6), z]
    options = {"delta_bias": torch.randn(6), "delta_softplus": True, "method": "triton"}
    # Room for y; and, for a backward pass, for the states of chunks.
    leaves = [t.detach().requires_grad_() for t in given]
    assert counted(lambda: selective_scan(*given, **options)) == (1, {"empty_like": 1})
    assert counted(lambda: selective_scan(*leaves, **options)) == (
        1, {"empty_like": 1, "new_empty": 1})
    y = selective_scan(*leaves, **options)
    dy = torch.ones_like(y)
    # The scan, and what adds up its parts. Room for the gradients of what is as long as x, of B and
    # C, of the rest, and for the parts; only those of dB and dC must begin with 0.
    assert counted(lambda: torch.autograd.grad(y, leaves, dy)) == (
        2, {"empty_like": 5, "new_empty": 4, "slice": 1, "zero_": 1})


@IN_INTERPRETER
def test_a_call_in_the_official_layout_copies_and_transposes_nothing(counted, monkeypatch):
    monkeypatch.setattr(operator, "is_chosen", lambda *_: True)
    u, delta, z = torch.randn(3, 2, 6, 70).bfloat16()
    B, C = torch.randn(2, 2, 4, 70).bfloat16()
    given = [u, delta, -torch.rand(6, 4), B, C, torch.randn(6), z, torch.randn(6), True]
    leaves = [t.requires_grad_() if isinstance(t, torch.Tensor) else t for t in given]
    selective_scan_fn(*leaves)                               # checks, once per signature
    # B and C are packed, since their states lie apart; then the scan.
    with torch.no_grad():
        assert counted(lambda: selective_scan_fn(*leaves)) == (2, {"empty_like": 1, "new_empty": 1})
    assert counted(lambda: selective_scan_fn(*leaves)) == (2, {"empty_like": 1, "new_empty": 2})
    y = selective_scan_fn(*leaves)
    assert y.is_contiguous()
    dy = torch.ones_like(y)
    launches, operations = counted(lambda: torch.autograd.grad(y, leaves[:-1], dy))
    assert launches == 2
    assert operations == {"empty_like": 5, "new_empty": 4, "slice": 1, "zero_": 1}


@IN_INTERPRETER
def test_a_block_computes_and_converts_nothing_that_it_could_leave_out(counted, monkeypatch):
    monkeypatch.setattr(causal_conv1d, "can_use_kernels", lambda _: True)
    monkeypatch.setattr(arguments, "can_read_values", lambda _: False)
    block, u = Mamba(16, dtype=torch.bfloat16), torch.randn(2, 70, 16).bfloat16()
    # Five products, of which two are in_proj's; A; room for what the kernels write. The cache's
    # part of the convolution's input is copied, and nothing else.
    forward = {"mm": 5, "exp": 1, "neg_": 1, "empty_like": 2, "new_empty": 1}
    with torch.no_grad():
        assert counted_without_views(counted, lambda: block(u, return_cache=True)) == (
            2, forward | {"_to_copy": 1})
    assert counted_without_views(counted, lambda: block(u)) == (2, forward)
    y, parameters = block(u), list(block.parameters())
    dy = torch.ones_like(y)
    # Three of the products again, and two for each of five; two of these are added to others. What
    # is converted are the gradients of the convolution and of Δ's bias, summed in float32.
    assert counted_without_views(counted, lambda: torch.autograd.grad(y, parameters, dy)) == (
        4, {"mm": 11, "addmm_": 2, "cat": 1, "sum": 1, "mul": 1, "exp": 1, "neg_": 1,
            "empty_like": 7, "new_empty": 6, "zero_": 1, "clone": 1, "_to_copy": 2})


@IN_INTERPRETER
def test_a_mamba_2_block_reads_and_writes_slices_where_they_lie(counted, monkeypatch):
    monkeypatch.setattr(causal_conv1d, "can_use_kernels", lambda _: True)
    monkeypatch.setattr(arguments, "can_read_values", lambda _: False)
    block = Mamba2(16, headdim=8, d_state=8, dtype=torch.bfloat16)
    u = torch.randn(2, 70, 16).bfloat16().requires_grad_()
    # The convolution, the scan's two, and the norm. Converted is Δ's bias.
    assert counted_without_views(counted, lambda: block(u)) == (
        4, {"mm": 2, "exp": 1, "neg_": 1, "_to_copy": 1, "empty_like": 2, "new_empty": 4})
    y, leaves = block(u), [u, *block.parameters()]
    dy = torch.ones_like(y)
    # The norm's, the convolution's two, and seven of the scan. z and the rest of in_proj's output
    # are products again; no gradient is concatenated. The sums are over parts of the gradients of
    # weights, and four of these are converted.
    assert counted_without_views(counted, lambda: torch.autograd.grad(y, leaves, dy)) == (
        10, {"mm": 6, "exp": 1, "neg_": 1, "mul": 1, "sum": 2, "_to_copy": 4, "clone": 1,
             "empty_like": 8, "new_empty": 15})


def counted_without_views(counted, call):
    """Launches, and operations that allocate or compute."""
    launches, operations = counted(call)
    return launches, {name: count for name, count in operations.items() if name not in VIEWS}
