"""One function with a hand-written backward, for eager PyTorch and for `torch.compile`.

`torch.compile` needs a registered operator, or its graph breaks. Calling an operator from Python,
though, takes longer than some kernels run, so eager code goes through an `autograd.Function`.
"""

from collections.abc import Callable
from functools import partial

import torch


def differentiable(name: str, forward: Callable, backward: Callable, *, save: Callable,
                   gradients: Callable, fake: Callable, fake_backward: Callable) -> Callable:
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

    Returns:
        A function with the arguments of `forward`.
    """
    operator = torch.library.custom_op(f"minimamba::{name}", forward, mutates_args=())
    backward_operator = torch.library.custom_op(f"minimamba::{name}_backward", backward,
                                                mutates_args=())
    operator.register_fake(fake)
    backward_operator.register_fake(fake_backward)
    operator.register_autograd(partial(gradients, backward_operator), setup_context=save)

    def eager_forward(ctx, *arguments):
        output = forward(*arguments)
        save(ctx, arguments, output)
        return output

    eager = type(name, (torch.autograd.Function,), {
        "forward": staticmethod(eager_forward),
        "backward": staticmethod(partial(gradients, backward))})

    def call(*arguments):
        function = operator if torch.compiler.is_compiling() else eager.apply
        return function(*arguments)

    return call
