"""Chapter 10: training Mamba."""

from math import cos, floor, log, pi, sqrt

import torch
from torch import Tensor

from minimamba.course.exercises import Exercise


def warmup_cosine(step: int, steps: int, warmup: int, peak: float) -> float:
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * (1 + cos(pi * (step - warmup) / (steps - warmup))) / 2


def _from_zero(step, steps, warmup, peak):
    return peak * step / warmup if step < warmup else warmup_cosine(step, steps, warmup, peak)


def _over_all_steps(step, steps, warmup, peak):
    if step < warmup:
        return warmup_cosine(step, steps, warmup, peak)
    return peak * (1 + cos(pi * step / steps)) / 2


def clipped(gradients: list[Tensor], most: float) -> list[Tensor]:
    length = sqrt(sum(part.square().sum().item() for part in gradients))
    return [most / max(length, most) * part for part in gradients]


def _each_by_itself(gradients, most):
    return [clipped([part], most)[0] for part in gradients]


def _always(gradients, most):
    length = sqrt(sum(part.square().sum().item() for part in gradients))
    return [most / length * part for part in gradients]


def reaches(trained: int, margin: float, keep: float) -> int:
    return trained + floor(log(margin) / -log(keep))


GRADIENTS = [torch.tensor([[3.0, -1.0], [2.0, 0.5]], dtype=torch.float64),
             torch.tensor([0.2, -4.0, 1.0], dtype=torch.float64)]
SCHEDULE = {"steps": 100, "warmup": 10, "peak": 0.02}

EXERCISES = {
    "10.1": Exercise(
        warmup_cosine, tuple({"step": step, **SCHEDULE} for step in (0, 4, 9, 10, 55, 99)),
        {"The first step has a rate too: peak / warmup.": _from_zero,
         "The cosine begins where the rise ends, and falls over the steps that are left.":
            _over_all_steps}),
    "10.2": Exercise(
        clipped, tuple({"gradients": GRADIENTS, "most": most} for most in (1.0, 4.0, 10.0)),
        {"All parts are shortened by the same factor, or the direction changes.": _each_by_itself,
         "A gradient that is shorter than that stays as it is.": _always}),
    "10.3": Exercise(
        reaches, ({"trained": 64, "margin": 2.0, "keep": 0.999},
                  {"trained": 256, "margin": 1.5, "keep": 0.99},
                  {"trained": 64, "margin": 1.0, "keep": 0.5}),
        {"What is lost is a share of what is left, so it is a power: margin · keep^n = 1.":
            lambda trained, margin, keep: trained + floor((margin - 1) / (1 - keep)),
         "That is how many steps beyond the training length.":
            lambda trained, margin, keep: floor(log(margin) / -log(keep))}),
}
