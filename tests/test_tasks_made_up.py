"""Each task against what its words say; its chance against guessing; one loss for all."""

import math

import pytest
import torch

from minimamba.course import tasks
from minimamba.course.tasks import UNSCORED

SMALL = [tasks.SelectiveCopying(12, 3, 5), tasks.InductionHeads(9, 6),
         tasks.AssociativeRecall(40, 4, 8), tasks.Copying(7, 5), tasks.PhoneBook(5, 3),
         tasks.PhoneBook(6, 2, 3), tasks.PhoneBook(6, 2, 3, 4), tasks.Parity(11)]
every = pytest.mark.parametrize("task", SMALL, ids=lambda task: type(task).__name__)


def drawn(task, batch=300, seed=0):
    return task.draw(batch, torch.Generator().manual_seed(seed))


def rows(task):
    """Tokens, and a dictionary from where something is asked to its answer."""
    for tokens, targets in zip(*(part.tolist() for part in drawn(task)), strict=True):
        yield tokens, {i: wanted for i, wanted in enumerate(targets) if wanted != UNSCORED}


@every
def test_all_are_tokens_of_the_vocabulary(task):
    tokens, targets = examples = drawn(task)
    assert tokens.shape == targets.shape == examples.scored.shape
    assert tokens.dtype == targets.dtype == torch.int64
    assert 0 <= tokens.min() <= tokens.max() == task.vocabulary - 1
    wanted = targets[examples.scored]
    assert 0 <= wanted.min() <= wanted.max() < task.vocabulary
    # As many in each row: the mean over rows is the mean over all.
    assert len(set(examples.scored.sum(1).tolist())) == 1


@every
def test_always_the_same_answer_is_right_by_chance(task):
    targets = drawn(task, 4000).targets
    wanted = targets[targets != UNSCORED]
    assert len(wanted.unique()) == round(1 / task.chance)
    share = wanted.bincount(minlength=task.vocabulary).max() / len(wanted)
    # Four standard deviations; the answers of one row lean on each other in parity alone.
    assert abs(share - task.chance) < 4 * math.sqrt(task.chance / 4000) + 0.01


@every
def test_the_same_generator_gives_the_same_sequences(task):
    assert all(torch.equal(a, b) for a, b in zip(drawn(task), drawn(task), strict=True))
    assert not torch.equal(drawn(task).tokens, drawn(task, seed=1).tokens)


@every
def test_it_says_what_it_is_and_can_be_made_harder(task):
    assert 30 < len(task.description) < 200
    assert "\n" not in task.description
    harder = task.at(8)
    assert getattr(harder, task.difficulty) == 8
    assert harder.vocabulary == task.vocabulary
    assert harder.at(getattr(task, task.difficulty)) == task


def test_selective_copying_repeats_the_data_in_order():
    for tokens, asked in rows(SMALL[0]):
        assert tokens[12:] == [6] * 3
        assert list(asked) == [12, 13, 14]
        assert list(asked.values()) == [token for token in tokens[:12] if token]


def test_induction_heads_ask_for_what_followed_the_special_token():
    places = set()
    for tokens, asked in rows(SMALL[1]):
        assert len(tokens) == 9
        assert tokens.count(6) == 2
        assert tokens[-1] == 6
        at = tokens.index(6)
        assert asked == {8: tokens[at + 1]}
        places.add(at)
    assert places == set(range(7))


def test_recall_asks_for_each_key_once():
    for tokens, asked in rows(SMALL[2]):
        values = dict(zip(tokens[:8:2], tokens[1:8:2], strict=True))
        assert len(values) == len(set(values.values())) == 4
        assert {tokens[at]: wanted for at, wanted in asked.items()} == values
        assert len(asked) == 4
        assert all(at >= 8 and at % 2 == 0 for at in asked)
        # Nothing else stands after the pairs.
        assert {at for at, token in enumerate(tokens) if at >= 8 and token != 16} == set(asked)


