"""A model's decoding step recorded as a CUDA graph: one launch in place of some hundreds."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from minimamba.arguments import refuse
from minimamba.nn.mamba import MambaCache
from minimamba.nn.mamba2 import Mamba2Cache

if TYPE_CHECKING:
    from minimamba.lm import MambaLM

_idle: "WeakKeyDictionary[MambaLM, GraphedStep]" = WeakKeyDictionary()
"""A graph of each model that no generation is using."""
_recording = Lock()


class GraphedStep:
    """`model.step_` for a batch of one size, with a cache of its own.

    A graph holds addresses: it stays right as long as the weights stay where they are, whatever
    is written there.

    Args:
        model: a `MambaLM` of Mamba and Mamba-2 blocks alone, on a GPU.
        batch: the number of sequences.
    """

    @torch.inference_mode(False)  # else nothing outside of it could write to these tensors
    @torch.no_grad()
    def __init__(self, model: "MambaLM", batch: int) -> None:
        self.cache = model.init_cache(batch)
        device = self.cache[0].ssm_state.device
        self.stream = torch.cuda.current_stream(device)
        # Where each weight is found, since walking through the modules takes longer than a step.
        self.weights = [(module._parameters, name) for module in model.modules()
                        for name, weight in module._parameters.items() if weight is not None]
        self.places = self._places()
        self.input_ids = torch.zeros(batch, dtype=torch.int64, device=device)
        self.graph = torch.cuda.CUDAGraph()
        # Other threads may allocate memory meanwhile, but only one may record. And none may use the
        # stream: PyTorch deals out 32 of each priority in turn, so this is not of the usual one.
        stream = torch.cuda.Stream(device, priority=-1)
        with _recording:
            # What happens only at a first call must not be recorded.
            stream.wait_stream(self.stream)
            with torch.cuda.stream(stream):
                model.step_(self.input_ids, self.cache)
            self.stream.wait_stream(stream)
            with torch.cuda.graph(self.graph, stream=stream, capture_error_mode="thread_local"):
                self.logits = model.step_(self.input_ids, self.cache)

    def fits(self, batch: int) -> bool:
        """Say whether this graph can be used here and now.

        Args:
            batch: the number of sequences.
        """
        stream = torch.cuda.current_stream(self.stream.device)
        return (len(self.input_ids) == batch and self.stream == stream
                and self.places == self._places())

    def load_cache(self, cache: list[MambaCache | Mamba2Cache]) -> None:
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

    def _places(self) -> list[tuple[int, torch.dtype]]:
        return [(weights[name].data_ptr(), weights[name].dtype)
                for weights, name in self.weights]


@contextmanager
def graphed_steps(model: "MambaLM", cache: list[MambaCache | Mamba2Cache]
                  ) -> Iterator[Callable[[Tensor], Tensor]]:
    """Use a graph for the steps of one generation, which alone has it meanwhile.

    Args:
        model: a `MambaLM` of Mamba and Mamba-2 blocks alone, on a GPU.
        cache: one per layer, to go on from; it is copied.

    Yields:
        A function from the next token of each sequence, (batch,), to logits (batch, vocab_size),
        which its next call overwrites.

    Raises:
        ValueError: at a step, if the model has left its GPU since.
    """
    batch = len(cache[0].ssm_state)
    device = cache[0].ssm_state.device
    graph = _idle.pop(model, None)
    if graph is None or not graph.fits(batch):
        graph = GraphedStep(model, batch)
    graph.load_cache(cache)

    def step(input_ids: Tensor) -> Tensor:
        nonlocal graph
        if not graph.fits(batch):  # the weights were replaced between two tokens
            if model.embedding.weight.device != device:
                refuse("model", f"to stay on {device} while it generates",
                       model.embedding.weight.device)
            moved = GraphedStep(model, batch)
            moved.load_cache(graph.cache)
            graph = moved
        return graph(input_ids)

    try:
        yield step
    finally:
        _idle[model] = graph
