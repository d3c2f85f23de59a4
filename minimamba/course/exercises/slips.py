"""Slips that occur in every exercise, told from the results and the expected ones."""

from collections.abc import Callable, Iterator
from itertools import permutations

import torch
from torch import Tensor

from minimamba.course.exercises.comparison import as_tensor, equal

ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth")
"""What the results of a tuple are called."""
TRANSPOSED = ("Those are the right values, but the axes are in another order: transpose the "
              "result.")
ALMOST = ("That is almost right: an approximation, or digits that are lost (in float32, or in a "
          "difference of nearly equal numbers).")


def computes(answer: Callable) -> bool:
    """Say whether the body of a function does more than an empty exercise.

    Args:
        answer: the function.

    Returns:
        True if it does; False too where there is no bytecode to look at.
    """
    def empty():
        ...

    code = getattr(answer, "__code__", None)
    return code is not None and bool(set(code.co_code[::2]) - set(empty.__code__.co_code[::2]))


def changed_argument(before: dict, after: dict) -> str:
    """Say which argument an answer changed in place.

    Args:
        before: the arguments of a case.
        after: the same arguments, as the answer left them.

    Returns:
        A sentence, or "" if it changed none.
    """
    for name, value in before.items():
        if isinstance(value, (Tensor, tuple, list)) and not equal(after[name], value):
            return (f"The function changes its argument {name} in place (by `+=`, `[…] =` or a "
                    "method that ends in _): make a new tensor instead.")
    return ""


def find_slip(cases: tuple[dict, ...], got: list, expected: list) -> str:
    """Say what is wrong with the results of an answer, if it is a slip of any exercise.

    Args:
        cases: the arguments of each call.
        got: what the answer returned for each, None where it raised an error.
        expected: what the solution returned.

    Returns:
        A sentence that is true of all cases that differ, or "" if none is known.
    """
    results = zip(cases, got, expected, strict=True)
    differ = [(case, given, wanted) for case, given, wanted in results
              if given is not None and not equal(given, wanted)]
    if not differ:  # a kernel's output that is nearly right
        return ALMOST
    first, given, wanted = differ[0]
    if message := _kind(given, wanted):
        return message
    if isinstance(wanted, (dict, tuple, list)):
        return _slip_of_a_part(cases, got, expected, given, wanted)
    pairs = [(case, as_tensor(given), as_tensor(wanted)) for case, given, wanted in differ]
    if any(given is None for _, given, _ in pairs):
        return ""
    for message in _messages(*pairs[0]):
        if all(message in _messages(*pair) for pair in pairs[1:]):
            return message
    if message := _ratio(pairs):
        return message
    return ("The cases before this one are right: what is different here?"
            if first is not cases[0] else "")


def _slip_of_a_part(cases: tuple[dict, ...], got: list, expected: list, given: object,
                    wanted: object) -> str:
    """Which of several results is wrong, and what is wrong with it."""
    if isinstance(wanted, dict):  # a kernel's: its check names the output that is wrong
        key = next(name for name in wanted if not equal({0: given[name]}, {0: wanted[name]}))
        which = ""
        if given[key].isnan().any():  # never written, as the check says already
            return ""
    else:
        wrong = [i for i, pair in enumerate(zip(given, wanted, strict=True)) if not equal(*pair)]
        key = wrong[0]
        which = ORDINALS[key] if key < len(ORDINALS) else f"{key + 1}th"
        which = f"Only the {which} result is wrong. " if len(wrong) == 1 < len(wanted) else ""
    alike = (type(given), len(given))  # a result of another kind counts as an error
    parts = [part[key] if isinstance(part, (dict, tuple, list)) and
             (type(part), len(part)) == alike else None for part in got]
    return (which + find_slip(cases, parts, [part[key] for part in expected])).strip()


def _kind(got: object, expected: object) -> str:
    """What is wrong with the kind of a result: its type, or how many there are."""
    if isinstance(expected, (tuple, list)):
        kind = "results" if isinstance(expected, tuple) else "values in a list"
        if not isinstance(got, (tuple, list)):
            return f"{len(expected)} {kind} are expected; this is a single {_name(got)}."
        if len(got) != len(expected):
            return f"{len(expected)} {kind} are expected; this has {len(got)}."
        if len(got) > 1 and equal(got[::-1], expected):
            return "Those are the right results, in the opposite order."
        return ""
    if isinstance(got, dict) and isinstance(expected, dict):
        return ""
    if isinstance(got, (tuple, list)) and len(got) == 1 and equal(got[0], expected):
        return "The result is wrapped in a tuple or list of one: is there a comma after it?"
    if isinstance(got, (tuple, list)) and isinstance(expected, Tensor):
        return (f"One tensor is expected; this is a {_name(got)} of {len(got)}. `torch.stack` "
                "makes a tensor of a list of them.")
    if isinstance(got, (tuple, list, str, dict)) or as_tensor(got) is None:
        what = "tensor" if isinstance(expected, Tensor) and expected.ndim else "number"
        return f"One {what} is expected; this is a {_name(got)}."
    return ""


