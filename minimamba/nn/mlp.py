"""A gated MLP as a mixer: it mixes features, not steps, and so needs no cache."""

from typing import Literal, overload

from torch import Tensor, nn
from torch.nn.functional import silu

from minimamba.arguments import as_bool_mask, check_bool, check_count, check_features, refuse
from minimamba.nn.mixer import check_cache_type, check_step_input
from minimamba.ops.linear import linear_layer, weight_of


class MLP(nn.Module):
    """A SwiGLU MLP, out_proj(silu(a) · b) with a, b = in_proj(x) (Shazeer 2020, arXiv:2002.05202).

    Its inner width is 8/3 d_model, so that it and attention together have the 12 d_model²
    parameters of a Transformer layer, as many as two Mamba blocks.

    Args:
        d_model: the number of features.

    Raises:
        ValueError: if d_model is not a positive whole number.
    """

    def __init__(self, d_model: int) -> None:
        super().__init__()
        check_count("d_model", d_model)
        self.d_model = d_model
        d_inner = 8 * -(-d_model // 3)
        self.in_proj = nn.Linear(d_model, 2 * d_inner, bias=False)
        self.out_proj = nn.Linear(d_inner, d_model, bias=False)

    def init_cache(self, batch: int) -> tuple[()]:
        """Create the cache, which is empty.

        Args:
            batch: the number of sequences.
        """
        check_count("batch", batch)
        return ()

    @overload
    def forward(self, x: Tensor, cache: tuple[()] | None = None, *,
                attention_mask: Tensor | None = None,
                return_cache: Literal[False] = False) -> Tensor: ...
    @overload
    def forward(self, x: Tensor, cache: tuple[()] | None = None, *,
                attention_mask: Tensor | None = None,
                return_cache: Literal[True]) -> tuple[Tensor, tuple[()]]: ...
    def forward(self, x, cache=None, *, attention_mask=None, return_cache=False):
        """Process all steps, each by itself.

        Args:
            x: (batch, length, d_model).
            cache: () or None; it has no effect.
            attention_mask: (batch, length), bool or integer; it has no effect.
            return_cache: whether to return the empty cache too.

        Returns:
            (batch, length, d_model); with `return_cache`, a pair of that and ().
        """
        # An expert of a mixture may get no token.
        check_features("x", x, "batch, length", self.d_model, weight_of(self.in_proj),
                       may_be_empty=True)
        check_bool("return_cache", return_cache)
        if cache is not None:
            _check_cache(cache)
        if attention_mask is not None:
            as_bool_mask(attention_mask, *x.shape[:2], x.device)
        output = self._mlp(x)
        return (output, ()) if return_cache else output

    def step(self, x: Tensor, cache: tuple[()]) -> tuple[Tensor, tuple[()]]:
        """Process one step.

        Args:
            x: (batch, d_model).
            cache: (); it has no effect.

        Returns:
            The output (batch, d_model), and ().
        """
        check_step_input(x, self.d_model, weight_of(self.in_proj))
        _check_cache(cache)
        return self._mlp(x), ()

    def _mlp(self, x: Tensor) -> Tensor:
        a, b = linear_layer(self.in_proj, x).chunk(2, -1)
        return linear_layer(self.out_proj, silu(a) * b)


def _check_cache(cache: tuple[()]) -> None:
    check_cache_type(cache, tuple, "()")
    if cache:
        refuse("cache", "(), such as `init_cache` creates", type(cache).__name__)
