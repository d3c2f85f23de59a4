"""The Mamba block: what stands around the selective SSM (Gu and Dao 2023, section 3.4, figure 3).

    x, z = in_proj(u)                  two branches, each `expand` times as wide as the model
    x = silu(conv1d(x))                causal, depthwise, over the last d_conv steps
    y = SSM(x) · silu(z)               the selective SSM, and the gate
    output = out_proj(y)
"""

from math import ceil
from typing import Literal, NamedTuple, overload

import torch
from torch import Tensor, nn

from minimamba.arguments import (
    as_bool_mask,
    check_bool,
    check_count,
    check_factory,
    check_state,
    check_writable,
)
from minimamba.nn.conv_cache import convolve, convolve_step, last_inputs, move_padding
from minimamba.nn.mixer import check_cache_type, check_input, check_step_input
from minimamba.nn.s6 import SELECTIVE, SelectiveSSM, check_dt_init, check_dt_rank
from minimamba.ops import decode
from minimamba.ops.linear import is_plain, linear, linear_layer, weight_of
from minimamba.ops.mamba_block import BlockWeights, can_use_mamba_block, mamba_block

LAYERS = ("in_proj", "conv1d", "x_proj", "dt_proj", "out_proj")
"""The names of a block's layers, in the order in which they are computed."""


class MambaCache(NamedTuple):
    """What a block needs to know of the past: its size does not grow with the length."""

    conv_state: Tensor
    """(batch, d_conv − 1, d_inner): the last inputs of the convolution, oldest first."""
    ssm_state: Tensor
    """(batch, d_inner, d_state): the hidden state of the SSM, in float32 or float64."""


