"""Recall from context: what followed a token, the value of a key, an entry of a list."""

from dataclasses import dataclass

import torch
from torch import Generator

from minimamba.arguments import check_count, refuse
from minimamba.course.tasks.task import (
    Examples,
    Task,
    distinct,
    randint,
    scored_at_end,
    unscored_targets,
)


@dataclass(frozen=True)
class InductionHeads(Task):
    """Recall the token that followed the special token when it first appeared.

    With the special token `|`, a sequence and its target are

        c | a b d |
                  a

    The special token stands at a random place and once more at the end (Gu and Dao 2023,
    arXiv:2312.00752, section 4.1.2, whose sizes are the defaults; Olsson et al. 2022,
    arXiv:2209.11895). Tokens 0 … n_symbols − 1 are ordinary, n_symbols is the special one.

    Args:
        length: tokens in a sequence, at least 3.
        n_symbols: distinct ordinary tokens.
    """

    length: int = 256
    n_symbols: int = 15
    difficulty = "length"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("length", self.length, 3)

    @property
    def vocab_size(self) -> int:
        """The n_symbols ordinary tokens and the special one."""
        return self.n_symbols + 1

    @property
    def chance(self) -> float:
        """The accuracy of guessing one ordinary token: 1 / n_symbols."""
        return 1 / self.n_symbols

    def _sample(self, batch: int, generator: Generator) -> Examples:
        tokens = randint(self.n_symbols, (batch, self.length), generator)
        place = randint(self.length - 2, (batch, 1), generator)
        tokens.scatter_(1, place, self.n_symbols)
        tokens[:, -1] = self.n_symbols
        return scored_at_end(tokens, tokens.gather(1, place + 1))


@dataclass(frozen=True)
class AssociativeRecall(Task):
    """Read key–value pairs, then give the value of each key when it is queried.

    With keys `a b c`, values `1 2 3` and blank `.`, a sequence of two pairs and its targets are

        b 3 a 1 a . . . b .
                1       3

    This is multi-query associative recall (Arora et al. 2023, arXiv:2312.04927). As there, the
    keys of a sequence are distinct and so are its values; each key is queried once; and the g-th
    place for a query after the pairs has weight g^(a − 1), a = 0.01, so that most queries come
    soon. Here a blank token stands between the queries, and they come in a random order; so a
    model that remembers which values there were, but not their keys, is correct in one of
    `n_pairs`. The paper's code puts random tokens between the queries by default, which is harder,
    and draws the places pair by pair, so that early pairs tend to be queried early.

    Tokens 0 … n_keys − 1 are keys, the next n_keys are values, 2 n_keys is the blank.

    Args:
        length: tokens in a sequence, at least 4 n_pairs.
        n_pairs: pairs in a sequence, at most `n_keys`.
        n_keys: distinct keys, and distinct values.
    """

    length: int = 256
    n_pairs: int = 16
    n_keys: int = 128
    difficulty = "n_pairs"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_pairs > self.n_keys:
            refuse("n_pairs", f"at most n_keys = {self.n_keys}", self.n_pairs)
        if self.length < 4 * self.n_pairs:
            refuse("length", f"at least 4 n_pairs = {4 * self.n_pairs}", self.length)

    @property
    def vocab_size(self) -> int:
        """n_keys keys, as many values, and the blank."""
        return 2 * self.n_keys + 1

    @property
    def chance(self) -> float:
        """The accuracy of guessing one value: 1 / n_keys."""
        return 1 / self.n_keys

    def _sample(self, batch: int, generator: Generator) -> Examples:
        keys = distinct(batch, self.n_pairs, self.n_keys, generator)
        values = self.n_keys + distinct(batch, self.n_pairs, self.n_keys, generator)
        tokens = keys.new_full((batch, self.length), 2 * self.n_keys)
        tokens[:, :2 * self.n_pairs] = torch.stack([keys, values], -1).flatten(1)
        # Every second place after the pairs may hold a query.
        n_places = (self.length - 2 * self.n_pairs) // 2
        weights = torch.arange(1.0, n_places + 1, device=tokens.device)**(0.01 - 1)
        chosen = torch.multinomial(weights.expand(batch, -1), self.n_pairs, generator=generator)
        # The first places drawn tend to be the early ones, so which pair gets which is drawn too.
        chosen = chosen.gather(1, distinct(batch, self.n_pairs, self.n_pairs, generator))
        places = 2 * self.n_pairs + 2 * chosen
        return Examples(tokens.scatter(1, places, keys),
                        unscored_targets(tokens).scatter(1, places, values))


@dataclass(frozen=True)
class PhoneBook(Task):
    """Read a list of names with their numbers, then give the number of one name or of several.

    With mark `|`, two entries, a query for the second and its targets are

        | a b 5 3 | c a 1 7 | c a 1
                                1 7

    A queried number is part of the sequence, so each of its digits is scored given the ones
    before it (Jelassi et al. 2024, arXiv:2402.01032). Tokens 0 … 9 are digits, 10 … 35 letters,
    36 is the mark before each name.

    Args:
        n_entries: names in the list, all distinct, at most 26^n_letters.
        n_digits: digits of a number.
        n_letters: letters of a name.
        n_queries: distinct names that are queried, one after the other, but at most n_entries.
    """

    n_entries: int = 20
    n_digits: int = 4
    n_letters: int = 2
    n_queries: int = 1
    difficulty = "n_entries"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_entries > 26**self.n_letters:
            refuse("n_entries", f"at most 26^{self.n_letters} = {26**self.n_letters}",
                   self.n_entries)

    vocab_size = 37
    chance = 0.1

    def _sample(self, batch: int, generator: Generator) -> Examples:
        names = distinct(batch, self.n_entries, 26**self.n_letters, generator)
        powers = 26 ** torch.arange(self.n_letters - 1, -1, -1, device=names.device)
        letters = 10 + names[..., None] // powers % 26
        numbers = randint(10, (batch, self.n_entries, self.n_digits), generator)
        entries = torch.cat([torch.full_like(letters[..., :1], 36), letters, numbers], -1)
        n_queries = min(self.n_queries, self.n_entries)
        queried = distinct(batch, n_queries, self.n_entries, generator)
        rows = torch.arange(batch, device=queried.device)[:, None]
        tokens = torch.cat([entries, entries[rows, queried]], 1)
        targets = unscored_targets(tokens)
        targets[:, self.n_entries:, -self.n_digits:] = numbers[rows, queried]
        # Next-token prediction: the input lacks the last token, the targets the first.
        return Examples(tokens.flatten(1)[:, :-1], targets.flatten(1)[:, 1:])
