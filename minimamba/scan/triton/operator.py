"""The scan as one fused Triton kernel, forward and backward, for NVIDIA GPUs.

The state stays in registers, and y alone is written of what has x's length. For the backward
pass the states before every CHUNK-th step are kept; the others are made again. Where the channels
are too few to fill the GPU, the length is split: a first pass reads what the second will read
again, finds what each split adds of its own, and the second starts each split from what comes in.

Both directions are operators of PyTorch, so that `torch.compile` takes them without a break. What
is not compiled calls the same functions by an `autograd.Function`: to call an operator in Python
takes longer than some kernels take.
"""

from functools import lru_cache, partial
from importlib.util import find_spec
from math import lcm, log
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad, silu


class Cycles(NamedTuple):
    """A step's cycles, of a scheduler that has one, two, … programs, as
    benchmarks/predict_kernels.py finds them in the machine code. So many programs should fit: the
    assembler is told how many registers that leaves. It then puts more instructions between a load
    and its use; untold, it saves registers, for programs that don't come."""

    by_channels: tuple[tuple[int, tuple[int, ...]], ...]
    """For each number of channels that a lane may have."""
    before: tuple[int, ...]
    """Of the pass before, where the length is split; its lanes have BEFORE channels."""
    slack: float
    """By what part it may end later than it could, for fewer splits: each keeps states."""


TRITON = find_spec("triton") is not None
PARTS, CHUNK = 4, 64
"""Lanes that share a channel, and steps of a tile; steps from one kept state to the next."""
WARP, SCHEDULERS, REGISTERS = 32, 4, 512
"""Lanes of a program; of a multiprocessor, schedulers, and registers that each has for a lane."""
BEFORE = 2
FORWARD = Cycles(((2, (154, 209, 293)), (4, (259, 389))), (109, 155, 231, 299), 0)
BACKWARD = Cycles(((1, (292, 420, 560)), (2, (440, 654))), (118, 170, 254, 330), 1 / 15)
PIECE, LAUNCH = 7 * CHUNK, 200 * CHUNK
"""Cycles that it takes to carry states through a piece of a split, and to begin one more pass; as
measured on an H100."""
AT_ONCE, LARGEST = 16, 256
"""Numbers of state, of each channel, that a program holds; numbers of state, at most."""
SEQUENCES = 65535
"""At once, at most: CUDA's limit to that side of a grid."""


@torch.compiler.assume_constant_result
def missing() -> str | None:
    """Why this can't run here, or None."""
    if not TRITON:
        return "triton is not installed; it comes with torch for CUDA on Linux"
    if torch.cuda.is_available() or interpreted():
        return None
    return "no CUDA device was found, and TRITON_INTERPRET=1 is not set"


@torch.compiler.assume_constant_result
def interpreted() -> bool:
    """Whether Triton's kernels run in Python, on the CPU, for tests and for reading along."""
    import triton

    return triton.knobs.runtime.interpret


def unfit(x: Tensor, d_state: int) -> str | None:
    """Why these arguments can't be taken, or None."""
    if x.dtype == torch.float64:
        return "float64, which it has not"
    if len(x) > SEQUENCES:
        return f"{len(x)} sequences at once, and it takes up to {SEQUENCES}"
    if d_state & (d_state - 1) or d_state > LARGEST:
        return f"d_state = {d_state}, and it takes powers of two up to {LARGEST}"
    if x.device.type != "cuda" and not interpreted():
        return f"tensors on {x.device}, and it runs on CUDA"
    return None


