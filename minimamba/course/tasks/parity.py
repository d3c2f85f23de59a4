"""Count the ones, modulo two: a state that must turn over, and not fade."""

from dataclasses import dataclass

from torch import Generator

from minimamba.course.tasks.task import Examples, Task, randint


@dataclass(frozen=True)
class Parity(Task):
    """After each bit, say whether the number of ones so far is odd."""

    length: int = 64
    difficulty = "length"

    vocabulary = 2
    chance = 0.5

    def _draw(self, batch: int, generator: Generator) -> Examples:
        bits = randint(2, (batch, self.length), generator)
        return Examples(bits, bits.cumsum(-1) % 2)
