"""The scan by Triton kernels: checks, allocation, launches, and the operator for autograd.

The states stay in registers, and of the tensors the forward pass writes only y is as long as x.
For the backward pass it saves the state before every chunk; the others are recomputed. `plan.py`
says how the work is divided; `forward.py` and `backward.py` hold the kernels, and `pack.py` those
that run before and after them.
"""

import os
from functools import lru_cache
from importlib.util import find_spec
from math import gcd, lcm
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from minimamba.arguments import is_transformed
from minimamba.ops.launch import LAUNCHES, Launcher, arrange, dtypes_of
from minimamba.ops.operator import differentiable
from minimamba.scan.chunked import INSTEAD
from minimamba.scan.triton.plan import (
    CHUNK,
    PART,
    Launch,
    Plan,
    ScanShape,
    backward_costs,
    choose_plan,
    forward_costs,
    schedulers_of,
)

TRITON = find_spec("triton") is not None
"""Whether the package triton is installed."""
MAX_BATCH = 65535
"""Sequences that one launch computes: CUDA's limit to the third side of a grid."""
MAX_LENGTH = 2**30
"""Steps of a sequence, which the kernels count in 32 bits; together they may be more."""
MAX_D_INNER = 2**21
"""Channels: offsets within the scratch for the states of a chunk have 32 bits."""
MAX_D_STATE = 256
FAR = 2**29
"""Elements between steps, or groups, of B and C, from which on offsets may exceed 32 bits."""
WORTH_PACKING = 2**22
"""Elements of x from which on it pays to convert B and C once: then each program needn't."""
PACKED = 2048
"""Elements of B and of C that one program of `pack` or `finish` moves."""
LONGEST_RUN = 8
"""Steps of a channel, at most, that a load may take together where they lie together: those of the
two tiles of an iteration."""
SUM_ROWS, SUM_COLUMNS = 64, 32
"""The part of a matrix that one program of `finish` adds up at a time."""


def interpreted() -> bool:
    """Tell whether Triton runs kernels in Python, on the CPU (TRITON_INTERPRET=1)."""
    return os.environ.get("TRITON_INTERPRET", "").lower() in ("1", "true", "yes", "on")


def _why_not_here() -> str | None:
    """Say why no kernel can run on this machine, or return None."""
    if not TRITON:
        return "triton is not installed; it comes with torch for CUDA on Linux"
    if interpreted():
        return None
    if not torch.cuda.is_available():
        return "no CUDA device was found, and TRITON_INTERPRET=1 is not set"
    return failure()


def failure() -> str | None:
    """Say why Triton can't compile a kernel on this GPU machine, once that has been tried."""
    if torch.compiler.is_compiling():
        return None
    from minimamba.scan.triton import trial

    is_tried = trial.failure.cache_info().currsize > 0
    if not is_tried and (is_transformed() or interpreted()
                         or torch.cuda.is_current_stream_capturing()):
        return None  # nothing can be tried now
    return trial.failure()


def why_not(x: Tensor | None = None, d_state: int = 1) -> str | None:
    """Say why the kernels can't run here, or can't take an input.

    Args:
        x: the scan's input; None to ask about this machine alone.
        d_state: the state dimension, considered together with x.

    Returns:
        The reason in a few words, or None if they can run.
    """
    is_on_gpu = x is not None and x.is_cuda
    reason = failure() if is_on_gpu and TRITON else _why_not_here()
    if reason or x is None:
        return reason
    if x.dtype == torch.float64:
        return "float64, which the kernels don't have"
    if d_state > MAX_D_STATE:
        return f"d_state = {d_state}; the kernels take up to {MAX_D_STATE}"
    _, length, d_inner = x.shape
    if length > MAX_LENGTH:
        return f"length = {length}; the kernels take up to {MAX_LENGTH}"
    if d_inner > MAX_D_INNER:
        return f"d_inner = {d_inner}; the kernels take up to {MAX_D_INNER}"
    if not is_on_gpu and not interpreted():
        return f"tensors on {x.device}; the kernels run on CUDA"
    return None


