"""MambaLM: tokens in, scores for the next token out (Gu and Dao 2023, section 4.2).

An embedding, n_layer times x + Mamba(RMSNorm(x)), a last norm, and a head that shares the
embedding's weights. A pattern, one letter a layer, may put others in Mamba's place:

| letter | x + … (RMSNorm(x)) | | |
|---|---|---|---|
| M | the Mamba block | 6 | S6 without it |
| A | attention | 4 | S4D |
| F | a gated MLP | L | an LSTM |

"AFAF" is a Transformer of two layers, "MFMFMFMFAFMFMFMF" one of Jamba's blocks (Lieber et al.
2024, arXiv:2403.19887), its mixture of experts left out.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from math import sqrt
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from minimamba.arguments import (
    check_count,
    check_positive,
    check_shape,
    check_tensor,
    refuse,
    shape_of,
)
from minimamba.nn.attention import Attention
from minimamba.nn.layers import LSTM, MLP, SSM
from minimamba.nn.mamba import Mamba
from minimamba.nn.s6 import S6
from minimamba.ops import decode
from minimamba.ops.linear import apply
from minimamba.s4.layers import S4D

Memory = Any
"""What a layer remembers: a `block.Memory`, an `attention.KeysValues`, or what its kind has."""


@dataclass(frozen=True)
class MambaConfig:
    """The sizes of a model. The defaults are those of the published models, of which the
    smallest has d_model 768 and 24 layers."""

    vocab_size: int
    d_model: int = 768
    n_layer: int = 24
    d_state: int = 16
    d_conv: int = 4
    expand: int = 2
    dt_rank: int | str = "auto"
    """How many numbers Δ is projected through; "auto": d_model/16, rounded up. For "6" layers also
    "broadcast", as in `S6`."""
    bias: bool = False
    """Of the projections into and out of a block."""
    conv_bias: bool = True
    tie_embeddings: bool = True
    norm_epsilon: float = 1e-5
    residual_in_fp32: bool = True
    """Whether what goes around the blocks is kept in float32, whatever the weights are in."""
    layers: str | None = None
    """One letter a layer, which says n_layer too; all are Mamba's if None."""
    n_heads: int = 4
    """Of attention."""
    rotary: bool = True
    """Whether attention knows positions."""
    selective: tuple[str, ...] = ("delta", "B", "C")
    """Which of "delta", "B" and "C" depend on the input in "6" layers, as in `S6`."""
    eos_token_id: int | None = None

    def __post_init__(self) -> None:
        for name in ("vocab_size", "d_model", "n_layer", "d_state", "d_conv", "expand"):
            check_count(name, getattr(self, name))
        if self.dt_rank is None:
            object.__setattr__(self, "dt_rank", "auto")
        if self.dt_rank not in ("auto", "broadcast"):
            check_count("dt_rank", self.dt_rank)
        object.__setattr__(self, "selective", tuple(self.selective))  # a list, if from JSON
        check_positive("norm_epsilon", self.norm_epsilon, "a number")
        if self.layers is not None:
            known = isinstance(self.layers, str) and set(self.layers) <= set(MIXERS)
            if not known or not self.layers:
                refuse("layers", f"letters among {''.join(MIXERS)}", repr(self.layers))
            object.__setattr__(self, "n_layer", len(self.layers))

    @property
    def pattern(self) -> str:
        """One letter a layer."""
        return self.layers or "M" * self.n_layer


MIXERS: dict[str, Callable[[MambaConfig], nn.Module]] = {
    "M": lambda c: Mamba(c.d_model, c.d_state, c.d_conv, c.expand, _dt_rank(c), bias=c.bias,
                         conv_bias=c.conv_bias),
    "A": lambda c: Attention(c.d_model, c.n_heads, rotary=c.rotary),
    "F": lambda c: MLP(c.d_model),
    "L": lambda c: LSTM(c.d_model),
    "6": lambda c: SSM(S6(c.d_model, c.d_state, dt_rank=_dt_rank(c), selective=c.selective),
                     c.d_model),
    "4": lambda c: SSM(S4D(c.d_model, c.d_state), c.d_model),
}
"""What each letter of a pattern makes."""


def _dt_rank(config: MambaConfig) -> int | str | None:
    return None if config.dt_rank == "auto" else config.dt_rank


