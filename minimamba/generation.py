"""Generating text: a prefill of the prompt, all at once, and then one token at a time."""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from math import inf
from threading import Lock
from typing import TYPE_CHECKING, overload
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm
from torch.nn.utils.rnn import pad_sequence

from minimamba.arguments import (
    FLOATING,
    as_bool_mask,
    can_read_values,
    check_count,
    check_factory,
    check_finite,
    check_number,
    check_same_device,
    check_shape,
    check_tensor,
    check_token_ids,
    refuse,
    shape_of,
)
from minimamba.cuda_graph import graphed_steps
from minimamba.nn.layers import LayerCache
from minimamba.scan import compiled
from minimamba.tokenizer import TextStream, encode_prompt

if TYPE_CHECKING:
    from minimamba.lm import MambaLM

WORTH_COMPILING = 2**33
"""Multiplications, parameters times new tokens, from which compiling for some seconds pays."""
PREFILL_CHUNK = 2048
"""Tokens of a prompt that are processed at once, so that its memory does not grow with it."""
LARGEST_SCALE = 1e12
"""Up to this, and from its inverse, logits are multiplied and divided without an overflow."""
SMALLEST_TOP_P = 1e-9
"""The smallest sum of probabilities to sample among; of many tokens it leaves one."""
ENDED = -1
"""What `stream` yields for a sequence that has ended."""
_modes = Lock()
_evaluated: "WeakKeyDictionary[MambaLM, tuple[int, list[nn.Module]]]" = WeakKeyDictionary()
"""For each model that threads are computing a step of: how many do, and the modules that were in
training mode before."""


@overload
def generate(model: "MambaLM", prompts: Tensor, max_new_tokens: int, **options) -> Tensor: ...
@overload
def generate(model: "MambaLM", prompts: str, max_new_tokens: int, **options) -> str: ...
@overload
def generate(model: "MambaLM", prompts: Sequence[Tensor], max_new_tokens: int,
             **options) -> list[Tensor]: ...
@overload
def generate(model: "MambaLM", prompts: Sequence[str], max_new_tokens: int,
             **options) -> list[str]: ...
def generate(model, prompts, max_new_tokens, *, temperature=0.0, top_k=None, top_p=1.0,
             repetition_penalty=1.0, eos_token_id=None, seed=None):
    """Continue prompts with a model.

    As in transformers, the result begins with the prompt.

    Args:
        model: a `MambaLM`; it is used in evaluation mode, and each of its modules is left in
            the mode it was in.
        prompts: token ids (batch, length), int64; a list of token ids (length,), of any lengths;
            a text; or a list of texts. Texts need the model's tokenizer.
        max_new_tokens: how many tokens to generate at most; fewer if all sequences have ended.
        temperature: logits are divided by it before sampling; 0 takes the most likely token.
        top_k: sample among the k most likely tokens only; all if None.
        top_p: sample among the fewest tokens whose probabilities sum to this.
        repetition_penalty: the logits of tokens that have occurred, in the prompt too, are
            divided by this, or multiplied where negative (Keskar et al. 2019, arXiv:1909.05858).
        eos_token_id: the token, or tokens, that end a sequence; the config's if None, and () if
            none should.
        seed: of the sampling; different at every call if None.

    Returns:
        For ids (batch, length), a tensor (batch, length + generated), in which a sequence that has
        ended is filled up with its end token; for a list of ids, a list of tensors, each up to
        its end; for a text or a list of texts, the same of texts.

    Raises:
        ValueError: naming the argument, what was expected and what was given.
        FloatingPointError: if weights or logits of the model are not finite.

    Example:
        >>> from minimamba import MambaConfig, MambaLM
        >>> model = MambaLM(MambaConfig(vocab_size=256, d_model=16, n_layer=1))
        >>> generate(model, torch.tensor([[1, 2, 3]]), max_new_tokens=5).shape
        torch.Size([1, 8])
    """
    _check_model(model)
    is_text = isinstance(prompts, str)
    texts = [prompts] if is_text else prompts
    are_texts = is_text or (isinstance(prompts, Sequence) and len(prompts) > 0
                            and all(isinstance(prompt, str) for prompt in prompts))
    ids = _encode(model, texts) if are_texts else prompts
    columns = list(stream(model, ids, max_new_tokens, temperature=temperature, top_k=top_k,
                          top_p=top_p, repetition_penalty=repetition_penalty,
                          eos_token_id=eos_token_id, seed=seed))
    new_ids = torch.stack(columns, 1)
    if isinstance(ids, Tensor):
        return torch.cat([ids, _fill_ended(new_ids)], 1)
    sequences = [row[row != ENDED] for row in new_ids]
    if not are_texts:
        return [torch.cat([prompt, new]) for prompt, new in zip(ids, sequences, strict=True)]
    completed = []
    for text, prompt, new in zip(texts, ids, sequences, strict=True):
        pieces = TextStream(model.tokenizer, prompt.tolist())
        completed.append(text + "".join(map(pieces.push, new.tolist())) + pieces.flush())
    return completed[0] if is_text else completed


