"""Chapter 09: the Mamba block."""

import torch
from torch import Tensor
from torch.nn.functional import silu

from minimamba.course.exercises import Exercise


def conv_step(conv_state: Tensor, x: Tensor, weight: Tensor,
              bias: Tensor) -> tuple[Tensor, Tensor]:
    """Solve 09.1: one step of the short convolution.

    Args:
        conv_state: (d_conv − 1, channels), the inputs before, oldest first.
        x: (channels,), the input of this step.
        weight: (channels, d_conv).
        bias: (channels,).

    Returns:
        The output (channels,), and the conv_state for the next step.
    """
    window = torch.cat([conv_state, x[None]])
    return (weight.T * window).sum(0) + bias, window[1:]


def _state_not_updated(conv_state, x, weight, bias):
    return conv_step(conv_state, x, weight, bias)[0], conv_state


def _weight_flipped(conv_state, x, weight, bias):
    return conv_step(conv_state, x, weight.flip(1), bias)


def _newest_first(conv_state, x, weight, bias):
    return (conv_step(torch.cat([x[None], conv_state[:-1]]), conv_state[-1], weight, bias)[0],
            torch.cat([x[None], conv_state[:-1]]))


def _nothing_dropped(conv_state, x, weight, bias):
    return conv_step(conv_state, x, weight, bias)[0], torch.cat([conv_state, x[None]])


def _output_appended(conv_state, x, weight, bias):
    y = conv_step(conv_state, x, weight, bias)[0]
    return y, torch.cat([conv_state[1:], y[None]])


def _without_x(conv_state, x, weight, bias):
    y, next_state = conv_step(conv_state, x, weight, bias)
    return y - weight[:, -1] * x, next_state


def _activated(conv_state, x, weight, bias):
    y, next_state = conv_step(conv_state, x, weight, bias)
    return silu(y), next_state


def tokens_to_outgrow(d_state: int, d_conv: int, expand: int) -> int:
    """Solve 09.2: after how many tokens a KV cache is larger than Mamba's cache.

    Args:
        d_state: the state dimension N.
        d_conv: the width of the convolution.
        expand: d_inner / d_model.

    Returns:
        The smallest such number of tokens.
    """
    return expand * (d_state + d_conv - 1) // 2 + 1


def packed_conv(x: Tensor, weight: Tensor, seq_idx: Tensor) -> Tensor:
    """Solve 09.3: the short convolution of a packed sequence.

    Args:
        x: (length, channels).
        weight: (channels, d_conv).
        seq_idx: (length,), the number of the sequence that each step belongs to.

    Returns:
        (length, channels).
    """
    y = torch.zeros_like(x)
    d_conv = weight.shape[1]
    for t in range(len(x)):
        for lag in range(min(d_conv, t + 1)):
            if seq_idx[t - lag] == seq_idx[t]:
                y[t] += weight[:, d_conv - 1 - lag] * x[t - lag]
    return y


def _border_ignored(x, weight, seq_idx):
    return packed_conv(x, weight, torch.zeros_like(seq_idx))


def _first_token_only(x, weight, seq_idx):
    """Right at the first token of a sequence, and there alone."""
    y = _border_ignored(x, weight, seq_idx)
    for t in range(1, len(x)):
        if seq_idx[t] != seq_idx[t - 1]:
            y[t] = weight[:, -1] * x[t]
    return y


def _compared_with_next(x, weight, seq_idx):
    """Look across a border, except right behind it: each step is compared with the next one."""
    y = torch.zeros_like(x)
    d_conv = weight.shape[1]
    for t in range(len(x)):
        for lag in range(min(d_conv, t + 1)):
            if seq_idx[t - lag] == seq_idx[min(t, t - lag + 1)]:
                y[t] += weight[:, d_conv - 1 - lag] * x[t - lag]
    return y


def _ahead(x, weight, seq_idx):
    return packed_conv(x.flip(0), weight, seq_idx.flip(0)).flip(0)


def _oldest_left_out(x, weight, seq_idx):
    return packed_conv(x, weight[:, 1:], seq_idx)


def _itself_left_out(x, weight, seq_idx):
    """The window ends one step too early."""
    return packed_conv(x, torch.cat([weight[:, 1:], 0 * weight[:, :1]], 1), seq_idx)


def _full_windows_only(x, weight, seq_idx):
    y = packed_conv(x, weight, seq_idx)
    for t in range(len(x)):
        if (seq_idx[:t + 1] == seq_idx[t]).sum() < weight.shape[1]:
            y[t] = 0
    return y


def _packed_weight_flipped(x, weight, seq_idx):
    return packed_conv(x, weight.flip(1), seq_idx)