class Layer(nn.Module):
    """x + mixer(RMSNorm(x))."""

    def __init__(self, config: MambaConfig, letter: str) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(config.d_model, config.norm_epsilon)
        self.mixer = MIXERS[letter](config)
        self.wide = config.residual_in_fp32

    def forward(self, x: Tensor, memory: Memory | None, real: Tensor | None, keep: bool,
                method: str) -> tuple[Tensor, Memory | None]:
        """With `keep`, also the memory after the last step."""
        y = self.mixer(self._normed(x), memory, real=real, return_memory=keep, method=method)
        y, memory = y if keep else (y, None)
        return self._around(x) + y, memory

    def step(self, x: Tensor, added: Tensor, memory: Memory,
             in_place: bool) -> tuple[Tensor, Tensor, Memory]:
        """x, to which the layer before adds `added`: their sum, what this one adds, its memory."""
        x, normed = add_norm(self.norm, self._around(x), added)
        how = {"in_place": True} if in_place else {}             # which Mamba's block alone can
        added, memory = self.mixer.step(normed, memory, **how)
        return x, added, memory

    def _normed(self, x: Tensor) -> Tensor:
        return self.norm(x.to(self.norm.weight.dtype))

    def _around(self, x: Tensor) -> Tensor:
        return x.to(torch.promote_types(x.dtype, torch.float32)) if self.wide else x


def add_norm(norm: nn.RMSNorm, x: Tensor, added: Tensor) -> tuple[Tensor, Tensor]:
    """x + added, and its norm, in the precision of the norm's weights."""
    if decode.runs(added):
        return decode.add_norm(x, added, norm.weight, norm.eps)
    x = x + added
    return x, norm(x.to(norm.weight.dtype))


class MambaLM(nn.Module):
    """A language model; `generation` writes with it, `checkpoint` reads and writes its weights.

    New weights are drawn as the official code draws them: embeddings with standard deviation
    0.02, the projections out of the blocks smaller by √n_layer, since all of them add up.
    """

    def __init__(self, config: MambaConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.d_model)
        self.layers = nn.ModuleList(Layer(config, letter) for letter in config.pattern)
        self.norm = nn.RMSNorm(config.d_model, config.norm_epsilon)
        self.head = nn.Linear(config.d_model, config.vocab_size, bias=False)
        nn.init.normal_(self.embedding.weight, std=0.02)
        with torch.no_grad():
            for layer in self.layers:
                layer.mixer.out_proj.weight /= sqrt(config.n_layer)
        if config.tie_embeddings:
            self.head.weight = self.embedding.weight

    def empty(self, batch: int) -> list[Memory]:
        """What the layers remember before the first token."""
        return [layer.mixer.empty(batch) for layer in self.layers]

    def forward(self, tokens: Tensor, memory: list[Memory] | None = None, *,
                real: Tensor | None = None, seq_idx: Tensor | None = None,
                return_memory: bool = False,
                method: str = "auto") -> Tensor | tuple[Tensor, list[Memory]]:
        """Scores for the token after each.

        Args:
            tokens: (batch, length), int64, from 0 to vocab_size − 1.
            memory: what came before, as an earlier call returned it; nothing if None.
            real: (batch, length) of bool, False at padding to the left, which changes nothing.
            seq_idx: (batch, length), whole numbers: where it changes, another sequence begins,
                which sees nothing of those before it. Not with a memory or with padding.
            return_memory: whether to give the memory after the last token too.
            method: as in `minimamba.selective_scan`.

        Returns:
            (batch, length, vocab_size); with `return_memory`, (scores, memory).

        Raises:
            ValueError: naming the argument, what was expected and what came.
        """
        if seq_idx is not None:
            self._check_tokens(tokens, 2, "(batch, length)")
            if memory is not None or real is not None or return_memory:
                refuse("seq_idx", "no memory and no padding beside it", "one of them")
            check_shape("seq_idx", seq_idx, tuple(tokens.shape), "(batch, length)")
            rows, starts = _apart(tokens, seq_idx)
            return _together(self(rows, method=method), starts, tokens.shape)
        x, after = self._read(tokens, memory, real, return_memory, method)
        scores = self.scores(x)
        return (scores, after) if return_memory else scores

    def features(self, tokens: Tensor, memory: list[Memory] | None = None, *,
                 real: Tensor | None = None, method: str = "auto") -> tuple[Tensor, list[Memory]]:
        """What the head makes scores of, (batch, length, d_model), and the memory after it; for
        who wants the scores of some tokens only (`scores`)."""
        return self._read(tokens, memory, real, True, method)

    def _read(self, tokens: Tensor, memory: list[Memory] | None, real: Tensor | None, keep: bool,
              method: str) -> tuple[Tensor, list[Memory | None]]:
        self._check_tokens(tokens, 2, "(batch, length)")
        if real is not None:
            _check_real(real, tokens)
        x, after = self.embedding(tokens), []
        for layer, before in zip(self.layers, self._checked(memory), strict=True):
            x, kept = layer(x, before, real, keep, method)
            after.append(kept)
        return x, after

    def step(self, tokens: Tensor, memory: list[Memory], *, compiled: bool = False,
             in_place: bool = False) -> tuple[Tensor, list[Memory]]:
        """One token a sequence, (batch,): scores (batch, vocab_size), and the memory after it.

        With `compiled`, through `torch.compile`, for which a CPU needs a C++ compiler: some
        seconds at the first call, faster afterwards (see `linear`).
        With `in_place` the new memory is written over the old (`replay` needs that); for a stack of
        Mamba blocks alone.
        """
        self._check_tokens(tokens, 1, "(batch,)")
        if in_place and set(self.config.pattern) != {"M"}:
            refuse("in_place", "False for other layers than Mamba's", in_place)
        one, last = (_compiled(f) if compiled else f for f in (Layer.step, MambaLM._last))
        x, after = self.embedding(tokens), []
        added = torch.zeros_like(x)
        for layer, before in zip(self.layers, self._checked(memory), strict=True):
            x, added, kept = one(layer, x, added, before, in_place)
            after.append(kept)
        return last(self, x, added), after

    def _last(self, x: Tensor, added: Tensor) -> Tensor:
        return apply(self.head, add_norm(self.norm, x, added)[1])

    def scores(self, x: Tensor) -> Tensor:
        """The head: `features` (…, d_model) to (…, vocab_size)."""
        return apply(self.head, self.norm(x.to(self.norm.weight.dtype)))

    def _checked(self, memory: list[Memory] | None) -> list[Memory | None]:
        if memory is None:
            return [None] * len(self.layers)
        if len(memory) != len(self.layers):
            refuse("memory", f"one of {len(self.layers)} layers", f"one of {len(memory)}")
        return memory

    def _check_tokens(self, tokens: Tensor, axes: int, meaning: str) -> None:
        if not isinstance(tokens, Tensor) or tokens.dtype != torch.int64:
            refuse("tokens", "a torch.Tensor of dtype int64", getattr(
                tokens, "dtype", type(tokens).__name__))
        if tokens.ndim != axes or tokens.numel() == 0:
            refuse("tokens", f"shape {meaning}, not empty", shape_of(tokens))
        if tokens.device.type == "cpu" and not torch.compiler.is_compiling() and (
                tokens.min() < 0 or tokens.max() >= self.config.vocab_size):
            refuse("tokens", f"numbers from 0 to {self.config.vocab_size - 1}",
                   f"{tokens.min()} to {tokens.max()}")


