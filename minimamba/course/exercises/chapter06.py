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


A = torch.tensor([0.5, 0.9, 0.8, 0.7, 1.0, 0.2], dtype=torch.float64)
B = torch.tensor([1.0, -2.0, 0.5, 3.0, 1.0, -1.0], dtype=torch.float64)
STARTS = torch.tensor([True, False, True, False, False, True])

EXERCISES = {
    "06.1": Exercise(
        combine,
        ({"first": (0.5, 1.0), "second": (0.25, 3.0)}, {"first": (2.0, -1.0),
                                                        "second": (0.0, 5.0)}),
        {"The order is reversed: what the first step wrote decays by the second step's a.":
            lambda first, second: combine(second, first),
         "What the first step wrote decays in the second: multiply it by a2.":
            lambda first, second: (first[0] * second[0], first[1] + second[1])}),
    "06.2": Exercise(
        depth,
        ({"length": 8}, {"length": 9}, {"length": 1}, {"length": 1000}),
        {"Round up: the last level is needed even if it is not full.":
            lambda length: int(math.log2(length)),
         "That is the depth of Blelloch's tree, up and down. This order has one pass only.":
            lambda length: max(0, 2 * math.ceil(math.log2(length)) - 1)}),
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
}
