"""What the arguments of state space duality must be."""

import torch
from torch import Tensor

from minimamba.arguments import (
    FLOATING,
    LARGEST,
    can_read_values,
    check_finite,
    check_number,
    check_same_device,
    check_shape,
    check_tensor,
    once_per_signature,
    refuse,
    shape_of,
)

NO_LIMIT = (0.0, float("inf"))
"""What every Δ ≥ 0 lies between."""
INDICES = (torch.int64, torch.int32, torch.bool)
"""The dtypes that seq_idx may have."""


@once_per_signature
def check_inputs(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None,
                 z: Tensor | None, dt_bias: Tensor | None, initial_state: Tensor | None,
                 seq_idx: Tensor | None) -> torch.dtype:
    """Check the shapes, dtypes and devices of the arguments of `ssd`.

    Args:
        x: (batch, length, n_heads, head_dim).
        dt: (batch, length, n_heads).
        A: (n_heads,).
        B: (batch, length, n_groups, d_state), where n_groups divides n_heads.
        C: (batch, length, n_groups, d_state).
        D: (n_heads,) or (n_heads, head_dim), or None.
        z: (batch, length, n_heads, head_dim) or None.
        dt_bias: (n_heads,) or None.
        initial_state: (batch, n_heads, head_dim, d_state) or None.
        seq_idx: (batch, length), integers or bools, or None.

    Returns:
        The dtype of the hidden state: float64 if x is, else float32.

    Raises:
        ValueError: naming the first that does not fit.
    """
    check_tensor("x", x, FLOATING)
    if x.ndim != 4:
        refuse("x", "shape (batch, length, n_heads, head_dim)", shape_of(x))
    state_dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    optional = {"D": D, "z": z, "dt_bias": dt_bias, "initial_state": initial_state}
    tensors = {"x": x, "dt": dt, "A": A, "B": B, "C": C,
               **{name: t for name, t in optional.items() if t is not None}}
    # dict.fromkeys drops the second one if x is in the state's dtype.
    dtypes = tuple(dict.fromkeys((x.dtype, state_dtype)))
    for name, t in tensors.items():
        check_tensor(name, t, dtypes)
    if seq_idx is not None:
        check_tensor("seq_idx", seq_idx, INDICES)
        tensors["seq_idx"] = seq_idx
    check_same_device(**tensors)
    batch, length, n_heads, head_dim = x.shape
    if B.ndim != 4 or B.shape[:2] != x.shape[:2]:
        refuse("B", f"shape ({batch}, {length}, n_groups, d_state) = "
               "(batch, length, n_groups, d_state)", shape_of(B))
    n_groups, d_state = B.shape[2:]
    if n_heads % n_groups:
        refuse("B", f"a number of groups that divides n_heads = {n_heads}",
               f"{n_groups} in {shape_of(B)}")
    per_step = (batch, length, n_heads, head_dim), "(batch, length, n_heads, head_dim)"
    per_head = (n_heads,), "(n_heads,)"
    shapes = {"dt": ((batch, length, n_heads), "(batch, length, n_heads)"), "A": per_head,
              "C": (tuple(B.shape), "(batch, length, n_groups, d_state)"), "z": per_step,
              "D": ((n_heads, head_dim), "(n_heads, head_dim)") if D is not None and D.ndim > 1 else
              ((n_heads,), f"(n_heads,) or {(n_heads, head_dim)} = (n_heads, head_dim)"),
              "dt_bias": per_head,
              "initial_state": ((batch, n_heads, head_dim, d_state),
                                "(batch, n_heads, head_dim, d_state)"),
              "seq_idx": ((batch, length), "(batch, length)")}
    for name, (shape, meaning) in shapes.items():
        if name in tensors:
            check_shape(name, tensors[name], shape, meaning)
    return state_dtype


def check_values(**tensors: Tensor | None) -> None:
    """Check that tensors are finite, where their values can be read.

    Args:
        **tensors: the tensors by argument name; None is skipped. The first says where they are.

    Raises:
        ValueError: naming the first that holds NaN or an infinity.
    """
    if can_read_values(next(iter(tensors.values()))):
        for name, t in tensors.items():
            if t is not None:
                check_finite(name, t)


def check_dt_limit(dt_limit: tuple[float, float]) -> tuple[float, float]:
    """Check the smallest and the largest Δ.

    Args:
        dt_limit: two numbers from 0 up, in this order.

    Returns:
        The two.

    Raises:
        ValueError: for anything else.
    """
    if not isinstance(dt_limit, (tuple, list)) or len(dt_limit) != 2:
        refuse("dt_limit", "two numbers, the smallest and the largest step", repr(dt_limit))
    low, high = dt_limit
    check_number("dt_limit", low, "a smallest step of at least 0", 0, LARGEST)
    check_number("dt_limit", high, f"a largest step of at least {low:g}", low, float("inf"))
    return low, high
