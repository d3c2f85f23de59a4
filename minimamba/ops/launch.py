"""Launch a Triton kernel in a few microseconds.

Triton looks at every argument of a launch, to find the machine code for their types. That takes
40 µs for the 25 arguments of a scan, longer than some kernels run. A `Launcher` lets Triton look
once, and from then on passes addresses.
"""

from collections.abc import Callable

import torch
from torch import Tensor

LAUNCHES = 1024
"""Launches of one function, for different shapes, that are remembered."""
ALIGNMENT = 16
"""Bytes. Triton compiles faster code for arrays that begin at a multiple of them."""


def dtypes_of(*tensors: Tensor | None) -> tuple[torch.dtype | None, ...]:
    """List the dtypes, which decide the machine code that a kernel needs.

    Args:
        *tensors: arguments of a kernel; None where there is none.
    """
    return tuple([None if tensor is None else tensor.dtype for tensor in tensors])


class Launcher:
    """A kernel with its grid and all arguments but the tensors.

    It may be called again only with tensors of the same dtypes, None in the same places, and on
    the same device. Where the tensors begin in memory may differ.

    Args:
        kernel: a function decorated with `triton.jit`, whose tensors come first.
        grid: the number of programs along each of three axes.
        constants: the arguments after the tensors, by name; others are left out.
        **options: what Triton's compiler is told: `num_warps`, `maxnreg`.
    """

    def __init__(self, kernel: Callable, grid: tuple[int, int, int], constants: dict[str, object],
                 **options: int) -> None:
        from triton.runtime import driver

        self._driver = driver
        self._run_anew = kernel[grid]
        self._grid = grid
        self._constants = {name: constants[name] for name in kernel.arg_names if name in constants}
        self._options = options
        self._compiled = None

    def __call__(self, *tensors: Tensor | None) -> None:
        """Run the kernel.

        Args:
            *tensors: its first arguments, in order.
        """
        device = tensors[0].device
        if device.type == "cuda" and device.index != torch.cuda.current_device():
            with torch.cuda.device(device):
                self(*tensors)
            return
        addresses = [None if tensor is None else tensor.data_ptr() for tensor in tensors]
        is_aligned = not any(address % ALIGNMENT for address in addresses if address)
        if self._compiled is None or not is_aligned:
            compiled = self._run_anew(*tensors, **self._constants, **self._options)
            self._compiled = compiled if is_aligned else self._compiled
            return
        compiled = self._compiled
        stream = self._driver.active.get_current_stream(device.index)
        # As Triton's JITFunction.run does, without its hooks for profilers.
        compiled.run(*self._grid, stream, compiled.function, compiled.packed_metadata, None, None,
                     None, *addresses, *self._constants.values())
