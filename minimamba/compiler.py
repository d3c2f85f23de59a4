"""`torch.compile` for the CPU: what it needs, and what runs in its place where it fails.

It writes C++ and calls the compiler that is installed. Whether that works is known only once it
has been tried: headers may be missing, or the folder of its results may not be writable.
"""

import os
import shutil
import sys
import warnings
from collections.abc import Callable
from functools import wraps

import torch

from minimamba.progress import announced

failures: list[str] = []
"""Why compiling failed in this process, once it has; then it is not tried again."""


def why_not() -> str | None:
    """Say why nothing can be compiled for the CPU.

    Returns:
        The reason in a few words, or None as far as is known: the compiler itself runs only when
        something is compiled.
    """
    if sys.platform == "win32":
        return "torch.compile for the CPU is not set up for Windows here"
    for switch in ("TORCHDYNAMO_DISABLE", "TORCH_COMPILE_DISABLE"):
        if os.environ.get(switch) == "1":
            return f"torch.compile is turned off by {switch}=1"
    names = [os.environ["CXX"]] if "CXX" in os.environ else ["g++", "clang++"]
    if not any(map(shutil.which, names)):
        return f"no C++ compiler was found; looked for {' and '.join(names)}"
    return failures[0] if failures else None


def compile_or_else(what: str, fallback: Callable, function: Callable,
                    **options: object) -> Callable:
    """Compile a function at its first call; if that fails, use another, with one warning.

    Args:
        what: is compiled, and for how long, for the announcement.
        fallback: computes the same, uncompiled.
        function: the function to compile.
        **options: those of `torch.compile`.

    Returns:
        A function with the same arguments.
    """
    compiled = None

    @wraps(function)
    def call(*arguments: object) -> object:
        nonlocal compiled
        if failures:
            return fallback(*arguments)
        try:
            if compiled is not None:
                return compiled(*arguments)
            compiled = torch.compile(function, **options)
            with announced(f"minimamba: compiling {what}, once."):
                return compiled(*arguments)
        except Exception as error:  # a broken compiler raises all kinds
            result = fallback(*arguments)  # raises for bad arguments, which are not its fault
            failures.append(f"torch.compile failed: {_first_line(error)}")
            warnings.warn(f"{failures[0]}; plain PyTorch runs instead, more slowly", stacklevel=2)
            return result

    return call


def _first_line(error: Exception) -> str:
    """The first line of a message; the second too, where the first only announces it."""
    first, *others = (str(error).strip() or type(error).__name__).splitlines()
    return f"{first} {others[0].strip()}" if first.endswith(":") and others else first
