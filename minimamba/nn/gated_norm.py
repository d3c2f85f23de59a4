"""The norm of a Mamba-2 block, with its gate (Dao and Gu 2024, arXiv:2405.21060, section 7.1).

    weight · norm(x · silu(z))     or, with the norm before the gate,     weight · norm(x) · silu(z)

Here norm divides by the root of the mean square, of all features or of those of each group.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import rms_norm, silu


class GatedRMSNorm(nn.Module):
    """An RMS norm by groups of features, beside a gate.

    Args:
        d: the number of features.
        n_groups: how many groups of d / n_groups neighboring features are normalized each for
            itself, so that heads of different groups can be on different GPUs.
        norm_before_gate: whether the gate comes after the norm.
        eps: added to the mean square.
        device: where the weight is created.
        dtype: that of the weight.
    """

    def __init__(self, d: int, n_groups: int = 1, *, norm_before_gate: bool = False,
                 eps: float = 1e-5, device: torch.device | str | None = None,
                 dtype: torch.dtype | None = None) -> None:
        super().__init__()
        self.n_groups = n_groups
        self.norm_before_gate = norm_before_gate
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(d, device=device, dtype=dtype))

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        """Normalize x and multiply it by its gate, in float32 at least.

        Args:
            x: (…, d).
            z: (…, d), the gate.

        Returns:
            (…, d), in x's dtype.
        """
        wide = torch.promote_types(x.dtype, torch.float32)
        y = x.to(wide)
        gate = silu(z.to(wide))
        if not self.norm_before_gate:
            y = y * gate
        by_group = y.unflatten(-1, (self.n_groups, -1))
        y = rms_norm(by_group, by_group.shape[-1:], eps=self.eps).flatten(-2) * self.weight
        return (y * gate if self.norm_before_gate else y).to(x.dtype)
