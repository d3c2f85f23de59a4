"""Two registers: remember two things, each overwritten at its own times."""

from dataclasses import dataclass

import torch
from torch import Generator

from minimamba.arguments import check_count
from minimamba.course.tasks.task import Examples, Task, randint, scored_at_end


@dataclass(frozen=True)
class Registers(Task):
    """Recall the last letter and the last digit of a sequence.

    With queries `?` (which letter?) and `#` (which digit?), a sequence and its targets are

        a c b 2 2 1 ? #
                    b 1

    After the first two tokens, one of each type, a token has the type of the one before it with
    probability 0.9. So one register must hold its value through long runs while the other is
    overwritten. Tokens 0 … n_symbols − 1 are letters, the next n_symbols digits, then the queries.

    Args:
        length: tokens before the two queries, at least 2.
        n_symbols: distinct letters, and distinct digits.
    """

    length: int = 64
    n_symbols: int = 8
    difficulty = "length"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("length", self.length, 2)

    @property
    def vocab_size(self) -> int:
        """n_symbols letters, as many digits, and two queries."""
        return 2 * self.n_symbols + 2

    @property
    def chance(self) -> float:
        """The accuracy of guessing one letter and one digit: 1 / n_symbols."""
        return 1 / self.n_symbols

    def _sample(self, batch: int, generator: Generator) -> Examples:
        device = generator.device
        switches = torch.rand(batch, self.length, generator=generator, device=device) < 0.1
        # A random type first and the other one next, so that there is one of each to recall.
        switches[:, 0] = torch.rand(batch, generator=generator, device=device) < 0.5
        switches[:, 1] = True
        is_digit = switches.cumsum(-1) % 2
        symbols = randint(self.n_symbols, (batch, self.length), generator)
        tokens = symbols + self.n_symbols * is_digit
        places = torch.arange(self.length, device=device)
        last = torch.stack([torch.where(is_digit == digit, places, -1).amax(-1)
                            for digit in (0, 1)], -1)
        queries = torch.arange(2 * self.n_symbols, self.vocab_size, device=device)
        return scored_at_end(torch.cat([tokens, queries.expand(batch, 2)], 1),
                             tokens.gather(1, last))
