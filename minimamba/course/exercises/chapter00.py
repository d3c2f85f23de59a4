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
            lambda h, x, A_bar, B_bar: B_bar * x,
         "The input is missing: it is added, times B̄, to what is left of the old state.":
            lambda h, x, A_bar, B_bar: A_bar * h,
         "The old state doesn't decay here: what is Ā for?":
            lambda h, x, A_bar, B_bar: h + B_bar * x,
         "The new input decays at once. Ā multiplies the old state alone: check the parentheses.":
            lambda h, x, A_bar, B_bar: A_bar * (h + B_bar * x),
         "The input's weight is given as B̄; it isn't 1 − Ā here.":
            lambda h, x, A_bar, B_bar: A_bar * h + (1 - A_bar) * x,
         "The two terms are multiplied; the new state is their sum.":
            lambda h, x, A_bar, B_bar: A_bar * h * B_bar * x}),
    "00.2": Exercise(
        decay_per_step,
        ({"delta": 0.1, "A": -1.0}, {"delta": 2.0, "A": -3.0}),
        {"That is the first-order approximation, 1 + ΔA; the exact factor is an exponential.":
            lambda delta, A: 1 + delta * A,
         "A is already negative: it needs no second minus sign.":
            lambda delta, A: math.exp(-delta * A),
         "That is the exponent. The factor is e to this power.":
            lambda delta, A: delta * A,
         "Δ is missing: a longer step has to decay more.":
            lambda delta, A: math.exp(A),
         "That grows with a longer step, whatever A is. The exponent needs A as well.":
            lambda delta, A: math.exp(delta),
         "Δ and A are multiplied in the exponent, not divided.":
            lambda delta, A: math.exp(A / delta),
         "That is the part that is lost in one step. Asked for is the part that stays.":
            lambda delta, A: 1 - math.exp(delta * A),
         "That is backward Euler's 1/(1 − ΔA), an approximation; the exact factor is an "
         "exponential.":
            lambda delta, A: 1 / (1 - delta * A),
         "The base is e, not 2: `math.exp`.":
            lambda delta, A: 2 ** (delta * A)}),
    "00.3": Exercise(
        delta_from_flag,
        ({"flag": torch.tensor([0.0, 1.0, 0.0])}, {"flag": torch.tensor([1.0, 1.0, 0.0])}),
        {"With this Δ the model overwrites its state all the time and holds it at a flag.":
            lambda flag: 5.0 * (1 - flag),
         "Softplus is never exactly 0, so the state would leak. Here it must be held exactly.":
            lambda flag: torch.nn.functional.softplus(10 * flag - 5),
         "With a constant Δ, a flag makes no difference.":
            lambda flag: torch.full_like(flag, 5.0),
         "At a flag Δ is 1 here; it has to be 5.":
            lambda flag: flag,
         "The difference between flag and no flag is right, but 0 has to become exactly 0.":
            lambda flag: 5.0 * flag + 1,
         "That is the decay e^(−Δ), not Δ. No flag must give 0.":
            lambda flag: torch.exp(-5.0 * flag),
         "Δ is 0 at a flag too, so no input ever gets in.":
            lambda flag: torch.zeros_like(flag),
         "The softplus of 5 is a little more than 5; at a flag Δ has to be exactly 5.":
            lambda flag: torch.nn.functional.softplus(5.0 * flag) * flag}),
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
            lambda x, delta, B: selective_states(x, delta, B).T,
         "That is the first-order decay, 1 − Δ. The exact one is an exponential.":
            lambda x, delta, B: _scan(1 - delta, delta * B * x),
         "That weights the input by (1 − e^(−Δ))B, zero-order hold. Here it is ΔB.":
            lambda x, delta, B: _scan(torch.exp(-delta), -torch.expm1(-delta) * B * x),
         "Nothing decays: that is the running sum of the inputs.":
            lambda x, delta, B: (delta * B * x).cumsum(1),
         "Each state has only its own input: add what is left of the state before.":
            lambda x, delta, B: delta * B * x,
         "What a step writes decays in that step already: first decay h, then add.":
            lambda x, delta, B: _scan(torch.exp(-delta), torch.exp(-delta) * delta * B * x),
         "All steps use the first Δ. Each has its own, in each sequence.":
            lambda x, delta, B: selective_states(x, delta[:, :1].expand_as(delta), B),
         "The first step is left out: the state before it is 0, and its input counts.":
            lambda x, delta, B: _scan(torch.exp(-delta), torch.cat(
                [torch.zeros_like(x[:, :1]), (delta * B * x)[:, 1:]], 1)),
         "The loop runs over the batch. The length is axis 1.":
            lambda x, delta, B: _scan(torch.exp(-delta).T, (delta * B * x).T).T}),
}
