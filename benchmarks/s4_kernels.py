"""The kernel of S4 and S4D, computed in six ways, with time and memory.

Usage: python benchmarks/s4_kernels.py [cpu|cuda]
16 features of 64 states in float32, forward and backward, as training needs it. The dense ways
and the Cauchy product compute HiPPO-LegS's kernel, the Vandermonde ones S4D-Lin's; the
recurrence runs S4D-Lin over an input of that length, which needs no kernel.
"""

import sys

import torch
from machine import peak_bytes, save, seconds
from tqdm import tqdm

from minimamba import lti
from minimamba.s4 import S4, S4D

CHANNELS, STATES = 16, 64
LENGTHS = [2**k for k in range(8, 17)]
CHECKS = {"powers, step by step": "Cauchy", "Vandermonde, table": "Vandermonde"}
"""From a slow way to the fast one that must give the same kernel."""


def step_by_step(A_bar, B_bar, C, length):
    """K_l = C Ā^l B̄ as it is written: a matrix times a vector, once a step."""
    h, K = B_bar, []
    for _ in range(length):
        K.append((C * h).sum(-1))
        h = (A_bar @ h[..., None])[..., 0]
    return torch.stack(K)


def table(layer, length):
    """S4D's kernel from a table of every power of every state at every step."""
    A_bar, B_bar, C = layer.discrete_system()
    powers = A_bar ** torch.arange(length, device=A_bar.device)[:, None, None]
    return (C * B_bar * powers).sum(-1).real


def ways(length: int, device: str) -> dict:
    """From a name to a call that computes a kernel, or an output, of `length` and its gradient."""
    torch.manual_seed(0)
    s4, s4d = (layer(CHANNELS, STATES).to(device) for layer in (S4, S4D))
    x = torch.randn(length, CHANNELS, device=device)

    def both(layer, compute):
        def call():
            layer.zero_grad()
            y = compute()
            y.sum().backward()
            return y.detach()
        return call

    def recurrence():
        A_bar, B_bar, C = s4d.discrete_system()
        return lti.recurrence(A_bar, B_bar, C, x).real

    return {
        "powers, step by step": both(s4, lambda: step_by_step(*s4.discrete_system(), length)),
        "powers, by doubling": both(s4, lambda: lti.kernel(*s4.discrete_system(), length)),
        "Cauchy": both(s4, lambda: s4.kernel(length)),
        "Vandermonde, table": both(s4d, lambda: table(s4d, length)),
        "Vandermonde": both(s4d, lambda: s4d.kernel(length)),
        "recurrence": both(s4d, recurrence),
    }


def main(device: str) -> None:
    times, memory = {}, {}
    for length in tqdm(LENGTHS, desc="time"):
        calls = ways(length, device)
        for slow, fast in CHECKS.items():
            wanted = calls[slow]()
            error = (calls[fast]() - wanted).norm() / wanted.norm()
            assert error < 1e-3, f"{fast} differs from {slow} by {error:.1e} at {length}"
        for name, call in calls.items():
            times.setdefault(name, []).append(seconds(call, device))
    for length in tqdm(LENGTHS, desc="memory"):
        for name, call in ways(length, device).items():
            memory.setdefault(name, []).append(peak_bytes(call, device))
    print(save("s4_kernels", device, {"channels": CHANNELS, "states": STATES, "lengths": LENGTHS,
                                      "seconds": times, "bytes": memory}))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "cpu")
