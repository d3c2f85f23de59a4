"""The associative operator on pairs, and the two orders of a parallel scan."""

from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from systems import C128, F64, close, leaves, randn, uniform

from minimamba.scan.associative import blelloch, combine, covered, hillis_steele, scan, work

ORDERS = {"hillis_steele": hillis_steele, "blelloch": blelloch}
LENGTHS = [1, 2, 3, 4, 5, 7, 8, 9, 63, 64, 65, 97, 1024]
properties = settings(max_examples=40, deadline=None, derandomize=True)
number = st.fractions(-10, 10, max_denominator=50)
pair = st.tuples(number, number)


def every_order(test):
    return pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS.keys())(test)


def sequential_loop(a, b, h):
    states = []
    for a_t, b_t in zip(a, b, strict=True):
        h = a_t * h + b_t
        states.append(h)
    return states


@properties
@given(pair, pair, pair)
def test_combine_is_associative(p, q, r):
    assert combine(combine(p, q), r) == combine(p, combine(q, r))


@properties
@given(pair, pair, number)
def test_combined_step_equals_two_steps(p, q, h):
    a, b = combine(p, q)
    assert a * h + b == q[0] * (p[0] * h + p[1]) + q[1]


def test_combine_is_not_commutative():
    p, q = (Fraction(2), Fraction(1)), (Fraction(3), Fraction(5))
    assert combine(p, q) == (6, 8)
    assert combine(q, p) == (6, 11)


@properties
@given(pair)
def test_combine_has_a_neutral_element(p):
    neutral = (Fraction(1), Fraction(0))
    assert combine(p, neutral) == combine(neutral, p) == p


@every_order
@properties
@given(st.lists(pair, min_size=1, max_size=40), number)
def test_order_gives_exact_states_in_fractions_at_random_lengths(order, pairs, start):
    combined = list(pairs)
    for level in order(len(pairs)):
        before = list(combined)                 # what all combinations of a level read
        for source, target in level:
            combined[target] = combine(before[source], before[target])
    states = sequential_loop(*zip(*pairs, strict=True), start)
    assert [a * start + b for a, b in combined] == states


@every_order
@pytest.mark.parametrize("length", LENGTHS)
def test_scan_equals_sequential_loop(order, length):
    a, b, h = uniform(0, 1, length, 2, 3), randn(length, 2, 3), randn(2, 3, seed=1)
    close(scan(a, b, order(length), h), torch.stack(sequential_loop(a, b, h)))
    close(scan(a, b, order(length)), torch.stack(sequential_loop(a, b, 0 * h)))


@every_order
def test_scan_of_complex_numbers_equals_sequential_loop(order):
    a, b = 0.5 * randn(11, dtype=C128), randn(11, seed=1, dtype=C128)
    close(scan(a, b, order(11)), torch.stack(sequential_loop(a, b, 0)))


@every_order
@pytest.mark.parametrize("length", LENGTHS)
def test_combinations_of_a_level_are_independent(order, length):
    for level in order(length):
        sources, targets = zip(*level, strict=True)
        assert len(set(targets)) == len(targets)
        assert all(source < target < length for source, target in level)
        if order is blelloch:                   # in place: no source is also a target
            assert not set(sources) & set(targets)


@pytest.mark.parametrize("length", LENGTHS)
def test_work_and_depth_match_the_formulas(length):
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
def test_gradcheck_of_scan(order):
    inputs = leaves(uniform(0, 1, 6, 2), randn(6, 2), randn(2, seed=1))
    assert torch.autograd.gradcheck(lambda a, b, h: scan(a, b, order(6), h), inputs)


@every_order
def test_scan_is_exact_if_products_of_decays_underflow(order):
    a = torch.full((300,), 1e-3, dtype=F64)     # a³⁰⁰ is far below the smallest number
    b = randn(300)
    close(scan(a, b, order(300)), torch.stack(sequential_loop(a, b, 0)))


@every_order
def test_a_level_without_combinations_changes_nothing(order):
    a, b = randn(8), randn(8)
    assert torch.equal(scan(a, b, [[], *order(8), []]), scan(a, b, order(8)))


@every_order
def test_length_of_zero_is_refused(order):
    with pytest.raises(ValueError, match=r"^length: expected a whole number from 1 up, got 0"):
        order(0)


@pytest.mark.parametrize(("changes", "name"), [
    ({"a": [1.0]}, "a"), ({"a": torch.ones(4, dtype=torch.int64)}, "a"),
    ({"a": torch.ones(())}, "a"), ({"b": torch.ones(5)}, "b"), ({"b": torch.ones(4, 1)}, "b"),
    ({"b": None}, "b"),
    ({"initial_state": torch.ones(1)}, "initial_state")])
def test_bad_argument_of_scan_is_named(changes, name):
    good = {"a": torch.ones(4), "b": torch.ones(4), "levels": blelloch(4)}
    with pytest.raises(ValueError, match=f"^{name}: expected .+, got "):
        scan(**good | changes)


@every_order
@pytest.mark.parametrize("length", [1, 2, 7, 16, 33])
def test_every_position_ends_up_covering_all_steps_so_far(order, length):
    levels = order(length)
    rows = covered(length, levels)
    assert rows[0] == [(position, position) for position in range(length)]
    assert rows[-1] == [(0, position) for position in range(length)]
    assert len(rows) == len(levels) + 1


def test_combining_ranges_that_are_not_adjacent_is_refused():
    with pytest.raises(ValueError, match=r"^levels: expected .+ adjacent, got 0–0 with 2–2"):
        covered(3, [[(0, 2)]])


@every_order
@pytest.mark.parametrize("dtypes", [(C128, F64), (F64, C128)])
def test_either_tensor_may_be_complex(order, dtypes):
    a, b = (randn(9, 3, dtype=dtype) for dtype in dtypes)
    close(scan(a, b, order(9)), torch.stack(sequential_loop(a, b, 0)))
