"""Appendix A2: inside the fast kernel."""

import torch

from minimamba.course.exercises import Exercise


def loop_time(iterations, latency, compute, ahead):
    """Cycle at which a loop is done whose loads run some iterations ahead."""
    return loop_times(iterations, latency, compute, ahead)[-1][-1]


def loop_times(iterations, latency, compute, ahead):
    """For each iteration when its load is issued, when the data arrive, and when it is done."""
    times = []
    for i in range(iterations):
        issued = times[i - ahead - 1][-1] if i > ahead else 0
        begins = max(issued + latency, times[-1][-1] if times else 0)
        times.append((issued, issued + latency, begins + compute))
    return times


def butterfly_add(even, odd, bit):
    """Sums over pairs of lanes: of `even` in lanes without the bit, of `odd` in those with it."""
    lane = torch.arange(len(even))
    has_bit = (lane & bit) != 0
    kept, sent = torch.where(has_bit, odd, even), torch.where(has_bit, even, odd)
    return kept + sent[lane ^ bit]


def entering_states(added, delta_sums, A, pieces_per_split):
    """The state before each split, from what each piece of the splits before it adds."""
    h, states = torch.zeros_like(A), [torch.zeros_like(A)]
    for i, (piece, delta_sum) in enumerate(zip(added, delta_sums, strict=True)):
        h = torch.exp(delta_sum[:, None] * A) * h + piece
        if (i + 1) % pieces_per_split == 0:
            states.append(h)
    return torch.stack(states)


def kahan_sum(terms):
    """Compensated sum, every operation in the terms' dtype."""
    total = excess = torch.zeros_like(terms[0])
    for term in terms:
        term = term - excess
        new_total = total + term
        excess = (new_total - total) - term
        total = new_total
    return total.item()


def combine_with_before(first, second):
    """Associative operator that also combines the states before each step."""
    (a1, _, b1, _), (a2, p2, b2, h2) = first, second
    return a2 * a1, p2 * a1, a2 * b1 + b2, p2 * b1 + h2


def _overlapping(iterations, latency, compute, ahead):
    """Loop whose iterations may compute at the same time."""
    return loop_times(iterations, latency, compute, ahead)[-1][1] + compute


def _without_new_sign(terms):
    """Sum that adds what it should take off."""
    total = excess = torch.zeros_like(terms[0])
    for term in terms:
        term = term + excess
        new_total = total + term
        excess = (new_total - total) - term
        total = new_total
    return total.item()


def _plain_sum(terms):
    total = torch.zeros_like(terms[0])
    for term in terms:
        total = total + term
    return total.item()


GENERATOR = torch.Generator().manual_seed(0)
ADDED = torch.randn(6, 2, 3, generator=GENERATOR, dtype=torch.float64)
DELTAS = torch.rand(6, 2, generator=GENERATOR, dtype=torch.float64)
A = -torch.tensor([[0.5, 1.0, 2.0], [1.0, 0.2, 0.1]], dtype=torch.float64)
EVEN, ODD = torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([10.0, 20.0, 30.0, 40.0])
MANY = torch.tensor([2048.0] + 500 * [1.0], dtype=torch.float16)
VARIED = torch.tensor([2048.0, 0.5, 2.5, 1.25, 0.75, 2.75, 0.25], dtype=torch.float16)

EXERCISES = {
    "A2.1": Exercise(
        loop_time,
        ({"iterations": 5, "latency": 600, "compute": 300, "ahead": 2},
         {"iterations": 5, "latency": 600, "compute": 300, "ahead": 0},
         {"iterations": 9, "latency": 100, "compute": 300, "ahead": 1},
         {"iterations": 9, "latency": 1000, "compute": 300, "ahead": 1}),
        {"That waits for the whole latency in every iteration, as if `ahead` were 0.":
            lambda iterations, latency, compute, ahead: iterations * (latency + compute),
         "Two iterations can't compute at the same time: each waits until the one before is done.":
            _overlapping,
         "That waits for the latency once only. With few loads ahead, later iterations wait too.":
            lambda iterations, latency, compute, ahead: latency + iterations * compute}),
    "A2.2": Exercise(
        butterfly_add,
        ({"even": EVEN, "odd": ODD, "bit": 1}, {"even": EVEN, "odd": ODD, "bit": 2},
         {"even": torch.arange(8.0), "odd": torch.arange(8.0) ** 2, "bit": 4}),
        {"Lanes without the bit look after `even`, those with it after `odd`, not the reverse.":
            lambda even, odd, bit: butterfly_add(odd, even, bit),
         "A lane must send what its partner looks after, not what it looks after itself.":
            lambda even, odd, bit: (lambda kept: kept + kept[torch.arange(len(even)) ^ bit])(
                torch.where((torch.arange(len(even)) & bit) != 0, odd, even)),
         "Nothing has moved: each lane has added its own two numbers. Read the partner's with "
         "`[lane ^ bit]`.":
            lambda even, odd, bit: even + odd}),
    "A2.3": Exercise(
        entering_states,
        ({"added": ADDED[:2], "delta_sums": DELTAS[:2], "A": A, "pieces_per_split": 1},
         {"added": ADDED, "delta_sums": DELTAS, "A": A, "pieces_per_split": 2}),
        {"The state must decay through each piece: multiply it by exp(A · the piece's sum of Δ) "
         "before you add.":
            lambda added, delta_sums, A, pieces_per_split:
                entering_states(added, 0 * delta_sums, A, pieces_per_split),
         "That lets what a piece adds decay in the same piece. `added` is the state at the piece's "
         "end: only what came in before decays.":
            lambda added, delta_sums, A, pieces_per_split: entering_states(
                added * torch.exp(delta_sums[:, :, None] * A), delta_sums, A, pieces_per_split),
         "The first split starts from zero: that state is missing.":
            lambda added, delta_sums, A, pieces_per_split:
                entering_states(added, delta_sums, A, pieces_per_split)[1:],
         "One state per split is wanted, not one per piece.":
            lambda added, delta_sums, A, pieces_per_split:
                entering_states(added, delta_sums, A, 1)}),
    "A2.4": Exercise(
        kahan_sum,
        ({"terms": MANY}, {"terms": VARIED}),
        {"That is the plain sum: each 1 is rounded away, since float16 has no 2049.": _plain_sum,
         "The excess is how much the total is too large: it is taken off the next term, not "
         "added.": _without_new_sign}),
    "A2.5": Exercise(
        combine_with_before,
        ({"first": (0.5, 1.0, 2.0, 0.0), "second": (0.25, 1.0, 3.0, 0.0)},
         {"first": (0.5, 0.25, 2.0, 1.5), "second": (0.25, 0.5, 3.0, -1.0)}),
        {"The state before the second's last step has not decayed in that step: use p2, not a2.":
            lambda first, second: (*combine_with_before(first, second)[:3],
                                   second[0] * first[2] + second[3]),
         "p is the product of all decays but the last of both: the second's p times the first's a.":
            lambda first, second: (second[0] * first[0], second[1] * first[1],
                                   *combine_with_before(first, second)[2:]),
         "The order is reversed: `first` comes first.":
            lambda first, second: combine_with_before(second, first)}),
}
