"""The official package's call, as a drop-in: `mamba_ssm.ops.selective_scan_interface`.

    from minimamba.compat import selective_scan_fn

The official layout is (batch, channels, length), the library's (batch, length, channels); this
file alone speaks the former. Hugging Face's Mamba (transformers 5) runs on this scan after

    from transformers.models.mamba import modeling_mamba
    modeling_mamba.mamba_selective_scan = (
        lambda *a, use_mambapy=0, use_associative_scan=0, **k: selective_scan_fn(*a, **k))
"""

import torch
from torch import Tensor

from minimamba.arguments import check_shape, refuse, shape_of
from minimamba.scan import selective_scan


def selective_scan_fn(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor,
                      D: Tensor | None = None, z: Tensor | None = None,
                      delta_bias: Tensor | None = None, delta_softplus: bool = False,
                      return_last_state: bool = False) -> Tensor | tuple[Tensor, Tensor]:
    """The selective scan (Gu and Dao 2023, arXiv:2312.00752, algorithm 2) in the official layout.

    Args:
        u, delta, z: (batch, channels, length). A: (channels, d_state), real.
        B, C: (channels, d_state), the same at every step; (batch, d_state, length); or
            (batch, groups, d_state, length).
        D, delta_bias: (channels,).
        delta_softplus, return_last_state: as in `minimamba.selective_scan`.

    Returns:
        y (batch, channels, length) in u's dtype; with `return_last_state`, (y, last_state), the
        latter (batch, channels, d_state).

    Raises:
        ValueError: naming the argument, what was expected and what came.
    """
    if not isinstance(u, Tensor) or u.ndim != 3:
        refuse("u", "a torch.Tensor of shape (batch, channels, length)",
               shape_of(u) if isinstance(u, Tensor) else type(u).__name__)
    if isinstance(A, Tensor) and A.is_complex():
        refuse("A", "a real A: the complex form of the official package has no counterpart here",
               str(A.dtype).removeprefix("torch."))
    batch, channels, length = u.shape
    for name, part in (("delta", delta), ("z", z)):
        if part is not None:
            check_shape(name, part, (batch, channels, length), "(batch, channels, length)")
    x, delta, z = (part if part is None else part.mT for part in (u, delta, z))
    B, C = (_by_step(name, part, u) for name, part in (("B", B), ("C", C)))
    result = selective_scan(x, delta, A, B, C, D, z, delta_bias=delta_bias,
                            delta_softplus=delta_softplus, return_last_state=return_last_state)
    return (result[0].mT, result[1]) if return_last_state else result.mT


def _by_step(name: str, part: Tensor, u: Tensor) -> Tensor:
    """(batch, length, groups, d_state) from any of the three official shapes."""
    batch, channels, length = u.shape
    if not isinstance(part, Tensor) or part.ndim not in (2, 3, 4):
        refuse(name, "shape (channels, d_state), (batch, d_state, length) or "
               "(batch, groups, d_state, length)",
               shape_of(part) if isinstance(part, Tensor) else type(part).__name__)
    if part.ndim == 2:
        # One vector a channel for all steps: every channel is a group of its own.
        check_shape(name, part, (channels, part.shape[1]), "(channels, d_state)")
        return part.to(torch.promote_types(part.dtype, torch.float32)).expand(
            batch, length, *part.shape)
    return (part if part.ndim == 4 else part[:, None]).permute(0, 3, 1, 2)
