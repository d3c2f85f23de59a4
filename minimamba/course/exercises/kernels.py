"""Exercises whose answer is a Triton kernel: launched on guarded tensors, judged in words."""

from collections.abc import Callable
from inspect import signature

import torch
from torch import Tensor
from triton.runtime import KernelInterface

from minimamba.course.exercises import Exercise, WrongAnswer
from minimamba.course.exercises.comparison import extent
from minimamba.course.exercises.kernel_errors import describe_kernel_error

GUARD = 4096
"""Elements before and after each tensor, which no kernel may touch."""
UNTOUCHED = -12345.0
"""What an output and its guards hold before the launch."""
COMPUTED_NAN = torch.tensor(0x7FC00001, dtype=torch.int32).view(torch.float32)
"""A NaN that a kernel wrote; in its bits it differs from that for what was never written."""
WHENCE_NAN = ("NaN comes from beyond the edges of a tensor, by a load without a mask or with wrong "
              "offsets, and from ∞ · 0.")


def kernel_exercise(definition: Callable, launch: Callable, inputs: Callable,
                    axes: dict[str, tuple[str, ...]], cases: tuple[dict, ...],
                    mistakes: dict[str, Callable] | None = None,
                    added_to: tuple[str, ...] = ()) -> Exercise:
    """Make an exercise whose answer is a kernel, or a function that a kernel calls.

    Args:
        definition: what the kernel has to compute, in PyTorch: from the inputs to a dict of
            outputs.
        launch: launches a kernel: `launch(kernel, *inputs, *outputs)`.
        inputs: makes the input tensors of a case.
        axes: for each output, what its axes are, such as ("step", "channel").
        cases: the arguments for `inputs`.
        mistakes: for each hint, a definition of what the wrong kernel computes.
        added_to: the outputs that a kernel adds to: they hold 0 before the launch. In the others
            what was never written is NaN after it.

    Returns:
        The exercise.
    """
    def call(answer: Callable, **case: object) -> dict[str, Tensor]:
        given = inputs(**case)
        if not isinstance(answer, KernelInterface):
            return _defined(answer, given)
        empty = {name: torch.full_like(output, 0.0 if name in added_to else UNTOUCHED,
                                       memory_format=torch.contiguous_format)
                 for name, output in definition(*given).items()}
        named = dict(zip(signature(definition).parameters, given, strict=False))
        return _run(lambda *tensors: launch(answer, *tensors), named, empty)

    return Exercise(definition, cases, mistakes or {}, call, lambda *pair: _explain(axes, *pair))


def first_only(definition: Callable, size: int, axis: int) -> Callable:
    """Make a mistake in which the kernel does only the first part of its work.

    Args:
        definition: what the kernel has to compute.
        size: how many entries along the axis are written.
        axis: of each output.

    Returns:
        A definition whose other entries are NaN, as what was never written.
    """
    def mistake(*tensors: Tensor) -> dict[str, Tensor]:
        outputs = {name: output.clone() for name, output in definition(*tensors).items()}
        for output in outputs.values():
            output.movedim(axis, 0)[size:] = float("nan")
        return outputs
    return mistake


def _defined(definition: Callable, given: tuple[Tensor, ...]) -> dict[str, Tensor]:
    """What a definition in PyTorch computes; a kernel without its decorator isn't one."""
    try:
        outputs = definition(*given)
    except Exception:
        outputs = None
    if not isinstance(outputs, dict):
        raise WrongAnswer("That is a plain Python function: a kernel needs @triton.jit above it.")
    return outputs


def _guarded(tensor: Tensor, guard: float) -> Tensor:
    """A copy with the same strides in the middle of a larger tensor, where kernels run.

    What a kernel loads from beyond the edges then isn't right by chance.
    """
    place = "cuda" if torch.cuda.is_available() else "cpu"
    last = sum((size - 1) * stride
               for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    buffer = torch.full((last + 1 + 2 * GUARD,), guard, dtype=tensor.dtype, device=place)
    return buffer.as_strided(tensor.shape, tensor.stride(), GUARD).copy_(tensor)


def _run(launch: Callable, inputs: dict[str, Tensor],
         empty: dict[str, Tensor]) -> dict[str, Tensor]:
    """The outputs of a kernel, NaN where it never wrote; WrongAnswer for what it must not do."""
    given = [_guarded(tensor, float("nan")) for tensor in inputs.values()]
    outputs = {name: _guarded(tensor, UNTOUCHED) for name, tensor in empty.items()}
    try:
        launch(*given, *outputs.values())
    except Exception as error:
        raise WrongAnswer(describe_kernel_error(error)) from error
    for name, output in outputs.items():
        _refuse_writes_outside(name, output)
    for (name, before), after in zip(inputs.items(), given, strict=True):
        if not torch.equal(before, after.cpu()):
            raise WrongAnswer(f"The kernel changed its input {name}. Only outputs are stored to.")
    results = {name: output.cpu() for name, output in outputs.items()}
    if all(torch.equal(results[name], empty[name]) for name in empty):
        return {name: torch.full_like(output, float("nan")) for name, output in empty.items()}
    if all(output.isnan().all() for output in results.values()):
        raise WrongAnswer(f"All that the kernel wrote is NaN. {WHENCE_NAN}")
    for output in results.values():
        output[output.isnan()] = COMPUTED_NAN
        output[output == UNTOUCHED] = float("nan")
    return results


def _refuse_writes_outside(name: str, output: Tensor) -> None:
    whole = output.as_strided((output.numel() + 2 * GUARD,), (1,), 0)
    before = (whole[:GUARD] != UNTOUCHED).sum().item()
    after = (whole[-GUARD:] != UNTOUCHED).sum().item()
    if before:
        raise WrongAnswer(f"The kernel wrote outside of {name}, before its first element: an "
                          "offset is negative.")
    if after == 1:
        raise WrongAnswer(f"The kernel wrote outside of {name}, one element too many. They are "
                          "numbered from 0, so the mask of tl.store has < rather than <=.")
    if after:
        raise WrongAnswer(f"The kernel wrote outside of {name}. The last program is only "
                          "partly filled, so tl.store needs a mask; or are its offsets too large?")


def _explain(axes: dict[str, tuple[str, ...]], got: dict[str, Tensor],
             expected: dict[str, Tensor]) -> str:
    """Where the first output that differs is wrong, and where it is right."""
    for name, names in axes.items():
        wrong = ~torch.isclose(got[name], expected[name], rtol=1e-4, atol=1e-5)
        if wrong.any():
            first = tuple(wrong.nonzero()[0].tolist())
            place = ", ".join(f"{axis} {index}" for axis, index in zip(names, first, strict=True))
            return (f"{name} at {place}: expected {expected[name][first]:.4g}, "
                    f"{_came_out(got[name][first])}. {extent(name, names, wrong)}"
                    + (f" {WHENCE_NAN}" if _is_computed_nan(got[name]).any() else ""))
    return ""


def _is_computed_nan(values: Tensor) -> Tensor:
    return values.float().view(torch.int32) == COMPUTED_NAN.view(torch.int32)


def _came_out(value: Tensor) -> str:
    if value.isnan() and not _is_computed_nan(value):
        return "it was never written"
    return f"got {value:.4g}".replace("nan", "NaN")
