"""Errors at the door: which argument, what was expected, what came.

Every public function checks its arguments with these before it computes anything, so that
bad input never becomes a NaN or a broadcast that nobody meant.
"""

import math
import sys
from collections.abc import Iterable
from typing import NoReturn

import torch
from torch import Tensor

TINY, HUGE = math.ulp(0.0), sys.float_info.max


def refuse(name: str, expected: str, given: object) -> NoReturn:
    """Raise the one kind of error that the library raises for bad input."""
    raise ValueError(f"{name}: expected {expected}, got {given}")


def shape_of(x: Tensor) -> str:
    return f"shape {tuple(x.shape)}"


def check_count(name: str, count: object, least: int = 1) -> None:
    """A whole number, not a bool."""
    if not isinstance(count, int) or isinstance(count, bool) or count < least:
        refuse(name, f"a whole number from {least} up", repr(count))


def check_number(name: str, number: object, expected: str, low: float, high: float) -> None:
    """A real number between two others, the ends included; `expected` says which in words."""
    if (not isinstance(number, (int, float)) or isinstance(number, bool)
            or not low <= number <= high):
        refuse(name, expected, repr(number))


def check_positive(name: str, number: object, what: str) -> None:
    """A finite real number greater than 0; `what` names it."""
    check_number(name, number, f"{what} greater than 0", TINY, HUGE)


def check_one_of(name: str, given: object, known: Iterable[str]) -> None:
    """One of some names."""
    *others, last = known
    if not isinstance(given, str) or given not in (*others, last):
        refuse(name, ", ".join(map(repr, others)) + f" or {last!r}", repr(given))


def check_tensor(name: str, x: object, dtypes: tuple[torch.dtype, ...]) -> None:
    """A non-empty tensor whose dtype is one of `dtypes`."""
    if not isinstance(x, Tensor):
        refuse(name, "a torch.Tensor", f"{type(x).__name__}")
    if x.dtype not in dtypes:
        refuse(name, "dtype " + " or ".join(str(d).removeprefix("torch.") for d in dtypes),
               str(x.dtype).removeprefix("torch."))
    if x.numel() == 0:
        refuse(name, "at least one element", shape_of(x))


def check_shape(name: str, x: Tensor, expected: tuple[int, ...], meaning: str) -> None:
    """Exactly the `expected` shape; `meaning` names its axes in the message."""
    if tuple(x.shape) != tuple(expected):
        refuse(name, f"shape {tuple(expected)} = {meaning}", shape_of(x))


def check_finite(name: str, x: Tensor) -> None:
    """No NaN and no infinity."""
    # A sum is finite only if all its terms are; it can overflow, though, and only then is each
    # number looked at, which takes many times as long.
    if not torch.isfinite(x.detach().sum()) and not torch.isfinite(x).all():
        which = "NaN" if torch.isnan(x).any() else "an infinity"
        refuse(name, "finite numbers", f"{which} among its {x.numel()} elements")


def check_same_device(**tensors: Tensor | None) -> None:
    """All on the device of the first one."""
    given = {name: x for name, x in tensors.items() if x is not None}
    first, *others = given
    for name in others:
        if given[name].device != given[first].device:
            refuse(name, f"device {given[first].device}, that of {first}", given[name].device)


def precision(dtype: torch.dtype) -> torch.dtype:
    """The real dtype beneath a real or complex one: complex64 -> float32."""
    return dtype.to_real()


EXACT = (torch.float32, torch.float64, torch.complex64, torch.complex128)
"""The dtypes of a linear system; half precision belongs to `selective_scan` alone."""


def check_system(**parts: Tensor) -> None:
    """Finite tensors of one precision (real or complex) on one device, named by keyword."""
    reference = None
    for name, x in parts.items():
        check_tensor(name, x, EXACT)
        reference = reference or (name, precision(x.dtype))
        if precision(x.dtype) != reference[1]:
            kind = str(reference[1]).removeprefix("torch.")
            refuse(name, f"{kind} precision, that of {reference[0]}",
                   str(x.dtype).removeprefix("torch."))
    check_same_device(**parts)
    for name, x in parts.items():
        check_finite(name, x)
