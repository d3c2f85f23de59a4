"""S4's block as a mixer: an SSM along time, then a gated linear layer across the features."""

from typing import Literal, overload

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, glu

from minimamba.arguments import as_bool_mask, check_bool, check_count, check_state, refuse
from minimamba.nn.mixer import check_cache_type, check_input, check_step_input
from minimamba.nn.s6 import S6
from minimamba.ops.linear import linear_layer, weight_of
from minimamba.s4.layers import S4D


class S4Block(nn.Module):
    """GLU(out_proj(GELU(SSM(x)))), the block of S4, around S4D or S6.

    Args:
        ssm: an `S4D` or an `S6` with d_model channels.
        d_model: the number of features.

    Raises:
        ValueError: for another kind of SSM, or one of another number of channels.
    """

    def __init__(self, ssm: S4D | S6, d_model: int) -> None:
        super().__init__()
        check_count("d_model", d_model)
        if not isinstance(ssm, (S4D, S6)) or len(ssm.D) != d_model:
            refuse("ssm", f"an S4D or an S6 with {d_model} channels",
                   f"{len(ssm.D)} channels" if isinstance(ssm, (S4D, S6)) else type(ssm).__name__)
        self.d_model = d_model
        self.ssm = ssm
        self.out_proj = nn.Linear(d_model, 2 * d_model)

    def init_cache(self, batch: int) -> Tensor:
        """Create the SSM's state before the first step: zeros.

        Args:
            batch: the number of sequences.
        """
        return self.ssm.init_cache(batch)

    @overload
    def forward(self, x: Tensor, cache: Tensor | None = None, *,
                attention_mask: Tensor | None = None,
                return_cache: Literal[False] = False) -> Tensor: ...
    @overload
    def forward(self, x: Tensor, cache: Tensor | None = None, *,
                attention_mask: Tensor | None = None,
                return_cache: Literal[True]) -> tuple[Tensor, Tensor]: ...
    def forward(self, x, cache=None, *, attention_mask=None, return_cache=False):
        """Process all steps at once.

        Args:
            x: (batch, length, d_model).
            cache: the SSM's state before the first step; zeros if None.
            attention_mask: (batch, length), bool or integer: 1 or True where there is a token, 0
                at padding, which stands to the left and leaves the state as it is.
            return_cache: whether to return the state after the last step too.

        Returns:
            (batch, length, d_model); with `return_cache`, a pair of that and the state.
        """
        check_input(x, self.d_model, weight_of(self.out_proj))
        check_bool("return_cache", return_cache)
        if cache is not None:
            self._check_cache(cache, len(x))
        if attention_mask is not None:
            attention_mask = as_bool_mask(attention_mask, *x.shape[:2], x.device)
        # S4D sees to that itself; here an S6 is spared too.
        with torch.autocast(x.device.type, enabled=False):
            y = self.ssm(x, cache, attention_mask=attention_mask, return_cache=return_cache)
        if not return_cache:
            return self._mix_features(y)
        y, cache = y
        return self._mix_features(y), cache

    def step(self, x: Tensor, cache: Tensor) -> tuple[Tensor, Tensor]:
        """Process one step.

        Args:
            x: (batch, d_model).
            cache: the SSM's state before it; it is not changed.

        Returns:
            The output (batch, d_model), and the state after this step.
        """
        check_step_input(x, self.d_model, weight_of(self.out_proj))
        self._check_cache(cache, len(x))
        with torch.autocast(x.device.type, enabled=False):
            y, cache = self.ssm.step(x, cache)
        return self._mix_features(y), cache

    def _check_cache(self, cache: Tensor, batch: int) -> None:
        check_cache_type(cache, Tensor, "a torch.Tensor")
        A = self.ssm.A
        check_state("cache", cache, (batch, *A.shape), "that of init_cache(batch)", A)

    def _mix_features(self, y: Tensor) -> Tensor:
        return glu(linear_layer(self.out_proj, gelu(y)), -1)
