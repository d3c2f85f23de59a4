"""The decoding step on an NVIDIA GPU: five Triton kernels in place of some thirty of PyTorch's.

They compute no gradients; where those are needed, and anywhere else, the callers do the same in
PyTorch. Half precision is computed in float32 and rounded where PyTorch would round.

A step is so short that the start and the end of each kernel count: hence few kernels, each of
which begins while the one before it ends.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from minimamba.ops import causal_conv1d
from minimamba.ops.launch import can_overlap
from minimamba.ops.linear import is_plain, linear_layer


class Tile(NamedTuple):
    """What one program of a kernel computes."""

    sequences: int
    channels: int
    warps: int


# For the 130M model on an H200, the fastest of some ten each at batch sizes 1, 32 and 128.
CONV_TILES = {1: Tile(1, 64, 4), 8: Tile(16, 64, 4), 32: Tile(32, 64, 4), 64: Tile(16, 256, 8)}
"""The tiles of `conv_step`, by the smallest batch that they are for: of one sequence each, or of a
multiple of 16, for tensor cores. Fewer channels where x_proj's weight would not fit."""
MAX_WEIGHT_BYTES = 64 * 1024
"""Bytes of x_proj's weight that a program of `conv_step` has at once."""
SCAN_TILES = {1: Tile(1, 32, 4), 8: Tile(1, 32, 1), 64: Tile(4, 64, 2)}
"""The tiles of `scan_step`. Those of several sequences are for half precision, with up to
MAX_TILE_STATES states per channel and MAX_TILE_PARTS parts of x_proj's product."""
MAX_TILE_STATES = 16
"""States of a channel up to which several sequences fit into registers."""
MAX_TILE_PARTS = 8
"""Parts up to which adding them up for several sequences takes few instructions."""
# The state is read and written once, in float32, 1.6 MB per layer and sequence of a 130M model: at
# large batches this bounds a step, for all else is small beside it.
SSD_TILES = {1: Tile(1, 4, 1), 8: Tile(1, 8, 4)}
"""The tiles of `ssd_step` with 128 states per channel; with others, as large as with 128."""
MAX_STATES = 256
"""The largest state dimension of `ssd_step`, one program of which has all states of a channel."""
MAX_FOLDED_BATCH = 128
"""Up to this batch, x_proj is a part of `conv_step`, and dt_proj of `scan_step`; beyond, cuBLAS is
faster."""
MAX_FOLDED_BATCH_BY_ONE = 96
"""The same where a program of `scan_step` computes one sequence."""
MATVEC_ROWS = 4
"""Outputs of a linear layer that one program of `matvec` computes."""
MATVEC_COLUMNS = 256
"""Columns of the weight that it loads at once."""
MATVEC_WARPS = 4
MAX_MATVEC_BATCH = 4
"""Up to this batch, `matvec` takes the place of cuBLAS for in_proj and out_proj."""
MAX_MATVEC_INPUTS = 2048
"""Inputs of a linear layer up to which it fits into registers."""
SMALLEST_SIDE = 16
"""Rows or columns of the smallest matrix that tensor cores multiply."""
MAX_FEATURES = 128
"""Outputs of x_proj that a program of `conv_step` computes at once."""
MAX_RANKS = 64
"""Inputs of dt_proj that a program of `scan_step` multiplies at once."""
MAX_CHANNELS = 2**20
"""Channels of an input: CUDA allows 65,535 programs along the second side of a grid."""
OVERLAP = True
"""Whether a kernel begins while the one before it ends, on GPUs that can do this."""


def can_use_kernels(x: Tensor) -> bool:
    """Say whether the kernels can be used for this input, and nothing needs a gradient.

    Args:
        x: the input of the step.
    """
    return (causal_conv1d.can_use_kernels(x) and x.shape[-1] <= MAX_CHANNELS
            and not torch.is_grad_enabled() and not torch.compiler.is_compiling())


