"""Argument checks: each error names the argument, what was expected and what was given.

Every public function checks its arguments with these before it computes anything, so that
bad input never turns into a NaN or an unintended broadcast.
"""

import math
import sys
from cmath import isfinite
from collections.abc import Callable, Iterable
from functools import wraps
from pathlib import Path
from typing import NoReturn

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.masked import MaskedTensor

SMALLEST = math.ulp(0.0)
"""The smallest number greater than 0."""
LARGEST = sys.float_info.max
"""The largest finite number."""
REAL = {torch.complex64: torch.float32, torch.complex128: torch.float64}
"""The precision of complex dtypes. (`torch.compile` knows no `dtype.to_real`.)"""
LARGEST_COUNT = 2**63 - 1
"""The largest whole number that PyTorch takes."""
LONGEST = 2000
"""In characters; what a file holds may be a thousand times as long as a message should be."""
FLOATING = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
"""The dtypes of the input of a layer."""
FULL_PRECISION = (torch.float32, torch.float64, torch.complex64, torch.complex128)
"""The dtypes of a linear system; only `selective_scan` takes half precision."""


PLAIN_TENSORS = (Tensor, torch.nn.Parameter)
"""The types of a tensor that has the operations of a tensor, and no others."""
REMEMBERED = 4096
"""Signatures, at most, for which a check is not repeated."""
_NEW = object()
"""What is found for a signature that is new."""


def once_per_signature(check: Callable) -> Callable:
    """Decorate a check, not to be repeated for tensors that look like those that have passed it.

    All checks of a scan take as long as its kernel. They look at shapes, dtypes and devices, which
    seldom change from call to call.

    Args:
        check: takes tensors or None, looks at nothing but their types, shapes, dtypes, devices and
            layouts, and raises an error or returns a value that depends on these alone.

    Returns:
        The check with the same arguments and results.
    """
    passed = {}

    @wraps(check)
    def check_if_new(*tensors):
        # While PyTorch traces or transforms a function, a shape may be a symbol.
        signature = _signature(tensors) if values_exist() else None
        if signature is None:
            return check(*tensors)
        result = passed.get(signature, _NEW)
        if result is _NEW:
            result = check(*tensors)
            if len(passed) >= REMEMBERED:
                passed.clear()
            passed[signature] = result
        return result

    return check_if_new


def _signature(tensors: tuple) -> tuple | None:
    """What checks look at; None if there is something else than plain tensors and None."""
    parts = []
    for x in tensors:
        if x is None:
            parts.append(None)
        elif type(x) in PLAIN_TENSORS and not x.is_nested:
            parts += x.shape, x.dtype, x.device, x.layout
        else:
            return None
    return tuple(parts)


def refuse(name: str, expected: str, given: object) -> NoReturn:
    """Raise the ValueError that the library raises for every kind of bad input.

    Args:
        name: the argument.
        expected: what it should have been, in words.
        given: what it was, in words or as a value that prints well.

    Raises:
        ValueError: always, with the message "name: expected ..., got ...".
    """
    name, given = _one_line(name), _one_line(str(given))
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
    """Check that an argument is an int and large enough.

    A bool is refused, and so are the integers of NumPy and PyTorch: `int(count)` makes them one.

    Args:
        name: the argument, for the message.
        count: its value.
        least: the smallest value allowed.

    Raises:
        ValueError: if it is anything else.
    """
    if not isinstance(count, int) or isinstance(count, bool) or count < least:
        refuse(name, f"a whole number from {least} up", repr(count))
    if count > LARGEST_COUNT:
        refuse(name, f"a whole number from {least} to {LARGEST_COUNT}", repr(count))


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


def as_path(name: str, path: object) -> Path:
    """Check that an argument is a path and return it as one.

    Args:
        name: the argument, for the message.
        path: a string that is not empty, or a Path.

    Returns:
        The path.

    Raises:
        ValueError: if it is anything else. An empty string, such as a variable of the shell that
            is not set, would be the current folder.
    """
    if not isinstance(path, (str, Path)):
        refuse(name, "a string or a pathlib.Path", type(path).__name__)
    if path == "" or "\0" in str(path):
        refuse(name, "a path", repr(path))
    return Path(path)


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


def check_dense(name: str, x: object) -> None:
    """Check that an argument is a tensor, and not a sparse, nested or masked one.

    Args:
        name: the argument, for the message.
        x: its value.

    Raises:
        ValueError: if it is anything else.
    """
    if not isinstance(x, Tensor):
        refuse(name, "a torch.Tensor", type(x).__name__)
    if x.layout != torch.strided:
        refuse(name, "a dense tensor", x.layout)
    if x.is_nested or isinstance(x, MaskedTensor):
        refuse(name, "a dense tensor", f"a {'nested' if x.is_nested else 'masked'} one")


