"""Mamba-2's scan by Triton kernels: what they take, allocation, launches, and the operator.

`plan.py` says how the work is divided, `forward.py` holds the kernels. There are no gradients yet.
"""

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from minimamba.arguments import is_transformed
from minimamba.ops.launch import ALIGNMENT, LAUNCHES, Launcher, dtypes_of
from minimamba.scan.triton import operator as selective_scan
from minimamba.ssd.triton.plan import Plan, SSDShape, choose_plan, multiprocessors_of

MAX_LENGTH = 2**30
"""Steps of a sequence, which the kernels count in 32 bits; together they may be more."""
MAX_D_STATE = 256
MAX_PROGRAMS = 2**31 - 1
"""CUDA's limit to the first side of a grid."""
HEADS = 8
"""Heads that one program of `sum_decays` takes."""
WIDTH = 1024
"""Components of a state that one program of `carry` takes."""


def why_not(x: Tensor | None = None, d_state: int = 1, needs_grad: bool = False) -> str | None:
    """Say why the kernels can't run here, or can't take an input.

    Args:
        x: the scan's input (batch, length, n_heads, head_dim); None to ask about this machine
            alone.
        d_state: the state dimension, considered together with x.
        needs_grad: whether gradients are wanted.

    Returns:
        The reason in a few words, or None if they can run.
    """
    is_on_gpu = x is not None and x.is_cuda
    is_compiled = selective_scan.TRITON and not selective_scan.interpreted()
    reason = selective_scan.failure() if is_on_gpu and is_compiled else selective_scan.why_not()
    if reason:
        return reason
    if needs_grad:
        return "gradients are wanted, and the kernels have no backward pass yet"
    if is_transformed():
        return "torch.func, torch.jit and forward_ad can't transform a kernel"
    if x is None:
        return None
    if x.dtype == torch.float64:
        return "float64, which the kernels don't have"
    if d_state > MAX_D_STATE:
        return f"d_state = {d_state}; the kernels take up to {MAX_D_STATE}"
    batch, length, n_heads, head_dim = x.shape
    if length > MAX_LENGTH:
        return f"length = {length}; the kernels take up to {MAX_LENGTH}"
    if batch * n_heads * head_dim > MAX_PROGRAMS:
        return (f"batch · n_heads · head_dim = {batch * n_heads * head_dim}; the kernels take up "
                f"to {MAX_PROGRAMS}")
    if not is_on_gpu and not selective_scan.interpreted():
        return f"tensors on {x.device}; the kernels run on CUDA"
    return None


def is_chosen(x: Tensor, d_state: int, needs_grad: bool) -> bool:
    """Say whether the kernels compute a scan for which no method was asked.

    Args:
        x: the scan's input.
        d_state: the state dimension.
        needs_grad: whether gradients are wanted.
    """
    return x.is_cuda and why_not(x, d_state, needs_grad) is None


def scan(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None,
         z: Tensor | None, *, dt_bias: Tensor | None, dt_softplus: bool,
         initial_state: Tensor | None, seq_idx: Tensor | None,
         needs_final_state: bool) -> tuple[Tensor, Tensor]:
    """Run the scan by the kernels.

    Args:
        x: (batch, length, n_heads, head_dim), float32, bfloat16 or float16.
        dt: (batch, length, n_heads), before bias and softplus; in x's dtype or float32.
        A: (n_heads,), float32.
        B: (batch, length, n_groups, d_state), in x's dtype or float32. If x, B and C differ, all
            is computed in float32.
        C: as B.
        D: (n_heads,) or (n_heads, head_dim), float32; none if None.
        z: (batch, length, n_heads, head_dim), the gate; in x's dtype or float32; none if None.
        dt_bias: (n_heads,), float32; none if None.
        dt_softplus: whether Δ = softplus(dt + dt_bias).
        initial_state: (batch, n_heads, head_dim, d_state), float32; zeros if None.
        seq_idx: (batch, length), integers or bools; None for one sequence.
        needs_final_state: whether to compute the final state.

    Returns:
        y, in x's shape and dtype, and the final state (batch, n_heads, head_dim, d_state),
        float32, empty if it isn't needed.
    """
    dtype = x.dtype
    if not x.dtype == B.dtype == C.dtype:
        x, B, C = x.float(), B.float(), C.float()
    run = _operator if torch.compiler.is_compiling() else forward_pass
    y, final_state = run(x, dt, A, B, C, D, z, dt_bias, dt_softplus, initial_state, seq_idx,
                         needs_final_state)
    return (y if y.dtype == dtype else y.to(dtype)), final_state


class _Forward(NamedTuple):
    """The launches of a forward pass."""

    plan: Plan
    sum_decays: Launcher
    add_up: Launcher
    """Launched if there is more than one split; and so is `carry`."""
    carry: Launcher
    walk: Launcher


