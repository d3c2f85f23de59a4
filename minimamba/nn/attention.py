"""Causal attention with the face of the Mamba block (Vaswani et al. 2017, arXiv:1706.03762).

    q, k, v = u W_in                      split into heads
    y_t = Σ_{s ≤ t} softmax_s(⟨q_t, k_s⟩ / √d_head) v_s
    out = y W_out

What it keeps of the past is every key and every value: nothing is lost, and the memory grows.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from minimamba.arguments import check_count, check_shape, check_tensor, refuse, shape_of
from minimamba.ops.linear import apply

BASE = 10000.0
"""The slowest pair of rotary positions turns by about 1/BASE a step."""


class KeysValues(NamedTuple):
    """All that attention keeps of what it has read: as long as that was."""

    keys: Tensor
    """(batch, n_heads, length, d_head), turned by their positions if these are rotary."""
    values: Tensor
    """(batch, n_heads, length, d_head)."""
    real: Tensor | None
    """(batch, length) of bool, False at padding; None: there was none."""


class Attention(nn.Module):
    """(batch, length, d_model) to the same.

    Args:
        d_model: features outside. n_heads: heads, which share them evenly.
        rotary: whether q and k are turned by their positions (Su et al. 2021,
            arXiv:2104.09864), so that a score depends on how far back a step is. Without, an
            order can come from other layers alone, as in Jamba.
    """

    def __init__(self, d_model: int, n_heads: int, *, rotary: bool = True) -> None:
        super().__init__()
        for name, size in (("d_model", d_model), ("n_heads", n_heads)):
            check_count(name, size)
        even = 2 if rotary else 1
        if d_model % (even * n_heads):
            refuse("n_heads", f"a number that divides d_model = {d_model} into equal heads"
                   + (" of an even size" if rotary else ""), n_heads)
        self.d_model, self.n_heads, self.rotary = d_model, n_heads, rotary
        self.in_proj = nn.Linear(d_model, 3 * d_model, bias=False)
        self.out_proj = nn.Linear(d_model, d_model, bias=False)

    def empty(self, batch: int) -> KeysValues:
        """The memory of a layer that has read nothing."""
        none = self.in_proj.weight.new_zeros(batch, self.n_heads, 0, self.d_model // self.n_heads)
        return KeysValues(none, none, None)

    def forward(self, u: Tensor, memory: KeysValues | None = None, *, real: Tensor | None = None,
                return_memory: bool = False,
                method: str = "auto") -> Tensor | tuple[Tensor, KeysValues]:
        """All steps at once; arguments as in `block.Mamba`, of which `method` changes nothing."""
        if u.ndim != 3 or u.shape[2] != self.d_model:
            refuse("u", f"shape (batch, length, {self.d_model})", shape_of(u))
        if real is not None:
            check_tensor("real", real, (torch.bool,))
            check_shape("real", real, tuple(u.shape[:2]), "(batch, length)")
        q, memory = self._looked_up(u, memory, real)
        mask = _mask(u.shape[1], memory)
        y = scaled_dot_product_attention(
            q, memory.keys, memory.values, mask,
            is_causal=mask is None and u.shape[1] > 1)           # (batch, n_heads, length, d_head)
        out = apply(self.out_proj, y.transpose(1, 2).flatten(2))
        return (out, memory) if return_memory else out

    def step(self, u: Tensor, memory: KeysValues) -> tuple[Tensor, KeysValues]:
        """One step, (batch, d_model) to the same, and the memory after it, one longer."""
        if u.ndim != 2 or u.shape[1] != self.d_model:
            refuse("u", f"shape (batch, {self.d_model})", shape_of(u))
        out, memory = self(u[:, None], memory, return_memory=True)
        return out[:, 0], memory

    def looks(self, u: Tensor) -> Tensor:
        """(batch, n_heads, length, length): how much each step takes from each; rows sum to 1.
        To be looked at: `forward` never stores it."""
        q, memory = self._looked_up(u, None, None)
        scores = q @ memory.keys.mT * q.shape[-1]**-0.5
        ahead = torch.ones(u.shape[1], u.shape[1], dtype=torch.bool, device=u.device).triu(1)
        return scores.masked_fill(ahead, -torch.inf).softmax(-1)

    def _looked_up(self, u: Tensor, memory: KeysValues | None,
                   real: Tensor | None) -> tuple[Tensor, KeysValues]:
        """The queries of these steps, and the memory after them."""
        q, k, v = apply(self.in_proj, u).unflatten(2, (3, self.n_heads, -1)).permute(2, 0, 3, 1, 4)
        before = 0 if memory is None else memory.keys.shape[2]
        if self.rotary:
            q, k = _turned(q, before), _turned(k, before)
        if memory is None:
            return q, KeysValues(k, v, real)
        check_shape("memory.keys", memory.keys, (*k.shape[:2], before, k.shape[3]),
                    "(batch, n_heads, length, d_head)")
        check_shape("memory.values", memory.values, tuple(memory.keys.shape), "that of the keys")
        if real is not None or memory.real is not None:
            real = torch.cat([u.new_ones(len(u), length, dtype=torch.bool) if given is None
                              else given for given, length in
                              ((memory.real, before), (real, u.shape[1]))], 1)
        return q, KeysValues(torch.cat([memory.keys, k], 2), torch.cat([memory.values, v], 2), real)


def _turned(x: Tensor, first: int) -> Tensor:
    """Each pair of features turned by position × its frequency: (…, length, d_head) to the same.

    The angles in float64: float32 knows a million radians to a sixteenth only.
    """
    half = x.shape[-1] // 2
    frequency = BASE ** (-torch.arange(half, device=x.device, dtype=torch.float64) / half)
    place = torch.arange(first, first + x.shape[-2], device=x.device, dtype=torch.float64)
    angle = place[:, None] * frequency                           # (length, d_head/2)
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)


def _mask(length: int, memory: KeysValues) -> Tensor | None:
    """Which of the memory each of its last `length` steps may look at; None: all before it."""
    total, real = memory.keys.shape[2], memory.real
    if real is None and length in (1, total):
        return None
    place = torch.arange(total, device=memory.keys.device)
    mine = place[-length:, None]
    if real is None:
        return place <= mine                                     # (length, total)
    # Padding sees itself, since a softmax over nothing is no number; nothing real sees padding.
    return ((place <= mine) & real[:, None] | (place == mine))[:, None]  # (batch, 1, length, total)