def is_chosen(x: Tensor, d_state: int) -> bool:
    """Say whether the kernels compute a scan for which no method was asked.

    Args:
        x: the scan's input.
        d_state: the state dimension.
    """
    return x.is_cuda and not is_transformed() and why_not(x, d_state) is None


def scan(x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None,
         z: Tensor | None, *, delta_bias: Tensor | None, delta_softplus: bool,
         initial_state: Tensor | None, time_last: bool = False,
         wants_last_state: bool = True) -> tuple[Tensor, Tensor | None]:
    """Run the scan by the kernels.

    Args:
        x: (batch, length, d_inner), float32, bfloat16 or float16.
        delta: (batch, length, d_inner), before bias and softplus; in x's dtype or float32.
        A: (d_inner, d_state), float32.
        B: (batch, length, d_state) or (batch, length, groups, d_state), in x's dtype or float32.
        C: as B; the number of groups may differ.
        D: (d_inner,), the skip connection, in x's dtype or float32; none if None.
        z: (batch, length, d_inner), the gate; in x's dtype or float32; none if None.
        delta_bias: (d_inner,), added to delta, in x's dtype or float32; none if None.
        delta_softplus: whether Δ = softplus(delta + delta_bias).
        initial_state: (batch, d_inner, d_state), float32; zeros if None.
        time_last: whether time is the last axis of x, delta, z, B and C, instead of the second;
            so in the official layout.
        wants_last_state: whether the last state is used; otherwise it may be None.

    Returns:
        y, in x's shape and dtype, and the last state (batch, d_inner, d_state), float32.
    """
    if x.shape[0] > MAX_BATCH:
        parts = [scan(x[i], delta[i], A, B[i], C[i], D, None if z is None else z[i],
                      delta_bias=delta_bias, delta_softplus=delta_softplus,
                      initial_state=None if initial_state is None else initial_state[i],
                      time_last=time_last)
                 for i in (slice(start, start + MAX_BATCH)
                           for start in range(0, len(x), MAX_BATCH))]
        y, last_state = (torch.cat(part) for part in zip(*parts, strict=True))
        return y, last_state
    tensors = x, delta, A, B, C, D, z, delta_bias, initial_state
    needs_grad = torch.is_grad_enabled() and any(
        t.requires_grad for t in tensors if t is not None)
    # Without gradients, an autograd.Function would only take time.
    is_compiling = torch.compiler.is_compiling()
    run = _apply if needs_grad or is_compiling else forward_pass
    y, last_state, *_ = run(x, delta, A, B, C, D, z, delta_bias, delta_softplus, initial_state,
                            needs_grad, time_last, wants_last_state or is_compiling)
    return y, last_state


class _Sizes(NamedTuple):
    """The sizes of a call, and how its tensors lie in memory."""

    kernel: ScanShape
    """Those that the kernels work with."""
    B_groups: int
    C_groups: int
    d_state: int
    B_strides: tuple[int, int, int, int]
    """Elements from a sequence, a step, a group or a state to the next; and so are those of C."""
    C_strides: tuple[int, int, int, int]
    run: int
    """RUN in `memory.py`."""
    time_last: bool
    """Whether time is the last axis in the shapes of B and C, and so of their gradients."""

    @property
    def is_packed(self) -> bool:
        """Whether B and C are packed before the scan: where that pays, or where it must be."""
        batch, length, d_inner, N, _ = self.kernel
        return (batch * length * d_inner > WORTH_PACKING or self.B_groups != self.C_groups
                or self.d_state != N or not self._are_readable)

    @property
    def _are_readable(self) -> bool:
        """Whether the scan can read B and C as they are."""
        sequence, step, group, state = self.B_strides
        return (self.B_strides == self.C_strides and state == 1 and 0 < step < FAR
                and group * self.B_groups < FAR and sequence % step == 0)


class _Forward(NamedTuple):
    """The launches of a forward pass."""

    missing_states: int
    """How many zeros `_pad_states` adds."""
    pack: Launcher | None
    """None if the scan reads B and C as they are."""
    carry: Launcher | None
    scan: Launcher
    pieces: int
    """The elements of what `carry` writes for `scan`."""
    BC: tuple[int, ...]
    """The shape of the packed B and C."""
    chunk_states: tuple[int, ...]
    """The shape of the states that are saved for the backward pass."""


