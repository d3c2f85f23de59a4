"""One function with a hand-written backward, for eager PyTorch and for `torch.compile`.

`torch.compile` needs a registered operator, or its graph breaks. Calling an operator from Python,
though, takes longer than some kernels run, so eager code goes through an `autograd.Function`.
"""

from collections.abc import Callable
from functools import partial
from typing import NoReturn

import torch

AGAIN = "These gradients can't be differentiated again: their backward pass is written by hand. "
"""Begins the error of a second derivative; how to get one follows."""
BATCHED = ("These gradients can't be computed for several outputs at once (is_grads_batched=True, "
           "jacobian(vectorize=True)): their backward pass is written by hand. ")
"""Begins the error of batched gradients."""


def call_once(backward: Callable, instead: str, *arguments: object) -> tuple:
    """Compute gradients, such that to differentiate them again is an error.

    Without it, PyTorch takes the gradients for constants, or differentiates the calls that it
    happens to see inside: a gradient penalty is then wrong without a word.

    Args:
        backward: computes the gradients.
        instead: what to do for a second derivative, a sentence for the error.
        *arguments: for `backward`; tensors as the forward pass was given them, not detached.

    Returns:
        The gradients.
    """
    _refuse_batched(instead, arguments)
    return _once(backward, instead, *arguments)


def _refuse_batched(instead: str, arguments: tuple) -> None:
    if not torch.compiler.is_compiling():
        for x in arguments:
            if isinstance(x, torch.Tensor) and torch._C._functorch.is_legacy_batchedtensor(x):
                raise RuntimeError(BATCHED + instead)


def _once(backward: Callable, instead: str, *arguments: object) -> tuple:
    if not torch.is_grad_enabled():
        return tuple(backward(*arguments))
    return _Once.apply(backward, instead, *arguments)


class _Once(torch.autograd.Function):
    """A function without a derivative, which says so."""

    @staticmethod
    def forward(ctx, backward, instead, *arguments):
        ctx.instead = instead
        return tuple(backward(*arguments))

    @staticmethod
    def backward(ctx, *_):
        _refuse_again(ctx.instead)


def _refuse_again(instead: str, *_: object) -> NoReturn:
    raise RuntimeError(AGAIN + instead)


def differentiable(name: str, forward: Callable, backward: Callable, *, save: Callable,
                   gradients: Callable, fake: Callable, fake_backward: Callable, instead: str,
                   results: int | None = None, eager_forward: Callable | None = None) -> Callable:
    """Make a differentiable function from a forward and a backward that launch kernels.

    Args:
        name: the operator is registered as `minimamba::name`, and its backward as
            `minimamba::name_backward`.
        forward: the function; its annotations give the operator's schema.
        backward: a function with annotations that computes the gradients.
        save: `save(ctx, inputs, output)` keeps in ctx what the backward needs.
        gradients: `gradients(backward, ctx, *output_gradients)` calls the backward it is given
            and returns one gradient, or None, for each argument of `forward`.
        fake: as `forward`, but returns uninitialized tensors of the right shapes.
        fake_backward: the same for `backward`.
        instead: what to do for a second derivative, which there is none of; a sentence.
        results: how many of the tensors that `forward` or `eager_forward` returns are wanted; all
            if None. Those after them are for `save` alone, and eager code is not given them.
        eager_forward: what eager code runs in the place of `forward`; it may return None where an
            operator must return a tensor.

    Returns:
        A function with the arguments of `forward`.
    """
    operator = torch.library.custom_op(f"minimamba::{name}", forward, mutates_args=())
    backward_operator = torch.library.custom_op(f"minimamba::{name}_backward", backward,
                                                mutates_args=())
    operator.register_fake(fake)
    backward_operator.register_fake(fake_backward)
    operator.register_autograd(partial(gradients, backward_operator), setup_context=save)
    backward_operator.register_autograd(partial(_refuse_again, instead))

    run = eager_forward or forward

    def run_and_save(ctx, *arguments):
        output = run(*arguments)
        save(ctx, arguments, output)
        return output if results is None else output[:results]

    backward_once = partial(_once, backward, instead)

    def run_backward(ctx, *output_gradients):
        _refuse_batched(instead, output_gradients)  # of all tensors these alone can be batched
        return gradients(backward_once, ctx, *output_gradients)

    eager = type(name, (torch.autograd.Function,), {
        "forward": staticmethod(run_and_save), "backward": staticmethod(run_backward)})

    def call(*arguments):
        function = operator if torch.compiler.is_compiling() else eager.apply
        return function(*arguments)

    return call
