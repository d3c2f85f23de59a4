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


def _along_the_channels(A_bar, B_bar, C, x):
    K, channels = lti.kernel(A_bar, B_bar, C, x.shape[1]), x.shape[2]
    product = torch.fft.rfft(K, 2 * channels, 1) * torch.fft.rfft(x, 2 * channels, 2)
    return torch.fft.irfft(product, 2 * channels, 2)[..., :channels]


def _wrapped(k, x):
    return torch.fft.irfft(torch.fft.rfft(k) * torch.fft.rfft(x), len(x))


def _full(k, x):
    """The convolution with its tail, len(k) + len(x) − 1 values."""
    return convolve(torch.nn.functional.pad(k, (0, len(x) - 1)),
                    torch.nn.functional.pad(x, (0, len(k) - 1)))


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
            lambda A_bar, B_bar, C, length: kernel(A_bar, B_bar, C, length).flip(0),
         "The components are still apart: sum over them.":
            lambda A_bar, B_bar, C, length:
            C * A_bar**torch.arange(length)[:, None] * B_bar,
         "That sums over the lags. Sum over the components, the other axis.":
            lambda A_bar, B_bar, C, length:
            (C * A_bar**torch.arange(length)[:, None] * B_bar).sum(0),
         "Ā to the power of the lag, `**`, not times the lag.":
            lambda A_bar, B_bar, C, length:
            (C * A_bar * torch.arange(length)[:, None] * B_bar).sum(-1),
         "Ā is the decay already: no exponential is needed, only its powers.":
            lambda A_bar, B_bar, C, length: kernel(A_bar.exp(), B_bar, C, length),
         "Ā is missing: what an input adds decays with the lag.":
            lambda A_bar, B_bar, C, length: kernel(torch.ones_like(A_bar), B_bar, C, length),
         "C and B̄ are added up over the components before they are multiplied.":
            lambda A_bar, B_bar, C, length:
            C.sum() * (A_bar**torch.arange(length)[:, None] * B_bar).sum(-1),
         "The components add up: it is their sum, not their mean.":
            lambda A_bar, B_bar, C, length: kernel(A_bar, B_bar, C, length) / len(C),
         "That adds up the kernel: it is the response to a step, not to an impulse.":
            lambda A_bar, B_bar, C, length: kernel(A_bar, B_bar, C, length).cumsum(0)}),
    "03.2": Exercise(
        convolve,
        ({"k": K, "x": X}, {"k": torch.ones(5, dtype=torch.float64), "x": X}),
        {"Pass the size to irfft, irfft(…, size): it assumes an even one otherwise.":
            lambda k, x: torch.fft.irfft(torch.fft.rfft(k, len(k) + len(x) - 1)
                                         * torch.fft.rfft(x, len(k) + len(x) - 1))[:len(x)],
         "The end wraps around to the start: pad both to len(k) + len(x) − 1.": _wrapped,
         "That is a correlation, which is not causal. No conjugate is needed.": _correlated,
         "The tail of the convolution is still there: keep as many values as x has.": _full,
         "That keeps the end of the convolution. The outputs are its first values.":
            lambda k, x: _full(k, x)[-len(x):],
         "That keeps the middle of the convolution. The outputs are its first values.":
            lambda k, x: _full(k, x)[len(x) // 2:][:len(x)],
         "Spectra are multiplied, but that is the product of the signals: transform them first.":
            lambda k, x: k * x,
         "That adds the spectra; a convolution multiplies them.":
            lambda k, x: k + x,
         "Almost: the last value still wraps around to the first. Pad by one more.":
            lambda k, x: _full(k, x)[:len(x)] + torch.nn.functional.pad(
                _full(k, x)[-1:], (0, len(x) - 1)),
         "That is the spectrum: transform it back.":
            lambda k, x: (torch.fft.rfft(k, len(k) + len(x) - 1)
                          * torch.fft.rfft(x, len(k) + len(x) - 1))}),
    "03.3": Exercise(
        from_initial_state,
        ({"A_bar": A_BAR, "B_bar": B_BAR, "C": C, "x": X, "h": H},
         {"A_bar": A_BAR, "B_bar": C, "C": B_BAR, "x": -X, "h": H}),
        {"The initial state decays once before the first output: Ā¹h, not Ā⁰h.": _one_step_late,
         "The initial state is not multiplied by B̄, which is for inputs.":
            lambda A_bar, B_bar, C, x, h: from_initial_state(A_bar, B_bar, C, x, B_bar * h),
         "The initial state h is missing: that starts from zero.":
            lambda A_bar, B_bar, C, x, h: convolve(kernel(A_bar, B_bar, C, len(x)), x),
         "That is what h contributes. What the input contributes comes on top.":
            lambda A_bar, B_bar, C, x, h: kernel(A_bar, A_bar * h, C, len(x)),
         "h doesn't decay here: after t + 1 steps, Ā^(t+1) of it is left.":
            lambda A_bar, B_bar, C, x, h:
            convolve(kernel(A_bar, B_bar, C, len(x)), x) + (C * h).sum(),
         "The initial state decays once before the first output, not twice.":
            lambda A_bar, B_bar, C, x, h: from_initial_state(A_bar, B_bar, C, x, A_bar * h),
         "What h contributes is read by C as well: C Ā^(t+1) h.":
            lambda A_bar, B_bar, C, x, h: convolve(kernel(A_bar, B_bar, C, len(x)), x)
            + kernel(A_bar, A_bar * h, torch.ones_like(C), len(x)),
         "h is still there after the first output: it contributes to all of them.":
            lambda A_bar, B_bar, C, x, h: torch.cat(
                [from_initial_state(A_bar, B_bar, C, x[:1], h),
                 convolve(kernel(A_bar, B_bar, C, len(x)), x)[1:]]),
         "What h contributes is added, not subtracted.":
            lambda A_bar, B_bar, C, x, h: from_initial_state(A_bar, B_bar, C, x, -h),
         "h comes in again at every step here. It is there once, before the first.":
            lambda A_bar, B_bar, C, x, h: convolve(kernel(A_bar, B_bar, C, len(x)), x)
            + kernel(A_bar, A_bar * h, C, len(x)).cumsum(0),
         "The kernel of the input has B̄ alone: h belongs to the other part.":
            lambda A_bar, B_bar, C, x, h: convolve(kernel(A_bar, B_bar + A_bar * h, C, len(x)),
                                                   x)}),
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
            lambda A_bar, B_bar, C, x: convolutional_mode(A_bar[:1], B_bar[:1], C[:1], x),
         "C is missing, which reads the state.":
            lambda A_bar, B_bar, C, x: convolutional_mode(A_bar, B_bar, torch.ones_like(C), x),
         "Ā doesn't decay with the lag: raise it to the power of the lag.":
            lambda A_bar, B_bar, C, x: convolutional_mode(torch.ones_like(A_bar), B_bar, C, x),
         "The kernels run backwards: the first entry is that of lag 0.":
            lambda A_bar, B_bar, C, x: _convolve_channels(
                lti.kernel(A_bar, B_bar, C, x.shape[1]).flip(0), x, 2 * x.shape[1]),
         "The padding is still there: keep the first L steps.":
            lambda A_bar, B_bar, C, x: convolutional_mode(
                A_bar, B_bar, C, torch.cat([x, torch.zeros_like(x)], 1)),
         "All sequences got the outputs of the first one.":
            lambda A_bar, B_bar, C, x: convolutional_mode(A_bar, B_bar, C, x[:1].expand_as(x)),
         "The channels don't mix: no sum over them.":
            lambda A_bar, B_bar, C, x: convolutional_mode(A_bar, B_bar, C, x).sum(-1),
         "That convolves along the channels. The length is axis 1 of x.":
            lambda A_bar, B_bar, C, x: _along_the_channels(A_bar, B_bar, C, x),
         "That is a product at each step. A convolution multiplies the spectra.":
            lambda A_bar, B_bar, C, x: lti.kernel(A_bar, B_bar, C, x.shape[1]) * x}),
}
