"""Mamba-2's state space duality: a scan whose decay is one number per head, by several methods.

`ssd` checks its arguments, chooses a method and runs it; `why_not` says why a method can't run.
`reference.py` has the two forms that define the result, the recurrence and masked attention,
`chunked.py` the fast method in plain PyTorch, which is made of both, and `triton/` the fused
kernels for NVIDIA GPUs. The official package's call is in `minimamba.compat`.
"""

from collections.abc import Callable
from functools import partial
from typing import Literal, overload

import torch
from torch import Tensor
from torch.nn.functional import silu, softplus

from minimamba.arguments import (
    can_read_values,
    check_bool,
    check_count,
    check_dense,
    check_one_of,
    refuse,
    shape_of,
)
from minimamba.autocast import without_autocast
from minimamba.ssd import chunked, reference
from minimamba.ssd.checks import check_inputs, check_values
from minimamba.ssd.triton import operator

IN_PYTORCH = {"reference": reference.recurrence, "quadratic": reference.quadratic,
              "chunked": chunked.scan}
"""The functions that compute the scan in plain PyTorch, by method."""
METHODS = (*IN_PYTORCH, "triton")
"""All methods."""
CHOICES = ("auto", *METHODS)
"""What may be asked for."""


def why_not(method: str, *, x: Tensor | None = None, d_state: int | None = None) -> str | None:
    """Say why a method can't run here, or can't take an input.

    Args:
        method: a name in `METHODS`.
        x: the scan's input (batch, length, n_heads, head_dim), for its device, dtype and sizes;
            None to ask about this machine alone.
        d_state: the state dimension, considered together with x; None if it doesn't matter.

    Returns:
        The reason in a few words, or None if the method can run, as those in plain PyTorch do
        everywhere.

    Raises:
        ValueError: if there is no such method, or x has another shape.
    """
    check_one_of("method", method, METHODS)
    if x is not None:
        check_dense("x", x)
        if x.ndim != 4:
            refuse("x", "shape (batch, length, n_heads, head_dim)", shape_of(x))
    if d_state is not None:
        check_count("d_state", d_state)
    if method == "triton":
        return operator.why_not(x, 1 if d_state is None else d_state)
    return None


def methods() -> dict[str, str | None]:
    """List the methods, with the reason why one can't run on this machine.

    Returns:
        From each method's name to None if it can run, else to the reason.
    """
    return {method: why_not(method) for method in METHODS}


def _choose(method: str, x: Tensor, d_state: int) -> str:
    """Choose the method that runs: the one asked for, or for "auto" the fastest that can."""
    if method == "auto":
        return "triton" if operator.is_chosen(x, d_state) else "chunked"
    if reason := why_not(method, x=x, d_state=d_state):
        refuse("method", "one that can run with these inputs, such as 'chunked'",
               f"{method!r}: {reason}")
    return method


@overload
def ssd(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, *, D: Tensor | None = ...,
        z: Tensor | None = ..., dt_bias: Tensor | None = ..., dt_softplus: bool = ...,
        initial_state: Tensor | None = ..., return_final_state: Literal[False] = ...,
        chunk_size: int | None = ..., seq_idx: Tensor | None = ..., method: str = ...
        ) -> Tensor: ...
@overload
def ssd(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, *, D: Tensor | None = ...,
        z: Tensor | None = ..., dt_bias: Tensor | None = ..., dt_softplus: bool = ...,
        initial_state: Tensor | None = ..., return_final_state: Literal[True],
        chunk_size: int | None = ..., seq_idx: Tensor | None = ..., method: str = ...
        ) -> tuple[Tensor, Tensor]: ...
@overload
def ssd(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, *, D: Tensor | None = ...,
        z: Tensor | None = ..., dt_bias: Tensor | None = ..., dt_softplus: bool = ...,
        initial_state: Tensor | None = ..., return_final_state: bool,
        chunk_size: int | None = ..., seq_idx: Tensor | None = ..., method: str = ...
        ) -> Tensor | tuple[Tensor, Tensor]: ...


