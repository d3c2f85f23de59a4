"""Chapter 03: recurrence and convolution."""

import torch

from minimamba import lti
from minimamba.course.exercises import Exercise


def kernel(A_bar, B_bar, C, length):
    """The first `length` entries of the convolution kernel."""
    lags = torch.arange(length)[:, None]
    return (C * A_bar**lags * B_bar).sum(-1)


def convolve(k, x):
    """Causal convolution of k and x through an FFT."""
    size = len(k) + len(x) - 1
    return torch.fft.irfft(torch.fft.rfft(k, size) * torch.fft.rfft(x, size), size)[:len(x)]


def from_initial_state(A_bar, B_bar, C, x, h):
    """Output of the recurrence that starts in the state h."""
    lags = range(1, len(x) + 1)
    from_h = torch.stack([(C * A_bar**lag * h).sum() for lag in lags])
    return convolve(kernel(A_bar, B_bar, C, len(x)), x) + from_h


def convolutional_mode(A_bar, B_bar, C, x):
    """Output of one diagonal system per channel, (batch, length, channels), as a convolution."""
    K = (C * A_bar**torch.arange(x.shape[1])[:, None, None] * B_bar).sum(-1)
    return _convolve_channels(K, x, 2 * x.shape[1])


def _convolve_channels(K, x, size):
    """Convolve along the length, each channel with its own kernel."""
    product = torch.fft.rfft(K, size, 0) * torch.fft.rfft(x, size, 1)
    return torch.fft.irfft(product, size, 1)[:, :x.shape[1]]


def _wrapped(k, x):
    return torch.fft.irfft(torch.fft.rfft(k) * torch.fft.rfft(x), len(x))


def _correlated(k, x):
    size = len(k) + len(x) - 1
    return torch.fft.irfft(torch.fft.rfft(k, size).conj() * torch.fft.rfft(x, size),
                           size)[:len(x)]


def _one_step_late(A_bar, B_bar, C, x, h):
    from_h = torch.stack([(C * A_bar**lag * h).sum() for lag in range(len(x))])
    return convolve(kernel(A_bar, B_bar, C, len(x)), x) + from_h


A_BAR = torch.tensor([0.9, 0.5], dtype=torch.float64)
B_BAR = torch.tensor([1.0, 2.0], dtype=torch.float64)
C = torch.tensor([1.0, -1.0], dtype=torch.float64)
X = torch.tensor([1.0, 0.0, 2.0, -1.0, 3.0], dtype=torch.float64)
H = torch.tensor([4.0, -2.0], dtype=torch.float64)
K = lti.kernel(A_BAR, B_BAR, C, 5)
CHANNELS = {"A_bar": torch.stack([A_BAR, -A_BAR, A_BAR**2]),
            "B_bar": torch.stack([B_BAR, C, B_BAR]), "C": torch.stack([C, B_BAR, B_BAR])}
SEQUENCES = torch.stack([X, -X.flip(0), X**2, X - 1, X, 2 * X]).view(2, 3, 5).transpose(1, 2)

EXERCISES = {
    "03.1": Exercise(
        kernel,
        ({"A_bar": A_BAR, "B_bar": B_BAR, "C": C, "length": 5},
         {"A_bar": -A_BAR, "B_bar": C, "C": B_BAR, "length": 3}),
        {"The first entry is C B̄: an input reaches the output in the same step, without decay.":
            lambda A_bar, B_bar, C, length: kernel(A_bar, A_bar * B_bar, C, length),
         "B̄ is missing, which adds the impulse to the state.":
            lambda A_bar, B_bar, C, length: kernel(A_bar, torch.ones_like(B_bar), C, length),
         "C is missing, which reads the state.":
            lambda A_bar, B_bar, C, length: kernel(A_bar, B_bar, torch.ones_like(C), length),
         "The kernel is backwards: the first entry is that of lag 0.":
            lambda A_bar, B_bar, C, length: kernel(A_bar, B_bar, C, length).flip(0)}),
    "03.2": Exercise(
        convolve,
        ({"k": K, "x": X}, {"k": torch.ones(5, dtype=torch.float64), "x": X}),
        {"Pass the size to irfft, irfft(…, size): it assumes an even one otherwise.":
            lambda k, x: torch.fft.irfft(torch.fft.rfft(k, len(k) + len(x) - 1)
                                         * torch.fft.rfft(x, len(k) + len(x) - 1))[:len(x)],
         "The end wraps around to the start: pad both to len(k) + len(x) − 1.": _wrapped,
         "That is a correlation, which is not causal. No conjugate is needed.": _correlated}),
    "03.3": Exercise(
        from_initial_state,
        ({"A_bar": A_BAR, "B_bar": B_BAR, "C": C, "x": X, "h": H},
         {"A_bar": A_BAR, "B_bar": C, "C": B_BAR, "x": -X, "h": H}),
        {"The initial state decays once before the first output: Ā¹h, not Ā⁰h.": _one_step_late,
         "The initial state is not multiplied by B̄, which is for inputs.":
            lambda A_bar, B_bar, C, x, h: from_initial_state(A_bar, B_bar, C, x, B_bar * h),
         "The initial state h is missing: that starts from zero.":
            lambda A_bar, B_bar, C, x, h: convolve(kernel(A_bar, B_bar, C, len(x)), x)}),
    "03.4": Exercise(
        convolutional_mode,
        ({**CHANNELS, "x": SEQUENCES}, {**CHANNELS, "x": SEQUENCES[:1, :3]}),
        {"The end wraps around to the start: pad both to at least 2 L − 1.":
            lambda A_bar, B_bar, C, x: _convolve_channels(
                lti.kernel(A_bar, B_bar, C, x.shape[1]), x, x.shape[1]),
         "The kernel begins with C B̄: the powers of Ā begin with 0.":
            lambda A_bar, B_bar, C, x: convolutional_mode(A_bar, A_bar * B_bar, C, x),
         "B̄ is missing, which adds an input to the state.":
            lambda A_bar, B_bar, C, x: convolutional_mode(A_bar, torch.ones_like(B_bar), C, x),
         "All channels got the kernel of the first one.":
            lambda A_bar, B_bar, C, x: convolutional_mode(A_bar[:1], B_bar[:1], C[:1], x)}),
}
