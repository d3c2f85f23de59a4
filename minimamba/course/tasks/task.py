"""What every made-up task has: tokens, what should follow each, a vocabulary, chance, a loss."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields, replace
from inspect import getdoc
from typing import ClassVar, NamedTuple

import torch
from torch import Generator, Tensor
from torch.nn.functional import cross_entropy

from minimamba.arguments import check_count, check_shape, refuse, shape_of

UNSCORED = -100
"""The target where nothing is asked: the one that PyTorch's cross entropy passes over."""


class Examples(NamedTuple):
    """Sequences, and what is asked of them."""

    tokens: Tensor
    """(batch, length), int64, from 0 to vocabulary − 1."""
    targets: Tensor
    """(batch, length), int64: the token that should follow each, or UNSCORED."""

    @property
    def scored(self) -> Tensor:
        """(batch, length) of bool: where something is asked."""
        return self.targets != UNSCORED


def loss(scores: Tensor, targets: Tensor) -> Tensor:
    """The mean cross entropy, in nats, over what is asked: (batch, length, vocabulary) scores
    and (batch, length) targets."""
    _check_scores(scores, targets)
    return cross_entropy(scores.flatten(0, 1), targets.flatten(), ignore_index=UNSCORED)


def accuracy(scores: Tensor, targets: Tensor) -> Tensor:
    """The share of what is asked whose best score is right; shapes as in `loss`."""
    _check_scores(scores, targets)
    right = (scores.argmax(-1) == targets).sum()
    return right / (targets != UNSCORED).sum()


def _check_scores(scores: Tensor, targets: Tensor) -> None:
    if scores.ndim != 3:
        refuse("scores", "shape (batch, length, vocabulary)", shape_of(scores))
    check_shape("targets", targets, tuple(scores.shape[:2]), "(batch, length)")


@dataclass(frozen=True)
class Task(ABC):
    """What all tasks have. The fields of each are whole numbers from 1 up."""

    difficulty: ClassVar[str]
    """The field that makes it harder."""

    def __post_init__(self) -> None:
        for field in fields(self):
            check_count(field.name, getattr(self, field.name))

    @property
    @abstractmethod
    def vocabulary(self) -> int:
        """How many tokens there are."""

    @property
    @abstractmethod
    def chance(self) -> float:
        """The share that is right by guessing, of the answers that there can be, always the
        same one: what a model reaches that knows the rules and has read nothing."""

    def draw(self, batch: int, generator: Generator) -> Examples:
        """`batch` new sequences."""
        check_count("batch", batch)
        return self._draw(batch, generator)

    @abstractmethod
    def _draw(self, batch: int, generator: Generator) -> Examples: ...

    @property
    def description(self) -> str:
        """What is asked, in a few sentences."""
        return " ".join(getdoc(type(self)).split("\n\n")[0].split())

    def at(self, difficulty: int) -> "Task":
        """The same task, harder or easier."""
        return replace(self, **{self.difficulty: difficulty})


def randint(below: int, shape: tuple[int, ...], generator: Generator) -> Tensor:
    """Numbers from 0 to below − 1, int64."""
    return torch.randint(below, shape, generator=generator, device=generator.device)


def different(batch: int, count: int, below: int, generator: Generator) -> Tensor:
    """(batch, count), in each row different numbers from 0 to below − 1."""
    order = torch.rand(batch, below, generator=generator, device=generator.device)
    return order.topk(count).indices


def nothing_asked(tokens: Tensor) -> Tensor:
    """Targets to write answers into."""
    return torch.full_like(tokens, UNSCORED)


def ending_in(tokens: Tensor, answers: Tensor) -> Examples:
    """(batch, questions) answers to the last tokens."""
    targets = nothing_asked(tokens)
    targets[:, -answers.shape[1]:] = answers
    return Examples(tokens, targets)
