"""Mamba's selective scan: h_t = Ā_t h_{t−1} + B̄_t x_t and y_t = ⟨C_t, h_t⟩, by several methods.

`selective_scan` checks its arguments, chooses a method and runs it; `why_not` says why a method
can't run. `reference.py` is the loop that defines the result, `associative.py` shows what makes
a scan parallel, `chunked.py` is the fast method in plain PyTorch, `compiled.py` the faster one
where there is a C++ compiler, and `triton/` holds the fused kernels for NVIDIA GPUs. The official
package's call is in `minimamba.compat`.
"""

from typing import Literal, overload

import torch
from torch import Tensor

from minimamba.arguments import (
    can_read_values,
    check_bool,
    check_count,
    check_dense,
    check_finite,
    check_one_of,
    is_transformed,
    refuse,
    shape_of,
)
from minimamba.autocast import without_autocast
from minimamba.scan import chunked, compiled, reference
from minimamba.scan.checks import check_inputs
from minimamba.scan.triton import operator

METHODS = {"reference": reference.scan, "chunked": chunked.scan, "compiled": compiled.scan,
           "triton": operator.scan}
"""The functions that compute the scan, by method."""
CHOICES = ("auto", *METHODS)
"""What may be asked for."""
WORTH_COMPILING = 2**24
"""The number of state components over all steps from which "auto" compiles on a CPU."""


def why_not(method: str, *, x: Tensor | None = None, d_state: int | None = None) -> str | None:
    """Say why a method can't run here, or can't take an input.

    Args:
        method: a name in `METHODS`.
        x: the scan's input (batch, length, d_inner), for its device, dtype and sizes; None to
            ask about this machine alone.
        d_state: the state dimension, considered together with x; None if it doesn't matter.

    Returns:
        The reason in a few words, or None if the method can run.

    Raises:
        ValueError: if there is no such method, or x is not dense or has another shape.
    """
    check_one_of("method", method, tuple(METHODS))
    if x is not None:
        check_dense("x", x)
        if x.ndim != 3:
            refuse("x", "shape (batch, length, d_inner)", shape_of(x))
    if d_state is not None:
        check_count("d_state", d_state)
    if method != "reference" and is_transformed():
        return "torch.func, torch.jit and forward_ad can transform the loop of 'reference' alone"
    # torch.compile of 2.11 takes is_exporting() for true whenever it traces; the flag is not.
    if method in ("chunked", "compiled") and torch.compiler._is_exporting_flag:
        return "an exported graph would lose its backward pass, which is written by hand"
    if method == "compiled" and torch.compiler.is_compiling():
        return "it compiles its own graph, which can't be a part of a larger one"
    if method == "compiled":
        return compiled.why_not(x)
    if method == "triton":
        return operator.why_not(x, 1 if d_state is None else d_state)
    return None


def methods() -> dict[str, str | None]:
    """List the methods of the scan, with the reason why one can't run on this machine.

    Returns:
        From each method's name to None if it can run, else to the reason.
    """
    return {method: why_not(method) for method in METHODS}


def _choose(method: str, x: Tensor, d_state: int) -> str:
    """Choose the method that runs: the one asked for, or for "auto" the fastest that can."""
    check_one_of("method", method, CHOICES)
    if method == "auto":
        if operator.is_chosen(x, d_state):
            return "triton"
        # Compiled code must not ask for sizes: each answer would limit what it can be run with.
        large = (not torch.compiler.is_compiling() and x.device.type == "cpu"
                 and x.numel() * d_state >= WORTH_COMPILING)
        if large and why_not("compiled", x=x) is None:
            return "compiled"
        return "chunked" if why_not("chunked") is None else "reference"
    if reason := why_not(method, x=x, d_state=d_state):
        other = "reference" if why_not("chunked") else "chunked"
        refuse("method", f"one that can run with these inputs, such as {other!r}",
               f"{method!r}: {reason}")
    return method


@overload
def selective_scan(x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor,
                   D: Tensor | None = ..., z: Tensor | None = ..., *,
                   delta_bias: Tensor | None = ..., delta_softplus: bool = ...,
                   initial_state: Tensor | None = ..., return_last_state: Literal[False] = ...,
                   method: str = ...) -> Tensor: ...
@overload
def selective_scan(x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor,
                   D: Tensor | None = ..., z: Tensor | None = ..., *,
                   delta_bias: Tensor | None = ..., delta_softplus: bool = ...,
                   initial_state: Tensor | None = ..., return_last_state: Literal[True],
                   method: str = ...) -> tuple[Tensor, Tensor]: ...
@overload
def selective_scan(x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor,
                   D: Tensor | None = ..., z: Tensor | None = ..., *,
                   delta_bias: Tensor | None = ..., delta_softplus: bool = ...,
                   initial_state: Tensor | None = ..., return_last_state: bool,
                   method: str = ...) -> Tensor | tuple[Tensor, Tensor]: ...


