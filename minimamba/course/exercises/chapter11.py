"""Chapter 11: what a state forgets, and hybrids."""

from math import ceil, exp, log, log2

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


def _components_for(count_bits):
    """Components for another number of bits, rounded up."""
    return lambda people, digits, bits: ceil(count_bits(people, digits) / bits)


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


def _cache_with(channels=2, conv_inputs=3, kv_width=1):
    """The cache with another number of channels or inputs, or of values of a key."""
    def mistake(layers, length, d_model, d_state):
        mamba = channels * d_model * (d_state + conv_inputs)
        attention = 2 * length * kv_width * d_model
        return 4 * (layers.count("M") * mamba + layers.count("A") * attention)
    return mistake


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


def _delta_rule(read=lambda key, state: key @ state, sign=1,
                norm=lambda key: key.square().sum()):
    """The delta rule with another reading of a key, sign or divisor of what is written."""
    def mistake(keys, values, query):
        state = torch.zeros(keys.shape[1], values.shape[1], dtype=keys.dtype)
        for key, value in zip(keys, values, strict=True):
            missing = value - read(key, state)
            state = state + sign * torch.outer(key, missing) / norm(key)
        return query @ state
    return mistake


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
            lambda people, digits, bits: components_needed(1, digits, bits),
         "Round up once, for the whole book: a bit that a number leaves over isn't lost.":
            _components_for(lambda people, digits: people * ceil(digits * log2(10))),
         "Each person has `digits` digits, not one.":
            _components_for(lambda people, digits: people * log2(10)),
         "A component can't be cut: a number of components is whole.":
            lambda people, digits, bits: people * digits * log2(10) / bits,
         "Bits are counted by the logarithm with base 2.":
            _components_for(lambda people, digits: people * digits * log(10)),
         "That is the number of bits of the book. How many does a component hold?":
            lambda people, digits, bits: ceil(people * digits * log2(10)),
         "A digit is one of ten, which one bit can't tell apart.":
            _components_for(lambda people, digits: people * digits),
         "That is a byte for each digit: ten values need fewer bits.":
            _components_for(lambda people, digits: 8 * people * digits),
         "That counts the possible numbers. k bits tell 2ᵏ of them apart.":
            lambda people, digits, bits: -(-people * 10**digits // bits),
         "The numbers of two people are independent: the possible books multiply, so bits add.":
            _components_for(lambda people, digits: log2(people * 10**digits))}),
    "11.2": Exercise(
        fraction_left, tuple({"delta": STEPS, "A": A, "position": position}
                             for A, position in ((-1.0, 1), (-0.5, 2), (-2.0, 0), (-1.0, 5))),
        {"The step at which it is written takes nothing from it, only from what was there before.":
            _own_step_too,
         "That is a fixed discount. Here each step has its own decay: their product is left.":
            _mean_step,
         "What came before has no effect on it: the decays that count are those of later steps.":
            lambda delta, A, position: exp(A * delta[:position].sum()),
         "All steps count for that. Which of them come after it was written?":
            lambda delta, A, position: exp(A * delta.sum()),
         "That is the decay of the next step alone: it goes on to the end.":
            lambda delta, A, position: exp(A * delta[position + 1:position + 2].sum()),
         "The last step decays it too: the slice ends too early.":
            lambda delta, A, position: exp(A * delta[position + 1:-1].sum()),
         "The decays are multiplied, not added.":
            lambda delta, A, position: (A * delta[position + 1:]).exp().sum(),
         "The decay rate is missing: each channel has its A.":
            lambda delta, A, position: exp(-delta[position + 1:].sum()),
         "What is left is less than 1: A is negative already.":
            lambda delta, A, position: exp(-A * delta[position + 1:].sum()),
         "That is the exponent: the fraction is its exponential.":
            lambda delta, A, position: A * delta[position + 1:].sum(),
         "That is the fraction that is lost.":
            lambda delta, A, position: 1 - exp(A * delta[position + 1:].sum()),
         "1 + ΔA is Euler's approximation of the decay exp(ΔA).":
            lambda delta, A, position: (1 + A * delta[position + 1:]).prod(),
         "How strongly it was written doesn't matter: the fraction is of what was written.":
            lambda delta, A, position: delta[position] * exp(A * delta[position + 1:].sum())}),
    "11.3": Exercise(
        cache_bytes, tuple({"layers": layers, "length": length, "d_model": 64, "d_state": 16}
                           for layers in PATTERNS for length in (1, 1024)),
        {"Attention caches a key and a value of every token.": _keys_alone,
         "A Mamba block also caches the last d_conv − 1 = 3 inputs of its convolution.":
            _cache_with(conv_inputs=0),
         "The convolution caches the inputs before the current one: one less than its steps.":
            _cache_with(conv_inputs=4),
         "The convolution's inputs are d_inner wide as well, twice d_model.":
            lambda layers, length, d_model, d_state: cache_bytes(
                layers, length, d_model, d_state) - 4 * layers.count("M") * 3 * d_model,
         "A Mamba block has d_inner channels, twice d_model.": _cache_with(channels=1),
         "Keys and values of attention are d_model wide, not d_inner.": _cache_with(kv_width=2),
         "That is the number of values. How many bytes has each?":
            lambda **case: cache_bytes(**case) // 4,
         "That is for half precision: a value of float32 has 4 bytes.":
            lambda **case: cache_bytes(**case) // 2,
         "An F, an MLP, has no cache: it looks at one token only.":
            lambda layers, **case: cache_bytes(layers.replace("F", "M"), **case),
         "Attention keeps its keys and values of all tokens, not of the last one.":
            lambda layers, length, d_model, d_state: cache_bytes(layers, 1, d_model, d_state),
         "Each layer has a cache of its own: count the letters.":
            lambda layers, **case: cache_bytes("".join(sorted(set(layers))), **case),
         "A state is overwritten at each token: it does not grow with the length.":
            _state_of_every_step}),
    "11.4": Exercise(
        corrected, tuple({"keys": KEYS[:count], "values": VALUES[:count], "query": query}
                         for count, query in ((1, KEYS[0]), (3, KEYS[0] / 2), (4, KEYS[3]),
                                              (4, KEYS[1]))),
        {"Write what is missing, value − keyᵀS, not the value: a key that comes again would be "
         "added to what it had.": _value_added,
         "A key of length 2 is read and written four times as strongly: divide by keyᵀkey.":
            _delta_rule(norm=lambda key: 1),
         "The length of a key comes in twice, as it is written and as it is read: divide by its "
         "square, keyᵀkey.": _delta_rule(norm=torch.norm),
         "What the state holds for a key is keyᵀS, without a division: that is in the writing.":
            _delta_rule(read=lambda key, state: key @ state / key.square().sum()),
         "What is missing is added to the state: value − keyᵀS, and S grows by it.":
            _delta_rule(sign=-1),
         "That adds up all values, as linear attention does: subtract what is held already.":
            lambda keys, values, query: query @ keys.T @ values,
         "That is softmax attention. The state here is one matrix, written pair by pair.":
            lambda keys, values, query: (keys @ query).softmax(0) @ values,
         "The pairs are written from the last to the first: a key's last value should count.":
            lambda keys, values, query: corrected(keys.flip(0), values.flip(0), query),
         "The query reads as it is: don't divide by its length.":
            lambda keys, values, query: corrected(keys, values, query) / query.norm(),
         "That is the state. Return what the query reads from it.":
            lambda keys, values, query: torch.stack(
                [corrected(keys, values, row) for row in torch.eye(3, dtype=keys.dtype)])}),
}
