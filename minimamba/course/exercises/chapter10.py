"""Chapter 10: training Mamba."""

from math import ceil, cos, floor, log, pi, sqrt

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


def _after_warmup(decay):
    """The right rise, then the peak times what a wrong decay gives for the fraction done."""
    def mistake(step, steps, warmup, peak):
        if step < warmup:
            return warmup_cosine(step, steps, warmup, peak)
        return peak * decay((step - warmup) / (steps - warmup))
    return mistake


def _rises_once_more(step, steps, warmup, peak):
    if step == warmup:
        return peak * (step + 1) / warmup
    return warmup_cosine(step, steps, warmup, peak)


def _without_warmup(step, steps, warmup, peak):
    return warmup_cosine(step, steps, 0, peak)


def _reaches_zero(step, steps, warmup, peak):
    return warmup_cosine(step, steps - 1, warmup, peak)


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


def _with_norm(norm_of, factor=lambda norm, max_norm: max_norm / max(norm, max_norm)):
    """Gradients scaled by another norm of all values, or by another factor."""
    def mistake(gradients, max_norm):
        norm = norm_of(torch.cat([part.flatten() for part in gradients])).item()
        return [factor(norm, max_norm) * part for part in gradients]
    return mistake


def _norms_added(gradients, max_norm):
    norm = sum(part.norm().item() for part in gradients)
    return [max_norm / max(norm, max_norm) * part for part in gradients]


def _largest_part(gradients, max_norm):
    norm = max(part.norm().item() for part in gradients)
    return [max_norm / max(norm, max_norm) * part for part in gradients]


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
            _after_warmup(lambda done: cos(pi * done)),
         "The cosine begins at twice the peak: halve it.":
            _after_warmup(lambda done: 1 + cos(pi * done)),
         "After the rise the learning rate stays at the peak: the cosine is missing.":
            _after_warmup(lambda done: 1),
         "That falls along a straight line, not along a cosine.":
            _after_warmup(lambda done: 1 - done),
         "After the rise it begins at zero and rises again: is there a sign to change?":
            _after_warmup(lambda done: (1 - cos(pi * done)) / 2),
         "The cosine falls over half a period, which is π, not 1.":
            _after_warmup(lambda done: (1 + cos(done)) / 2),
         "The cosine falls and rises again: that is a whole period, 2π.":
            _after_warmup(lambda done: (1 + cos(2 * pi * done)) / 2),
         "The rise is over at step warmup − 1: step warmup belongs to the cosine.":
            _rises_once_more,
         "The rise is missing: in the first `warmup` steps there is no cosine.": _without_warmup,
         "The cosine reaches zero at step `steps`, one after the last.": _reaches_zero}),
    "10.2": Exercise(
        clipped, tuple({"gradients": GRADIENTS, "max_norm": max_norm}
                       for max_norm in (1.0, 4.0, 10.0)),
        {"All parts are scaled by the same factor, or the direction changes.": _each_part_alone,
         "A gradient with a smaller norm stays as it is.":
            _with_norm(torch.norm, lambda norm, max_norm: max_norm / norm),
         "The norm is the root of the sum of the squares: the root is missing.":
            _with_norm(lambda values: values.square().sum()),
         "The norms of the parts can't be added. Their squares can.": _norms_added,
         "That is the norm of the largest part: all parts count.": _largest_part,
         "The norm has the sum of the squares, not their mean.":
            _with_norm(lambda values: values.square().mean().sqrt()),
         "That is the sum of the absolute values: the norm adds squares.":
            _with_norm(lambda values: values.abs().sum()),
         "The factor is upside down: a gradient that is too large must become smaller.":
            _with_norm(torch.norm, lambda norm, max_norm: max(norm, max_norm) / max_norm),
         "Gradients that are too large get the norm 1, not max_norm.":
            _with_norm(torch.norm, lambda norm, max_norm: 1 if norm <= max_norm else 1 / norm),
         "That clips each number on its own, which changes the direction.":
            lambda gradients, max_norm: [part.clamp(-max_norm, max_norm) for part in gradients]}),
    "10.3": Exercise(
        max_length, ({"trained_length": 64, "margin": 2.0, "A_bar": 0.999},
                     {"trained_length": 256, "margin": 1.5, "A_bar": 0.99},
                     {"trained_length": 64, "margin": 5.0, "A_bar": 0.9},
                     {"trained_length": 64, "margin": 1.0, "A_bar": 0.5}),
        {"What is lost is a fraction of what is left, so it is a power: margin · A_bar^n = 1.":
            lambda trained_length, margin, A_bar:
                trained_length + floor((margin - 1) / (1 - A_bar)),
         "That is how many steps beyond the training length.":
            lambda trained_length, margin, A_bar: floor(log(margin) / -log(A_bar)),
         "Round down: with one token more, less than the threshold is left.":
            lambda trained_length, margin, A_bar:
                trained_length - floor(log(margin) / log(A_bar)),
         "Round down, not to the nearest: with half a token more, too little is left.":
            lambda trained_length, margin, A_bar:
                trained_length + round(log(margin) / -log(A_bar)),
         "One too many: at that length less than the threshold is left.":
            lambda trained_length, margin, A_bar:
                trained_length + floor(log(margin) / -log(A_bar)) + 1,
         "Exactly the threshold is still enough: try margin = 1.":
            lambda trained_length, margin, A_bar:
                trained_length + ceil(log(margin) / -log(A_bar)) - 1,
         "A number of tokens is whole.":
            lambda trained_length, margin, A_bar: trained_length + log(margin) / -log(A_bar),
         "It answers correctly at the trained length, so at more tokens, not at fewer: ln(A_bar) "
         "is negative.":
            lambda trained_length, margin, A_bar:
                trained_length + floor(log(margin) / log(A_bar)),
         "1 − A_bar is only almost −ln(A_bar): the difference counts here.":
            lambda trained_length, margin, A_bar:
                trained_length + floor(log(margin) / (1 - A_bar)),
         "The margin is a multiple of the threshold, not of the length.":
            lambda trained_length, margin, A_bar: floor(trained_length * margin)}),
}
