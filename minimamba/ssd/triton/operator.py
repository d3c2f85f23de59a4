"""Mamba-2's scan by Triton kernels: what they take, allocation, launches, and the operator.

`plan.py` says how the work is divided; `forward.py` and `backward.py` hold the kernels. The forward
pass saves nothing for the backward pass but its arguments and, where they are small beside x and it
is not compiled, the decays and the states that enter its splits. The states before all chunks,
larger than x by a factor of d_state / chunk, exist during the backward pass only.
"""

from collections.abc import Callable
from functools import lru_cache
from operator import attrgetter
from typing import NamedTuple

import torch
from torch import Tensor

from minimamba.arguments import is_transformed
from minimamba.ops.launch import (
    ALIGNMENT,
    LAUNCHES,
    Launcher,
    can_overlap,
    capability_of,
    dtypes_of,
)
from minimamba.ops.operator import differentiable
from minimamba.scan.chunked import INSTEAD
from minimamba.scan.triton import operator as selective_scan
from minimamba.ssd.triton.plan import (
    BackwardPlan,
    Plan,
    SSDShape,
    choose_backward_plan,
    choose_backward_tiles,
    choose_plan,
    choose_tiles,
    multiprocessors_of,
    plan_of_gate,
    save_stages,
    walks_that_fit,
)

MAX_LENGTH = 2**30
"""Steps of a sequence, which the kernels count in 32 bits; together they may be more."""
MAX_D_STATE = 256
MAX_PROGRAMS = 2**31 - 1
"""CUDA's limit to the first side of a grid."""
FARTHEST = 2**40
"""Bytes. Elements along an axis of a descriptor are less far apart."""
MAX_KEPT = 0.25
"""The largest size of what is kept between the passes, each array as a fraction of that of x."""
DESCRIPTOR_BYTES = 8 * 128
"""Memory for the descriptors of a program: up to eight, of 128 bytes each."""
HEADS = 8
"""Heads that one program of `sum_decays` takes."""
WIDTH = 1024
"""Components of a state that one program of `carry` takes."""
SUMS = {"CHUNKS": 256, "WIDTH": 8}
"""Chunks, and sums of each, that one program of `add_up_chunks` takes at once."""


def why_not(x: Tensor | None = None, d_state: int = 1) -> str | None:
    """Say why the kernels can't run here, or can't take an input.

    Args:
        x: the scan's input (batch, length, n_heads, head_dim); None to ask about this machine
            alone.
        d_state: the state dimension, considered together with x.

    Returns:
        The reason in a few words, or None if they can run.
    """
    is_on_gpu = x is not None and x.is_cuda
    is_compiled = selective_scan.TRITON and not selective_scan.interpreted()
    reason = selective_scan.failure() if is_on_gpu and is_compiled else selective_scan.why_not()
    if reason:
        return reason
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


def is_chosen(x: Tensor, d_state: int) -> bool:
    """Say whether the kernels compute a scan for which no method is given.

    Args:
        x: the scan's input.
        d_state: the state dimension.
    """
    return x.is_cuda and why_not(x, d_state) is None


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
    inputs = x, dt, A, B, C, D, z, dt_bias, dt_softplus, initial_state, seq_idx
    tensors = [t for t in inputs if isinstance(t, Tensor)]
    needs_grad = torch.is_grad_enabled() and any(map(attrgetter("requires_grad"), tensors))
    # Without gradients, an autograd.Function would only take time.
    run = _apply if needs_grad or torch.compiler.is_compiling() else forward_pass
    y, final_state = run(*inputs, needs_final_state)
    return (y if y.dtype == dtype else y.to(dtype)), final_state


class _Forward(NamedTuple):
    """The launches of a forward pass."""

    plan: Plan
    sum_decays: Launcher
    """Launched unless the decays are known."""
    add_up: Launcher
    """Launched if there is more than one split; and so is `carry`."""
    carry: Launcher
    walk: Launcher
    descriptor_bytes: int


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
    y, final_state, *_ = _run(x, dt, A, B, C, D, z, dt_bias, dt_softplus, initial_state, seq_idx,
                             needs_final_state)
    return y, final_state


