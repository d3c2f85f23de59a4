"""The decoding step on an NVIDIA GPU: three Triton kernels in place of some thirty of PyTorch's.

They compute no gradients; where those are needed, and anywhere else, the callers do the same in
PyTorch. Half precision is computed in float32 and rounded once.
"""

import torch
from torch import Tensor

from minimamba.ops import causal_conv1d

BLOCK = 32
"""Channels that one program computes, which is one warp."""


def can_use_kernels(x: Tensor) -> bool:
    """Say whether the kernels can be used for this input, and nothing needs a gradient.

    Args:
        x: the input of the step.
    """
    return (causal_conv1d.can_use_kernels(x) and not torch.is_grad_enabled()
            and not torch.compiler.is_compiling())


def conv_step(x: Tensor, weight: Tensor, bias: Tensor | None, conv_state: Tensor, *,
              in_place: bool) -> tuple[Tensor, Tensor]:
    """Compute the SiLU of the causal convolution at one step.

    Args:
        x: (batch, d_inner), each row contiguous.
        weight: (d_inner, d_conv).
        bias: (d_inner,), or None.
        conv_state: (batch, d_conv − 1, d_inner), the inputs before x, oldest first.
        in_place: whether to write the new conv_state over this one.

    Returns:
        (batch, d_inner), and the conv_state after this step.
    """
    from minimamba.ops import decode_kernels

    y = torch.empty_like(x, memory_format=torch.contiguous_format)
    new_state = _output_state(conv_state, in_place)
    with torch.cuda.device_of(x):
        decode_kernels.conv_step[_grid(x)](
            x, weight.contiguous(), bias, conv_state.contiguous(), new_state, y, x.stride(0),
            d_inner=x.shape[1], WIDTH=weight.shape[1], BLOCK=BLOCK, num_warps=1)
    return y, (_write_back(conv_state, new_state) if in_place else new_state)


def scan_step(x: Tensor, dt: Tensor, A_log: Tensor, B: Tensor, C: Tensor, D: Tensor,
              z: Tensor | None, dt_bias: Tensor, ssm_state: Tensor, *,
              in_place: bool) -> tuple[Tensor, Tensor]:
    """Compute one step of the selective scan.

    Args:
        x: (batch, d_inner).
        dt: (batch, d_inner), Δ before its bias and softplus.
        A_log: (d_inner, d_state), where A = −exp(A_log).
        B: (batch, d_state).
        C: (batch, d_state).
        D: (d_inner,).
        z: (batch, d_inner), the gate; none if None.
        dt_bias: (d_inner,).
        ssm_state: (batch, d_inner, d_state), float32.
        in_place: whether to write the new state over this one.

    Returns:
        y (batch, d_inner), and the state after this step.
    """
    from minimamba.ops import decode_kernels

    y = torch.empty_like(x, memory_format=torch.contiguous_format)
    new_state = _output_state(ssm_state, in_place)
    d_inner, d_state = A_log.shape
    z_strides = (0, 0) if z is None else z.stride()
    with torch.cuda.device_of(x):
        decode_kernels.scan_step[_grid(x)](
            x, dt, A_log, B, C, D, z, dt_bias, ssm_state.contiguous(), new_state, y, *x.stride(),
            *dt.stride(), *B.stride(), *C.stride(), *z_strides, d_inner=d_inner, d_state=d_state,
            N=1 << (d_state - 1).bit_length(), BLOCK=BLOCK, num_warps=1)
    return y, (_write_back(ssm_state, new_state) if in_place else new_state)


def add_rms_norm(hidden_states: Tensor, residual: Tensor, weight: Tensor,
                 epsilon: float) -> tuple[Tensor, Tensor]:
    """Add to the residual stream, and compute the RMS norm of the sum.

    Args:
        hidden_states: (batch, d_model), what is added.
        residual: (batch, d_model), the residual stream.
        weight: (d_model,), the weight of the norm.
        epsilon: added to the mean square.

    Returns:
        The norm, in weight's dtype, and the sum, in residual's, both (batch, d_model).
    """
    from minimamba.ops import decode_kernels

    d_model = residual.shape[1]
    total = torch.empty_like(residual)
    normed = torch.empty_like(residual, dtype=weight.dtype)
    with torch.cuda.device_of(residual):
        decode_kernels.add_rms_norm[len(residual),](
            residual, hidden_states, weight, total, normed, epsilon, d_model=d_model,
            BLOCK=1 << (d_model - 1).bit_length())
    return normed, total


def _grid(x: Tensor) -> tuple[int]:
    """The programs for (batch, d_inner)."""
    batch, d_inner = x.shape
    return (batch * -(-d_inner // BLOCK),)


def _output_state(state: Tensor, in_place: bool) -> Tensor:
    """What a kernel writes to: the state itself only if it is contiguous."""
    if in_place and state.is_contiguous():
        return state
    return torch.empty_like(state, memory_format=torch.contiguous_format)


def _write_back(state: Tensor, new_state: Tensor) -> Tensor:
    return state if new_state is state else state.copy_(new_state)
