"""A model's decoding step recorded as a CUDA graph: one launch in place of some hundreds."""

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from minimamba.nn.mamba import MambaCache

if TYPE_CHECKING:
    from minimamba.lm import MambaLM

_latest: "WeakKeyDictionary[MambaLM, GraphedStep]" = WeakKeyDictionary()
"""The graph that was recorded last for each model."""


class GraphedStep:
    """`model.step_` for a batch of one size, with a cache of its own.

    A graph holds addresses: it stays right as long as the weights stay where they are, whatever
    is written there.

    Args:
        model: a `MambaLM` of Mamba blocks alone, on a GPU.
        batch: the number of sequences.
    """

    @torch.inference_mode(False)  # else nothing outside of it could write to these tensors
    @torch.no_grad()
    def __init__(self, model: "MambaLM", batch: int) -> None:
        self.cache = model.init_cache(batch)
        self.weight_addresses = _addresses(model)
        self.input_ids = torch.zeros(batch, dtype=torch.int64,
                                     device=self.cache[0].ssm_state.device)
        # What happens only at a first call must not be recorded.
        warm_up = torch.cuda.Stream()
        warm_up.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(warm_up):
            model.step_(self.input_ids, self.cache)
        torch.cuda.current_stream().wait_stream(warm_up)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.logits = model.step_(self.input_ids, self.cache)

    def fits(self, model: "MambaLM", batch: int) -> bool:
        """Say whether this graph can be used again.

        Args:
            model: the model it was recorded of.
            batch: the number of sequences.
        """
        return len(self.input_ids) == batch and self.weight_addresses == _addresses(model)

    def load_cache(self, cache: list[MambaCache]) -> None:
        """Copy a cache into that of the graph.

        Args:
            cache: one per layer.
        """
        for own, given in zip(self.cache, cache, strict=True):
            own.conv_state.copy_(given.conv_state)
            own.ssm_state.copy_(given.ssm_state)

    def __call__(self, input_ids: Tensor) -> Tensor:
        """Process one token per sequence.

        Args:
            input_ids: (batch,), int64.

        Returns:
            Logits (batch, vocab_size), which the next call overwrites.
        """
        self.input_ids.copy_(input_ids)
        self.graph.replay()
        return self.logits


def graphed_step(model: "MambaLM", cache: list[MambaCache]) -> GraphedStep:
    """Prepare a graphed step that goes on from a cache.

    Args:
        model: a `MambaLM` of Mamba blocks alone, on a GPU.
        cache: one per layer; it is copied.

    Returns:
        The graph recorded last for this model if it fits, else a new one.
    """
    batch = len(cache[0].ssm_state)
    recorded = _latest.get(model)
    if recorded is None or not recorded.fits(model, batch):
        recorded = GraphedStep(model, batch)
        _latest[model] = recorded
    recorded.load_cache(cache)
    return recorded


def _addresses(model: "MambaLM") -> list[int]:
    return [weight.data_ptr() for weight in model.parameters()]
