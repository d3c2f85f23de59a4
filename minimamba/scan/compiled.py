"""The scan in chunks, each chunk one function that `torch.compile` turns into C++.

Written out for CHUNK_SIZE steps, the loop over time is straight-line code. Compiled, each state
stays in a register from the first step to the last, and no tensor of all states exists.
Everything around the chunks is `chunked.py`'s. The first call for a shape of A compiles, which
takes a while and is announced; PyTorch caches the result on disk.
"""

from collections.abc import Callable
from functools import cache
from types import FunctionType

import torch
from torch import Tensor

from minimamba import compiler
from minimamba.scan import chunked
from minimamba.scan.chunked import ChunkFunctions

CHUNK_SIZE = 32
"""Steps per chunk. Larger chunks mean fewer calls, and more C++ to compile."""


def why_not(x: Tensor | None = None) -> str | None:
    """Say why this method can't run.

    Args:
        x: the scan's input, for its device; None to ask about this machine alone.

    Returns:
        The reason in a few words, or None if it can run.
    """
    if reason := compiler.why_not():
        return reason
    if x is not None and x.device.type != "cpu":
        return f"it runs on the CPU, and the tensors are on {x.device}"
    return None


def scan(*tensors: Tensor | None, **options: Tensor | bool | None) -> tuple[Tensor, Tensor]:
    """Run the selective scan in compiled chunks.

    Args:
        *tensors: x, delta, A, B, C, D and z, as `minimamba.scan.chunked.scan` takes them.
        **options: its keyword arguments, except `functions`.

    Returns:
        y (batch, length, d_inner) and the last state (batch, d_inner, d_state).
    """
    functions = ChunkFunctions(_forward, _backward, CHUNK_SIZE)
    return chunked.scan(*tensors, **options, functions=functions)


def _forward(x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, h: Tensor
             ) -> tuple[Tensor, Tensor]:
    """Compute one chunk as `chunked.forward` does; a shorter last chunk is left to that, and all
    are once compiling has failed."""
    if x.shape[1] < CHUNK_SIZE or compiler.failures:
        return chunked.forward(x, delta, A, B, C, h)
    run = _compile(_forward_steps, A.shape, A.dtype)
    return _stack([run(x_, delta_, A, B_, C_, h_) for x_, delta_, B_, C_, h_ in
                   zip(x, delta, B, C, h, strict=True)])


def _backward(x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, h: Tensor,
              dy: Tensor, dh: Tensor) -> tuple[Tensor, ...]:
    """Compute gradients as `chunked.backward` does, or by it, as in `_forward`."""
    if x.shape[1] < CHUNK_SIZE or compiler.failures:
        return chunked.backward(x, delta, A, B, C, h, dy, dh)
    run = _compile(_backward_steps, A.shape, A.dtype)
    dx, d_delta, dA, dB, dC, dh = _stack(
        [run(x_, delta_, A, B_, C_, h_, dy_, dh_) for x_, delta_, B_, C_, h_, dy_, dh_ in
         zip(x, delta, B, C, h, dy, dh, strict=True)])
    return dx, d_delta, dA.sum(0), dB, dC, dh


def _stack(results: list[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    """Turn one tuple per sequence into one tuple of batches; a batch of one is not copied."""
    if len(results) == 1:
        return tuple(result[None] for result in results[0])
    return tuple(torch.stack(batch) for batch in zip(*results, strict=True))


@cache
def _compile(steps: Callable, shape: tuple[int, ...], dtype: torch.dtype) -> Callable:
    """Compile for one shape of A: with sizes known, the code is a third faster."""
    direction = "backward" if steps is _backward_steps else "forward"
    groups, d_state, channels = shape
    # A copy, since PyTorch counts how often one function was compiled, and gives up after eight.
    code = steps.__code__.replace(co_name=f"{steps.__name__}_{'_'.join(map(str, shape))}")
    return compiler.compile_or_else(
        f"the {direction} scan for d_inner = {groups * channels}, d_state = {d_state}, {dtype}; up "
        "to a minute", steps, FunctionType(code, globals()), dynamic=False, fullgraph=True,
        options={"cpp.enable_floating_point_contract_flag": "fast"})


def _exp(x: Tensor) -> Tensor:
    """Compute exp, in float32 by a polynomial that the compiler can inline.

    exp is half of the work. With x = i ln 2 + f, e^x = 2^i e^f and |f| < 0.35, where seven terms
    (Cephes, expf) are accurate to the last bit but one. ln 2 is subtracted in two parts, the
    first with few bits, so that i times it is exact; 2^i is written as the exponent bits of a
    float32.
    """
    if x.dtype != torch.float32:
        return torch.exp(x)
    x = x.clamp(-87.3, 88.8)                                  # infinity from 2^127.5 on
    i = torch.round(x * 1.44269504)
    f = x - i * 0.693359375 + i * 2.12194440e-4
    p = torch.full_like(f, 1.9875691500e-4)
    for term in (1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1,
                 5.0000001201e-1, 1.0, 1.0):
        p = p * f + term
    return p * ((i.to(torch.int32) + 127) << 23).view(torch.float32)


def _forward_steps(x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, h: Tensor
                   ) -> tuple[Tensor, Tensor]:
    """Compute y and the last state of one chunk of one sequence.

    x and delta are (steps, groups, channels), B and C (steps, groups, d_state), A and h
    (groups, d_state, channels).
    """
    y = []
    for t in range(CHUNK_SIZE):
        delta_t = delta[t][:, None]
        A_bar = _exp(delta_t * A)
        h = A_bar * h + (delta_t * x[t][:, None]) * B[t][..., None]
        y.append((h * C[t][..., None]).sum(1))
    return torch.stack(y), h


def _backward_steps(x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, h: Tensor,
                    dy: Tensor, dh: Tensor) -> tuple[Tensor, ...]:
    """Compute the gradients of x, delta, A, B, C and h from those of y and the last state."""
    A_bar, states = [], [h]
    for t in range(CHUNK_SIZE):
        delta_t = delta[t][:, None]
        A_bar.append(_exp(delta_t * A))
        states.append(A_bar[t] * states[t] + (delta_t * x[t][:, None]) * B[t][..., None])
    dx, d_delta, dB, dC = [], [], [], []
    dA = torch.zeros_like(A)
    for t in reversed(range(CHUNK_SIZE)):
        delta_t = delta[t][:, None]
        dC.append((states[t + 1] * dy[t][:, None]).sum(-1))
        g = dh + C[t][..., None] * dy[t][:, None]
        dB.append((g * (delta_t * x[t][:, None])).sum(-1))
        d_delta_x = (g * B[t][..., None]).sum(1)
        dh = g * A_bar[t]
        d_exponent = dh * states[t]
        dA = dA + d_exponent * delta_t
        d_delta.append((d_exponent * A).sum(1) + d_delta_x * x[t])
        dx.append(d_delta_x * delta[t])
    return (_stack_reversed(dx), _stack_reversed(d_delta), dA, _stack_reversed(dB),
            _stack_reversed(dC), dh)


def _stack_reversed(steps: list[Tensor]) -> Tensor:
    """Stack what was computed from the last step to the first, in the order of time."""
    return torch.stack(steps[::-1])
