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
    return _exchange(even, odd, bit, _lanes(even) & bit != 0)


def _lanes(values):
    return torch.arange(len(values))


def _exchange(even, odd, bit, wants_odd):
    """Butterfly in which some lanes look after `odd`."""
    kept, sent = torch.where(wants_odd, odd, even), torch.where(wants_odd, even, odd)
    return kept + sent[_lanes(even) ^ bit]


def _kept(even, odd, bit):
    return torch.where(_lanes(even) & bit != 0, odd, even)


def _sent(even, odd, bit):
    return _kept(odd, even, bit)


def entering_states(added, delta_sums, A, pieces_per_split, *, decay=torch.exp, kept=1, early=0):
    """The state before each split, from what each piece of the splits before it adds.

    Mistakes: the state is not kept from split to split; it is taken some pieces too early.
    """
    h, states = torch.zeros_like(A), [torch.zeros_like(A)]
    for i, (piece, delta_sum) in enumerate(zip(added, delta_sums, strict=True)):
        h = decay(delta_sum[:, None] * A) * h + piece
        if (i + 1 + early) % pieces_per_split == 0:
            states.append(h)
            h = kept * h
    return torch.stack(states)


def kahan_sum(terms):
    """Compensated sum, every operation in the terms' dtype."""
    total, _ = _kahan(terms)
    return total.item()


def _kahan(terms, excess_of=lambda total, new_total, corrected, term, excess:
           (new_total - total) - corrected):
    """The total and the last excess, which may be computed with a mistake."""
    total = excess = torch.zeros_like(terms[0])
    for term in terms:
        corrected = term - excess
        new_total = total + corrected
        excess = excess_of(total, new_total, corrected, term, excess)
        total = new_total
    return total, excess


def combine_with_before(first, second):
    """Associative operator that also combines the states before each step."""
    (a1, _, b1, _), (a2, p2, b2, h2) = first, second
    return a2 * a1, p2 * a1, a2 * b1 + b2, p2 * b1 + h2


def _overlapping(iterations, latency, compute, ahead):
    """Loop whose iterations may compute at the same time."""
    return loop_times(iterations, latency, compute, ahead)[-1][1] + compute


