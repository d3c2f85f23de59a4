"""Argument checks: each error names the argument, what was expected and what was given.

Every public function checks its arguments with these before it computes anything, so that
bad input never turns into a NaN or an unintended broadcast.
"""

import math
import sys
from collections.abc import Iterable
from typing import NoReturn

import torch
from torch import Tensor

SMALLEST = math.ulp(0.0)
"""The smallest number greater than 0."""
LARGEST = sys.float_info.max
"""The largest finite number."""
FULL_PRECISION = (torch.float32, torch.float64, torch.complex64, torch.complex128)
"""The dtypes of a linear system; only `selective_scan` takes half precision."""


def refuse(name: str, expected: str, given: object) -> NoReturn:
    """Raise the ValueError that the library raises for every kind of bad input.

    Args:
        name: the argument.
        expected: what it should have been, in words.
        given: what it was, in words or as a value that prints well.

    Raises:
        ValueError: always, with the message "name: expected ..., got ...".
    """
    raise ValueError(f"{name}: expected {expected}, got {given}")


def shape_of(x: Tensor) -> str:
    """Describe a tensor's shape for an error message.

    Args:
        x: any tensor.

    Returns:
        Text such as "shape (2, 3)".
    """
    return f"shape {tuple(x.shape)}"


def check_count(name: str, count: object, least: int = 1) -> None:
    """Check that an argument is an int, not a bool, and large enough.

    Args:
        name: the argument, for the message.
        count: its value.
        least: the smallest value allowed.

    Raises:
        ValueError: if it is anything else.
    """
    if not isinstance(count, int) or isinstance(count, bool) or count < least:
        refuse(name, f"a whole number from {least} up", repr(count))


def check_bool(name: str, flag: object) -> None:
    """Check that an argument is True or False.

    Args:
        name: the argument, for the message.
        flag: its value.

    Raises:
        ValueError: if it is anything else, such as 1 or "false".
    """
    if not isinstance(flag, bool):
        refuse(name, "True or False", repr(flag))


def check_number(name: str, number: object, expected: str, low: float, high: float) -> None:
    """Check that an argument is a real number in a closed interval.

    Args:
        name: the argument, for the message.
        number: its value; an int or a float, not a bool.
        expected: the interval in words, for the message.
        low: the smallest value allowed.
        high: the largest value allowed.

    Raises:
        ValueError: if it is anything else, NaN included.
    """
    if (not isinstance(number, (int, float)) or isinstance(number, bool)
            or not low <= number <= high):
        refuse(name, expected, repr(number))


def check_positive(name: str, number: object, what: str) -> None:
    """Check that an argument is a finite real number greater than 0.

    Args:
        name: the argument, for the message.
        number: its value.
        what: what the number is, such as "a step", for the message.

    Raises:
        ValueError: if it is anything else.
    """
    check_number(name, number, f"{what} greater than 0", SMALLEST, LARGEST)


def check_one_of(name: str, given: object, known: Iterable[str]) -> None:
    """Check that an argument is one of several strings.

    Args:
        name: the argument, for the message.
        given: its value.
        known: the strings allowed; at least two, so that the message reads well.

    Raises:
        ValueError: if it is anything else.
    """
    *others, last = known
    if not isinstance(given, str) or given not in (*others, last):
        refuse(name, ", ".join(map(repr, others)) + f" or {last!r}", repr(given))


def check_tensor(name: str, x: object, dtypes: tuple[torch.dtype, ...]) -> None:
    """Check that an argument is a non-empty tensor of one of several dtypes.

    Args:
        name: the argument, for the message.
        x: its value.
        dtypes: the dtypes allowed.

    Raises:
        ValueError: if it is no tensor, has another dtype, or has no elements.
    """
    if not isinstance(x, Tensor):
        refuse(name, "a torch.Tensor", f"{type(x).__name__}")
    if x.dtype not in dtypes:
        refuse(name, "dtype " + " or ".join(map(_short, dtypes)), _short(x.dtype))
    if x.numel() == 0:
        refuse(name, "at least one element", shape_of(x))


def check_shape(name: str, x: Tensor, expected: tuple[int, ...], meaning: str) -> None:
    """Check that a tensor has exactly one shape.

    Args:
        name: the argument, for the message.
        x: the tensor.
        expected: the shape.
        meaning: the names of its axes, such as "(batch, length)", for the message.

    Raises:
        ValueError: if it has another shape.
    """
    if tuple(x.shape) != tuple(expected):
        refuse(name, f"shape {tuple(expected)} = {meaning}", shape_of(x))


def check_finite(name: str, x: Tensor) -> None:
    """Check that a tensor holds no NaN and no infinity.

    Args:
        name: the argument, for the message.
        x: the tensor, real or complex.

    Raises:
        ValueError: if it holds one.
    """
    # The sum is finite only if every term is. It can also overflow, and only then is each
    # element examined, which takes many times as long.
    if not torch.isfinite(x.detach().sum()) and not torch.isfinite(x).all():
        which = "NaN" if torch.isnan(x).any() else "an infinity"
        refuse(name, "finite numbers", f"{which} among its {x.numel()} elements")


def check_same_device(**tensors: Tensor | None) -> None:
    """Check that all tensors are on the device of the first.

    Args:
        **tensors: the tensors by argument name; None is skipped.

    Raises:
        ValueError: naming the first that is on another device.
    """
    given = {name: x for name, x in tensors.items() if x is not None}
    first, *others = given
    for name in others:
        if given[name].device != given[first].device:
            refuse(name, f"device {given[first].device}, that of {first}", given[name].device)


def precision(dtype: torch.dtype) -> torch.dtype:
    """Return the real dtype of the same precision: float32 for complex64.

    Args:
        dtype: a real or complex floating-point dtype.

    Returns:
        `dtype` itself if it is real.
    """
    return dtype.to_real()


def check_system(**tensors: Tensor) -> None:
    """Check that tensors are finite, of one precision (real or complex), on one device.

    Args:
        **tensors: the tensors by argument name. The first sets precision and device.

    Raises:
        ValueError: naming the first that does not fit.
    """
    first = next(iter(tensors))
    for name, x in tensors.items():
        check_tensor(name, x, FULL_PRECISION)
        wanted = precision(tensors[first].dtype)
        if precision(x.dtype) != wanted:
            refuse(name, f"{_short(wanted)} precision, that of {first}", _short(x.dtype))
    check_same_device(**tensors)
    for name, x in tensors.items():
        check_finite(name, x)


def _short(dtype: torch.dtype) -> str:
    """Name a dtype without "torch."."""
    return str(dtype).removeprefix("torch.")
