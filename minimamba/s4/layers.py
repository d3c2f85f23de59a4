"""S4 as a neural network layer: one linear time-invariant system a feature, and a skip.

    y = K * x + D x        while training, all steps at once
    h = Ā h + B̄ x, …       while generating, one step after the other, from the same parameters

A layer mixes along time alone and is linear; mixing the features and a nonlinearity are the
business of the block around it.
"""

from abc import ABC, abstractmethod
from typing import Literal

import torch
from torch import Tensor, nn

from minimamba import discretize, lti
from minimamba.arguments import check_count, check_one_of, check_shape, refuse, shape_of
from minimamba.s4 import diagonal, dplr
from minimamba.shapes import log_uniform

RULES = {"zoh": discretize.zoh, "bilinear": discretize.bilinear}


def _parameter(x: Tensor) -> nn.Parameter:
    """In the default dtype; a complex number as two real ones, which every optimizer knows."""
    x = torch.view_as_real(x) if x.is_complex() else x
    return nn.Parameter(x.to(torch.get_default_dtype()).clone(
        memory_format=torch.contiguous_format))


class System(nn.Module, ABC):
    """What S4D and S4 share: Δ and D a feature, the convolution, the steps.

    Args:
        d_model: the number of features, each with a system of its own.
        delta_min, delta_max: Δ starts between these, uniformly in its logarithm. A system with
            step Δ sees about 1/Δ steps of the past, so these are many different horizons.
    """

    def __init__(self, d_model: int, delta_min: float, delta_max: float) -> None:
        super().__init__()
        check_count("d_model", d_model)
        self.log_delta = nn.Parameter(log_uniform(d_model, delta_min, delta_max))
        self.D = nn.Parameter(torch.randn(d_model))

    @abstractmethod
    def kernel(self, length: int) -> Tensor:
        """K, real, (length, d_model)."""

    @abstractmethod
    def discrete(self) -> tuple[Tensor, Tensor, Tensor]:
        """(A_bar, B_bar, C) for `step`: compute them once, then take as many steps as you like."""

    def forward(self, x: Tensor) -> Tensor:
        """All steps at once: (batch, length, d_model) to the same, in O(length log length)."""
        d_model = len(self.D)
        if not isinstance(x, Tensor):
            refuse("x", "a torch.Tensor", type(x).__name__)
        if x.ndim != 3 or x.shape[-1] != d_model or not x.numel():
            refuse("x", f"shape (batch, length, {d_model})", shape_of(x))
        return lti.convolve(self.kernel(x.shape[1]), x) + self.D * x

    def init_cache(self, batch: int) -> Tensor:
        """The state before the first step: zeros, (batch, d_model, numbers of state)."""
        check_count("batch", batch)
        _, B_bar, _ = self.discrete()
        return B_bar.new_zeros(batch, *B_bar.shape)

    def step(self, x: Tensor, h: Tensor, system: tuple[Tensor, Tensor, Tensor] | None = None
             ) -> tuple[Tensor, Tensor]:
        """One step, which costs the same however long it has been running.

        Args:
            x: (batch, d_model), the input of this step.
            h: the state before it; `cache` at the start.
            system: what `discrete` gave; computed anew if None.

        Returns:
            y (batch, d_model) and the state after it.
        """
        check_shape("x", x, (len(h), len(self.D)), "(batch, d_model)")
        y, h = lti.step(*(system or self.discrete()), x, h)
        return (y.real if y.is_complex() else y) + self.D * x, h


