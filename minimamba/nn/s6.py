"""S6: Δ, B and C made from the input (Gu and Dao 2023, arXiv:2312.00752, section 3.2).

    (Δ_low, B, C) = x W_x                 one projection, (batch, length, dt_rank + 2 d_state)
    Δ = softplus(Δ_low W_Δ + bias)        back up to one step a channel
    A = −exp(A_log)                       the same for every input
"""

from collections.abc import Collection
from math import ceil
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import silu, softplus

from minimamba.arguments import check_count, refuse, shape_of
from minimamba.ops import decode
from minimamba.ops.linear import apply
from minimamba.scan import selective_scan
from minimamba.shapes import log_uniform


class Parameters(NamedTuple):
    """What the scan is run with, for one input."""

    delta: Tensor
    """(batch, length, d_inner), after the softplus."""
    B: Tensor
    """(batch, length, d_state)."""
    C: Tensor
    """(batch, length, d_state)."""


class S6(nn.Module):
    """The selective SSM of Mamba: y = SSM(A, B(x), C(x), Δ(x)) x + D x.

    Args:
        d_inner: channels. d_state: numbers of state a channel.
        dt_rank: through how many numbers Δ is made; d_inner/16, rounded up, if None. With
            "broadcast", the paper's plain form: one number a step, for all channels, which
            differ in their bias alone.
        selective: which of "delta", "B" and "C" depend on the input; the others are learned
            constants of the same shape at each step.
        delta_min, delta_max: between which softplus(bias) starts, uniformly in its logarithm.
    """

    def __init__(self, d_inner: int, d_state: int = 16, *,
                 dt_rank: int | Literal["broadcast"] | None = None,
                 selective: Collection[str] = ("delta", "B", "C"),
                 delta_min: float = 0.001, delta_max: float = 0.1) -> None:
        super().__init__()
        for name, size in (("d_inner", d_inner), ("d_state", d_state)):
            check_count(name, size)
        if dt_rank is None:
            dt_rank = ceil(d_inner / 16)
        if dt_rank != "broadcast" and (not isinstance(dt_rank, int) or isinstance(dt_rank, bool)
                                       or dt_rank < 1):
            refuse("dt_rank", "a whole number from 1 up or 'broadcast'", repr(dt_rank))
        if not set(selective) <= {"delta", "B", "C"}:
            refuse("selective", "some of 'delta', 'B' and 'C'", repr(selective))
        rank = 1 if dt_rank == "broadcast" else dt_rank
        self.widths = [rank * ("delta" in selective), d_state * ("B" in selective),
                       d_state * ("C" in selective)]
        self.x_proj = nn.Linear(d_inner, sum(self.widths), bias=False) if selective else None
        self.dt_proj = None
        if "delta" in selective and dt_rank != "broadcast":
            self.dt_proj = nn.Linear(rank, d_inner, bias=False)
            nn.init.uniform_(self.dt_proj.weight, -rank**-0.5, rank**-0.5)
        start = log_uniform(d_inner, delta_min, delta_max).exp()
        # The inverse of softplus: with Δ_low near 0, Δ starts where it was drawn.
        self.dt_bias = nn.Parameter(start + (-torch.expm1(-start)).log())
        self.A_log = nn.Parameter(torch.arange(1.0, d_state + 1).log().repeat(d_inner, 1))
        self.D = nn.Parameter(torch.ones(d_inner))
        self.B = None if "B" in selective else nn.Parameter(torch.randn(d_state))
        self.C = None if "C" in selective else nn.Parameter(torch.randn(d_state))

    @property
    def A(self) -> Tensor:
        """(d_inner, d_state), negative whatever A_log is; in float32 at the least."""
        return -self.A_log.to(torch.promote_types(self.A_log.dtype, torch.float32)).exp()

    def initial_state(self, batch: int) -> Tensor:
        """The state before the first step: zeros, (batch, d_inner, d_state)."""
        return torch.zeros_like(self.A).expand(batch, -1, -1)

    def parameters_for(self, x: Tensor) -> Parameters:
        """Δ, B and C for this input."""
        raw, B, C = self._raw(x)
        return Parameters(softplus(raw + self.dt_bias), B, C)

    def _raw(self, x: Tensor) -> Parameters:
        """The same, Δ before its bias and softplus, which the scan adds; in x's dtype, also where
        autocast multiplies in a narrower one."""
        if x.ndim != 3 or x.shape[-1] != len(self.D):
            refuse("x", f"shape (batch, length, {len(self.D)})", shape_of(x))
        made = apply(self.x_proj, x) if self.x_proj else x[..., :0]
        low, B, C = made.to(x.dtype).split(self.widths, -1)
        if self.dt_proj:
            raw = apply(self.dt_proj, low).to(x.dtype)
        else:
            # One number for all channels, or none.
            raw = (low if low.shape[-1] else torch.zeros_like(x[..., :1])).expand_as(x)
        steps = (*x.shape[:2], self.A_log.shape[1])
        return Parameters(raw, B if self.B is None else self.B.expand(steps),
                          C if self.C is None else self.C.expand(steps))

    def forward(self, x: Tensor, z: Tensor | None = None, *,
                initial_state: Tensor | None = None, return_last_state: bool = False,
                method: str = "auto") -> Tensor | tuple[Tensor, Tensor]:
        """(batch, length, d_inner) to the same; the rest as in `selective_scan`."""
        raw, B, C = self._raw(x)
        return selective_scan(x, raw, self.A, B, C, self.D, z, delta_bias=self.dt_bias,
                              delta_softplus=True, initial_state=initial_state,
                              return_last_state=return_last_state, method=method)

    def step(self, x: Tensor, h: Tensor, z: Tensor | None = None, *,
             in_place: bool = False) -> tuple[Tensor, Tensor]:
        """One step: x (batch, d_inner), the state before it and, as in `selective_scan`, z; to y
        and the state after it, with `in_place` in the tensor of the one before."""
        raw, B, C = (part[:, 0] for part in self._raw(x[:, None]))
        if decode.runs(x):
            return decode.scan(x, raw, self.A_log, B, C, self.D, z, self.dt_bias, h,
                             in_place=in_place)
        delta = softplus(raw.to(h.dtype) + self.dt_bias)[..., None]      # (batch, d_inner, 1)
        wide = x[..., None].to(h.dtype)
        after = torch.exp(delta * self.A) * h + delta * wide * B[:, None]
        y = (after @ C.to(h.dtype)[..., None] + self.D[:, None] * wide)[..., 0].to(x.dtype)
        return y if z is None else y * silu(z), h.copy_(after) if in_place else after
