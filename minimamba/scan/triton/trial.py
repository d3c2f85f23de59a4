"""Whether Triton works here: it calls a C compiler, which may be missing or broken."""

import warnings
from functools import cache
from textwrap import shorten

import torch
import triton
import triton.language as tl


@triton.jit
def _kernel(x):
    tl.store(x, 1.0)


@cache
def failure() -> str | None:
    """Compile and run the smallest kernel, once per process; if that fails, warn.

    Returns:
        Why it failed, or None.
    """
    try:
        _kernel[(1,)](torch.zeros(1, device="cuda"))
    except Exception as error:  # a broken compiler raises all kinds
        message = shorten(str(error) or type(error).__name__, 200, placeholder=" …")
        reason = f"Triton can't compile here: {message}"
        warnings.warn(f"{reason}; plain PyTorch runs instead, more slowly", stacklevel=2)
        return reason
    return None
