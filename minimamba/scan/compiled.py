"""The scan in chunks, each chunk one function that `torch.compile` turns into C++.

Written out for CHUNK steps, the loop over time is straight-line code; compiled, each state
stays in a register from its first step to its last, and nothing of its size is ever stored.
Everything around the chunks is `chunked.py`'s. The first call for a shape compiles, which
takes a while and is announced; PyTorch keeps the result on disk.
"""

import os
import shutil
import sys
from collections.abc import Callable
from functools import cache
from types import FunctionType

import torch
from torch import Tensor

from minimamba.scan import chunked
from minimamba.scan.chunked import Chunk

CHUNK = 32
"""Steps a chunk: with more of them fewer calls, and more C++ to compile."""


def missing() -> str | None:
    """Why this can't run here, or None."""
    if sys.platform == "win32":
        return "torch.compile for the CPU is not set up for Windows here"
    names = [os.environ["CXX"]] if "CXX" in os.environ else ["g++", "clang++"]
    if not any(map(shutil.which, names)):
        return f"no C++ compiler was found; looked for {' and '.join(names)}"
    return None


def scan(*arguments: Tensor | None, **options: object) -> tuple[Tensor, Tensor]:
    """As `definition.scan`."""
    return chunked.scan(*arguments, **options, chunk=Chunk(_forward, _backward, CHUNK))


def _forward(x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, h: Tensor
             ) -> tuple[Tensor, Tensor]:
    """As `chunked.forward`, which takes what is left over after the last whole chunk."""
    if x.shape[1] < CHUNK:
        return chunked.forward(x, delta, A, B, C, h)
    step = _compile(_steps, A.shape, A.dtype)
    results = [step(*parts, A, *rest) for *parts, rest in
               zip(x, delta, zip(B, C, h, strict=True), strict=True)]
    return _stack(results)


def _backward(x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, h: Tensor,
              dy: Tensor, carry: Tensor) -> tuple[Tensor, ...]:
    """As `chunked.backward`, likewise."""
    if x.shape[1] < CHUNK:
        return chunked.backward(x, delta, A, B, C, h, dy, carry)
    step = _compile(_steps_back, A.shape, A.dtype)
    results = [step(*parts, A, *rest) for *parts, rest in
               zip(x, delta, zip(B, C, h, dy, carry, strict=True), strict=True)]
    dx, d_delta, dA, dB, dC, carry = _stack(results)
    return dx, d_delta, dA.sum(0), dB, dC, carry


def _stack(results: list[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    """One tuple of a batch from one for each sequence; a single one is not copied."""
    if len(results) == 1:
        return tuple(part[None] for part in results[0])
    return tuple(torch.stack(parts) for parts in zip(*results, strict=True))


@cache
def _compile(steps: Callable, shape: tuple[int, ...], dtype: torch.dtype) -> Callable:
    """Made anew for every shape of A: with sizes known, the code is a third faster."""
    way = "backward" if steps is _steps_back else "forward"
    print(f"minimamba: compiling the {way} scan for {shape[0] * shape[2]} channels of {shape[1]} "
          f"states, {dtype}; about half a minute, once.", file=sys.stderr, flush=True)
    # A copy, since PyTorch counts how often one function was compiled, and gives up after eight.
    code = steps.__code__.replace(co_name=f"{steps.__name__}_{'_'.join(map(str, shape))}")
    return torch.compile(FunctionType(code, globals()), dynamic=False, fullgraph=True,
                         options={"cpp.enable_floating_point_contract_flag": "fast"})


def _exp(x: Tensor) -> Tensor:
    """exp, in float32 as a polynomial that the compiler can inline: it is half of the work.

    With x = i ln 2 + f, e^x = 2^i e^f and |f| < 0.35, where seven terms (Cephes, expf) are exact
    to the last digit but one. ln 2 is taken off in two parts, the first with few digits, so
    that i times it is exact; 2^i is made as the bits of a float, its exponent.
    """
    if x.dtype != torch.float32:
        return torch.exp(x)
    x = x.clamp(-87.3, 88.8)                                  # to infinity, from 2^127.5 on
    i = torch.round(x * 1.44269504)
    f = x - i * 0.693359375 + i * 2.12194440e-4
    p = torch.full_like(f, 1.9875691500e-4)
    for term in (1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1,
                 5.0000001201e-1, 1.0, 1.0):
        p = p * f + term
    return p * ((i.to(torch.int32) + 127) << 23).view(torch.float32)


def _steps(x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, h: Tensor
           ) -> tuple[Tensor, Tensor]:
    """One sequence: x, delta (steps, groups, channels); B, C (steps, groups, d_state); A and h
    (groups, d_state, channels). Gives y as x, and h after the chunk."""
    y = []
    for t in range(CHUNK):
        step = delta[t][:, None]
        h = _exp(step * A) * h + (step * x[t][:, None]) * B[t][..., None]
        y.append((h * C[t][..., None]).sum(1))
    return torch.stack(y), h


def _steps_back(x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, h: Tensor,
                dy: Tensor, carry: Tensor) -> tuple[Tensor, ...]:
    """The gradients of x, delta, A, B, C and h, from those of y and of the last state."""
    keep, states = [], [h]
    for t in range(CHUNK):
        step = delta[t][:, None]
        keep.append(_exp(step * A))
        states.append(keep[t] * states[t] + (step * x[t][:, None]) * B[t][..., None])
    dx, d_delta, dA, dB, dC = [], [], torch.zeros_like(A), [], []
    for t in reversed(range(CHUNK)):
        step = delta[t][:, None]
        dC.append((states[t + 1] * dy[t][:, None]).sum(-1))
        g = carry + C[t][..., None] * dy[t][:, None]
        dB.append((g * (step * x[t][:, None])).sum(-1))
        d_written = (g * B[t][..., None]).sum(1)
        carry = g * keep[t]
        d_exponent = carry * states[t]
        dA = dA + d_exponent * step
        d_delta.append((d_exponent * A).sum(1) + d_written * x[t])
        dx.append(d_written * delta[t])
    dx, d_delta, dB, dC = (torch.stack(parts[::-1]) for parts in (dx, d_delta, dB, dC))
    return dx, d_delta, dA, dB, dC, carry