@overload
def stream(model: "MambaLM", prompts: Tensor | Sequence[Tensor], max_new_tokens: int,
           **options) -> Iterator[Tensor]: ...
@overload
def stream(model: "MambaLM", prompts: str, max_new_tokens: int, **options) -> Iterator[str]: ...
def stream(model, prompts, max_new_tokens, *, temperature=0.0, top_k=None, top_p=1.0,
           repetition_penalty=1.0, eos_token_id=None, seed=None):
    """Continue prompts with a model, and yield what it generates as it comes.

    Args:
        model: a `MambaLM`; it is used in evaluation mode, and each of its modules is left in
            the mode it was in.
        prompts: token ids (batch, length), int64; a list of token ids (length,), of any lengths;
            or one text.
        max_new_tokens: how many tokens to generate at most; fewer if all sequences have ended.
        temperature: logits are divided by it before sampling; 0 takes the most likely token.
        top_k: sample among the k most likely tokens only; all if None.
        top_p: sample among the fewest tokens whose probabilities sum to this.
        repetition_penalty: the logits of tokens that have occurred, in the prompt too, are
            divided by this, or multiplied where negative (Keskar et al. 2019, arXiv:1909.05858).
        eos_token_id: the token, or tokens, that end a sequence; the config's if None, and () if
            none should.
        seed: of the sampling; different at every call if None.

    Returns:
        An iterator. For ids it yields the next token of every sequence, (batch,) int64, and
        −1 for one that has ended; for a text, pieces of text, which together are what
        `generate` returns after the prompt.

    Raises:
        ValueError: at the call, naming the argument, what was expected and what was given.
        FloatingPointError: if weights or logits of the model are not finite.
    """
    _check_model(model)
    _check_weights(model)
    check_count("max_new_tokens", max_new_tokens)
    end_ids = _end_ids(model, eos_token_id)
    is_text = isinstance(prompts, str)
    if not is_text and isinstance(prompts, Sequence) and prompts and all(
            isinstance(prompt, str) for prompt in prompts):
        refuse("prompts", "token ids or one text, since pieces of several can't be told apart",
               "a list of texts")
    ids = _encode(model, [prompts]) if is_text else prompts
    input_ids, attention_mask = _left_pad(ids, model.embedding.weight)
    sampler = Sampler(temperature, top_k, top_p, repetition_penalty, seed, input_ids.device)
    tokens = _stream(model, input_ids, attention_mask, max_new_tokens, end_ids, sampler)
    if is_text:
        return _decode(model, ids[0].tolist(), tokens)
    # Copied outside of inference mode, so that a model can be trained on each.
    return (token.clone() for token in tokens)


