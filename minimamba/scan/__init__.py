"""The selective scan: h_t = a_t h_{t−1} + b_t and y_t = ⟨C_t, h_t⟩. One meaning, many machines.

`selective_scan` checks its arguments, picks a machine and runs it; `methods` says which can
run here. The meaning is the loop in `definition.py`; `associative.py` shows what makes a scan
parallel; `chunked.py` is the fast way in plain PyTorch, `compiled.py` the faster one where there
is a C++ compiler; `fused.py`, with its `kernels.py`, is the one in Triton, for NVIDIA GPUs.
`compat.py` is the official package's call.
"""

import torch
from torch import Tensor

from minimamba.arguments import (
    check_finite,
    check_same_device,
    check_shape,
    check_tensor,
    refuse,
    shape_of,
)
from minimamba.scan import chunked, compiled, reference
from minimamba.scan.triton import operator

METHODS = {"reference": reference.scan, "chunked": chunked.scan, "compiled": compiled.scan,
            "triton": operator.scan}
LARGE = 2**24
"""How many numbers of state, over all steps, are worth the half minute of a compilation."""
INPUTS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def methods() -> dict[str, str | None]:
    """The machines by name: None for one that can run here, else the reason why it can't."""
    return {"reference": None, "chunked": None, "compiled": compiled.missing(),
            "triton": operator.missing()}


def _choose(method: str, x: Tensor, d_state: int) -> str:
    """The machine to run: the one asked for, or no other."""
    if method == "auto":
        if x.device.type == "cuda" and operator.missing() is None and operator.unfit(x, d_state) is None:
            return "triton"
        large = x.device.type == "cpu" and x.numel() * d_state >= LARGE
        return "compiled" if large and compiled.missing() is None else "chunked"
    if method not in METHODS:
        refuse("method", "'auto' or one of " + ", ".join(map(repr, METHODS)), repr(method))
    if method == "compiled":
        if reason := compiled.missing():
            refuse("method", "one that can run here", f"{method!r}: {reason}")
        if x.device.type != "cpu":
            refuse("method", f"one that can run on {x.device}", "'compiled', which is for the CPU")
    if method == "triton":
        if reason := operator.missing():
            refuse("method", "one that can run here, such as 'chunked'", f"{method!r}: {reason}")
        if reason := operator.unfit(x, d_state):
            refuse("method", "one that can run with these arguments, such as 'chunked'",
                   f"'triton' for {reason}")
    return method


