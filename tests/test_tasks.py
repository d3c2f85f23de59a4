"""Each synthetic task against its description, sequence by sequence, and the common loss."""

import math

import pytest
import torch

from minimamba.course import tasks
from minimamba.course.tasks import UNSCORED

SELECTIVE_COPYING = tasks.SelectiveCopying(length=12, n_data=3, n_symbols=5)
COPYING = tasks.Copying(length=7, n_symbols=5)
INDUCTION = tasks.InductionHeads(length=9, n_symbols=6)
RECALL = tasks.AssociativeRecall(length=40, n_pairs=4, n_keys=8)
PARITY = tasks.Parity(length=11)
REGISTERS = tasks.Registers(length=20, n_symbols=4)
PHONE_BOOKS = [tasks.PhoneBook(n_entries=5, n_digits=3),
               tasks.PhoneBook(n_entries=6, n_digits=2, n_letters=3),
               tasks.PhoneBook(n_entries=6, n_digits=2, n_letters=3, n_queries=4),
               tasks.PhoneBook(n_entries=2, n_digits=2, n_letters=3, n_queries=5)]
TASKS = [SELECTIVE_COPYING, COPYING, INDUCTION, RECALL, PARITY, REGISTERS, PHONE_BOOKS[0],
         PHONE_BOOKS[2]]
every_task = pytest.mark.parametrize("task", TASKS, ids=lambda task: type(task).__name__)


def sample(task, batch=300, seed=0):
    return task.sample(batch, torch.Generator().manual_seed(seed))


def rows(task):
    """Tokens, and a dictionary from the scored places to their targets."""
    for tokens, targets in zip(*(part.tolist() for part in sample(task)), strict=True):
        yield tokens, {i: target for i, target in enumerate(targets) if target != UNSCORED}


@every_task
def test_tokens_and_targets_are_of_the_vocabulary(task):
    tokens, targets = examples = sample(task)
    assert tokens.shape == targets.shape == examples.scored.shape
    assert tokens.dtype == targets.dtype == torch.int64
    assert 0 <= tokens.min() <= tokens.max() == task.vocab_size - 1
    scored = targets[examples.scored]
    assert 0 <= scored.min() <= scored.max() < task.vocab_size
    # As many in each row: the mean over rows is the mean over all.
    assert len(set(examples.scored.sum(1).tolist())) == 1


@every_task
def test_a_constant_answer_has_the_accuracy_of_chance(task):
    targets = sample(task, 4000).targets
    scored = targets[targets != UNSCORED]
    types = 2 if task is REGISTERS else 1          # each query asks for one type of token
    assert len(scored.unique()) == types * round(1 / task.chance)
    fraction = types * scored.bincount(minlength=task.vocab_size).max() / len(scored)
    # Four standard deviations; within a row, the targets of parity alone are dependent.
    assert abs(fraction - task.chance) < 4 * math.sqrt(task.chance / 4000) + 0.01


