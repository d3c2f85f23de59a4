"""The made-up tasks against what their words say, sequence by sequence."""

import pytest
import torch

from minimamba.course import tasks


def drawn(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("length", "tokens"), [(16, 4), (4, 4), (9, 1)])
def test_selective_copying_asks_for_the_data_in_order(length, tokens):
    x, y = tasks.selective_copying(200, length, tokens, 5, drawn())
    assert x.shape == (200, length + tokens)
    assert y.shape == (200, tokens)
    assert x.dtype == y.dtype == torch.int64
    for row, answer in zip(x.tolist(), y.tolist(), strict=True):
        assert [token - 1 for token in row[:length] if token] == answer
        assert row[length:] == [6] * tokens
    assert set(y.unique().tolist()) == set(range(5))


def test_the_data_stand_anywhere():
    x, _ = tasks.selective_copying(4000, 10, 3, 5, drawn())
    share = (x[:, :10] > 0).double().mean(0)
    assert (share - 0.3).abs().max() < 0.03


def test_registers_ask_for_the_last_letter_and_the_last_digit():
    x, y = tasks.registers(300, 20, 4, drawn())
    assert x.shape == (300, 22)
    assert y.shape == (300, 2)
    for row, answer in zip(x.tolist(), y.tolist(), strict=True):
        letters = [token for token in row[:20] if token < 4]
        digits = [token - 4 for token in row[:20] if 4 <= token < 8]
        assert answer == [letters[-1], digits[-1]]
        assert row[20:] == [8, 9]
    first, rest = x[:, 0] >= 4, x[:, 1:20] >= 4
    assert 0.4 < first.double().mean() < 0.6
    assert 0.87 < (rest[:, 1:] == rest[:, :-1]).double().mean() < 0.93


@pytest.mark.parametrize("make", [lambda g: tasks.selective_copying(2, 30, 3, 5, g),
                                  lambda g: tasks.registers(2, 30, 4, g)])
def test_the_same_generator_gives_the_same_tokens(make):
    again = make(drawn())
    assert all(torch.equal(a, b) for a, b in zip(make(drawn()), again, strict=True))
    assert not torch.equal(make(drawn(1)).x, again.x)


@pytest.mark.parametrize(("call", "message"), [
    (lambda: tasks.selective_copying(2, 3, 4, 5, drawn()), "tokens: expected at most length = 3"),
    (lambda: tasks.selective_copying(0, 3, 2, 5, drawn()), "batch: expected a whole number"),
    (lambda: tasks.selective_copying(2, 3, 2, 5.0, drawn()), "kinds: expected a whole number"),
    (lambda: tasks.registers(2, 1, 4, drawn()), "length: expected a whole number from 2 up"),
    (lambda: tasks.registers(True, 5, 4, drawn()), "batch: expected a whole number")])
def test_bad_sizes_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
