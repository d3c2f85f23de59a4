"""The Mamba-2 block: what stands around state space duality (Dao and Gu 2024, section 7.1).

    z, (x, B, C), dt = in_proj(u)              all in one projection, not one after another
    x, B, C = silu(conv1d(x, B, C))            causal, depthwise, over the last d_conv steps
    y = SSD(x, Δ, A, B, C, D)                  Δ = softplus(dt + dt_bias), one per head
    output = out_proj(norm(y · silu(z)))

(arXiv:2405.21060.) Features are divided into heads of `headdim`, each with one Δ, A and D; heads
are divided into `ngroups` groups, each with one B and C.
"""

from typing import Literal, NamedTuple, overload

import torch
from torch import Tensor, nn
from torch.nn.functional import silu, softplus

from minimamba.arguments import (
    LARGEST,
    as_bool_mask,
    check_bool,
    check_count,
    check_factory,
    check_number,
    check_passes_gradients,
    check_positive,
    check_state,
    check_writable,
    refuse,
)
from minimamba.nn.conv_cache import convolve, convolve_step, last_inputs, move_padding
from minimamba.nn.gated_norm import GatedRMSNorm
from minimamba.nn.mixer import check_cache_type, check_input, check_step_input
from minimamba.nn.s6 import NO_STEP, initial_dt_bias
from minimamba.ops import decode
from minimamba.ops.linear import is_plain, linear_layer, weight_of
from minimamba.ops.mamba2_block import (
    BlockWeights,
    Options,
    can_use_mamba2_block,
    mamba2_block,
)
from minimamba.ssd import ssd
from minimamba.ssd.checks import NO_LIMIT, check_dt_limit


class Mamba2Cache(NamedTuple):
    """What a block needs to know of the past: its size does not grow with the length."""

    conv_state: Tensor
    """(batch, d_conv − 1, d_ssm + 2 n_groups d_state): the last inputs of the convolution, oldest
    first."""
    ssm_state: Tensor
    """(batch, n_heads, head_dim, d_state): the hidden state, in float32 or float64."""


class Branches(NamedTuple):
    """What in_proj gives, in the order of its features."""

    mlp_gate: Tensor
    """(…, d_inner − d_ssm): the features that don't pass the SSM are a gated MLP's."""
    mlp: Tensor
    """(…, d_inner − d_ssm)."""
    z: Tensor
    """(…, d_ssm), the gate."""
    xBC: Tensor
    """(…, d_ssm + 2 n_groups d_state), the input of the convolution."""
    dt: Tensor
    """(…, n_heads)."""