@without_autocast
def selective_scan(x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor,
                   D: Tensor | None = None, z: Tensor | None = None, *,
                   delta_bias: Tensor | None = None, delta_softplus: bool = False,
                   initial_state: Tensor | None = None, return_last_state: bool = False,
                   method: str = "auto") -> Tensor | tuple[Tensor, Tensor]:
    """Run Mamba's selective scan (Gu and Dao 2023, arXiv:2312.00752, algorithm 2).

        h_t = exp(Δ_t A) h_{t−1} + Δ_t B_t x_t,      y_t = ⟨C_t, h_t⟩ + D x_t,      y_t silu(z_t)

    The hidden state and all sums are in float32 if x has half or single precision, and in
    float64 if x is float64, under autocast too. Each of the other tensors has x's dtype or the
    state's.

    Shapes and dtypes are always checked. Values, which must be finite and Δ not negative, are
    checked except on a GPU, where a check would have to wait for them, and while `torch.compile`,
    `torch.export` or `torch.func` run this, when there are none.

    Every method has gradients. Only those of "reference" have gradients again; a second
    derivative of another method is an error. `torch.func` (`grad`, `vmap`, `jacrev`) and
    `torch.export` take "reference", or "triton" to be exported, which "auto" knows. All methods
    but "compiled" run within `torch.compile(fullgraph=True)`. What `torch.compile` compiles within
    autocast gets a backward pass in half precision, unless
    `torch._functorch.config.backward_pass_autocast` is "off". A graph that `torch.export` makes
    holds for one length. `torch.compile` compiles "chunked" again for each other length; with
    PyTorch 2.11 and gradients, give it `dynamic=False`.

    Args:
        x: (batch, length, d_inner), the input; float16, bfloat16, float32 or float64.
        delta: (batch, length, d_inner), the step Δ in units of 1/A, before bias and softplus.
            Δ must be at least 0; Δ = 0 leaves the state unchanged.
        A: (d_inner, d_state), real; negative for a state that decays.
        B: (batch, length, d_state), or (batch, length, groups, d_state), where each group
            serves d_inner / groups neighboring channels.
        C: the shapes of B; the number of groups may differ.
        D: (d_inner,), the skip connection; none if None.
        z: (batch, length, d_inner), the gate; none if None.
        delta_bias: (d_inner,), added to delta; none if None.
        delta_softplus: whether Δ = softplus(delta + delta_bias).
        initial_state: (batch, d_inner, d_state), the state before the first step; zeros if None.
        return_last_state: whether to return the state after the last step too.
        method: "reference", "chunked", "compiled", "triton", or "auto" for the fastest that can
            run: "triton" on an NVIDIA GPU if it takes these inputs, "compiled" on a CPU for large
            inputs, otherwise "chunked". `why_not` says what a method can't do.

    Returns:
        y of x's shape and dtype. With `return_last_state`, (y, last_state), where last_state is
        (batch, d_inner, d_state) in float32 or float64.

    Raises:
        ValueError: naming the argument, what was expected and what was given.

    Example:
        >>> import torch
        >>> from minimamba import selective_scan
        >>> batch, length, d_inner, d_state = 2, 10, 4, 3
        >>> x = torch.randn(batch, length, d_inner)
        >>> delta = torch.rand(batch, length, d_inner)
        >>> A = -torch.ones(d_inner, d_state)
        >>> B, C = torch.randn(2, batch, length, d_state)
        >>> y, last_state = selective_scan(x, delta, A, B, C, return_last_state=True)
        >>> y.shape, last_state.shape
        (torch.Size([2, 10, 4]), torch.Size([2, 4, 3]))
    """
    check_bool("delta_softplus", delta_softplus)
    check_bool("return_last_state", return_last_state)
    state_dtype = check_inputs(x, delta, A, B, C, D, z, delta_bias, initial_state)
    is_readable = can_read_values(x)
    if is_readable:
        for name, t in {"x": x, "delta": delta, "A": A, "B": B, "C": C, "D": D, "z": z,
                        "delta_bias": delta_bias, "initial_state": initial_state}.items():
            if t is not None:
                check_finite(name, t)
    chosen = _choose(method, x, A.shape[1])
    if is_readable and not delta_softplus:
        _check_not_negative(delta if delta_bias is None else delta + delta_bias)
    A, initial_state = _to(state_dtype, A, initial_state)
    x_ = x
    if chosen != "triton":  # whose kernels read these in the dtypes and shapes that they have
        x_, delta, B, C, D, z, delta_bias = _to(state_dtype, x, delta, B, C, D, z, delta_bias)
        B, C = (t if t.ndim == 4 else t[:, :, None] for t in (B, C))
    options = {"wants_last_state": return_last_state} if chosen == "triton" else {}
    y, last_state = METHODS[chosen](
        x_, delta, A, B, C, D, z, delta_bias=delta_bias, delta_softplus=delta_softplus,
        initial_state=initial_state, **options)
    y = y if y.dtype == x.dtype else y.to(x.dtype)
    return (y, last_state) if return_last_state else y


def _check_not_negative(delta: Tensor) -> None:
    """Check that Δ is at least 0, where no softplus makes it so."""
    if (delta < 0).any():
        refuse("delta", "steps of at least 0 (or delta_softplus=True)", f"{delta.min().item():g}")


def _to(dtype: torch.dtype, *tensors: Tensor | None) -> list[Tensor | None]:
    """Convert each tensor that is not None."""
    return [t if t is None or t.dtype == dtype else t.to(dtype) for t in tensors]