class Sampler:
    """Picks the next token of each sequence from the logits.

    Args:
        temperature: as in `generate`.
        top_k: as in `generate`.
        top_p: as in `generate`.
        repetition_penalty: as in `generate`.
        seed: as in `generate`.
        device: that of the logits.

    Raises:
        ValueError: naming the argument, what was expected and what was given.
    """

    def __init__(self, temperature: float, top_k: int | None, top_p: float,
                 repetition_penalty: float, seed: int | None, device: torch.device) -> None:
        check_number("temperature", temperature,
                     f"0 or a number from {1 / LARGEST_SCALE:g} to {LARGEST_SCALE:g}", 0,
                     LARGEST_SCALE)
        if 0 < temperature < 1 / LARGEST_SCALE:
            refuse("temperature", f"0 or a number from {1 / LARGEST_SCALE:g} up", temperature)
        check_number("repetition_penalty", repetition_penalty,
                     f"a number from {1 / LARGEST_SCALE:g} to {LARGEST_SCALE:g}",
                     1 / LARGEST_SCALE, LARGEST_SCALE)
        check_number("top_p", top_p, f"a number from {SMALLEST_TOP_P:g} to 1", SMALLEST_TOP_P, 1)
        if top_k is not None:
            check_count("top_k", top_k)
        if temperature == 0 and (top_k is not None or top_p != 1):
            refuse("temperature", "a number above 0 beside top_k or top_p, which restrict "
                   "sampling", "0, which takes the most likely token")
        if seed is not None:
            check_count("seed", seed, 0)
        check_factory(device, None)
        self.temperature = temperature
        self.top_k = top_k
        self.top_p = top_p
        self.repetition_penalty = repetition_penalty
        self.generator = torch.Generator(device)
        if seed is None:
            self.generator.seed()
        else:
            self.generator.manual_seed(seed)

    def __call__(self, logits: Tensor, occurred: Tensor | None) -> Tensor:
        """Pick tokens.

        Args:
            logits: (batch, vocab_size), float32, or half precision, which is widened.
            occurred: (batch, vocab_size), bool, which tokens each sequence holds; None if there is
                no repetition penalty.

        Returns:
            (batch,), int64.

        Raises:
            ValueError: naming the argument, what was expected and what was given.
        """
        check_tensor("logits", logits, FLOATING)
        if logits.ndim != 2:
            refuse("logits", "shape (batch, vocab_size)", shape_of(logits))
        if can_read_values(logits):
            check_finite("logits", logits)
        if occurred is None and self.repetition_penalty != 1:
            refuse("occurred", f"a tensor for repetition_penalty = {self.repetition_penalty:g}",
                   "None")
        if occurred is not None or self.temperature != 0:
            # The largest alone is the same in half precision, which takes as long to widen.
            logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        if occurred is not None:
            check_tensor("occurred", occurred, (torch.bool,))
            check_shape("occurred", occurred, tuple(logits.shape), "that of logits")
            check_same_device(logits=logits, occurred=occurred)
            penalty = self.repetition_penalty
            penalized = torch.where(logits < 0, logits * penalty, logits / penalty)
            logits = torch.where(occurred, penalized, logits)
        if self.temperature == 0:
            return logits.argmax(-1)
        logits = logits / self.temperature
        if self.top_k is not None and self.top_k < logits.shape[1]:
            least = logits.topk(self.top_k).values[:, -1:]
            logits = logits.masked_fill(logits < least, -inf)
        if self.top_p < 1:
            descending, order = logits.sort(descending=True, dim=-1)
            probabilities = descending.softmax(-1)
            # The token whose probability reaches top_p stays, and so does the first in any case.
            sum_before = probabilities.cumsum(-1) - probabilities
            logits = logits.scatter(1, order, descending.masked_fill(sum_before >= self.top_p,
                                                                     -inf))
        # As torch.multinomial does, which takes no vocabulary beyond 2²⁴.
        probabilities = logits.softmax(-1)
        race = torch.empty_like(probabilities).exponential_(generator=self.generator)
        return (probabilities / race).argmax(-1)


def prefill(model: "MambaLM", input_ids: Tensor, attention_mask: Tensor | None = None,
            chunk: int = PREFILL_CHUNK) -> tuple[Tensor, list[LayerCache]]:
    """Process a prompt.

    Args:
        model: a `MambaLM`.
        input_ids: (batch, length), int64.
        attention_mask: (batch, length), bool or integer: 0 or False at padding, to the left; None:
            there is none.
        chunk: how many tokens to process at once.

    Returns:
        The logits after the last token, (batch, vocab_size), and the cache.

    Raises:
        ValueError: naming the argument, what was expected and what was given.
    """
    _check_model(model)
    _check_weights(model)
    check_token_ids("input_ids", input_ids, 2, "(batch, length)", model.embedding.weight)
    if attention_mask is not None:
        attention_mask = as_bool_mask(attention_mask, *input_ids.shape, input_ids.device)
        if can_read_values(attention_mask) and not attention_mask[:, -1].all():
            refuse("attention_mask", "at least one token in each row", "one of padding alone")
    check_count("chunk", chunk)
    return _prefill(model, input_ids, attention_mask, chunk)


