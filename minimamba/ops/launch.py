"""Launch a Triton kernel in a few microseconds.

Triton looks at every argument of a launch, to find the machine code for their types. That takes
40 µs for the 25 arguments of a scan, longer than some kernels run. A `Launcher` lets Triton look
once, and from then on passes addresses.
"""

from collections.abc import Callable
from functools import lru_cache, reduce
from operator import or_

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


@lru_cache
def capability_of(device: torch.device) -> tuple[int, int]:
    """Look up the compute capability of a GPU; (0, 0) for a CPU.

    Args:
        device: where kernels run.
    """
    return torch.cuda.get_device_capability(device) if device.type == "cuda" else (0, 0)


def can_overlap(device: torch.device) -> bool:
    """Say whether a kernel can begin while the one before it ends (`overlap.py`).

    Args:
        device: where kernels run.
    """
    return capability_of(device) >= (9, 0)


def arrange(sizes: dict[str, int | None]) -> tuple[dict[str, int | None], int]:
    """Arrange float32 arrays in one piece of memory, each from a multiple of `ALIGNMENT` on.

    Args:
        sizes: the elements of each array, by name; None for one that there isn't.

    Returns:
        The element at which each begins, or None, by name; and how many there are in all.
    """
    aligned = ALIGNMENT // torch.float32.itemsize
    places, end = {}, 0
    for name, size in sizes.items():
        places[name] = None if size is None else end
        end += -(-(size or 0) // aligned) * aligned
    return places, end


class Launcher:
    """A kernel with its grid and all arguments but the tensors.

    It may be called again only with tensors of the same dtypes, None in the same places, and on
    the same device. Where the tensors begin in memory may differ.

    Arrays that only kernels use can share one piece of memory: to ask PyTorch for each takes
    microseconds, and so does a view of each.

    Args:
        kernel: a function decorated with `triton.jit`, whose tensors come first.
        grid: the number of programs along each of three axes.
        constants: the arguments after the tensors, by name; others are left out.
        places: where in the last tensor, which is float32, the kernel's last arrays begin, by
            name; None for an array that there isn't. Others are left out.
        **options: what Triton's compiler is told: `num_warps`, `maxnreg`, `launch_pdl`.
    """

    def __init__(self, kernel: Callable, grid: tuple[int, int, int], constants: dict[str, object],
                 places: dict[str, int | None] | None = None, **options: int) -> None:
        from triton.runtime import driver

        self._driver = driver
        self._run_anew = kernel[grid]
        self._grid = grid
        self._constants = {name: constants[name] for name in kernel.arg_names if name in constants}
        places = places or {}
        self._places = {name: places[name] for name in kernel.arg_names if name in places}
        self._offsets = [(place or 0) * torch.float32.itemsize for place in self._places.values()]
        self._options = options
        self._compiled = None

    def __call__(self, *tensors: Tensor | None) -> None:
        """Run the kernel.

        Args:
            *tensors: its first arguments, in order.
        """
        device = tensors[0].device
        if tensors[0].is_cuda and device.index != torch.cuda.current_device():
            with torch.cuda.device(device):
                self(*tensors)
            return
        addresses = [0 if tensor is None else tensor.data_ptr() for tensor in tensors]
        is_aligned = reduce(or_, addresses) % ALIGNMENT == 0
        if self._compiled is None or not is_aligned:
            compiled = self._run_anew(*self._arrays(tensors), **self._constants, **self._options)
            self._compiled = compiled if is_aligned else self._compiled
            return
        if self._places:
            begin = addresses.pop()
            addresses += [begin + offset for offset in self._offsets]
        compiled = self._compiled
        stream = self._driver.active.get_current_stream(device.index)
        # As Triton's JITFunction.run does, without its hooks for profilers.
        compiled.run(*self._grid, stream, compiled.function, compiled.packed_metadata, None, None,
                     None, *addresses, *self._constants.values())

    def _arrays(self, tensors: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
        """All arrays of the kernel as tensors."""
        if not self._places:
            return tensors
        *others, memory = tensors
        return *others, *(None if place is None else memory[place:]
                          for place in self._places.values())
