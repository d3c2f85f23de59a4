"""A layer of a language model: a mixer with a norm before it and a residual connection around it.

    x + mixer(RMSNorm(x))
"""

import torch
from torch import Tensor, nn

from minimamba.arguments import (
    check_bool,
    check_count,
    check_features,
    check_positive,
    check_shape,
    refuse,
)
from minimamba.nn.attention import KVCache
from minimamba.nn.lstm import LSTMCache
from minimamba.nn.mamba import Mamba, MambaCache
from minimamba.nn.mamba2 import Mamba2, Mamba2Cache
from minimamba.nn.mixer import Mixer
from minimamba.ops import decode
from minimamba.ops.linear import is_plain
from minimamba.ops.pre_norm import can_use_pre_norm, pre_norm

LayerCache = MambaCache | Mamba2Cache | KVCache | LSTMCache | Tensor | tuple[()]
"""The cache of one layer: which of these depends on its mixer."""


class Layer(nn.Module):
    """x + mixer(RMSNorm(x)), the pre-norm residual layer of Mamba and of most Transformers.

    Args:
        mixer: a module with the interface of `Mixer`.
        d_model: the number of features.
        norm_epsilon: added to the mean square inside the norm.
        residual_in_fp32: whether the residual stream is kept in float32, whatever the dtype of
            the parameters.

    Raises:
        ValueError: for a mixer that is no module, or a number that is not positive.
    """

    def __init__(self, mixer: Mixer, d_model: int, *, norm_epsilon: float = 1e-5,
                 residual_in_fp32: bool = True) -> None:
        super().__init__()
        if not isinstance(mixer, nn.Module) or not isinstance(mixer, Mixer):
            refuse("mixer", "a module with the interface of Mixer", type(mixer).__name__)
        check_count("d_model", d_model)
        check_positive("norm_epsilon", norm_epsilon, "a number")
        check_bool("residual_in_fp32", residual_in_fp32)
        self.norm = nn.RMSNorm(d_model, norm_epsilon)
        self.mixer = mixer
        self.residual_in_fp32 = residual_in_fp32

    def forward(self, x: Tensor, cache: LayerCache | None = None, *,
                attention_mask: Tensor | None = None,
                return_cache: bool = False) -> Tensor | tuple[Tensor, LayerCache]:
        """Process all steps at once.

        Args:
            x: (batch, length, d_model), the residual stream.
            cache: what an earlier call returned for the steps before x; None at the start.
            attention_mask: (batch, length), 1 or True where there is a token; None: everywhere.
            return_cache: whether to return the cache after the last step too.

        Returns:
            (batch, length, d_model); with `return_cache`, a pair of that and the cache.

        Raises:
            ValueError: naming the argument, what was expected and what was given.
        """
        self._check("x", x, "batch, length")
        check_bool("return_cache", return_cache)
        normed, x = self._pre_norm(x)
        y = self.mixer(normed, cache, attention_mask=attention_mask, return_cache=return_cache)
        if not return_cache:
            return self._residual(x) + y
        y, cache = y
        return self._residual(x) + y, cache

    def step(self, hidden_states: Tensor, residual: Tensor,
             cache: LayerCache) -> tuple[Tensor, Tensor, LayerCache]:
        """Process one step, with the addition before it fused into the norm.

        As in the official code, a layer adds the output of the one before it to the residual
        stream, so that the addition and the norm can be one kernel.

        Args:
            hidden_states: (batch, d_model), the output of the layer before.
            residual: (batch, d_model), the residual stream before that is added.
            cache: the cache before this step; it is not changed.

        Returns:
            This mixer's output, the residual stream it is to be added to, and the new cache.

        Raises:
            ValueError: naming the argument, what was expected and what was given.
        """
        self._check("hidden_states", hidden_states, "batch")
        self._check("residual", residual, "batch")
        check_shape("residual", residual, tuple(hidden_states.shape), "that of hidden_states")
        normed, residual = add_norm(self.norm, hidden_states, self._residual(residual))
        hidden_states, cache = self.mixer.step(normed, cache)
        return hidden_states, residual, cache

    def step_(self, hidden_states: Tensor, residual: Tensor,
              cache: LayerCache) -> tuple[Tensor, Tensor]:
        """Process one step and write the new cache over the old one.

        Args:
            hidden_states: (batch, d_model), the output of the layer before.
            residual: (batch, d_model), the residual stream before that is added.
            cache: the cache before this step, and afterwards that after it.

        Returns:
            This mixer's output, and the residual stream it is to be added to.

        Raises:
            ValueError: naming the argument, what was expected and what was given.
        """
        self._check("hidden_states", hidden_states, "batch")
        self._check("residual", residual, "batch")
        check_shape("residual", residual, tuple(hidden_states.shape), "that of hidden_states")
        normed, residual = add_norm(self.norm, hidden_states, self._residual(residual))
        return self.mixer.step_(normed, cache), residual

    def _check(self, name: str, x: Tensor, axes: str) -> None:
        weight = self.norm.weight
        check_features(name, x, axes, weight.shape[0], weight, any_dtype=True)

    def _pre_norm(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The norm of the residual stream, and x itself."""
        norm = self.norm
        dtype = norm.weight.dtype
        # These blocks, too, have gradients written by hand on a GPU, without second derivatives.
        if type(self.mixer) in (Mamba, Mamba2) and can_use_pre_norm(x, norm):
            if torch.is_autocast_enabled(x.device.type) and is_plain(self.mixer.in_proj):
                dtype = torch.get_autocast_dtype(x.device.type)  # to which in_proj would round it
            return pre_norm(x, norm.weight, norm.eps, dtype)
        return norm(x.to(dtype)), x

    def _residual(self, x: Tensor) -> Tensor:
        """x in the dtype of the residual stream."""
        if self.residual_in_fp32:
            return x.to(torch.promote_types(x.dtype, torch.float32))
        return x


def add_norm(norm: nn.RMSNorm, hidden_states: Tensor, residual: Tensor) -> tuple[Tensor, Tensor]:
    """Add to the residual stream and normalize the sum.

    Args:
        norm: an RMS norm of d_model features.
        hidden_states: (batch, d_model), what is added.
        residual: (batch, d_model), the residual stream.

    Returns:
        The norm of the sum, in the dtype of the norm's weight, and the sum, in that of residual.
    """
    if decode.can_use_kernels(hidden_states) and is_plain(norm) and norm.eps is not None:
        return decode.add_rms_norm(hidden_states, residual, norm.weight, norm.eps)
    residual = residual + hidden_states
    return norm(residual.to(norm.weight.dtype)), residual
