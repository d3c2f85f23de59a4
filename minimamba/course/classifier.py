"""Readers of sequences: SSM layers in residual blocks, and an LSTM to compare with."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from minimamba.s4.layers import S4Layer


class Block(nn.Module):
    """x + GLU(mix(GELU(SSM(norm(x))))): along time in `ssm`, across features in `mix`."""

    def __init__(self, ssm: nn.Module, d_model: int, dropout: float) -> None:
        super().__init__()
        self.norm, self.ssm = nn.LayerNorm(d_model), ssm
        self.mix, self.dropout = nn.Linear(d_model, 2 * d_model), nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return x + self._across(self.ssm(self.norm(x)))

    def step(self, x: Tensor, h: Tensor, system: tuple) -> tuple[Tensor, Tensor]:
        y, h = self.ssm.step(self.norm(x), h, system)
        return x + self._across(y), h

    def _across(self, y: Tensor) -> Tensor:
        y = self.mix(self.dropout(functional.gelu(y)))
        return self.dropout(functional.glu(y, -1))


class S4Classifier(nn.Module):
    """Reads a signal, averages its features over time, and says which class it is.

    Args:
        layer: makes one S4 layer for a number of features, such as `S4D`.
        d_input: numbers at each step. classes: how many.
        d_model: features inside. n_layer: blocks. dropout: the share set to zero in training.
    """

    def __init__(self, layer: Callable[[int], S4Layer], d_input: int, classes: int, *,
                 d_model: int = 64, n_layer: int = 2, dropout: float = 0.1) -> None:
        super().__init__()
        self.enter = nn.Linear(d_input, d_model)
        self.blocks = nn.ModuleList(
            Block(layer(d_model), d_model, dropout) for _ in range(n_layer))
        self.norm, self.leave = nn.LayerNorm(d_model), nn.Linear(d_model, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, length, d_input) to (batch, classes), all steps at once, by convolution."""
        x = self.enter(x)
        for block in self.blocks:
            x = block(x)
        return self.leave(self.norm(x).mean(1))

    @torch.no_grad()
    def read(self, x: Tensor) -> Tensor:
        """The same, one step after the other, in memory that does not grow with the length."""
        systems = [block.ssm.discrete_system() for block in self.blocks]
        states = [block.ssm.init_cache(len(x)) for block in self.blocks]
        total = 0
        for now in self.enter(x).unbind(1):
            for i, block in enumerate(self.blocks):
                now, states[i] = block.step(now, states[i], systems[i])
            total = total + self.norm(now)
        return self.leave(total / x.shape[1])


class LSTMClassifier(nn.Module):
    """One LSTM layer; its last output, which has seen everything, says which class it is."""

    def __init__(self, d_input: int, classes: int, d_hidden: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(d_input, d_hidden, batch_first=True)
        self.leave = nn.Linear(d_hidden, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, length, d_input) to (batch, classes)."""
        return self.leave(self.lstm(x)[0][:, -1])


class Tagger(nn.Module):
    """Reads tokens and gives scores for an answer after each, by the same blocks as above.

    Args:
        layer: makes the SSM of a block for a number of features, such as `S4D` or `S6`.
        vocabulary: how many tokens there are. answers: how many answers.
        d_model: features inside. n_layer: blocks.
    """

    def __init__(self, layer: Callable[[int], nn.Module], vocabulary: int, answers: int, *,
                 d_model: int = 32, n_layer: int = 2) -> None:
        super().__init__()
        self.enter = nn.Embedding(vocabulary, d_model)
        self.blocks = nn.ModuleList(
            Block(layer(d_model), d_model, dropout=0.0) for _ in range(n_layer))
        self.norm, self.leave = nn.LayerNorm(d_model), nn.Linear(d_model, answers)

    def forward(self, tokens: Tensor) -> Tensor:
        """(batch, length) int64 to (batch, length, answers)."""
        x = self.enter(tokens)
        for block in self.blocks:
            x = block(x)
        return self.leave(self.norm(x))
