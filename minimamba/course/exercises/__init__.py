"""Exercises that check themselves: `check("02.1", my_function)`.

Each chapter has a file here with its exercises. An exercise consists of the arguments with which
an answer is called, a solution, and typical mistakes, each with a hint.
"""

import importlib
import importlib.util
import pkgutil
from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cache

from minimamba.course.exercises.comparison import difference, equal, format_value
from minimamba.course.exercises.raised import describe_error
from minimamba.course.exercises.record import mark_solved, mark_unsolved, print_progress
from minimamba.course.exercises.slips import changed_argument, computes, find_slip
from minimamba.course.exercises.steps import STEPS
from minimamba.course.exercises.stubs import published_stub

NOT_TRIED = "not tried yet"
CORRECT = "correct"
WITH_TRITON = ("07", "08", "12.1")
"""Chapters whose exercises are Triton kernels, and single exercises that are."""
_given: Counter[str] = Counter()
"""How many steps of each exercise `hint` has given."""


class WrongAnswer(Exception):
    """What is wrong with an answer, in words."""


@dataclass(frozen=True, eq=False)
class Exercise:
    """An exercise: the solution, the cases it is tested on, and typical mistakes."""

    solution: Callable
    """The function that computes the expected results."""
    cases: tuple[dict, ...]
    """The keyword arguments of each call."""
    mistakes: dict[str, Callable] = field(default_factory=dict)
    """For each hint, the wrong answer that it belongs to."""
    call: Callable = lambda answer, **case: answer(**case)
    """Calls the solution or an answer with a case; a kernel is launched."""
    explain: Callable | None = None
    """Says in words how a result differs from the expected one, given both."""


def check(name: str, answer: Callable) -> None:
    """Print whether an answer solves an exercise: not tried yet, correct, or what is wrong.

    A correct answer is recorded for `progress`, except for the notebooks' own solutions.

    Args:
        name: of the exercise, such as "02.1".
        answer: the function to check.

    Raises:
        ValueError: if there is no such exercise, or the answer is not a function.
    """
    exercise = find(name)
    if not callable(answer):
        raise ValueError(f"answer: expected a function, got {type(answer).__name__}")
    result = verdict(exercise, answer)
    if getattr(answer, "__name__", "").endswith("_solution"):
        print(f"{name}, the solution: {result}")
        return
    if result == CORRECT:
        try:
            mark_solved(name)
        except (OSError, ValueError) as error:
            result += f" (not recorded: {error})"
    print(f"{name}: {result}")
    if result.startswith("not yet"):
        print(f'For one step on the way, run exercises.hint("{name}").')


def use(name: str, answer: Callable, otherwise: Callable) -> Callable:
    """Choose a reader's function if it solves an exercise, and print whose function was chosen.

    The cells that follow run with it, so that what the reader wrote takes the place of the
    library's function.

    Args:
        name: of the exercise, such as "06.3".
        answer: the reader's function.
        otherwise: the library's function, for as long as the answer isn't correct.

    Returns:
        `answer` or `otherwise`.

    Raises:
        ValueError: if there is no such exercise, or the answer is not a function.
    """
    exercise = find(name)
    if not callable(answer):
        raise ValueError(f"answer: expected a function, got {type(answer).__name__}")
    if verdict(exercise, answer) == CORRECT:
        print(f"{name}: what follows runs with your function")
        return answer
    print(f"{name}: what follows runs with the library's function, until yours is correct")
    return otherwise


def hint(name: str) -> None:
    """Print one step on the way to the solution; each call prints the next one.

    Args:
        name: of the exercise, such as "02.1".

    Raises:
        ValueError: if there is no such exercise.
    """
    find(name)
    steps = STEPS.get(name, ())
    _given[name] += 1
    if _given[name] <= len(steps):
        print(f"{name}, step {_given[name]} of {len(steps)}: {steps[_given[name] - 1]}")
    else:
        print(f"{name}: there are no more steps; the folded cell below has the solution.")
        _given[name] = 0