SEQUENCE = torch.tensor([[1.0, 0.5], [-2.0, 1.0], [0.3, 2.0], [4.0, -1.0], [1.5, 0.2],
                         [-0.7, 3.0], [2.5, -0.4]], dtype=torch.float64)
WEIGHT = torch.tensor([[0.1, -0.3, 0.7, 1.0], [0.5, 0.2, -0.4, 0.8]], dtype=torch.float64)
BIAS = torch.tensor([0.25, -0.5], dtype=torch.float64)

EXERCISES = {
    "09.1": Exercise(
        conv_step,
        ({"conv_state": SEQUENCE[:3], "x": SEQUENCE[3], "weight": WEIGHT, "bias": BIAS},
         {"conv_state": SEQUENCE[3:5], "x": SEQUENCE[6], "weight": WEIGHT[:, 1:], "bias": BIAS}),
        {"y is right, but the next step would see the same inputs again: drop the oldest from "
         "conv_state, and append x.": _state_not_updated,
         "The last column of the weight belongs to x, the first to the oldest input.":
            _weight_flipped,
         "The bias is missing.":
            lambda conv_state, x, weight, bias: conv_step(conv_state, x, weight, 0 * bias),
         "The bias is added once, not for each step of the window.":
            lambda conv_state, x, weight, bias: conv_step(conv_state, x, weight,
                                                          weight.shape[1] * bias),
         "y leaves x out: the new input is part of the window.": _without_x,
         "conv_state is oldest first: x comes after it, and what is dropped is at the front.":
            _newest_first,
         "conv_state grows: it holds d_conv − 1 inputs. Which one is no longer needed?":
            _nothing_dropped,
         "conv_state holds the inputs of the convolution, not its outputs.": _output_appended,
         "The convolution is right, but the activation that follows it isn't part of it here.":
            _activated}),
    "09.2": Exercise(
        tokens_to_outgrow,
        ({"d_state": 16, "d_conv": 4, "expand": 2}, {"d_state": 64, "d_conv": 4, "expand": 2},
         {"d_state": 8, "d_conv": 2, "expand": 3}),
        {"That leaves out the convolution's part of the cache, conv_state.":
            lambda d_state, d_conv, expand: expand * d_state // 2 + 1,
         "conv_state holds the inputs *before* the current one: d_conv - 1 of them.":
            lambda d_state, d_conv, expand: expand * (d_state + d_conv) // 2 + 1,
         "Attention caches a key and a value per token: 2 d_model values.":
            lambda d_state, d_conv, expand: expand * (d_state + d_conv - 1) + 1,
         "The KV cache isn't larger yet: there it is at most as large.":
            lambda d_state, d_conv, expand: expand * (d_state + d_conv - 1) // 2,
         "Where the two come out equal, one more token is needed.":
            lambda d_state, d_conv, expand: -(-expand * (d_state + d_conv - 1) // 2),
         "A number of tokens is whole.":
            lambda d_state, d_conv, expand: expand * (d_state + d_conv - 1) / 2 + 1,
         "Mamba's cache has d_inner channels, attention's d_model: expand doesn't cancel.":
            lambda d_state, d_conv, expand: (d_state + d_conv - 1) // 2 + 1,
         "The convolution has d_inner channels too, like the state.":
            lambda d_state, d_conv, expand: (expand * d_state + d_conv - 1) // 2 + 1,
         "The two parts of Mamba's cache are added: a channel has one of each.":
            lambda d_state, d_conv, expand: expand * d_state * (d_conv - 1) // 2 + 1}),
    "09.3": Exercise(
        packed_conv,
        ({"x": SEQUENCE, "weight": WEIGHT, "seq_idx": torch.tensor([0, 0, 0, 1, 1, 1, 1])},
         {"x": SEQUENCE, "weight": WEIGHT, "seq_idx": torch.tensor([5, 2, 2, 2, 2, -1, -1])},
         {"x": SEQUENCE, "weight": WEIGHT, "seq_idx": torch.tensor([0, 0, 0, 0, 0, 0, 0])}),
        {"It looks across the border, into the sequence before.": _border_ignored,
         "The second and third token of a sequence must not look across the border either.":
            _first_token_only,
         "Compare a step with the token whose output you compute, not with the step after it.":
            _compared_with_next,
         "The last column of the weight belongs to the token itself.": _packed_weight_flipped,
         "It looks ahead: a token may see those before it, not those after it.": _ahead,
         "The window is a step too short: the first column of the weight is not used.":
            _oldest_left_out,
         "The window ends at the token itself, which is left out.": _itself_left_out,
         "The first tokens of a text have an output too, from the few that there are.":
            _full_windows_only,
         "The sums begin at x: let y be zeros at first.":
            lambda x, weight, seq_idx: x + packed_conv(x, weight, seq_idx)}),
}
