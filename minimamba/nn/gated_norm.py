"""The norm of a Mamba-2 block, with its gate, as a layer."""

import torch
from torch import Tensor, nn

from minimamba.ops.gated_norm import gated_rms_norm


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
        return gated_rms_norm(x, z, self.weight, self.n_groups, self.norm_before_gate, self.eps)