def can_fold_projections(x: Tensor, features: int, d_state: int) -> bool:
    """Say whether it is faster to compute x_proj in `conv_step`, and dt_proj in `scan_step`.

    Args:
        x: (batch, d_inner), the input of the step.
        features: outputs of x_proj.
        d_state: the state dimension.
    """
    batch, d_inner = x.shape
    parts = -(-d_inner // _conv_tile(batch, features, x.dtype).channels)
    by_one = _scan_tile(batch, d_state, parts, x.dtype).sequences == 1
    return batch <= (MAX_FOLDED_BATCH_BY_ONE if by_one else MAX_FOLDED_BATCH)


def conv_step(x: Tensor, weight: Tensor, bias: Tensor | None, conv_state: Tensor, *,
              in_place: bool, x_proj: Tensor | None = None,
              preload: bool = False) -> tuple[Tensor, Tensor | None, Tensor]:
    """Compute the SiLU of the causal convolution at one step, and a linear layer of it.

    Args:
        x: (batch, d_inner), each row contiguous.
        weight: (d_inner, d_conv).
        bias: (d_inner,), or None.
        conv_state: (batch, d_conv − 1, d_inner), the inputs before x, oldest first.
        in_place: whether to write the new conv_state over this one.
        x_proj: (features, d_inner), the weight of the linear layer, in x's dtype; none if None.
        preload: whether the last kernel that was launched writes neither weights nor conv_state,
            so that these can be read while it runs.

    Returns:
        y (batch, d_inner); x_proj's product in parts (parts, batch, features), float32, whose sum
        it is, or None; and the conv_state after this step.
    """
    from minimamba.ops import decode_kernels

    batch, d_inner = x.shape
    features = 0 if x_proj is None else len(x_proj)
    tile = _conv_tile(batch, features, x.dtype)
    grid = -(-batch // tile.sequences), -(-d_inner // tile.channels)
    y = torch.empty_like(x, memory_format=torch.contiguous_format)
    projected = None
    if x_proj is not None:
        x_proj = x_proj.contiguous()
        projected = x.new_empty(grid[1], batch, features, dtype=torch.float32)
    new_state = _output_state(conv_state, in_place)
    with torch.cuda.device_of(x):
        decode_kernels.conv_step[grid](
            x, weight.contiguous(), bias, conv_state.contiguous(), new_state, y, x_proj, projected,
            x.stride(0), batch, d_inner, features=features, WIDTH=weight.shape[1],
            SEQUENCES=tile.sequences, BLOCK=tile.channels,
            FEATURES=min(_padded(features), MAX_FEATURES), num_warps=tile.warps,
            **_overlap(x, preload))
    return y, projected, (_write_back(conv_state, new_state) if in_place else new_state)


def scan_step(x: Tensor, dt: Tensor, A_log: Tensor, B: Tensor, C: Tensor, D: Tensor,
              z: Tensor | None, dt_bias: Tensor, ssm_state: Tensor, *, in_place: bool,
              dt_weight: Tensor | None = None, preload: bool = False) -> tuple[Tensor, Tensor]:
    """Compute one step of the selective scan.

    dt, B and C may be given in parts, with an axis of these before the others: they are summed,
    and rounded to x's dtype.

    Args:
        x: (batch, d_inner).
        dt: (batch, d_inner), Δ before its bias and softplus; (batch, dt_rank) with `dt_weight`.
        A_log: (d_inner, d_state), where A = −exp(A_log).
        B: (batch, d_state).
        C: (batch, d_state).
        D: (d_inner,).
        z: (batch, d_inner), the gate; none if None.
        dt_bias: (d_inner,).
        ssm_state: (batch, d_inner, d_state), float32.
        in_place: whether to write the new state over this one.
        dt_weight: (d_inner, dt_rank), which dt is multiplied by first; not at all if None.
        preload: whether the last kernel that was launched writes neither weights nor ssm_state,
            so that these can be read while it runs.

    Returns:
        y (batch, d_inner), and the state after this step.
    """
    from minimamba.ops import decode_kernels

    batch, d_inner = x.shape
    d_state = A_log.shape[1]
    dt_rank = 0 if dt_weight is None else dt_weight.shape[1]
    dt, B, C = (given if given.ndim == 3 else given[None] for given in (dt, B, C))
    tile = _scan_tile(batch, d_state, len(B), x.dtype)
    y = torch.empty_like(x, memory_format=torch.contiguous_format)
    new_state = _output_state(ssm_state, in_place)
    z_strides = (0, 0) if z is None else z.stride()
    grid = -(-batch // tile.sequences), -(-d_inner // tile.channels)
    with torch.cuda.device_of(x):
        decode_kernels.scan_step[grid](
            x, dt, A_log, B, C, D, z, dt_bias,
            None if dt_weight is None else dt_weight.contiguous(), ssm_state.contiguous(),
            new_state, y, *x.stride(), *dt.stride(), *B.stride(), *C.stride(), *z_strides, batch,
            d_inner, len(B), d_state=d_state, dt_rank=dt_rank, N=_power_of_two(d_state),
            PARTS=_power_of_two(len(B)), RANKS=min(_padded(dt_rank), MAX_RANKS),
            SEQUENCES=tile.sequences, BLOCK=tile.channels, num_warps=tile.warps,
            **_overlap(x, preload))
    return y, (_write_back(ssm_state, new_state) if in_place else new_state)


def ssd_step(x: Tensor, dt: Tensor, A_log: Tensor, B: Tensor, C: Tensor, D: Tensor,
             z: Tensor | None, dt_bias: Tensor, ssm_state: Tensor, *,
             dt_limit: tuple[float, float], in_place: bool,
             preload: bool = False) -> tuple[Tensor, Tensor]:
    """Compute one step of Mamba-2's scan.

    Each sequence's part of x, dt, B, C and z is contiguous, and these parts may lie apart.

    Args:
        x: (batch, n_heads, head_dim).
        dt: (batch, n_heads), Δ before its bias and softplus.
        A_log: (n_heads,), where A = −exp(A_log).
        B: (batch, n_groups, d_state); neighboring heads share a group.
        C: (batch, n_groups, d_state).
        D: (n_heads,) or (n_heads, head_dim).
        z: (batch, n_heads, head_dim), the gate; none if None.
        dt_bias: (n_heads,).
        ssm_state: (batch, n_heads, head_dim, d_state), float32, with d_state up to MAX_STATES.
        dt_limit: the smallest and the largest Δ; smaller and larger ones become these.
        in_place: whether to write the new state over this one.
        preload: whether the last kernel that was launched writes neither weights nor ssm_state,
            so that these can be read while it runs.

    Returns:
        y (batch, n_heads, head_dim), and the state after this step.
    """
    from minimamba.ops import decode_kernels

    batch, n_heads, head_dim, d_state = ssm_state.shape
    N = _power_of_two(d_state)
    tile = _tile_for(batch, SSD_TILES)
    block = min(tile.channels * 128 // N, _power_of_two(head_dim))
    y = torch.empty_like(x, memory_format=torch.contiguous_format)
    new_state = _output_state(ssm_state, in_place)
    with torch.cuda.device_of(x):
        decode_kernels.ssd_step[batch * n_heads * -(-head_dim // block),](
            x, dt, A_log, B, C, D, z, dt_bias, ssm_state.contiguous(), new_state, y,
            x.stride(0), dt.stride(0), B.stride(0), C.stride(0), 0 if z is None else z.stride(0),
            *map(float, dt_limit), n_heads=n_heads, n_groups=B.shape[1], head_dim=head_dim,
            d_state=d_state, D_PER_HEAD=D.ndim == 1, N=N, BLOCK=block, num_warps=tile.warps,
            **_overlap(x, preload))
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
            BLOCK=_power_of_two(d_model), **_overlap(residual, True))
    return normed, total


def linear_step(layer: nn.Module, x: Tensor, *, preload: bool = False) -> Tensor:
    """Apply a linear layer, by a kernel made for few rows of x where it has few.

    Args:
        layer: an `nn.Linear`, or what has replaced it, which is called.
        x: (batch, layer.in_features).
        preload: whether the last kernel that was launched does not write the weight, so that it
            can be read while that one runs.

    Returns:
        (batch, layer.out_features), contiguous.

    Raises:
        ValueError: if x and the weight differ in dtype, but for autocast.
    """
    from minimamba.ops import decode_kernels

    if not (len(x) <= MAX_MATVEC_BATCH and is_plain(layer) and x.dtype == layer.weight.dtype
            and layer.in_features <= MAX_MATVEC_INPUTS and can_use_kernels(x)
            and not torch.is_autocast_enabled(x.device.type)):
        return linear_layer(layer, x).contiguous()
    outputs, inputs = layer.weight.shape
    y = x.new_empty(len(x), outputs)
    with torch.cuda.device_of(x):
        decode_kernels.matvec[-(-outputs // MATVEC_ROWS), len(x)](
            x.contiguous(), layer.weight.contiguous(), layer.bias, y, outputs, inputs=inputs,
            ROWS=MATVEC_ROWS, COLUMNS=min(_power_of_two(inputs), MATVEC_COLUMNS), PRELOAD=preload,
            num_warps=MATVEC_WARPS, **_overlap(x, True))
    return y


def _tile_for(batch: int, tiles: dict[int, Tile]) -> Tile:
    return tiles[max(smallest for smallest in tiles if smallest <= max(batch, 1))]


def _conv_tile(batch: int, features: int, dtype: torch.dtype) -> Tile:
    """The tile of `conv_step`, with as many channels as x_proj's weight leaves room for."""
    tile = _tile_for(batch, CONV_TILES)
    at_once = min(_padded(features), MAX_FEATURES)
    weight_bytes = -(-features // at_once) * at_once * dtype.itemsize
    channels = tile.channels
    while channels * weight_bytes > MAX_WEIGHT_BYTES and channels > SMALLEST_SIDE:
        channels //= 2
    return tile._replace(channels=channels)


def _scan_tile(batch: int, d_state: int, parts: int, dtype: torch.dtype) -> Tile:
    fit_several = dtype.itemsize == 2 and d_state <= MAX_TILE_STATES and parts <= MAX_TILE_PARTS
    return _tile_for(batch, {smallest: tile for smallest, tile in SCAN_TILES.items()
                             if tile.sequences == 1 or fit_several})


def _power_of_two(size: int) -> int:
    """The size, or the next power of two."""
    return 1 << max(size - 1, 0).bit_length()


def _padded(size: int) -> int:
    """The size of a matrix's side, filled up for tensor cores."""
    return max(_power_of_two(size), SMALLEST_SIDE)


def _overlap(x: Tensor, allowed: bool) -> dict[str, bool]:
    """The options of a launch that may overlap with the one before it, if the GPU can do this."""
    overlaps = OVERLAP and allowed and can_overlap(x.device)
    return {"OVERLAP": overlaps, "launch_pdl": overlaps}


def _output_state(state: Tensor, in_place: bool) -> Tensor:
    """What a kernel writes to: the state itself only if it is contiguous."""
    if in_place and state.is_contiguous():
        return state
    return torch.empty_like(state, memory_format=torch.contiguous_format)


def _write_back(state: Tensor, new_state: Tensor) -> Tensor:
    return state if new_state is state else state.copy_(new_state)
