"""Say again what was said: all of it, or all but the noise."""

from dataclasses import dataclass

import torch
from torch import Generator

from minimamba.course.tasks.questions import selective_copying
from minimamba.course.tasks.task import Examples, Task, ending_in, randint


@dataclass(frozen=True)
class SelectiveCopying(Task):
    """Repeat what was said, in order, and leave out the noise.

    As `selective_copying`, which says where it is from. The paper's: length 4096, 16 data, a
    vocabulary of 16. Tokens: 0 is noise, then the `kinds` of data, then the question.
    """

    length: int = 4096
    data: int = 16
    kinds: int = 14
    difficulty = "length"

    @property
    def vocabulary(self) -> int:
        return self.kinds + 2

    @property
    def chance(self) -> float:
        return 1 / self.kinds

    def _draw(self, batch: int, generator: Generator) -> Examples:
        x, y = selective_copying(batch, self.length, self.data, self.kinds, generator)
        return ending_in(x, y + 1)


@dataclass(frozen=True)
class Copying(Task):
    """Repeat all that was said, after a mark (Jelassi et al. 2024, arXiv:2402.01032).

    Tokens: the `kinds` that are said, `length` of them, then the mark.
    """

    length: int = 64
    kinds: int = 26
    difficulty = "length"

    @property
    def vocabulary(self) -> int:
        return self.kinds + 1

    @property
    def chance(self) -> float:
        return 1 / self.kinds

    def _draw(self, batch: int, generator: Generator) -> Examples:
        said = randint(self.kinds, (batch, self.length), generator)
        mark = torch.full_like(said[:, :1], self.kinds)
        return ending_in(torch.cat([said, mark, said[:, :-1]], 1), said)
