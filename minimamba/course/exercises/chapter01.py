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


def _transposed(A, B, gap):
    A_bar = torch.linalg.matrix_exp(A * gap)
    return A_bar.T, torch.linalg.solve(A, A_bar @ B - B)


def _not_divided(A, B, gap):
    A_bar = torch.linalg.matrix_exp(A * gap)
    return A_bar, A_bar @ B - B


def _without_decay(A, B, gap):
    A_bar = torch.linalg.matrix_exp(A * gap)
    return torch.eye(len(B), dtype=A.dtype), torch.linalg.solve(A, A_bar @ B - B)


def _backward_in_time(A, B, gap):
    A_bar = torch.linalg.matrix_exp(-A * gap)
    return A_bar, torch.linalg.solve(A, A_bar @ B - B)


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
            lambda A: -1 / (2 * A),
         "A faster decay, with a larger |A|, halves sooner: is it a factor or a divisor?":
            lambda A: math.log(2) * -A,
         "A is missing: the half-life depends on how fast the state decays.":
            lambda A: math.log(2),
         "To undo e^(At), take the natural logarithm, `math.log`, not that of base 10.":
            lambda A: math.log10(2) / -A,
         "That is what is left after half a second. Asked for is the time at which half is left.":
            lambda A: math.exp(A / 2),
         "A doesn't belong into the logarithm: solve e^(At) = ½ for t.":
            lambda A: math.log(2 * -A)}),
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
            lambda A, B, t: torch.full_like(t, -B / A),
         "That is B/A: the steady state is −B/A, and asked for is how h gets there.":
            lambda A, B, t: torch.full_like(t, B / A),
         "That grows without end: the state decays while the input comes in.":
            lambda A, B, t: B * t,
         "That is the input. The state follows it with a delay.":
            lambda A, B, t: torch.ones_like(t),
         "The lower end of the integral is missing: h(0) has to be 0.":
            lambda A, B, t: torch.exp(A * t) / A * B,
         "Multiplied by A, instead of divided: the integral of exp(At) is exp(At)/A.":
            lambda A, B, t: (torch.exp(A * t) - 1) * A * B,
         "That starts at the steady state and decays. It starts at 0 and rises.":
            lambda A, B, t: -torch.exp(A * t) / A * B,
         "B is missing, which scales the input.":
            lambda A, B, t: (torch.exp(A * t) - 1) / A,
         "The exponent grows with t: A is negative already.":
            lambda A, B, t: (torch.exp(-A * t) - 1) / A * B}),
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
            lambda A, B, t: B * t * phi(1, torch.as_tensor(A * t)),
         "That is the step response times t. A ramp's response is its integral: φ₂, not φ₁.":
            lambda A, B, t: B * t**2 * phi(1, torch.as_tensor(A * t)),
         "Right at A = 0 only: the state decays while the ramp comes in.":
            lambda A, B, t: B * t**2 / 2,
         "The factor t² in front of φ₂(At) is missing: φ₂ divides by (At)², and not by A².":
            lambda A, B, t: B * phi(2, torch.as_tensor(A * t)),
         "The factor in front of φ₂(At) is t²: one t is missing.":
            lambda A, B, t: B * t * phi(2, torch.as_tensor(A * t)),
         "φ₂ needs z = At; here t is missing in it.":
            lambda A, B, t: B * t**2 * phi(2, torch.full_like(t, A)),
         "B is missing, which scales the input.":
            lambda A, B, t: t**2 * phi(2, torch.as_tensor(A * t)),
         "The exponent has the wrong sign: z = At, and A is negative already.":
            lambda A, B, t: B * t**2 * phi(2, torch.as_tensor(-A * t)),
         "That is the impulse response: a ramp is integrated twice from it.":
            lambda A, B, t: B * torch.exp(A * t)}),
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
            lambda A, B, x, t: simulate(A, B, x, t[0] + (t[1] - t[0]) * torch.arange(len(t))),
         "The product is A_bar h, the matrix first; that is h A_bar, with the transpose.":
            partial(_simulate_with, _transposed),
         "A⁻¹ is missing from B_bar: (A_bar − I)B still has to be divided by A, by "
         "`torch.linalg.solve`.":
            partial(_simulate_with, _not_divided),
         "The state never decays: each step begins with A_bar h.":
            partial(_simulate_with, _without_decay),
         "The state grows here: the exponent is Aδ, and A needs no minus sign.":
            partial(_simulate_with, _backward_in_time),
         "The step is the gap t[k + 1] − t[k], not the time t[k + 1] itself.":
            lambda A, B, x, t: simulate(A, B, x, torch.cat([t[:1], t[1:].cumsum(0)])),
         "The state at the first time is zero; the list begins one state too late.":
            lambda A, B, x, t: simulate(A, B, x, t)[1:],
         "Only the last state is returned: keep one for every time.":
            lambda A, B, x, t: simulate(A, B, x, t)[-1],
         "The axes are (length, N): stack the states along axis 0.":
            lambda A, B, x, t: simulate(A, B, x, t).T}),
}
