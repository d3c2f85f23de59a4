"""An LSTM as a mixer, to compare with (Hochreiter and Schmidhuber 1997)."""

from typing import Literal, NamedTuple, overload

import torch
from torch import Tensor, nn

from minimamba.arguments import (
    as_bool_mask,
    check_bool,
    check_count,
    check_passes_gradients,
    check_state,
)
from minimamba.nn.mixer import check_cache_type, check_input, check_step_input
from minimamba.ops.linear import linear_layer, weight_of


class LSTMCache(NamedTuple):
    """The state of an LSTM."""

    h: Tensor
    """(batch, d_model), the hidden state."""
    c: Tensor
    """(batch, d_model), the cell state."""


class LSTM(nn.Module):
    """One LSTM layer with d_model cells, and a linear projection of its output.

    Args:
        d_model: the number of features, and of cells.

    Raises:
        ValueError: if d_model is not a positive whole number.
    """

    def __init__(self, d_model: int) -> None:
        super().__init__()
        check_count("d_model", d_model)
        self.d_model = d_model
        self.lstm = nn.LSTM(d_model, d_model, batch_first=True)
        self.out_proj = nn.Linear(d_model, d_model, bias=False)

    def init_cache(self, batch: int) -> LSTMCache:
        """Create the state before the first step: zeros.

        Args:
            batch: the number of sequences.
        """
        check_count("batch", batch)
        weight = weight_of(self.out_proj)
        # Two tensors: whoever writes over the one must not change the other.
        return LSTMCache(*(weight.new_zeros(batch, self.d_model) for _ in range(2)))

    @overload
    def forward(self, x: Tensor, cache: LSTMCache | None = None, *,
                attention_mask: Tensor | None = None,
                return_cache: Literal[False] = False) -> Tensor: ...
    @overload
    def forward(self, x: Tensor, cache: LSTMCache | None = None, *,
                attention_mask: Tensor | None = None,
                return_cache: Literal[True]) -> tuple[Tensor, LSTMCache]: ...
    def forward(self, x, cache=None, *, attention_mask=None, return_cache=False):
        """Process all steps.

        Args:
            x: (batch, length, d_model).
            cache: the state before the first step; zeros if None.
            attention_mask: (batch, length), bool or integer: 1 or True where there is a token, 0
                at padding, which stands to the left and leaves the state as it is.
            return_cache: whether to return the state after the last step too.

        Returns:
            (batch, length, d_model); with `return_cache`, a pair of that and an `LSTMCache`.
        """
        check_input(x, self.d_model, weight_of(self.out_proj))
        check_bool("return_cache", return_cache)
        if cache is None:
            cache = self.init_cache(len(x))
        else:
            self._check_cache(cache, len(x))
        if attention_mask is None:
            y, cache = self._run(x, cache)
        else:
            is_token = as_bool_mask(attention_mask, *x.shape[:2], x.device)
            outputs = []
            for x_t, is_token_t in zip(x.split(1, 1), is_token.split(1, 1), strict=True):
                y_t, after = self._run(x_t, cache)
                cache = LSTMCache(*(torch.where(is_token_t, new, old)
                                    for new, old in zip(after, cache, strict=True)))
                outputs.append(y_t)
            y = torch.cat(outputs, 1)
        output = linear_layer(self.out_proj, y)
        return (output, cache) if return_cache else output

    def step(self, x: Tensor, cache: LSTMCache) -> tuple[Tensor, LSTMCache]:
        """Process one step.

        Args:
            x: (batch, d_model).
            cache: the state before it; it is not changed.

        Returns:
            The output (batch, d_model), and the state after this step.
        """
        check_step_input(x, self.d_model, weight_of(self.out_proj))
        self._check_cache(cache, len(x))
        output, cache = self(x[:, None], cache, return_cache=True)
        return output[:, 0], cache

    def _run(self, x: Tensor, cache: LSTMCache) -> tuple[Tensor, LSTMCache]:
        # PyTorch's LSTM does not take inputs in half precision beside states that are not.
        with torch.autocast(x.device.type, enabled=False):
            y, (h, c) = self.lstm(x.to(cache.h.dtype), (cache.h[None], cache.c[None]))
        return y, LSTMCache(h[0], c[0])

    def _check_cache(self, cache: LSTMCache, batch: int) -> None:
        check_cache_type(cache, LSTMCache, "an LSTMCache")
        for name, state in zip(("cache.h", "cache.c"), cache, strict=True):
            check_state(name, state, (batch, self.d_model), "(batch, d_model)",
                        weight_of(self.out_proj))
            check_passes_gradients(name, state, weight_of(self.out_proj))
