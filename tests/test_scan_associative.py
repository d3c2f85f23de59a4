"""The operator on pairs, and the two orders in which a scan may be taken."""

from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from systems import C128, F64, close, leaves, randn, uniform

from minimamba.scan.associative import blelloch, combine, covered, hillis_steele, scan, work

settings.register_profile("slow machine", deadline=None)
settings.load_profile("slow machine")
ORDERS = {"hillis_steele": hillis_steele, "blelloch": blelloch}
LENGTHS = [1, 2, 3, 4, 5, 7, 8, 9, 63, 64, 65, 97, 4096]
number = st.fractions(-10, 10, max_denominator=50)
pair = st.tuples(number, number)


def every_order(test):
    return pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS.keys())(test)


def one_after_the_other(a, b, h):
    states = []
    for a_t, b_t in zip(a, b, strict=True):
        h = a_t * h + b_t
        states.append(h)
    return states


@given(pair, pair, pair)
def test_it_does_not_matter_which_neighbours_are_joined_first(p, q, r):
    assert combine(combine(p, q), r) == combine(p, combine(q, r))


@given(pair, pair, number)
def test_two_steps_are_one(p, q, h):
    a, b = combine(p, q)
    assert a * h + b == q[0] * (p[0] * h + p[1]) + q[1]


def test_the_order_of_the_two_does_matter():
    p, q = (Fraction(2), Fraction(1)), (Fraction(3), Fraction(5))
    assert combine(p, q) == (6, 8)
    assert combine(q, p) == (6, 11)


@given(pair)
def test_a_step_that_does_nothing_is_neutral(p):
    nothing = (Fraction(1), Fraction(0))
    assert combine(p, nothing) == combine(nothing, p) == p


@every_order
@given(st.lists(pair, min_size=1, max_size=40), number)
def test_exact_in_fractions_at_any_length(order, pairs, start):
    places = list(pairs)
    for level in order(len(pairs)):
        before = list(places)                   # all joins of a level see what was there before it
        for source, target in level:
            places[target] = combine(before[source], before[target])
    states = one_after_the_other(*zip(*pairs, strict=True), start)
    assert [a * start + b for a, b in places] == states


@every_order
@pytest.mark.parametrize("length", LENGTHS)
def test_the_states_are_those_of_the_loop(order, length):
    a, b, h = uniform(0, 1, length, 2, 3), randn(length, 2, 3), randn(2, 3, seed=1)
    close(scan(a, b, order(length), h), torch.stack(one_after_the_other(a, b, h)))
    close(scan(a, b, order(length)), torch.stack(one_after_the_other(a, b, 0 * h)))


@every_order
def test_complex_numbers_scan_as_well(order):
    a, b = 0.5 * randn(11, dtype=C128), randn(11, seed=1, dtype=C128)
    close(scan(a, b, order(11)), torch.stack(one_after_the_other(a, b, 0)))


@every_order
@pytest.mark.parametrize("length", LENGTHS)
def test_a_level_can_be_done_at_once(order, length):
    for level in order(length):
        sources, targets = zip(*level, strict=True)
        assert len(set(targets)) == len(targets)
        assert all(source < target < length for source, target in level)
        if order is blelloch:                   # in place: nothing is read that is written here
            assert not set(sources) & set(targets)


@pytest.mark.parametrize("length", LENGTHS)
def test_work_and_depth(length):
    log = (length - 1).bit_length()
    few, many = hillis_steele(length), blelloch(length)
    assert len(few) == log
    assert work(few) == sum(length - 2**k for k in range(log))
    assert len(many) <= max(0, 2 * log - 1)
    assert work(many) < 2 * length
    if length == 2**log and log:
        assert len(many) == 2 * log - 1
        assert work(many) == 2 * length - log - 2


@every_order
def test_gradients(order):
    inputs = leaves(uniform(0, 1, 6, 2), randn(6, 2), randn(2, seed=1))
    assert torch.autograd.gradcheck(lambda a, b, h: scan(a, b, order(6), h), inputs)


@every_order
def test_decays_that_underflow_do_no_harm(order):
    a = torch.full((300,), 1e-3, dtype=F64)     # a³⁰⁰ is far below the smallest number
    b = randn(300)
    close(scan(a, b, order(300)), torch.stack(one_after_the_other(a, b, 0)))


@every_order
@pytest.mark.parametrize("length", [0, -1, 2.0, True, None])
def test_a_length_that_is_none(order, length):
    with pytest.raises(ValueError, match=r"^length: expected a whole number from 1 up, got"):
        order(length)


@pytest.mark.parametrize(("changes", "name"), [
    ({"a": [1.0]}, "a"), ({"a": torch.ones(4, dtype=torch.int64)}, "a"),
    ({"a": torch.ones(())}, "a"), ({"b": torch.ones(5)}, "b"), ({"b": torch.ones(4, 1)}, "b"),
    ({"b": None}, "b"),
    ({"initial_state": torch.ones(1)}, "initial_state")])
def test_bad_input(changes, name):
    good = {"a": torch.ones(4), "b": torch.ones(4), "levels": blelloch(4)}
    with pytest.raises(ValueError, match=f"^{name}: expected .+, got "):
        scan(**good | changes)


@pytest.mark.parametrize("order", [hillis_steele, blelloch])
@pytest.mark.parametrize("length", [1, 2, 7, 16, 33])
def test_what_is_covered_ends_as_all_steps_so_far(order, length):
    levels = order(length)
    rows = covered(length, levels)
    assert rows[0] == [(place, place) for place in range(length)]
    assert rows[-1] == [(0, place) for place in range(length)]
    assert len(rows) == len(levels) + 1


def test_a_join_across_a_gap_is_refused():
    with pytest.raises(ValueError, match=r"levels: expected places that join .+, got 0–0 with 2–2"):
        covered(3, [[(0, 2)]])
