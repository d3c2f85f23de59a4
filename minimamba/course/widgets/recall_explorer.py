"""Store key-value pairs in one state and see them interfere; js/recall_explorer.js draws it."""

import base64
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
import traitlets
from matplotlib.figure import Figure
from torch import Generator, Tensor
from torch.nn.functional import normalize

from minimamba.course import plots
from minimamba.course.widgets.browser_explorer import BrowserExplorer
from minimamba.course.widgets.explorer import limited_by, whole_number
from minimamba.course.widgets.javascript import bundle
from minimamba.scan import selective_scan

MAX_PAIRS, ANSWERS, CHANNELS = 64, 128, 128


@lru_cache
def _random_data() -> tuple[Tensor, Tensor]:
    """Keys (MAX_PAIRS, MAX_PAIRS) of whole numbers, and values (ANSWERS, CHANNELS) of 1 and −1."""
    generator = Generator().manual_seed(0)
    keys = (30 * torch.randn(MAX_PAIRS, MAX_PAIRS, generator=generator)).round()
    values = 2 * torch.randint(2, (ANSWERS, CHANNELS), generator=generator) - 1
    return keys.double(), values.double()


@lru_cache
def _packed_data() -> dict[str, str]:
    """Both for the browser: a byte per component of a key, a bit per channel of a value."""
    keys, values = (x.numpy() for x in _random_data())
    return {"keys": base64.b64encode(keys.astype(np.int8).tobytes()).decode(),
            "values": base64.b64encode(np.packbits(values > 0).tobytes()).decode()}


class RecallResult(NamedTuple):
    """What a RecallExplorer shows, for n pairs."""

    keys: Tensor
    """(n, N), of length 1."""
    values: Tensor
    """(n, channels), of length 1."""
    state: Tensor
    """(channels, N), the sum of the outer products."""
    overlaps: Tensor
    """(n,), the scalar product of each key with the query."""
    scores: Tensor
    """(answers,), the scalar product of each possible answer with what the query reads."""
    correct: Tensor
    """(64,), for 1, 2, … 64 pairs the number of queries that are answered correctly."""


class RecallExplorer(BrowserExplorer):
    """An explorer of associative recall: key-value pairs in a state h = Σ vᵢ kᵢᵀ.

    A query kⱼ reads h kⱼ = Σ vᵢ ⟨kᵢ, kⱼ⟩; the answer is the possible value most similar to that.
    Keys are random and of length 1; a key at a smaller N is the first part of the key at a larger
    one. The values are 64 of 128 random codes.

    Args:
        d_state: the state dimension N, from 2 to 64.
        pairs: the number of pairs n that are stored, from 1 to 64.
        query: the pair whose key is the query, from 1, the oldest, to `pairs`.

    Raises:
        ValueError: if an argument is out of range, or set to such a value later.
    """

    module = "recall_explorer.js"
    _esm = bundle(module)
    settings = ("d_state", "pairs", "query")
    data = ("random_data",)
    d_state = whole_number(2, MAX_PAIRS)
    """The state dimension N."""
    pairs = whole_number(1, MAX_PAIRS)
    """The number of pairs stored."""
    query = whole_number(1, MAX_PAIRS)
    """The pair whose key is the query, from 1."""
    random_data = traitlets.Dict().tag(sync=True)
    """The keys and values, packed for the browser."""

    def __init__(self, d_state: int = 8, pairs: int = 24, query: int = 1) -> None:
        super().__init__(d_state=d_state, pairs=pairs, query=query, random_data=_packed_data())
        self.observe(self._limit_query, names="pairs")

    _check_query = limited_by(lambda self, name: (1, self.pairs), "query")

    def _limit_query(self, change: object) -> None:
        """Keep the query among the pairs that are stored."""
        self.query = min(self.query, self.pairs)

    def compute(self) -> RecallResult:
        """Compute what is shown, with the library's scan at A = 0 and Δ = 1: nothing decays."""
        all_keys = normalize(_random_data()[0][:, :self.d_state], dim=1)
        answers = normalize(_random_data()[1], dim=1)
        keys = all_keys[:self.pairs]
        values = answers[:self.pairs]
        _, state = selective_scan(
            values[None], torch.ones_like(values)[None],
            torch.zeros(CHANNELS, self.d_state, dtype=torch.float64), keys[None], keys[None],
            return_last_state=True, method="chunked")
        query = keys[self.query - 1]
        return RecallResult(keys, values, state[0], keys @ query, answers @ (state[0] @ query),
                            _correct_counts(all_keys, answers))

    @property
    def caption(self) -> str:
        """What is shown, in words."""
        result = self.compute()
        own = self.query - 1
        others = result.scores.clone()
        others[own] = -torch.inf
        margin = (result.scores[own] - others.max()).item()
        outcome = (f"correctly, by a margin of {margin:.2f}" if margin > 0 else
                   f"incorrectly: answer {others.argmax().item() + 1} scores {-margin:.2f} higher")
        return (f"State dimension N = {self.d_state}, {self.pairs} pair{'s' * (self.pairs > 1)} "
                f"stored{', too many for exact recall' * (self.pairs > self.d_state)}. "
                f"Query {self.query} is answered {outcome}. Over all queries, "
                f"{result.correct[self.pairs - 1]} of {self.pairs} answers are correct.")

    def _figure(self) -> Figure:
        result = self.compute()
        accuracy = 100 * result.correct / torch.arange(1, MAX_PAIRS + 1)
        return plots.associative_recall(result.overlaps, result.scores, accuracy, self.query - 1,
                                        self.d_state)

    def __repr__(self) -> str:
        return (f"RecallExplorer(d_state={self.d_state}, pairs={self.pairs}, "
                f"query={self.query})")


def _correct_counts(keys: Tensor, answers: Tensor) -> Tensor:
    """For 1, 2, … pairs, how many queries get their own value, (MAX_PAIRS,)."""
    similarity = answers[:MAX_PAIRS] @ answers.T
    added = (keys @ keys.T)[:, :, None] * similarity        # (query, pair, answer)
    best = added.cumsum(1).argmax(2)                        # (query, pairs so far)
    own = torch.arange(MAX_PAIRS)[:, None]
    return ((best == own) & (own <= own.T)).sum(0)
