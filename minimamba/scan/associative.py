"""What "parallel scan" means: an operator on pairs, and two orders to apply it in.

The step h_t = a_t h_{t−1} + b_t is the pair (a_t, b_t). Two steps in a row are one step again,

    (a₁, b₁) ∘ (a₂, b₂) = (a₂ a₁,  a₂ b₁ + b₂),

and ∘ is associative: which neighbours are joined first does not matter. So the states, which
are the joins of all steps so far, can be had in other orders than one after the other. An
order is a list of levels; a level is a list of (source, target) places, target > source, which
are all joined at once: pair[target] = pair[source] ∘ pair[target]. (Blelloch 1990, "Prefix
sums and their applications", section 1.4.)
"""

import torch
from torch import Tensor

from minimamba.arguments import check_count, check_shape, check_tensor, refuse, shape_of

Level = list[tuple[int, int]]
FLOATS = (torch.float32, torch.float64, torch.complex64, torch.complex128)


def combine(first: tuple, second: tuple) -> tuple:
    """Two steps as one: numbers of any kind, or tensors."""
    (a1, b1), (a2, b2) = first, second
    return a2 * a1, a2 * b1 + b2


def hillis_steele(length: int) -> list[Level]:
    """Each place joins the one 1, then 2, then 4 … before it (Hillis and Steele 1986).

    The fewest levels, ⌈log₂ length⌉, and the more work: about length · log₂ length joins.
    """
    check_count("length", length)
    levels, reach = [], 1
    while reach < length:
        levels.append([(place - reach, place) for place in range(reach, length)])
        reach *= 2
    return levels


def blelloch(length: int) -> list[Level]:
    """Up a tree and down again: under 2 · length joins, in about 2 log₂ length levels.

    On the way up blocks of 2, 4, 8 … are joined into their last place; on the way down each
    finished place is handed to the middle of the block after it. This is the form whose states
    include their own step (Brent and Kung 1982); Blelloch's gives those before it.
    """
    check_count("length", length)
    levels, half = [], 1
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
    """All states h_t = a_t h_{t−1} + b_t, by joining pairs in the order of `levels`.

    Args:
        a, b: (length, ...), of one shape; real or complex.
        levels: `hillis_steele(length)` or `blelloch(length)`.
        initial_state: (...), h before the first step; zero if None.

    Returns:
        h (length, ...).
    """
    for name, x in (("a", a), ("b", b)):
        check_tensor(name, x, FLOATS)
    if a.ndim == 0:
        refuse("a", "shape (length, ...)", shape_of(a))
    check_shape("b", b, tuple(a.shape), "that of a")
    if initial_state is not None:
        check_shape("initial_state", initial_state, tuple(a.shape[1:]), "that of one step")
        b = torch.cat([b[:1] + a[:1] * initial_state, b[1:]])
    for level in levels:
        source, target = torch.tensor(level, device=a.device).T
        joined_a, joined_b = combine((a[source], b[source]), (a[target], b[target]))
        a, b = a.index_copy(0, target, joined_a), b.index_copy(0, target, joined_b)
    return b


def work(levels: list[Level]) -> int:
    """How many joins an order takes; its depth, the levels that must wait for each other, is
    their number."""
    return sum(map(len, levels))


def covered(length: int, levels: list[Level]) -> list[list[tuple[int, int]]]:
    """Before the first level and after each: the first and last step that a place has joined."""
    now = [(place, place) for place in range(length)]
    rows = [now]
    for level in levels:
        now = list(now)
        for source, target in level:
            (first, last), (start, end) = rows[-1][source], rows[-1][target]
            if last + 1 != start:
                refuse("levels", "places that join what lies next to each other",
                       f"{first}–{last} with {start}–{end}")
            now[target] = first, end
        rows.append(now)
    return rows