def selective_scan(x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor,
                   D: Tensor | None = None, z: Tensor | None = None, *,
                   delta_bias: Tensor | None = None, delta_softplus: bool = False,
                   initial_state: Tensor | None = None, return_last_state: bool = False,
                   method: str = "auto") -> Tensor | tuple[Tensor, Tensor]:
    """Mamba's selective scan (Gu and Dao 2023, arXiv:2312.00752, algorithm 2).

        h_t = exp(Δ_t A) h_{t−1} + Δ_t B_t x_t,      y_t = ⟨C_t, h_t⟩ + D x_t,      y_t silu(z_t)

    The state is kept, and all sums are taken, in float32 for inputs of half or single
    precision and in float64 for float64 ones. Each tensor is in x's dtype or in that one.

    Shapes and dtypes are always checked. Values, which must be finite and delta not negative,
    are checked except on a GPU and under `torch.compile`: to look would mean to wait.

    Args:
        x: (batch, length, d_inner); float16, bfloat16, float32 or float64.
        delta: (batch, length, d_inner), the step Δ in the unit of 1/A. At least 0, which
            holds the state, unless softplus makes it so.
        A: (d_inner, d_state), real; negative for a state that fades.
        B, C: (batch, length, d_state), or (batch, length, groups, d_state) with
            d_inner / groups neighbouring channels a group.
        D: (d_inner,), the skip; none if None.
        z: (batch, length, d_inner), the gate; none if None.
        delta_bias: (d_inner,), added to delta before the softplus.
        delta_softplus: whether Δ = softplus(delta + delta_bias).
        initial_state: (batch, d_inner, d_state); zero if None.
        return_last_state: whether to give the state after the last step too.
        method: a name from `minimamba.scan.methods()`, or "auto", the fastest that can run: on
            an NVIDIA GPU "triton", unless there is no triton, or for float64 and such d_state as
            it can't take "chunked"; on a CPU "compiled" for large inputs, else "chunked".

    Returns:
        y of x's shape and dtype; with `return_last_state`, (y, last_state), the latter
        (batch, d_inner, d_state) in float32 or float64.

    Raises:
        ValueError: naming the argument, what was expected and what came.
    """
    state_dtype = _check(x, delta, A, B, C, D, z, delta_bias, initial_state)
    chosen = _choose(method, x, A.shape[1])
    if not delta_softplus and _looks_at_values(x):
        step = delta if delta_bias is None else delta + delta_bias
        if (step < 0).any():
            refuse("delta", "steps of at least 0 (or delta_softplus=True)",
                   f"{step.min().item():g}")
    A, B, C, D, delta_bias, initial_state = (
        t if t is None else t.to(state_dtype) for t in (A, B, C, D, delta_bias, initial_state))
    B, C = (t if t.ndim == 4 else t[:, :, None] for t in (B, C))
    by_step = x, delta, z
    if chosen != "triton":  # which reads them as they are
        by_step = (t if t is None else t.to(state_dtype) for t in by_step)
    x_, delta, z = by_step
    y, last_state = METHODS[chosen](
        x_, delta, A, B, C, D, z, delta_bias=delta_bias, delta_softplus=delta_softplus,
        initial_state=initial_state)
    y = y.to(x.dtype)
    return (y, last_state) if return_last_state else y


def _check(x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None,
           z: Tensor | None, delta_bias: Tensor | None,
           initial_state: Tensor | None) -> torch.dtype:
    """Check all but delta's sign; give the dtype in which the state is kept."""
    check_tensor("x", x, INPUTS)
    if x.ndim != 3:
        refuse("x", "shape (batch, length, d_inner)", shape_of(x))
    state_dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    given = {"x": x, "delta": delta, "A": A, "B": B, "C": C, "D": D, "z": z,
             "delta_bias": delta_bias, "initial_state": initial_state}
    given = {name: t for name, t in given.items() if t is not None}
    for name, t in given.items():
        # dict.fromkeys keeps the order and drops the double when x is in the state's dtype.
        check_tensor(name, t, tuple(dict.fromkeys((x.dtype, state_dtype))))
    check_same_device(**given)
    batch, length, d_inner = x.shape
    if A.ndim != 2 or A.shape[0] != d_inner:
        refuse("A", f"shape ({d_inner}, d_state) = (d_inner, d_state)", shape_of(A))
    d_state = A.shape[1]
    check_shape("delta", delta, (batch, length, d_inner), "(batch, length, d_inner)")
    for name, t in (("B", B), ("C", C)):
        if t.ndim == 4:
            groups = t.shape[2]
            if d_inner % groups:
                refuse(name, f"a number of groups that divides d_inner = {d_inner}", groups)
            check_shape(name, t, (batch, length, groups, d_state),
                        "(batch, length, groups, d_state)")
        else:
            check_shape(name, t, (batch, length, d_state), "(batch, length, d_state)")
    shapes = {"D": ((d_inner,), "(d_inner,)"), "delta_bias": ((d_inner,), "(d_inner,)"),
              "z": ((batch, length, d_inner), "(batch, length, d_inner)"),
              "initial_state": ((batch, d_inner, d_state), "(batch, d_inner, d_state)")}
    for name, (shape, meaning) in shapes.items():
        if name in given:
            check_shape(name, given[name], shape, meaning)
    if _looks_at_values(x):
        for name, t in given.items():
            check_finite(name, t)
    return state_dtype


def _looks_at_values(x: Tensor) -> bool:
    """On a GPU nobody waits for the numbers to arrive, and a graph that is compiled has none."""
    return x.device.type != "cuda" and not torch.compiler.is_compiling()
