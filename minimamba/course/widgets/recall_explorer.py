"""Fill a memory made of products and see pairs get in each other's way. The drawing is in
recall_explorer.js."""

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
from minimamba.course.widgets.explorer import check_between, module
from minimamba.scan import selective_scan

MOST, KINDS, CHANNELS = 64, 128, 128


@lru_cache
def _drawn() -> tuple[Tensor, Tensor]:
    """At random: keys (MOST, MOST), whole numbers, and the codes of the values (KINDS, CHANNELS),
    1 and −1."""
    draws = Generator().manual_seed(0)
    keys = (30 * torch.randn(MOST, MOST, generator=draws)).round()
    return keys.double(), 2 * torch.randint(2, (KINDS, CHANNELS), generator=draws).double() - 1


@lru_cache
def _packed() -> dict[str, str]:
    """Both for the browser: a byte for a number of a key, a bit for one of a code."""
    keys, codes = (x.numpy() for x in _drawn())
    return {"keys": base64.b64encode(keys.astype(np.int8).tobytes()).decode(),
            "codes": base64.b64encode(np.packbits(codes > 0).tobytes()).decode()}


class Seen(NamedTuple):
    """What the drawing shows: the keys (n, N) and their values (n, channels), the state
    (channels, N), each key's overlap with the key that is asked for (n,), the scores of the
    possible answers (kinds,), and how many pairs are right when there are 1, 2, … 64 (64,)."""

    keys: Tensor
    values: Tensor
    state: Tensor
    overlaps: Tensor
    scores: Tensor
    right: Tensor


class RecallExplorer(BrowserExplorer):
    """The size of a memory h = Σ vᵢ kᵢᵀ, how many pairs are in it, and which one is asked for,
    over what is read, h kⱼ = Σ vᵢ ⟨kᵢ, kⱼ⟩, and the share of right answers.

    The keys are random, of length 1, and of a larger key a smaller one is the beginning. The
    values are 64 of 128 random codes; the answer is the code that is most like what is read.

    Args:
        numbers: the numbers of state a channel, N, from 2 to 64.
        pairs: from 1 to 64. asked: which of them, from 1, the oldest.

    Raises:
        ValueError: naming the argument, what was expected and what came.
    """

    file = "recall_explorer.js"
    _esm = module(file)
    settings = ("numbers", "pairs", "asked")
    given = ("drawn",)
    numbers, pairs, asked = (traitlets.TraitType().tag(sync=True) for _ in range(3))
    drawn = traitlets.Dict().tag(sync=True)

    def __init__(self, numbers: int = 8, pairs: int = 24, asked: int = 1) -> None:
        check_between("pairs", pairs, 1, MOST)              # before a pair is asked for
        super().__init__(numbers=numbers, pairs=pairs, asked=asked, drawn=_packed())
        self.observe(self._keep_asking, names="pairs")

    @traitlets.validate("numbers", "pairs", "asked")
    def _check_count(self, proposal: dict) -> int:
        name, value = proposal["trait"].name, proposal["value"]
        low, high = {"numbers": (2, MOST), "pairs": (1, MOST), "asked": (1, self.pairs)}[name]
        check_between(name, value, low, high)
        return value

    def _keep_asking(self, change: object) -> None:
        """For a pair that is there."""
        self.asked = min(self.asked, self.pairs)

    def seen(self) -> Seen:
        """What the drawing shows: the state by the library's scan with nothing forgotten, A = 0
        and Δ = 1."""
        n, N = self.pairs, self.numbers
        every_key, codes = normalize(_drawn()[0][:, :N], dim=1), normalize(_drawn()[1], dim=1)
        keys, values = every_key[:n], codes[:n]
        _, state = selective_scan(values[None], torch.ones_like(values)[None],
                                  torch.zeros(CHANNELS, N, dtype=torch.float64), keys[None],
                                  keys[None], return_last_state=True, method="chunked")
        query = keys[self.asked - 1]
        right = [(k @ k.T @ v @ codes.T).argmax(1) == torch.arange(len(k))
                 for k, v in ((every_key[:m], codes[:m]) for m in range(1, MOST + 1))]
        return Seen(keys, values, state[0], keys @ query, codes @ (state[0] @ query),
                    torch.stack([each.sum() for each in right]))

    @property
    def caption(self) -> str:
        """What the drawing shows, in words."""
        seen, own = self.seen(), self.asked - 1
        others = seen.scores.clone()
        others[own] = -torch.inf
        margin, best = (seen.scores[own] - others.max()).item(), others.argmax().item() + 1
        fate = (f"right, by {margin:.2f}" if margin > 0
                else f"wrong, as answer {best} is ahead by {-margin:.2f}")
        return (f"{self.numbers} numbers a channel, {self.pairs} pair{'s' * (self.pairs > 1)}"
                f"{', more than can be exact' * (self.pairs > self.numbers)}. "
                f"Pair {self.asked} is answered {fate}; of all pairs "
                f"{seen.right[self.pairs - 1]} of {self.pairs} are answered right.")

    def _figure(self) -> Figure:
        seen = self.seen()
        shares = 100 * seen.right / torch.arange(1, MOST + 1)
        return plots.recall(seen.overlaps, seen.scores, shares, self.asked - 1, self.numbers)

    def __repr__(self) -> str:
        return (f"RecallExplorer(numbers={self.numbers}, pairs={self.pairs}, "
                f"asked={self.asked})")
