"""Exercises whose answer is a Triton kernel: what is wrong with a wrong one is said in words."""

import pytest

from minimamba.course import exercises
from minimamba.scan import why_not

if reason := why_not("triton"):
    pytest.skip(str(reason), allow_module_level=True)
import triton
import triton.language as tl


@triton.jit
def without_mask(x, y, length, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y + offsets, tl.load(x + offsets, offsets < length))


@triton.jit
def without_program_id(x, y, length, BLOCK: tl.constexpr):
    offsets = tl.arange(0, BLOCK)
    tl.store(y + offsets, tl.load(x + offsets, offsets < length), offsets < length)


@triton.jit
def into_its_input(x, y, length, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    values = tl.load(x + offsets, offsets < length)
    tl.store(y + offsets, values, offsets < length)
    tl.store(x + offsets, 2 * values, offsets < length)


@triton.jit
def doubled(x, y, length, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y + offsets, 2 * tl.load(x + offsets, offsets < length), offsets < length)


@triton.jit
def empty(x, y, length, BLOCK: tl.constexpr):
    pass


@triton.jit
def zeros(x, y, length, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y + offsets, tl.zeros((BLOCK,), tl.float32), offsets < length)


@triton.jit
def one_too_many(x, y, length, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y + offsets, tl.load(x + offsets, offsets < length, 0.0), offsets <= length)


@triton.jit
def before_the_first(x, y, length, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y + offsets - 1, tl.load(x + offsets, offsets < length), offsets < length)


@triton.jit
def unmasked_sum(x, y, length, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y + offsets, offsets * 0 + tl.sum(tl.load(x + offsets + length), 0), offsets < length)


@triton.jit
def nan_in_the_last_block(x, y, length, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    values = tl.load(x + offsets)
    tl.store(y + offsets, values + 0 * tl.sum(values, 0), offsets < length)


@triton.jit
def indexed(x, y, length, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y + offsets, x[offsets], offsets < length)


@triton.jit
def of_another_signature(x, y):
    pass


def copy_in_python(x, y, length, BLOCK: tl.constexpr):
    pass


@pytest.mark.parametrize(("kernel", "verdict"), [
    (without_mask, "The kernel wrote outside of y."),
    (without_program_id, "In y: element 4–9 wrong, element 0–3 right. Every program copies"),
    (into_its_input, "The kernel changed its input x."),
    (doubled, "All of y is wrong. Everything is 2 times what it should be."),
    (empty, "not tried yet (the kernel writes nothing)"),
    (zeros, "All of y is wrong."),
    (one_too_many, "outside of y, one element too many."),
    (before_the_first, "outside of y, before its first element"),
    (unmasked_sum, "All that the kernel wrote is NaN."),
    (nan_in_the_last_block, "got NaN. In y: element 8–9 wrong, element 0–7 right."),
    (indexed, "aren't indexed by numbers"),
    (of_another_signature, "Something is called with other arguments than it takes."),
    (copy_in_python, "@triton.jit")])
def test_a_wrong_kernel_is_told_what_is_wrong(kernel, verdict):
    assert verdict in exercises.verdict(exercises.find("07.1"), kernel)


@triton.jit
def first_block_alone(a, b, h, last, length, channels, TILE: tl.constexpr, BLOCK: tl.constexpr):
    channel = tl.arange(0, BLOCK)
    carry = tl.zeros((BLOCK,), tl.float32)
    for t in range(length):
        exists = channel < channels
        a_t = tl.load(a + t * channels + channel, exists, 1.0)
        carry = a_t * carry + tl.load(b + t * channels + channel, exists, 0.0)
        tl.store(h + t * channels + channel, carry, exists)
    tl.store(last + channel, carry, channel < channels)


def test_what_is_right_is_told_for_each_axis():
    verdict = exercises.verdict(exercises.find("07.4"), first_block_alone)
    assert "h at step 0, channel 4: expected" in verdict
    assert "it was never written. In h: channel 4 wrong, channel 0–3 right." in verdict
