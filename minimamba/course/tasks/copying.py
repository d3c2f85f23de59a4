"""Copying a sequence: all of it, or the data among noise."""

from dataclasses import dataclass

import torch
from torch import Generator

from minimamba.arguments import refuse
from minimamba.course.tasks.task import Examples, Task, randint, scored_at_end


@dataclass(frozen=True)
class SelectiveCopying(Task):
    """Repeat the data tokens in order and ignore the noise between them.

    With noise `.` and query `?`, a sequence with two data tokens and its targets are

        . b . . a . ? ?
                    b a

    The places of the data are random, so a fixed delay can't solve the task (Jing et al. 2019,
    arXiv:1706.02761; Gu and Dao 2023, arXiv:2312.00752, section 4.1.1, whose sizes are the
    defaults). Token 0 is noise, 1 … n_symbols are data, n_symbols + 1 is the query.

    Args:
        length: tokens before the queries, noise and data together.
        n_data: data tokens in a sequence, at most `length`; as many queries follow.
        n_symbols: distinct data tokens.
    """

    length: int = 4096
    n_data: int = 16
    n_symbols: int = 14
    difficulty = "length"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_data > self.length:
            refuse("n_data", f"at most length = {self.length}", self.n_data)

    @property
    def vocab_size(self) -> int:
        """Noise, n_symbols data tokens and the query."""
        return self.n_symbols + 2

    @property
    def chance(self) -> float:
        """The accuracy of guessing one symbol: 1 / n_symbols."""
        return 1 / self.n_symbols

    def _sample(self, batch: int, generator: Generator) -> Examples:
        order = torch.rand(batch, self.length, generator=generator, device=generator.device)
        places = order.argsort(-1)[:, :self.n_data].sort(-1).values
        data = 1 + randint(self.n_symbols, (batch, self.n_data), generator)
        tokens = data.new_zeros(batch, self.length + self.n_data)
        tokens.scatter_(1, places, data)
        tokens[:, self.length:] = self.n_symbols + 1
        return scored_at_end(tokens, data)


@dataclass(frozen=True)
class Copying(Task):
    """Repeat a whole sequence after a mark (Jelassi et al. 2024, arXiv:2402.01032).

    With mark `|`, a sequence of three symbols and its targets are

        c a b | c a
              c a b

    Tokens 0 … n_symbols − 1 are the symbols, n_symbols is the mark.

    Args:
        length: symbols to copy.
        n_symbols: distinct symbols.
    """

    length: int = 64
    n_symbols: int = 26
    difficulty = "length"

    @property
    def vocab_size(self) -> int:
        """The n_symbols symbols and the mark."""
        return self.n_symbols + 1

    @property
    def chance(self) -> float:
        """The accuracy of guessing one symbol: 1 / n_symbols."""
        return 1 / self.n_symbols

    def _sample(self, batch: int, generator: Generator) -> Examples:
        symbols = randint(self.n_symbols, (batch, self.length), generator)
        mark = torch.full_like(symbols[:, :1], self.n_symbols)
        return scored_at_end(torch.cat([symbols, mark, symbols[:, :-1]], 1), symbols)
