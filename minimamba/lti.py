"""Three faces of one linear time-invariant map: recurrence, kernel, convolution.

    h_t = Ā h_{t−1} + B̄ x_t,   y_t = C h_t        one step after the other
    K = (CB̄, CĀB̄, CĀ²B̄, …)                         what an impulse leaves behind
    y = K * x                                       all steps at once, by FFT

(Gu et al. 2021, arXiv:2111.00396, equations 3 to 5.) B_bar has the shape of the state, (N,)
or (channels, N), and C too. A_bar has that shape when it is diagonal and one more axis of
size N when it is dense; neither has an axis for time, and a first axis is read as channels.
The input x is (..., length) for one system and
(..., length, channels) for channels of them. Numbers may be complex; then so is y.
"""

import torch
from torch import Tensor

from minimamba.arguments import check_count, check_shape, check_system, refuse, shape_of
from minimamba.shapes import act


def step(A_bar: Tensor, B_bar: Tensor, C: Tensor, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    """One step: h = Ā h + B̄ x, y = C h.

    Args:
        A_bar, B_bar, C: the system; shapes as the module says, without an axis for time.
        x: (...) for one system, (..., channels) for channels.
        h: x's shape + (N,), the state before this step.

    Returns:
        y of x's shape, and the state after it.
    """
    dense = _is_dense(A_bar, B_bar, C, x=x, h=h)
    channels = tuple(B_bar.shape[:-1])
    if tuple(x.shape[x.ndim - len(channels):]) != channels:
        refuse("x", f"a last axis of {channels[0]} channels", shape_of(x))
    check_shape("h", h, (*x.shape, B_bar.shape[-1]), "x's shape + (N,)")
    h = act(A_bar, h, dense) + B_bar * x[..., None]
    return (C * h).sum(-1), h


def recurrence(A_bar: Tensor, B_bar: Tensor, C: Tensor, x: Tensor, *,
               initial_state: Tensor | None = None,
               return_last_state: bool = False) -> Tensor | tuple[Tensor, Tensor]:
    """Run the system over x, one step after the other: work and memory linear in length.

    Args:
        A_bar, B_bar, C: the system; shapes as the module says, without an axis for time.
        x: (..., length) for one system, (..., length, channels) for channels.
        initial_state: (..., N) or (..., channels, N), the state before the first step.
        return_last_state: whether to give the state after the last step too.

    Returns:
        y of x's shape; with `return_last_state`, (y, last_state).
    """
    dense = _is_dense(A_bar, B_bar, C, x=x)
    time = _time_axis(x, B_bar.shape[:-1], "B_bar")
    batch = x.shape[:-1] if time == -1 else (*x.shape[:-2], x.shape[-1])
    shape = (*batch, B_bar.shape[-1])
    h = x.new_zeros(shape) if initial_state is None else initial_state
    check_system(A_bar=A_bar, initial_state=h)
    check_shape("initial_state", h, shape, "x's shape without length + (N,)")
    outputs = []
    for x_t in x.unbind(time):
        h = act(A_bar, h, dense) + B_bar * x_t[..., None]
        outputs.append((C * h).sum(-1))
    y = torch.stack(outputs, time)
    return (y, h) if return_last_state else y


def kernel(A_bar: Tensor, B_bar: Tensor, C: Tensor, length: int) -> Tensor:
    """K_l = C Ā^l B̄ for l = 0 … length − 1: the output after a unit impulse.

    The powers come by doubling (l of them and Ā^l give 2l), so the depth is log2(length).

    Returns:
        (length,) for one system, (length, channels) for channels.
    """
    dense = _is_dense(A_bar, B_bar, C)
    check_count("length", length)
    states, power = B_bar[None], A_bar
    while len(states) < length:
        more = states[:length - len(states)]
        states = torch.cat([states, act(power, more, dense)])
        power = power @ power if dense else power * power
    return (C * states).sum(-1)


def convolve(kernel: Tensor, x: Tensor) -> Tensor:
    """Causal convolution by FFT: y_t = Σ_{l ≤ t} K_l x_{t−l}.

    Padded past kernel + input − 1, so that nothing of the end wraps round to the start, and
    to a power of two, which an FFT likes best.

    Args:
        kernel: (taps,) for one system, (taps, channels) for channels; any number of taps.
        x: (..., length), or (..., length, channels).

    Returns:
        y of x's shape, in O(length log length) operations.
    """
    check_system(kernel=kernel, x=x)
    if kernel.ndim not in (1, 2):
        refuse("kernel", "shape (taps,) or (taps, channels)", shape_of(kernel))
    time = _time_axis(x, kernel.shape[1:], "kernel")
    length = x.shape[time]
    kernel = kernel[:length]
    size = 2 ** (kernel.shape[0] + length - 2).bit_length()
    if kernel.is_complex() or x.is_complex():
        spectrum = torch.fft.fft(x, size, time) * torch.fft.fft(kernel, size, 0)
        y = torch.fft.ifft(spectrum, size, time)
    else:
        spectrum = torch.fft.rfft(x, size, time) * torch.fft.rfft(kernel, size, 0)
        y = torch.fft.irfft(spectrum, size, time)
    return y.narrow(time, 0, length)


def _is_dense(A_bar: Tensor, B_bar: Tensor, C: Tensor, **signals: Tensor) -> bool:
    """Check the system; say whether A_bar is a matrix or diagonal."""
    check_system(A_bar=A_bar, B_bar=B_bar, C=C, **signals)
    if B_bar.ndim not in (1, 2):
        refuse("B_bar", "shape (N,) or (channels, N)", shape_of(B_bar))
    check_shape("C", C, tuple(B_bar.shape), "that of B_bar")
    if A_bar.shape == B_bar.shape:
        return False
    if tuple(A_bar.shape) == (*B_bar.shape, B_bar.shape[-1]):
        return True
    N = B_bar.shape[-1]
    refuse("A_bar", f"shape {tuple(B_bar.shape)} (diagonal) or {(*B_bar.shape, N)} (dense); a "
           "system that changes from step to step is no LTI system", shape_of(A_bar))


def _time_axis(x: Tensor, channels: torch.Size, beside: str) -> int:
    """Where x keeps time: last for one system, next to last before channels."""
    if x.ndim < 1 + len(channels) or x.shape[x.ndim - len(channels):] != channels:
        wanted = f"(..., length, {channels[0]})" if channels else "(..., length)"
        refuse("x", f"shape {wanted}, for the channels of {beside}", shape_of(x))
    return -1 - len(channels)
