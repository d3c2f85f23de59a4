"""Chapter 01: continuous state spaces."""

import math
from functools import partial

import torch

from minimamba.continuous import phi
from minimamba.course.exercises import Exercise


def half_life(A):
    """Time in which a state with this A (per second, negative) halves."""
    return math.log(2) / -A


def step_response(A, B, t):
    """State at times t after the input has stepped from 0 to 1."""
    return (torch.exp(A * t) - 1) / A * B


def ramp_response(A, B, t):
    """State at times t for an input that grows as t."""
    return B * t**2 * phi(2, torch.as_tensor(A * t))


def simulate(A, B, x, t):
    """States (length, N) at the times t, from rest, with x[k] held from t[k] to t[k + 1]."""
    h = torch.zeros_like(B)
    states = [h]
    for k in range(len(t) - 1):
        A_bar = torch.linalg.matrix_exp(A * (t[k + 1] - t[k]))
        B_bar = torch.linalg.solve(A, A_bar @ B - B)
        h = A_bar @ h + B_bar * x[k]
        states.append(h)
    return torch.stack(states)


def _simulate_with(step, A, B, x, t):
    """Like simulate, with A_bar and B_bar from `step(A, B, gap)`: for wrong steps."""
    h = torch.zeros_like(B)
    states = [h]
    for k in range(len(t) - 1):
        A_bar, B_bar = step(A, B, t[k + 1] - t[k])
        h = A_bar @ h + B_bar * x[k]
        states.append(h)
    return torch.stack(states)


def _entry_by_entry(A, B, gap):
    A_bar = torch.exp(A * gap)
    return A_bar, torch.linalg.solve(A, A_bar @ B - B)


def _euler(A, B, gap):
    return torch.eye(len(B), dtype=A.dtype) + A * gap, B * gap


def _euler_for_the_input(A, B, gap):
    return torch.linalg.matrix_exp(A * gap), B * gap


TIMES = torch.linspace(0.0, 2.0, 5, dtype=torch.float64)
INPUT = torch.tensor([1.0, -2.0, 0.5, 3.0, 1.0], dtype=torch.float64)
ROTATION = torch.tensor([[-1.0, -3.0], [3.0, -1.0]], dtype=torch.float64)

EXERCISES = {
    "01.1": Exercise(
        half_life,
        ({"A": -1.0}, {"A": -0.02}, {"A": -300.0}),
        {"That is the time constant: in it the state decays to 1/e, not to 1/2.":
            lambda A: -1 / A,
         "A time is positive, and A is negative: check the sign.":
            lambda A: math.log(2) / A,
         "Half of the time constant is not the half-life: solve e^(At) = 1/2.":
            lambda A: -1 / (2 * A)}),
    "01.2": Exercise(
        step_response,
        ({"A": -1.0, "B": 1.0, "t": TIMES}, {"A": -4.0, "B": 2.0, "t": TIMES}),
        {"Almost: the sign is wrong. h rises towards −B/A, which is positive.":
            lambda A, B, t: (1 - torch.exp(A * t)) / A * B,
         "Almost: the integral of exp(At) is exp(At)/A, so divide by −A.":
            lambda A, B, t: (1 - torch.exp(A * t)) * B,
         "That is the impulse response. A step input stays on, so integrate the impulse response.":
            lambda A, B, t: torch.exp(A * t) * B,
         "That is the steady state −B/A, not how h gets there.":
            lambda A, B, t: torch.full_like(t, -B / A)}),
    "01.3": Exercise(
        ramp_response,
        ({"A": -1.0, "B": 1.0, "t": TIMES}, {"A": -3.0, "B": 2.0, "t": TIMES},
         *({"A": A, "B": 1.0, "t": TIMES} for A in (0.0, -1e-3, -1e-5, -1e-7, -1e-9))),
        {"The formula is right, but 0/0 at A = 0 and inaccurate near it: use a series there, or "
         "φ₂ of `minimamba.continuous`.":
            lambda A, B, t: B * (torch.exp(A * t) - 1 - A * t)
            / (torch.as_tensor(A, dtype=torch.float64)**2),
         "It is right at A = 0, but near it the formula is inaccurate: use a series for small At, "
         "or φ₂ of `minimamba.continuous`.":
            lambda A, B, t: B * t**2 / 2 if A == 0 else B * (torch.exp(A * t) - 1 - A * t) / A**2,
         "That is the step response. A ramp is the integral of a step, so integrate once more.":
            lambda A, B, t: B * t * phi(1, torch.as_tensor(A * t))}),
    "01.4": Exercise(
        simulate,
        ({"A": ROTATION, "B": torch.tensor([1.0, 0.5], dtype=torch.float64), "x": INPUT,
          "t": TIMES},
         {"A": ROTATION, "B": torch.tensor([1.0, 0.5], dtype=torch.float64), "x": INPUT,
          "t": TIMES**2}),
        {"e^(A δ) is the exponential of a matrix, not of each entry: `torch.linalg.matrix_exp`.":
            partial(_simulate_with, _entry_by_entry),
         "That is Euler's rule, which is approximate: the exact A_bar is the matrix exponential.":
            partial(_simulate_with, _euler),
         "A_bar is right. B_bar is A⁻¹(A_bar − I)B; B δ is only close to it.":
            partial(_simulate_with, _euler_for_the_input),
         "The input acts a sample early: x[k] is held from t[k] to t[k + 1], and changes h[k + 1].":
            lambda A, B, x, t: simulate(A, B, torch.cat([x[1:], x[-1:]]), t),
         "The gaps may differ: take each from `t`.":
            lambda A, B, x, t: simulate(A, B, x, t[0] + (t[1] - t[0]) * torch.arange(len(t)))}),
}
