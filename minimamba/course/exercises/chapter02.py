"""Chapter 02: discretization and Δ."""

import math

import torch
from torch.nn.functional import softplus

from minimamba.course.exercises import Exercise


def zoh(A, B, delta):
    """Ā and B̄ of one mode by zero-order hold, also for A = 0."""
    if A == 0:
        return 1.0, delta * B
    return math.exp(delta * A), math.expm1(delta * A) / A * B


def largest_euler_step(A):
    """Largest Δ at which forward Euler is stable for this A."""
    return 2 / A.abs().max()


def delta_for_fraction(fraction, steps, A):
    """Step size at which this fraction of the state is left after some steps."""
    return math.log(fraction) / (steps * A)


def token_weights(s):
    """Weights of the tokens in the states of a gated RNN with the gates σ(s), (length, length)."""
    return _token_weights(torch.sigmoid(s), 1 - torch.sigmoid(s))


def _token_weights(written, kept):
    """Row t holds the weights of the tokens in state t: written at j, kept at j + 1 to t."""
    weights, rows = torch.zeros_like(written), []
    for t in range(len(written)):
        weights = kept[t] * weights
        weights[t] = written[t]
        rows.append(weights)
    return torch.stack(rows)


def discretize_and_run(A, B, delta, x):
    """Zero-order hold with a Δ for each step, and the recurrence: the states, (length, N)."""
    A_bar = torch.exp(delta[:, None] * A)
    return _run(A_bar, (A_bar - 1) / A * B, x)


def _run(A_bar, B_bar, x):
    """The states of h_t = Ā_t h_{t−1} + B̄_t x_t, from a state of 0."""
    h, states = torch.zeros_like(A_bar[0]), []
    for A_bar_t, B_bar_t, x_t in zip(A_bar, B_bar, x, strict=True):
        h = A_bar_t * h + B_bar_t * x_t
        states.append(h)
    return torch.stack(states)


S = torch.tensor([-2.0, 0.0, 3.0, -1.0, 0.5], dtype=torch.float64)
X = torch.tensor([1.0, -1.0, 2.0, 0.5, -3.0], dtype=torch.float64)
A = torch.tensor([-1.0, -4.0, -0.5], dtype=torch.float64)
B = torch.tensor([1.0, 2.0, -3.0], dtype=torch.float64)
DELTA = torch.tensor([0.5, 0.01, 2.0, 0.3, 1.0], dtype=torch.float64)

