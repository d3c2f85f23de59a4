"""The interface of a sequence mixer: what a layer of a language model is made of.

A mixer maps a sequence (batch, length, d_model) to another of the same shape, and can do so in
two ways: all steps at once (`forward`), or one step at a time (`step`) with a cache that holds
what it needs to know of the past. Mamba, S6, attention, an LSTM, S4D and an MLP all have it, so
that a model can be built of any of them.
"""

from typing import Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor

from minimamba.arguments import check_shape, check_tensor, refuse, shape_of

Cache = TypeVar("Cache")


@runtime_checkable
class Mixer(Protocol[Cache]):
    """A layer that mixes a sequence along time, in parallel or step by step."""

    def forward(self, x: Tensor, cache: Cache | None = None, *,
                attention_mask: Tensor | None = None,
                return_cache: bool = False) -> Tensor | tuple[Tensor, Cache]:
        """Process all steps at once.

        Args:
            x: (batch, length, d_model), the input sequence.
            cache: what an earlier call returned for the steps before x; None at the start.
            attention_mask: (batch, length), bool or integer: 1 or True where there is a token, 0
                at padding, which stands to the left and leaves the outputs unchanged.
            return_cache: whether to return the cache after the last step too.

        Returns:
            (batch, length, d_model); with `return_cache`, a pair of that and the cache.
        """
        ...

    def step(self, x: Tensor, cache: Cache) -> tuple[Tensor, Cache]:
        """Process one step.

        Args:
            x: (batch, d_model), the input of this step.
            cache: that of the steps before; it is not changed.

        Returns:
            The output (batch, d_model), and the cache after this step.
        """
        ...

    def init_cache(self, batch: int) -> Cache:
        """Create the cache of a layer that has seen nothing yet.

        Args:
            batch: the number of sequences.
        """
        ...


def check_input(x: Tensor, d_model: int) -> None:
    """Check the input of a `forward`.

    Args:
        x: expected to be (batch, length, d_model).
        d_model: the number of features.

    Raises:
        ValueError: for any other shape.
    """
    if x.ndim != 3 or x.shape[2] != d_model:
        refuse("x", f"shape (batch, length, {d_model})", shape_of(x))


def check_step_input(x: Tensor, d_model: int) -> None:
    """Check the input of a `step`.

    Args:
        x: expected to be (batch, d_model).
        d_model: the number of features.

    Raises:
        ValueError: for any other shape.
    """
    if x.ndim != 2 or x.shape[1] != d_model:
        refuse("x", f"shape (batch, {d_model})", shape_of(x))


def as_bool_mask(attention_mask: Tensor, batch: int, length: int) -> Tensor:
    """Check an attention mask and return it as bool.

    Args:
        attention_mask: (batch, length), bool, or integers that are 0 or 1.
        batch: the number of sequences.
        length: the number of steps.

    Returns:
        (batch, length), bool, True where there is a token.

    Raises:
        ValueError: for another shape, dtype or value.
    """
    check_tensor("attention_mask", attention_mask, (torch.bool, torch.int64, torch.int32))
    check_shape("attention_mask", attention_mask, (batch, length), "(batch, length)")
    if attention_mask.dtype == torch.bool:
        return attention_mask
    looks_at_values = attention_mask.device.type == "cpu" and not torch.compiler.is_compiling()
    if looks_at_values and not ((attention_mask == 0) | (attention_mask == 1)).all():
        refuse("attention_mask", "values that are 0 or 1",
               f"{attention_mask.min()} to {attention_mask.max()}")
    return attention_mask.bool()