@without_autocast
def ssd(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, *, D: Tensor | None = None,
        z: Tensor | None = None, dt_bias: Tensor | None = None, dt_softplus: bool = False,
        initial_state: Tensor | None = None, return_final_state: bool = False,
        chunk_size: int | None = None, seq_idx: Tensor | None = None, method: str = "auto"
        ) -> Tensor | tuple[Tensor, Tensor]:
    """Run Mamba-2's scan (Dao and Gu 2024, arXiv:2405.21060), with a matrix as each head's state.

        h_t = exp(Δ_t A) h_{t−1} + Δ_t x_t B_tᵀ,      y_t = h_t C_t + D x_t,      y_t silu(z_t)

    The hidden state and all sums are in float32 if x has half or single precision, and in
    float64 if x is float64, under autocast too. Each of the other tensors has x's dtype or the
    state's.

    Shapes and dtypes are always checked. Values, which must be finite and Δ not negative, are
    checked except on a GPU, where a check would have to wait for them, and while `torch.compile`,
    `torch.export` or `torch.func` run this, when there are none.

    Every method has gradients and runs within `torch.compile` and `torch.export`. Those of every
    method but "triton", whose backward pass is written by hand, have gradients too, and they run
    within `torch.func`.

    Args:
        x: (batch, length, n_heads, head_dim), the input; float16, bfloat16, float32 or float64.
        dt: (batch, length, n_heads), the step Δ in units of 1/A, before bias and softplus. Δ must
            be at least 0; Δ = 0 leaves the state unchanged.
        A: (n_heads,), real; negative for a state that decays.
        B: (batch, length, n_groups, d_state), where each group serves n_heads / n_groups
            neighboring heads.
        C: (batch, length, n_groups, d_state).
        D: (n_heads,) or (n_heads, head_dim), the skip connection; none if None.
        z: (batch, length, n_heads, head_dim), the gate; none if None.
        dt_bias: (n_heads,), added to dt; none if None.
        dt_softplus: whether Δ = softplus(dt + dt_bias).
        initial_state: (batch, n_heads, head_dim, d_state), the state before the first step; zeros
            if None.
        return_final_state: whether to return the state after the last step too.
        chunk_size: steps per chunk of "chunked", which changes nothing but its speed and memory;
            None for the default.
        seq_idx: (batch, length), integers, for packed sequences: where it changes, another
            sequence starts, from a state of zeros. `initial_state` is that of the first one.
        method: "reference", a loop; "quadratic", whose time and memory grow with the square of
            the length; "chunked"; "triton"; or "auto" for the fastest that can run: "triton" on an
            NVIDIA GPU if it takes these inputs, otherwise "chunked". `why_not` says what a method
            can't do.

    Returns:
        y of x's shape and dtype. With `return_final_state`, (y, final_state), where final_state
        is (batch, n_heads, head_dim, d_state) in float32 or float64.

    Raises:
        ValueError: naming the argument, what was expected and what was given.

    Example:
        >>> import torch
        >>> from minimamba import ssd
        >>> batch, length, n_heads, head_dim, n_groups, d_state = 2, 10, 4, 8, 1, 16
        >>> x = torch.randn(batch, length, n_heads, head_dim)
        >>> dt = torch.rand(batch, length, n_heads)
        >>> A = -torch.ones(n_heads)
        >>> B, C = torch.randn(2, batch, length, n_groups, d_state)
        >>> y, final_state = ssd(x, dt, A, B, C, return_final_state=True)
        >>> y.shape, final_state.shape
        (torch.Size([2, 10, 4, 8]), torch.Size([2, 4, 8, 16]))
    """
    check_bool("dt_softplus", dt_softplus)
    check_bool("return_final_state", return_final_state)
    check_one_of("method", method, CHOICES)
    if chunk_size is not None:
        check_count("chunk_size", chunk_size)
    state_dtype = check_inputs(x, dt, A, B, C, D, z, dt_bias, initial_state, seq_idx)
    check_values(x=x, dt=dt, A=A, B=B, C=C, D=D, z=z, dt_bias=dt_bias,
                 initial_state=initial_state)
    tensors = x, dt, A, B, C, D, z, dt_bias, initial_state
    chosen = _choose(method, x, B.shape[3])
    if not dt_softplus and can_read_values(x):
        _check_not_negative(dt if dt_bias is None else dt + dt_bias)
    if chosen == "triton":
        A, D, dt_bias, initial_state = (
            t if t is None else t.to(state_dtype) for t in (A, D, dt_bias, initial_state))
        y, final_state = operator.scan(
            x, dt, A, B, C, D, z, dt_bias=dt_bias, dt_softplus=dt_softplus,
            initial_state=initial_state, seq_idx=seq_idx, needs_final_state=return_final_state)
    else:
        options = {"chunk_size": chunk_size} if chosen == "chunked" and chunk_size else {}
        y, final_state = _run_in_pytorch(
            partial(IN_PYTORCH[chosen], **options),
            *(t if t is None else t.to(state_dtype) for t in tensors), dt_softplus, seq_idx)
        y = y.to(x.dtype)
    return (y, final_state) if return_final_state else y


def _run_in_pytorch(method: Callable, x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor,
                    D: Tensor | None, z: Tensor | None, dt_bias: Tensor | None, h: Tensor | None,
                    dt_softplus: bool, seq_idx: Tensor | None) -> tuple[Tensor, Tensor]:
    """Run a method of IN_PYTORCH, with all that comes before and after it."""
    dt = dt if dt_bias is None else dt + dt_bias
    dt = softplus(dt) if dt_softplus else dt
    log_decay = dt * A
    if seq_idx is not None:
        log_decay = log_decay.masked_fill(_starts(seq_idx)[..., None], -torch.inf)
    if h is None:
        h = x.new_zeros(x.shape[0], *x.shape[2:], B.shape[3])
    y, final_state = method(dt[..., None] * x, log_decay, B, C, h)
    if D is not None:
        y = y + (D if D.ndim == 2 else D[:, None]) * x
    if z is not None:
        y = y * silu(z)
    return y, final_state


def _check_not_negative(dt: Tensor) -> None:
    """Check that Δ is at least 0, where no softplus makes it so."""
    if (dt < 0).any():
        refuse("dt", "steps of at least 0 (or dt_softplus=True)", f"{dt.min().item():g}")


def _starts(seq_idx: Tensor) -> Tensor:
    """Say at which steps another sequence starts, the first one aside."""
    starts = torch.zeros_like(seq_idx, dtype=torch.bool)
    starts[:, 1:] = seq_idx[:, 1:] != seq_idx[:, :-1]
    return starts