def forward_and_kept(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None,
                     z: Tensor | None, dt_bias: Tensor | None, dt_softplus: bool,
                     initial_state: Tensor | None, seq_idx: Tensor | None, needs_final_state: bool
                     ) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """Run the kernels, and keep what the backward pass would have to compute again.

    Args:
        x: (batch, length, n_heads, head_dim), as for `forward_pass`, and so are those after it.
        dt: (batch, length, n_heads).
        A: (n_heads,).
        B: (batch, length, n_groups, d_state).
        C: as B.
        D: (n_heads,) or (n_heads, head_dim), or None.
        z: (batch, length, n_heads, head_dim), or None.
        dt_bias: (n_heads,), or None.
        dt_softplus: whether Δ = softplus(dt + dt_bias).
        initial_state: (batch, n_heads, head_dim, d_state), or None.
        seq_idx: (batch, length), or None.
        needs_final_state: whether to compute the final state.

    Returns:
        What `scan` returns; and, in float32, the states that enter the splits, (batch, n_heads,
        splits, head_dim, d_state), and the decays, (batch, n_heads, chunks, 3, steps of a chunk).
        Each is None if the backward pass has other splits, or chunks, or if it is larger than
        MAX_KEPT of x; the states also if there is one split.
    """
    keeps = _keeps_decays(x, B)
    y, final_state, entering, decays, *_ = _run(x, dt, A, B, C, D, z, dt_bias, dt_softplus,
                                                initial_state, seq_idx, needs_final_state, keeps)
    if entering is not None and (entering.nbytes > MAX_KEPT * x.nbytes or not _same_splits(x, B)):
        entering = None
    return y, final_state, entering, decays if keeps else None


