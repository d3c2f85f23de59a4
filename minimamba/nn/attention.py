"""Causal self-attention as a mixer (Vaswani et al. 2017, arXiv:1706.03762).

    q, k, v = in_proj(x)                  split into heads
    y_t = Σ_{s ≤ t} softmax_s(⟨q_t, k_s⟩ / √d_head) v_s
    output = out_proj(y)

Its cache holds every key and every value: nothing is lost, and the cache grows with the length.
"""

from typing import Literal, NamedTuple, overload

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from minimamba.arguments import as_bool_mask, check_bool, check_count, check_state, refuse
from minimamba.nn.mixer import check_cache_type, check_input, check_step_input
from minimamba.ops.linear import linear_layer, weight_of

ROTARY_BASE = 10000.0
"""The lowest frequency of the rotary position embedding is about 1/ROTARY_BASE per step."""


class KVCache(NamedTuple):
    """The keys and values of all steps so far."""

    keys: Tensor
    """(batch, n_heads, length, d_head), after the rotary position embedding if there is one."""
    values: Tensor
    """(batch, n_heads, length, d_head)."""
    attention_mask: Tensor | None
    """(batch, length), bool, False at padding; None: there was no padding."""


class Attention(nn.Module):
    """Causal multi-head self-attention.

    Args:
        d_model: the number of features.
        n_heads: the number of heads, which share the features evenly.
        rotary: whether queries and keys get a rotary position embedding (Su et al. 2021,
            arXiv:2104.09864). Without it the layer knows no positions, as in Jamba, where the
            Mamba layers provide the order.

    Raises:
        ValueError: if the heads can't share the features evenly.
    """

    def __init__(self, d_model: int, n_heads: int, *, rotary: bool = True) -> None:
        super().__init__()
        check_count("d_model", d_model)
        check_count("n_heads", n_heads)
        check_bool("rotary", rotary)
        multiple = 2 * n_heads if rotary else n_heads
        if d_model % multiple:
            refuse("n_heads", f"a number that divides d_model = {d_model} into equal heads"
                   + (" of an even size" if rotary else ""), n_heads)
        self.d_model = d_model
        self.n_heads = n_heads
        self.rotary = rotary
        self.in_proj = nn.Linear(d_model, 3 * d_model, bias=False)
        self.out_proj = nn.Linear(d_model, d_model, bias=False)

    def init_cache(self, batch: int) -> KVCache:
        """Create the cache of a layer that has seen nothing yet: no keys and no values.

        Args:
            batch: the number of sequences.
        """
        check_count("batch", batch)
        d_head = self.d_model // self.n_heads
        empty = weight_of(self.in_proj).new_zeros(batch, self.n_heads, 0, d_head)
        return KVCache(empty, empty, None)

    @overload
    def forward(self, x: Tensor, cache: KVCache | None = None, *,
                attention_mask: Tensor | None = None,
                return_cache: Literal[False] = False) -> Tensor: ...
    @overload
    def forward(self, x: Tensor, cache: KVCache | None = None, *,
                attention_mask: Tensor | None = None,
                return_cache: Literal[True]) -> tuple[Tensor, KVCache]: ...
    def forward(self, x, cache=None, *, attention_mask=None, return_cache=False):
        """Process all steps at once.

        Args:
            x: (batch, length, d_model).
            cache: what an earlier call returned for the steps before x; None at the start.
            attention_mask: (batch, length), bool or integer: 1 or True where there is a token, 0
                at padding, which stands to the left and takes no position.
            return_cache: whether to return the cache after the last step too.

        Returns:
            (batch, length, d_model); with `return_cache`, a pair of that and a `KVCache`.

        Raises:
            ValueError: naming the argument, what was expected and what was given.
        """
        check_input(x, self.d_model, weight_of(self.in_proj))
        check_bool("return_cache", return_cache)
        if attention_mask is not None:
            attention_mask = as_bool_mask(attention_mask, *x.shape[:2], x.device)
        if cache is not None:
            self._check_cache(cache, len(x))
        queries, cache = self._queries_and_cache(x, cache, attention_mask)
        mask = _causal_mask(x.shape[1], cache)
        # Not a comparison as the argument, which is no bool while PyTorch traces or compiles.
        options = {"is_causal": True} if mask is None and x.shape[1] > 1 else {"attn_mask": mask}
        y = scaled_dot_product_attention(
            queries, cache.keys, cache.values, **options)        # (batch, n_heads, length, d_head)
        output = linear_layer(self.out_proj, y.transpose(1, 2).flatten(2))
        return (output, cache) if return_cache else output

    def step(self, x: Tensor, cache: KVCache) -> tuple[Tensor, KVCache]:
        """Process one step.

        Args:
            x: (batch, d_model).
            cache: that of the steps before; it is not changed.

        Returns:
            The output (batch, d_model), and the cache after this step, longer by one.
        """
        check_step_input(x, self.d_model, weight_of(self.in_proj))
        self._check_cache(cache, len(x))
        output, cache = self(x[:, None], cache, return_cache=True)
        return output[:, 0], cache

    def attention_weights(self, x: Tensor) -> Tensor:
        """Compute how much each step attends to each other one.

        For inspection: `forward` never stores these.

        Args:
            x: (batch, length, d_model).

        Returns:
            (batch, n_heads, length, length): row t holds the weights of step t, which sum to 1.
        """
        check_input(x, self.d_model, weight_of(self.in_proj))
        queries, cache = self._queries_and_cache(x, None, None)
        scores = queries @ cache.keys.mT * queries.shape[-1]**-0.5
        future = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).triu(1)
        return scores.masked_fill(future, -torch.inf).softmax(-1)

    def _queries_and_cache(self, x: Tensor, cache: KVCache | None,
                           attention_mask: Tensor | None) -> tuple[Tensor, KVCache]:
        """The queries of these steps, and the cache after them."""
        qkv = linear_layer(self.in_proj, x).unflatten(2, (3, self.n_heads, -1))
        queries, keys, values = qkv.permute(2, 0, 3, 1, 4)       # (batch, n_heads, length, d_head)
        past = 0 if cache is None else cache.keys.shape[2]
        total = past + x.shape[1]
        position = torch.arange(past, total, device=x.device)
        if attention_mask is not None or (cache is not None and cache.attention_mask is not None):
            masks = [x.new_ones(len(x), length, dtype=torch.bool) if mask is None else mask
                     for mask, length in ((cache.attention_mask if cache else None, past),
                                          (attention_mask, x.shape[1]))]
            attention_mask = torch.cat(masks, 1)
            # Padding takes no position.
            position = (attention_mask.cumsum(1) - 1)[:, None, past:]
        if self.rotary:
            queries = _rotate(queries, position)
            keys = _rotate(keys, position)
        if cache is not None:
            keys = torch.cat([cache.keys, keys], 2)
            values = torch.cat([cache.values, values], 2)
        return queries, KVCache(keys, values, attention_mask)

    def _check_cache(self, cache: KVCache, batch: int) -> None:
        check_cache_type(cache, KVCache, "a KVCache")
        # A cache may be of any length, and keys that have none are refused below.
        past = cache.keys.shape[2] if getattr(cache.keys, "ndim", 0) == 4 else 0
        shape = (batch, self.n_heads, past, self.d_model // self.n_heads)
        for name, state in (("cache.keys", cache.keys), ("cache.values", cache.values)):
            check_state(name, state, shape, "(batch, n_heads, length, d_head)",
                        weight_of(self.in_proj))
        if cache.attention_mask is not None:
            check_state("cache.attention_mask", cache.attention_mask, (batch, past),
                        "(batch, length)", weight_of(self.in_proj), torch.bool)


def _rotate(x: Tensor, position: Tensor) -> Tensor:
    """Apply the rotary position embedding: rotate each pair of features by position × frequency.

    x is (batch, n_heads, length, d_head), position (length,) or (batch, 1, length). The angles are
    computed in float64: float32 resolves an angle of a million radians to a sixteenth only.
    """
    half = x.shape[-1] // 2
    frequency = ROTARY_BASE ** (-torch.arange(half, device=x.device, dtype=torch.float64) / half)
    angle = position[..., None] * frequency                      # (…, length, d_head/2)
    cos = angle.cos().to(x.dtype)
    sin = angle.sin().to(x.dtype)
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)


def _causal_mask(length: int, cache: KVCache) -> Tensor | None:
    """Which cached steps each of the last `length` steps may attend to; None: all before it."""
    total = cache.keys.shape[2]
    is_token = cache.attention_mask
    if is_token is None and length in (1, total):
        return None
    position = torch.arange(total, device=cache.keys.device)
    query_position = position[-length:, None]
    causal = position <= query_position                          # (length, total)
    if is_token is None:
        return causal
    # Padding attends to itself, since a softmax over nothing is NaN; no token attends to padding.
    allowed = causal & is_token[:, None] | (position == query_position)
    return allowed[:, None]                                      # (batch, 1, length, total)