def _kahan_with(excess_of):
    return lambda terms: _kahan(terms, excess_of)[0].item()


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
MANY = torch.tensor([2048.0] + 100 * [1.0], dtype=torch.float16)
VARIED = torch.tensor([2048.0, 0.5, 2.5, 1.25, 0.75, 2.75, 0.25], dtype=torch.float16)
QUARTERS = torch.tensor([2048.0, 3.0, 0.75, 1.25, 0.5, 1.0, 2.5, 2.75, 1.5, 3.5, 2.0],
                        dtype=torch.float16)

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
            lambda iterations, latency, compute, ahead: latency + iterations * compute,
         "Nothing ever waits for its data: where does the latency come in?":
            lambda iterations, latency, compute, ahead: iterations * compute,
         "Loads are on their way at the same time: they don't wait for each other.":
            lambda iterations, latency, compute, ahead: iterations * latency + compute,
         "That is the slower of the two in every iteration. With `ahead` = 0 they don't overlap.":
            lambda iterations, latency, compute, ahead: iterations * max(latency, compute),
         "The data come an iteration too early: those of iteration i are requested when iteration "
         "i − ahead begins.":
            lambda iterations, latency, compute, ahead:
                loop_time(iterations, latency, compute, ahead + 1),
         "That is when the last iteration begins to compute.":
            lambda iterations, latency, compute, ahead:
                loop_time(iterations, latency, compute, ahead) - compute,
         "Those are the times of all iterations: return the last.":
            lambda **case: [done for _, _, done in loop_times(**case)]}),
    "A2.2": Exercise(
        butterfly_add,
        ({"even": EVEN, "odd": ODD, "bit": 1}, {"even": EVEN, "odd": ODD, "bit": 2},
         {"even": torch.arange(8.0), "odd": torch.arange(8.0) ** 2, "bit": 4}),
        {"Lanes without the bit look after `even`, those with it after `odd`, not the reverse.":
            lambda even, odd, bit: butterfly_add(odd, even, bit),
         "A lane must send what its partner looks after, not what it looks after itself.":
            lambda even, odd, bit: _kept(even, odd, bit)
                + _kept(even, odd, bit)[_lanes(even) ^ bit],
         "Nothing has moved: each lane has added its own two numbers. Read the partner's with "
         "`[lane ^ bit]`.":
            lambda even, odd, bit: even + odd,
         "All lanes look after `even`: those with the bit get the sum of `odd`.":
            lambda even, odd, bit: even + even[_lanes(even) ^ bit],
         "That is what a lane keeps: its partner's part is missing.": _kept,
         "That is what the partner sends: what the lane keeps is missing.":
            lambda even, odd, bit: _sent(even, odd, bit)[_lanes(even) ^ bit],
         "The pair's numbers are added, not subtracted.":
            lambda even, odd, bit: _kept(even, odd, bit)
                - _sent(even, odd, bit)[_lanes(even) ^ bit],
         "The partner is the lane with the bit flipped, `lane ^ bit`, not `lane + bit`.":
            lambda even, odd, bit: _kept(even, odd, bit)
                + _sent(even, odd, bit)[(_lanes(even) + bit) % len(even)],
         "That looks at the lowest bit, right where `bit` is 1: use `bit`.":
            lambda even, odd, bit: _exchange(even, odd, bit, _lanes(even) & 1 != 0),
         "A lane has the bit where `lane & bit` isn't 0: that isn't all lanes from `bit` on.":
            lambda even, odd, bit: _exchange(even, odd, bit, _lanes(even) >= bit),
         "That adds over all lanes. One exchange adds over pairs.":
            lambda even, odd, bit: torch.where(_lanes(even) & bit != 0, odd.sum(), even.sum())}),
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
                entering_states(added, delta_sums, A, 1),
         "The state that enters the last split is missing: all pieces are for the splits before "
         "it.":
            lambda added, delta_sums, A, pieces_per_split:
                entering_states(added, delta_sums, A, pieces_per_split)[:-1],
         "Each split starts again from zero: the state goes on from split to split.":
            lambda **case: entering_states(**case, kept=0),
         "The decay is exp(ΔA): the exponential is missing.":
            lambda **case: entering_states(**case, decay=lambda exponent: exponent),
         "The state grows: A is negative already.":
            lambda **case: entering_states(**case, decay=lambda exponent: (-exponent).exp()),
         "The state is taken a piece too early: a split is entered after the last piece before it.":
            lambda pieces_per_split, **case: entering_states(
                **case, pieces_per_split=pieces_per_split, early=pieces_per_split > 1),
         "A piece decays the state by its own sum of Δ, not by that of the piece before.":
            lambda delta_sums, **case: entering_states(delta_sums=delta_sums.roll(1, 0), **case),
         "pieces_per_split is how many pieces a split has, not how many splits there are.":
            lambda added, delta_sums, A, pieces_per_split: entering_states(
                added, delta_sums, A, len(added) // pieces_per_split)}),
    "A2.4": Exercise(
        kahan_sum,
        ({"terms": MANY}, {"terms": VARIED}, {"terms": QUARTERS}),
        {"That is the plain sum: each 1 is rounded away, since float16 has no 2049.": _plain_sum,
         "The excess is how much the total is too large: it is taken off the next term, not "
         "added.": _kahan_with(lambda total, new_total, corrected, term, excess:
                               corrected - (new_total - total)),
         "The sum is in float32, which has room for everything: stay in the terms' dtype.":
            lambda terms: terms.float().sum().item(),
         "The excess is the total's growth minus the corrected term, not the original one.":
            _kahan_with(lambda total, new_total, corrected, term, excess:
                        (new_total - total) - term),
         "The excess needs the total before the term was added: it was replaced too early.":
            _kahan_with(lambda total, new_total, corrected, term, excess: -corrected),
         "The excess is new for each term: what it was before has been taken off already.":
            _kahan_with(lambda total, new_total, corrected, term, excess:
                        excess + ((new_total - total) - corrected)),
         "The first term counts twice: does the total begin with it?":
            lambda terms: kahan_sum(torch.cat([terms[:1], terms])),
         "That is the excess. Return the total.": lambda terms: _kahan(terms)[1].item()}),
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
            lambda first, second: combine_with_before(second, first),
         "What comes from the first block is its last state b1, not the state before that, h1.":
            lambda first, second: (*combine_with_before(first, second)[:3],
                                   second[1] * first[3] + second[3]),
         "h is b1 only if the second block is a single step: b1 decays in the others.":
            lambda first, second: (*combine_with_before(first, second)[:3], first[2]),
         "h lacks what the second block's own steps have written: h2.":
            lambda first, second: (*combine_with_before(first, second)[:3],
                                   second[1] * first[2]),
         "p leaves out the last decay of the second block: only a has them all.":
            lambda first, second: (second[0] * first[0], second[0] * first[0],
                                   *combine_with_before(first, second)[2:]),
         "p leaves out the second block's last decay, not the first's: that one is inside.":
            lambda first, second: (second[0] * first[0], second[0] * first[1],
                                   *combine_with_before(first, second)[2:]),
         "In the whole second block b1 decays by a2: p2 leaves out a step.":
            lambda first, second: (*combine_with_before(first, second)[:2],
                                   second[1] * first[2] + second[2],
                                   second[1] * first[2] + second[3]),
         "The order is (a, p, b, h).":
            lambda first, second: tuple(combine_with_before(first, second)[i]
                                        for i in (0, 2, 1, 3))}),
}
