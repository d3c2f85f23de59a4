"""S6: an SSM whose Δ, B and C depend on the input (Gu and Dao 2023, arXiv:2312.00752, section 3.2).

    (Δ_low, B, C) = x_proj(x)              one projection, to dt_rank + 2 d_state features
    Δ = softplus(dt_proj(Δ_low))           back up to one step size per channel
    A = −exp(A_log)                        the same for every input
    y = SSM(A, B, C, Δ)(x) + D x

`SelectiveSSM` has these parameters, under the names of the official code, and runs the scan with
them. `S6` is the mixer that is nothing but that; `minimamba.nn.Mamba` adds the rest of the block.
"""

from collections.abc import Collection
from math import ceil
from typing import Literal, NamedTuple, overload

import torch
from torch import Tensor, nn
from torch.nn.functional import silu, softplus

from minimamba.arguments import (
    as_bool_mask,
    check_bool,
    check_count,
    check_factory,
    check_one_of,
    check_passes_gradients,
    check_positive,
    check_state,
    check_writable,
    refuse,
)
from minimamba.nn.mixer import check_cache_type, check_input, check_step_input
from minimamba.ops import decode
from minimamba.ops.linear import is_plain, linear, linear_layer, weight_of
from minimamba.scan import selective_scan
from minimamba.shapes import log_uniform

SELECTIVE = ("delta", "B", "C")
"""The parameters that depend on the input in S6."""
NO_STEP = -1e4
"""What dt is at padding: its softplus is 0, and Δ = 0 leaves the state as it is."""


class SSMParameters(NamedTuple):
    """The input-dependent parameters of the SSM, for one input sequence."""

    delta: Tensor
    """(batch, length, d_inner), the step size Δ, after the softplus."""
    B: Tensor
    """(batch, length, d_state)."""
    C: Tensor
    """(batch, length, d_state)."""


