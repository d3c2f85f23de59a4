"""Chapter 00: three short exercises, to see how exercises work."""

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


EXERCISES = {
    "00.1": Exercise(
        one_step,
        ({"h": 2.0, "x": 3.0, "A_bar": 0.5, "B_bar": 1.0},
         {"h": -1.0, "x": 4.0, "A_bar": 0.9, "B_bar": 0.25}),
        {"You multiplied the input by Ā and the state by B̄; it is the other way round.":
            lambda h, x, A_bar, B_bar: B_bar * h + A_bar * x,
         "You forgot that the input is scaled too.":
            lambda h, x, A_bar, B_bar: A_bar * h + x}),
    "00.2": Exercise(
        decay_per_step,
        ({"delta": 0.1, "A": -1.0}, {"delta": 2.0, "A": -3.0}),
        {"That is the first-order approximation, 1 + ΔA; the exact factor is an exponential.":
            lambda delta, A: 1 + delta * A,
         "A is already negative: it needs no second minus sign.":
            lambda delta, A: math.exp(-delta * A)}),
    "00.3": Exercise(
        delta_from_flag,
        ({"flag": torch.tensor([0.0, 1.0, 0.0])}, {"flag": torch.tensor([1.0, 1.0, 0.0])}),
        {"With this Δ the model overwrites its state all the time and holds it at a flag.":
            lambda flag: 5.0 * (1 - flag),
         "Softplus is never exactly 0, so the state would leak. Here it must be held exactly.":
            lambda flag: torch.nn.functional.softplus(10 * flag - 5),
         "With a constant Δ, a flag makes no difference.":
            lambda flag: torch.full_like(flag, 5.0)}),
}
