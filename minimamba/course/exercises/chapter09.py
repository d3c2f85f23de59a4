"""Chapter 09: the Mamba block."""

import torch
from torch import Tensor

from minimamba.course.exercises import Exercise


def conv_step(inputs: Tensor, x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    seen = torch.cat([inputs, x[None]])
    return (weight.T * seen).sum(0) + bias, seen[1:]


def _unkept(inputs, x, weight, bias):
    return conv_step(inputs, x, weight, bias)[0], inputs


def _turned(inputs, x, weight, bias):
    return conv_step(inputs, x, weight.flip(1), bias)


def tokens_to_outgrow(d_state: int, d_conv: int, expand: int) -> int:
    return expand * (d_state + d_conv - 1) // 2 + 1


def packed_conv(x: Tensor, weight: Tensor, seq_idx: Tensor) -> Tensor:
    y, d_conv = torch.zeros_like(x), weight.shape[1]
    for t in range(len(x)):
        for back in range(min(d_conv, t + 1)):
            if seq_idx[t - back] == seq_idx[t]:
                y[t] += weight[:, d_conv - 1 - back] * x[t - back]
    return y


def _unpacked(x, weight, seq_idx):
    return packed_conv(x, weight, torch.zeros_like(seq_idx))


def _only_at_the_start(x, weight, seq_idx):
    """Right at the first token of a sequence, and there alone."""
    y = _unpacked(x, weight, seq_idx)
    for t in range(1, len(x)):
        if seq_idx[t] != seq_idx[t - 1]:
            y[t] = weight[:, -1] * x[t]
    return y


def _flipped(x, weight, seq_idx):
    return packed_conv(x, weight.flip(1), seq_idx)


SEEN = torch.tensor([[1.0, 0.5], [-2.0, 1.0], [0.3, 2.0], [4.0, -1.0], [1.5, 0.2], [-0.7, 3.0],
                     [2.5, -0.4]], dtype=torch.float64)
WEIGHT = torch.tensor([[0.1, -0.3, 0.7, 1.0], [0.5, 0.2, -0.4, 0.8]], dtype=torch.float64)
BIAS = torch.tensor([0.25, -0.5], dtype=torch.float64)

EXERCISES = {
    "09.1": Exercise(
        conv_step,
        ({"inputs": SEEN[:3], "x": SEEN[3], "weight": WEIGHT, "bias": BIAS},
         {"inputs": SEEN[3:5], "x": SEEN[6], "weight": WEIGHT[:, 1:], "bias": BIAS}),
        {"y is right, but the next step would look at the same inputs again: drop the oldest, and "
         "keep x.": _unkept,
         "The last column of the weight belongs to x, the first to the oldest input.": _turned,
         "The bias is missing.":
            lambda inputs, x, weight, bias: conv_step(inputs, x, weight, 0 * bias)}),
    "09.2": Exercise(
        tokens_to_outgrow,
        ({"d_state": 16, "d_conv": 4, "expand": 2}, {"d_state": 64, "d_conv": 4, "expand": 2},
         {"d_state": 8, "d_conv": 2, "expand": 3}),
        {"That forgets what the convolution keeps.":
            lambda d_state, d_conv, expand: expand * d_state // 2 + 1,
         "The convolution keeps the inputs *before* the one it is at: d_conv - 1 of them.":
            lambda d_state, d_conv, expand: expand * (d_state + d_conv) // 2 + 1,
         "Attention keeps a key and a value a token: 2 d_model numbers.":
            lambda d_state, d_conv, expand: expand * (d_state + d_conv - 1) + 1}),
    "09.3": Exercise(
        packed_conv,
        ({"x": SEEN, "weight": WEIGHT, "seq_idx": torch.tensor([0, 0, 0, 1, 1, 1, 1])},
         {"x": SEEN, "weight": WEIGHT, "seq_idx": torch.tensor([0, 1, 1, 1, 1, 2, 2])},
         {"x": SEEN, "weight": WEIGHT, "seq_idx": torch.tensor([0, 0, 0, 0, 0, 0, 0])}),
        {"It looks across the border, into the sequence before.": _unpacked,
         "The second and third token of a sequence must not look across the border either.":
            _only_at_the_start,
         "The last column of the weight belongs to the token itself.": _flipped}),
}