def _prefill(model: "MambaLM", input_ids: Tensor, attention_mask: Tensor | None,
             chunk: int = PREFILL_CHUNK) -> tuple[Tensor, list[LayerCache]]:
    """`prefill`, for arguments that have been checked."""
    cache = None
    for start in range(0, input_ids.shape[1], chunk):
        part = slice(start, start + chunk)
        mask = None if attention_mask is None else attention_mask[:, part]
        hidden_states, cache = model.hidden_states(input_ids[:, part], cache, attention_mask=mask)
    return model.logits(hidden_states[:, -1]), cache


@torch.inference_mode()
def _stream(model: "MambaLM", input_ids: Tensor, attention_mask: Tensor | None,
            max_new_tokens: int, end_ids: Tensor, sampler: Sampler) -> Iterator[Tensor]:
    modules = list(model.modules())
    with ExitStack() as stack:
        with _in_eval_mode(model, modules):
            logits, cache = _prefill(model, input_ids, attention_mask)
        occurred = None
        if sampler.repetition_penalty != 1:
            # A penalty needs no more than this, and it does not grow with the text.
            occurred = _occurrences(input_ids, attention_mask, logits.shape[1])
        ended = torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)
        step = None
        for generated in range(max_new_tokens):
            # On a GPU, only where it is waited for anyway: a NaN stays in the state to the end.
            if (logits.device.type == "cpu" or len(end_ids)
                    or generated in (0, max_new_tokens - 1)):
                _check_logits(logits)
            new_ids = sampler(logits.float() if logits.dtype == torch.float64 else logits,
                              occurred)
            yield torch.where(ended, ENDED, new_ids) if len(end_ids) else new_ids
            if generated == max_new_tokens - 1:
                break
            if len(end_ids):  # only then: to look whether all have ended is to wait for the GPU
                ended |= torch.isin(new_ids, end_ids)
                if ended.all():
                    break
            if occurred is not None:
                occurred.scatter_(1, new_ids[:, None], True)
            # Not around the whole loop: the model may be used for other things between tokens.
            with _in_eval_mode(model, modules):
                if step is None:
                    step = stack.enter_context(
                        _steps(model, cache, len(input_ids) * max_new_tokens))
                logits = step(new_ids)


@contextmanager
def _in_eval_mode(model: "MambaLM", modules: list[nn.Module]) -> Iterator[None]:
    """Put all modules of a model into evaluation mode; the last thread to leave puts those back
    that were in training mode."""
    with _modes:
        users, in_training = _evaluated.get(model, (0, []))
        found = [module for module in modules if module.training]
        for module in found:
            module.training = False
        _evaluated[model] = users + 1, in_training + found
    try:
        yield
    finally:
        with _modes:
            users, in_training = _evaluated.pop(model)
            if users > 1:
                _evaluated[model] = users - 1, in_training
            else:
                for module in in_training:
                    module.training = True


def _decode(model: "MambaLM", prompt_ids: list[int], tokens: Iterator[Tensor]) -> Iterator[str]:
    """Turn the tokens of one sequence into pieces of text."""
    pieces = TextStream(model.tokenizer, prompt_ids)
    for token in tokens:
        if piece := pieces.push(token.item()):
            yield piece
    if rest := pieces.flush():
        yield rest


@contextmanager
def _steps(model: "MambaLM", cache: list[LayerCache],
           new_tokens: int) -> Iterator[Callable[[Tensor], Tensor]]:
    """The fastest function from the next tokens to the logits after them."""
    is_mamba = model.config.is_all_mamba  # the caches of other layers may grow from step to step
    if is_mamba and cache[0].ssm_state.is_cuda:
        with graphed_steps(model, cache) as step:
            yield step
        return
    parameters = sum(weight.numel() for weight in model.parameters())
    use_compiler = (is_mamba and cache[0].ssm_state.device.type == "cpu"
                    and new_tokens * parameters >= WORTH_COMPILING
                    and compiled.why_not() is None)

    def step(new_ids: Tensor) -> Tensor:
        nonlocal cache
        logits, cache = model.step(new_ids, cache, compiled=use_compiler)
        return logits

    yield step


