"""The interface of a synthetic task: what to sample, and one loss and one accuracy for all."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields, replace
from typing import ClassVar, NamedTuple

import torch
from torch import Generator, Tensor
from torch.nn.functional import cross_entropy

from minimamba.arguments import (
    FLOATING,
    can_read_values,
    check_count,
    check_finite,
    check_same_device,
    check_shape,
    check_tensor,
    refuse,
    shape_of,
)

UNSCORED = -100
"""The target of a token that isn't scored: the `ignore_index` of PyTorch's cross entropy."""


class Examples(NamedTuple):
    """A batch of token sequences with the target of each token."""

    tokens: Tensor
    """(batch, length), int64, from 0 to vocab_size − 1: the input of a model."""
    targets: Tensor
    """(batch, length), int64: the correct next token, or UNSCORED."""

    @property
    def scored(self) -> Tensor:
        """(batch, length) of bool: True where there is a target."""
        return self.targets != UNSCORED


def loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the mean cross entropy over the scored tokens.

    Args:
        logits: (batch, length, vocab_size), floating point.
        targets: (batch, length), int64: the correct next token, or UNSCORED.

    Returns:
        A scalar, in nats.

    Raises:
        ValueError: if the shapes don't match, or no token is scored.
    """
    _check(logits, targets)
    return cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=UNSCORED)


def accuracy(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the fraction of scored tokens whose largest logit is that of the target.

    Args:
        logits: (batch, length, vocab_size), floating point.
        targets: (batch, length), int64: the correct next token, or UNSCORED.

    Returns:
        A scalar from 0 to 1.

    Raises:
        ValueError: if the shapes don't match, no token is scored, or the logits are not finite.
    """
    _check(logits, targets)
    if can_read_values(logits):
        check_finite("logits", logits)
    correct = (logits.argmax(-1) == targets).sum()
    return correct / (targets != UNSCORED).sum()


def _check(logits: Tensor, targets: Tensor) -> None:
    check_tensor("logits", logits, FLOATING)
    check_tensor("targets", targets, (torch.int64,))
    if logits.ndim != 3:
        refuse("logits", "shape (batch, length, vocab_size)", shape_of(logits))
    check_shape("targets", targets, tuple(logits.shape[:2]), "(batch, length)")
    check_same_device(logits=logits, targets=targets)
    if not can_read_values(targets):
        return
    scored = targets[targets != UNSCORED]
    if not len(scored):
        refuse("targets", "at least one that is scored", f"{UNSCORED} everywhere")
    if scored.min() < 0 or scored.max() >= logits.shape[2]:
        refuse("targets", f"{UNSCORED}, or tokens from 0 to {logits.shape[2] - 1}",
               f"{scored.min()} to {scored.max()}")


@dataclass(frozen=True)
class Task(ABC):
    """A synthetic task, whose fields (whole numbers from 1 up) say how large it is.

    A subclass defines the fields, `difficulty`, `vocab_size`, `chance` and `_sample`.
    """

    difficulty: ClassVar[str]
    """The name of the field that makes the task harder, such as "length"."""

    def __post_init__(self) -> None:
        for field in fields(self):
            check_count(field.name, getattr(self, field.name))

    @property
    @abstractmethod
    def vocab_size(self) -> int:
        """The number of distinct tokens."""

    @property
    @abstractmethod
    def chance(self) -> float:
        """The accuracy of a model that knows the rules and has read nothing: it picks one of the
        possible answers, always the same."""

    def sample(self, batch: int, generator: Generator) -> Examples:
        """Sample new sequences.

        Args:
            batch: how many sequences.
            generator: the source of randomness. The tensors are made on its device; the same seed
                on the same kind of device gives the same sequences.

        Returns:
            Examples of shape (batch, length of a sequence).

        Raises:
            ValueError: if batch isn't a whole number from 1 up, or the generator isn't one.
        """
        check_count("batch", batch)
        if not isinstance(generator, Generator):
            refuse("generator", "a torch.Generator, such as torch.Generator().manual_seed(0)",
                   type(generator).__name__)
        return self._sample(batch, generator)

    @abstractmethod
    def _sample(self, batch: int, generator: Generator) -> Examples: ...

    def at(self, difficulty: int) -> "Task":
        """Return this task at another difficulty.

        Args:
            difficulty: the new value of the field that `difficulty` names.

        Returns:
            A copy in which that field alone differs.
        """
        return replace(self, **{self.difficulty: difficulty})


def randint(high: int, shape: tuple[int, ...], generator: Generator) -> Tensor:
    """Random int64 from 0 to high − 1."""
    return torch.randint(high, shape, generator=generator, device=generator.device)


def distinct(batch: int, count: int, high: int, generator: Generator) -> Tensor:
    """(batch, count) random int64 from 0 to high − 1, without repetition within a row."""
    order = torch.rand(batch, high, generator=generator, device=generator.device)
    return order.topk(count).indices


def unscored_targets(tokens: Tensor) -> Tensor:
    """Targets of the shape of the tokens, all UNSCORED."""
    return torch.full_like(tokens, UNSCORED)


def scored_at_end(tokens: Tensor, answers: Tensor) -> Examples:
    """Examples in which the (batch, n_queries) answers are the targets of the last tokens."""
    targets = unscored_targets(tokens)
    targets[:, -answers.shape[1]:] = answers
    return Examples(tokens, targets)
