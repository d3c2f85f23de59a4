"""Writing with a language model: the prompt all at once, then token by token."""

from collections.abc import Callable, Collection, Iterator, Sequence
from math import inf

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from minimamba.arguments import check_count, check_number, check_positive, refuse
from minimamba.cuda_graph import replay
from minimamba.lm import MambaLM
from minimamba.scan import compiled

WORTH = 2**33
"""How many products, weights times new tokens, are worth some seconds of compiling."""
CHUNK = 2048
"""Tokens of a prompt that are read at once: the room that reading needs does not grow beyond."""


def generate(model: MambaLM, prompts: Tensor | Sequence[Tensor], max_new_tokens: int, *,
             temperature: float = 0.0, top_k: int | None = None, top_p: float = 1.0,
             repetition_penalty: float = 1.0, stop: Collection[int] = (),
             seed: int = 0) -> list[Tensor]:
    """What `stream` yields, put together: the new tokens of each prompt, up to its stop token,
    which is the last of them."""
    columns = list(stream(model, prompts, max_new_tokens, temperature=temperature, top_k=top_k,
                          top_p=top_p, repetition_penalty=repetition_penalty, stop=stop, seed=seed))
    rows = torch.stack(columns, 1)
    return [row[row >= 0] for row in rows]


@torch.inference_mode()
def stream(model: MambaLM, prompts: Tensor | Sequence[Tensor], max_new_tokens: int, *,
           temperature: float = 0.0, top_k: int | None = None, top_p: float = 1.0,
           repetition_penalty: float = 1.0, stop: Collection[int] = (),
           seed: int = 0) -> Iterator[Tensor]:
    """Yield the next token of every prompt, (batch,) int64, as it is made; −1 after a stop token.

    Args:
        model: which is called in evaluation mode, and left in the mode it was in.
        prompts: (batch, length), or one (length,) a prompt, of any lengths: what a shorter one
            is filled up with, to the left, changes nothing.
        max_new_tokens: how many at most; fewer when all have stopped.
        temperature: scores are divided by it, then one is drawn; 0 takes the best one.
        top_k: draw among the best k only. top_p: and among the fewest whose probabilities add
            up to that.
        repetition_penalty: what has occurred, in the prompt too, has its score divided by this
            (multiplied, if negative) (Keskar et al. 2019, arXiv:1909.05858).
        stop: tokens after which a text has ended.
        seed: of the draws; the same numbers on the same kind of device.

    Raises:
        ValueError: naming the argument, what was expected and what came.
    """
    check_count("max_new_tokens", max_new_tokens)
    check_number("temperature", temperature, "a number from 0 up", 0, inf)
    check_number("top_p", top_p, "a number above 0, at most 1", 1e-9, 1)
    check_positive("repetition_penalty", repetition_penalty, "a number")
    if top_k is not None:
        check_count("top_k", top_k)
    tokens, real = _to_the_right(prompts)
    was_training = model.training
    model.eval()
    try:
        scores, memory = prefill(model, tokens, real)
        # Which tokens each text holds: a penalty needs no more, and it does not grow.
        seen = _holds(tokens, real, scores.shape[1]) if repetition_penalty != 1 else None
        random = torch.Generator(tokens.device).manual_seed(seed)
        stops = torch.tensor(sorted(stop), device=tokens.device, dtype=torch.int64)
        ended = torch.zeros(len(tokens), dtype=torch.bool, device=tokens.device)
        step = None
        for made in range(max_new_tokens):
            new = _choose(scores.float(), seen, temperature, top_k, top_p, repetition_penalty,
                          random)
            yield torch.where(ended, -1, new)
            if made == max_new_tokens - 1:
                break
            if stop:  # (To look whether all have ended is to wait for the GPU.)
                ended |= torch.isin(new, stops)
                if ended.all():
                    break
            if seen is not None:
                seen.scatter_(1, new[:, None], True)
            step = step or _stepper(model, memory, _worth_compiling(model, tokens, max_new_tokens))
            scores = step(new)
    finally:
        model.train(was_training)


