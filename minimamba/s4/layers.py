"""S4 as a neural network layer: one linear time-invariant system per channel, and a skip.

    y = K * x + D x                         as a convolution, all steps at once: training, prefill
    h_t = Ā h_{t−1} + B̄ x_t, …              as a recurrence, step by step: generation

Both use the same parameters. A layer is linear and mixes a sequence along time only; the block
around it mixes the channels and has the nonlinearity.
"""

from abc import ABC, abstractmethod
from typing import Literal, overload

import torch
from torch import Tensor, nn

from minimamba import discretize, lti
from minimamba.arguments import (
    as_bool_mask,
    check_bool,
    check_count,
    check_features,
    check_one_of,
    check_passes_gradients,
    check_state,
    check_tensor,
    refuse,
)
from minimamba.autocast import without_autocast
from minimamba.s4 import diagonal, dplr
from minimamba.shapes import log_uniform

DISCRETIZATIONS = {"zoh": discretize.zoh, "bilinear": discretize.bilinear}


HALF = (torch.float16, torch.bfloat16)
"""The dtypes of x beside that of the system, and of parameters beside float32 and float64."""


def _parameter(x: Tensor) -> nn.Parameter:
    """Create a parameter in the default dtype; complex values get a last axis (real, imaginary)."""
    values = torch.view_as_real(x) if x.is_complex() else x
    # A copy with strides of its own: x may be expanded along the channels.
    return nn.Parameter(values.to(torch.get_default_dtype()).clone(
        memory_format=torch.contiguous_format))


def _wide(parameter: Tensor) -> Tensor:
    """A parameter in float32 at least: in half precision, the powers of Ā lose their digits."""
    return parameter.to(torch.promote_types(parameter.dtype, torch.float32))


def _complex(parameter: Tensor) -> Tensor:
    """A parameter with a last axis (real, imaginary) as complex numbers, complex64 at least."""
    return torch.view_as_complex(_wide(parameter))


