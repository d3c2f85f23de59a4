"""Tensors as kernels address them by rows: slices of a projection are read where they lie."""

from itertools import pairwise

from torch import Tensor


def in_rows(t: Tensor) -> tuple[Tensor, int]:
    """Lay out a tensor in rows that are evenly spaced, each with its features side by side.

    Args:
        t: (…, features).

    Returns:
        The tensor itself if it lies so, as a slice of the features of a contiguous one does, else
        a copy; and the number of elements from one row to the next.
    """
    features = t.shape[-1]
    if t.is_contiguous():
        return t, features
    # An axis of size 1 may have any stride.
    axes = [axis for axis in zip(t.shape[:-1], t.stride()[:-1], strict=True) if axis[0] != 1]
    is_even = all(stride == size * inner for (_, stride), (size, inner) in pairwise(axes))
    if is_even and axes and (t.stride(-1) == 1 or features == 1):
        return t, axes[-1][1]
    return t.contiguous(), features