def _check_real(real: Tensor, tokens: Tensor) -> None:
    """Padding stands to the left: once there is something, there is something to the end."""
    check_tensor("real", real, (torch.bool,))
    check_shape("real", real, tuple(tokens.shape), "(batch, length)")
    if real.device.type == "cpu" and not torch.compiler.is_compiling() and (
            real[:, :-1] & ~real[:, 1:]).any():
        refuse("real", "padding to the left alone", "some after a token")


@cache
def _compiled(function: Callable) -> Callable:
    """Once for all layers of a kind: they differ in their weights alone."""
    print(f"minimamba: compiling {function.__qualname__}; some seconds, once.", file=sys.stderr,
          flush=True)
    return torch.compile(function)


def _apart(tokens: Tensor, seq_idx: Tensor) -> tuple[Tensor, Tensor]:
    """Each sequence of a packed batch in a row of its own, filled up at the end, where nothing
    looks back from; and the places in the flattened batch at which they start, and the end."""
    changes = torch.ones_like(seq_idx, dtype=torch.bool)
    changes[:, 1:] = seq_idx[:, 1:] != seq_idx[:, :-1]
    starts = pad(changes.flatten().nonzero()[:, 0], (0, 1), value=tokens.numel())
    parts = tokens.flatten().tensor_split(starts[1:-1].cpu())
    return nn.utils.rnn.pad_sequence(parts, batch_first=True), starts


def _together(rows: Tensor, starts: Tensor, shape: torch.Size) -> Tensor:
    """And back: (sequences, longest, …) to (*shape, …)."""
    inside = torch.arange(rows.shape[1], device=rows.device) < starts.diff()[:, None]
    return rows[inside].unflatten(0, shape)
