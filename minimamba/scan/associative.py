"""Parallel scans: an associative operator on pairs, and two orders in which to apply it.

The step h_t = a_t h_{t−1} + b_t is the pair (a_t, b_t). Two consecutive steps are one step,

    (a₁, b₁) ∘ (a₂, b₂) = (a₂ a₁,  a₂ b₁ + b₂),

and ∘ is associative: it does not matter which neighbors are combined first. The states are the
combinations of all steps so far, so they can be computed in other orders than one after the
other. An order is a list of levels. A level is a list of (source, target) positions, source <
target, all of which are combined at once: pair[target] = pair[source] ∘ pair[target]. (Blelloch
1990, "Prefix sums and their applications", section 1.4.)
"""

from itertools import chain
from math import inf

import torch
from torch import Tensor

from minimamba.arguments import check_count, check_shape, check_system, refuse, shape_of

Level = list[tuple[int, int]]
"""The (source, target) positions that are combined at once."""


def combine(first: tuple, second: tuple) -> tuple:
    """Combine two consecutive steps into one: the operator ∘.

    Args:
        first: the pair (a₁, b₁) of the earlier step; numbers of any kind, or tensors.
        second: the pair (a₂, b₂) of the later step.

    Returns:
        The pair (a₂ a₁, a₂ b₁ + b₂).
    """
    a1, b1 = first
    a2, b2 = second
    return a2 * a1, a2 * b1 + b2


def hillis_steele(length: int) -> list[Level]:
    """List the levels of Hillis and Steele's order (1986).

    Each position combines with the one 1, then 2, then 4 … before it. That is the lowest depth,
    ⌈log₂ length⌉ levels, at more work: about length · log₂ length combinations.

    Args:
        length: the number of steps.

    Returns:
        One list of (source, target) positions per level.
    """
    check_count("length", length)
    levels = []
    reach = 1
    while reach < length:
        levels.append([(target - reach, target) for target in range(reach, length)])
        reach *= 2
    return levels


def blelloch(length: int) -> list[Level]:
    """List the levels of Blelloch's order, up a tree and down again.

    On the way up, blocks of 2, 4, 8 … are combined into their last position; on the way down,
    each finished position is combined into the middle of the block after it. That takes less
    than 2 · length combinations, in about 2 log₂ length levels. This is the inclusive form,
    whose states include their own step (Brent and Kung 1982); Blelloch's is exclusive.

    Args:
        length: the number of steps.

    Returns:
        One list of (source, target) positions per level.
    """
    check_count("length", length)
    levels = []
    half = 1
    while half < length:
        levels.append([(last - half, last) for last in range(2 * half - 1, length, 2 * half)])
        half *= 2
    while half > 1:
        half //= 2
        levels.append([(middle - half, middle)
                       for middle in range(3 * half - 1, length, 2 * half)])
    return [level for level in levels if level]


def scan(a: Tensor, b: Tensor, levels: list[Level],
         initial_state: Tensor | None = None) -> Tensor:
    """Compute all states h_t = a_t h_{t−1} + b_t, combining pairs in the order of `levels`.

    Args:
        a: (length, ...), real or complex, in single or double precision.
        b: the shape of a.
        levels: the order: `hillis_steele(length)` or `blelloch(length)`.
        initial_state: (...), the state before the first step; None for zeros.

    Returns:
        The states h (length, ...).

    Raises:
        ValueError: naming the argument, what was expected and what was given.

    Example:
        >>> import torch
        >>> from minimamba.scan.associative import blelloch, scan
        >>> a = torch.full((4,), 0.5)
        >>> b = torch.ones(4)
        >>> scan(a, b, blelloch(4))
        tensor([1.0000, 1.5000, 1.7500, 1.8750])
    """
    given = {"a": a, "b": b}
    if initial_state is not None:
        given["initial_state"] = initial_state
    check_system(**given)
    if a.ndim == 0:
        refuse("a", "shape (length, ...)", shape_of(a))
    check_shape("b", b, tuple(a.shape), "that of a")
    if any(first > 0 for first, _ in covered(len(a), levels)[-1]):
        refuse("levels", f"an order that completes all {len(a)} states", "one that does not")
    if initial_state is not None:
        check_shape("initial_state", initial_state, tuple(a.shape[1:]), "that of one step")
        b = torch.cat([b[:1] + a[:1] * initial_state, b[1:]])
    b = b.to(torch.result_type(a, b))  # real inputs of a complex system
    for level in filter(None, levels):
        source, target = torch.tensor(level, device=a.device).T
        combined_a, combined_b = combine((a[source], b[source]), (a[target], b[target]))
        a = a.index_copy(0, target, combined_a)
        b = b.index_copy(0, target, combined_b)
    return b


def work(levels: list[Level]) -> int:
    """Count the combinations of an order. (Its depth is the number of levels, `len(levels)`.)

    Args:
        levels: the order.

    Returns:
        The number of (source, target) positions over all levels.

    Raises:
        ValueError: for levels that are not lists of pairs of positions.
    """
    _check_levels(levels)
    return sum(map(len, levels))


def covered(length: int, levels: list[Level]) -> list[list[tuple[int, int]]]:
    """Track which range of steps each position has combined, level by level.

    Args:
        length: the number of steps.
        levels: the order.

    Returns:
        len(levels) + 1 rows, before the first level and after each. A row has the (first, last)
        step of each position.

    Raises:
        ValueError: if a level combines ranges that are not adjacent.
    """
    check_count("length", length)
    _check_levels(levels, length)
    rows = [[(position, position) for position in range(length)]]
    for level in levels:
        row = list(rows[-1])
        for source, target in level:
            first, last = rows[-1][source]
            start, end = rows[-1][target]
            if last + 1 != start:
                refuse("levels", "positions whose steps are adjacent",
                       f"{first}–{last} with {start}–{end}")
            row[target] = first, end
        rows.append(row)
    return rows


def _check_levels(levels: list[Level], length: float = inf) -> None:
    """Check that levels are lists of (source, target) positions below a length."""
    if not isinstance(levels, list) or not all(isinstance(level, list) for level in levels):
        refuse("levels", "a list of levels, such as `hillis_steele` returns", repr(levels)[:60])
    for pair in chain.from_iterable(levels):
        if not (isinstance(pair, tuple) and len(pair) == 2
                and all(isinstance(position, int) for position in pair)
                and 0 <= pair[0] < pair[1] < length):
            refuse("levels", "pairs of a source and a later target among the steps", repr(pair))
