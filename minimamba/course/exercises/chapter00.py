"""Chapter 00: three short exercises, to see how exercises work, and the first scan."""

import math

import torch

from minimamba.course.exercises import Exercise


def one_step(h, x, A_bar, B_bar):
    """One step of the recurrence."""
    return A_bar * h + B_bar * x


def decay_per_step(delta, A):
    """The factor by which the state decays in one step."""
    return math.exp(delta * A)


def delta_from_flag(flag):
    """A Δ of 5 where the flag is 1, and of 0 elsewhere."""
    return 5.0 * flag


def selective_states(x, delta, B):
    """The states of h_t = exp(−Δ_t) h_{t−1} + Δ_t B x_t, (batch, length), from a state of 0."""
    return _scan(torch.exp(-delta), delta * B * x)


def _scan(decay, written, h=0.0):
    """The states of h_t = decay_t h_{t−1} + written_t."""
    states = []
    for decay_t, written_t in zip(decay.T, written.T, strict=True):
        h = decay_t * h + written_t
        states.append(h)
    return torch.stack(states, 1)


X = torch.tensor([[1.0, -2.0, 0.5, 3.0], [0.0, 1.0, 1.0, -1.0]], dtype=torch.float64)
DELTA = torch.tensor([[0.1, 2.0, 0.0, 0.3], [1.0, 0.5, 0.2, 4.0]], dtype=torch.float64)

EXERCISES = {
    "00.1": Exercise(
        one_step,
        ({"h": 2.0, "x": 3.0, "A_bar": 0.5, "B_bar": 1.0},
         {"h": -1.0, "x": 4.0, "A_bar": 0.9, "B_bar": 0.25}),
        {"You multiplied the input by Ā and the state by B̄; it is the other way round.":
            lambda h, x, A_bar, B_bar: B_bar * h + A_bar * x,
         "You forgot that the input is scaled too.":
            lambda h, x, A_bar, B_bar: A_bar * h + x,
         "The old state is missing: the new one begins with what is left of it, Ā h.":
            lambda h, x, A_bar, B_bar: B_bar * x}),
    "00.2": Exercise(
        decay_per_step,
        ({"delta": 0.1, "A": -1.0}, {"delta": 2.0, "A": -3.0}),
        {"That is the first-order approximation, 1 + ΔA; the exact factor is an exponential.":
            lambda delta, A: 1 + delta * A,
         "A is already negative: it needs no second minus sign.":
            lambda delta, A: math.exp(-delta * A),
         "That is the exponent. The factor is e to this power.":
            lambda delta, A: delta * A}),
    "00.3": Exercise(
        delta_from_flag,
        ({"flag": torch.tensor([0.0, 1.0, 0.0])}, {"flag": torch.tensor([1.0, 1.0, 0.0])}),
        {"With this Δ the model overwrites its state all the time and holds it at a flag.":
            lambda flag: 5.0 * (1 - flag),
         "Softplus is never exactly 0, so the state would leak. Here it must be held exactly.":
            lambda flag: torch.nn.functional.softplus(10 * flag - 5),
         "With a constant Δ, a flag makes no difference.":
            lambda flag: torch.full_like(flag, 5.0)}),
    "00.4": Exercise(
        selective_states,
        ({"x": X, "delta": DELTA, "B": 0.5}, {"x": X[:1, :2], "delta": DELTA[1:, :2], "B": -2.0}),
        {"The decay is e^(ΔA) with A = −1: e^(−Δ), not e^Δ.":
            lambda x, delta, B: _scan(torch.exp(delta), delta * B * x),
         "The weight of the input is ΔB: the Δ is missing.":
            lambda x, delta, B: _scan(torch.exp(-delta), B * x),
         "The weight of the input is ΔB: the B is missing.":
            lambda x, delta, B: _scan(torch.exp(-delta), delta * x),
         "That keeps only the last state; return the states of all steps, (batch, length).":
            lambda x, delta, B: selective_states(x, delta, B)[:, -1],
         "The states are (length, batch): stack them along axis 1.":
            lambda x, delta, B: selective_states(x, delta, B).T}),
}
