"""Chapter 08: the backward kernel."""

import torch
from torch import Tensor

from minimamba.course.exercises import Exercise


def adjoint(a: Tensor, C: Tensor, dy: Tensor) -> Tensor:
    """Gradient of every state, by the reverse scan."""
    g, after = [], torch.zeros_like(a[0])
    for t in reversed(range(len(a))):
        g.append(C[t] * dy[t] + after)
        after = a[t] * g[-1]
    return torch.stack(g[::-1])


def numbers_held(length: int, chunk: int) -> int:
    """Number of states that are stored or recomputed at once, with one stored per chunk."""
    return -(-length // chunk) + chunk


def gradient_of_rate(A: float, delta: Tensor, h: Tensor, g: Tensor) -> Tensor:
    """Gradient of A from the gradients g of the states h."""
    before = torch.cat([torch.zeros_like(h[:1]), h[:-1]])
    return (g * torch.exp(A * delta) * before * delta).sum()


def _of_rate(A, delta, h, g, *, decayed=True, shifted=True, stepped=True):
    before = torch.cat([torch.zeros_like(h[:1]), h[:-1]]) if shifted else h
    parts = g * before * (torch.exp(A * delta) if decayed else 1) * (delta if stepped else 1)
    return parts.sum()


def _unshifted(a, C, dy):
    """The decay of the step itself, where that of the next one belongs."""
    g, after = [], torch.zeros_like(a[0])
    for t in reversed(range(len(a))):
        g.append(C[t] * dy[t] + a[t] * after)
        after = g[-1]
    return torch.stack(g[::-1])


DECAYS = torch.tensor([0.5, 0.9, 0.2, 0.7], dtype=torch.float64)
READ = torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=torch.float64)
HANDED = torch.tensor([0.3, 1.0, -1.0, 2.0], dtype=torch.float64)
STEPS = torch.tensor([0.1, 0.7, 0.2, 1.5], dtype=torch.float64)

EXERCISES = {
    "08.1": Exercise(
        adjoint,
        ({"a": DECAYS, "C": READ, "dy": HANDED}, {"a": DECAYS.flip(0), "C": HANDED, "dy": READ}),
        {"What comes back from step t + 1 fades with that step's decay, a[t + 1], not a[t].":
            _unshifted,
         "That is only what is read out at t. The state goes on into the next step as well.":
            lambda a, C, dy: C * dy}),
    "08.2": Exercise(
        numbers_held,
        ({"length": 2048, "chunk": 64}, {"length": 2048, "chunk": 1}, {"length": 100, "chunk": 64}),
        {"Round up: a chunk that is not filled needs its border as well.":
            lambda length, chunk: length // chunk + chunk,
         "And the states inside the chunk that is being walked back.":
            lambda length, chunk: -(-length // chunk)}),
    "08.3": Exercise(
        gradient_of_rate,
        ({"A": -1.0, "delta": STEPS, "h": READ, "g": HANDED},
         {"A": -0.3, "delta": STEPS.flip(0), "h": HANDED, "g": DECAYS}),
        {"The decay multiplies the state *before* the step: h[t - 1], and zero before the first.":
            lambda A, delta, h, g: _of_rate(A, delta, h, g, shifted=False),
         "The exponential's own derivative is the exponential: a factor exp(A Δ) is missing.":
            lambda A, delta, h, g: _of_rate(A, delta, h, g, decayed=False),
         "A stands beside Δ in the exponent: a factor Δ is missing.":
            lambda A, delta, h, g: _of_rate(A, delta, h, g, stepped=False)}),
}