def scan(x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None,
         z: Tensor | None, *, delta_bias: Tensor | None, delta_softplus: bool,
         initial_state: Tensor | None) -> tuple[Tensor, Tensor]:
    """As `definition.scan`, but x, delta, z and y may be in half precision."""
    groups = lcm(B.shape[2], C.shape[2])
    B, C = (part if part.shape[2] == groups else part.repeat_interleave(groups // part.shape[2], 2)
            for part in (B, C))
    given, d_state = (x, delta, A, B, C, D, z, delta_bias, initial_state), A.shape[1]
    learns = torch.is_grad_enabled() and any(
        part is not None and part.requires_grad for part in given)
    if d_state <= AT_ONCE:
        y, last_state, _ = _operate(
            x, delta, A, B, C, D, z, delta_bias, delta_softplus, initial_state, learns)
        return y, last_state
    # The state's numbers don't meet but in y: in turn, and y adds up in float32.
    wide, steps, y, last = x.float(), delta.float(), 0, []
    for n in (slice(first, first + AT_ONCE) for first in range(0, d_state, AT_ONCE)):
        part, h, _ = _operate(
            wide, steps, A[:, n], B[..., n], C[..., n], None if last else D, None, delta_bias,
            delta_softplus, None if initial_state is None else initial_state[..., n], learns)
        y, last = y + part, [*last, h]
    return (y if z is None else y * silu(z.float())).to(x.dtype), torch.cat(last, -1)


def _scan(x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None,
          z: Tensor | None, bias: Tensor | None, softplus: bool, initial: Tensor | None,
          learns: bool) -> tuple[Tensor, Tensor, Tensor]:
    """y, the last states, and where something learns those before each chunk, (batch, chunks,
    d_inner, d_state)."""
    from minimamba.scan.triton import kernels

    x, delta, D, z, bias, initial = _contiguous(x, delta, D, z, bias, initial)
    rates, B, C, grid, sizes, before = _prepare(x, A, B, C, softplus, FORWARD)
    carries = sums = None
    if before:
        carries, sums = _states(before[0], A), A.new_empty(len(x), before[0][1], A.shape[0])
        kernels.carry[before[0]](x, delta, rates, B, bias, carries, sums, **before[1])
    y, last = torch.empty_like(x), A.new_empty(len(x), *A.shape)
    borders = A.new_empty(len(x), -(-x.shape[1] // CHUNK) if learns else 0, *A.shape)
    kernels.forward[grid](x, delta, rates, B, C, D, z, bias, initial, carries, sums, last,
                          borders if learns else None, y, CHUNK=CHUNK, **sizes)
    return y, last, borders


def _scan_backward(x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None,
                   z: Tensor | None, bias: Tensor | None, softplus: bool, borders: Tensor,
                   dy: Tensor, d_last: Tensor | None) -> list[Tensor]:
    """The gradients of x, delta, A, B, C, D, z, bias and the first states, whether or not there
    are D, bias and first states; that of a z that there is not is empty."""
    from minimamba.scan.triton import kernels

    x, delta, D, z, bias, dy, d_last = _contiguous(x, delta, D, z, bias, dy, d_last)
    groups, length = B.shape[2], x.shape[1]
    rates, B, C, grid, sizes, before = _prepare(x, A, B, C, softplus, BACKWARD)
    carries = sums = None
    if before:
        carries, sums = _states(before[0], A), A.new_empty(len(x), before[0][1], A.shape[0])
        kernels.carry_back[before[0]](dy, delta, rates, C, z, bias, carries, sums,
                                      pieces=sizes["pieces"], **before[1])
    dx, d_delta = torch.empty_like(x), torch.empty_like(delta)
    dz = x.new_empty(0) if z is None else torch.empty_like(z)
    tile = sizes["PARTS"]
    inside_chunk = A.new_empty(len(x), grid[1], CHUNK // tile, *A.shape)
    dA, d_initial = _states(grid, A).zero_(), A.new_empty(len(x), *A.shape)
    dD, d_bias = A.new_empty(2, len(x), -(-length // CHUNK), A.shape[0])
    # Added up as the programs come, or, where the order of a sum must not vary, apart.
    atomic = not torch.are_deterministic_algorithms_enabled()
    dBC = A.new_zeros(len(x), groups if atomic else grid[0], sizes["steps"] // tile, 2, tile,
                      A.shape[1])
    kernels.backward[grid](
        x, delta, rates, B, C, D, z, bias, borders, dy, d_last, carries, sums, inside_chunk, dx,
        d_delta, dA, dBC, dD, None if z is None else dz, d_bias, d_initial, CHUNK=CHUNK,
        ATOMIC=atomic, **sizes)
    del carries, sums, inside_chunk  # the most is held before this, not by what follows
    dBC = dBC.unflatten(1, (groups, -1)).sum(2)
    dB, dC = (dBC[:, :, :, i].permute(0, 2, 3, 1, 4).flatten(1, 2)[:, :length].contiguous()
              for i in (0, 1))
    return [dx, d_delta, dA.sum((0, 1)), dB, dC, dD.sum((0, 1)), dz, d_bias.sum((0, 1)), d_initial]


def _keep(ctx, inputs, output):
    x, delta, A, B, C, D, z, bias, ctx.softplus, initial, _ = inputs
    ctx.save_for_backward(x, delta, A, B, C, D, z, bias, output[2])
    ctx.given = [part is not None for part in (D, z, bias, initial)]
    ctx.set_materialize_grads(False)


def _differentiate(back, ctx, dy, d_last, _):
    *parts, borders = ctx.saved_tensors
    dy = torch.zeros_like(parts[0]) if dy is None else dy
    *whole, dD, dz, d_bias, d_initial = back(*parts, ctx.softplus, borders, dy, d_last)
    dD, dz, d_bias, d_initial = (part if given else None for part, given in zip(
        (dD, dz, d_bias, d_initial), ctx.given, strict=True))
    return *whole, dD, dz, d_bias, None, d_initial, None


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx, *arguments):
        output = _scan(*arguments)
        _keep(ctx, arguments, output)
        return output

    backward = staticmethod(partial(_differentiate, _scan_backward))


def _operate(*arguments) -> tuple[Tensor, Tensor, Tensor]:
    return (torch.ops.minimamba.scan if torch.compiler.is_compiling() else _Scan.apply)(*arguments)


_operator = torch.library.custom_op("minimamba::scan", _scan, mutates_args=())
_backward = torch.library.custom_op("minimamba::scan_backward", _scan_backward, mutates_args=())
_operator.register_autograd(partial(_differentiate, _backward), setup_context=_keep)


@_operator.register_fake
def _(x, delta, A, B, C, D, z, bias, softplus, initial, learns):
    batch, length, d_inner = x.shape
    chunks = -(-length // CHUNK) if learns else 0
    return (x.new_empty(x.shape), A.new_empty(batch, d_inner, A.shape[1]),
            A.new_empty(batch, chunks, d_inner, A.shape[1]))


@_backward.register_fake
def _(x, delta, A, B, C, D, z, bias, softplus, borders, dy, d_last):
    whole = [x.new_empty(x.shape), delta.new_empty(delta.shape), A.new_empty(A.shape),
             B.new_empty(B.shape), C.new_empty(C.shape), A.new_empty(A.shape[0])]
    return [*whole, x.new_empty(0) if z is None else z.new_empty(z.shape),
            A.new_empty(A.shape[0]), A.new_empty(x.shape[0], *A.shape)]


def _prepare(x: Tensor, A: Tensor, B: Tensor, C: Tensor, softplus: bool,
             cycles: Cycles) -> tuple:
    """What kernels are called with: rates, B and C in whole chunks; the programs, (blocks of
    channels, splits, sequences), and the sizes; both also for the pass before, or None."""
    batch, length, d_inner = x.shape
    groups, d_state = B.shape[2:]
    parts, chunks = min(PARTS, d_state), -(-length // CHUNK)
    channels, each, pieces = divide(batch * groups, d_inner // groups, chunks, WARP // parts,
                                    SCHEDULERS * _multiprocessors(x.device), cycles)
    if length % CHUNK:
        B, C = (pad(part, (0, 0, 0, 0, 0, chunks * CHUNK - length)) for part in (B, C))
    B, C = _contiguous(B, C)
    sizes = {"length": length, "steps": chunks * CHUNK, "groups": groups, "d_inner": d_inner,
             "N": d_state, "SOFTPLUS": softplus, "PARTS": parts, "num_warps": 1}

    def programs(channels: int, along: int, most: int) -> tuple:
        blocks = groups * -(-d_inner // groups // (channels * WARP // parts))
        return (blocks, along, batch), sizes | {
            "P": channels, "maxnreg": min(255, REGISTERS // most // 8 * 8)}

    splits, before = -(-chunks // each), None
    if splits > 1:
        before = programs(BEFORE, (splits - 1) * pieces, len(cycles.before))
        before[1]["piece_steps"] = each // pieces * CHUNK
    grid, sizes = programs(channels, splits, len(dict(cycles.by_channels)[channels]))
    return (A.contiguous() / log(2), B, C, grid,
            sizes | {"split_steps": each * CHUNK, "pieces": pieces}, before)


@lru_cache
def divide(sequences: int, per_group: int, chunks: int, lanes: int, schedulers: int,
           cycles: Cycles) -> tuple[int, int, int]:
    """How many channels to a lane, how many chunks to a split, and how many pieces of a split in
    the pass before: what should end first, by `cycles`. Programs beyond what fits wait for a next
    wave; beyond four of them more splits only cost."""
    def blocks(channels: int) -> int:
        return sequences * -(-per_group // (channels * lanes))

    def took(programs: int, each: int, by_programs: tuple[int, ...]) -> int:
        waves, rest = divmod(programs, schedulers * len(by_programs))
        last = by_programs[-(-rest // schedulers) - 1] if rest else 0
        return each * CHUNK * (waves * by_programs[-1] + last)

    choices = []
    for channels, by_programs in cycles.by_channels:
        for splits in range(1, chunks + 1):
            each, programs = -(-chunks // splits), blocks(channels) * splits
            for pieces in range(1, min(each, 32) + 1) if splits > 1 else [0]:
                end = took(programs, each, by_programs)
                if splits > 1:
                    if each % pieces:
                        continue
                    before = (splits - 1) * pieces
                    end += LAUNCH + before * PIECE + took(blocks(BEFORE) * before, each // pieces,
                                                          cycles.before)
                choices.append((end, splits, pieces, channels, each))
            if programs > 4 * schedulers * len(by_programs):
                break
    soon = min(choices)[0] * (1 + cycles.slack)
    *_, pieces, channels, each = min(choice[1:] for choice in choices if choice[0] <= soon)
    return channels, each, pieces


def _multiprocessors(device: torch.device) -> int:
    return torch.cuda.get_device_properties(device).multi_processor_count \
        if device.type == "cuda" else 1


def _states(grid: tuple[int, int, int], A: Tensor) -> Tensor:
    """Room for the states of every split: (batch, splits, d_inner, d_state)."""
    return A.new_empty(grid[2], grid[1], *A.shape)


def _contiguous(*parts: Tensor | None) -> list[Tensor | None]:
    return [part if part is None else part.contiguous() for part in parts]
