"""What the scan checks of its inputs, whichever method then runs: all but their values."""

import torch
from torch import Tensor

from minimamba.arguments import (
    check_same_device,
    check_shape,
    check_tensor,
    once_per_signature,
    refuse,
    shape_of,
)

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
"""The dtypes that x may have."""


@once_per_signature
def check_inputs(x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None,
                 z: Tensor | None, delta_bias: Tensor | None,
                 initial_state: Tensor | None) -> torch.dtype:
    """Check everything but values.

    Args:
        x: (batch, length, d_inner), of one of `DTYPES`.
        delta: (batch, length, d_inner), in x's dtype or the state's, as are all others.
        A: (d_inner, d_state).
        B: (batch, length, d_state) or (batch, length, groups, d_state).
        C: one of the shapes of B.
        D: (d_inner,) or None.
        z: (batch, length, d_inner) or None.
        delta_bias: (d_inner,) or None.
        initial_state: (batch, d_inner, d_state) or None.

    Returns:
        The dtype of the hidden state.

    Raises:
        ValueError: naming the argument, what was expected and what was given.
    """
    check_tensor("x", x, DTYPES)
    if x.ndim != 3:
        refuse("x", "shape (batch, length, d_inner)", shape_of(x))
    state_dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    optional = {"D": D, "z": z, "delta_bias": delta_bias, "initial_state": initial_state}
    tensors = {"x": x, "delta": delta, "A": A, "B": B, "C": C,
               **{name: t for name, t in optional.items() if t is not None}}
    # dict.fromkeys drops the second one if x is in the state's dtype.
    dtypes = tuple(dict.fromkeys((x.dtype, state_dtype)))
    for name, t in tensors.items():
        check_tensor(name, t, dtypes)
    check_same_device(**tensors)
    batch, length, d_inner = x.shape
    if A.ndim != 2 or A.shape[0] != d_inner:
        refuse("A", f"shape ({d_inner}, d_state) = (d_inner, d_state)", shape_of(A))
    d_state = A.shape[1]
    shapes = {"delta": ((batch, length, d_inner), "(batch, length, d_inner)"),
              "B": _shape_with_groups("B", B, x, d_state),
              "C": _shape_with_groups("C", C, x, d_state),
              "D": ((d_inner,), "(d_inner,)"),
              "z": ((batch, length, d_inner), "(batch, length, d_inner)"),
              "delta_bias": ((d_inner,), "(d_inner,)"),
              "initial_state": ((batch, d_inner, d_state), "(batch, d_inner, d_state)")}
    for name, (shape, meaning) in shapes.items():
        if name in tensors:
            check_shape(name, tensors[name], shape, meaning)
    return state_dtype


def _shape_with_groups(name: str, t: Tensor, x: Tensor,
                       d_state: int) -> tuple[tuple[int, ...], str]:
    """Return the shape that B or C must have, and the names of its axes."""
    batch, length, d_inner = x.shape
    if t.ndim != 4:
        return (batch, length, d_state), "(batch, length, d_state)"
    groups = t.shape[2]
    if d_inner % groups:
        refuse(name, f"a number of groups that divides d_inner = {d_inner}",
               f"{groups} in {shape_of(t)}")
    return (batch, length, groups, d_state), "(batch, length, groups, d_state)"