class _Backward(NamedTuple):
    """The launches of a backward pass."""

    missing_states: int
    is_packed: bool
    carry: Launcher | None
    scan: Launcher
    finish: Launcher
    scratch: int
    """The elements of what these kernels write for each other."""
    dBC_elements: int
    """Those of the parts of dB and dC, which come first."""


def forward_pass(x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None,
                 z: Tensor | None, delta_bias: Tensor | None, delta_softplus: bool,
                 initial_state: Tensor | None, needs_grad: bool, time_last: bool = False,
                 wants_last_state: bool = True,
                 ) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]:
    """Run the kernels of the forward pass.

    Args:
        x: (batch, length, d_inner); its dtype and those of the others are as in `scan`.
        delta: (batch, length, d_inner), before bias and softplus.
        A: (d_inner, d_state).
        B: (batch, length, d_state) or (batch, length, groups, d_state).
        C: as B; the number of groups may differ.
        D: (d_inner,), the skip connection; none if None.
        z: (batch, length, d_inner), the gate; none if None.
        delta_bias: (d_inner,), added to delta; none if None.
        delta_softplus: whether Δ = softplus(delta + delta_bias).
        initial_state: (batch, d_inner, d_state); zeros if None.
        needs_grad: whether to save states for `backward_pass`.
        time_last: whether time is the last axis of x, delta, z, B and C, instead of the second.
        wants_last_state: whether to return the last state; None otherwise.

    Returns:
        y; the last state; the state before each chunk, (batch, chunks, d_inner, N), None without
        `needs_grad`; and B and C as the kernels read them, BC in `pack.py`, None if they read B
        and C.
    """
    x, delta, z = _in_one_layout(x, delta, z)
    launches = _forward_launches(
        _layout(x, A, B, C, time_last), delta_softplus, x.device, (needs_grad, wants_last_state),
        dtypes_of(x, delta, B, C, D, z, delta_bias, initial_state))
    A = _pad_states(A, launches.missing_states)
    initial_state = _pad_states(initial_state, launches.missing_states)
    A, D, delta_bias, initial_state = _contiguous(A, D, delta_bias, initial_state)
    BC = None
    if launches.pack:
        BC = A.new_empty(*launches.BC)
        launches.pack(B, C, BC)
        B = C = BC
    pieces = None
    if launches.carry:
        pieces = A.new_empty(launches.pieces)
        launches.carry(x, delta, A, B, delta_bias, pieces)
    y = torch.empty_like(x)
    last_state = A.new_empty(x.shape[0], *A.shape) if wants_last_state else None
    chunk_states = A.new_empty(*launches.chunk_states) if needs_grad else None
    launches.scan(x, delta, A, B, C, D, z, delta_bias, initial_state, last_state, chunk_states, y,
                  pieces)
    if launches.missing_states and wants_last_state:
        last_state = _without_padding(last_state, launches.missing_states)
    return y, last_state, chunk_states, BC