class Mamba(SelectiveSSM):
    """The Mamba block, with the constructor and the state_dict of `mamba_ssm.Mamba`.

    Weights move between the two with `load_state_dict(other.state_dict())`.

    Args:
        d_model: the number of features outside.
        d_state: the state dimension N: how many components the state of each channel has.
        d_conv: the width of the causal convolution.
        expand: d_inner / d_model.
        dt_rank: the rank of Δ's projection; "auto" is d_model / 16, rounded up.
        dt_min: the smallest initial Δ.
        dt_max: the largest initial Δ; it is drawn uniformly in log Δ.
        dt_init: how dt_proj's weight is initialized, "random" or "constant".
        dt_scale: scales dt_proj's initial weight.
        dt_init_floor: initial Δ are not smaller than this.
        conv_bias: whether the convolution has a bias.
        bias: whether in_proj and out_proj have one.
        use_fast_path: accepted for compatibility; the fastest way that can run is always used.
        layer_idx: kept as an attribute; it has no effect here.
        device: where the parameters are created.
        dtype: that of the parameters; A_log and D are in float32 at least.

    Raises:
        ValueError: for a size that is not a positive whole number, or an unknown name.

    Example:
        >>> block = Mamba(d_model=16, d_state=16, d_conv=4, expand=2)
        >>> block(torch.randn(2, 64, 16)).shape
        torch.Size([2, 64, 16])
    """

    def __init__(self, d_model: int, d_state: int = 16, d_conv: int = 4, expand: int = 2,
                 dt_rank: int | Literal["auto"] = "auto", dt_min: float = 0.001,
                 dt_max: float = 0.1, dt_init: Literal["random", "constant"] = "random",
                 dt_scale: float = 1.0, dt_init_floor: float = 1e-4, conv_bias: bool = True,
                 bias: bool = False, use_fast_path: bool = True, layer_idx: int | None = None,
                 device: torch.device | str | None = None,
                 dtype: torch.dtype | None = None) -> None:
        super().__init__()
        for name, size in (("d_model", d_model), ("d_state", d_state), ("d_conv", d_conv),
                           ("expand", expand)):
            check_count(name, size)
        check_dt_rank(dt_rank, ("auto",))
        check_dt_init(dt_init, dt_scale, dt_init_floor)
        check_bool("conv_bias", conv_bias)
        check_bool("bias", bias)
        check_factory(device, dtype)
        self.d_model = d_model
        self.d_conv = d_conv
        self.layer_idx = layer_idx
        d_inner = expand * d_model
        self.in_proj = nn.Linear(d_model, 2 * d_inner, bias=bias, device=device, dtype=dtype)
        self.conv1d = nn.Conv1d(d_inner, d_inner, d_conv, groups=d_inner, bias=conv_bias,
                                device=device, dtype=dtype)
        self._create_ssm(d_inner, d_state, ceil(d_model / 16) if dt_rank == "auto" else dt_rank,
                         selective=SELECTIVE, dt_min=dt_min, dt_max=dt_max, dt_init=dt_init,
                         dt_scale=dt_scale, dt_init_floor=dt_init_floor, device=device,
                         dtype=dtype)
        self.out_proj = nn.Linear(d_inner, d_model, bias=bias, device=device, dtype=dtype)

    def init_cache(self, batch: int) -> MambaCache:
        """Create the cache of a block that has seen nothing yet: zeros.

        Args:
            batch: the number of sequences.
        """
        ssm_state = self._init_ssm_state(batch)
        conv_state = weight_of(self.conv1d).new_zeros(batch, self.d_conv - 1, self.d_inner)
        return MambaCache(conv_state, ssm_state)

    @overload
    def forward(self, x: Tensor, cache: MambaCache | None = None, *,
                attention_mask: Tensor | None = None,
                return_cache: Literal[False] = False) -> Tensor: ...
    @overload
    def forward(self, x: Tensor, cache: MambaCache | None = None, *,
                attention_mask: Tensor | None = None,
                return_cache: Literal[True]) -> tuple[Tensor, MambaCache]: ...
    def forward(self, x, cache=None, *, attention_mask=None, return_cache=False):
        """Process all steps at once.

        Args:
            x: (batch, length, d_model).
            cache: what an earlier call returned for the steps before x; None at the start.
            attention_mask: (batch, length), bool or integer: 1 or True where there is a token, 0
                at padding, which stands to the left and changes neither the outputs of the tokens
                nor the cache.
            return_cache: whether to return the cache after the last step too.

        Returns:
            (batch, length, d_model); with `return_cache`, a pair of that and a `MambaCache`.

        Raises:
            ValueError: naming the argument, what was expected and what was given.
        """
        weight = weight_of(self.conv1d)
        check_input(x, self.d_model, weight)
        check_bool("return_cache", return_cache)
        batch, length, _ = x.shape
        conv_state, ssm_state = None, None
        if cache is not None:
            self._check_cache(cache, batch)
            conv_state, ssm_state = cache
        if attention_mask is not None:
            attention_mask = as_bool_mask(attention_mask, batch, length, x.device)
        weights = self._block_weights() if attention_mask is None else None
        passes_state = cache is not None or return_cache
        if weights is not None and can_use_mamba_block(x, weights, passes_state=passes_state):
            output, conv_input, ssm_state = mamba_block(x, weights, conv_state, ssm_state)
        else:
            x, z = self._in_branches(x)
            if attention_mask is not None:
                x, conv_state = move_padding(x, conv_state, self.d_conv, attention_mask)
            conv_input = x
            x = convolve(self.conv1d, x, conv_state, self.d_conv)
            y, ssm_state = self.scan(x, z, initial_state=ssm_state, attention_mask=attention_mask,
                                     return_last_state=True)
            output = linear_layer(self.out_proj, y)
        if not return_cache:
            return output
        conv_state = last_inputs(conv_input, conv_state, self.d_conv, weight)
        return output, MambaCache(conv_state, ssm_state)

    def step(self, x: Tensor, cache: MambaCache) -> tuple[Tensor, MambaCache]:
        """Process one step.

        Args:
            x: (batch, d_model).
            cache: that of the steps before; it is not changed.

        Returns:
            The output (batch, d_model), and the cache after this step.
        """
        return self._step(x, cache, in_place=False)

    def step_(self, x: Tensor, cache: MambaCache) -> Tensor:
        """Process one step and write the new cache over the old one.

        Args:
            x: (batch, d_model).
            cache: that of the steps before, and afterwards that after this step.

        Returns:
            The output (batch, d_model).
        """
        return self._step(x, cache, in_place=True)[0]

    def ssm_input(self, x: Tensor) -> Tensor:
        """Compute what the SSM is given, after in_proj, the convolution and SiLU, to inspect it.

        Args:
            x: (batch, length, d_model), a sequence from its start.

        Returns:
            (batch, length, d_inner).

        Raises:
            ValueError: for an x of another shape, dtype or device, or NaN.
        """
        check_input(x, self.d_model, weight_of(self.conv1d))
        x, _ = self._in_branches(x)
        return convolve(self.conv1d, x, None, self.d_conv)

    def _step(self, x: Tensor, cache: MambaCache, in_place: bool) -> tuple[Tensor, MambaCache]:
        check_step_input(x, self.d_model, weight_of(self.conv1d))
        self._check_cache(cache, len(x))
        if in_place:
            check_writable("cache.conv_state", cache.conv_state)
            check_writable("cache.ssm_state", cache.ssm_state)
        if decode.can_use_kernels(x) and is_plain(self.conv1d):
            return self._step_by_kernels(x, cache, in_place)
        x, z = self._in_branches(x)
        x, conv_state = convolve_step(self.conv1d, x, cache.conv_state)
        if in_place:
            conv_state = cache.conv_state.copy_(conv_state)
        y, ssm_state = self._scan_step(x, cache.ssm_state, z, in_place)
        return linear_layer(self.out_proj, y), MambaCache(conv_state, ssm_state)

    def _block_weights(self) -> BlockWeights | None:
        """The parameters as `mamba_block` takes them; None if it can't be used with them."""
        # From dictionaries: an attribute of a module takes a microsecond, and here are forty.
        layers = [self._modules[name] for name in LAYERS]
        if self.scan_method not in ("auto", "triton") or not all(map(is_plain, layers)):
            return None
        in_proj, conv1d, x_proj, dt_proj, out_proj = [layer._parameters for layer in layers]
        if any(layer["bias"] is not None for layer in (in_proj, x_proj, out_proj)):
            return None
        own = self._parameters
        if not own.keys() >= {"A_log", "D"}:  # one is parametrized, or a plain tensor
            return None
        return BlockWeights(in_proj["weight"], conv1d["weight"], conv1d["bias"], x_proj["weight"],
                            dt_proj["weight"], dt_proj["bias"], own["A_log"], own["D"],
                            out_proj["weight"])

    def _step_by_kernels(self, x: Tensor, cache: MambaCache,
                         in_place: bool) -> tuple[Tensor, MambaCache]:
        """`_step` on a GPU. Between plain layers, no kernel writes what the next one preloads."""
        x, z = decode.linear_step(self.in_proj, x).chunk(2, -1)
        x_proj = self.x_proj.weight if self._can_fold_projections(x) else None
        x, projected, conv_state = decode.conv_step(
            x, self.conv1d.weight[:, 0], self.conv1d.bias, cache.conv_state, in_place=in_place,
            x_proj=x_proj, preload=is_plain(self.in_proj))
        y, ssm_state = self._scan_step(x, cache.ssm_state, z, in_place, projected)
        return (decode.linear_step(self.out_proj, y, preload=True),
                MambaCache(conv_state, ssm_state))

    def _in_branches(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Compute x and z by one product each: halves of a single one would have to be copied."""
        if not is_plain(self.in_proj):
            return self.in_proj(x).chunk(2, -1)
        weight_x, weight_z = self.in_proj.weight.chunk(2)
        bias_x, bias_z = None, None
        if self.in_proj.bias is not None:
            bias_x, bias_z = self.in_proj.bias.chunk(2)
        return linear(x, weight_x, bias_x), linear(x, weight_z, bias_z)

    def _check_cache(self, cache: MambaCache, batch: int) -> None:
        check_cache_type(cache, MambaCache, "a MambaCache")
        check_state("cache.conv_state", cache.conv_state, (batch, self.d_conv - 1, self.d_inner),
                    "(batch, d_conv - 1, d_inner)", weight_of(self.conv1d))
        self._check_state("cache.ssm_state", cache.ssm_state, batch)
