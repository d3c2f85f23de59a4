"""A step of a model recorded as a CUDA graph: one launch, in place of some hundreds."""

from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from minimamba.lm import MambaLM
from minimamba.nn.mamba import Memory

_latest: WeakKeyDictionary[MambaLM, "Replay"] = WeakKeyDictionary()


class Replay:
    """`model.step` for a batch, with a memory of its own, which each step writes over.

    A graph holds addresses. It is right as long as the weights stay where they are (`fits`),
    whatever is written there.
    """

    @torch.inference_mode(False)  # else what it writes over could not be written to outside of it
    @torch.no_grad()
    def __init__(self, model: MambaLM, batch: int) -> None:
        self.memory, self.weights = model.empty(batch), _addresses(model)
        self.tokens = torch.zeros(batch, dtype=torch.int64, device=self.memory[0].h.device)
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):  # what is done once, at a first call, is not recorded
            model.step(self.tokens, self.memory, in_place=True)
        torch.cuda.current_stream().wait_stream(side)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.scores, _ = model.step(self.tokens, self.memory, in_place=True)

    def fits(self, model: MambaLM, batch: int) -> bool:
        return len(self.tokens) == batch and self.weights == _addresses(model)

    def begin(self, memory: list[Memory]) -> None:
        """From this memory, which is copied."""
        for own, given in zip(self.memory, memory, strict=True):
            for to, part in zip(own, given, strict=True):
                to.copy_(part)

    def __call__(self, tokens: Tensor) -> Tensor:
        """The scores after one token a sequence, (batch,): (batch, vocab_size), overwritten by the
        next call."""
        self.tokens.copy_(tokens)
        self.graph.replay()
        return self.scores


def replay(model: MambaLM, memory: list[Memory]) -> Replay:
    """From this memory on; what was recorded last for a model is used again if it fits."""
    batch, recorded = len(memory[0].h), _latest.get(model)
    if recorded is None or not recorded.fits(model, batch):
        recorded = _latest[model] = Replay(model, batch)
    recorded.begin(memory)
    return recorded


def _addresses(model: MambaLM) -> list[int]:
    return [weight.data_ptr() for weight in model.parameters()]
