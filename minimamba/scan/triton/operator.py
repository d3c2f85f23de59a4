"""The scan by Triton kernels: checks, allocation, launches, and the operator for autograd.

The states stay in registers, and of the tensors the forward pass writes only y is as long as x.
For the backward pass it saves the state before every chunk; the others are recomputed. `plan.py`
says how the work is divided, `forward.py` and `backward.py` hold the kernels.
"""

import os
from importlib.util import find_spec
from math import lcm, log

import torch
from torch import Tensor
from torch.nn.functional import pad, silu

from minimamba.arguments import values_exist
from minimamba.ops.operator import differentiable
from minimamba.scan.chunked import INSTEAD
from minimamba.scan.triton.plan import (
    BACKWARD,
    CHUNK,
    FORWARD,
    Launch,
    ScanShape,
    choose_plan,
    schedulers_of,
)

TRITON = find_spec("triton") is not None
"""Whether the package triton is installed."""
MAX_BATCH = 65535
"""Sequences that one launch computes: CUDA's limit to the third side of a grid."""
MAX_D_STATE = 256
STATES_PER_LAUNCH = 16
"""State dimension that one launch computes; a larger one takes several."""


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
    if not values_exist():
        return None  # nothing can be tried now
    from minimamba.scan.triton import trial

    is_tried = trial.failure.cache_info().currsize > 0
    return trial.failure() if is_tried or not torch.cuda.is_current_stream_capturing() else None


def why_not(x: Tensor | None = None, d_state: int = 1) -> str | None:
    """Say why the kernels can't run here, or can't take an input.

    Args:
        x: the scan's input; None to ask about this machine alone.
        d_state: the state dimension, considered together with x.

    Returns:
        The reason in a few words, or None if they can run.
    """
    reason = _why_not_here()
    if reason or x is None:
        return reason
    if x.dtype == torch.float64:
        return "float64, which the kernels don't have"
    if d_state & (d_state - 1) or d_state > MAX_D_STATE:
        return f"d_state = {d_state}; the kernels take powers of two up to {MAX_D_STATE}"
    if x.device.type != "cuda" and not interpreted():
        return f"tensors on {x.device}; the kernels run on CUDA"
    return None


