"""The interface of a sequence mixer: what a layer of a language model is made of.

A mixer maps a sequence (batch, length, d_model) to another of the same shape, and can do so in
two ways: all steps at once (`forward`), or one step at a time (`step`) with a cache that holds
what it needs to know of the past. Mamba, Mamba-2, S6, attention, an LSTM, S4D and an MLP all have
it, so that a model can be built of any of them.
"""

from typing import Protocol, TypeVar, runtime_checkable

from torch import Tensor

from minimamba.arguments import check_features, refuse

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
                at padding, which stands to the left and changes neither the outputs of the tokens
                nor the cache.
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


def check_input(x: Tensor, d_model: int, like: Tensor) -> None:
    """Check the input of a `forward`.

    Args:
        x: expected to be (batch, length, d_model), of finite numbers.
        d_model: the number of features.
        like: a weight of the layer, for its dtype and device.

    Raises:
        ValueError: for anything else.
    """
    check_features("x", x, "batch, length", d_model, like)


def check_step_input(x: Tensor, d_model: int, like: Tensor) -> None:
    """Check the input of a `step`.

    Args:
        x: expected to be (batch, d_model), of finite numbers.
        d_model: the number of features.
        like: a weight of the layer, for its dtype and device.

    Raises:
        ValueError: for anything else.
    """
    check_features("x", x, "batch", d_model, like)


def check_cache_type(cache: object, kind: type, meaning: str) -> None:
    """Check that a cache is of the type that a layer creates.

    Args:
        cache: what was given.
        kind: the type.
        meaning: the type with its article, for the message.

    Raises:
        ValueError: if it is anything else, such as the cache of another kind of layer.
    """
    if not isinstance(cache, kind):
        refuse("cache", f"{meaning}, such as `init_cache` creates", type(cache).__name__)