def without_evidence(task, tokens, targets, query):
    """What is left of the sequences if the evidence for one answer is drawn afresh, and what can
    then not be told: (tokens, the place of the query, what is hidden, how many values it has)."""
    generator = torch.Generator().manual_seed(5)
    fresh = tokens[torch.randperm(len(tokens), generator=generator)]
    place = targets.ne(UNSCORED).nonzero()[:, 1].view(len(tokens), -1)[:, query]
    answer = targets.gather(1, place[:, None])[:, 0]
    steps = torch.arange(tokens.shape[1])

    def redrawn(where):
        return torch.where(where, fresh, tokens)

    if isinstance(task, tasks.AssociativeRecall):
        end = 2 * task.n_pairs
        yield redrawn((steps < end) & (steps % 2 == 1)), place, answer - task.n_keys, task.n_keys
        asked = tokens.gather(1, place[:, None])
        pair = (tokens[:, :end:2] == asked).int().argmax(1)
        yield redrawn((steps < end) & (steps % 2 == 0)), place, pair, task.n_pairs
    elif isinstance(task, tasks.PhoneBook):
        entry = 1 + task.n_letters + task.n_digits
        in_book, is_digit = steps < task.n_entries * entry, steps % entry > task.n_letters
        yield redrawn(in_book & is_digit), place, answer, 10
        if query % task.n_digits == 0:                       # the others follow known digits
            book = tokens[:, :task.n_entries * entry].unflatten(1, (-1, entry))
            names = book[..., 1:-task.n_digits]
            name = tokens.gather(1, place[:, None] + torch.arange(1 - task.n_letters, 1))
            index = (names == name[:, None]).all(2).int().argmax(1)
            yield redrawn(in_book & ~is_digit), place, index, task.n_entries
    elif isinstance(task, tasks.InductionHeads):
        first = (tokens == task.n_symbols).int().argmax(1)
        yield redrawn(steps == first[:, None] + 1), place, answer, task.n_symbols
        yield redrawn(steps < task.length - 1), place, first, task.length - 2
    elif isinstance(task, tasks.Registers):
        is_type = (tokens // task.n_symbols == query) & (steps < task.length)
        symbol = fresh % task.n_symbols + query * task.n_symbols
        is_last = steps == (steps * is_type).amax(1, keepdim=True)
        yield (torch.where(is_last, symbol, tokens), place, answer - query * task.n_symbols,
               task.n_symbols)
    elif isinstance(task, tasks.SelectiveCopying):
        is_data = (tokens > 0) & (steps < task.length)
        yield torch.where(is_data, 1 + fresh % task.n_symbols, tokens), place, answer - 1, \
            task.n_symbols
    else:
        is_copying = isinstance(task, tasks.Copying)
        evidence = steps < task.length if is_copying else steps == place[:, None]
        yield redrawn(evidence), place, answer, task.n_symbols if is_copying else 2


def dependence(visible, hidden, n_hidden):
    """How far what is hidden is from uniform given what is visible, in standard deviations of
    Pearson's χ²."""
    counts = (visible * n_hidden + hidden).bincount(minlength=(visible.max() + 1) * n_hidden)
    counts = counts.view(-1, n_hidden).double()
    counts = counts[counts.sum(1) > 0]
    expected = counts.sum(1, keepdim=True) / n_hidden
    freedom = len(counts) * (n_hidden - 1)
    return (((counts - expected)**2 / expected).sum() - freedom) / math.sqrt(2 * freedom)


@every_task
def test_without_the_evidence_nothing_tells_the_answer(task):
    """Neither a token read so far, alone or together with the query, nor the place of the query,
    nor the answers before, in the sequence or in the one before."""
    tokens, targets = sample(task, 10_000)
    answers = targets[targets != UNSCORED].view(len(tokens), -1)
    for query in range(answers.shape[1]):
        for seen, place, hidden, n_hidden in without_evidence(task, tokens, targets, query):
            asked = seen.gather(1, place[:, None])[:, 0]
            parts = {"place": place, "query and place": asked * 100 + place,
                     "sequence before": hidden.roll(1)}
            if task is not RECALL:                           # whose values are distinct
                parts |= {f"answer {k}": answers[:, k] for k in range(query)}
            is_read = torch.arange(seen.shape[1]) <= place[:, None]
            for step, token in enumerate(torch.where(is_read, seen, task.vocab_size).unbind(1)):
                parts |= {f"token {step}": token, f"query and token {step}": asked * 100 + token}
            for name, part in parts.items():
                assert dependence(part, hidden, n_hidden) < 6, (query, name)


@every_task
def test_equal_generators_give_equal_sequences(task):
    assert all(torch.equal(a, b) for a, b in zip(sample(task), sample(task), strict=True))
    assert not torch.equal(sample(task).tokens, sample(task, seed=1).tokens)


@every_task
def test_another_difficulty_changes_that_field_alone(task):
    harder = task.at(8)
    assert getattr(harder, task.difficulty) == 8
    assert harder.vocab_size == task.vocab_size
    assert harder.at(getattr(task, task.difficulty)) == task


@pytest.mark.parametrize("task", [SELECTIVE_COPYING, tasks.SelectiveCopying(4, 4, 5),
                                  tasks.SelectiveCopying(9, 1, 5)], ids=str)
def test_selective_copying_scores_the_data_in_order(task):
    for tokens, targets in rows(task):
        assert tokens[task.length:] == [6] * task.n_data
        assert list(targets) == list(range(task.length, task.length + task.n_data))
        assert list(targets.values()) == [token for token in tokens[:task.length] if token]


def test_selective_copying_puts_the_data_at_uniform_places():
    tokens, _ = sample(tasks.SelectiveCopying(10, 3, 5), 4000)
    frequency = (tokens[:, :10] > 0).double().mean(0)
    assert (frequency - 0.3).abs().max() < 0.03


def test_induction_heads_score_the_token_after_the_special_one():
    places = set()
    for tokens, targets in rows(INDUCTION):
        assert len(tokens) == 9
        assert tokens.count(6) == 2
        assert tokens[-1] == 6
        place = tokens.index(6)
        assert targets == {8: tokens[place + 1]}
        places.add(place)
    assert places == set(range(7))


def test_associative_recall_queries_each_key_once():
    for tokens, targets in rows(RECALL):
        values = dict(zip(tokens[:8:2], tokens[1:8:2], strict=True))
        assert len(values) == len(set(values.values())) == 4
        assert {tokens[place]: target for place, target in targets.items()} == values
        assert len(targets) == 4
        assert all(place >= 8 and place % 2 == 0 for place in targets)
        # Between the queries stands nothing but the blank.
        assert {i for i, token in enumerate(tokens) if i >= 8 and token != 16} == set(targets)


def test_associative_recall_queries_early_places_more_often():
    frequency = sample(tasks.AssociativeRecall(80, 4, 8), 2000).scored.float().mean(0)
    assert frequency[8] > 2 * frequency[20] > 2 * frequency[60:].max()


def test_copying_scores_each_symbol_given_the_ones_before_it():
    for tokens, targets in rows(COPYING):
        symbols = tokens[:7]
        assert tokens == [*symbols, 5, *symbols[:-1]]
        assert targets == dict(enumerate(symbols, 7))


@pytest.mark.parametrize("task", PHONE_BOOKS, ids=str)
def test_the_phone_book_scores_the_numbers_of_the_queried_names(task):
    name = 1 + task.n_letters
    entry = name + task.n_digits
    first_queried = set()
    for tokens, targets in rows(task):
        parts = [tokens[i:i + entry] for i in range(0, len(tokens), entry)]
        entries, queries = parts[:task.n_entries], parts[task.n_entries:]
        assert all(part[0] == 36 and min(part[1:name]) >= 10 > max(part[name:])
                   for part in entries)
        book = {tuple(part[1:name]): part[name:] for part in entries}
        assert len(book) == task.n_entries
        expected = {}
        for i, query in enumerate(queries, task.n_entries):
            number = book[tuple(query[1:name])]
            assert [36, *query[1:name], *number][:len(query)] == query
            expected |= dict(enumerate(number, i * entry + task.n_letters))
        assert targets == expected
        assert len(tokens) == (task.n_entries + len(queries)) * entry - 1
        names = [tuple(query[1:name]) for query in queries]
        assert len(set(names)) == len(names) == min(task.n_queries, task.n_entries)
        first_queried.add(list(book).index(names[0]))
    assert first_queried == set(range(task.n_entries))


def test_parity_counts_the_ones_modulo_two():
    for tokens, targets in rows(PARITY):
        assert targets == {i: sum(tokens[:i + 1]) % 2 for i in range(11)}


def test_registers_score_the_last_letter_and_the_last_digit():
    for tokens, targets in rows(REGISTERS):
        letters = [token for token in tokens[:20] if token < 4]
        digits = [token for token in tokens[:20] if 4 <= token < 8]
        assert tokens[20:] == [8, 9]
        assert targets == {20: letters[-1], 21: digits[-1]}


def test_registers_keep_the_type_of_token_in_nine_of_ten_steps():
    is_digit = sample(REGISTERS, 1000).tokens[:, :20] >= 4
    assert 0.45 < is_digit[:, 0].double().mean() < 0.55
    assert (is_digit[:, 1] != is_digit[:, 0]).all()
    assert 0.88 < (is_digit[:, 2:] == is_digit[:, 1:-1]).double().mean() < 0.92


@every_task
def test_loss_and_accuracy_see_the_scored_tokens_only(task):
    tokens, targets = examples = sample(task, 5)
    logits = torch.zeros(*tokens.shape, task.vocab_size)
    assert tasks.loss(logits, targets).item() == pytest.approx(math.log(task.vocab_size))
    logits.scatter_(2, targets.clamp(min=0)[..., None], 50.0)
    assert tasks.loss(logits, targets) < 1e-6
    assert tasks.accuracy(logits, targets) == 1
    logits[~examples.scored] = torch.randn(task.vocab_size)
    assert tasks.accuracy(logits, targets) == 1
    row, place = examples.scored.nonzero()[0]
    logits[row, place] = -logits[row, place]
    count = examples.scored.sum().item()
    assert tasks.accuracy(logits, targets).item() == pytest.approx(1 - 1 / count)
    assert tasks.loss(logits, targets) > 40 / count


@pytest.mark.parametrize(("call", "message"), [
    (lambda: tasks.Parity(0), "^length: expected a whole number from 1 up, got 0$"),
    (lambda: tasks.Copying(4, 2.0), "^n_symbols: expected a whole number"),
    (lambda: tasks.InductionHeads(2), "^length: expected a whole number from 3 up"),
    (lambda: tasks.Registers(1), "^length: expected a whole number from 2 up"),
    (lambda: tasks.SelectiveCopying(3, 4, 5), "^n_data: expected at most length = 3, got 4$"),
    (lambda: tasks.AssociativeRecall(40, 9, 8), "^n_pairs: expected at most n_keys = 8, got 9$"),
    (lambda: tasks.AssociativeRecall(15, 4, 8),
     "^length: expected at least 4 n_pairs = 16, got 15$"),
    (lambda: tasks.PhoneBook(677), "^n_entries: expected at most 26\\^2 = 676, got 677$"),
    (lambda: sample(tasks.Parity(3), 0), "^batch: expected a whole number"),
    (lambda: tasks.Parity(3).sample(2, 0), r"^generator: expected a torch.Generator, .+ got int$"),
    (lambda: tasks.accuracy(torch.full((1, 3, 4), torch.nan), torch.zeros(1, 3).long()),
     "^logits: expected finite numbers"),
    *((lambda f=f, x=x, y=y: f(x, y), message) for f in (tasks.loss, tasks.accuracy)
      for x, y, message in (
        (torch.zeros(2, 3), torch.zeros(2, 3).long(), r"^logits: expected shape \(batch"),
        (torch.zeros(2, 3, 4), torch.zeros(2, 4).long(), "^targets: expected shape"),
        (torch.zeros(2, 3, 4), torch.zeros(2, 3), "^targets: expected dtype int64, got float32$"),
        (torch.zeros(2, 3, 4).tolist(), torch.zeros(2, 3), "^logits: expected a torch.Tensor"),
        (torch.zeros(2, 3, 4), torch.full((2, 3), 4), "^targets: expected -100, or .+ got 4 to 4$"),
        (torch.zeros(2, 3, 4), torch.full((2, 3), -100), "^targets: expected at least one that"))),
])
def test_bad_arguments_are_refused_by_name(call, message):
    with pytest.raises(ValueError, match=message):
        call()
