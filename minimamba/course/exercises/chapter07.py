"""Chapter 07: a fused kernel."""

from minimamba.course.exercises import Exercise


def traffic(batch, length, d_inner, d_state):
    """Bytes that the fused kernel moves, with float32 inputs and outputs."""
    return 2 * 4 * batch * length * d_inner + 4 * 2 * batch * length * d_state


def programs(batch, d_inner, block):
    """Number of programs, with `block` channels each."""
    return batch * -(-d_inner // block)


def join_with_before(first, second):
    """Associative operator that also combines the states before each step."""
    (a1, _, b1, _), (a2, p2, b2, h2) = first, second
    return a2 * a1, p2 * a1, a2 * b1 + b2, p2 * b1 + h2


EXERCISES = {
    "07.1": Exercise(
        traffic,
        ({"batch": 8, "length": 2048, "d_inner": 1536, "d_state": 16},
         {"batch": 1, "length": 10, "d_inner": 3, "d_state": 2}),
        {"B and C are read as well: small beside the rest, but not nothing.":
            lambda batch, length, d_inner, d_state: 8 * batch * length * d_inner,
         "B and C are in float32: 4 bytes each.":
            lambda batch, length, d_inner, d_state:
                traffic(batch, length, d_inner, 0) + 4 * batch * length * d_state,
         "That counts a state for every step. The fused kernel writes none of them.":
            lambda batch, length, d_inner, d_state:
                traffic(batch, length, d_inner, d_state) + 4 * batch * length * d_inner * d_state}),
    "07.2": Exercise(
        programs,
        ({"batch": 8, "d_inner": 1536, "block": 32}, {"batch": 2, "d_inner": 33, "block": 32},
         {"batch": 1, "d_inner": 5, "block": 32}),
        {"Round up: the last few channels need a program too.":
            lambda batch, d_inner, block: batch * (d_inner // block),
         "Each sequence of the batch has programs of its own.":
            lambda batch, d_inner, block: -(-d_inner // block)}),
    "07.3": Exercise(
        join_with_before,
        ({"first": (0.5, 1.0, 2.0, 0.0), "second": (0.25, 1.0, 3.0, 0.0)},
         {"first": (0.5, 0.25, 2.0, 1.5), "second": (0.25, 0.5, 3.0, -1.0)}),
        {"The state before the second's last step has not faded in that step: use p2, not a2.":
            lambda first, second: (*join_with_before(first, second)[:3],
                                   second[0] * first[2] + second[3]),
         "p is the product of all decays but the last of both: the second's p times the first's a.":
            lambda first, second: (second[0] * first[0], second[1] * first[1],
                                   *join_with_before(first, second)[2:])}),
}
