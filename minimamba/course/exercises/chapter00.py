"""Chapter 00: three short ones, to learn how an exercise works."""

import math

import torch

from minimamba.course.exercises import Exercise


def one_step(h, x, keep, write):
    return keep * h + write * x


def keep_factor(delta, A):
    return math.exp(delta * A)


def gate(flag):
    """Δ that is 0 where the flag is down and 5 where it is up."""
    return 5.0 * flag


EXERCISES = {
    "00.1": Exercise(
        one_step,
        ({"h": 2.0, "x": 3.0, "keep": 0.5, "write": 1.0},
         {"h": -1.0, "x": 4.0, "keep": 0.9, "write": 0.25}),
        {"You wrote the new input with the factor that belongs to the old state.":
            lambda h, x, keep, write: write * h + keep * x,
         "You forgot that the input is scaled too.":
            lambda h, x, keep, write: keep * h + x}),
    "00.2": Exercise(
        keep_factor,
        ({"delta": 0.1, "A": -1.0}, {"delta": 2.0, "A": -3.0}),
        {"That is the first-order guess, 1 + ΔA; the exact factor is an exponential.":
            lambda delta, A: 1 + delta * A,
         "A is negative already: no second minus sign.":
            lambda delta, A: math.exp(-delta * A)}),
    "00.3": Exercise(
        gate,
        ({"flag": torch.tensor([0.0, 1.0, 0.0])}, {"flag": torch.tensor([1.0, 1.0, 0.0])}),
        {"That way round it forgets all the time and holds at a flag.":
            lambda flag: 5.0 * (1 - flag),
         "Softplus is never quite 0: it nearly holds. This one is to hold exactly.":
            lambda flag: torch.nn.functional.softplus(10 * flag - 5),
         "A constant Δ cannot tell a flag from the rest.":
            lambda flag: torch.full_like(flag, 5.0)}),
}