def _name(value: object) -> str:
    if isinstance(value, Tensor):
        return "tensor"
    return "text" if isinstance(value, str) else type(value).__name__


def _close(given: Tensor, wanted: Tensor) -> bool:
    """Whether two tensors are equal up to rounding in single precision."""
    if given.shape != wanted.shape:
        return False
    dtype = torch.complex128 if given.is_complex() or wanted.is_complex() else torch.float64
    given, wanted = given.to(dtype), wanted.to(dtype)
    scale = wanted.abs().nan_to_num(0.0, 0.0).max().item() if wanted.numel() else 0.0
    return torch.allclose(given, wanted, rtol=1e-4, atol=1e-6 * scale, equal_nan=True)


def _messages(case: dict, given: Tensor, wanted: Tensor) -> Iterator[str]:
    """What is true of a result that is wrong, the most telling first."""
    if given.shape != wanted.shape:
        yield from _of_another_shape(given, wanted)
        return
    if given.isnan().any() and not wanted.isnan().any():
        yield "There are NaNs: from 0/0, ∞ − ∞, or a logarithm or root of something negative."
    if given.isinf().any() and not wanted.isinf().any():
        yield "There are infinities: from a division by 0, or an exponential that overflows."
    if given.is_complex() and not wanted.is_complex():
        yield "The result is complex, but should be real: which part of it is wanted, and when?"
        return
    if wanted.is_complex() and not given.is_complex():
        yield "The result is real, but should be complex: where does the imaginary part go?"
        return
    if given.dtype == torch.bool and wanted.dtype != torch.bool:
        yield "The result is True or False, but should be numbers."
        return
    if not given.isfinite().all():
        return
    whole = not given.is_floating_point() and not given.is_complex() and wanted.is_floating_point()
    dtype = torch.complex128 if given.is_complex() else torch.float64
    given, wanted = given.to(dtype), wanted.to(dtype)
    if _close(given, wanted):
        yield ALMOST
        return
    yield from _of_other_values(given, wanted)
    yield from _by_an_argument(case, given, wanted)
    yield from _along_axes(given, wanted)
    if whole:
        yield "Those are whole numbers: a division by `//` or a tensor of ints cuts fractions off."
    if not given.is_complex() and _close(*(x.flatten().sort().values for x in (given, wanted))):
        yield "Those are the right values in another order."
    error = ((given - wanted).abs().max() / wanted.abs().max()).item() if wanted.any() else 1.0
    if error < 0.01:
        yield ALMOST


def _is_transposed(given: Tensor, wanted: Tensor) -> bool:
    return any(_close(given, wanted.permute(order))
               for order in list(permutations(range(wanted.ndim)))[1:])


def _of_another_shape(given: Tensor, wanted: Tensor) -> Iterator[str]:
    if _is_transposed(given, wanted):
        yield TRANSPOSED
    if given.numel() == wanted.numel() and _close(given.reshape(wanted.shape), wanted):
        extra = given.squeeze().shape == wanted.squeeze().shape and given.ndim > wanted.ndim
        yield ("Those are the right values, but with an axis of size 1 too many." if extra else
               "Those are the right values, but in another shape.")
    for axis, size in enumerate(wanted.shape):
        if size and _close(given, wanted.select(axis, -1)):
            yield f"That is only the last entry along axis {axis}: keep all of them."
        if size and _close(given, wanted.select(axis, 0)):
            yield f"That is only the first entry along axis {axis}."
        if _close(given, wanted.sum(axis)):
            yield f"The result is summed over axis {axis}, which should stay."
        if given.ndim == wanted.ndim and given.shape[axis] != size:
            yield from _of_another_length(given, wanted, axis)
    if given.ndim == wanted.ndim:
        for axis, (size, right) in enumerate(zip(given.shape, wanted.shape, strict=True)):
            if size != right:
                more = "too long" if size > right else "too short"
                yield f"Axis {axis} is {more}."
    else:
        yield f"The number of axes differs: expected {wanted.ndim}, got {given.ndim}."


def _of_another_length(given: Tensor, wanted: Tensor, axis: int) -> Iterator[str]:
    """What is missing along an axis, or too much."""
    size = min(given.shape[axis], wanted.shape[axis])
    shorter = given.shape[axis] < wanted.shape[axis]
    starts = [part.narrow(axis, 0, size) for part in (given, wanted)]
    ends = [part.narrow(axis, part.shape[axis] - size, size) for part in (given, wanted)]
    if size and _close(*starts):
        yield (f"Along axis {axis} the end is missing: where does the loop stop?" if shorter else
               f"Along axis {axis} there are entries too many at the end.")
    if size and _close(*ends):
        yield (f"Along axis {axis} the beginning is missing." if shorter else
               f"Along axis {axis} there are entries too many at the beginning: the state before "
               "the first step, for example.")