EXERCISES = {
    "02.1": Exercise(
        zoh,
        ({"A": -1.0, "B": 1.0, "delta": 0.5}, {"A": -20.0, "B": 3.0, "delta": 0.1},
         {"A": 0.0, "B": 1.0, "delta": 0.5}),
        {"Ā is right, but B̄ = ΔB is Mamba's approximation, not zero-order hold.":
            lambda A, B, delta: (math.exp(delta * A), delta * B),
         "Almost: the integral of exp(At) over a step is (exp(ΔA) − 1)/A, so divide by A.":
            lambda A, B, delta: (math.exp(delta * A), -math.expm1(delta * A) * B),
         "Almost: (exp(ΔA) − 1) still has to be divided by A.":
            lambda A, B, delta: (math.exp(delta * A), math.expm1(delta * A) * B),
         "That is forward Euler, the first-order approximation of the exponential.":
            lambda A, B, delta: (1 + delta * A, delta * B),
         "That is backward Euler. Zero-order hold has the exact exponential.":
            lambda A, B, delta: (1 / (1 - delta * A), delta * B / (1 - delta * A)),
         "That is the bilinear rule. Zero-order hold has the exact exponential.":
            lambda A, B, delta: ((1 + delta * A / 2) / (1 - delta * A / 2),
                                 delta * B / (1 - delta * A / 2)),
         "B̄ is divided by A, not by ΔA: its Δ is missing.":
            lambda A, B, delta: (math.exp(delta * A), zoh(A, B, delta)[1] / delta),
         "The exponent is ΔA: A is negative already, so the state has to decay.":
            lambda A, B, delta: (math.exp(-delta * A), zoh(A, B, delta)[1]),
         "Δ is missing from the exponent of Ā.":
            lambda A, B, delta: (math.exp(A), zoh(A, B, delta)[1]),
         "Almost: only at A = 0 the limit is not right. There the state adds up its input, for "
         "the time Δ.":
            lambda A, B, delta: (1.0, B) if A == 0 else zoh(A, B, delta),
         "Almost: at A = 0 the state doesn't decay, but the input is still added.":
            lambda A, B, delta: (1.0, 0.0) if A == 0 else zoh(A, B, delta)}),
    "02.2": Exercise(
        largest_euler_step,
        ({"A": torch.tensor([-1.0, -1000.0])}, {"A": torch.tensor([-0.5, -4.0, -2.0])}),
        {"A step size is positive: take the absolute value of A.":
            lambda A: 2 / A.min(),
         "That is one Δ per mode. The system has one Δ, and its fastest mode decides.":
            lambda A: 2 / A.abs(),
         "The fastest mode is the first to become unstable, not the slowest.":
            lambda A: 2 / A.abs().min(),
         "At 1/|A| the state goes to zero in one step. It may overshoot, down to Ā = −1.":
            lambda A: 1 / A.abs().max(),
         "The largest entry of A is the slowest mode, and negative. What counts is |A|.":
            lambda A: 2 / A.max(),
         "That is one Δ per mode, and negative: what counts is the largest |A|.":
            lambda A: 2 / A,
         "Turn it upside down: a larger |A| needs a smaller Δ.":
            lambda A: A.abs().max() / 2,
         "A larger |A| needs a smaller Δ: divide by it.":
            lambda A: 2 * A.abs().max(),
         "The modes don't share the limit by their mean: the fastest alone decides.":
            lambda A: 2 / A.abs().mean(),
         "The modes are independent, so their rates don't add up: the fastest alone decides.":
            lambda A: 2 / A.abs().sum(),
         "That is Ā = 1 + ΔA at Δ = 1. Asked for is the Δ at which |1 + ΔA| becomes 1.":
            lambda A: (1 + A).abs().max(),
         "That is the largest |A|. At which Δ is |1 + ΔA| equal to 1 for it?":
            lambda A: A.abs().max()}),
    "02.3": Exercise(
        delta_for_fraction,
        ({"fraction": 0.3, "steps": 100, "A": -2.0},
         {"fraction": 0.9, "steps": 10_000, "A": -16.0}),
        {"Almost: the state decays by exp(ΔA) per step, and A is missing.":
            lambda fraction, steps, A: -math.log(fraction) / steps,
         "That solves it for Euler's 1 + ΔA; here Ā = exp(ΔA).":
            lambda fraction, steps, A: (fraction ** (1 / steps) - 1) / A,
         "That leaves the fraction after one step. After n steps the decay is the n-th power.":
            lambda fraction, steps, A: math.log(fraction) / A,
         "Δ is positive: log(fraction) and A are both negative already.":
            lambda fraction, steps, A: -math.log(fraction) / (steps * A),
         "Python divides and multiplies from left to right: a/b*c is (a/b)·c. Put the divisor in "
         "parentheses.":
            lambda fraction, steps, A: math.log(fraction) / steps * A,
         "More steps leave less, so Δ has to be smaller: divide by the steps.":
            lambda fraction, steps, A: math.log(fraction) * steps / A,
         "That is the Δ at which this fraction is lost. Asked for is the one at which it is left.":
            lambda fraction, steps, A: math.log(1 - fraction) / (steps * A),
         "To undo the exponential, take the natural logarithm, `math.log`.":
            lambda fraction, steps, A: math.log10(fraction) / (steps * A),
         "The logarithm is missing: solve exp(nΔA) = fraction for Δ.":
            lambda fraction, steps, A: fraction / (steps * -A),
         "That is what one step leaves, not its Δ.":
            lambda fraction, steps, A: fraction ** (1 / steps),
         "That takes the whole decay as linear, 1 + nΔA. It is the exponential of nΔA.":
            lambda fraction, steps, A: (fraction - 1) / (steps * A)}),
    "02.4": Exercise(
        token_weights,
        ({"s": S}, {"s": -S[:3]}),
        {"Row t holds the weights in state t, column j those of token j: transpose it.":
            lambda s: token_weights(s).T,
         "Almost: a token is not yet multiplied by 1 − g in the step that writes it.":
            lambda s: token_weights(s) * (1 - torch.sigmoid(s)),
         "The gates are swapped: 1 − σ(s) keeps the state, σ(s) writes the token.":
            lambda s: _token_weights(1 - torch.sigmoid(s), torch.sigmoid(s)),
         "Those are the weights when they are written. The later steps multiply them by 1 − g.":
            lambda s: _token_weights(torch.sigmoid(s), torch.ones_like(s)),
         "That writes with softplus(s), Mamba's ΔB. The theorem is for zero-order hold.":
            lambda s: _token_weights(softplus(s), 1 - torch.sigmoid(s)),
         "s is the value before the sigmoid: the gate is σ(s).":
            lambda s: _token_weights(s, 1 - s),
         "Token j decays in the steps j + 1 to t. Here it decays in the steps j to t − 1.":
            lambda s: (token_weights(s) * (1 - torch.sigmoid(s))
                       / (1 - torch.sigmoid(s))[:, None]),
         "A token is written with the weight g; here it is written with weight 1.":
            lambda s: _token_weights(torch.ones_like(s), 1 - torch.sigmoid(s)),
         "Only the diagonal is there: what is left of the earlier tokens is missing.":
            lambda s: torch.diag(torch.sigmoid(s)),
         "The rows don't have to add up to 1. The rest belongs to the initial state, 0.":
            lambda s: token_weights(s) / token_weights(s).sum(1, keepdim=True),
         "Those are the weights in the last state alone: one row for each state is needed.":
            lambda s: token_weights(s)[-1],
         "All rows are the last one: append a copy of the row, before the next step changes it.":
            lambda s: token_weights(s)[-1].expand(len(s), -1)}),
    "02.5": Exercise(
        discretize_and_run,
        ({"A": A, "B": B, "delta": DELTA, "x": X},
         {"A": A[:2], "B": B[1:], "delta": DELTA[2:], "x": -X[:3]}),
        {"Ā is right, but B̄ = ΔB is Mamba's approximation, not zero-order hold.":
            lambda A, B, delta, x: _run(torch.exp(delta[:, None] * A), delta[:, None] * B, x),
         "Almost: (exp(ΔA) − 1) still has to be divided by A.":
            lambda A, B, delta, x: _run(torch.exp(delta[:, None] * A),
                                        torch.expm1(delta[:, None] * A) * B, x),
         "Almost: B is missing from B̄.":
            lambda A, B, delta, x: discretize_and_run(A, torch.ones_like(B), delta, x),
         "That uses the first Δ at every step. Each step has its own.":
            lambda A, B, delta, x: discretize_and_run(A, B, delta[:1].expand_as(delta), x),
         "That keeps only the last state; return the states of all steps, (length, N).":
            lambda A, B, delta, x: discretize_and_run(A, B, delta, x)[-1],
         "The states are (N, length): stack them along axis 0.":
            lambda A, B, delta, x: discretize_and_run(A, B, delta, x).T,
         "That is Euler's Ā = 1 + ΔA. Zero-order hold has the exponential.":
            lambda A, B, delta, x: _run(1 + delta[:, None] * A, delta[:, None] * B, x),
         "Ā is exp(ΔA); here it grows. A is negative already.":
            lambda A, B, delta, x: _run(torch.exp(-delta[:, None] * A),
                                        torch.expm1(delta[:, None] * A) / A * B, x),
         "Each state has only its own input: the decayed state before it is missing.":
            lambda A, B, delta, x: torch.expm1(delta[:, None] * A) / A * B * x[:, None],
         "What a step writes decays in that step already: first decay h, then add B̄x.":
            lambda A, B, delta, x: _run(torch.exp(delta[:, None] * A),
                                        torch.exp(delta[:, None] * A)
                                        * torch.expm1(delta[:, None] * A) / A * B, x),
         "The first step is left out: the state before it is 0, and its input counts.":
            lambda A, B, delta, x: discretize_and_run(
                A, B, delta, torch.cat([torch.zeros_like(x[:1]), x[1:]])),
         "The input comes in one step late: x_t goes into h_t.":
            lambda A, B, delta, x: discretize_and_run(
                A, B, delta, torch.cat([torch.zeros_like(x[:1]), x[:-1]])),
         "Δ_t is the size of step t, not the time since the start: no cumulative sum.":
            lambda A, B, delta, x: discretize_and_run(A, B, delta.cumsum(0), x)}),
}
