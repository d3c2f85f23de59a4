"""Sequences that end in questions, for models that give nothing but answers (chapter 05)."""

from typing import NamedTuple

import torch
from torch import Generator, Tensor

from minimamba.arguments import check_count, refuse


class Questions(NamedTuple):
    """Sequences that end in questions."""

    x: Tensor
    """(batch, length + questions), int64: the tokens; the last ones are the questions."""
    y: Tensor
    """(batch, questions), int64: the answer to each, a number from 0 up."""


def selective_copying(batch: int, length: int, tokens: int, kinds: int,
                      generator: Generator) -> Questions:
    """Repeat what was said, in order, and leave out the noise (Jing et al. 2019,
    arXiv:1706.02761; Gu and Dao 2023, arXiv:2312.00752, section 4.1.1).

    Token 0 is noise; 1 … kinds are data, `tokens` of them at random places among `length`;
    kinds + 1 is the question, asked once for each of them. The answer to the j-th is the j-th
    datum, less 1.
    """
    for name, size in (("batch", batch), ("length", length), ("tokens", tokens),
                       ("kinds", kinds)):
        check_count(name, size)
    if tokens > length:
        refuse("tokens", f"at most length = {length}", tokens)
    device = generator.device
    order = torch.rand(batch, length, generator=generator, device=device)
    places = order.argsort(-1)[:, :tokens]
    data = torch.randint(1, kinds + 1, (batch, tokens), generator=generator, device=device)
    x = torch.zeros(batch, length + tokens, dtype=torch.int64, device=device)
    x.scatter_(1, places.sort(-1).values, data)
    x[:, length:] = kinds + 1
    return Questions(x, data - 1)


def registers(batch: int, length: int, kinds: int, generator: Generator) -> Questions:
    """Two things to keep apart: the last letter and the last digit.

    Letters are 0 … kinds − 1, digits kinds … 2 kinds − 1. A step is of the same sort as the one
    before it in nine of ten cases, so that one register waits for long while the other is
    written over. The two questions, 2 kinds and 2 kinds + 1, ask for the letter and the digit;
    the answer is its number among its sort.
    """
    for name, size, least in (("batch", batch, 1), ("length", length, 2), ("kinds", kinds, 1)):
        check_count(name, size, least)
    turns = torch.rand(batch, length, generator=generator) < 0.1
    # The first two differ, so that there is one of each sort to ask for.
    turns[:, 0] = torch.rand(batch, generator=generator) < 0.5
    turns[:, 1] = True
    is_digit = turns.cumsum(-1) % 2
    data = torch.randint(kinds, (batch, length), generator=generator)
    questions = torch.tensor([2 * kinds, 2 * kinds + 1]).expand(batch, 2)
    order = torch.arange(length)
    last = torch.stack([torch.where(is_digit == sort, order, -1).amax(-1) for sort in (0, 1)], -1)
    return Questions(torch.cat([data + kinds * is_digit, questions], 1), data.gather(1, last))
