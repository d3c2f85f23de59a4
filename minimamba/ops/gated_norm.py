"""The gated RMS norm of a Mamba-2 block (Dao and Gu 2024, arXiv:2405.21060, section 7.1).

    weight · norm(x · silu(z))     or, with the norm before the gate,     weight · norm(x) · silu(z)

Here norm divides by the root of the mean square, of all features or of those of each group. On an
NVIDIA GPU it is one Triton kernel forward and one backward, which read x and z once and where they
lie; in PyTorch it is five passes over tensors in float32. Elsewhere it is these.
"""

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import rms_norm, silu

from minimamba.ops import causal_conv1d
from minimamba.ops.launch import LAUNCHES, Launcher, dtypes_of
from minimamba.ops.operator import differentiable
from minimamba.ops.rows import in_rows

MAX_SIZE = 2**14
"""Features of a group up to which there are kernels: a program keeps them in registers."""
MAX_PROGRAMS = 2**31 - 1
"""CUDA's limit to the first side of a grid."""
ROWS = 16
"""Rows that one program of the backward kernel computes: more leave a GPU empty, fewer give more
parts of the weight's gradient to add up."""
FEATURES_PER_WARP = 512
MAX_WARPS = 16


def gated_rms_norm(x: Tensor, z: Tensor, weight: Tensor, n_groups: int, norm_before_gate: bool,
                   epsilon: float) -> Tensor:
    """Normalize x and multiply it by its gate, in float32 at least.

    Args:
        x: (…, d).
        z: (…, d), the gate.
        weight: (d,).
        n_groups: how many groups of d / n_groups neighboring features are normalized each for
            itself.
        norm_before_gate: whether the gate comes after the norm.
        epsilon: added to the mean square.

    Returns:
        (…, d), in x's dtype.
    """
    if (causal_conv1d.can_use_kernels(x) and len(weight) // n_groups <= MAX_SIZE
            and x.numel() // len(weight) * n_groups <= MAX_PROGRAMS):
        return _apply(x, z, weight, n_groups, norm_before_gate, epsilon)
    wide = torch.promote_types(x.dtype, torch.float32)
    y = x.to(wide)
    gate = silu(z.to(wide))
    if not norm_before_gate:
        y = y * gate
    by_group = y.unflatten(-1, (n_groups, -1))
    y = rms_norm(by_group, by_group.shape[-1:], eps=epsilon).flatten(-2) * weight
    return (y * gate if norm_before_gate else y).to(x.dtype)


def forward_pass(x: Tensor, z: Tensor, weight: Tensor, n_groups: int, norm_before_gate: bool,
                 epsilon: float) -> Tensor:
    """Compute `gated_rms_norm` by the kernel.

    Args:
        x: (…, d).
        z: (…, d).
        weight: (d,).
        n_groups: the number of groups.
        norm_before_gate: whether the gate comes after the norm.
        epsilon: added to the mean square.

    Returns:
        (…, d), in x's dtype, contiguous.
    """
    x, x_row = in_rows(x)
    z, z_row = in_rows(z)
    launch = _launcher("forward", x.shape, (x_row, z_row), n_groups, norm_before_gate, epsilon,
                       x.device, dtypes_of(x, z, weight))
    y = torch.empty_like(x, memory_format=torch.contiguous_format)
    launch(x, z, weight.contiguous(), y)
    return y


def backward_pass(x: Tensor, z: Tensor, weight: Tensor, n_groups: int, norm_before_gate: bool,
                  epsilon: float, dy: Tensor) -> list[Tensor]:
    """Compute the gradients of `forward_pass` by the kernel.

    Args:
        x: (…, d), what `forward_pass` was given, and so are those up to `epsilon`.
        z: (…, d).
        weight: (d,).
        n_groups: the number of groups.
        norm_before_gate: whether the gate comes after the norm.
        epsilon: added to the mean square.
        dy: (…, d), the gradient of the result.

    Returns:
        The gradients of x, z and weight.
    """
    dz = torch.empty_like(z, memory_format=torch.contiguous_format)
    dx, d_weight = backward_into(dz, None, x, z, weight, n_groups, norm_before_gate, epsilon, dy)
    return [dx, dz, d_weight]


def backward_into(dz: Tensor, y_again: Tensor | None, x: Tensor, z: Tensor, weight: Tensor,
                  n_groups: int, norm_before_gate: bool, epsilon: float,
                  dy: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the gradients as `backward_pass` does, and write some results to given tensors.

    Args:
        dz: (…, d), receives the gradient of z; laid out `in_rows`, such as a slice of features.
        y_again: (…, d), contiguous, receives the result of `forward_pass`; not computed if None.
        x: as for `backward_pass`, and so are those after it.
        z: (…, d).
        weight: (d,).
        n_groups: the number of groups.
        norm_before_gate: whether the gate comes after the norm.
        epsilon: added to the mean square.
        dy: (…, d), the gradient of the result.

    Returns:
        The gradients of x and weight.
    """
    x, x_row = in_rows(x)
    z, z_row = in_rows(z)
    dy, dy_row = in_rows(dy)
    _, dz_row = in_rows(dz)
    launch = _launcher("backward", x.shape, (x_row, z_row, dy_row, dz_row), n_groups,
                       norm_before_gate, epsilon, x.device,
                       dtypes_of(x, z, weight, dy, dz, y_again))
    dx = torch.empty_like(x, memory_format=torch.contiguous_format)
    sums = x.new_empty(_blocks(x.shape), len(weight), dtype=torch.float32)
    launch(x, z, weight.contiguous(), dy, dx, dz, sums, y_again)
    return dx, sums.sum(0).to(weight.dtype)


@lru_cache(maxsize=LAUNCHES)
def _launcher(name: str, shape: torch.Size, row_strides: tuple[int, ...], n_groups: int,
              norm_before_gate: bool, epsilon: float, device: torch.device,
              dtypes: tuple) -> Launcher:
    """The launcher of a kernel. The last two arguments decide which code Triton compiles."""
    from minimamba.ops import gated_norm_kernels

    size = shape[-1] // n_groups
    block = 1 << (size - 1).bit_length()
    constants = {"rows": _rows(shape), "groups": n_groups, "SIZE": size, "BLOCK": block,
                 "ROWS": ROWS, "EPSILON": epsilon, "NORM_FIRST": norm_before_gate,
                 **dict(zip(("x_row", "z_row", "dy_row", "dz_row"), row_strides, strict=False))}
    programs = _rows(shape) if name == "forward" else _blocks(shape)
    return Launcher(getattr(gated_norm_kernels, name), (programs * n_groups, 1, 1), constants,
                    num_warps=min(max(block // FEATURES_PER_WARP, 1), MAX_WARPS))


def _rows(shape: torch.Size) -> int:
    return shape[:-1].numel()


def _blocks(shape: torch.Size) -> int:
    """Blocks of rows, each for one program of the backward kernel."""
    return -(-_rows(shape) // ROWS)


def _save(ctx, inputs, output):
    x, z, weight, *ctx.options = inputs
    ctx.save_for_backward(x, z, weight)


def _gradients(backward, ctx, dy):
    return *backward(*ctx.saved_tensors, *ctx.options, dy), None, None, None


def _fake(x, z, weight, n_groups, norm_before_gate, epsilon):
    return x.new_empty(x.shape)


def _fake_backward(x, z, weight, n_groups, norm_before_gate, epsilon, dy):
    return [t.new_empty(t.shape) for t in (x, z, weight)]


_apply = differentiable("gated_rms_norm", forward_pass, backward_pass, save=_save,
                        gradients=_gradients, fake=_fake, fake_backward=_fake_backward,
                        instead="Compute this norm on a CPU, or in float64.")