def forward_pass(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None,
                 z: Tensor | None, dt_bias: Tensor | None, dt_softplus: bool,
                 initial_state: Tensor | None, seq_idx: Tensor | None,
                 needs_final_state: bool) -> tuple[Tensor, Tensor]:
    """Run the kernels.

    Args:
        x: (batch, length, n_heads, head_dim), float32, bfloat16 or float16.
        dt: (batch, length, n_heads), in x's dtype or float32.
        A: (n_heads,), float32.
        B: (batch, length, n_groups, d_state), in x's dtype.
        C: as B.
        D: (n_heads,) or (n_heads, head_dim), float32, or None.
        z: (batch, length, n_heads, head_dim), in x's dtype or float32, or None.
        dt_bias: (n_heads,), float32, or None.
        dt_softplus: whether Δ = softplus(dt + dt_bias).
        initial_state: (batch, n_heads, head_dim, d_state), float32, or None.
        seq_idx: (batch, length), integers or bools, or None.
        needs_final_state: whether to compute the final state.

    Returns:
        What `scan` returns.
    """
    x, B, C, z = (_addressable(t) for t in (x, B, C, z))
    A, D, dt_bias, initial_state = (
        t if t is None else t.contiguous() for t in (A, D, dt_bias, initial_state))
    if seq_idx is not None and seq_idx.dtype == torch.bool:
        seq_idx = seq_idx.view(torch.int8)
    shape = SSDShape(*x.shape, *B.shape[2:])
    y = _room_like(x)
    launches = _forward_launches(
        shape, tuple([None if t is None else t.stride() for t in (x, dt, B, C, z, y, seq_idx)]),
        None if D is None else D.ndim, dt_softplus, needs_final_state, x.device,
        dtypes_of(x, dt, D, z, dt_bias, initial_state, seq_idx))
    plan = launches.plan
    if x.is_cuda:
        _lend_memory_to_triton()
    cums, lows = A.new_empty(2, shape.batch, shape.n_heads, plan.chunks * plan.tiles.chunk)
    launches.sum_decays(dt, A, dt_bias, seq_idx, cums, lows)
    entering = initial_state
    if plan.splits > 1:
        entering = A.new_empty(shape.batch, shape.n_heads, plan.splits, shape.head_dim,
                               shape.d_state)
        spans = A.new_empty(shape.batch, shape.n_heads, plan.splits)
        launches.add_up(x, B, cums, lows, entering, spans)
        launches.carry(entering, spans, initial_state)
    final_state = A.new_empty(shape.batch if needs_final_state else 0, shape.n_heads,
                              shape.head_dim, shape.d_state)
    launches.walk(x, B, C, D, z, cums, lows, entering, y,
                  final_state if needs_final_state else None)
    return y.contiguous(), final_state


@lru_cache(maxsize=LAUNCHES)
def _forward_launches(shape: SSDShape, strides: tuple, D_axes: int | None, dt_softplus: bool,
                      needs_final_state: bool, device: torch.device, dtypes: tuple) -> _Forward:
    """Plan a forward pass. The last arguments decide which code Triton compiles."""
    from minimamba.ssd.triton import forward

    plan = choose_plan(shape, dtypes[0].itemsize, multiprocessors_of(device))
    tiles = plan.tiles
    constants = {
        **shape._asdict(), "chunks": plan.chunks, "split_chunks": plan.split_chunks,
        "splits": plan.splits, "SOFTPLUS": dt_softplus, "D_PER_HEAD": D_axes == 1,
        "CHUNK": tiles.chunk, "N": tiles.states, "BLOCK": tiles.block, "STAGES": tiles.stages,
        "HEADS": HEADS, "SIZE": shape.head_dim * shape.d_state, "WIDTH": WIDTH}
    for name, (sequence, step, *rest) in zip(
            ("x", "dt", "B", "C", "z", "y", "seq"),
            ((0, 0, 0) if given is None else given for given in strides), strict=True):
        part = "group" if name in "BC" else "head"
        constants |= {f"{name}_sequence": sequence, f"{name}_step": step,
                      f"{name}_{part}": rest[0] if rest else 0}
    rows = shape.batch * shape.n_heads
    return _Forward(
        plan,
        Launcher(forward.sum_decays,
                 (shape.batch * plan.chunks * -(-shape.n_heads // HEADS), 1, 1), constants),
        Launcher(forward.add_up, (rows * plan.blocks, plan.splits - 1, 1), constants,
                 num_warps=tiles.warps),
        Launcher(forward.carry, (rows, -(-constants["SIZE"] // WIDTH), 1), constants),
        Launcher(forward.walk, (rows * plan.blocks, plan.splits, 1), constants,
                 num_warps=tiles.warps))


def _fake(x, dt, A, B, C, D, z, dt_bias, dt_softplus, initial_state, seq_idx, needs_final_state):
    batch, _, n_heads, head_dim = x.shape
    return (torch.empty_like(x, memory_format=torch.contiguous_format),
            A.new_empty(batch if needs_final_state else 0, n_heads, head_dim, B.shape[3]))


_operator = torch.library.custom_op("minimamba::ssd", forward_pass, mutates_args=())
_operator.register_fake(_fake)


def _addressable(t: Tensor | None) -> Tensor | None:
    """A tensor that descriptors can address, a copy if need be: all but the last stride, and where
    it begins, are multiples of 16 bytes."""
    if t is None:
        return None
    aligned = ALIGNMENT // t.element_size()
    *strides, last = t.stride()
    if (last == 1 and t.data_ptr() % ALIGNMENT == 0
            and all(stride > 0 and stride % aligned == 0 for stride in strides)):
        return t
    return _room_like(t).copy_(t)


def _room_like(t: Tensor) -> Tensor:
    """An uninitialized tensor of the same shape that descriptors can address."""
    aligned = ALIGNMENT // t.element_size()
    *others, size = t.shape
    return t.new_empty(*others, -(-size // aligned) * aligned)[..., :size]


def _lend_memory_to_triton() -> None:
    """Let Triton take the memory for the descriptors that kernels make from PyTorch."""
    import triton

    triton.set_allocator(_allocate)


def _allocate(size: int, alignment: int, stream: int | None) -> Tensor:
    return torch.empty(size, dtype=torch.int8, device="cuda")
