"""Chapter 11: what a state forgets, and hybrids."""

from math import exp, log2

import torch
from torch import Tensor

from minimamba.course.exercises import Exercise


def components_needed(people: int, digits: int, bits: int) -> int:
    """Solve 11.1: how many components a state needs to hold a phone book.

    Args:
        people: the number of people.
        digits: the number of decimal digits for each.
        bits: how many bits a component has.

    Returns:
        The smallest number of components that can tell all phone books apart.
    """
    book_bits = (10 ** (people * digits) - 1).bit_length()       # log2, rounded up, exactly
    return -(-book_bits // bits)


def fraction_left(delta: Tensor, A: float, position: int) -> float:
    """Solve 11.2: the fraction of an input that is still in the state at the end.

    Args:
        delta: (length,), the step sizes.
        A: a negative number.
        position: the step at which the input was written, from 0.

    Returns:
        A number from 0 to 1.
    """
    return exp(A * delta[position + 1:].sum().item())


def _own_step_too(delta, A, position):
    return exp(A * delta[position:].sum().item())


def _mean_step(delta, A, position):
    return exp(A * delta.mean().item()) ** (len(delta) - position - 1)


def cache_bytes(layers: str, length: int, d_model: int, d_state: int) -> int:
    """Solve 11.3: the size of the cache of one sequence, in float32.

    Args:
        layers: the layer pattern, of the letters M, A and F.
        length: the number of tokens so far.
        d_model: the number of features.
        d_state: the state dimension N of a Mamba block.

    Returns:
        The number of bytes.
    """
    mamba = 2 * d_model * (d_state + 3)
    attention = 2 * length * d_model
    return 4 * (layers.count("M") * mamba + layers.count("A") * attention)


def _keys_alone(layers, length, d_model, d_state):
    return cache_bytes(layers.replace("A", ""), length, d_model, d_state) + 4 * (
        layers.count("A") * length * d_model)


def _without_conv_state(layers, length, d_model, d_state):
    return cache_bytes(layers, length, d_model, d_state) - 4 * layers.count("M") * 6 * d_model


def _state_of_every_step(layers, length, d_model, d_state):
    return cache_bytes(layers.replace("A", ""), length, d_model, d_state) * length + cache_bytes(
        layers.replace("M", ""), length, d_model, d_state)


def corrected(keys: Tensor, values: Tensor, query: Tensor) -> Tensor:
    """Solve 11.4: what a query reads from a state that was written by the delta rule.

    Args:
        keys: (pairs, N).
        values: (pairs, channels).
        query: (N,).

    Returns:
        (channels,).
    """
    state = torch.zeros(keys.shape[1], values.shape[1], dtype=keys.dtype)
    for key, value in zip(keys, values, strict=True):
        missing = value - key @ state
        state = state + torch.outer(key, missing) / key.square().sum()
    return query @ state


def _value_added(keys, values, query):
    return query @ (keys.T / keys.square().sum(1)) @ values


def _keys_not_normalized(keys, values, query):
    state = torch.zeros(keys.shape[1], values.shape[1], dtype=keys.dtype)
    for key, value in zip(keys, values, strict=True):
        state = state + torch.outer(key, value - key @ state)
    return query @ state


STEPS = torch.tensor([0.5, 0.1, 2.0, 0.01, 0.2, 0.3], dtype=torch.float64)
KEYS = torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0], [2.0, 0.0, 0.0], [1.0, 1.0, 1.0]],
                    dtype=torch.float64)
VALUES = torch.tensor([[1.0, -1.0], [0.5, 2.0], [3.0, 4.0], [-1.0, 0.0]], dtype=torch.float64)
PATTERNS = ("MMMM", "MF" * 4, "AFAF", "MFMFMFMFAFMFMFMF")

EXERCISES = {
    "11.1": Exercise(
        components_needed, tuple({"people": people, "digits": digits, "bits": bits}
                                 for people, digits, bits in ((20, 4, 16), (128, 4, 32),
                                                              (1, 1, 2), (1000, 7, 8))),
        {"A state can't have part of a component: round up.":
            lambda people, digits, bits: int(people * digits * log2(10) // bits),
         "A digit is one of ten: log2(10) bits, not four.":
            lambda people, digits, bits: -(-4 * people * digits // bits),
         "The model must be able to give any number: it has to hold all of them.":
            lambda people, digits, bits: components_needed(1, digits, bits)}),
    "11.2": Exercise(
        fraction_left, tuple({"delta": STEPS, "A": A, "position": position}
                             for A, position in ((-1.0, 1), (-0.5, 2), (-2.0, 0), (-1.0, 5))),
        {"The step at which it is written takes nothing from it, only from what was there before.":
            _own_step_too,
         "That is a fixed discount. Here each step has its own decay: their product is left.":
            _mean_step,
         "What came before has no effect on it: the decays that count are those of later steps.":
            lambda delta, A, position: exp(A * delta[:position].sum())}),
    "11.3": Exercise(
        cache_bytes, tuple({"layers": layers, "length": length, "d_model": 64, "d_state": 16}
                           for layers in PATTERNS for length in (1, 1024)),
        {"Attention caches a key and a value of every token.": _keys_alone,
         "A Mamba block also caches the last d_conv − 1 = 3 inputs of its convolution.":
            _without_conv_state,
         "A state is overwritten at each token: it does not grow with the length.":
            _state_of_every_step}),
    "11.4": Exercise(
        corrected, tuple({"keys": KEYS[:count], "values": VALUES[:count], "query": query}
                         for count, query in ((1, KEYS[0]), (3, KEYS[0] / 2), (4, KEYS[3]),
                                              (4, KEYS[1]))),
        {"Write what is missing, value − keyᵀS, not the value: a key that comes again would be "
         "added to what it had.": _value_added,
         "A key of length 2 is read and written four times as strongly: divide by keyᵀkey.":
            _keys_not_normalized}),
}
