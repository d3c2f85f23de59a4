"""Parity of a bit string: the smallest task that needs a state which changes sign."""

from dataclasses import dataclass

from torch import Generator

from minimamba.course.tasks.task import Examples, Task, randint


@dataclass(frozen=True)
class Parity(Task):
    """Say after each bit whether the number of ones so far is odd.

    A sequence and its targets are

        1 0 1 1
        1 1 0 1

    Args:
        length: bits in a sequence.
    """

    length: int = 64
    difficulty = "length"

    vocab_size = 2
    chance = 0.5

    def _sample(self, batch: int, generator: Generator) -> Examples:
        bits = randint(2, (batch, self.length), generator)
        return Examples(bits, bits.cumsum(-1) % 2)
