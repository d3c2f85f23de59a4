"""A linear time-invariant (LTI) system, computed as a recurrence or as a convolution.

    h_t = Ā h_{t−1} + B̄ x_t,   y_t = C h_t        recurrence: one step after the other
    K = (CB̄, CĀB̄, CĀ²B̄, …)                         kernel: the response to a unit impulse
    y = K * x                                       convolution by FFT: all steps at once

(Gu et al. 2021, arXiv:2111.00396, equations 3 to 5.) All functions here take the same shapes:

| argument | one system | one system per channel |
|---|---|---|
| A_bar, diagonal | (N,) | (channels, N) |
| A_bar, dense | (N, N) | (channels, N, N) |
| B_bar and C | (N,) | (channels, N) |
| x and y | (..., length) | (..., length, channels) |

None of the system's parts has a time axis. All may be complex; then y is complex too.
"""

from typing import Literal, overload

import torch
from torch import Tensor

from minimamba.arguments import check_bool, check_count, check_shape, check_system, refuse, shape_of
from minimamba.autocast import without_autocast
from minimamba.shapes import apply_A


@without_autocast
def step(A_bar: Tensor, B_bar: Tensor, C: Tensor, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    """Compute one step: h_t = Ā h_{t−1} + B̄ x_t, y_t = C h_t.

    Args:
        A_bar: (N,) or (channels, N) diagonal; one more axis of size N if dense.
        B_bar: (N,) or (channels, N).
        C: of B_bar's shape.
        x: x_t, (...) for one system, (..., channels) for one per channel.
        h: h_{t−1}, x's shape + (N,), the hidden state before this step.

    Returns:
        y_t, of x's shape, and h_t, of h's shape.

    Raises:
        ValueError: for a wrong shape, dtype or device, or NaN.
    """
    dense = _is_dense(A_bar, B_bar, C, x=x, h=h)
    channels = tuple(B_bar.shape[:-1])
    if tuple(x.shape[x.ndim - len(channels):]) != channels:
        refuse("x", f"a last axis of {channels[0]} channels", shape_of(x))
    check_shape("h", h, (*x.shape, B_bar.shape[-1]), "x's shape + (N,)")
    h_next = apply_A(A_bar, h, dense) + B_bar * x[..., None]
    return (C * h_next).sum(-1), h_next


@overload
def recurrence(A_bar: Tensor, B_bar: Tensor, C: Tensor, x: Tensor, *,
               initial_state: Tensor | None = None,
               return_last_state: Literal[False] = False) -> Tensor: ...
@overload
def recurrence(A_bar: Tensor, B_bar: Tensor, C: Tensor, x: Tensor, *,
               initial_state: Tensor | None = None,
               return_last_state: Literal[True]) -> tuple[Tensor, Tensor]: ...
@without_autocast
def recurrence(A_bar, B_bar, C, x, *, initial_state=None, return_last_state=False):
    """Run the system over x, one step after the other.

    Args:
        A_bar: (N,) or (channels, N) diagonal; one more axis of size N if dense.
        B_bar: (N,) or (channels, N).
        C: of B_bar's shape.
        x: (..., length) for one system, (..., length, channels) for one per channel.
        initial_state: (..., N) or (..., channels, N), the hidden state before the first step;
            zeros if None.
        return_last_state: whether to return the hidden state after the last step too.

    Returns:
        y, of x's shape; with `return_last_state`, (y, last_state).

    Raises:
        ValueError: for a wrong shape, dtype or device, or NaN.
    """
    check_bool("return_last_state", return_last_state)
    dense = _is_dense(A_bar, B_bar, C, x=x)
    time = _time_axis(x, B_bar.shape[:-1], "B_bar")
    batch = x.shape[:-1] if time == -1 else (*x.shape[:-2], x.shape[-1])
    shape = (*batch, B_bar.shape[-1])
    h = x.new_zeros(shape) if initial_state is None else initial_state
    check_system(A_bar=A_bar, initial_state=h)
    check_shape("initial_state", h, shape, "x's shape without length + (N,)")
    outputs = []
    for x_t in x.unbind(time):
        h = apply_A(A_bar, h, dense) + B_bar * x_t[..., None]
        outputs.append((C * h).sum(-1))
    y = torch.stack(outputs, time)
    return (y, h) if return_last_state else y


@without_autocast
def kernel(A_bar: Tensor, B_bar: Tensor, C: Tensor, length: int) -> Tensor:
    """Compute the convolution kernel K_l = C Ā^l B̄ for l = 0 … length − 1.

    The powers are computed by doubling (l of them and Ā^l give 2l), in log₂(length) rounds.

    Args:
        A_bar: (N,) or (channels, N) diagonal; one more axis of size N if dense.
        B_bar: (N,) or (channels, N).
        C: of B_bar's shape.
        length: the number of entries.

    Returns:
        K, (length,) for one system, (length, channels) for one per channel.

    Raises:
        ValueError: for a wrong shape, dtype or device, NaN, or a length below 1.

    Example:
        >>> import torch
        >>> kernel(torch.tensor([0.5]), torch.tensor([1.0]), torch.tensor([2.0]), length=4)
        tensor([2.0000, 1.0000, 0.5000, 0.2500])
    """
    dense = _is_dense(A_bar, B_bar, C)
    check_count("length", length)
    states = B_bar[None]                                        # states[l] = Ā^l B̄
    power = A_bar                                               # Ā^len(states)
    while len(states) < length:
        missing = length - len(states)
        states = torch.cat([states, apply_A(power, states[:missing], dense)])
        power = power @ power if dense else power * power
    return (C * states).sum(-1)


@without_autocast
def convolve(kernel: Tensor, x: Tensor) -> Tensor:
    """Compute the causal convolution y_t = Σ_{l ≤ t} K_l x_{t−l} by FFT.

    Both are zero-padded to a power of two of at least len(kernel) + length − 1, so that the end
    can't wrap around to the start; FFTs are fastest at powers of two.

    Args:
        kernel: (taps,) for one system, (taps, channels) for one per channel; any number of taps.
        x: (..., length), or (..., length, channels).

    Returns:
        y, of x's shape, in O(length log length) operations.

    Raises:
        ValueError: for a wrong shape, dtype or device, or NaN.
    """
    check_system(kernel=kernel, x=x)
    if kernel.ndim not in (1, 2):
        refuse("kernel", "shape (taps,) or (taps, channels)", shape_of(kernel))
    time = _time_axis(x, kernel.shape[1:], "kernel")
    length = x.shape[time]
    kernel = kernel[:length]
    size = 2 ** int(kernel.shape[0] + length - 2).bit_length()
    if kernel.is_complex() or x.is_complex():
        spectrum = torch.fft.fft(x, size, time) * torch.fft.fft(kernel, size, 0)
        y = torch.fft.ifft(spectrum, size, time)
    else:
        spectrum = torch.fft.rfft(x, size, time) * torch.fft.rfft(kernel, size, 0)
        y = torch.fft.irfft(spectrum, size, time)
    return y.narrow(time, 0, length)


def _is_dense(A_bar: Tensor, B_bar: Tensor, C: Tensor, **signals: Tensor) -> bool:
    """Check the system, and say whether A_bar is a matrix."""
    check_system(A_bar=A_bar, B_bar=B_bar, C=C, **signals)
    if B_bar.ndim not in (1, 2):
        refuse("B_bar", "shape (N,) or (channels, N)", shape_of(B_bar))
    check_shape("C", C, tuple(B_bar.shape), "that of B_bar")
    if A_bar.shape == B_bar.shape:
        return False
    if tuple(A_bar.shape) == (*B_bar.shape, B_bar.shape[-1]):
        return True
    N = B_bar.shape[-1]
    refuse("A_bar", f"shape {tuple(B_bar.shape)} (diagonal) or {(*B_bar.shape, N)} (dense), "
           "since an LTI system is the same at every step", shape_of(A_bar))


def _time_axis(x: Tensor, channels: torch.Size, name: str) -> int:
    """Find the time axis of x: the last for one system, else the one before the channels."""
    if x.ndim < 1 + len(channels) or x.shape[x.ndim - len(channels):] != channels:
        shape = f"(..., length, {channels[0]})" if channels else "(..., length)"
        refuse("x", f"shape {shape}, for the channels of {name}", shape_of(x))
    return -1 - len(channels)
