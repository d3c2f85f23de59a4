"""Chapter 06: the scan."""

import math

import torch

from minimamba.course.exercises import Exercise


def combine(first, second):
    """Combine two consecutive steps (a, b) into one."""
    a1, b1 = first
    a2, b2 = second
    return a2 * a1, a2 * b1 + b2


def depth(length):
    """Count the levels of Hillis and Steele's order."""
    return math.ceil(math.log2(length))


def segmented(a, b, starts):
    """Scan packed sequences, from a zero state at each start."""
    h, states = torch.zeros((), dtype=b.dtype), []
    for a_t, b_t, start in zip(a, b, starts, strict=True):
        h = b_t if start else a_t * h + b_t
        states.append(h)
    return torch.stack(states)


def states(a, b):
    """Compute all states, one after the other; an answer may combine them in any order."""
    h, found = torch.zeros_like(b[0]), []
    for a_t, b_t in zip(a, b, strict=True):
        h = a_t * h + b_t
        found.append(h)
    return torch.stack(found)


def hillis_steele(a, b, levels=math.inf, keep_a=False, backwards=False):
    """Compute all states in Hillis and Steele's order, with mistakes if asked for."""
    level = 0
    while 2**level < len(a) and level < levels:
        reach = 2**level
        factor = a[:-reach] if backwards else a[reach:]
        b = torch.cat([b[:reach], factor * b[:-reach] + b[reach:]])
        if not keep_a:
            a = torch.cat([a[:reach], a[reach:] * a[:-reach]])
        level += 1
    return b


A = torch.tensor([0.5, 0.9, 0.8, 0.7, 1.0, 0.2], dtype=torch.float64)
B = torch.tensor([1.0, -2.0, 0.5, 3.0, 1.0, -1.0], dtype=torch.float64)
WIDE_A = torch.linspace(0.2, 1.0, 22, dtype=torch.float64).view(11, 2)
WIDE_B = torch.cos(torch.arange(22, dtype=torch.float64)).view(11, 2)
STARTS = torch.tensor([True, False, True, False, False, True])

EXERCISES = {
    "06.1": Exercise(
        combine,
        ({"first": (0.5, 1.0), "second": (0.25, 3.0)}, {"first": (2.0, -1.0),
                                                        "second": (0.0, 5.0)}),
        {"The order is reversed: what the first step wrote decays by the second step's a.":
            lambda first, second: combine(second, first),
         "What the first step wrote decays in the second: multiply it by a2.":
            lambda first, second: (first[0] * second[0], first[1] + second[1]),
         "The second step adds its own b2 as well.":
            lambda first, second: (first[0] * second[0], second[0] * first[1]),
         "The decays of two steps are multiplied, not added.":
            lambda first, second: (first[0] + second[0], combine(first, second)[1])}),
    "06.2": Exercise(
        depth,
        ({"length": 8}, {"length": 9}, {"length": 1}, {"length": 1000}),
        {"Round up: the last level is needed even if it is not full.":
            lambda length: int(math.log2(length)),
         "That is the depth of Blelloch's tree, up and down. This order has one pass only.":
            lambda length: max(0, 2 * math.ceil(math.log2(length)) - 1),
         "The reach doubles at every level, so the logarithm has base 2.":
            lambda length: math.ceil(math.log(length)),
         "One too many: a sequence of length 1 needs no level at all.":
            lambda length: math.ceil(math.log2(length)) + 1,
         "That is a level for each step. A level combines all steps at once.":
            lambda length: length - 1}),
    "06.3": Exercise(
        segmented,
        ({"a": A, "b": B, "starts": STARTS}, {"a": A.flip(0), "b": B, "starts": ~STARTS}),
        {"A new sequence starts from a zero state, but its own first input still counts.":
            lambda a, b, starts: segmented(torch.where(starts, 0.0, a),
                                           torch.where(starts, 0.0, b), starts & False),
         "The states carry over from one sequence to the next: starts is not used.":
            lambda a, b, starts: segmented(a, b, starts & False),
         "A factor of 1 at a start keeps the state of the sequence before it; 0 erases it.":
            lambda a, b, starts: segmented(torch.where(starts, 1.0, a), b, starts & False)}),
    "06.4": Exercise(
        states,
        ({"a": A, "b": B}, {"a": WIDE_A, "b": WIDE_B}, {"a": A[:1], "b": B[:1]}),
        {"Levels are missing: double the reach until it is the length.":
            lambda a, b: hillis_steele(a, b, levels=1),
         "The decays must be combined too, at every level: a2 * a1.":
            lambda a, b: hillis_steele(a, b, keep_a=True),
         "What came before decays by the later step's a, not by its own.":
            lambda a, b: hillis_steele(a, b, backwards=True),
         "That is the running sum: the decays are not used.":
            lambda a, b: b.cumsum(0)}),
}