def _of_other_values(given: Tensor, wanted: Tensor) -> Iterator[str]:
    """What holds value by value."""
    if not given.any():
        yield "Everything is 0: is the result ever filled?"
        return
    if _close(given, -wanted):
        yield "The sign is wrong: everything else is right."
    if given.is_complex() and _close(given, wanted.conj()):
        yield "That is the complex conjugate."
    if _close(given, 1 - wanted):
        yield "That is 1 minus the right result."
    if wanted.all() and _close(given, 1 / wanted):
        yield "That is the reciprocal: numerator and denominator are swapped."
    if not given.is_complex():
        if _close(given.abs(), wanted.abs()):
            yield "The magnitudes are right, but some of the signs are wrong."
        if (wanted > 0).all() and _close(given, wanted.log()):
            yield "That is the logarithm of the result."
        if _close(given, wanted.exp()):
            yield "That is e to the power of the result."
    if _close(given, wanted**2):
        yield "That is the square of the result."
    if _close(given**2, wanted):
        yield "That is the square root of the result."


def _by_an_argument(case: dict, given: Tensor, wanted: Tensor) -> Iterator[str]:
    """What an argument of the answer, a number or a tensor that fits, has to do with it."""
    for name, value in case.items():
        argument = as_tensor(value)
        if argument is None or argument.shape not in ((), wanted.shape) or (
                argument.dtype == torch.bool):
            continue
        if _close(given, argument.expand_as(wanted)):
            yield f"That is the argument {name} itself."
        elif not argument.any():
            continue
        elif _close(given * argument, wanted):
            yield f"A factor {name} is missing."
        elif _close(given, wanted * argument):
            yield f"There is a factor {name} too many."
        elif _close(given + argument, wanted):
            yield f"A term {name} is missing."
        elif _close(given - argument, wanted):
            yield f"There is a term {name} too many."


def _along_axes(given: Tensor, wanted: Tensor) -> Iterator[str]:
    """What holds along an axis: shifts, sums, copies, and where it is right."""
    if _is_transposed(given, wanted):
        yield TRANSPOSED
    for axis, size in enumerate(wanted.shape):
        if size < 2:
            continue
        last = wanted.narrow(axis, size - 1, 1).expand_as(wanted)
        first = wanted.narrow(axis, 0, 1).expand_as(wanted)
        if _close(given, wanted.flip(axis)):
            yield f"Axis {axis} runs backwards."
        elif _close(given, last):
            yield (f"Along axis {axis} every entry is the last one. Does a list hold one tensor "
                   "that `+=` or `*=` changes later? `h = …` makes a new one.")
        elif _close(given, first):
            yield (f"Along axis {axis} every entry is the first one: what should change from "
                   "step to step?")
        elif _close(given, wanted.cumsum(axis)):
            yield f"That is summed up along axis {axis}, once too often."
        elif _close(given.cumsum(axis), wanted):
            yield f"That still has to be summed up along axis {axis}."
        elif _close(given, wanted.roll(1, axis)) or _close(given, wanted.roll(-1, axis)):
            yield f"Along axis {axis} everything is rotated by one step."
        inner, outer = (1, size - 1), (0, size - 1)
        if _close(given.narrow(axis, *inner), wanted.narrow(axis, *outer)):
            yield (f"Along axis {axis} everything is one step late: is a state stored before it "
                   "is updated?")
        elif _close(given.narrow(axis, *outer), wanted.narrow(axis, *inner)):
            yield f"Along axis {axis} everything is one step early."
        elif _close(given.narrow(axis, *inner), wanted.narrow(axis, *inner)):
            yield f"Along axis {axis} only the first entry is wrong."
        elif _close(given.narrow(axis, *outer), wanted.narrow(axis, *outer)):
            yield f"Along axis {axis} only the last entry is wrong."


def _ratio(pairs: list[tuple[dict, Tensor, Tensor]]) -> str:
    """Whether all values of all cases are off by one factor, or by one term."""
    if any(g.shape != w.shape or g.is_complex() != w.is_complex() for _, g, w in pairs):
        return ""
    given = torch.cat([g.flatten() for _, g, _ in pairs])
    wanted = torch.cat([w.flatten() for _, _, w in pairs])
    if not given.isfinite().all() or _close(wanted, wanted[:1].expand_as(wanted)):
        return ""
    largest = wanted.abs().argmax()
    factor, term = given[largest] / wanted[largest], given[largest] - wanted[largest]
    if _close(given, given[:1].expand_as(given)):
        return "The result is always the same: which arguments does it use?"
    if _close(given, factor * wanted):
        return f"Everything is {factor.item():.4g} times what it should be."
    if _close(given, wanted + term):
        return f"Everything is off by the same amount, {term.item():+.4g}."
    return ""
