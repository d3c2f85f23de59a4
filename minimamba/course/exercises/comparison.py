"""Whether an answer's result equals the expected one, and in words where it differs."""

from numbers import Number

import torch
from torch import Tensor

SHORT = 8
"""Values of a tensor that are all shown; of a larger one, the first that differs."""
AXES = {1: ("element",), 2: ("row", "column")}
"""What the axes of a vector and of a matrix are called."""


def equal(got: object, expected: object) -> bool:
    """Compare two results, up to rounding; float32 may stand for float64.

    Args:
        got: what an answer returned: anything.
        expected: a number, a tensor, or a tuple, list or dict of results.

    Returns:
        Whether they agree.
    """
    if isinstance(expected, dict):  # the outputs of a kernel, in float32
        return got is not None and all(
            torch.allclose(got[name], expected[name], rtol=1e-4, atol=1e-5, equal_nan=True)
            for name in expected)
    if isinstance(expected, (tuple, list)):
        return (isinstance(got, (tuple, list)) and len(got) == len(expected)
                and all(map(equal, got, expected)))
    if isinstance(got, (tuple, list)) and isinstance(expected, Tensor):
        return False
    given, wanted = as_tensor(got), as_tensor(expected)
    if given is None or wanted is None:
        return False
    if given.shape != wanted.shape or given.is_complex() != wanted.is_complex():
        return False
    return bool(agreement(given, wanted).all())


def as_tensor(value: object) -> Tensor | None:
    """Make a tensor of a number, an array, or a list of numbers.

    Args:
        value: anything.

    Returns:
        The tensor, or None if there is none of this value.
    """
    try:
        return torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError):
        return None


def agreement(given: Tensor, wanted: Tensor) -> Tensor:
    """Say of each value whether it agrees up to rounding.

    Args:
        given: a tensor of any dtype and shape.
        wanted: a tensor of the same shape.

    Returns:
        A Boolean tensor of that shape.
    """
    dtype = torch.complex128 if wanted.is_complex() else torch.float64
    return torch.isclose(given.to(dtype), wanted.to(dtype), rtol=1e-5, atol=1e-8, equal_nan=True)


def difference(got: object, expected: object) -> str:
    """Say how a wrong result differs from the expected one.

    Args:
        got: what the answer returned.
        expected: the solution's result.

    Returns:
        A text with "expected …, got …".
    """
    given = None if isinstance(got, (tuple, list)) else as_tensor(got)
    wanted = None if isinstance(expected, (tuple, list)) else as_tensor(expected)
    if (given is not None and wanted is not None and given.shape == wanted.shape
            and wanted.numel() > SHORT and given.is_complex() == wanted.is_complex()):
        wrong = ~agreement(given, wanted)
        first = tuple(wrong.nonzero()[0].tolist())
        axes = AXES.get(wrong.ndim, [f"axis {axis}:" for axis in range(wrong.ndim)])
        texts = _two_texts(given[first], wanted[first])
        where = "" if wrong.all() else " " + extent("the result", axes, wrong)
        return f"expected {texts[1]} at {list(first)}, got {texts[0]}.{where}"
    got_text, expected_text = _two_texts(got, expected)
    if given is not None and wanted is not None and given.shape != wanted.shape:
        expected_text, got_text = (
            text if "shape" in text else f"{text}, of shape {tuple(value.shape)}"
            for text, value in ((expected_text, wanted), (got_text, given)))
    return f"expected {expected_text}, got {got_text}."


def _two_texts(got: object, expected: object) -> tuple[str, str]:
    """Both values as text, with as many digits as it takes to see a difference."""
    for digits in (4, 8, 16):
        texts = format_value(got, digits), format_value(expected, digits)
        if texts[0] != texts[1]:
            break
    return texts


def format_value(value: object, digits: int = 4) -> str:
    """A value as short text, with only the beginning of a long tensor.

    Args:
        value: anything.
        digits: significant digits of a number.

    Returns:
        The text.
    """
    if isinstance(value, (tuple, list)):
        if len(value) > SHORT:
            start = ", ".join(format_value(part, digits) for part in value[:4])
            return f"a {type(value).__name__} of {len(value)} that starts ({start})"
        return "(" + ", ".join(format_value(part, digits) for part in value) + ")"
    if isinstance(value, Tensor) and value.numel() > SHORT:
        return (f"a tensor of shape {tuple(value.shape)} that starts "
                f"{format_value(value.flatten()[:4], digits)}")
    if isinstance(value, Tensor) and value.ndim:
        return "[" + ", ".join(format_value(part, digits) for part in value) + "]"
    number = value.item() if isinstance(value, Tensor) else value
    if isinstance(number, Number) and not isinstance(number, bool):
        return f"{number + 0:.{digits}g}"  # + 0 makes 0 of −0
    return repr(number)


def extent(name: str, axes: tuple[str, ...], wrong: Tensor) -> str:
    """Say which indices of each axis are right everywhere, or how many values are wrong.

    Args:
        name: of the result.
        axes: what each axis is called.
        wrong: a Boolean tensor, True where a value is wrong, and somewhere it is.

    Returns:
        A sentence.
    """
    parts = []
    for dim, axis in enumerate(axes):
        others = [other for other in range(wrong.ndim) if other != dim]
        along = wrong.any(others) if others else wrong
        if not along.all():
            parts.append(f"{axis} {_ranges(along)} wrong, {axis} {_ranges(~along)} right")
    if parts:
        return f"In {name}: {'; '.join(parts)}."
    count = f"{wrong.sum()} of {wrong.numel()} values" if not wrong.all() else "All"
    return f"{count} of {name} {'are' if count != 'All' else 'is'} wrong."


def _ranges(chosen: Tensor) -> str:
    """Indices as text, such as "0–15, 32"; at most three ranges."""
    ranges: list[list[int]] = []
    for index in chosen.nonzero().flatten().tolist():
        if ranges and index == ranges[-1][1] + 1:
            ranges[-1][1] = index
        else:
            ranges.append([index, index])
    text = ", ".join(str(a) if a == b else f"{a}–{b}" for a, b in ranges[:3])
    return text + ", …" * (len(ranges) > 3)
