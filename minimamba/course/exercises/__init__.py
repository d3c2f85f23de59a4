"""Exercises that check themselves: `check("02.1", my_function)`.

A chapter's exercises are a file here. Each has the cases that an answer is called with, a
solution that says what is right, and the mistakes that people make, each with a hint.
"""

import importlib
import pkgutil
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from numbers import Number

import torch
from torch import Tensor

from minimamba.course.exercises import record


@dataclass(frozen=True)
class Exercise:
    """One exercise: what an answer is called with, what is right, what often goes wrong."""

    solution: Callable
    cases: tuple[dict, ...]
    """Keyword arguments, one dictionary a call."""
    mistakes: dict[str, Callable] = field(default_factory=dict)
    """From a hint to the wrong answer that it belongs to."""


def check(name: str, answer: Callable) -> None:
    """Print whether `answer` solves the exercise `name`: not tried yet, right, or what is wrong.
    What is right is written down for `progress`, but for the notebooks' own solutions.

    Raises:
        ValueError: for a name that no exercise has, or an answer that is not a function.
    """
    exercise = find(name)
    if not callable(answer):
        raise ValueError(f"answer: expected a function, got {type(answer).__name__}")
    said = verdict(exercise, answer)
    if said == "right" and not getattr(answer, "__name__", "").endswith("_solution"):
        said += record.remember(name)
    print(f"{name}: {said}")


def progress() -> None:
    """Print which exercises of which chapter have been solved, here and on earlier days."""
    record.show({chapter: list(_exercises(chapter)) for chapter in _chapters()})


def find(name: str) -> Exercise:
    """The exercise called `name`, such as "02.1": the first of chapter 02."""
    chapter, _, _ = str(name).partition(".")
    exercises = _exercises(chapter) if chapter in _chapters() else {}
    if name not in exercises:
        known = ", ".join(exercises) or "none in that chapter"
        raise ValueError(f"name: expected an exercise such as '02.1' ({known}), got {name!r}")
    return exercises[name]


def _chapters() -> list[str]:
    names = (module.name for module in pkgutil.iter_modules(__path__))
    return sorted(name.removeprefix("chapter") for name in names if name.startswith("chapter"))


def _exercises(chapter: str) -> dict[str, Exercise]:
    return importlib.import_module(f"minimamba.course.exercises.chapter{chapter}").EXERCISES


def verdict(exercise: Exercise, answer: Callable) -> str:
    """What `check` prints: the first case that differs, and a hint if the mistake is known."""
    for case in exercise.cases:
        expected = exercise.solution(**case)
        try:
            got = answer(**deepcopy(case))  # an answer may write into what it is given
        except NotImplementedError:
            return "not tried yet"
        except Exception as error:
            return f"not yet. For {_call(case)} it raised {type(error).__name__}: {error}"
        if got is None or got is ...:
            return "not tried yet (the function returns nothing)"
        if not _same(got, expected):
            said = f"For {_call(case)} expected {_show(expected)}, got {_show(got)}."
            return f"not yet. {said}{_hint(exercise, answer)}"
    return "right"


def _hint(exercise: Exercise, answer: Callable) -> str:
    """The hint of the mistake that agrees with `answer` in every case."""
    for hint, mistake in exercise.mistakes.items():
        if all(_same(_try(answer, case), mistake(**case)) for case in exercise.cases):
            return f" {hint}"
    return ""


def _try(answer: Callable, case: dict) -> object:
    try:
        return answer(**deepcopy(case))
    except Exception:
        return None


def _same(got: object, expected: object) -> bool:
    if isinstance(expected, (tuple, list)):
        return (isinstance(got, (tuple, list)) and len(got) == len(expected)
                and all(map(_same, got, expected)))
    try:
        got, expected = torch.as_tensor(got), torch.as_tensor(expected)
    except (TypeError, ValueError, RuntimeError):
        return False
    if got.shape != expected.shape or got.is_complex() != expected.is_complex():
        return False
    wide = torch.complex128 if expected.is_complex() else torch.float64
    # A float32 answer to a float64 case is right.
    return torch.allclose(got.to(wide), expected.to(wide), rtol=1e-5, atol=1e-8, equal_nan=True)


def _call(case: dict) -> str:
    return ", ".join(f"{name} = {_show(value)}" for name, value in case.items())


def _show(value: object) -> str:
    if isinstance(value, (tuple, list)):
        return "(" + ", ".join(map(_show, value)) + ")"
    if isinstance(value, Tensor) and value.numel() > 8:
        return f"a tensor of shape {tuple(value.shape)} that starts {_show(value.flatten()[:4])}"
    if isinstance(value, Tensor) and value.ndim:
        return "[" + ", ".join(map(_show, value)) + "]"
    value = value.item() if isinstance(value, Tensor) else value
    if isinstance(value, Number) and not isinstance(value, bool):
        return f"{value + 0:.4g}"  # + 0 makes a plain 0 of -0
    return repr(value)
