"""Chapter 02: discretization and Δ."""

import math

import torch
from torch.nn.functional import softplus

from minimamba.course.exercises import Exercise


def zoh(A, B, delta):
    if A == 0:
        return 1.0, delta * B
    return math.exp(delta * A), math.expm1(delta * A) / A * B


def largest_euler_step(A):
    return 2 / A.abs().max()


def delta_that_keeps(share, steps, A):
    return math.log(share) / (steps * A)


def gated_rnn(s, x):
    h, states = 0.0, []
    for gate, x_t in zip(torch.sigmoid(s), x, strict=True):
        h = (1 - gate) * h + gate * x_t
        states.append(h)
    return torch.stack(states)


def _gated(s, x, keep, write, h=0.0):
    states = []
    for keep_t, write_t, x_t in zip(keep(s), write(s), x, strict=True):
        h = keep_t * h + write_t * x_t
        states.append(h)
    return torch.stack(states)


S = torch.tensor([-2.0, 0.0, 3.0, -1.0, 0.5], dtype=torch.float64)
X = torch.tensor([1.0, -1.0, 2.0, 0.5, -3.0], dtype=torch.float64)

EXERCISES = {
    "02.1": Exercise(
        zoh,
        ({"A": -1.0, "B": 1.0, "delta": 0.5}, {"A": -20.0, "B": 3.0, "delta": 0.1},
         {"A": 0.0, "B": 1.0, "delta": 0.5}),
        {"Ā is right, but B̄ = ΔB is Mamba's short cut and not zero-order hold.":
            lambda A, B, delta: (math.exp(delta * A), delta * B),
         "Almost: the integral of exp(At) over a step is (exp(ΔA) − 1)/A, so divide by A.":
            lambda A, B, delta: (math.exp(delta * A), -math.expm1(delta * A) * B),
         "Almost: (exp(ΔA) − 1) still has to be divided by A.":
            lambda A, B, delta: (math.exp(delta * A), math.expm1(delta * A) * B),
         "That is forward Euler, the straight line that starts like the exponential.":
            lambda A, B, delta: (1 + delta * A, delta * B)}),
    "02.2": Exercise(
        largest_euler_step,
        ({"A": torch.tensor([-1.0, -1000.0])}, {"A": torch.tensor([-0.5, -4.0, -2.0])}),
        {"A step is positive: take the size of A.":
            lambda A: 2 / A.min(),
         "That is a step for each mode; the system has one, and its fastest mode decides.":
            lambda A: 2 / A.abs(),
         "The slowest mode is not the one that explodes first.":
            lambda A: 2 / A.abs().min(),
         "At 1/|A| the state is cut to zero in one step; it may overshoot as far as −1.":
            lambda A: 1 / A.abs().max()}),
    "02.3": Exercise(
        delta_that_keeps,
        ({"share": 0.3, "steps": 100, "A": -2.0}, {"share": 0.9, "steps": 10_000, "A": -16.0}),
        {"Almost: the state fades with ΔA, and A is missing.":
            lambda share, steps, A: -math.log(share) / steps,
         "That solves it for Euler's 1 + ΔA; here Ā = exp(ΔA).":
            lambda share, steps, A: (share ** (1 / steps) - 1) / A,
         "That keeps the share over one step; after n steps the power is n.":
            lambda share, steps, A: math.log(share) / A,
         "Δ is positive: log(share) and A are both negative already.":
            lambda share, steps, A: -math.log(share) / (steps * A)}),
    "02.4": Exercise(
        gated_rnn,
        ({"s": S, "x": X}, {"s": -S, "x": X}),
        {"It starts at rest: the state before the first step is 0, not x[0].":
            lambda s, x: _gated(s, x, lambda s: 1 - torch.sigmoid(s), torch.sigmoid, x[0]),
         "The gates are swapped: σ(s) writes, 1 − σ(s) keeps.":
            lambda s, x: _gated(s, x, torch.sigmoid, lambda s: 1 - torch.sigmoid(s)),
         "That writes with Δ = softplus(s), Mamba's ΔB; the theorem is for zero-order hold.":
            lambda s, x: _gated(s, x, lambda s: 1 - torch.sigmoid(s), softplus)}),
}
