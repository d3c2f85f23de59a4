"""Find what stood beside something: once, many times, or in a list."""

from dataclasses import dataclass

import torch
from torch import Generator

from minimamba.arguments import check_count, refuse
from minimamba.course.tasks.task import Examples, Task, different, ending_in, nothing_asked, randint


@dataclass(frozen=True)
class InductionHeads(Task):
    """Say what followed the special token, when it comes for the second time (Gu and Dao 2023,
    section 4.1.2; Olsson et al. 2022, arXiv:2209.11895).

    The paper's: a vocabulary of 16, trained at length 256. Tokens: `kinds` ordinary ones, then
    the special one, which stands once anywhere and once more at the end of `length` tokens.
    """

    length: int = 256
    kinds: int = 15
    difficulty = "length"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("length", self.length, 3)

    @property
    def vocabulary(self) -> int:
        return self.kinds + 1

    @property
    def chance(self) -> float:
        return 1 / self.kinds

    def _draw(self, batch: int, generator: Generator) -> Examples:
        x = randint(self.kinds, (batch, self.length), generator)
        at = randint(self.length - 2, (batch, 1), generator)
        x.scatter_(1, at, self.kinds)
        x[:, -1] = self.kinds
        return ending_in(x, x.gather(1, at + 1))


@dataclass(frozen=True)
class AssociativeRecall(Task):
    """Read pairs of a key and a value; give a key's value when the key comes again, each once,
    among other tokens (multi-query: Arora et al. 2023, arXiv:2312.04927).

    As in that paper, there are as many keys as values, all of a sequence different, and the
    places where keys are asked for are drawn, the g-th after the pairs with a weight of
    g^(a − 1), a = 0.01. Between them stands a blank, as the paper's code has it too; it can put
    random tokens there, which is harder, for some look like pairs. Tokens: `kinds` keys, `kinds`
    values, the blank. One who remembers which values there were, but not whose, is right in one
    of `pairs`.
    """

    length: int = 256
    pairs: int = 16
    kinds: int = 128
    difficulty = "pairs"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pairs > self.kinds:
            refuse("pairs", f"at most kinds = {self.kinds}", self.pairs)
        if self.length < 4 * self.pairs:
            refuse("length", f"at least 4 pairs = {4 * self.pairs}", self.length)

    @property
    def vocabulary(self) -> int:
        return 2 * self.kinds + 1

    @property
    def chance(self) -> float:
        return 1 / self.kinds

    def _draw(self, batch: int, generator: Generator) -> Examples:
        keys, values = (different(batch, self.pairs, self.kinds, generator) for _ in range(2))
        values = values + self.kinds
        x = keys.new_full((batch, self.length), 2 * self.kinds)
        x[:, :2 * self.pairs] = torch.stack([keys, values], -1).flatten(1)
        gaps = torch.arange(1.0, (self.length - 2 * self.pairs) // 2 + 1, device=x.device)
        at = torch.multinomial((gaps**(0.01 - 1)).expand(batch, -1), self.pairs,
                               generator=generator)
        at = 2 * self.pairs + 2 * at
        return Examples(x.scatter(1, at, keys), nothing_asked(x).scatter(1, at, values))


@dataclass(frozen=True)
class PhoneBook(Task):
    """Read a list of names with their numbers; give the number of one name (Jelassi et al. 2024,
    arXiv:2402.01032), or of several.

    Two letters a name (or `letters`), all different, `digits` digits a number, and a mark before
    each name. Tokens: ten digits, 26 letters, the mark. What is asked for stands at the end, its
    digits too: each is scored from what came before it. With more `questions` than one, so many
    different names are asked for, one after the other, or all of them if they are fewer: more to
    learn from in each sequence.
    """

    people: int = 20
    digits: int = 4
    letters: int = 2
    questions: int = 1
    difficulty = "people"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.people > 26**self.letters:
            refuse("people", f"at most 26^{self.letters} = {26**self.letters}", self.people)

    vocabulary = 37
    chance = 0.1

    def _draw(self, batch: int, generator: Generator) -> Examples:
        names = different(batch, self.people, 26**self.letters, generator)
        places = 26 ** torch.arange(self.letters - 1, -1, -1, device=names.device)
        letters = 10 + names[..., None] // places % 26
        numbers = randint(10, (batch, self.people, self.digits), generator)
        lines = torch.cat([torch.full_like(letters[..., :1], 36), letters, numbers], -1)
        asked = different(batch, min(self.questions, self.people), self.people, generator)
        rows = torch.arange(batch, device=asked.device)[:, None]
        x = torch.cat([lines, lines[rows, asked]], 1)
        y = nothing_asked(x)
        y[:, self.people:, -self.digits:] = numbers[rows, asked]
        return Examples(x.flatten(1)[:, :-1], y.flatten(1)[:, 1:])