def check_tensor(name: str, x: object, dtypes: tuple[torch.dtype, ...]) -> None:
    """Check that an argument is a dense, non-empty tensor of one of several dtypes.

    Args:
        name: the argument, for the message.
        x: its value.
        dtypes: the dtypes allowed.

    Raises:
        ValueError: if it is no tensor, is sparse, has another dtype, or has no elements.
    """
    check_dense(name, x)
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
        ValueError: if it holds one, or if it is on the meta device and holds nothing.
    """
    if not values_exist():  # while PyTorch traces or transforms a function
        return
    if x.is_meta:
        refuse(name, "a tensor that holds numbers", "one on the meta device")
    # The sum is finite only if every term is. It can also overflow, and only then is each
    # element examined, which takes many times as long.
    if not isfinite(x.detach().sum().item()) and not torch.isfinite(x).all():
        which = "NaN" if torch.isnan(x).any() else "an infinity"
        refuse(name, "finite numbers", f"{which} among its {x.numel()} elements")


def can_read_values(x: Tensor) -> bool:
    """Say whether the values of a tensor can be checked: on a CPU, where they exist.

    On a GPU, looking at them would be to wait for it.

    Args:
        x: the tensor.
    """
    return x.device.type == "cpu" and values_exist()


def values_exist() -> bool:
    """Say whether tensors have values to look at now.

    They have none while PyTorch compiles, exports, traces or transforms a function.
    """
    return not torch.compiler.is_compiling() and not is_transformed()


def is_transformed() -> bool:
    """Say whether `torch.func` transforms what runs now (`grad`, `vmap`, `jacrev`, …),
    `torch.jit` traces it, or `torch.autograd.forward_ad` differentiates it."""
    return (torch._C._are_functorch_transforms_active() or torch.jit.is_tracing()
            or forward_ad._current_level >= 0)


def check_like(name: str, x: Tensor, like: Tensor, dtype: torch.dtype | None = None) -> None:
    """Check that a tensor has the device and the dtype of a layer.

    Under autocast, which converts where it has to, any real dtype will do.

    Args:
        name: the argument, for the message.
        x: the tensor.
        like: a weight of the layer.
        dtype: the dtype that x must have; that of the weight if None.

    Raises:
        ValueError: if it has another one.
    """
    if x.device != like.device:
        refuse(name, f"device {like.device}, that of the weights", x.device)
    dtype = dtype or like.dtype
    if x.dtype != dtype and not (x.dtype in FLOATING and dtype in FLOATING
                                 and torch.is_autocast_enabled(x.device.type)):
        refuse(name, f"dtype {_short(dtype)}, that of the layer", _short(x.dtype))


def check_features(name: str, x: Tensor, axes: str, d_model: int, like: Tensor, *,
                   any_dtype: bool = False, may_be_empty: bool = False) -> None:
    """Check the input of a layer.

    Args:
        name: the argument, for the message.
        x: expected to be (…, d_model), of finite numbers.
        axes: the names of the axes before the features: "batch, length" or "batch".
        d_model: the number of features.
        like: a weight of the layer, for the device and the dtype.
        any_dtype: whether x may have another floating-point dtype than the weight.
        may_be_empty: whether there may be no sequence, or no step.

    Raises:
        ValueError: for anything else.
    """
    check_dense(name, x)
    if x.ndim != axes.count(",") + 2 or x.shape[-1] != d_model:
        refuse(name, f"shape ({axes}, {d_model})", shape_of(x))
    if x.numel() or not may_be_empty:
        check_tensor(name, x, FLOATING)
    check_like(name, x, like, x.dtype if any_dtype else None)
    if can_read_values(x):
        check_finite(name, x)


def check_state(name: str, state: Tensor, shape: tuple[int, ...], meaning: str, like: Tensor,
                dtype: torch.dtype | None = None) -> None:
    """Check one tensor of a cache. Unlike others, it may be empty.

    Args:
        name: what it is called, for the message.
        state: the tensor.
        shape: the shape that it must have.
        meaning: the names of its axes, for the message.
        like: a weight of the layer, for the device and the dtype.
        dtype: the dtype that it must have; that of the weight if None.

    Raises:
        ValueError: if it is anything else.
    """
    check_dense(name, state)
    check_shape(name, state, shape, meaning)
    check_like(name, state, like, dtype)
    if can_read_values(state):
        check_finite(name, state)


def check_passes_gradients(name: str, state: Tensor, parameter: Tensor) -> None:
    """Check that one tensor of a cache can be used with a parameter that gets a gradient.

    Args:
        name: what it is called, for the message.
        state: the tensor.
        parameter: one of the layer.

    Raises:
        ValueError: if a gradient is wanted and the tensor was made in inference mode.
    """
    if (values_exist() and torch.is_grad_enabled() and parameter.requires_grad
            and state.is_inference()):
        refuse(name, "a tensor that gradients can pass, as `clone` gives (or `torch.no_grad`)",
               "one made in inference mode")


def check_writable(name: str, state: Tensor) -> None:
    """Check that a step can write over one tensor of a cache.

    Args:
        name: what it is called, for the message.
        state: the tensor.

    Raises:
        ValueError: if several of its elements are one number in memory, as after `expand`, or if
            it was made in inference mode, which is over.
    """
    if not values_exist():
        return
    if any(size > 1 and stride == 0
           for size, stride in zip(state.shape, state.stride(), strict=True)):
        refuse(name, "memory for each element, as `clone` gives", "an expanded tensor")
    if state.is_inference() and not torch.is_inference_mode_enabled():
        refuse(name, "a tensor to write over, as `clone` gives", "one made in inference mode")


def check_token_ids(name: str, input_ids: Tensor, ndim: int, meaning: str,
                    embedding: Tensor) -> None:
    """Check token ids.

    Args:
        name: the argument, for the message.
        input_ids: expected to be int64, from 0 to vocab_size − 1.
        ndim: the number of its axes.
        meaning: their names, such as "(batch, length)", for the message.
        embedding: (vocab_size, d_model), the weight that they choose rows of.

    Raises:
        ValueError: for anything else.
    """
    check_tensor(name, input_ids, (torch.int64,))
    if input_ids.ndim != ndim:
        refuse(name, f"shape {meaning}", shape_of(input_ids))
    check_like(name, input_ids, embedding, torch.int64)
    if can_read_values(input_ids) and (input_ids.min() < 0 or input_ids.max() >= len(embedding)):
        refuse(name, f"token ids from 0 to {len(embedding) - 1}",
               f"{input_ids.min()} to {input_ids.max()}")


def as_bool_mask(attention_mask: Tensor, batch: int, length: int,
                 device: torch.device) -> Tensor:
    """Check an attention mask and return it as bool.

    Args:
        attention_mask: (batch, length), bool, or integers that are 0 or 1; padding stands to the
            left of all tokens.
        batch: the number of sequences.
        length: the number of steps.
        device: that of the sequences.

    Returns:
        (batch, length), bool, True where there is a token.

    Raises:
        ValueError: for another shape, dtype or device, other values, or padding after a token.
    """
    check_tensor("attention_mask", attention_mask, (torch.bool, torch.int64, torch.int32))
    check_shape("attention_mask", attention_mask, (batch, length), "(batch, length)")
    if attention_mask.device != device:
        refuse("attention_mask", f"device {device}, that of the sequences", attention_mask.device)
    is_token = attention_mask.bool()
    if can_read_values(attention_mask):
        if attention_mask.dtype != torch.bool and not torch.equal(attention_mask,
                                                                  is_token.to(attention_mask)):
            refuse("attention_mask", "values that are 0 or 1",
                   f"{attention_mask.min()} to {attention_mask.max()}")
        if (is_token[:, :-1] & ~is_token[:, 1:]).any():
            refuse("attention_mask", "padding to the left alone", "some after a token")
    return is_token


def check_factory(device: object, dtype: object) -> None:
    """Check where the parameters of a layer are created, and in which dtype.

    Args:
        device: a device that PyTorch has here, or None for the default.
        dtype: a floating-point dtype, or None for the default.

    Raises:
        ValueError: naming `device` or `dtype`, for anything else.
    """
    if dtype is not None and dtype not in FLOATING:
        refuse("dtype", "None, " + " or ".join(map(str, FLOATING)), repr(dtype))
    try:
        torch.empty(0, device=device)
    except (RuntimeError, TypeError, AssertionError) as error:
        refuse("device", "one that PyTorch has here", f"{device!r}: {str(error).splitlines()[0]}")


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
    return REAL.get(dtype, dtype)


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


def _one_line(text: str) -> str:
    """Truncate what is too long, and escape line ends and what would control a terminal."""
    cut = text if len(text) <= LONGEST else f"{text[:LONGEST]} …"
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in cut)