class Mamba2(nn.Module):
    """The Mamba-2 block, with the constructor and the state_dict of `mamba_ssm.Mamba2`.

    Weights move between the two with `load_state_dict(other.state_dict())`. A block can't be spread
    over several processes. The official decoding step ignores `dt_limit`; this one keeps it.

    Args:
        d_model: the number of features outside.
        d_state: the state dimension N: how many components the state of each channel has.
        d_conv: the width of the causal convolution.
        conv_init: the convolution's weights are drawn uniformly up to this magnitude; as PyTorch
            draws them if None.
        expand: d_inner / d_model.
        headdim: channels per head.
        d_ssm: how many of the d_inner features pass the SSM, the others a gated MLP; all if None.
        ngroups: the number of groups of heads that share B and C.
        A_init_range: the smallest and the largest initial −A, which is drawn uniformly.
        D_has_hdim: whether D is one number per channel; else one per head.
        rmsnorm: whether there is a norm; else y · silu(z) goes to out_proj as it is.
        norm_before_gate: whether the gate comes after the norm.
        dt_min: the smallest initial Δ.
        dt_max: the largest initial Δ; it is drawn uniformly in log Δ.
        dt_init_floor: initial Δ are not smaller than this.
        dt_limit: the smallest and the largest Δ; smaller and larger ones become these.
        bias: whether in_proj and out_proj have one.
        conv_bias: whether the convolution has one.
        chunk_size: accepted for compatibility, and so is the next; the fastest way that can run is
            always used.
        use_mem_eff_path: see chunk_size.
        layer_idx: kept as an attribute; it has no effect here.
        process_group: None, since a block belongs to one process.
        sequence_parallel: accepted for compatibility; without a process group it has no effect.
        device: where the parameters are created.
        dtype: that of the parameters; A_log and D are in float32 at least.

    Raises:
        ValueError: naming the argument, what was expected and what was given.

    Example:
        >>> block = Mamba2(d_model=16, d_state=32, headdim=8)
        >>> block(torch.randn(2, 64, 16)).shape
        torch.Size([2, 64, 16])
    """

    scan_method: str = "auto"
    """How the scan over a sequence is computed; one of the names in `minimamba.ssd`."""

    def __init__(self, d_model: int, d_state: int = 128, d_conv: int = 4,
                 conv_init: float | None = None, expand: int = 2, headdim: int = 64,
                 d_ssm: int | None = None, ngroups: int = 1,
                 A_init_range: tuple[float, float] = (1, 16), D_has_hdim: bool = False,
                 rmsnorm: bool = True, norm_before_gate: bool = False, dt_min: float = 0.001,
                 dt_max: float = 0.1, dt_init_floor: float = 1e-4,
                 dt_limit: tuple[float, float] = NO_LIMIT, bias: bool = False,
                 conv_bias: bool = True, chunk_size: int = 256, use_mem_eff_path: bool = True,
                 layer_idx: int | None = None, process_group: None = None,
                 sequence_parallel: bool = True, device: torch.device | str | None = None,
                 dtype: torch.dtype | None = None) -> None:
        super().__init__()
        if process_group is not None:
            refuse("process_group", "None, since a block belongs to one process",
                   type(process_group).__name__)
        for name, size in (("d_model", d_model), ("d_state", d_state), ("d_conv", d_conv),
                           ("expand", expand), ("headdim", headdim), ("ngroups", ngroups)):
            check_count(name, size)
        for name, flag in (("D_has_hdim", D_has_hdim), ("rmsnorm", rmsnorm),
                           ("norm_before_gate", norm_before_gate), ("bias", bias),
                           ("conv_bias", conv_bias)):
            check_bool(name, flag)
        check_positive("dt_init_floor", dt_init_floor, "a step")
        check_factory(device, dtype)
        self.d_model = d_model
        self.d_state = d_state
        self.d_conv = d_conv
        self.d_inner = expand * d_model
        self.d_ssm = _checked_d_ssm(d_ssm, self.d_inner, headdim)
        self.head_dim = headdim
        self.n_heads = self.d_ssm // headdim
        if self.n_heads % ngroups:
            refuse("ngroups", f"a divisor of the number of heads, {self.n_heads}", ngroups)
        self.n_groups = ngroups
        self.conv_channels = self.d_ssm + 2 * ngroups * d_state
        self.D_has_hdim = D_has_hdim
        self.dt_limit = check_dt_limit(dt_limit)
        self.layer_idx = layer_idx
        dt_bias = initial_dt_bias(self.n_heads, dt_min, dt_max, dt_init_floor)
        self.dt_bias = nn.Parameter(dt_bias.to(device=device, dtype=dtype))
        # In float32 at least, whatever the other weights are in: exp would magnify the rounding.
        wide = torch.promote_types(dtype or torch.get_default_dtype(), torch.float32)
        low, high = _checked_A_range(A_init_range)
        A = torch.empty(self.n_heads, device=device, dtype=wide).uniform_(low, high)
        self.A_log = nn.Parameter(A.log())
        self.D = nn.Parameter(torch.ones(self.d_ssm if D_has_hdim else self.n_heads,
                                         device=device, dtype=wide))
        for parameter in (self.dt_bias, self.A_log, self.D):
            parameter._no_weight_decay = True  # as in the official code, for optimizers to read
        features = sum(self._branch_sizes())
        self.in_proj = nn.Linear(d_model, features, bias=bias, device=device, dtype=dtype)
        self.conv1d = nn.Conv1d(self.conv_channels, self.conv_channels, d_conv,
                                groups=self.conv_channels, bias=conv_bias, device=device,
                                dtype=dtype)
        if conv_init is not None:
            check_positive("conv_init", conv_init, "a magnitude")
            nn.init.uniform_(self.conv1d.weight, -conv_init, conv_init)
        self.norm = None
        if rmsnorm:
            self.norm = GatedRMSNorm(self.d_ssm, ngroups, norm_before_gate=norm_before_gate,
                                     device=device, dtype=dtype)
        self.out_proj = nn.Linear(self.d_inner, d_model, bias=bias, device=device, dtype=dtype)

    @property
    def A(self) -> Tensor:
        """A = −exp(A_log), (n_heads,), in float32 or float64: negative for any A_log."""
        return -self.A_log.to(self._state_dtype).exp()

    def init_cache(self, batch: int) -> Mamba2Cache:
        """Create the cache of a block that has seen nothing yet: zeros.

        Args:
            batch: the number of sequences.
        """
        check_count("batch", batch)
        conv_state = weight_of(self.conv1d).new_zeros(batch, self.d_conv - 1, self.conv_channels)
        ssm_state = self.A_log.new_zeros(batch, self.n_heads, self.head_dim, self.d_state,
                                         dtype=self._state_dtype)
        return Mamba2Cache(conv_state, ssm_state)

    @overload
    def forward(self, x: Tensor, cache: Mamba2Cache | None = None, *,
                attention_mask: Tensor | None = None,
                return_cache: Literal[False] = False) -> Tensor: ...
    @overload
    def forward(self, x: Tensor, cache: Mamba2Cache | None = None, *,
                attention_mask: Tensor | None = None,
                return_cache: Literal[True]) -> tuple[Tensor, Mamba2Cache]: ...
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
            (batch, length, d_model); with `return_cache`, a pair of that and a `Mamba2Cache`.

        Raises:
            ValueError: naming the argument, what was expected and what was given.
        """
        check_input(x, self.d_model, weight_of(self.conv1d))
        check_bool("return_cache", return_cache)
        if cache is None and attention_mask is None and not return_cache:
            weights = self._block_weights()
            if weights is not None and can_use_mamba2_block(x, weights, self.n_groups):
                return mamba2_block(x, weights, Options(
                    self.n_groups, self.norm.norm_before_gate, self.norm.eps))
        conv_state, ssm_state = None, None
        if cache is not None:
            self._check_cache(cache, len(x))
            conv_state, ssm_state = cache
        is_token = None
        if attention_mask is not None:
            is_token = as_bool_mask(attention_mask, *x.shape[:2], x.device)
        branches = self._branches(x)
        conv_input = branches.xBC
        if is_token is not None:
            conv_input, conv_state = move_padding(conv_input, conv_state, self.d_conv, is_token)
        xBC = convolve(self.conv1d, conv_input, conv_state, self.d_conv)
        y, ssm_state = self._scan(branches._replace(xBC=xBC), ssm_state, is_token,
                                  self.scan_method)
        output = linear_layer(self.out_proj, self._output_features(y, branches))
        if not return_cache:
            return output
        conv_state = last_inputs(conv_input, conv_state, self.d_conv, weight_of(self.conv1d))
        return output, Mamba2Cache(conv_state, ssm_state)

    def step(self, x: Tensor, cache: Mamba2Cache) -> tuple[Tensor, Mamba2Cache]:
        """Process one step.

        Args:
            x: (batch, d_model).
            cache: that of the steps before; it is not changed.

        Returns:
            The output (batch, d_model), and the cache after this step.
        """
        return self._step(x, cache, in_place=False)

    def step_(self, x: Tensor, cache: Mamba2Cache) -> Tensor:
        """Process one step and write the new cache over the old one.

        Args:
            x: (batch, d_model).
            cache: that of the steps before, and afterwards that after this step.

        Returns:
            The output (batch, d_model).
        """
        return self._step(x, cache, in_place=True)[0]

    def _step(self, x: Tensor, cache: Mamba2Cache,
              in_place: bool) -> tuple[Tensor, Mamba2Cache]:
        check_step_input(x, self.d_model, weight_of(self.conv1d))
        self._check_cache(cache, len(x))
        if in_place:
            check_writable("cache.conv_state", cache.conv_state)
            check_writable("cache.ssm_state", cache.ssm_state)
        if self._can_step_by_kernels(x):
            return self._step_by_kernels(x, cache, in_place)
        branches = self._branches(x)
        xBC, conv_state = convolve_step(self.conv1d, branches.xBC, cache.conv_state)
        # The cache may be wider than what is computed in autocast's dtype.
        branches = branches._replace(xBC=xBC.to(branches.xBC.dtype))
        y, ssm_state = self._scan(Branches(*(t[:, None] for t in branches)), cache.ssm_state, None,
                                  "reference")
        output = linear_layer(self.out_proj, self._output_features(y[:, 0], branches))
        if in_place:
            conv_state = cache.conv_state.copy_(conv_state)
            ssm_state = cache.ssm_state.copy_(ssm_state)
        return output, Mamba2Cache(conv_state, ssm_state)

    def _can_step_by_kernels(self, x: Tensor) -> bool:
        return (decode.can_use_kernels(x) and is_plain(self.conv1d)
                and self.conv_channels <= decode.MAX_CHANNELS
                and self.d_state <= decode.MAX_STATES)

    def _step_by_kernels(self, x: Tensor, cache: Mamba2Cache,
                         in_place: bool) -> tuple[Tensor, Mamba2Cache]:
        """`_step` on a GPU. Between plain layers, no kernel writes what the next one preloads."""
        projected = decode.linear_step(self.in_proj, x)
        branches = Branches(*projected.split(self._branch_sizes(), -1))
        xBC, _, conv_state = decode.conv_step(
            branches.xBC, self.conv1d.weight[:, 0], self.conv1d.bias, cache.conv_state,
            in_place=in_place, preload=is_plain(self.in_proj))
        x, B, C = self._split_xBC(xBC)
        y, ssm_state = decode.ssd_step(
            x, branches.dt, self.A_log, B, C, self._skip, self._scan_gate(branches), self.dt_bias,
            cache.ssm_state, dt_limit=self.dt_limit, in_place=in_place, preload=True)
        y = self._output_features(y.flatten(-2), branches)
        return (decode.linear_step(self.out_proj, y, preload=True),
                Mamba2Cache(conv_state, ssm_state))

    def _block_weights(self) -> BlockWeights | None:
        """The parameters as `mamba2_block` takes them; None if it can't be used with them."""
        projections = self.in_proj, self.out_proj
        if (self.scan_method not in ("auto", "triton") or self.dt_limit != NO_LIMIT
                or self.d_ssm < self.d_inner or not is_plain(self.norm, (GatedRMSNorm,))
                or not all(map(is_plain, (*projections, self.conv1d)))
                or any(layer.bias is not None for layer in projections)):
            return None
        return BlockWeights(self.in_proj.weight, self.conv1d.weight, self.conv1d.bias, self.dt_bias,
                            self.A_log, self.D, self.norm.weight, self.out_proj.weight)

    def _branches(self, x: Tensor) -> Branches:
        return Branches(*linear_layer(self.in_proj, x).split(self._branch_sizes(), -1))

    def _branch_sizes(self) -> list[int]:
        d_mlp = self.d_inner - self.d_ssm
        return [d_mlp, d_mlp, self.d_ssm, self.conv_channels, self.n_heads]

    def _scan(self, branches: Branches, ssm_state: Tensor | None, is_token: Tensor | None,
              method: str) -> tuple[Tensor, Tensor]:
        """The SSM, and the gate where there is no norm: y (batch, length, d_ssm), and the state
        after it. The branches are those after the convolution."""
        x, B, C = self._split_xBC(branches.xBC)
        dt = branches.dt
        options = {"dt_bias": self.dt_bias, "dt_softplus": True}
        no_step = NO_STEP
        if self.dt_limit != NO_LIMIT:
            dt = softplus(dt.to(self._state_dtype) + self.dt_bias).clamp(*self.dt_limit)
            options = {}
            no_step = 0.0
        if is_token is not None:
            dt = dt.masked_fill(~is_token[..., None], no_step)
        y, ssm_state = ssd(
            x, dt, self.A, B, C, D=self._skip, z=self._scan_gate(branches),
            initial_state=ssm_state, return_final_state=True, method=method, **options)
        return y.flatten(-2), ssm_state

    def _split_xBC(self, xBC: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x (…, n_heads, head_dim), and B and C (…, n_groups, d_state)."""
        BC_size = self.n_groups * self.d_state
        x, B, C = xBC.split([self.d_ssm, BC_size, BC_size], -1)
        groups = (self.n_groups, self.d_state)
        return self._by_head(x), B.unflatten(-1, groups), C.unflatten(-1, groups)

    def _by_head(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.n_heads, self.head_dim))

    @property
    def _skip(self) -> Tensor:
        """D, (n_heads,) or (n_heads, head_dim)."""
        return self._by_head(self.D) if self.D_has_hdim else self.D

    def _scan_gate(self, branches: Branches) -> Tensor | None:
        """The gate, (…, n_heads, head_dim), unless the norm applies it."""
        return self._by_head(branches.z) if self.norm is None else None

    def _output_features(self, y: Tensor, branches: Branches) -> Tensor:
        """What out_proj is given, (…, d_inner)."""
        if self.norm is not None:
            y = self.norm(y, branches.z)
        if self.d_ssm < self.d_inner:
            y = torch.cat([silu(branches.mlp_gate) * branches.mlp, y], -1)
        return y

    def _check_cache(self, cache: Mamba2Cache, batch: int) -> None:
        check_cache_type(cache, Mamba2Cache, "a Mamba2Cache")
        check_state("cache.conv_state", cache.conv_state,
                    (batch, self.d_conv - 1, self.conv_channels),
                    "(batch, d_conv - 1, conv_channels)", weight_of(self.conv1d))
        check_state("cache.ssm_state", cache.ssm_state,
                    (batch, self.n_heads, self.head_dim, self.d_state),
                    "(batch, n_heads, head_dim, d_state)", self.A_log, self._state_dtype)
        check_passes_gradients("cache.ssm_state", cache.ssm_state, self.A_log)

    @property
    def _state_dtype(self) -> torch.dtype:
        return torch.promote_types(self.A_log.dtype, torch.float32)


def _checked_d_ssm(d_ssm: int | None, d_inner: int, headdim: int) -> int:
    """The number of channels of the SSM, which must be whole heads."""
    if d_ssm is None:
        d_ssm = d_inner
    check_count("d_ssm", d_ssm)
    if d_ssm > d_inner:
        refuse("d_ssm", f"at most expand · d_model = {d_inner}", d_ssm)
    if d_ssm % headdim:
        refuse("headdim", f"a divisor of the SSM's {d_ssm} channels", headdim)
    return d_ssm


def _checked_A_range(A_init_range: tuple[float, float]) -> tuple[float, float]:
    """The smallest and the largest initial −A."""
    if not isinstance(A_init_range, (tuple, list)) or len(A_init_range) != 2:
        refuse("A_init_range", "two numbers, the smallest and the largest", repr(A_init_range))
    low, high = A_init_range
    check_positive("A_init_range", low, "a smallest decay rate")
    check_number("A_init_range", high, f"a largest decay rate of at least {low:g}", low, LARGEST)
    return low, high
