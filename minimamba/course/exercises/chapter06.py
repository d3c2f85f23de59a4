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


def hillis_steele(a, b, levels=math.inf, next_reach=lambda reach: 2 * reach, keep_a=False,
                  backwards=False, a_first=False, first=1, rotate=False):
    """Compute all states in Hillis and Steele's order, with mistakes if asked for."""
    reach = 1
    while reach < len(a) and levels > 0:
        factor = a[:-reach] if backwards else a[reach:]
        products = torch.cat([a[:reach], a[reach:] * a[:-reach]])
        if a_first:
            factor = products[reach:]
        front = b[:reach] + a[:reach] * b[-reach:] if rotate else first * b[:reach]
        b = torch.cat([front, factor * b[:-reach] + b[reach:]])
        if not keep_a:
            a = products
        reach = next_reach(reach)
        levels -= 1
    return b


def _one_level_less(a, b):
    return hillis_steele(a, b, levels=depth(len(a)) - 1)


def _by_division(a, b):
    products = a.cumprod(0)
    return products * (b / products).cumsum(0)


def _states_before(a, b):
    return torch.cat([torch.zeros_like(b[:1]), states(a, b)[:-1]])


def _starts_at_another_step(a, b, starts, later):
    """Packed sequences that start a step too late, or too early."""
    nowhere = torch.zeros_like(starts[:1])
    return segmented(a, b, torch.cat([nowhere, starts[:-1]] if later else [starts[1:], nowhere]))


A = torch.tensor([0.5, 0.9, 0.8, 0.7, 1.0, 0.2], dtype=torch.float64)
B = torch.tensor([1.0, -2.0, 0.5, 3.0, 1.0, -1.0], dtype=torch.float64)
WIDE_A = torch.linspace(0.2, 1.0, 22, dtype=torch.float64).view(11, 2)
WIDE_B = torch.cos(torch.arange(22, dtype=torch.float64)).view(11, 2)
ERASED_A = torch.tensor([0.5, 0.0, 0.8], dtype=torch.float64)
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
            lambda first, second: (first[0] + second[0], combine(first, second)[1]),
         "b1 is written after the first step's decay: what still lies ahead of it is a2.":
            lambda first, second: (first[0] * second[0], first[0] * first[1] + second[1]),
         "The first step's own decay is over when b1 is written: one decay is ahead of it, not "
         "two.":
            lambda first, second: (first[0] * second[0],
                                   first[0] * second[0] * first[1] + second[1]),
         "b2 is written after the second step's decay: only what came before is multiplied.":
            lambda first, second: (first[0] * second[0], second[0] * (first[1] + second[1])),
         "The decay of the pair is that of one step alone: a state goes through both.":
            lambda first, second: (second[0], combine(first, second)[1])}),
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
            lambda length: length - 1,
         "A level is whole: the logarithm still has to be rounded. Up or down?":
            lambda length: math.log2(length),
         "Nearest isn't enough: a last level that is needed by a few steps is a level too.":
            lambda length: round(math.log2(length)),
         "That is one too many at the powers of two: try length 8 by hand.":
            lambda length: length.bit_length(),
         "Each level counts once here: there is no way down the tree.":
            lambda length: 2 * math.ceil(math.log2(length)),
         "That counts the combinations of all levels. How many levels are there?":
            lambda length: length * math.ceil(math.log2(length))}),
    "06.3": Exercise(
        segmented,
        ({"a": A, "b": B, "starts": STARTS}, {"a": A.flip(0), "b": B, "starts": ~STARTS}),
        {"A new sequence starts from a zero state, but its own first input still counts.":
            lambda a, b, starts: segmented(torch.where(starts, 0.0, a),
                                           torch.where(starts, 0.0, b), starts & False),
         "The states carry over from one sequence to the next: starts is not used.":
            lambda a, b, starts: segmented(a, b, starts & False),
         "A factor of 1 at a start keeps the state of the sequence before it; 0 erases it.":
            lambda a, b, starts: segmented(torch.where(starts, 1.0, a), b, starts & False),
         "b at a start is a sequence's own first input. The decay there is what must go.":
            lambda a, b, starts: segmented(a, torch.where(starts, 0.0, b), starts & False),
         "It is the other way round: a sequence begins where starts is true.":
            lambda a, b, starts: segmented(a, b, ~starts),
         "The state is forgotten a step too late: the start itself must not see it.":
            lambda a, b, starts: _starts_at_another_step(a, b, starts, later=True),
         "The state is forgotten a step too early: the last step before a start still has it.":
            lambda a, b, starts: _starts_at_another_step(a, b, starts, later=False),
         "That is the running sum of each sequence: a is not used.":
            lambda a, b, starts: segmented(torch.ones_like(a), b, starts),
         "That is the last state alone: return the states of all steps.":
            lambda a, b, starts: segmented(a, b, starts)[-1]}),
    "06.4": Exercise(
        states,
        ({"a": A, "b": B}, {"a": WIDE_A, "b": WIDE_B}, {"a": A[:1], "b": B[:1]},
         {"a": ERASED_A, "b": B[:3]}),
        {"Levels are missing: double the reach until it is the length.":
            lambda a, b: hillis_steele(a, b, levels=1),
         "The last level is missing: it is needed even if few steps have anything so far back.":
            _one_level_less,
         "The reach doubles from level to level. A smaller step counts the same inputs again.":
            lambda a, b: hillis_steele(a, b, next_reach=lambda reach: reach + 1),
         "The new b needs the old a: compute it before a is replaced.":
            lambda a, b: hillis_steele(a, b, a_first=True),
         "The first entries have nothing so far back: they stay as they are, not 0.":
            lambda a, b: hillis_steele(a, b, first=0),
         "The end comes round to the front, as by torch.roll: the first entries have nothing "
         "before them.":
            lambda a, b: hillis_steele(a, b, rotate=True),
         "Dividing by the product of the decays fails where one of them is 0.": _by_division,
         "Those are the states before each step: shift them by one.": _states_before,
         "The decays must be combined too, at every level: a2 * a1.":
            lambda a, b: hillis_steele(a, b, keep_a=True),
         "What came before decays by the later step's a, not by its own.":
            lambda a, b: hillis_steele(a, b, backwards=True),
         "That is the running sum: the decays are not used.":
            lambda a, b: b.cumsum(0),
         "That is the last state alone: return the states of all steps.":
            lambda a, b: states(a, b)[-1]}),
}