@lru_cache(maxsize=LAUNCHES)
def _forward_launches(layout: tuple, delta_softplus: bool, device: torch.device,
                      which_states: tuple[bool, bool], dtypes: tuple) -> _Forward:
    """Plan a forward pass. The last two arguments decide which code Triton compiles."""
    from minimamba.scan.triton import forward, pack

    sizes = _sizes_of(*layout)
    shape = sizes.kernel
    plan = choose_plan(shape, forward_costs(shape.d_state), schedulers_of(device))
    constants = _constants(sizes, plan)
    packing = None
    if sizes.is_packed:
        row_blocks = -(-constants["padded_length"] * shape.groups // constants["ROWS"])
        strides = dict(zip(pack.STRIDES, sizes.B_strides + sizes.C_strides, strict=True))
        packing = Launcher(pack.pack, (row_blocks, shape.batch, 1), constants | strides)
    places, elements = arrange(_sizes_of_pieces(plan.carry, shape))
    return _Forward(
        shape.d_state - sizes.d_state, packing,
        _launcher(forward.carry, plan.carry, constants, places, SOFTPLUS=delta_softplus),
        _launcher(forward.forward, plan.kernel, constants, places, SOFTPLUS=delta_softplus),
        elements, _packed_shape(sizes), _chunk_states_shape(shape))


def _forward(x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None,
             z: Tensor | None, delta_bias: Tensor | None, delta_softplus: bool,
             initial_state: Tensor | None, needs_grad: bool, time_last: bool = False,
             wants_last_state: bool = True) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """`forward_pass`, with an empty tensor where that returns None."""
    outputs = forward_pass(x, delta, A, B, C, D, z, delta_bias, delta_softplus, initial_state,
                           needs_grad, time_last, wants_last_state)
    y, last_state, chunk_states, BC = (A.new_empty(0) if t is None else t for t in outputs)
    return y, last_state, chunk_states, BC


def _backward(x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None,
              z: Tensor | None, delta_bias: Tensor | None, delta_softplus: bool,
              chunk_states: Tensor, BC: Tensor | None, d_out: Tensor,
              d_last_state: Tensor | None, has_initial_state: bool,
              time_last: bool = False) -> list[Tensor]:
    """The gradients of x, delta, A, B, C, D, z and delta_bias, whether or not D and delta_bias are
    given, that of z empty if z is not; and of the initial state, if there is one."""
    return backward_pass(x, delta, A, B, C, D, z, delta_bias, delta_softplus, chunk_states, BC,
                         d_out, d_last_state, has_initial_state, time_last)


def backward_pass(x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None,
                  z: Tensor | None, delta_bias: Tensor | None, delta_softplus: bool,
                  chunk_states: Tensor, BC: Tensor | None, d_out: Tensor,
                  d_last_state: Tensor | None, has_initial_state: bool, time_last: bool = False,
                  y_again: Tensor | None = None) -> list[Tensor]:
    """Compute the gradients of `forward_pass`.

    Args:
        x: (batch, length, d_inner), what `forward_pass` was given, and so are those up to
            `delta_softplus`.
        delta: (batch, length, d_inner).
        A: (d_inner, d_state).
        B: (batch, length, d_state) or (batch, length, groups, d_state).
        C: as B.
        D: (d_inner,), or None.
        z: (batch, length, d_inner), or None.
        delta_bias: (d_inner,), or None.
        delta_softplus: whether Δ = softplus(delta + delta_bias).
        chunk_states: (batch, chunks, d_inner, N), from `forward_pass`.
        BC: B and C as the kernels read them, from `forward_pass`.
        d_out: of x's shape, the gradient of y.
        d_last_state: (batch, d_inner, N), that of the last state; zeros if None.
        has_initial_state: whether `forward_pass` was given an initial state.
        time_last: what `forward_pass` was given.
        y_again: (batch, length, d_inner), contiguous: y is computed once more and written there;
            needs z. The gradients of delta and z then take the memory of delta and d_out, which
            must be contiguous, and are lost.

    Returns:
        The gradients of x, delta, A, B, C, D, z and delta_bias, whether or not D and delta_bias are
        given, that of z empty if z is not; and of the initial state, if there is one.
    """
    x, delta, z = _in_one_layout(x, delta, z)
    d_out = d_out.contiguous() if x.is_contiguous() else d_out.mT.contiguous().mT
    launches = _backward_launches(
        _layout(x, A, B, C, time_last), delta_softplus, x.device,
        torch.are_deterministic_algorithms_enabled(), has_initial_state,
        dtypes_of(x, delta, B, C, D, z, delta_bias, d_out, d_last_state, y_again))
    d_inner, d_state = A.shape
    A = _pad_states(A, launches.missing_states)
    d_last_state = _pad_states(d_last_state, launches.missing_states)
    A, D, delta_bias, d_last_state = _contiguous(A, D, delta_bias, d_last_state)
    BC_given = B, C
    if launches.is_packed:
        B = C = BC
    scratch = A.new_empty(launches.scratch)
    if launches.carry:
        launches.carry(d_out, delta, A, C, z, delta_bias, scratch)
    else:
        scratch[:launches.dBC_elements].zero_()
    dx = torch.empty_like(x)
    # A program reads both where it will write, before it does.
    d_delta = torch.empty_like(delta) if y_again is None else delta
    dz = d_out
    if y_again is None:
        dz = x.new_empty(0) if z is None else torch.empty_like(z)
    d_initial_state = A.new_empty(x.shape[0], *A.shape) if has_initial_state else None
    launches.scan(
        x, delta, A, B, C, D, z, delta_bias, chunk_states, d_out, d_last_state, dx, d_delta,
        None if z is None else dz, d_initial_state, y_again, scratch)
    dA = A.new_empty(d_inner, d_state)
    dD, d_bias = A.new_empty(d_inner), A.new_empty(d_inner)
    dB, dC = (torch.empty_like(t, memory_format=torch.contiguous_format) for t in BC_given)
    launches.finish(dA, dD, d_bias, dB, dC, scratch)
    gradients = [dx, d_delta, dA, dB, dC, dD, dz, d_bias]
    if d_initial_state is not None:
        gradients.append(_without_padding(d_initial_state, launches.missing_states))
    return gradients


@lru_cache(maxsize=LAUNCHES)
def _backward_launches(layout: tuple, delta_softplus: bool, device: torch.device,
                       is_deterministic: bool, has_initial_state: bool,
                       dtypes: tuple) -> _Backward:
    """Plan a backward pass. The last two arguments decide which code Triton compiles."""
    from minimamba.scan.triton import backward, backward_parts, pack

    sizes = _sizes_of(*layout)
    shape = sizes.kernel
    plan = choose_plan(shape, backward_costs(shape.d_state), schedulers_of(device))
    blocks, splits, batch = plan.kernel.grid
    # Several programs add to dB and dC; where the order of a sum must not vary, each has its own.
    parts = blocks // shape.groups if is_deterministic else 1
    constants = _constants(sizes, plan)
    row_blocks = -(-shape.length // constants["ROWS"])
    programs = {"dA_programs": -(-shape.d_inner * shape.d_state // SUM_COLUMNS),
                "sum_programs": -(-shape.d_inner // SUM_COLUMNS),
                "dB_programs": batch * sizes.B_groups * row_blocks}
    per_chunk = batch * shape.sections * shape.d_inner
    dBC_elements = batch * shape.groups * parts * constants["padded_length"] * 2 * shape.d_state
    constants["dBC_tiles"] = dBC_elements // (2 * shape.tile * shape.d_state)
    places, elements = arrange({
        "dBC_parts": dBC_elements, "dA_parts": batch * splits * shape.d_inner * shape.d_state,
        "dD_parts": per_chunk, "d_bias_parts": per_chunk, **_sizes_of_pieces(plan.carry, shape),
        **_sizes_of_scratch(shape, splits)})
    finish = Launcher(
        pack.finish, (sum(programs.values()) + batch * sizes.C_groups * row_blocks, 1, 1),
        {**constants, **programs, "row_blocks": row_blocks, "parts": parts,
         "dA_rows": batch * splits, "sum_rows": batch * shape.sections}, places)
    return _Backward(
        shape.d_state - sizes.d_state, sizes.is_packed,
        _launcher(backward.carry_back, plan.carry, constants, places, SOFTPLUS=delta_softplus),
        _launcher(backward_parts.backward_in_parts if shape.is_in_parts else backward.backward,
                  plan.kernel, constants, places, SOFTPLUS=delta_softplus,
                  ATOMIC=not is_deterministic),
        finish, elements, dBC_elements)


def _launcher(kernel, launch: Launch | None, constants: dict, places: dict,
              **flags: bool) -> Launcher | None:
    """The launcher of a kernel whose programs are warps; None if there is no launch."""
    if launch is None:
        return None
    return Launcher(kernel, launch.grid,
                    {**constants, **flags, "PER_LANE": launch.channels_per_lane}, places,
                    num_warps=1, maxnreg=launch.max_registers)


def _constants(sizes: _Sizes, plan: Plan) -> dict:
    """What the kernels are given besides tensors; each takes what it needs."""
    shape = sizes.kernel
    padded_length, N = shape.chunks * shape.chunk, shape.d_state
    sequence, step, group, _ = sizes.B_strides
    if sizes.is_packed:
        group = 2 * N
        step = shape.groups * group
        sequence = padded_length * step
    are_states_apart = not sizes.B_strides[-1] == sizes.C_strides[-1] == 1
    return {"rows": sequence // step, "STEP": step, "GROUP": group, "PADDED": sizes.is_packed,
            "length": shape.length, "padded_length": padded_length,
            "split_steps": plan.split_steps, "piece_steps": plan.piece_steps,
            "pieces": plan.pieces_per_split, "groups": shape.groups, "B_groups": sizes.B_groups,
            "C_groups": sizes.C_groups, "d_inner": shape.d_inner, "d_state": sizes.d_state,
            "APART": are_states_apart, "TIME_LAST": sizes.time_last, "RUN": sizes.run,
            "N": N, "PART": min(N, PART), "BAND": shape.band, "TILE": shape.tile,
            "CHUNK": shape.chunk, "SECTION": CHUNK, "ROWS": PACKED // N,
            "SUM_ROWS": SUM_ROWS, "COLUMNS": SUM_COLUMNS}


def _save(ctx, inputs, output):
    x, delta, A, B, C, D, z, delta_bias, delta_softplus, initial_state, _, time_last, _ = inputs
    _, _, chunk_states, BC = output
    ctx.save_for_backward(x, delta, A, B, C, D, z, delta_bias, chunk_states, BC)
    ctx.options = delta_softplus, initial_state is not None, time_last
    ctx.set_materialize_grads(False)


def _gradients(backward, ctx, d_out, d_last_state, *_):
    x, delta, A, B, C, D, z, delta_bias, chunk_states, BC = ctx.saved_tensors
    delta_softplus, has_initial_state, time_last = ctx.options
    d_out = torch.zeros_like(x) if d_out is None else d_out
    dx, d_delta, dA, dB, dC, dD, dz, d_bias, *d_initial_state = backward(
        x, delta, A, B, C, D, z, delta_bias, delta_softplus, chunk_states, BC, d_out, d_last_state,
        has_initial_state, time_last)
    return (dx, d_delta, dA, dB, dC, None if D is None else dD, None if z is None else dz,
            None if delta_bias is None else d_bias, None,
            d_initial_state[0] if has_initial_state else None, None, None, None)


def _fake(x, delta, A, B, C, D, z, delta_bias, delta_softplus, initial_state, needs_grad,
          time_last=False, wants_last_state=True):
    x, _, _ = _in_one_layout(x, delta, z)
    sizes = _sizes_of(*_layout(x, A, B, C, time_last))
    last_state = (sizes.kernel.batch, *A.shape) if wants_last_state else 0
    return (torch.empty_like(x), A.new_empty(last_state),
            A.new_empty(_chunk_states_shape(sizes.kernel) if needs_grad else 0),
            A.new_empty(_packed_shape(sizes) if sizes.is_packed else 0))


def _fake_backward(x, delta, A, B, C, D, z, delta_bias, delta_softplus, chunk_states, BC, d_out,
                   d_last_state, has_initial_state, time_last=False):
    x, delta, z = _in_one_layout(x, delta, z)
    dA, dB, dC = (tensor.new_empty(tensor.shape) for tensor in (A, B, C))
    d_initial_states = [A.new_empty(x.shape[0], *A.shape)] if has_initial_state else []
    return [torch.empty_like(x), torch.empty_like(delta), dA, dB, dC, A.new_empty(A.shape[0]),
            x.new_empty(0) if z is None else torch.empty_like(z), A.new_empty(A.shape[0]),
            *d_initial_states]


_apply = differentiable("scan", _forward, _backward, save=_save, gradients=_gradients,
                        fake=_fake, fake_backward=_fake_backward, instead=INSTEAD, results=2,
                        eager_forward=forward_pass)


def _layout(x: Tensor, A: Tensor, B: Tensor, C: Tensor, time_last: bool) -> tuple:
    """What the sizes follow from; x is as `_in_one_layout` gives it."""
    return (x.shape, x.is_contiguous(), A.shape[1], B.shape, B.stride(), C.shape, C.stride(),
            time_last)


def _sizes_of(x_shape: tuple[int, ...], is_contiguous: bool, d_state: int,
              B_shape: tuple[int, ...], B_stride: tuple[int, ...], C_shape: tuple[int, ...],
              C_stride: tuple[int, ...], time_last: bool) -> _Sizes:
    """The sizes of a call, from its `_layout`."""
    batch, length, d_inner = _time_second(x_shape, time_last)
    B_groups = _of_four_axes(B_shape, time_last, 1)[2]
    C_groups = _of_four_axes(C_shape, time_last, 1)[2]
    N = 1 << (d_state - 1).bit_length()                      # the next power of two
    shape = ScanShape(batch, length, d_inner, N, lcm(B_groups, C_groups))
    is_time_contiguous = is_contiguous == time_last
    return _Sizes(shape, B_groups, C_groups, d_state, _of_four_axes(B_stride, time_last, 0),
                  _of_four_axes(C_stride, time_last, 0),
                  gcd(length, LONGEST_RUN) if is_time_contiguous else 0, time_last)


def _time_second(axes: tuple[int, ...], time_last: bool) -> tuple[int, ...]:
    """What a shape or a tuple of strides says of each axis, with time as the second of them."""
    first, *others = axes
    return (first, others[-1], *others[:-1]) if time_last else (first, *others)


def _of_four_axes(axes: tuple[int, ...], time_last: bool, of_group: int) -> tuple[int, ...]:
    """Shape or strides of B or C for (batch, length, groups, d_state), where an axis of groups that
    is missing has `of_group`."""
    sequence, step, *groups, state = _time_second(axes, time_last)
    return sequence, step, groups[0] if groups else of_group, state


def _pad_states(states: Tensor | None, missing: int) -> Tensor | None:
    """Fill the last axis with zeros to a power of two: states that stay 0."""
    return pad(states, (0, missing)) if missing and states is not None else states


def _without_padding(states: Tensor, missing: int) -> Tensor:
    return states[..., :-missing].contiguous() if missing else states


def _sizes_of_pieces(carry: Launch | None, shape: ScanShape) -> dict[str, int | None]:
    """The elements of what the carry pass writes; None if there is none."""
    if carry is None:
        return {"piece_states": None, "piece_deltas": None}
    _, pieces, batch = carry.grid
    deltas = batch * pieces * shape.d_inner
    return {"piece_states": deltas * shape.d_state, "piece_deltas": deltas}


def _sizes_of_scratch(shape: ScanShape, splits: int) -> dict[str, int]:
    """The elements of what a program of `backward` or `backward_in_parts` writes for itself."""
    channels = shape.batch * splits * shape.d_inner
    if not shape.is_in_parts:
        return {"tile_states": channels * shape.d_state * shape.chunk // shape.tile}
    dh_states = channels * shape.d_state
    has_bands = shape.d_state > shape.band
    return {"section_states": dh_states * (shape.chunk // CHUNK - 1),
            "tile_states": channels * shape.band * CHUNK // shape.tile, "dh_states": dh_states,
            "state_sums_ptr": channels * 3 * CHUNK if has_bands else None}


def _packed_shape(sizes: _Sizes) -> tuple[int, ...]:
    """The shape of BC."""
    shape = sizes.kernel
    return shape.batch, shape.chunks * shape.chunk, shape.groups, 2, shape.d_state


def _chunk_states_shape(shape: ScanShape) -> tuple[int, ...]:
    return shape.batch, shape.chunks, shape.d_inner, shape.d_state


def _in_one_layout(x: Tensor, delta: Tensor,
                   z: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    """x, delta and z, all with the last axis contiguous, or as they are if all have the one before
    it contiguous."""
    if not x.is_contiguous() and all(t is None or t.mT.is_contiguous() for t in (x, delta, z)):
        return x, delta, z
    return x.contiguous(), delta.contiguous(), None if z is None else z.contiguous()


def _contiguous(*tensors: Tensor | None) -> list[Tensor | None]:
    return [None if tensor is None else tensor.contiguous() for tensor in tensors]