class SelectiveSSM(nn.Module):
    """The parameters of a selective SSM, and the scan that runs with them.

    A base class: a subclass calls `_create_ssm` where it wants these parameters created. They are
    `x_proj`, `dt_proj`, `A_log` and `D`, as in `mamba_ssm.Mamba`.
    """

    scan_method: str = "auto"
    """How the scan is computed; one of the names in `minimamba.selective_scan`."""

    def _create_ssm(self, d_inner: int, d_state: int, dt_rank: int | Literal["broadcast"], *,
                    selective: Collection[str], dt_min: float, dt_max: float, dt_init: str,
                    dt_scale: float, dt_init_floor: float, device: torch.device | str | None,
                    dtype: torch.dtype | None) -> None:
        """Create the parameters; the arguments are those of `S6` and `Mamba`."""
        self.d_inner = d_inner
        self.d_state = d_state
        rank = 1 if dt_rank == "broadcast" else dt_rank
        self._split_sizes = [rank if "delta" in selective else 0,
                             d_state if "B" in selective else 0,
                             d_state if "C" in selective else 0]
        self.x_proj = None
        if selective:
            self.x_proj = nn.Linear(d_inner, sum(self._split_sizes), bias=False, device=device,
                                    dtype=dtype)
        self.dt_proj = None
        if "delta" in selective and dt_rank != "broadcast":
            # Its bias is created below, from step sizes; Linear would only draw numbers for it.
            self.dt_proj = nn.Linear(rank, d_inner, bias=False, device=device, dtype=dtype)
            bound = dt_scale * rank**-0.5
            if dt_init == "constant":
                nn.init.constant_(self.dt_proj.weight, bound)
            else:
                nn.init.uniform_(self.dt_proj.weight, -bound, bound)
        bias = initial_dt_bias(d_inner, dt_min, dt_max, dt_init_floor)
        bias = nn.Parameter(bias.to(device=device, dtype=dtype))
        if self.dt_proj is None:
            self.delta_bias = bias
        else:
            self.dt_proj.bias = bias
        # In float32 at least, whatever the other weights are in: exp would magnify the rounding.
        wide = torch.promote_types(dtype or torch.get_default_dtype(), torch.float32)
        A = torch.arange(1, d_state + 1, device=device, dtype=wide).repeat(d_inner, 1)
        self.A_log = nn.Parameter(A.log())
        self.D = nn.Parameter(torch.ones(d_inner, device=device, dtype=wide))
        for parameter in (self.A_log, self.D):
            parameter._no_weight_decay = True  # as in the official code, for optimizers to read
        self.B = self.C = None
        if "B" not in selective:
            self.B = nn.Parameter(torch.randn(d_state, device=device, dtype=dtype))
        if "C" not in selective:
            self.C = nn.Parameter(torch.randn(d_state, device=device, dtype=dtype))

    @property
    def A(self) -> Tensor:
        """A = −exp(A_log), (d_inner, d_state), in float32 or float64: negative for any A_log."""
        return -self.A_log.to(torch.promote_types(self.A_log.dtype, torch.float32)).exp()

    @property
    def dt_bias(self) -> Tensor:
        """The bias (d_inner,) inside the softplus: `dt_proj.bias` if there is a `dt_proj`; zeros
        if that was replaced by another module, which adds its own bias."""
        if self.dt_proj is None:
            return self.delta_bias
        return self.dt_proj.bias if is_plain(self.dt_proj) else self.D.new_zeros(self.d_inner)

    def ssm_parameters(self, x: Tensor) -> SSMParameters:
        """Compute Δ, B and C for an input.

        Args:
            x: (batch, length, d_inner), the input of the SSM.

        Returns:
            Δ (batch, length, d_inner), B and C (batch, length, d_state).

        Raises:
            ValueError: for an x of another shape, dtype or device, or NaN.
        """
        check_input(x, self.d_inner, self._weight)
        dt, B, C = self._project(x)
        return SSMParameters(softplus(dt + self.dt_bias), B, C)

    def _project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Compute dt, B and C, where Δ = softplus(dt + dt_bias); the scan does the latter. They
        are in x's dtype, also under autocast."""
        projected = x[..., :0]
        if self.x_proj is not None:
            projected = linear_layer(self.x_proj, x).to(x.dtype)
        low_rank_dt, B, C = projected.split(self._split_sizes, -1)
        if self.dt_proj is not None:
            dt = (linear(low_rank_dt, self.dt_proj.weight) if is_plain(self.dt_proj)
                  else self.dt_proj(low_rank_dt)).to(x.dtype)
        elif low_rank_dt.shape[-1] == 1:
            dt = low_rank_dt.expand_as(x)
        else:
            dt = torch.zeros_like(x[..., :1]).expand_as(x)
        shape = (*x.shape[:2], self.d_state)
        B = B if self.B is None else self.B.expand(shape)
        C = C if self.C is None else self.C.expand(shape)
        return dt, B, C

    def scan(self, x: Tensor, z: Tensor | None = None, *, initial_state: Tensor | None = None,
             attention_mask: Tensor | None = None,
             return_last_state: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        """Run the selective scan over a sequence.

        Args:
            x: (batch, length, d_inner), the input of the SSM.
            z: (batch, length, d_inner), the gate: y is multiplied by silu(z); none if None.
            initial_state: (batch, d_inner, d_state), the state before the first step; zero if
                None.
            attention_mask: (batch, length), bool or integer: 0 or False at padding, which stands
                to the left and leaves the state as it is; None: there is none.
            return_last_state: whether to return the state after the last step too.

        Returns:
            y (batch, length, d_inner); with `return_last_state`, (y, last_state).

        Raises:
            ValueError: naming the argument, what was expected and what was given.
        """
        check_input(x, self.d_inner, self._weight)
        check_bool("return_last_state", return_last_state)
        dt, B, C = self._project(x)
        if attention_mask is not None:
            is_token = as_bool_mask(attention_mask, *x.shape[:2], x.device)
            dt = dt.masked_fill(~is_token[..., None], NO_STEP)
        return selective_scan(x, dt, self.A, B, C, self.D, z, delta_bias=self.dt_bias,
                              delta_softplus=True, initial_state=initial_state,
                              return_last_state=return_last_state, method=self.scan_method)

    def scan_step(self, x: Tensor, ssm_state: Tensor, z: Tensor | None = None, *,
                  in_place: bool = False) -> tuple[Tensor, Tensor]:
        """Advance the SSM by one step.

        Args:
            x: (batch, d_inner), the input of this step.
            ssm_state: (batch, d_inner, d_state), the state before it.
            z: (batch, d_inner), the gate; none if None.
            in_place: whether to write the new state over `ssm_state`.

        Returns:
            y (batch, d_inner), and the state after the step.

        Raises:
            ValueError: naming the argument, what was expected and what was given.
        """
        check_step_input(x, self.d_inner, self._weight)
        check_bool("in_place", in_place)
        self._check_state("ssm_state", ssm_state, len(x))
        if in_place:
            check_writable("ssm_state", ssm_state)
        if z is not None:
            check_state("z", z, tuple(x.shape), "that of x", x)
        return self._scan_step(x, ssm_state, z, in_place)

    def _scan_step(self, x: Tensor, ssm_state: Tensor, z: Tensor | None, in_place: bool,
                   projected: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """`scan_step`, for arguments that have been checked.

        `projected`, (parts, batch, features), is x_proj's product, if a kernel has computed it.
        """
        if decode.can_use_kernels(x) and self._can_fold_projections(x):
            if projected is None:
                projected = linear(x, self.x_proj.weight)
            dt, B, C = projected.split(self._split_sizes, -1)
            return decode.scan_step(x, dt, self.A_log, B, C, self.D, z, self.dt_bias, ssm_state,
                                    in_place=in_place, dt_weight=self.dt_proj.weight,
                                    preload=True)
        dt, B, C = (projected[:, 0] for projected in self._project(x[:, None]))
        if decode.can_use_kernels(x):
            return decode.scan_step(x, dt, self.A_log, B, C, self.D, z, self.dt_bias,
                                    ssm_state, in_place=in_place)
        wide = ssm_state.dtype
        delta = softplus(dt.to(wide) + self.dt_bias)[..., None]          # (batch, d_inner, 1)
        x_wide = x[..., None].to(wide)
        new_state = torch.exp(delta * self.A) * ssm_state + delta * x_wide * B[:, None]
        # A sum, not a product of matrices, which autocast would round.
        y = (new_state * C[:, None]).sum(-1) + self.D * x_wide[..., 0]
        y = (y if z is None else y * silu(z.to(wide))).to(x.dtype)
        if in_place:
            new_state = ssm_state.copy_(new_state)
        return y, new_state

    def _can_fold_projections(self, x: Tensor) -> bool:
        """Say whether the kernels of a step may multiply by x_proj and dt_proj for this input, and
        all of Δ_low, B and C come from x_proj."""
        return (self.dt_proj is not None and all(self._split_sizes)
                and decode.can_fold_projections(x, sum(self._split_sizes), self.d_state)
                and is_plain(self.x_proj) and is_plain(self.dt_proj)
                and self.x_proj.weight.dtype == self.dt_proj.weight.dtype == x.dtype
                and not torch.is_autocast_enabled(self.x_proj.weight.device.type))

    def _init_ssm_state(self, batch: int) -> Tensor:
        """Zeros, (batch, d_inner, d_state), in float32 or float64."""
        check_count("batch", batch)
        return self.A_log.new_zeros(batch, self.d_inner, self.d_state, dtype=self._state_dtype)

    def _check_state(self, name: str, ssm_state: Tensor, batch: int) -> None:
        check_state(name, ssm_state, (batch, self.d_inner, self.d_state),
                    "(batch, d_inner, d_state)", self.A_log, self._state_dtype)
        check_passes_gradients(name, ssm_state, self.A_log)

    @property
    def _weight(self) -> Tensor:
        """One in the dtype of x, which A_log and D need not have."""
        return self.delta_bias if self.x_proj is None else weight_of(self.x_proj)

    @property
    def _state_dtype(self) -> torch.dtype:
        return torch.promote_types(self.A_log.dtype, torch.float32)


class S6(SelectiveSSM):
    """The selective SSM as a mixer of its own, without the rest of the Mamba block.

    Args:
        d_inner: the number of channels.
        d_state: the state dimension N: how many components the state of each channel has.
        dt_rank: the rank of Δ's projection; "auto" is d_inner / 16, rounded up. With "broadcast",
            the paper's plain form, one value per step is shared by all channels, which differ in
            their bias alone.
        selective: which of "delta", "B" and "C" depend on the input; the others are learned
            parameters, constant over time.
        dt_min: the smallest initial Δ.
        dt_max: the largest initial Δ; it is drawn uniformly in log Δ.
        device: where the parameters are created.
        dtype: that of the parameters; A_log and D are in float32 at least.

    Raises:
        ValueError: for a size that is not a positive whole number, or an unknown name.

    Example:
        >>> x = torch.randn(2, 100, 8)
        >>> S6(d_inner=8, d_state=16)(x).shape
        torch.Size([2, 100, 8])
    """

    def __init__(self, d_inner: int, d_state: int = 16, *,
                 dt_rank: int | Literal["auto", "broadcast"] = "auto",
                 selective: Collection[str] = SELECTIVE, dt_min: float = 0.001,
                 dt_max: float = 0.1, device: torch.device | str | None = None,
                 dtype: torch.dtype | None = None) -> None:
        super().__init__()
        check_count("d_inner", d_inner)
        check_count("d_state", d_state)
        check_dt_rank(dt_rank, ("auto", "broadcast"))
        if dt_rank == "auto":
            dt_rank = ceil(d_inner / 16)
        check_factory(device, dtype)
        if not isinstance(selective, (tuple, list, set, frozenset)) or not all(
                name in SELECTIVE for name in selective):
            refuse("selective", "some of 'delta', 'B' and 'C'", repr(selective))
        self._create_ssm(d_inner, d_state, dt_rank, selective=selective, dt_min=dt_min,
                         dt_max=dt_max, dt_init="random", dt_scale=1.0, dt_init_floor=0.0,
                         device=device, dtype=dtype)

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
            x: (batch, length, d_inner).
            cache: (batch, d_inner, d_state), the state before the first step; zero if None.
            attention_mask: (batch, length), bool or integer: 1 or True where there is a token, 0
                at padding, which stands to the left and leaves the state as it is.
            return_cache: whether to return the state after the last step too.

        Returns:
            y (batch, length, d_inner); with `return_cache`, (y, cache).
        """
        check_input(x, self.d_inner, self._weight)
        check_bool("return_cache", return_cache)
        if cache is not None:
            self._check_cache(cache, len(x))
        return self.scan(x, initial_state=cache, attention_mask=attention_mask,
                         return_last_state=return_cache)

    def step(self, x: Tensor, cache: Tensor) -> tuple[Tensor, Tensor]:
        """Process one step.

        Args:
            x: (batch, d_inner).
            cache: (batch, d_inner, d_state), the state before it.

        Returns:
            y (batch, d_inner), and the state after the step.
        """
        check_step_input(x, self.d_inner, self._weight)
        self._check_cache(cache, len(x))
        return self._scan_step(x, cache, None, in_place=False)

    def step_(self, x: Tensor, cache: Tensor) -> Tensor:
        """Process one step and write the new state over the old one.

        Args:
            x: (batch, d_inner).
            cache: (batch, d_inner, d_state), the state before it, and afterwards that after it.

        Returns:
            y (batch, d_inner).
        """
        check_step_input(x, self.d_inner, self._weight)
        self._check_cache(cache, len(x))
        check_writable("cache", cache)
        return self._scan_step(x, cache, None, in_place=True)[0]

    def init_cache(self, batch: int) -> Tensor:
        """Create the state before the first step: zeros, (batch, d_inner, d_state).

        Args:
            batch: the number of sequences.
        """
        return self._init_ssm_state(batch)

    def _check_cache(self, cache: Tensor, batch: int) -> None:
        check_cache_type(cache, Tensor, "a torch.Tensor")
        self._check_state("cache", cache, batch)


def check_dt_rank(dt_rank: object, names: tuple[str, ...]) -> None:
    """Check a rank: a positive whole number, or one of some names.

    Args:
        dt_rank: what was given.
        names: the names that may stand in place of a number.

    Raises:
        ValueError: for anything else.
    """
    if isinstance(dt_rank, str):
        if dt_rank in names:
            return
    elif isinstance(dt_rank, int) and not isinstance(dt_rank, bool) and dt_rank > 0:
        check_count("dt_rank", dt_rank)
        return
    refuse("dt_rank", f"a whole number from 1 up or {' or '.join(map(repr, names))}",
           repr(dt_rank))


def check_dt_init(dt_init: str, dt_scale: float, dt_init_floor: float) -> None:
    """Check how Δ's projection is initialized.

    Args:
        dt_init: "random" or "constant".
        dt_scale: a positive number.
        dt_init_floor: a positive number.

    Raises:
        ValueError: for anything else.
    """
    check_one_of("dt_init", dt_init, ("random", "constant"))
    check_positive("dt_scale", dt_scale, "a scale")
    check_positive("dt_init_floor", dt_init_floor, "a step")


def initial_dt_bias(count: int, dt_min: float, dt_max: float, floor: float) -> Tensor:
    """Draw initial step sizes Δ, uniformly in log Δ, as the bias that gives them.

    Args:
        count: how many to draw.
        dt_min: the smallest Δ.
        dt_max: the largest Δ.
        floor: smaller Δ become this.

    Returns:
        (count,), whose softplus is Δ, in the default dtype.

    Raises:
        ValueError: for bounds that are not positive or not in this order.
    """
    check_positive("dt_min", dt_min, "a step")
    check_positive("dt_max", dt_max, "a step")
    if dt_min > dt_max:
        refuse("dt_min", f"at most dt_max = {dt_max:g}", repr(dt_min))
    delta = log_uniform(count, dt_min, dt_max).exp().clamp(min=floor)
    return delta + (-torch.expm1(-delta)).log()                          # the inverse of softplus
