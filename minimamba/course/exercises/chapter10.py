"""Chapter 10: training Mamba."""

from math import cos, floor, log, pi, sqrt

import torch
from torch import Tensor

from minimamba.course.exercises import Exercise


def warmup_cosine(step: int, steps: int, warmup: int, peak: float) -> float:
    """Solve 10.1: the learning rate of a training step, with linear warm-up and cosine decay.

    Args:
        step: the training step, from 0.
        steps: where the cosine reaches zero.
        warmup: the number of steps in which the learning rate rises.
        peak: the highest learning rate.

    Returns:
        The learning rate.
    """
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * (1 + cos(pi * (step - warmup) / (steps - warmup))) / 2


def _starts_at_zero(step, steps, warmup, peak):
    return peak * step / warmup if step < warmup else warmup_cosine(step, steps, warmup, peak)


def _cosine_over_all_steps(step, steps, warmup, peak):
    if step < warmup:
        return warmup_cosine(step, steps, warmup, peak)
    return peak * (1 + cos(pi * step / steps)) / 2


def _bare_cosine(step, steps, warmup, peak):
    rate = warmup_cosine(step, steps, warmup, peak)
    return rate if step < warmup else 2 * rate - peak


def clipped(gradients: list[Tensor], max_norm: float) -> list[Tensor]:
    """Solve 10.2: gradients scaled down to a norm.

    Args:
        gradients: the parts of the gradient, of any shapes.
        max_norm: the largest norm of all parts together.

    Returns:
        The parts, scaled by one factor.
    """
    norm = sqrt(sum(part.square().sum().item() for part in gradients))
    return [max_norm / max(norm, max_norm) * part for part in gradients]


def _each_part_alone(gradients, max_norm):
    return [clipped([part], max_norm)[0] for part in gradients]


def _always_scaled(gradients, max_norm):
    norm = sqrt(sum(part.square().sum().item() for part in gradients))
    return [max_norm / norm * part for part in gradients]


def _without_root(gradients, max_norm):
    squares = sum(part.square().sum().item() for part in gradients)
    return [max_norm / max(squares, max_norm) * part for part in gradients]


def max_length(trained_length: int, margin: float, A_bar: float) -> int:
    """Solve 10.3: the length up to which a leaky gate still answers correctly.

    Args:
        trained_length: a length at which it does, in tokens.
        margin: how much is left there, in multiples of the threshold.
        A_bar: the fraction that a step keeps, from 0 to 1.

    Returns:
        The longest such length, in tokens.
    """
    return trained_length + floor(log(margin) / -log(A_bar))


GRADIENTS = [torch.tensor([[3.0, -1.0], [2.0, 0.5]], dtype=torch.float64),
             torch.tensor([0.2, -4.0, 1.0], dtype=torch.float64)]
SCHEDULE = {"steps": 100, "warmup": 10, "peak": 0.02}

EXERCISES = {
    "10.1": Exercise(
        warmup_cosine, tuple({"step": step, **SCHEDULE} for step in (0, 4, 9, 10, 55, 99)),
        {"The first step has a learning rate above zero too: peak / warmup.": _starts_at_zero,
         "The cosine begins where the rise ends, and falls over the steps that are left.":
            _cosine_over_all_steps,
         "The cosine itself falls below zero: it has to be raised by 1 and halved.":
            _bare_cosine}),
    "10.2": Exercise(
        clipped, tuple({"gradients": GRADIENTS, "max_norm": max_norm}
                       for max_norm in (1.0, 4.0, 10.0)),
        {"All parts are scaled by the same factor, or the direction changes.": _each_part_alone,
         "A gradient with a smaller norm stays as it is.": _always_scaled,
         "The norm is the root of the sum of the squares: the root is missing.": _without_root}),
    "10.3": Exercise(
        max_length, ({"trained_length": 64, "margin": 2.0, "A_bar": 0.999},
                     {"trained_length": 256, "margin": 1.5, "A_bar": 0.99},
                     {"trained_length": 64, "margin": 1.0, "A_bar": 0.5}),
        {"What is lost is a fraction of what is left, so it is a power: margin · A_bar^n = 1.":
            lambda trained_length, margin, A_bar:
                trained_length + floor((margin - 1) / (1 - A_bar)),
         "That is how many steps beyond the training length.":
            lambda trained_length, margin, A_bar: floor(log(margin) / -log(A_bar)),
         "Round down: with one token more, less than the threshold is left.":
            lambda trained_length, margin, A_bar:
                trained_length - floor(log(margin) / log(A_bar))}),
}