def _encode(model: "MambaLM", texts: Sequence[str]) -> list[Tensor]:
    """The token ids of each text, on the model's device."""
    device = model.embedding.weight.device
    return [torch.tensor(encode_prompt(model.tokenizer, text, "prompts"), device=device)
            for text in texts]


def _check_model(model: "MambaLM") -> None:
    if not all(hasattr(model, name) for name in ("config", "hidden_states", "parameters")):
        refuse("model", "a MambaLM", type(model).__name__)


def _check_weights(model: "MambaLM") -> None:
    """Check that there are weights, and that they are finite.

    That reads every weight once, as each token does, and waits for a GPU once.
    """
    weights = list(model.parameters())
    if any(weight.is_meta for weight in weights):
        refuse("model", "weights that hold numbers", "some on the meta device")
    with torch.no_grad():
        # NaN if one is. Together on a GPU, where each by itself would take longer to launch.
        largest = get_total_norm(weights, inf, foreach=weights[0].is_cuda or None)
    if largest.isfinite():
        return
    for name, weight in model.named_parameters():
        if not weight.isfinite().all():
            raise FloatingPointError(f"model: expected finite weights, got NaN or an infinity in "
                                     f"{name}")


def _check_logits(logits: Tensor) -> None:
    if not logits.isfinite().all():
        raise FloatingPointError(f"model: expected finite logits, got NaN or an infinity: its "
                                 f"hidden states overflow in {logits.dtype}")


def _end_ids(model: "MambaLM", eos_token_id: int | Collection[int] | None) -> Tensor:
    """The tokens that end a sequence, (count,) int64."""
    vocab_size = model.config.vocab_size
    if eos_token_id is None:
        eos_token_id = model.config.eos_token_id
    if eos_token_id is None:
        eos_token_id = ()
    if not isinstance(eos_token_id, (list, tuple, set, frozenset)):
        eos_token_id = (eos_token_id,)
    for token_id in eos_token_id:
        check_count("eos_token_id", token_id, 0)
        if token_id >= vocab_size:
            refuse("eos_token_id", f"token ids from 0 to {vocab_size - 1}", token_id)
    return torch.tensor(sorted(eos_token_id), dtype=torch.int64,
                        device=model.embedding.weight.device)


def _left_pad(prompts: Tensor | Sequence[Tensor],
              embedding: Tensor) -> tuple[Tensor, Tensor | None]:
    """Put prompts of any lengths into one tensor (batch, longest), so that all end together.

    Returns it with its attention mask, or with None if all are equally long.
    """
    if isinstance(prompts, Tensor):
        check_token_ids("prompts", prompts, 2, "(batch, length)", embedding)
        return prompts, None
    if not isinstance(prompts, Sequence):
        refuse("prompts", "token ids or texts", type(prompts).__name__)
    if not prompts:
        refuse("prompts", "at least one", "none")
    for i, prompt in enumerate(prompts):
        check_token_ids(f"prompts[{i}]", prompt, 1, "(length,)", embedding)
    input_ids = pad_sequence(list(prompts), batch_first=True, padding_side="left")
    lengths = torch.tensor([len(prompt) for prompt in prompts], device=input_ids.device)
    longest = input_ids.shape[1]
    if (lengths == longest).all():
        return input_ids, None
    position = torch.arange(longest, device=input_ids.device)
    return input_ids, position >= longest - lengths[:, None]


def _fill_ended(new_ids: Tensor) -> Tensor:
    """Repeat the end token of each sequence to the end of its row, (batch, generated)."""
    last = (new_ids != ENDED).sum(1, keepdim=True) - 1
    return torch.where(new_ids == ENDED, new_ids.gather(1, last), new_ids)


def _occurrences(input_ids: Tensor, attention_mask: Tensor | None, vocab_size: int) -> Tensor:
    """Which tokens occur in each sequence, (batch, vocab_size) bool."""
    if attention_mask is None:
        attention_mask = torch.ones_like(input_ids, dtype=torch.bool)
    counts = input_ids.new_zeros(len(input_ids), vocab_size)
    return counts.scatter_add_(1, input_ids, attention_mask.long()) > 0