class S4Layer(nn.Module, ABC):
    """Base class of S4D and S4: the step size Δ, the skip D, convolution and recurrence.

    Args:
        d_model: the number of channels, each with a system of its own.
        delta_min: the smallest initial Δ. Δ is initialized uniformly in log Δ. A channel with step
            size Δ remembers about 1/Δ steps, so these are many different horizons.
        delta_max: the largest initial Δ.
    """

    def __init__(self, d_model: int, delta_min: float, delta_max: float) -> None:
        super().__init__()
        check_count("d_model", d_model)
        self.log_delta = nn.Parameter(log_uniform(d_model, delta_min, delta_max))
        self.D = nn.Parameter(torch.randn(d_model))

    @property
    def delta(self) -> Tensor:
        """The step sizes Δ (d_model,), in float32 or float64."""
        return _wide(self.log_delta).exp()

    @abstractmethod
    def kernel(self, length: int) -> Tensor:
        """Compute the convolution kernels K of all channels.

        Args:
            length: the number of entries.

        Returns:
            K, real, (length, d_model).
        """

    @abstractmethod
    def discrete_system(self) -> tuple[Tensor, Tensor, Tensor]:
        """Discretize the system for `step`. Do it once, then take any number of steps.

        Returns:
            A_bar, B_bar and C, with the shapes of `minimamba.lti`.
        """

    @without_autocast
    def forward(self, x: Tensor) -> Tensor:
        """Process all steps at once, as a convolution, in O(length log length).

        The layer starts from the zero state and does not return the one it ends with. For a
        sequence in parts, use `step`, or `S4D`, whose `forward` takes and returns a cache.

        Args:
            x: (batch, length, d_model), the input sequence, in the parameters' dtype or half
                precision. All is computed in float32 or float64.

        Returns:
            (batch, length, d_model), in x's dtype.

        Raises:
            ValueError: for a wrong shape or dtype, or NaN.
        """
        self._check_input(x)
        return self._convolve(x.to(self.delta.dtype)).to(x.dtype)

    def _convolve(self, x: Tensor) -> Tensor:
        return lti.convolve(self.kernel(int(x.shape[1])), x) + self.D * x

    def init_cache(self, batch: int) -> Tensor:
        """Create the cache of a layer that has seen nothing yet: the zero state.

        Args:
            batch: the number of sequences.

        Returns:
            Zeros, (batch, d_model, N); in `S4D` with a complex A, (batch, d_model, N/2) complex.
            In single or double precision, whatever the parameters have.
        """
        check_count("batch", batch)
        _, B_bar, _ = self.discrete_system()
        return B_bar.new_zeros(batch, *B_bar.shape)

    @without_autocast
    def step(self, x: Tensor, cache: Tensor,
             system: tuple[Tensor, Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        """Process one step, as a recurrence; its cost does not depend on the position.

        Args:
            x: (batch, d_model), the input of this step.
            cache: the state before it, as `init_cache` or the last step returned it; it is not
                changed.
            system: what `discrete_system` returned; computed again if None.

        Returns:
            The output (batch, d_model), and the state after this step.

        Raises:
            ValueError: for a wrong shape or dtype, or NaN.
        """
        self._check_input(x, "batch")
        if system is None:
            system = self.discrete_system()
        elif not (isinstance(system, tuple) and len(system) == 3
                  and all(isinstance(part, Tensor) for part in system)):
            refuse("system", "what `discrete_system` returned", type(system).__name__)
        A_bar, B_bar, C = system
        self._check_cache(cache, len(x), B_bar)
        wide = x.to(self.delta.dtype)
        y, h = lti.step(A_bar, B_bar, C, wide, cache)
        return ((y.real if y.is_complex() else y) + self.D * wide).to(x.dtype), h

    def _check_input(self, x: Tensor, axes: str = "batch, length") -> None:
        """Check the input of `forward`: (batch, length, d_model), or that of `step`."""
        check_features("x", x, axes, len(self.D), self.D, any_dtype=True)
        check_tensor("x", x, (*HALF, self.delta.dtype))

    def _check_cache(self, cache: Tensor, batch: int, B_bar: Tensor) -> None:
        check_state("cache", cache, (batch, *B_bar.shape), "that of init_cache(batch)", self.D,
                    B_bar.dtype)
        check_passes_gradients("cache", cache, self.log_delta)


class S4D(S4Layer):
    """S4 with a diagonal A (Gu et al. 2022, arXiv:2206.11893).

    Args:
        d_model: the number of channels.
        d_state: the state dimension N of each channel, counting both of a conjugate pair.
        init: how A is initialized, "lin", "inv", "legs" or "real"; see `diagonal.initial_A`.
        discretization: "zoh" or "bilinear".
        delta_min: the smallest initial Δ.
        delta_max: the largest initial Δ.

    Example:
        One part of a sequence after the other gives what the whole sequence gives:

        >>> import torch
        >>> layer = S4D(d_model=4, d_state=8)
        >>> x = torch.randn(2, 10, 4)
        >>> first, cache = layer(x[:, :6], return_cache=True)
        >>> cache.shape, cache.dtype
        (torch.Size([2, 4, 4]), torch.complex64)
        >>> rest = layer(x[:, 6:], cache)
        >>> torch.allclose(torch.cat([first, rest], 1), layer(x), atol=1e-4)
        True
    """

    def __init__(self, d_model: int, d_state: int = 64, *,
                 init: Literal["lin", "inv", "legs", "real"] = "lin",
                 discretization: Literal["zoh", "bilinear"] = "zoh",
                 delta_min: float = 0.001, delta_max: float = 0.1) -> None:
        super().__init__(d_model, delta_min, delta_max)
        check_one_of("discretization", discretization, DISCRETIZATIONS)
        self.discretize = DISCRETIZATIONS[discretization]
        A = diagonal.initial_A(init, d_state).repeat(d_model, 1)
        self.log_decay = _parameter((-A.real).log())
        self.frequency = _parameter(A.imag) if A.is_complex() else None
        self.B = _parameter(torch.ones_like(A))
        self.C = _parameter(torch.randn_like(A))

    @property
    def A(self) -> Tensor:
        """A, (d_model, N) real or (d_model, N/2) complex; its real parts are always negative."""
        decay = -_wide(self.log_decay).exp()
        return decay if self.frequency is None else torch.complex(decay, _wide(self.frequency))

    def continuous_system(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the continuous parameters A, B and C.

        Returns:
            Three of shape (d_model, N) real, or (d_model, N/2) complex, one of each pair.
        """
        if self.frequency is None:
            return self.A, _wide(self.B), _wide(self.C)
        return self.A, _complex(self.B), _complex(self.C)

    def discrete_system(self) -> tuple[Tensor, Tensor, Tensor]:
        """Discretize the system for `step`. Do it once, then take any number of steps.

        Returns:
            A_bar, B_bar and C, (d_model, N) real or (d_model, N/2) complex. The output is the
            real part of C h, so C counts both of a conjugate pair.
        """
        A, B, C = self.continuous_system()
        A_bar, B_bar = self.discretize(A, B, self.delta)
        return A_bar, B_bar, diagonal.include_conjugates(A, C)

    def kernel(self, length: int) -> Tensor:
        """Compute the convolution kernels K of all channels, as a Vandermonde product.

        Args:
            length: the number of entries.

        Returns:
            K, real, (length, d_model).
        """
        A, B, C = self.continuous_system()
        return diagonal.kernel(A, B, C, self.delta, length, self.discretize)

    @overload
    def forward(self, x: Tensor, cache: Tensor | None = None, *,
                attention_mask: Tensor | None = None,
                return_cache: Literal[False] = False) -> Tensor: ...
    @overload
    def forward(self, x: Tensor, cache: Tensor | None = None, *,
                attention_mask: Tensor | None = None,
                return_cache: Literal[True]) -> tuple[Tensor, Tensor]: ...
    @without_autocast
    def forward(self, x, cache=None, *, attention_mask=None, return_cache=False):
        """Process all steps at once, as a convolution, in O(length log length).

        Taking or returning a cache needs memory of length times the size of the state, so split a
        very long sequence into parts.

        Args:
            x: (batch, length, d_model), the input sequence.
            cache: the state before the first step, as `init_cache` or an earlier call returned
                it; zeros if None.
            attention_mask: (batch, length), bool or integer: 1 or True where there is a token, 0
                at padding. Padding stands to the left and leaves the state as it is.
            return_cache: whether to return the state after the last step too.

        Returns:
            (batch, length, d_model); with `return_cache`, a pair of that and the cache.

        Raises:
            ValueError: for a wrong shape or dtype, or NaN.
        """
        self._check_input(x)
        check_bool("return_cache", return_cache)
        if attention_mask is not None:
            attention_mask = as_bool_mask(attention_mask, *x.shape[:2], x.device)
            x = x.masked_fill(~attention_mask[..., None], 0)
        dtype = x.dtype
        x = x.to(self.delta.dtype)
        y = self._convolve(x)
        if cache is None and not return_cache:
            return y.to(dtype)
        A_bar, B_bar, C = self.discrete_system()
        A_powers, A_power_length = diagonal.powers(A_bar, int(x.shape[1]))   # (d_model, length, N)
        h = torch.einsum("dln,bld->bdn", A_powers.flip(1) * B_bar[:, None], x.to(A_powers.dtype))
        if cache is not None:
            self._check_cache(cache, len(x), B_bar)
            readout = A_powers * (A_bar * C)[:, None]
            y_cache = torch.einsum("dln,bdn->bld", readout, cache).real
            decay = A_power_length
            if attention_mask is not None:
                # The state decays from the first token on.
                tokens = attention_mask.cumsum(1)                              # up to each step
                y_cache = y_cache.gather(1, (tokens - 1).clamp(min=0)[..., None].expand_as(y_cache))
                decay = torch.cat([A_powers, A_power_length[:, None]], 1)[:, tokens[:, -1]]
                decay = decay.transpose(0, 1)                                  # (batch, d_model, N)
            y = y + y_cache
            h = h + decay * cache
        return (y.to(dtype), h) if return_cache else y.to(dtype)


class S4(S4Layer):
    """S4 with HiPPO-LegS as diagonal plus low rank, and the bilinear rule (arXiv:2111.00396).

    A = Λ − P P*, and the real parts of Λ are negative whatever the parameters are, so the system
    is always stable (Goel et al. 2022, arXiv:2202.09729).

    Args:
        d_model: the number of channels.
        d_state: the state dimension N of each channel, even.
        delta_min: the smallest initial Δ.
        delta_max: the largest initial Δ.
    """

    def __init__(self, d_model: int, d_state: int = 64, *, delta_min: float = 0.001,
                 delta_max: float = 0.1) -> None:
        super().__init__(d_model, delta_min, delta_max)
        check_count("d_state", d_state)
        if d_state % 2:
            refuse("d_state", "an even number, for conjugate pairs", d_state)
        Lambda, P, B = (part.expand(d_model, *part.shape) for part in dplr.legs(d_state))
        self.log_decay = _parameter((-Lambda.real).log())
        self.frequency = _parameter(Lambda.imag)
        self.P = _parameter(P)
        self.B = _parameter(B)
        self.C = _parameter(torch.randn_like(Lambda))

    def continuous_system(self) -> tuple[dplr.DPLR, Tensor]:
        """Return the continuous parameters.

        Returns:
            Λ, P and B as a `dplr.DPLR` with d_model channels, and C (d_model, N/2); complex.
        """
        Lambda = torch.complex(-_wide(self.log_decay).exp(), _wide(self.frequency))
        return dplr.DPLR(Lambda, _complex(self.P), _complex(self.B)), _complex(self.C)

    def discrete_system(self) -> tuple[Tensor, Tensor, Tensor]:
        """Discretize the system for `step`. Do it once, then take any number of steps.

        Returns:
            A_bar (d_model, N, N), B_bar and C (d_model, N), real.
        """
        return dplr.bilinear(*self.continuous_system(), self.delta)

    def kernel(self, length: int) -> Tensor:
        """Compute the convolution kernels K of all channels, as Cauchy products.

        Args:
            length: the number of entries.

        Returns:
            K, real, (length, d_model).
        """
        return dplr.kernel(*self.continuous_system(), self.delta, length)
