"""MambaLM: token ids in, logits for the next token out (Gu and Dao 2023, section 4.2).

An embedding, n_layer layers of x + mixer(RMSNorm(x)), a final norm, and a linear head that may
share the embedding's weight. The mixers are Mamba blocks, or what a layer pattern says:

| letter | mixer | | letter | mixer |
|---|---|---|---|---|
| M | the Mamba block | | L | an LSTM |
| 2 | the Mamba-2 block | | 6 | S6 in S4's block |
| A | attention | | 4 | S4D in S4's block |
| F | a gated MLP | | | |

"AFAF" is a Transformer of two layers, "MFMFMFMFAFMFMFMF" one of Jamba's blocks (Lieber et al.
2024, arXiv:2403.19887) without its mixture of experts.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from functools import cache as memoize
from math import sqrt
from pathlib import Path
from typing import Literal, overload

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from minimamba import checkpoint, compiler, generation
from minimamba.arguments import (
    FLOATING,
    as_bool_mask,
    can_read_values,
    check_bool,
    check_factory,
    check_finite,
    check_like,
    check_one_of,
    check_same_device,
    check_shape,
    check_tensor,
    check_token_ids,
    refuse,
    shape_of,
)
from minimamba.config import MambaConfig
from minimamba.nn.attention import Attention
from minimamba.nn.layers import Layer, LayerCache, add_norm
from minimamba.nn.lstm import LSTM
from minimamba.nn.mamba import Mamba
from minimamba.nn.mamba2 import Mamba2
from minimamba.nn.mixer import Mixer
from minimamba.nn.mlp import MLP
from minimamba.nn.s4 import S4Block
from minimamba.nn.s6 import S6, SelectiveSSM
from minimamba.ops.linear import linear_layer, weight_of
from minimamba.s4.layers import S4D
from minimamba.scan import METHODS
from minimamba.ssd import METHODS as SSD_METHODS
from minimamba.ssd.checks import NO_LIMIT
from minimamba.tokenizer import ByteTokenizer, FileTokenizer, load_tokenizer

ModelCache = list[LayerCache]
"""The caches of all layers."""


def _mamba2(config: MambaConfig) -> Mamba2:
    block = Mamba2(config.d_model, config.d_state, config.d_conv, expand=config.expand,
                   headdim=config.head_dim, ngroups=config.n_groups, bias=config.bias,
                   conv_bias=config.conv_bias, dt_limit=config.dt_limit or NO_LIMIT)
    # As in transformers. The official constructor has no argument for it.
    block.norm.eps = config.norm_epsilon
    return block


MIXERS: dict[str, Callable[[MambaConfig], Mixer]] = {
    "M": lambda c: Mamba(c.d_model, c.d_state, c.d_conv, c.expand, c.dt_rank, bias=c.bias,
                         conv_bias=c.conv_bias),
    "2": _mamba2,
    "A": lambda c: Attention(c.d_model, c.n_heads, rotary=c.rotary),
    "F": lambda c: MLP(c.d_model),
    "L": lambda c: LSTM(c.d_model),
    "6": lambda c: S4Block(S6(c.d_model, c.d_state, dt_rank=c.dt_rank, selective=c.selective),
                           c.d_model),
    "4": lambda c: S4Block(S4D(c.d_model, c.d_state), c.d_model),
}
"""What builds the mixer of each letter of a layer pattern."""


class MambaLM(nn.Module):
    """A language model of Mamba blocks, or of any layer pattern.

    New weights are initialized as in the official code: embeddings with standard deviation 0.02,
    and the output projections of the mixers scaled down by √n_layer, since all of them add up.

    Args:
        config: the sizes.

    Attributes:
        tokenizer: turns text into token ids and back, for `generate`; None if there is none. A
            model with a vocabulary of 256 reads bytes.

    Example:
        >>> model = MambaLM(MambaConfig(vocab_size=256, d_model=32, n_layer=2))
        >>> logits = model(torch.randint(256, (4, 100)))
        >>> logits.shape
        torch.Size([4, 100, 256])
    """

    def __init__(self, config: MambaConfig) -> None:
        super().__init__()
        if not isinstance(config, MambaConfig):
            refuse("config", "a MambaConfig", type(config).__name__)
        self.config = config
        self.tokenizer: FileTokenizer | ByteTokenizer | None = None
        if config.vocab_size == ByteTokenizer.vocab_size:
            self.tokenizer = ByteTokenizer()
        self.embedding = nn.Embedding(config.vocab_size, config.d_model)
        self.layers = nn.ModuleList(
            Layer(MIXERS[letter](config), config.d_model, norm_epsilon=config.norm_epsilon,
                  residual_in_fp32=config.residual_in_fp32) for letter in config.layer_pattern)
        self.norm_f = nn.RMSNorm(config.d_model, config.norm_epsilon)
        self.lm_head = nn.Linear(config.d_model, config.vocab_size, bias=False)
        nn.init.normal_(self.embedding.weight, std=0.02)
        with torch.no_grad():
            for layer in self.layers:
                layer.mixer.out_proj.weight /= sqrt(config.n_layer)
        _tie(self)
        self.register_load_state_dict_post_hook(_tie)

    def _apply(self, *args, **kwargs):
        # Between devices, PyTorch may put a new parameter in the place of each of the two.
        _tie(super()._apply(*args, **kwargs))
        return self

    @classmethod
    def from_pretrained(cls, path: str | Path, *, device: torch.device | str = "cpu",
                        dtype: torch.dtype | None = None) -> "MambaLM":
        """Load a model, in evaluation mode.

        Args:
            path: a folder with config.json and weights in the layout of transformers, of
                mamba_ssm or of this library; a file of weights with config.json beside it; or,
                where there is a network and `huggingface_hub` is installed, a name on the hub such
                as "state-spaces/mamba-130m-hf".
            device: where the weights go.
            dtype: that of the weights; as they are stored if None, whatever config.json says.

        Only the three files are read: what a generation_config.json says is ignored, and weights
        with an adapter beside them are refused.

        Raises:
            ValueError: for a file that is not what it should be; for a config.json that asks for
                what this model can't honour; and for weights that are not finite, or missing,
                unknown or of another shape, which it lists.
            FileNotFoundError: if there is nothing at `path`.
        """
        check_factory(device, dtype)
        file = checkpoint.find(path)
        config, weights = checkpoint.read(file)
        checkpoint.check_weights(config, weights, cls._expected_weights(config))
        model = cls._without_weights(config)
        # Copied, since weights that share memory with each other or with the file would change
        # together with it.
        weights = {name: value.to(device, dtype, copy=True, memory_format=torch.contiguous_format)
                   for name, value in weights.items()}
        for name, value in weights.items():
            if dtype is not None and not value.isfinite().all():
                refuse("dtype", f"one that can hold {name}", dtype)
        marked = [name for name, parameter in model.named_parameters()
                  if hasattr(parameter, "_no_weight_decay")]
        model.load_state_dict(weights, assign=True)
        for name in marked:  # assigned parameters are new ones
            model.get_parameter(name)._no_weight_decay = True
        model.tokenizer = load_tokenizer(file.parent, config.vocab_size)
        return model.eval()

    def save_pretrained(self, folder: str | Path, *, layout: Literal[
            "transformers", "mamba_ssm", "minimamba"] | None = None) -> None:
        """Write config.json, the weights and, if there is one, tokenizer.json.

        Args:
            folder: where; created if it does not exist. Weights that are there already are
                replaced.
            layout: "transformers" (Hugging Face's MambaForCausalLM or Mamba2ForCausalLM),
                "mamba_ssm" (the official package) or "minimamba" (any layer pattern). If None,
                "transformers" for a model of Mamba blocks alone or of Mamba-2 blocks alone, and
                "minimamba" for any other. That of the official package has no place for
                `eos_token_id`, which is lost.

        Raises:
            ValueError: for an unknown layout, or one that can't hold this model; for weights that
                are not finite, or not those of `config`; for a model of bytes beside another's
                tokenizer.json. The folder stays as it was.
            OSError: if the folder can't be written to, or the disk is full.
        """
        if layout is None:
            layout = "transformers" if self.config.only_block else "minimamba"
        weights = self.state_dict()
        checkpoint.check_weights(self.config, weights, self._expected_weights(self.config))
        checkpoint.write(folder, self.config, weights, layout, self.tokenizer)

    @classmethod
    def _expected_weights(cls, config: MambaConfig) -> dict[str, Tensor]:
        """The `state_dict()` of a model, on the meta device.

        It takes one layer of each type to know them all, and many would take long to build.
        """
        letters = "".join(dict.fromkeys(config.layer_pattern))
        small = cls._without_weights(replace(config, layers=letters, n_layer=None)).state_dict()
        expected = {name: value for name, value in small.items() if not name.startswith("layers.")}
        for i, letter in enumerate(config.layer_pattern):
            prefix = f"layers.{letters.index(letter)}."
            expected |= {f"layers.{i}.{name.removeprefix(prefix)}": value
                         for name, value in small.items() if name.startswith(prefix)}
        return expected

    @classmethod
    def _without_weights(cls, config: MambaConfig) -> "MambaLM":
        """A model on the meta device, which takes no memory."""
        try:
            with torch.device("meta"):
                return cls(config)
        except (RuntimeError, TypeError, OverflowError):
            refuse("config.json", "sizes that PyTorch can count to", "larger ones")

    def init_cache(self, batch: int) -> ModelCache:
        """Create the caches of a model that has seen nothing yet.

        Args:
            batch: the number of sequences.

        Returns:
            One cache per layer.
        """
        return [layer.mixer.init_cache(batch) for layer in self.layers]

    def use_scan_method(self, method: str) -> "MambaLM":
        """Choose how the scans of all layers are computed.

        Args:
            method: "auto"; or a name from `minimamba.scan.methods()`, for Mamba blocks and S6, and
                from `minimamba.ssd.methods()`, for Mamba-2 blocks: both have "reference", "chunked"
                and "triton".

        Returns:
            The model itself.

        Raises:
            ValueError: for an unknown name, or one that is not a method of each of its scans. No
                layer is changed then.
        """
        check_one_of("method", method, dict.fromkeys(("auto", *METHODS, *SSD_METHODS)))
        scans = [module for module in self.modules() if isinstance(module, (SelectiveSSM, Mamba2))]
        for scan in scans:
            known = SSD_METHODS if isinstance(scan, Mamba2) else METHODS
            check_one_of("method", method, ("auto", *known))
        for scan in scans:
            scan.scan_method = method
        return self

    @overload
    def forward(self, input_ids: Tensor, cache: ModelCache | None = None, *,
                attention_mask: Tensor | None = None, seq_idx: Tensor | None = None,
                return_cache: Literal[False] = False) -> Tensor: ...
    @overload
    def forward(self, input_ids: Tensor, cache: ModelCache | None = None, *,
                attention_mask: Tensor | None = None, seq_idx: Tensor | None = None,
                return_cache: Literal[True]) -> tuple[Tensor, ModelCache]: ...
    def forward(self, input_ids, cache=None, *, attention_mask=None, seq_idx=None,
                return_cache=False):
        """Compute the logits for the token after each one.

        Args:
            input_ids: (batch, length), int64, from 0 to vocab_size − 1.
            cache: what an earlier call returned for the tokens before these; None at the start.
            attention_mask: (batch, length), bool or integer: 1 or True where there is a token, 0
                at padding, which stands to the left and leaves the outputs unchanged.
            seq_idx: (batch, length), integers, for packed sequences: where it changes, another
                sequence begins, which sees nothing of those before it. Not together with a cache
                or an attention mask.
            return_cache: whether to return the cache after the last token too.

        Returns:
            Logits (batch, length, vocab_size); with `return_cache`, (logits, cache).

        Raises:
            ValueError: naming the argument, what was expected and what was given.
        """
        check_bool("return_cache", return_cache)
        if seq_idx is not None:
            self._check_ids(input_ids, 2, "(batch, length)")
            if cache is not None or attention_mask is not None or return_cache:
                refuse("seq_idx", "no cache and no attention_mask beside it", "one of them")
            check_tensor("seq_idx", seq_idx, (torch.int64, torch.int32, torch.bool))
            check_shape("seq_idx", seq_idx, tuple(input_ids.shape), "(batch, length)")
            check_same_device(input_ids=input_ids, seq_idx=seq_idx)
            logits, positions = [], []
            for rows, is_token, position in _unpack(input_ids, seq_idx):
                logits.append(self(rows)[is_token])
                positions.append(position)
            order = torch.cat(positions).argsort()
            return torch.cat(logits)[order].unflatten(0, input_ids.shape)
        hidden_states, cache = self._run_layers(input_ids, cache, attention_mask, return_cache)
        logits = self.logits(hidden_states)
        return (logits, cache) if return_cache else logits

    def hidden_states(self, input_ids: Tensor, cache: ModelCache | None = None, *,
                      attention_mask: Tensor | None = None) -> tuple[Tensor, ModelCache]:
        """Compute what the head turns into logits, if you need those of some tokens only.

        Args:
            input_ids: (batch, length), int64, from 0 to vocab_size − 1.
            cache: what an earlier call returned for the tokens before these; None at the start.
            attention_mask: (batch, length), 1 or True where there is a token; None: everywhere.

        Returns:
            (batch, length, d_model), to be given to `logits`, and the cache after the last token.

        Raises:
            ValueError: naming the argument, what was expected and what was given.
        """
        return self._run_layers(input_ids, cache, attention_mask, return_cache=True)

    def logits(self, hidden_states: Tensor) -> Tensor:
        """Apply the final norm and the head.

        Args:
            hidden_states: (…, d_model), from `hidden_states`.

        Returns:
            (…, vocab_size).

        Raises:
            ValueError: for another shape, dtype or device, or NaN.
        """
        check_tensor("hidden_states", hidden_states, FLOATING)
        if hidden_states.ndim == 0 or hidden_states.shape[-1] != self.config.d_model:
            refuse("hidden_states", f"shape (…, {self.config.d_model})", shape_of(hidden_states))
        check_like("hidden_states", hidden_states, self.norm_f.weight, hidden_states.dtype)
        if can_read_values(hidden_states):
            check_finite("hidden_states", hidden_states)
        return self._head(self.norm_f(hidden_states.to(self.norm_f.weight.dtype)))

    def step(self, input_ids: Tensor, cache: ModelCache, *,
             compiled: bool = False) -> tuple[Tensor, ModelCache]:
        """Process one token per sequence.

        Args:
            input_ids: (batch,), int64.
            cache: that of the tokens before; it is not changed.
            compiled: whether to run through `torch.compile`, for which a CPU needs a C++
                compiler: it takes some seconds at the first call, and later ones are faster.

        Returns:
            Logits (batch, vocab_size), and the cache after these tokens.

        Raises:
            ValueError: naming the argument, what was expected and what was given.
        """
        self._check_ids(input_ids, 1, "(batch,)")
        check_bool("compiled", compiled)
        layer_step, last_logits = Layer.step, MambaLM._last_logits
        if compiled:
            layer_step = _compiled(layer_step)
            last_logits = _compiled(last_logits)
        residual = self.embedding(input_ids)
        hidden_states = torch.zeros_like(residual)
        new_cache = []
        for layer, layer_cache in zip(self.layers, self._check_cache(cache), strict=True):
            hidden_states, residual, layer_cache = layer_step(layer, hidden_states, residual,
                                                              layer_cache)
            new_cache.append(layer_cache)
        return last_logits(self, hidden_states, residual), new_cache

    def step_(self, input_ids: Tensor, cache: ModelCache) -> Tensor:
        """Process one token per sequence and write the new cache over the old one.

        For models of Mamba and Mamba-2 blocks alone; a CUDA graph needs it.

        Args:
            input_ids: (batch,), int64.
            cache: that of the tokens before, and afterwards that after these.

        Returns:
            Logits (batch, vocab_size).

        Raises:
            ValueError: for a model with other layers, and as `step` does.
        """
        self._check_ids(input_ids, 1, "(batch,)")
        if not self.config.is_all_mamba:
            refuse("step_", "a model of Mamba and Mamba-2 blocks alone",
                   f"layers {self.config.layer_pattern!r}")
        residual = self.embedding(input_ids)
        hidden_states = torch.zeros_like(residual)
        for layer, layer_cache in zip(self.layers, self._check_cache(cache), strict=True):
            hidden_states, residual = layer.step_(hidden_states, residual, layer_cache)
        return self._last_logits(hidden_states, residual)

    def generate(self, prompts: Tensor | Sequence[Tensor] | str | Sequence[str],
                 max_new_tokens: int, *, temperature: float = 0.0, top_k: int | None = None,
                 top_p: float = 1.0, repetition_penalty: float = 1.0,
                 eos_token_id: int | Collection[int] | None = None,
                 seed: int | None = None) -> Tensor | list[Tensor] | str | list[str]:
        """Continue prompts; see `minimamba.generation.generate`.

        Args:
            prompts: token ids (batch, length); a list of token ids (length,), of any lengths; a
                text; or a list of texts.
            max_new_tokens: how many tokens to generate at most.
            temperature: logits are divided by it before sampling; 0 takes the most likely token.
            top_k: sample among the k most likely tokens only; all if None.
            top_p: sample among the fewest tokens whose probabilities sum to this.
            repetition_penalty: divides the logits of tokens that have occurred.
            eos_token_id: the token, or tokens, that end a text; the config's if None.
            seed: of the sampling; different at every call if None.

        Returns:
            Prompts and continuations, in the form in which the prompts were given.
        """
        return generation.generate(self, prompts, max_new_tokens, temperature=temperature,
                                   top_k=top_k, top_p=top_p,
                                   repetition_penalty=repetition_penalty,
                                   eos_token_id=eos_token_id, seed=seed)

    def stream(self, prompts: Tensor | Sequence[Tensor] | str, max_new_tokens: int, *,
               temperature: float = 0.0, top_k: int | None = None, top_p: float = 1.0,
               repetition_penalty: float = 1.0,
               eos_token_id: int | Collection[int] | None = None,
               seed: int | None = None) -> Iterator[Tensor] | Iterator[str]:
        """Yield the continuation token by token; see `minimamba.generation.stream`.

        Args:
            prompts: token ids (batch, length), a list of token ids (length,), or one text.
            max_new_tokens: how many tokens to generate at most.
            temperature: logits are divided by it before sampling; 0 takes the most likely token.
            top_k: sample among the k most likely tokens only; all if None.
            top_p: sample among the fewest tokens whose probabilities sum to this.
            repetition_penalty: divides the logits of tokens that have occurred.
            eos_token_id: the token, or tokens, that end a text; the config's if None.
            seed: of the sampling; different at every call if None.

        Returns:
            An iterator over (batch,) tensors, or over pieces of text.
        """
        return generation.stream(self, prompts, max_new_tokens, temperature=temperature,
                                 top_k=top_k, top_p=top_p, repetition_penalty=repetition_penalty,
                                 eos_token_id=eos_token_id, seed=seed)

    def _run_layers(self, input_ids: Tensor, cache: ModelCache | None,
                    attention_mask: Tensor | None,
                    return_cache: bool) -> tuple[Tensor, ModelCache | None]:
        self._check_ids(input_ids, 2, "(batch, length)")
        if attention_mask is not None:
            attention_mask = as_bool_mask(attention_mask, *input_ids.shape, input_ids.device)
        x = self.embedding(input_ids)
        new_cache = []
        for layer, layer_cache in zip(self.layers, self._check_cache(cache), strict=True):
            result = layer(x, layer_cache, attention_mask=attention_mask,
                           return_cache=return_cache)
            if return_cache:
                x, layer_cache = result
                new_cache.append(layer_cache)
            else:
                x = result
        return x, (new_cache if return_cache else None)

    def _last_logits(self, hidden_states: Tensor, residual: Tensor) -> Tensor:
        normed, _ = add_norm(self.norm_f, hidden_states, residual)
        return self._head(normed)

    def _head(self, normed: Tensor) -> Tensor:
        check_like("norm_f", normed, weight_of(self.lm_head))
        return linear_layer(self.lm_head, normed)

    def _check_cache(self, cache: ModelCache | None) -> list[LayerCache | None]:
        if cache is None:
            return [None] * len(self.layers)
        if not isinstance(cache, (list, tuple)):
            refuse("cache", "a list of one per layer, such as `init_cache` creates",
                   type(cache).__name__)
        if len(cache) != len(self.layers):
            refuse("cache", f"one of {len(self.layers)} layers", f"one of {len(cache)}")
        for i, layer_cache in enumerate(cache):
            if layer_cache is None:         # which a layer would take for the start
                refuse(f"cache[{i}]", "the cache of a layer", "None")
        return cache

    def _check_ids(self, input_ids: Tensor, ndim: int, meaning: str) -> None:
        check_token_ids("input_ids", input_ids, ndim, meaning, self.embedding.weight)


def _tie(model: MambaLM, _: object = None) -> None:
    """Let the head share the embedding's weight if the config says so, and neither was replaced."""
    if model.config.tie_embeddings and type(model.lm_head) is nn.Linear:
        model.lm_head.weight = model.embedding.weight


@memoize
def _compiled(function: Callable) -> Callable:
    """Compile once for all layers of a kind: they differ in their weights alone."""
    return compiler.compile_or_else(f"{function.__qualname__}; some seconds", function, function)


def _unpack(input_ids: Tensor, seq_idx: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Give each sequence of a packed batch a row of its own, beside those of a similar length.

    So the rows of all batches together have at most twice as many tokens as the packed one. Yields
    token ids (sequences, longest), padded at the end, where nothing looks back from; which of
    them are tokens; and the positions of these in the flattened batch.
    """
    changes = torch.ones_like(seq_idx, dtype=torch.bool)
    changes[:, 1:] = seq_idx[:, 1:] != seq_idx[:, :-1]
    starts = pad(changes.flatten().nonzero()[:, 0], (0, 1), value=input_ids.numel())
    lengths = starts.diff()
    doublings = torch.frexp((lengths - 1).double()).exponent      # ⌈log₂ length⌉
    for group in doublings.unique():
        chosen = doublings == group
        step = torch.arange(lengths[chosen].max(), device=starts.device)
        is_token = step < lengths[chosen, None]
        positions = (starts[:-1][chosen, None] + step).where(is_token, 0)
        yield input_ids.flatten()[positions], is_token, positions[is_token]