def test_recall_asks_soon_more_often():
    scored = drawn(tasks.AssociativeRecall(80, 4, 8), 2000).scored.float().mean(0)
    assert scored[8] > 2 * scored[20] > 2 * scored[60:].max()


def test_copying_repeats_everything_each_from_what_came_before():
    for tokens, asked in rows(SMALL[3]):
        said = tokens[:7]
        assert tokens == [*said, 5, *said[:-1]]
        assert asked == dict(enumerate(said, 7))


@pytest.mark.parametrize("task", [*SMALL[4:7], tasks.PhoneBook(2, 2, 3, 5)], ids=str)
def test_the_phone_book_has_the_numbers_that_are_asked_for(task):
    name, line = 1 + task.letters, 1 + task.letters + task.digits
    seen = set()
    for tokens, asked in rows(task):
        lines = [tokens[i:i + line] for i in range(0, len(tokens), line)]
        lines, questions = lines[:task.people], lines[task.people:]
        assert all(row[0] == 36 and min(row[1:name]) >= 10 > max(row[name:]) for row in lines)
        book = {tuple(row[1:name]): row[name:] for row in lines}
        assert len(book) == task.people
        wanted = {}
        for i, question in enumerate(questions, task.people):
            number = book[tuple(question[1:name])]
            assert [36, *question[1:name], *number][:len(question)] == question
            wanted |= dict(enumerate(number, i * line + task.letters))
        assert asked == wanted
        assert len(tokens) == (task.people + len(questions)) * line - 1
        names = [tuple(question[1:name]) for question in questions]
        assert len(set(names)) == len(names) == min(task.questions, task.people)
        seen.add(list(book).index(names[0]))
    assert seen == set(range(task.people))


def test_parity_counts_the_ones():
    for tokens, asked in rows(SMALL[-1]):
        assert asked == {i: sum(tokens[:i + 1]) % 2 for i in range(11)}


@every
def test_one_loss_and_one_accuracy_look_at_what_is_asked(task):
    tokens, targets = examples = drawn(task, 5)
    scores = torch.zeros(*tokens.shape, task.vocabulary)
    assert tasks.loss(scores, targets).item() == pytest.approx(math.log(task.vocabulary))
    right = targets.clamp(min=0)
    scores.scatter_(2, right[..., None], 50.0)
    assert tasks.loss(scores, targets) < 1e-6
    assert tasks.accuracy(scores, targets) == 1
    scores[~examples.scored] = torch.randn(task.vocabulary)      # nobody looks there
    assert tasks.accuracy(scores, targets) == 1
    row, at = examples.scored.nonzero()[0]
    scores[row, at] = -scores[row, at]
    asked = examples.scored.sum().item()
    assert tasks.accuracy(scores, targets).item() == pytest.approx(1 - 1 / asked)
    assert tasks.loss(scores, targets) > 40 / asked


@pytest.mark.parametrize(("call", "message"), [
    (lambda: tasks.Parity(0), "^length: expected a whole number from 1 up, got 0$"),
    (lambda: tasks.Copying(4, 2.0), "^kinds: expected a whole number"),
    (lambda: tasks.InductionHeads(2), "^length: expected a whole number from 3 up"),
    (lambda: tasks.AssociativeRecall(40, 9, 8), "^pairs: expected at most kinds = 8, got 9$"),
    (lambda: tasks.AssociativeRecall(15, 4, 8), "^length: expected at least 4 pairs = 16, got 15"),
    (lambda: tasks.PhoneBook(677), "^people: expected at most 26\\^2 = 676, got 677$"),
    (lambda: drawn(tasks.Parity(3), 0), "^batch: expected a whole number"),
    (lambda: drawn(tasks.SelectiveCopying(3, 4, 5)), "^tokens: expected at most length = 3"),
    (lambda: tasks.loss(torch.zeros(2, 3), torch.zeros(2, 3)), r"^scores: expected shape \(batch"),
    (lambda: tasks.accuracy(torch.zeros(2, 3, 4), torch.zeros(2, 4)), "^targets: expected shape"),
])
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