def scan(x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None,
         z: Tensor | None, *, delta_bias: Tensor | None, delta_softplus: bool,
         initial_state: Tensor | None) -> tuple[Tensor, Tensor]:
    """Run the scan by the kernels.

    Args:
        x: (batch, length, d_inner), float32, bfloat16 or float16.
        delta: (batch, length, d_inner), before bias and softplus; in x's dtype or float32.
        A: (d_inner, d_state), float32.
        B: (batch, length, groups, d_state), float32.
        C: as B; the number of groups may differ.
        D: (d_inner,), the skip connection, float32; none if None.
        z: (batch, length, d_inner), the gate; in x's dtype or float32; none if None.
        delta_bias: (d_inner,), added to delta, float32; none if None.
        delta_softplus: whether Δ = softplus(delta + delta_bias).
        initial_state: (batch, d_inner, d_state), float32; zeros if None.

    Returns:
        y, in x's shape and dtype, and the last state (batch, d_inner, d_state), float32.
    """
    if len(x) > MAX_BATCH:
        parts = [scan(x[i], delta[i], A, B[i], C[i], D, None if z is None else z[i],
                      delta_bias=delta_bias, delta_softplus=delta_softplus,
                      initial_state=None if initial_state is None else initial_state[i])
                 for i in (slice(start, start + MAX_BATCH)
                           for start in range(0, len(x), MAX_BATCH))]
        y, last_state = (torch.cat(part) for part in zip(*parts, strict=True))
        return y, last_state
    groups = lcm(B.shape[2], C.shape[2])
    B, C = (part if part.shape[2] == groups else part.repeat_interleave(groups // part.shape[2], 2)
            for part in (B, C))
    tensors = x, delta, A, B, C, D, z, delta_bias, initial_state
    needs_grad = torch.is_grad_enabled() and any(
        tensor is not None and tensor.requires_grad for tensor in tensors)
    d_state = A.shape[1]
    if d_state <= STATES_PER_LAUNCH:
        y, last_state, _ = _apply(x, delta, A, B, C, D, z, delta_bias, delta_softplus,
                                  initial_state, needs_grad)
        return y, last_state
    # States meet only in y, which is a sum over them: part by part, y in float32.
    y = 0
    last_states = []
    for start in range(0, d_state, STATES_PER_LAUNCH):
        part = slice(start, start + STATES_PER_LAUNCH)
        y_part, last_state, _ = _apply(
            x.float(), delta.float(), A[:, part], B[..., part], C[..., part],
            D if start == 0 else None, None, delta_bias, delta_softplus,
            None if initial_state is None else initial_state[..., part], needs_grad)
        y = y + y_part
        last_states.append(last_state)
    y = y if z is None else y * silu(z.float())
    return y.to(x.dtype), torch.cat(last_states, -1)


def _forward(x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None,
             z: Tensor | None, delta_bias: Tensor | None, delta_softplus: bool,
             initial_state: Tensor | None,
             needs_grad: bool) -> tuple[Tensor, Tensor, Tensor]:
    """y, the last state, and if `needs_grad` the state before each chunk, (batch, chunks, d_inner,
    d_state)."""
    from minimamba.scan.triton import forward as kernels

    x, delta, D, z, delta_bias, initial_state = _contiguous(
        x, delta, D, z, delta_bias, initial_state)
    A_log2e, B, C = _prepared(A, B, C)
    shape = _shape(x, A, B)
    plan = choose_plan(shape, FORWARD, schedulers_of(x.device))
    sizes = _sizes(shape, delta_softplus)
    piece_states, piece_deltas = _pieces(plan.carry, A)
    if plan.carry:
        kernels.carry[plan.carry.grid](
            x, delta, A_log2e, B, delta_bias, piece_states, piece_deltas,
            piece_steps=plan.piece_steps, **sizes, **_options(plan.carry))
    y = torch.empty_like(x)
    last_state = A.new_empty(shape.batch, *A.shape)
    chunk_states = A.new_empty(shape.batch, shape.chunks if needs_grad else 0, *A.shape)
    kernels.forward[plan.kernel.grid](
        x, delta, A_log2e, B, C, D, z, delta_bias, initial_state, piece_states, piece_deltas,
        last_state, chunk_states if needs_grad else None, y, split_steps=plan.split_steps,
        pieces=plan.pieces_per_split, CHUNK=CHUNK, **sizes, **_options(plan.kernel))
    return y, last_state, chunk_states


def _backward(x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None,
              z: Tensor | None, delta_bias: Tensor | None, delta_softplus: bool,
              chunk_states: Tensor, d_out: Tensor, d_last_state: Tensor | None) -> list[Tensor]:
    """The gradients of x, delta, A, B, C, D, z, delta_bias and initial_state, whether or not D,
    delta_bias and initial_state are given; that of z is empty if z is None."""
    from minimamba.scan.triton import backward as kernels

    x, delta, D, z, delta_bias, d_out, d_last_state = _contiguous(
        x, delta, D, z, delta_bias, d_out, d_last_state)
    A_log2e, B, C = _prepared(A, B, C)
    shape = _shape(x, A, B)
    plan = choose_plan(shape, BACKWARD, schedulers_of(x.device))
    sizes = _sizes(shape, delta_softplus)
    piece_states, piece_deltas = _pieces(plan.carry, A)
    if plan.carry:
        kernels.carry_back[plan.carry.grid](
            d_out, delta, A_log2e, C, z, delta_bias, piece_states, piece_deltas,
            piece_steps=plan.piece_steps, pieces=plan.pieces_per_split, **sizes,
            **_options(plan.carry))
    blocks, splits, batch = plan.kernel.grid
    # Several programs add to dB and dC; where the order of a sum must not vary, each has its own.
    atomic = not torch.are_deterministic_algorithms_enabled()
    tile_states = A.new_empty(batch, splits, CHUNK // shape.tile, *A.shape)
    dx, d_delta = torch.empty_like(x), torch.empty_like(delta)
    dz = x.new_empty(0) if z is None else torch.empty_like(z)
    dA = A.new_zeros(batch, splits, *A.shape)
    tiles = shape.chunks * CHUNK // shape.tile
    dBC = A.new_zeros(batch, shape.groups if atomic else blocks, tiles, 2, shape.tile,
                      shape.d_state)
    dD, d_bias = A.new_empty(2, batch, shape.chunks, shape.d_inner)
    d_initial_state = A.new_empty(batch, *A.shape)
    kernels.backward[plan.kernel.grid](
        x, delta, A_log2e, B, C, D, z, delta_bias, chunk_states, d_out, d_last_state, piece_states,
        piece_deltas, tile_states, dx, d_delta, dA, dBC, dD, None if z is None else dz, d_bias,
        d_initial_state, split_steps=plan.split_steps, pieces=plan.pieces_per_split,
        ATOMIC=atomic, CHUNK=CHUNK, **sizes, **_options(plan.kernel))
    del piece_states, piece_deltas, tile_states  # before the sums allocate more
    dB, dC = _unpack_dBC(dBC, shape)
    return [dx, d_delta, dA.sum((0, 1)), dB, dC, dD.sum((0, 1)), dz, d_bias.sum((0, 1)),
            d_initial_state]


def _unpack_dBC(dBC: Tensor, shape: ScanShape) -> list[Tensor]:
    """dB and dC, each (batch, length, groups, d_state), from the kernel's (batch, parts, tiles, 2,
    tile, d_state)."""
    dBC = dBC.unflatten(1, (shape.groups, -1)).sum(2)
    return [part.permute(0, 2, 3, 1, 4).flatten(1, 2)[:, :shape.length].contiguous()
            for part in dBC.unbind(3)]


def _save(ctx, inputs, output):
    x, delta, A, B, C, D, z, delta_bias, delta_softplus, initial_state, _ = inputs
    _, _, chunk_states = output
    ctx.save_for_backward(x, delta, A, B, C, D, z, delta_bias, chunk_states)
    ctx.delta_softplus = delta_softplus
    ctx.is_given = [tensor is not None for tensor in (D, z, delta_bias, initial_state)]
    ctx.set_materialize_grads(False)


def _gradients(backward, ctx, d_out, d_last_state, _):
    *inputs, chunk_states = ctx.saved_tensors
    d_out = torch.zeros_like(inputs[0]) if d_out is None else d_out
    *required, dD, dz, d_bias, d_initial_state = backward(
        *inputs, ctx.delta_softplus, chunk_states, d_out, d_last_state)
    dD, dz, d_bias, d_initial_state = (
        gradient if given else None for gradient, given
        in zip((dD, dz, d_bias, d_initial_state), ctx.is_given, strict=True))
    return *required, dD, dz, d_bias, None, d_initial_state, None


def _fake(x, delta, A, B, C, D, z, delta_bias, delta_softplus, initial_state, needs_grad):
    batch, length, d_inner = x.shape
    chunks = -(-length // CHUNK) if needs_grad else 0
    return (x.new_empty(x.shape), A.new_empty(batch, d_inner, A.shape[1]),
            A.new_empty(batch, chunks, d_inner, A.shape[1]))


def _fake_backward(x, delta, A, B, C, D, z, delta_bias, delta_softplus, chunk_states, d_out,
                   d_last_state):
    required = [tensor.new_empty(tensor.shape) for tensor in (x, delta, A, B, C)]
    return [*required, A.new_empty(A.shape[0]),
            x.new_empty(0) if z is None else z.new_empty(z.shape), A.new_empty(A.shape[0]),
            A.new_empty(x.shape[0], *A.shape)]


_apply = differentiable("scan", _forward, _backward, save=_save, gradients=_gradients, fake=_fake,
                        fake_backward=_fake_backward, instead=INSTEAD)


def _shape(x: Tensor, A: Tensor, B: Tensor) -> ScanShape:
    batch, length, d_inner = x.shape
    return ScanShape(batch, length, d_inner, A.shape[1], B.shape[2])


def _prepared(A: Tensor, B: Tensor, C: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A log2(e), and B and C padded to whole chunks: as the kernels read them."""
    if rest := -B.shape[1] % CHUNK:
        B, C = (pad(part, (0, 0, 0, 0, 0, rest)) for part in (B, C))
    return A.contiguous() / log(2), B.contiguous(), C.contiguous()


def _sizes(shape: ScanShape, delta_softplus: bool) -> dict:
    """The kernel arguments that do not depend on the plan."""
    return {"length": shape.length, "padded_length": shape.chunks * CHUNK,
            "groups": shape.groups, "d_inner": shape.d_inner, "N": shape.d_state,
            "SOFTPLUS": delta_softplus, "TILE": shape.tile}


def _options(launch: Launch) -> dict:
    """The kernel arguments and compiler options that depend on the launch."""
    return {"PER_LANE": launch.channels_per_lane, "maxnreg": launch.max_registers, "num_warps": 1}


def _pieces(carry: Launch | None, A: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """Room for what the carry pass writes, or None if there is none."""
    if carry is None:
        return None, None
    _, pieces, batch = carry.grid
    return A.new_empty(batch, pieces, *A.shape), A.new_empty(batch, pieces, A.shape[0])


def _contiguous(*tensors: Tensor | None) -> list[Tensor | None]:
    return [None if tensor is None else tensor.contiguous() for tensor in tensors]