def reset(name: str) -> None:
    """Start an exercise again: the cell in which this runs becomes the empty exercise.

    It counts as not solved then.

    Args:
        name: of the exercise, such as "02.1".

    Raises:
        ValueError: if there is no such exercise.
        FileNotFoundError: if the library was installed without the chapters.
        RuntimeError: outside a notebook, where there is no cell.
    """
    from IPython import get_ipython  # only here, since a check needs no notebook

    find(name)
    stub = published_stub(name)
    shell = get_ipython()
    if shell is None:
        raise RuntimeError("reset: expected to run in a cell of a notebook")
    shell.set_next_input(stub, replace=True)
    mark_unsolved(name)


def progress() -> None:
    """Print which exercises of each chapter are solved, today or earlier."""
    print_progress({chapter: list(_exercises(chapter)) for chapter in _chapters()})


def find(name: str) -> Exercise:
    """Find an exercise by its name.

    Args:
        name: the chapter and the number, such as "02.1".

    Returns:
        The exercise.

    Raises:
        ValueError: if there is no such exercise.
    """
    chapter, _, _ = str(name).partition(".")
    exercises = _exercises(chapter) if chapter in _chapters() else {}
    if not isinstance(name, str) or name not in exercises:
        known = ", ".join(exercises) or "none in that chapter"
        raise ValueError(f"name: expected an exercise such as '02.1' ({known}), got {name!r}")
    return exercises[name]


def verdict(exercise: Exercise, answer: Callable) -> str:
    """Compare an answer with the solution.

    Args:
        exercise: the exercise.
        answer: the function to check.

    Returns:
        "correct", "not tried yet", or a text that begins with "not yet", names the first case
        that differs, and ends with what the mistake is, if that is known.
    """
    for case in exercise.cases:
        expected = exercise.call(exercise.solution, **case)
        given = deepcopy(case)  # an answer may modify its arguments
        wrong = f"not yet. For {_format_case(case)}"
        try:
            got = exercise.call(answer, **given)
        except NotImplementedError:
            return NOT_TRIED
        except WrongAnswer as error:
            return f"{wrong}: {error}"
        except Exception as error:
            return f"{wrong} {describe_error(error, answer)}"
        if (got is None or got is ...) and computes(answer):
            return (f"{wrong} expected {format_value(expected)}, got {got}. The function computes "
                    "something, but on this way it returns nothing: end it with `return`.")
        if got is None or got is ...:
            return f"{NOT_TRIED} (the function returns nothing)"
        if isinstance(got, dict) and all(output.isnan().all() for output in got.values()):
            return f"{NOT_TRIED} (the kernel writes nothing)"
        if not equal(got, expected):
            differs = (f": {exercise.explain(got, expected)}" if exercise.explain else
                       f" {difference(got, expected)}")
            return f"{wrong}{differs} {_hint(exercise, answer, case, given)}".rstrip()
    return CORRECT


def _chapters() -> list[str]:
    names = (module.name for module in pkgutil.iter_modules(__path__))
    return sorted(name.removeprefix("chapter") for name in names if name.startswith("chapter"))


def _exercises(chapter: str) -> dict[str, Exercise]:
    """The exercises of a chapter; none where they are kernels and Triton isn't installed."""
    if chapter in WITH_TRITON and importlib.util.find_spec("triton") is None:
        return {}
    return importlib.import_module(f"minimamba.course.exercises.chapter{chapter}").EXERCISES


def _hint(exercise: Exercise, answer: Callable, case: dict, given: dict) -> str:
    """The hint of the mistake that gives the same results as the answer in every case.

    Cases in which the answer raises an error don't count.

    Without one, what is recognized in any exercise: first whether the answer modified the
    arguments of this case, which are `given` now.
    """
    results = [_call(exercise, answer, case) for case in exercise.cases]
    for hint, mistake in exercise.mistakes.items():
        if all(result is None or equal(result, wrong)
               for result, wrong in zip(results, _known_results(exercise, mistake), strict=True)):
            return hint
    return (changed_argument(case, given)
            or find_slip(exercise.cases, results, _known_results(exercise, exercise.solution)))


@cache
def _known_results(exercise: Exercise, answer: Callable) -> list:
    """What the solution or a mistake gives in each case."""
    return [_call(exercise, answer, case) for case in exercise.cases]


def _call(exercise: Exercise, answer: Callable, case: dict) -> object:
    """The result of an answer, or None if it raises an error."""
    try:
        return exercise.call(answer, **deepcopy(case))
    except Exception:
        return None


def _format_case(case: dict) -> str:
    return ", ".join(f"{name} = {format_value(value)}" for name, value in case.items())
