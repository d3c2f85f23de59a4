"""Chapter 03: recurrence and convolution."""

import torch

from minimamba import lti
from minimamba.course.exercises import Exercise


def kernel(A_bar, B_bar, C, length):
    lags = torch.arange(length)[:, None]
    return (C * A_bar**lags * B_bar).sum(-1)


def convolve(k, x):
    size = len(k) + len(x) - 1
    return torch.fft.irfft(torch.fft.rfft(k, size) * torch.fft.rfft(x, size), size)[:len(x)]


def from_a_state(A_bar, B_bar, C, x, h):
    lags = range(1, len(x) + 1)
    fading = torch.stack([(C * A_bar**lag * h).sum() for lag in lags])
    return convolve(kernel(A_bar, B_bar, C, len(x)), x) + fading


def _wrapped(k, x):
    return torch.fft.irfft(torch.fft.rfft(k) * torch.fft.rfft(x), len(x))


def _correlated(k, x):
    size = len(k) + len(x) - 1
    return torch.fft.irfft(torch.fft.rfft(k, size).conj() * torch.fft.rfft(x, size),
                           size)[:len(x)]


def _one_late(A_bar, B_bar, C, x, h):
    fading = torch.stack([(C * A_bar**lag * h).sum() for lag in range(len(x))])
    return convolve(kernel(A_bar, B_bar, C, len(x)), x) + fading


A_BAR = torch.tensor([0.9, 0.5], dtype=torch.float64)
B_BAR = torch.tensor([1.0, 2.0], dtype=torch.float64)
C = torch.tensor([1.0, -1.0], dtype=torch.float64)
X = torch.tensor([1.0, 0.0, 2.0, -1.0, 3.0], dtype=torch.float64)
H = torch.tensor([4.0, -2.0], dtype=torch.float64)
K = lti.kernel(A_BAR, B_BAR, C, 5)

EXERCISES = {
    "03.1": Exercise(
        kernel,
        ({"A_bar": A_BAR, "B_bar": B_BAR, "C": C, "length": 5},
         {"A_bar": -A_BAR, "B_bar": C, "C": B_BAR, "length": 3}),
        {"The first entry is C B̄: an input reaches the output in its own step, undecayed.":
            lambda A_bar, B_bar, C, length: kernel(A_bar, A_bar * B_bar, C, length),
         "You left out B̄, which writes the impulse into the state.":
            lambda A_bar, B_bar, C, length: kernel(A_bar, torch.ones_like(B_bar), C, length)}),
    "03.2": Exercise(
        convolve,
        ({"k": K, "x": X}, {"k": torch.ones(5, dtype=torch.float64), "x": X}),
        {"irfft must be told the size, irfft(…, size): it takes an even one unless it is.":
            lambda k, x: torch.fft.irfft(torch.fft.rfft(k, len(k) + len(x) - 1)
                                         * torch.fft.rfft(x, len(k) + len(x) - 1))[:len(x)],
         "The end wraps round to the start: pad both to len(k) + len(x) − 1.": _wrapped,
         "That is a correlation: it looks ahead. No conjugate is needed.": _correlated}),
    "03.3": Exercise(
        from_a_state,
        ({"A_bar": A_BAR, "B_bar": B_BAR, "C": C, "x": X, "h": H},
         {"A_bar": A_BAR, "B_bar": C, "C": B_BAR, "x": -X, "h": H}),
        {"The old state fades once before the first output: Ā¹h, not Ā⁰h.": _one_late,
         "The state fades as it is; B̄ writes inputs, and it is no input.":
            lambda A_bar, B_bar, C, x, h: from_a_state(A_bar, B_bar, C, x, B_bar * h),
         "You started from zero: the state h is missing.":
            lambda A_bar, B_bar, C, x, h: convolve(kernel(A_bar, B_bar, C, len(x)), x)}),
}
