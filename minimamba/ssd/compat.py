"""The official package's call of Mamba-2's scan: `mamba_ssm.ops.triton.ssd_combined`."""

from itertools import pairwise

import torch
from torch import Tensor
from torch.nn.functional import softplus

from minimamba.arguments import (
    FLOATING,
    check_bool,
    check_count,
    check_same_device,
    check_shape,
    check_tensor,
    refuse,
)
from minimamba.ssd import ssd
from minimamba.ssd.checks import NO_LIMIT, check_dt_limit, check_inputs, check_values


def mamba_chunk_scan_combined(
        x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, chunk_size: int,
        D: Tensor | None = None, z: Tensor | None = None, dt_bias: Tensor | None = None,
        initial_states: Tensor | None = None, seq_idx: Tensor | None = None,
        cu_seqlens: Tensor | None = None, dt_softplus: bool = False,
        dt_limit: tuple[float, float] = NO_LIMIT, return_final_states: bool = False,
        return_varlen_states: bool = False) -> Tensor | tuple[Tensor, ...]:
    """Run Mamba-2's scan (Dao and Gu 2024, arXiv:2405.21060) by the official package's call.

    Unlike the official one, it has gradients with `return_varlen_states` too.

    Args:
        x: (batch, length, n_heads, head_dim), the input; float16, bfloat16, float32 or float64.
        dt: (batch, length, n_heads), the step Δ before bias, softplus and limits.
        A: (n_heads,), real; negative for a state that decays.
        B: (batch, length, n_groups, d_state).
        C: (batch, length, n_groups, d_state).
        chunk_size: steps per chunk, which changes nothing but speed and memory.
        D: (n_heads,) or (n_heads, head_dim), the skip connection; none if None.
        z: (batch, length, n_heads, head_dim), the gate; none if None.
        dt_bias: (n_heads,), added to dt; none if None.
        initial_states: (batch, n_heads, head_dim, d_state), the state before the first step;
            zeros if None. With `seq_idx` it is that of the sequence whose index is 0.
        seq_idx: (batch, length), integers, for packed sequences: where it changes, another
            sequence starts, from a state of zeros.
        cu_seqlens: (sequences + 1,), where each of them starts in a batch of one, and the length;
            used with `return_varlen_states` alone.
        dt_softplus: whether Δ = softplus(dt + dt_bias).
        dt_limit: the smallest and the largest Δ; smaller and larger ones become these.
        return_final_states: whether to return the state after the last step.
        return_varlen_states: whether to return the state after the last step of every sequence,
            for which `seq_idx` and `cu_seqlens` must give the same sequences.

    Returns:
        y of x's shape and dtype, alone or in a tuple with what was asked for: the final state
        (batch, n_heads, head_dim, d_state), and the states (sequences, n_heads, head_dim,
        d_state), in float32 or float64.

    Raises:
        ValueError: naming the argument, what was expected and what was given.

    Example:
        >>> import torch
        >>> from minimamba.compat import mamba_chunk_scan_combined
        >>> x, dt = torch.randn(2, 10, 4, 8), torch.randn(2, 10, 4)
        >>> B, C = torch.randn(2, 2, 10, 1, 16)
        >>> mamba_chunk_scan_combined(x, dt, -torch.ones(4), B, C, 64, dt_softplus=True).shape
        torch.Size([2, 10, 4, 8])
    """
    check_bool("dt_softplus", dt_softplus)
    check_bool("return_final_states", return_final_states)
    check_bool("return_varlen_states", return_varlen_states)
    check_count("chunk_size", chunk_size)
    low, high = check_dt_limit(dt_limit)
    state_dtype = check_inputs(x, dt, A, B, C, D, z, dt_bias, None, seq_idx)
    if initial_states is not None:
        check_tensor("initial_states", initial_states, FLOATING)
        check_shape("initial_states", initial_states, (x.shape[0], *x.shape[2:], B.shape[3]),
                    "(batch, n_heads, head_dim, d_state)")
        check_same_device(x=x, initial_states=initial_states)
    check_values(x=x, dt=dt, dt_bias=dt_bias, initial_states=initial_states)

    if not dt_softplus or (low, high) != NO_LIMIT:
        dt = dt.to(state_dtype) if dt_bias is None else dt.to(state_dtype) + dt_bias
        dt = (softplus(dt) if dt_softplus else dt).clamp(low, high)
        dt_bias = None
        dt_softplus = False
    if initial_states is not None:
        initial_states = initial_states.to(state_dtype)
        if seq_idx is not None:
            is_its_own = (seq_idx[:, 0] == 0)[:, None, None, None]
            initial_states = torch.where(is_its_own, initial_states, 0)

    def run(steps: slice, state: Tensor | None, seq_idx: Tensor | None) -> tuple[Tensor, Tensor]:
        return ssd(x[:, steps], dt[:, steps], A, B[:, steps], C[:, steps], D=D,
                   z=None if z is None else z[:, steps], dt_bias=dt_bias, dt_softplus=dt_softplus,
                   initial_state=state, return_final_state=True, chunk_size=chunk_size,
                   seq_idx=seq_idx)

    if not return_varlen_states:
        y, final_states = run(slice(None), initial_states, seq_idx)
        return (y, final_states) if return_final_states else y
    sequences = _sequences(cu_seqlens, seq_idx, x)
    states = [initial_states, *[None] * (len(sequences) - 1)]
    parts = [run(steps, state, None) for steps, state in zip(sequences, states, strict=True)]
    y = torch.cat([part for part, _ in parts], 1)
    varlen_states = torch.cat([state for _, state in parts])
    return (y, varlen_states[-1:], varlen_states) if return_final_states else (y, varlen_states)


def _sequences(cu_seqlens: Tensor | None, seq_idx: Tensor | None, x: Tensor) -> list[slice]:
    """Check that cu_seqlens and seq_idx give the same sequences, and return their steps."""
    if x.shape[0] != 1:
        refuse("x", "a batch of one for return_varlen_states", x.shape[0])
    check_tensor("cu_seqlens", cu_seqlens, (torch.int64, torch.int32))
    if cu_seqlens.ndim != 1:
        refuse("cu_seqlens", "shape (sequences + 1,)", tuple(cu_seqlens.shape))
    check_same_device(x=x, cu_seqlens=cu_seqlens)
    ends = cu_seqlens.tolist()
    length = x.shape[1]
    if ends[0] != 0 or ends[-1] != length or any(one >= other for one, other in pairwise(ends)):
        refuse("cu_seqlens", f"numbers that grow from 0 to the length, {length}", ends)
    if seq_idx is None:
        refuse("seq_idx", "the sequences that cu_seqlens gives", None)
    starts = (1 + (seq_idx[0, 1:] != seq_idx[0, :-1]).nonzero()[:, 0]).tolist()
    if starts != ends[1:-1]:
        refuse("seq_idx", f"other sequences from {ends[1:-1]} on, as cu_seqlens has them", starts)
    return [slice(one, other) for one, other in pairwise(ends)]