class S4D(System):
    """A diagonal system a feature (Gu et al. 2022, arXiv:2206.11893).

    Args:
        d_model: the number of features.
        d_state: how many numbers of state each has, conjugates counted.
        init: where A starts, see `diagonal.initial`.
        rule: how A and B become steps.
        delta_min, delta_max: between which Δ starts.
    """

    def __init__(self, d_model: int, d_state: int = 64, *,
                 init: Literal["lin", "inv", "legs", "real"] = "lin",
                 rule: Literal["zoh", "bilinear"] = "zoh",
                 delta_min: float = 0.001, delta_max: float = 0.1) -> None:
        super().__init__(d_model, delta_min, delta_max)
        check_one_of("rule", rule, RULES)
        self.rule = RULES[rule]
        A = diagonal.initial(init, d_state).repeat(d_model, 1)
        self.log_decay = _parameter((-A.real).log())
        self.frequency = _parameter(A.imag) if A.is_complex() else None
        self.B, self.C = _parameter(torch.ones_like(A)), _parameter(torch.randn_like(A))

    @property
    def A(self) -> Tensor:
        """(d_model, d_state) real, or (d_model, d_state/2) complex; always fading."""
        decay = -self.log_decay.exp()
        return decay if self.frequency is None else torch.complex(decay, self.frequency)

    def _parts(self) -> tuple[Tensor, Tensor, Tensor]:
        if self.frequency is None:
            return self.A, self.B, self.C
        return self.A, torch.view_as_complex(self.B), torch.view_as_complex(self.C)

    def forward(self, x: Tensor, cache: Tensor | None = None, *,
                attention_mask: Tensor | None = None,
                return_cache: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        """All steps at once, from a state, (batch, d_model, numbers of state), if one is given;
        with `return_cache`, (y, the state after them). To carry it takes memory of length
        times the state, so a long signal is better read in parts."""
        if attention_mask is not None:
            x = x * attention_mask[..., None]
        y = super().forward(x)
        if cache is None and not return_cache:
            return y
        A_bar, B_bar, C = self.discrete()
        powers, last = diagonal.powers(A_bar, x.shape[1])        # (d_model, length, …)
        h = torch.einsum("dln,bld->bdn", powers.flip(1) * B_bar[:, None], x.to(powers.dtype))
        if cache is not None:
            seen = powers * (A_bar * C)[:, None]
            y = y + torch.einsum("dln,bdn->bld", seen, cache).real
            h = h + last * cache
        return (y, h) if return_cache else y

    def kernel(self, length: int) -> Tensor:
        A, B, C = self._parts()
        return diagonal.kernel(A, B, C, self.log_delta.exp(), length, self.rule)

    def discrete(self) -> tuple[Tensor, Tensor, Tensor]:
        A, B, C = self._parts()
        return *self.rule(A, B, self.log_delta.exp()), diagonal.fold(A, C)


class S4(System):
    """A DPLR system a feature, from HiPPO-LegS, by the bilinear rule (arXiv:2111.00396).

    A = Λ − P P* with the real parts of Λ below 0, so no parameters make it unstable
    (Goel et al. 2022, arXiv:2202.09729).

    Args:
        d_model: the number of features.
        d_state: how many numbers of state each has, an even number.
        delta_min, delta_max: between which Δ starts.
    """

    def __init__(self, d_model: int, d_state: int = 64, *, delta_min: float = 0.001,
                 delta_max: float = 0.1) -> None:
        super().__init__(d_model, delta_min, delta_max)
        Lambda, P, B = (part.expand(d_model, *part.shape) for part in dplr.legs(d_state))
        self.log_decay, self.frequency = _parameter((-Lambda.real).log()), _parameter(Lambda.imag)
        self.P, self.B = _parameter(P), _parameter(B)
        self.C = _parameter(torch.randn_like(Lambda))

    @property
    def continuous(self) -> dplr.DPLR:
        """Λ, P and B, one system a feature."""
        Lambda = torch.complex(-self.log_decay.exp(), self.frequency)
        return dplr.DPLR(Lambda, torch.view_as_complex(self.P), torch.view_as_complex(self.B))

    def kernel(self, length: int) -> Tensor:
        C, delta = torch.view_as_complex(self.C), self.log_delta.exp()
        return dplr.kernel(self.continuous, C, delta, length)

    def discrete(self) -> tuple[Tensor, Tensor, Tensor]:
        return dplr.discrete(self.continuous, torch.view_as_complex(self.C), self.log_delta.exp())
