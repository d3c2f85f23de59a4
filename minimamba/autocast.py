"""Autocast, kept out of what promises its result in float32 or float64.

Within `torch.autocast`, PyTorch multiplies matrices in half precision, also those of a float32
recurrence, where each step carries the rounding of all steps before it.
"""

from collections.abc import Callable, Iterator
from functools import wraps

import torch
from torch import Tensor

AUTOCAST_DEVICES = tuple(filter(torch.amp.is_autocast_available, ("cpu", "cuda", "mps", "xpu")))
"""Types of devices that have an autocast; asked once, for torch.compile of 2.11 can't trace it."""
SEEN = "minimamba.autocast"
"""Marks a node of the graph that runs without autocast already, or needn't."""


def without_autocast(function: Callable) -> Callable:
    """Decorate a function to run without autocast, and its backward pass too.

    Args:
        function: any; the first tensor among its arguments says which device's autocast is meant.

    Returns:
        The same function, computed in the dtypes that its arguments have.
    """
    @wraps(function)
    def call(*args, **kwargs):
        first = args[0] if args else None
        if not isinstance(first, Tensor):
            first = next(_tensors([*args, *kwargs.values()]), None)
        device_type = "cpu" if first is None else first.device.type
        if device_type not in AUTOCAST_DEVICES or not torch.is_autocast_enabled(device_type):
            return function(*args, **kwargs)
        given = [*args, *kwargs.values()]
        with torch.autocast(device_type, enabled=False):
            outputs = function(*args, **kwargs)
        if not torch.compiler.is_compiling():
            _keep_off_in_backward(outputs, given, device_type)
        return outputs

    return call


def _keep_off_in_backward(outputs: object, inputs: object, device_type: str) -> None:
    """Turn autocast off in the backward of all operations between inputs and outputs, for a
    `backward()` that is called within autocast: the engine turns it on again for each of them.
    Where gradients have gradients, the same holds for the operations that compute those."""
    def turn_off(_):
        torch.set_autocast_enabled(device_type, False)

    def keep_off(grad_inputs, grad_outputs):
        if torch.is_grad_enabled():  # create_graph=True
            _keep_off_in_backward(grad_inputs, grad_outputs, device_type)

    for x in _tensors(inputs):
        if x.grad_fn is not None:
            x.grad_fn.metadata[SEEN] = True
    nodes = [y.grad_fn for y in _tensors(outputs)]
    while nodes:
        node = nodes.pop()
        if node is not None and SEEN not in node.metadata:
            # Marked, not kept in a set, with which the hooks would keep all nodes alive.
            node.metadata[SEEN] = True
            node.register_prehook(turn_off)
            node.register_hook(keep_off)
            nodes.extend(earlier for earlier, _ in node.next_functions)


def _tensors(value: object) -> Iterator[Tensor]:
    """The tensors in a value, or in the lists and tuples in it."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from _tensors(part)
