"""Chapter 11: what a state forgets, and hybrids."""

from math import exp, log2

import torch
from torch import Tensor

from minimamba.course.exercises import Exercise


def numbers_needed(people: int, digits: int, bits: int) -> int:
    asked = (10 ** (people * digits) - 1).bit_length()           # log2, rounded up, exactly
    return -(-asked // bits)


def share_left(delta: Tensor, A: float, place: int) -> float:
    return exp(A * delta[place + 1:].sum().item())


def _its_own_too(delta, A, place):
    return exp(A * delta[place:].sum().item())


def _by_the_mean(delta, A, place):
    return exp(A * delta.mean().item()) ** (len(delta) - place - 1)


def held(layers: str, length: int, d_model: int, d_state: int) -> int:
    mamba = 2 * d_model * (d_state + 3)
    attention = 2 * length * d_model
    return 4 * (layers.count("M") * mamba + layers.count("A") * attention)


def _keys_alone(layers, length, d_model, d_state):
    return held(layers.replace("A", ""), length, d_model, d_state) + 4 * (
        layers.count("A") * length * d_model)


def _without_the_convolution(layers, length, d_model, d_state):
    return held(layers, length, d_model, d_state) - 4 * layers.count("M") * 6 * d_model


def _every_step(layers, length, d_model, d_state):
    return held(layers.replace("A", ""), length, d_model, d_state) * length + held(
        layers.replace("M", ""), length, d_model, d_state)


def corrected(keys: Tensor, values: Tensor, query: Tensor) -> Tensor:
    state = torch.zeros(keys.shape[1], values.shape[1], dtype=keys.dtype)
    for key, value in zip(keys, values, strict=True):
        wrong = value - key @ state
        state = state + torch.outer(key, wrong) / key.square().sum()
    return query @ state


def _added(keys, values, query):
    return query @ (keys.T / keys.square().sum(1)) @ values


def _as_if_of_length_one(keys, values, query):
    state = torch.zeros(keys.shape[1], values.shape[1], dtype=keys.dtype)
    for key, value in zip(keys, values, strict=True):
        state = state + torch.outer(key, value - key @ state)
    return query @ state


STEPS = torch.tensor([0.5, 0.1, 2.0, 0.01, 0.2, 0.3], dtype=torch.float64)
KEYS = torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0], [2.0, 0.0, 0.0], [1.0, 1.0, 1.0]],
                    dtype=torch.float64)
VALUES = torch.tensor([[1.0, -1.0], [0.5, 2.0], [3.0, 4.0], [-1.0, 0.0]], dtype=torch.float64)
STACKS = ("MMMM", "MF" * 4, "AFAF", "MFMFMFMFAFMFMFMF")

EXERCISES = {
    "11.1": Exercise(
        numbers_needed, tuple({"people": people, "digits": digits, "bits": bits}
                              for people, digits, bits in ((20, 4, 16), (128, 4, 32), (1, 1, 2),
                                                           (1000, 7, 8))),
        {"Part of a number of state can't be had: round up.":
            lambda people, digits, bits: int(people * digits * log2(10) // bits),
         "A digit is one of ten: log2(10) bits, not four.":
            lambda people, digits, bits: -(-4 * people * digits // bits)}),
    "11.2": Exercise(
        share_left, tuple({"delta": STEPS, "A": A, "place": place}
                          for A, place in ((-1.0, 1), (-0.5, 2), (-2.0, 0), (-1.0, 5))),
        {"The step at which it is written takes nothing from it, only from what was there before.":
            _its_own_too,
         "That is a fixed discount. Here each step takes its own share: their product is left.":
            _by_the_mean}),
    "11.3": Exercise(
        held, tuple({"layers": layers, "length": length, "d_model": 64, "d_state": 16}
                    for layers in STACKS for length in (1, 1024)),
        {"Attention keeps a key and a value of every token.": _keys_alone,
         "A Mamba block also keeps what its convolution looks back at: d_conv − 1 = 3 inputs.":
            _without_the_convolution,
         "A state is written over at each token: it does not grow with the length.": _every_step}),
    "11.4": Exercise(
        corrected, tuple({"keys": KEYS[:count], "values": VALUES[:count], "query": query}
                         for count, query in ((1, KEYS[0]), (3, KEYS[0] / 2), (4, KEYS[3]),
                                              (4, KEYS[1]))),
        {"Write what is missing, value − keyᵀS, not the value: a key that comes again would be "
         "added to what it had.": _added,
         "A key of length 2 is read and written four times as strongly: divide by keyᵀkey.":
            _as_if_of_length_one}),
}
