"""One filter, five ways: from which length does the FFT beat the recurrence?

Usage: python benchmarks/lti.py [cpu|cuda]
A diagonal system of 16 real states over one float64 sequence. On the CPU the compiled
recurrence of a named peer, scipy.signal.lfilter, stands beside our loop in Python.
"""

import sys

import torch
from machine import save, seconds
from tqdm import tqdm

from minimamba import discretize, lti

LENGTHS = [2**k for k in range(17)]
LONGEST_DIRECT = 2**13  # its matrix has length² entries


def ways(length: int, device: str) -> dict:
    """From a name to a call that gives y (length,); all give the same."""
    A = -torch.arange(1.0, 17, dtype=torch.float64, device=device)
    A_bar, B_bar = discretize.zoh(A, torch.ones_like(A), 0.01)
    C = torch.linspace(-1, 1, 16, dtype=torch.float64, device=device)
    x = torch.randn(length, dtype=torch.float64, device=device,
                    generator=torch.Generator(device).manual_seed(0))
    K = lti.kernel(A_bar, B_bar, C, length)
    calls = {"recurrence, in Python": lambda: lti.recurrence(A_bar, B_bar, C, x),
             "FFT, kernel ready": lambda: lti.convolve(K, x),
             "FFT with its kernel": lambda: lti.convolve(lti.kernel(A_bar, B_bar, C, length), x)}
    if length <= LONGEST_DIRECT:
        lags = torch.arange(length, device=device)
        lags = lags[:, None] - lags
        matrix = torch.where(lags >= 0, K[lags.clamp(min=0)], 0.0)
        calls["matrix of K, ready"] = lambda: matrix @ x
    if device == "cpu":
        from scipy.signal import lfilter

        modes = list(zip(A_bar.tolist(), (B_bar * C).tolist(), strict=True))
        signal = x.numpy()
        calls["recurrence, compiled (scipy)"] = lambda: torch.from_numpy(
            sum(lfilter([b], [1, -a], signal) for a, b in modes))
    return calls


def main(device: str) -> None:
    times: dict[str, list[float | None]] = {}
    for length in tqdm(LENGTHS):
        calls = ways(length, device)
        y = calls["recurrence, in Python"]()
        for name, call in calls.items():
            torch.testing.assert_close(call(), y, rtol=1e-8, atol=1e-10)
            times.setdefault(name, []).append(seconds(call, device))
    for column in times.values():
        column += [None] * (len(LENGTHS) - len(column))
    print(save("lti", device, {"states": 16, "lengths": LENGTHS, "seconds": times}))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "cpu")