def _keeps_decays(x: Tensor, B: Tensor) -> bool:
    """Say whether the backward pass can take the decays, and they are small beside x."""
    _, length, _, head_dim = x.shape
    sizes = head_dim, B.shape[3], x.element_size()
    chunk = choose_tiles(*sizes).chunk
    steps = -(-length // chunk) * chunk
    of_head = 3 * steps * torch.float32.itemsize
    return (chunk == choose_backward_tiles(*sizes).chunk
            and of_head <= MAX_KEPT * length * head_dim * x.element_size())


def _same_splits(x: Tensor, B: Tensor) -> bool:
    """Say whether the splits of both passes are the same."""
    given = SSDShape(*x.shape, *B.shape[2:]), x.element_size(), multiprocessors_of(x.device)
    return choose_plan(*given).split_steps == choose_backward_plan(*given).split_steps


def _run(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None,
         z: Tensor | None, dt_bias: Tensor | None, dt_softplus: bool,
         initial_state: Tensor | None, seq_idx: Tensor | None, needs_final_state: bool,
         with_delta: bool = False, entering: Tensor | None = None, decays: Tensor | None = None,
         d_out: Tensor | None = None
         ) -> tuple[Tensor, Tensor, Tensor | None, Tensor, Tensor | None, Tensor | None]:
    """Run the forward kernels: for y and the final state, or, if d_out, the gradient of y after its
    gate, is given, for the gradients of z, of y before the gate, and of D by chunk.

    The states that enter the splits and the decays are the third and fourth result, and computed
    unless they are given. The decays have Δ only if `with_delta`.
    """
    x, B, C, z, d_out = (_addressable(t) for t in (x, B, C, z, d_out))
    A, D, dt_bias, initial_state = (
        t if t is None else t.contiguous() for t in (A, D, dt_bias, initial_state))
    seq_idx = _without_bools(seq_idx)
    shape = SSDShape(*x.shape, *B.shape[2:])
    y = _room(x if d_out is None else z, x.shape)
    dy = None if d_out is None else _room(x, x.shape)
    launches = _forward_launches(
        shape, _strides(x, dt, B, C, z, y, seq_idx, d_out, dy), None if D is None else D.ndim,
        dt_softplus, needs_final_state, with_delta or decays is not None, x.device,
        dtypes_of(x, dt, D, z, dt_bias, initial_state, seq_idx, d_out))
    plan = launches.plan
    with _DescriptorMemory(A, launches.descriptor_bytes):
        if decays is None:
            decays = A.new_empty(shape.batch, shape.n_heads, plan.chunks, 2 + with_delta,
                                 plan.tiles.chunk)
            launches.sum_decays(dt, A, dt_bias, seq_idx, decays)
        if plan.splits > 1 and entering is None:
            entering = A.new_empty(shape.batch, shape.n_heads, plan.splits, shape.head_dim,
                                   shape.d_state)
            spans = A.new_empty(shape.batch, shape.n_heads, plan.splits)
            launches.add_up(x, B, decays, entering, spans)
            launches.carry(entering, spans, initial_state)
        final_state = A.new_empty(shape.batch if needs_final_state else 0, shape.n_heads,
                                  shape.head_dim, shape.d_state)
        dD = None
        if d_out is not None and D is not None:
            dD = A.new_empty(shape.batch, shape.n_heads, plan.chunks, shape.head_dim)
        launches.walk(x, B, C, D, z, decays, initial_state if entering is None else entering, y,
                      final_state if needs_final_state else None, d_out, dy, dD)
    return y.contiguous(), final_state, entering, decays, dy, dD


@lru_cache(maxsize=LAUNCHES)
def _forward_launches(shape: SSDShape, strides: tuple, D_axes: int | None, dt_softplus: bool,
                      needs_final_state: bool, with_delta: bool, device: torch.device,
                      dtypes: tuple) -> _Forward:
    """Plan a forward pass. The last arguments decide which code Triton compiles."""
    from minimamba.ssd.triton import forward

    plan = choose_plan(shape, dtypes[0].itemsize, multiprocessors_of(device))
    *_, d_out, _ = strides
    if d_out is not None:
        plan = plan_of_gate(shape, plan, dtypes[0].itemsize)
    tiles = plan.tiles
    # In the gate's backward pass, any of these kernels may be the first of the call.
    overlap = can_overlap(device) and d_out is None
    constants = {
        **_constants(shape, plan, dt_softplus, D_axes),
        **_named_strides(("x", "dt", "B", "C", "z", "y", "seq", "d_out", "dy"), strides),
        "KINDS": 2 + with_delta, "OVERLAP": can_overlap(device)}
    walk = {**constants, "STAGES": tiles.stages, "EARLY": tiles.is_early}
    add_up = {**constants, "COLUMNS": tiles.states, "STAGES": tiles.pass_stages, "BACK": False}
    rows = shape.batch * shape.n_heads
    return _Forward(
        plan,
        Launcher(forward.sum_decays,
                 (shape.batch * plan.chunks * -(-shape.n_heads // HEADS), 1, 1), constants),
        Launcher(forward.add_up, (rows * plan.blocks, plan.splits - 1, 1), add_up,
                 num_warps=tiles.warps, launch_pdl=overlap),
        Launcher(forward.carry, (rows, -(-constants["SIZE"] // WIDTH), 1), constants,
                 launch_pdl=overlap),
        Launcher(forward.walk, (rows * plan.blocks, plan.splits, 1), walk, num_warps=tiles.warps,
                 launch_pdl=overlap),
        _descriptor_bytes(rows * plan.blocks * plan.splits, device))


class _Backward(NamedTuple):
    """The launches of a backward pass."""

    sum_decays: Launcher
    """Launched unless the decays are known."""
    add_up: Launcher
    """Launched if there is more than one split, and the forward pass has not computed the states
    that enter these; and so is `carry`."""
    carry: Launcher
    save_states: Launcher
    read: Launcher
    add_up_back: Launcher
    """Launched if there is more than one split; and so is `carry_back`."""
    carry_back: Launcher
    walk_back: Launcher
    write: Launcher
    step: Launcher
    add_up_chunks: Launcher
    descriptor_bytes: int


def backward_pass(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None,
                  z: Tensor | None, dt_bias: Tensor | None, dt_softplus: bool,
                  initial_state: Tensor | None, seq_idx: Tensor | None, entering: Tensor | None,
                  decays: Tensor | None, d_out: Tensor, d_final_state: Tensor | None
                  ) -> list[Tensor]:
    """Compute the gradients of `forward_pass`.

    Args:
        x: (batch, length, n_heads, head_dim), what `forward_pass` was given, and so are those up to
            `seq_idx`.
        dt: (batch, length, n_heads).
        A: (n_heads,).
        B: (batch, length, n_groups, d_state).
        C: as B.
        D: (n_heads,) or (n_heads, head_dim), or None.
        z: (batch, length, n_heads, head_dim), or None.
        dt_bias: (n_heads,), or None.
        dt_softplus: whether Δ = softplus(dt + dt_bias).
        initial_state: (batch, n_heads, head_dim, d_state), or None.
        seq_idx: (batch, length), or None.
        entering: what `forward_and_kept` has kept, or None.
        decays: likewise.
        d_out: of x's shape and dtype, the gradient of y.
        d_final_state: (batch, n_heads, head_dim, d_state), that of the final state; zeros if None.

    Returns:
        The gradients of x, dt, A, B, C, D, z, dt_bias and initial_state, in the dtypes of these;
        those of D, z and initial_state are empty if these are not given.
    """
    dx, d_dt, dB, dC = (torch.empty_like(t, memory_format=torch.contiguous_format)
                        for t in (x, dt, B, C))
    dA, dD, dz, d_bias, d_initial_state = backward_into(
        dx, d_dt, dB, dC, x, dt, A, B, C, D, z, dt_bias, dt_softplus, initial_state, seq_idx,
        entering, decays, d_out, d_final_state)
    return [dx, d_dt, dA, dB, dC, dD, dz, d_bias, d_initial_state]


def backward_into(dx: Tensor, d_dt: Tensor, dB: Tensor, dC: Tensor, x: Tensor, dt: Tensor,
                  A: Tensor, B: Tensor, C: Tensor, D: Tensor | None, z: Tensor | None,
                  dt_bias: Tensor | None, dt_softplus: bool, initial_state: Tensor | None,
                  seq_idx: Tensor | None, entering: Tensor | None, decays: Tensor | None,
                  d_out: Tensor, d_final_state: Tensor | None
                  ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Compute the gradients as `backward_pass` does, and write those of x, dt, B and C to given
    tensors, which may be slices of others.

    Args:
        dx: of x's shape and dtype, receives its gradient.
        d_dt: receives that of dt.
        dB: receives that of B.
        dC: receives that of C.
        x: (batch, length, n_heads, head_dim), as for `backward_pass`, and so are those after it.
        dt: (batch, length, n_heads).
        A: (n_heads,).
        B: (batch, length, n_groups, d_state).
        C: as B.
        D: (n_heads,) or (n_heads, head_dim), or None.
        z: (batch, length, n_heads, head_dim), or None.
        dt_bias: (n_heads,), or None.
        dt_softplus: whether Δ = softplus(dt + dt_bias).
        initial_state: (batch, n_heads, head_dim, d_state), or None.
        seq_idx: (batch, length), or None.
        entering: what `forward_and_kept` has kept, or None.
        decays: likewise.
        d_out: of x's shape and dtype, the gradient of y.
        d_final_state: (batch, n_heads, head_dim, d_state), or None.

    Returns:
        The gradients of A, D, z, dt_bias and initial_state; those of D, z and initial_state are
        empty if these are not given.
    """
    per_head = D is None or D.ndim == 1
    dz, dD = A.new_empty(0), A.new_empty(0)
    if z is not None:
        dz, _, entering, _, d_out, by_chunk = _run(
            x, dt, A, B, C, D, z, dt_bias, dt_softplus, initial_state, seq_idx, False,
            entering=entering, decays=decays, d_out=d_out)
        dD = dD if D is None else by_chunk.sum((0, 2, 3) if per_head else (0, 2))
    x, B, C, dy = (_addressable(t) for t in (x, B, C, d_out))
    A, D, dt_bias, initial_state, d_final_state = (
        t if t is None else t.contiguous() for t in (A, D, dt_bias, initial_state, d_final_state))
    seq_idx = _without_bools(seq_idx)
    shape = SSDShape(*x.shape, *B.shape[2:])
    batch, length, n_heads, head_dim, n_groups, d_state = shape
    plan = choose_backward_plan(shape, x.element_size(), multiprocessors_of(x.device))
    tiles, parts = plan.tiles, plan.parts
    # What the kernels write. Of several parts, dB and dC are still to be added up.
    dx_written = dx if _is_addressable(dx) and dx.stride(2) == head_dim else _room(x, x.shape)
    dB_written, dC_written = (
        t if parts == 1 and _is_addressable(t) else
        _room(x if parts == 1 else A, (parts * batch, length, n_groups, d_state))
        for t in (dB, dC))
    plan, states, others = _room_for_states(plan, dx_written)
    D_sums = 0 if D is None or z is not None else D.numel()
    launches = _backward_launches(
        shape, plan, _strides(x, dt, B, C, seq_idx, dy, dx_written, dB_written, dC_written, d_dt,
                              states),
        None if D is None else D.ndim, D_sums, dt_softplus,
        dtypes_of(x, dt, D, z, dt_bias, initial_state, seq_idx, d_final_state), x.device)

    def carried(add_up: Launcher, carry: Launcher, x: Tensor, B: Tensor,
                first: Tensor | None) -> Tensor | None:
        """The states that enter the splits, whatever the direction."""
        if plan.splits == 1:
            return first
        entering = A.new_empty(batch, n_heads, plan.splits, head_dim, d_state)
        spans = A.new_empty(batch, n_heads, plan.splits)
        add_up(x, B, decays, entering, spans)
        carry(entering, spans, first)
        return entering

    with _DescriptorMemory(A, launches.descriptor_bytes):
        if decays is None:
            decays = A.new_empty(batch, n_heads, plan.chunks, 3, tiles.chunk)
            launches.sum_decays(dt, A, dt_bias, seq_idx, decays)
        if entering is None or not _same_splits(x, B):
            entering = carried(launches.add_up, launches.carry, x, B, initial_state)
        launches.save_states(x, B, decays, entering, None, states, others, None, None)
        reads, writes = (A.new_empty(batch, n_heads * plan.blocks, plan.chunks, kinds, tiles.chunk)
                         for kinds in (2, 3))
        dCB = x.new_empty(batch * plan.chunks * n_groups * parts, tiles.chunk, tiles.chunk)
        launches.read(x, B, C, dy, decays, states, others, reads, dCB, dC_written)
        overlaps = A.new_empty(batch, n_heads, plan.chunks, plan.state_tiles)
        d_initial_state = torch.empty_like(
            A.new_empty(0) if initial_state is None else initial_state)
        leaving = carried(launches.add_up_back, launches.carry_back, dy, C, d_final_state)
        launches.walk_back(dy, C, decays, leaving, initial_state, states, others, overlaps,
                           None if initial_state is None else d_initial_state)
        sums = A.new_empty(batch * plan.chunks, D_sums + 2 * n_heads)
        launches.write(x, B, C, dy, D, decays, states, others, dCB, writes, dx_written, dB_written,
                       sums if D_sums and not per_head else None)
        launches.step(dt, A, dt_bias, decays, reads, writes, overlaps, d_dt, sums)
        dA, d_bias = torch.empty_like(A), torch.empty_like(A)
        if D_sums:
            dD = torch.empty_like(D)
        launches.add_up_chunks(sums, dA, d_bias, dD if D_sums else None)
    for given, written in ((dx, dx_written), (dB, dB_written), (dC, dC_written)):
        if written is not given:
            given.copy_(written if len(written) == batch
                        else written.unflatten(0, (parts, batch)).sum(0))
    return dA, dD, dz, d_bias, d_initial_state


def _room_for_states(plan: BackwardPlan, dx: Tensor
                     ) -> tuple[BackwardPlan, Tensor, Tensor | None]:
    """Memory for states: if they fit, that of dx before it is written; (batch, slots, rows, …) with
    the strides that `describe_states` takes.

    In dx, a slot is across some heads and has the state of the first. Those of the other heads are
    in a second tensor, which has as many more sequences.
    """
    batch, length, n_heads, head_dim = dx.shape
    across, others = plan.across, None
    if across is not None and across > 1:
        others = dx.new_empty_strided(((across - 1) * batch, length, n_heads, head_dim),
                                      dx.stride())
        if abs(others.data_ptr() - dx.data_ptr()) >= FARTHEST:
            across, others = None, None
    if across is None:
        rows = plan.chunks * plan.blocks * plan.tiles.block
        states = dx.new_empty(batch, n_heads, rows, plan.tiles.states)
    else:
        states = dx.unflatten(2, (-1, across))[:, :, :, 0].transpose(1, 2)
    return plan._replace(across=across), states, others


@lru_cache(maxsize=LAUNCHES)
def _backward_launches(shape: SSDShape, plan: BackwardPlan, strides: tuple, D_axes: int | None,
                       D_sums: int, dt_softplus: bool, dtypes: tuple,
                       device: torch.device) -> _Backward:
    """Work out the launches. The last two arguments decide which code Triton compiles.

    Those that may be the first of a call, if decays and entering states are known, don't overlap.
    """
    from minimamba.ssd.triton import backward, forward

    tiles = plan.tiles
    overlap = can_overlap(device)
    *strides, (states_sequence, states_slot, states_row, _) = strides
    names = "x", "dt", "B", "C", "seq", "dy", "dx", "dB", "dC", "d_dt"
    constants = {
        **_constants(shape, plan, dt_softplus, D_axes), **_named_strides(names, strides),
        "states_sequence": states_sequence, "states_slot": states_slot, "states_row": states_row,
        "parts": plan.parts, "ACROSS": plan.across or 1, "COLUMNS": tiles.columns,
        "APART": tiles.is_apart, "BLOCKS": plan.blocks, "TILES": plan.state_tiles,
        "D_sums": D_sums, "of_chunks": shape.batch * plan.chunks,
        "ALONGS": D_sums > 0 and D_axes == 1, "KINDS": 3, "OVERLAP": overlap}
    read = {**constants, "STAGES": tiles.read_stages}
    write = {**constants, "STAGES": tiles.write_stages}
    forth = {**constants, "BACK": False}
    _, _, _, C, _, dy, *_ = strides
    back = {**constants, **_named_strides(("x", "B"), (dy, C)), "BACK": True}
    by_heads = shape.batch * plan.chunks * -(-shape.n_heads // HEADS), 1, 1
    by_group = shape.batch * plan.chunks * shape.n_groups * plan.parts, 1, 1
    rows = shape.batch * shape.n_heads
    all_but_one = rows * plan.state_tiles, plan.splits - 1, 1
    walk = rows * plan.state_tiles, plan.splits, 1
    # Fewer programs than fit at once would crowd on the multiprocessors that are free first.
    walks = rows * plan.state_tiles * plan.splits
    walks_overlap = overlap and walks > walks_that_fit(tiles, multiprocessors_of(device))
    by_state = rows, -(-constants["SIZE"] // WIDTH), 1
    by_sum = -(-(D_sums + 2 * shape.n_heads) // SUMS["WIDTH"]), 1, 1

    def overlapping(kernel: Callable, grid: tuple[int, int, int], constants: dict,
                    **options: int) -> Launcher:
        return Launcher(kernel, grid, constants, launch_pdl=overlap, **options)

    def adder(constants: dict, overlaps: bool) -> Launcher:
        return Launcher(forward.add_up, all_but_one, {**constants, "STAGES": tiles.pass_stages},
                        num_warps=tiles.walk_warps, launch_pdl=overlaps)

    def walker(constants: dict, stages: int, overlaps: bool) -> Launcher:
        return Launcher(backward.walk_states, walk, {**constants, "STAGES": stages},
                        num_warps=tiles.walk_warps, launch_pdl=overlaps)

    return _Backward(
        Launcher(forward.sum_decays, by_heads, constants),
        adder(forth, False), overlapping(forward.carry, by_state, constants),
        walker(forth, save_stages(tiles, capability_of(device)), False),
        overlapping(backward.read_gradients, by_group, read, num_warps=tiles.warps),
        adder(back, overlap), overlapping(forward.carry, by_state, constants),
        walker(back, tiles.walk_stages, walks_overlap),
        overlapping(backward.write_gradients, by_group, write, num_warps=tiles.warps),
        overlapping(backward.step_gradients, by_heads, constants),
        overlapping(backward.add_up_chunks, by_sum, {**constants, **SUMS}),
        _descriptor_bytes(max(walks, by_group[0]), device))


def _descriptor_bytes(programs: int, device: torch.device) -> int:
    """Memory for the descriptors of so many programs; GPUs before Hopper have no descriptors."""
    return DESCRIPTOR_BYTES * programs if capability_of(device) >= (9, 0) else 0


def _constants(shape: SSDShape, plan: Plan | BackwardPlan, dt_softplus: bool,
               D_axes: int | None) -> dict:
    """What kernels are given besides tensors and strides; each takes what it needs."""
    tiles = plan.tiles
    return {**shape._asdict(), "chunks": plan.chunks, "split_chunks": plan.split_chunks,
            "splits": plan.splits, "SOFTPLUS": dt_softplus, "D_PER_HEAD": D_axes == 1,
            "CHUNK": tiles.chunk, "N": tiles.states, "SLICE": tiles.slice, "BLOCK": tiles.block,
            "HEADS": HEADS, "SIZE": shape.head_dim * shape.d_state,
            "WIDTH": WIDTH}


def _strides(*tensors: Tensor | None) -> tuple[tuple[int, ...] | None, ...]:
    return tuple([None if t is None else t.stride() for t in tensors])


def _named_strides(names: tuple[str, ...], strides: tuple[tuple[int, ...] | None, ...]) -> dict:
    """Strides as the kernels call them; 0 where there is no tensor."""
    named = {}
    for name, given in zip(names, strides, strict=True):
        sequence, step, *rest = given or (0, 0, 0)
        part = "group" if name[-1] in "BC" else "head"
        named |= {f"{name}_sequence": sequence, f"{name}_step": step,
                  f"{name}_{part}": rest[0] if rest else 0}
    return named


def _save(ctx, inputs, output):
    *tensors, dt_softplus, initial_state, seq_idx, _ = inputs
    kept = output[2:] or (None, None)  # the operator returns neither
    ctx.save_for_backward(*tensors, initial_state, seq_idx, *kept)
    ctx.dt_softplus = dt_softplus
    ctx.set_materialize_grads(False)


def _gradients(backward, ctx, d_out, d_final_state):
    *inputs, initial_state, seq_idx, entering, decays = ctx.saved_tensors
    x, _, _, _, _, D, z, dt_bias = inputs
    d_out = torch.zeros_like(x) if d_out is None else d_out
    if d_final_state is not None and d_final_state.shape[0] == 0:
        d_final_state = None  # it wasn't needed
    *required, dD, dz, d_bias, d_initial_state = backward(
        *inputs, ctx.dt_softplus, initial_state, seq_idx, entering, decays, d_out, d_final_state)
    dD, dz, d_bias, d_initial_state = (
        None if given is None else gradient for gradient, given
        in zip((dD, dz, d_bias, d_initial_state), (D, z, dt_bias, initial_state), strict=True))
    return *required, dD, dz, d_bias, None, d_initial_state, None, None


def _fake(x, dt, A, B, C, D, z, dt_bias, dt_softplus, initial_state, seq_idx, needs_final_state):
    batch, _, n_heads, head_dim = x.shape
    return (torch.empty_like(x, memory_format=torch.contiguous_format),
            A.new_empty(batch if needs_final_state else 0, n_heads, head_dim, B.shape[3]))


def _fake_backward(x, dt, A, B, C, D, z, dt_bias, dt_softplus, initial_state, seq_idx, entering,
                   decays, d_out, d_final_state):
    x, dt, A, B, C, D, z, initial_state = (
        A.new_empty(0) if t is None else torch.empty_like(t, memory_format=torch.contiguous_format)
        for t in (x, dt, A, B, C, D, z, initial_state))
    return [x, dt, A, B, C, D, z, torch.empty_like(A), initial_state]


_apply = differentiable("ssd", forward_pass, backward_pass, save=_save, gradients=_gradients,
                        fake=_fake, fake_backward=_fake_backward, instead=INSTEAD, results=2,
                        eager_forward=forward_and_kept)


def _addressable(t: Tensor | None) -> Tensor | None:
    """A tensor that descriptors can address, a copy if need be: all but the last stride, and where
    it begins, are multiples of 16 bytes."""
    return t if t is None or _is_addressable(t) else _room(t, t.shape).copy_(t)


def _is_addressable(t: Tensor) -> bool:
    aligned = ALIGNMENT // t.element_size()
    *strides, last = t.stride()
    return (last == 1 and t.data_ptr() % ALIGNMENT == 0
            and all(stride > 0 and stride % aligned == 0 for stride in strides))


def _room(like: Tensor, shape: tuple[int, ...]) -> Tensor:
    """An uninitialized tensor of this shape that descriptors can address."""
    aligned = ALIGNMENT // like.element_size()
    *others, size = shape
    return like.new_empty(*others, -(-size // aligned) * aligned)[..., :size]


def _without_bools(seq_idx: Tensor | None) -> Tensor | None:
    """seq_idx in a dtype that kernels can load."""
    is_bool = seq_idx is not None and seq_idx.dtype == torch.bool
    return seq_idx.view(torch.int8) if is_bool else seq_idx


class _DescriptorMemory:
    """Lends Triton memory for the descriptors that the kernels of one call make.

    A kernel makes them while the one before it may still run, but none before that one. So two
    pieces, taken in turn, are enough. They are allocated before the first kernel is launched, and
    kept until the last one has been: what PyTorch frees in between may still be in use.
    """

    def __init__(self, like: Tensor, size: int) -> None:
        self._memory = like.new_empty(2, size, dtype=torch.int8)
        self._launched = 0

    def __enter__(self) -> None:
        if self._memory.is_cuda:
            import triton

            triton.set_allocator(self._take)

    def __exit__(self, *_: object) -> None:
        if self._memory.is_cuda:
            import triton

            triton.set_allocator(_allocate)  # which keeps nothing alive

    def _take(self, size: int, alignment: int, stream: int | None) -> Tensor:
        if size > self._memory.shape[1]:
            raise RuntimeError(f"descriptors: expected up to {self._memory.shape[1]} bytes, got "
                               f"{size}")
        self._launched += 1
        return self._memory[self._launched % 2]


def _allocate(size: int, alignment: int, stream: int | None) -> Tensor:
    return torch.empty(size, dtype=torch.int8, device="cuda")
