"""The official package's calls, as drop-ins.

    from minimamba.compat import selective_scan_fn            # Mamba
    from minimamba.compat import mamba_chunk_scan_combined    # Mamba-2

The official layout of the former is (batch, channels, length), the library's (batch, length,
channels). The Triton kernels take both; other methods are given transposed views. The Mamba of
Hugging Face's transformers 5 runs on this scan after

    from transformers.models.mamba import modeling_mamba
    modeling_mamba.mamba_selective_scan = (
        lambda *a, use_mambapy=0, use_associative_scan=0, **k: selective_scan_fn(*a, **k))
"""

from typing import Literal, overload

import torch
from torch import Tensor

from minimamba.arguments import (
    can_read_values,
    check_bool,
    check_dense,
    check_finite,
    check_shape,
    check_tensor,
    once_per_signature,
    refuse,
    shape_of,
)
from minimamba.autocast import without_autocast
from minimamba.scan import selective_scan
from minimamba.scan.checks import DTYPES, check_inputs
from minimamba.scan.triton import operator
from minimamba.ssd.compat import mamba_chunk_scan_combined

__all__ = ["mamba_chunk_scan_combined", "selective_scan_fn"]


@overload
def selective_scan_fn(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor,
                      D: Tensor | None = ..., z: Tensor | None = ...,
                      delta_bias: Tensor | None = ..., delta_softplus: bool = ...,
                      return_last_state: Literal[False] = ...) -> Tensor: ...
@overload
def selective_scan_fn(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor,
                      D: Tensor | None = ..., z: Tensor | None = ...,
                      delta_bias: Tensor | None = ..., delta_softplus: bool = ...,
                      *, return_last_state: Literal[True]) -> tuple[Tensor, Tensor]: ...
@overload
def selective_scan_fn(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor,
                      D: Tensor | None = ..., z: Tensor | None = ...,
                      delta_bias: Tensor | None = ..., delta_softplus: bool = ...,
                      return_last_state: bool = ...) -> Tensor | tuple[Tensor, Tensor]: ...


@without_autocast
def selective_scan_fn(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor,
                      D: Tensor | None = None, z: Tensor | None = None,
                      delta_bias: Tensor | None = None, delta_softplus: bool = False,
                      return_last_state: bool = False) -> Tensor | tuple[Tensor, Tensor]:
    """Run the selective scan (Gu and Dao 2023, arXiv:2312.00752, algorithm 2), official layout.

    Args:
        u: (batch, channels, length), the input; float16, bfloat16, float32 or float64.
        delta: (batch, channels, length), the step Δ before bias and softplus.
        A: (channels, d_state), real; negative for a state that decays.
        B: (channels, d_state), constant in time; (batch, d_state, length); or
            (batch, groups, d_state, length).
        C: one of the shapes of B, not necessarily the same one.
        D: (channels,), the skip connection; none if None.
        z: (batch, channels, length), the gate; none if None.
        delta_bias: (channels,), added to delta; none if None.
        delta_softplus: whether Δ = softplus(delta + delta_bias).
        return_last_state: whether to return the state after the last step too.

    Returns:
        y (batch, channels, length) in u's dtype. With `return_last_state`, (y, last_state),
        where last_state is (batch, channels, d_state) in float32 or float64.

    Raises:
        ValueError: naming the argument, what was expected and what was given.

    Example:
        >>> import torch
        >>> from minimamba.compat import selective_scan_fn
        >>> batch, channels, length, d_state = 2, 4, 10, 3
        >>> u = torch.randn(batch, channels, length)
        >>> delta = torch.rand(batch, channels, length)
        >>> A = -torch.ones(channels, d_state)
        >>> B, C = torch.randn(2, batch, d_state, length)
        >>> y, last_state = selective_scan_fn(u, delta, A, B, C, return_last_state=True)
        >>> y.shape, last_state.shape
        (torch.Size([2, 4, 10]), torch.Size([2, 4, 3]))
    """
    check_bool("delta_softplus", delta_softplus)
    check_bool("return_last_state", return_last_state)
    _check(u, delta, A, B, C, D, z, delta_bias)
    B = _over_time(B, u)
    C = _over_time(C, u)
    if operator.is_chosen(u, A.shape[1]):
        y, last_state = operator.scan(
            u, delta, A.float(), B, C, D, z, delta_bias=delta_bias, delta_softplus=delta_softplus,
            initial_state=None, time_last=True, wants_last_state=return_last_state)
        return (y, last_state) if return_last_state else y
    if can_read_values(u):
        check_finite("u", u)
    y, last_state = selective_scan(
        u.mT, delta.mT, A, _per_step(B), _per_step(C), D, None if z is None else z.mT,
        delta_bias=delta_bias, delta_softplus=delta_softplus, return_last_state=True)
    return (y.mT, last_state) if return_last_state else y.mT


@once_per_signature
def _check(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None,
           z: Tensor | None, delta_bias: Tensor | None) -> None:
    """Check everything but values: first what `check_inputs` would not name as it is named here."""
    check_tensor("u", u, DTYPES)
    if u.ndim != 3:
        refuse("u", "shape (batch, channels, length)", shape_of(u))
    if isinstance(A, Tensor) and A.is_complex():
        refuse("A", "a real A: the complex form of the official package has no counterpart here",
               str(A.dtype).removeprefix("torch."))
    for name, t in (("delta", delta), ("z", z)):
        if t is not None or name == "delta":
            check_dense(name, t)
            check_shape(name, t, tuple(u.shape), "(batch, channels, length)")
    channels = u.shape[1]
    for name, t in (("B", B), ("C", C)):
        check_dense(name, t)
        if t.ndim not in (2, 3, 4):
            refuse(name, "shape (channels, d_state), (batch, d_state, length) or "
                   "(batch, groups, d_state, length)", shape_of(t))
        if t.ndim == 2:
            check_shape(name, t, (channels, t.shape[1]), "(channels, d_state)")
    check_inputs(u.mT, delta.mT, A, _per_step(_over_time(B, u)), _per_step(_over_time(C, u)), D,
                 None if z is None else z.mT, delta_bias, None)


def _over_time(t: Tensor, u: Tensor) -> Tensor:
    """Give a B or C that is constant one vector per step, the same at all of them; then every
    channel is a group of its own."""
    if t.ndim != 2:
        return t
    t = t.to(torch.promote_types(t.dtype, torch.float32))
    return t[:, :, None].expand(u.shape[0], *t.shape, u.shape[2])


def _per_step(t: Tensor) -> Tensor:
    """Bring B or C, where it has time, to (batch, length, d_state), with groups before d_state if
    there are any."""
    return t.mT if t.ndim == 3 else t.permute(0, 3, 1, 2)
