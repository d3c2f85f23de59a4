"""The sizes of a language model."""

from dataclasses import dataclass
from reprlib import repr as shorten
from typing import Literal

from minimamba.arguments import check_bool, check_count, check_positive, refuse
from minimamba.ssd.checks import NO_LIMIT, check_dt_limit

LAYER_TYPES = {"M": "Mamba", "2": "Mamba-2", "A": "attention", "F": "gated MLP", "L": "LSTM",
               "6": "S6", "4": "S4D"}
"""What each letter of a layer pattern stands for."""


@dataclass(frozen=True)
class MambaConfig:
    """The sizes of a `MambaLM`. The defaults are those of the published 130M model.

    Args:
        vocab_size: the number of tokens, padding of the vocabulary included.
        d_model: the number of features.
        n_layer: the number of layers; 24 if neither it nor `layers` is given.
        d_state: the state dimension N, for which Mamba-2 is mostly given 64 to 256.
        d_conv: the width of a block's convolution.
        expand: d_inner / d_model.
        dt_rank: the rank of Δ's projection; "auto" is d_model / 16, rounded up.
        bias: whether the projections into and out of a block have a bias.
        conv_bias: whether the convolution has one.
        tie_embeddings: whether lm_head shares the embedding's weight.
        norm_epsilon: added to the mean square inside each RMS norm, that of a Mamba-2 block too.
        residual_in_fp32: whether the residual stream is kept in float32, whatever the dtype of
            the parameters.
        layers: the layer pattern, one letter per layer (`LAYER_TYPES`), such as "MMMAMMMM" for
            one attention layer in eight; all are Mamba blocks if None.
        n_heads: the number of heads of an attention layer.
        rotary: whether attention has a rotary position embedding.
        selective: which of "delta", "B" and "C" depend on the input, in S6 layers.
        head_dim: channels per head of a Mamba-2 block.
        n_groups: the number of groups of heads that share B and C, in a Mamba-2 block.
        dt_limit: the smallest and the largest Δ of a Mamba-2 block; no limits if None.
        eos_token_id: the token, or tokens, that end a text; None if there is none.

    Raises:
        ValueError: naming the argument, what was expected and what was given.

    Example:
        >>> MambaConfig(vocab_size=256, d_model=64, layers="MMMAMMMM").n_layer
        8
    """

    vocab_size: int = 50280
    d_model: int = 768
    n_layer: int | None = None
    d_state: int = 16
    d_conv: int = 4
    expand: int = 2
    dt_rank: int | Literal["auto", "broadcast"] = "auto"
    bias: bool = False
    conv_bias: bool = True
    tie_embeddings: bool = True
    norm_epsilon: float = 1e-5
    residual_in_fp32: bool = True
    layers: str | None = None
    n_heads: int = 4
    rotary: bool = True
    selective: tuple[str, ...] = ("delta", "B", "C")
    head_dim: int = 64
    n_groups: int = 1
    dt_limit: tuple[float, float] | None = None
    eos_token_id: int | tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        for name in ("vocab_size", "d_model", "d_state", "d_conv", "expand", "n_heads",
                     "head_dim", "n_groups"):
            check_count(name, getattr(self, name))
        if not isinstance(self.dt_rank, str) or self.dt_rank not in ("auto", "broadcast"):
            check_count("dt_rank", self.dt_rank)
        for name in ("bias", "conv_bias", "tie_embeddings", "residual_in_fp32", "rotary"):
            check_bool(name, getattr(self, name))
        check_positive("norm_epsilon", self.norm_epsilon, "a number")
        if (not isinstance(self.selective, (tuple, list))
                or not all(name in ("delta", "B", "C") for name in self.selective)):
            refuse("selective", "names among 'delta', 'B' and 'C'", repr(self.selective))
        # A tuple compares equal to what a config.json, which has lists, gives back.
        object.__setattr__(self, "selective", tuple(self.selective))
        if self.dt_limit is not None:
            dt_limit = tuple(check_dt_limit(self.dt_limit))
            object.__setattr__(self, "dt_limit", None if dt_limit == NO_LIMIT else dt_limit)
        if isinstance(self.eos_token_id, list):
            object.__setattr__(self, "eos_token_id", tuple(self.eos_token_id))
        end_ids = () if self.eos_token_id is None else self.eos_token_id
        for token_id in end_ids if isinstance(end_ids, tuple) else (end_ids,):
            check_count("eos_token_id", token_id, 0)
            if token_id >= self.vocab_size:
                refuse("eos_token_id", f"a token below vocab_size = {self.vocab_size}", token_id)
        if self.n_layer is not None:
            check_count("n_layer", self.n_layer)
        if self.layers is None:
            object.__setattr__(self, "n_layer", self.n_layer or 24)
        else:
            self._check_layers()
            object.__setattr__(self, "n_layer", len(self.layers))
        letters = self.layers or "M"
        if self.dt_rank == "broadcast" and "M" in letters:
            refuse("dt_rank", "a whole number from 1 up or 'auto', of a Mamba block", "'broadcast'")
        if "2" in letters:
            self._check_heads()

    def _check_layers(self) -> None:
        if not isinstance(self.layers, str) or not self.layers \
                or not set(self.layers) <= set(LAYER_TYPES):
            known = ", ".join(f"{letter} ({kind})" for letter, kind in LAYER_TYPES.items())
            refuse("layers", f"letters among {known}", shorten(self.layers))
        if self.n_layer not in (None, len(self.layers)):
            refuse("n_layer", f"{len(self.layers)}, the number of letters in layers = "
                   f"{shorten(self.layers)}, or None", self.n_layer)

    def _check_heads(self) -> None:
        d_inner = self.expand * self.d_model
        if d_inner % self.head_dim:
            refuse("head_dim", f"a divisor of expand · d_model = {d_inner}, in a Mamba-2 block",
                   self.head_dim)
        n_heads = d_inner // self.head_dim
        if n_heads % self.n_groups:
            refuse("n_groups", f"a divisor of the {n_heads} heads of a Mamba-2 block",
                   self.n_groups)

    @property
    def layer_pattern(self) -> str:
        """One letter per layer."""
        return self.layers or "M" * self.n_layer

    @property
    def is_all_mamba(self) -> bool:
        """Whether all layers are Mamba or Mamba-2 blocks, whose caches do not grow."""
        return set(self.layer_pattern) <= {"M", "2"}

    @property
    def only_block(self) -> Literal["M", "2"] | None:
        """The letter of all layers if they are blocks of one kind, Mamba or Mamba-2, else None."""
        letters = set(self.layer_pattern)
        return letters.pop() if letters in ({"M"}, {"2"}) else None