def prefill(model: MambaLM, tokens: Tensor, real: Tensor | None = None,
            chunk: int = CHUNK) -> tuple[Tensor, list]:
    """Read (batch, length) tokens, `chunk` at a time: the scores after the last, (batch,
    vocab_size), and the memory."""
    check_count("chunk", chunk)
    memory = None
    for start in range(0, tokens.shape[1], chunk):
        part = slice(start, start + chunk)
        x, memory = model.features(tokens[:, part], memory,
                                   real=None if real is None else real[:, part])
    return model.scores(x[:, -1]), memory


def _stepper(model: MambaLM, memory: list, compiled: bool) -> Callable[[Tensor], Tensor]:
    """From the next tokens to the scores after them, from this memory on."""
    if _is_mamba(model) and memory[0].h.is_cuda:
        return replay(model, memory)

    def step(tokens: Tensor) -> Tensor:
        nonlocal memory
        scores, memory = model.step(tokens, memory, compiled=compiled)
        return scores

    return step


def _is_mamba(model: MambaLM) -> bool:
    """Whether no cache changes its shape from step to step."""
    return set(model.config.pattern) == {"M"}


def _worth_compiling(model: MambaLM, tokens: Tensor, count: int) -> bool:
    """On a CPU with a compiler, and enough to write."""
    weights = sum(weight.numel() for weight in model.parameters())
    return (tokens.device.type == "cpu" and _is_mamba(model) and compiled.why_not() is None
            and count * len(tokens) * weights >= WORTH)


def _to_the_right(prompts: Tensor | Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:
    """All prompts in one tensor, ending together, and where there is something; None: all is."""
    if isinstance(prompts, Tensor) and prompts.ndim == 2:
        return prompts, None
    for i, prompt in enumerate(prompts):
        if not isinstance(prompt, Tensor) or prompt.ndim != 1 or not len(prompt):
            refuse(f"prompts[{i}]", "a tensor of shape (length,), not empty",
                   tuple(prompt.shape) if isinstance(prompt, Tensor) else type(prompt).__name__)
    if not len(prompts):
        refuse("prompts", "at least one", "none")
    tokens = pad_sequence(list(prompts), batch_first=True, padding_side="left")
    lengths = torch.tensor([len(prompt) for prompt in prompts], device=tokens.device)
    longest = tokens.shape[1]
    if (lengths == longest).all():
        return tokens, None
    return tokens, torch.arange(longest, device=tokens.device) >= longest - lengths[:, None]


def _holds(tokens: Tensor, real: Tensor | None, vocabulary: int) -> Tensor:
    """(batch, vocabulary): whether a token occurs where there is something."""
    real = torch.ones_like(tokens, dtype=torch.bool) if real is None else real
    counts = tokens.new_zeros(len(tokens), vocabulary)
    return counts.scatter_add_(1, tokens, real.long()) > 0


def _choose(scores: Tensor, seen: Tensor | None, temperature: float, top_k: int | None,
            top_p: float, penalty: float, random: torch.Generator) -> Tensor:
    if seen is not None:
        scores = torch.where(seen, torch.where(scores < 0, scores * penalty, scores / penalty),
                             scores)
    if temperature == 0:
        return scores.argmax(-1)
    scores = scores / temperature
    if top_k is not None and top_k < scores.shape[1]:
        scores = scores.masked_fill(scores < scores.topk(top_k).values[:, -1:], -inf)
    if top_p < 1:
        best, order = scores.sort(descending=True, dim=-1)
        before = best.softmax(-1).cumsum(-1) - best.softmax(-1)
        # The first one whose sum reaches top_p stays, and so does the best in any case.
        scores = scores.scatter(1, order, best.masked_fill(before >= top_p, -inf))
    return torch.multinomial(scores.softmax(-1), 1, generator=random)[:, 0]
