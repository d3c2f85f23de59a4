"""Classifiers of sequences: SSM layers in residual blocks, and an LSTM as the baseline."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from minimamba.arguments import check_count, check_features, check_number, refuse
from minimamba.s4.layers import S4Layer


class Block(nn.Module):
    """A residual block, x + GLU(mix(GELU(ssm(norm(x))))): `ssm` mixes steps, `mix` features.

    Args:
        ssm: the layer that mixes along the sequence, (batch, length, d_model) to the same.
        d_model: the number of features.
        dropout: the fraction that is set to zero in training, before `mix` and after the GLU.
    """

    def __init__(self, ssm: nn.Module, d_model: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(d_model)
        self.ssm = ssm
        self.mix = nn.Linear(d_model, 2 * d_model)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block to all steps at once.

        Args:
            x: (batch, length, d_model).

        Returns:
            (batch, length, d_model).
        """
        return x + self._mix_features(self.ssm(self.norm(x)))

    def step(self, x: Tensor, cache: Tensor, system: tuple) -> tuple[Tensor, Tensor]:
        """Apply the block to one step.

        Args:
            x: (batch, d_model), the input of this step.
            cache: the cache of `ssm` before it.
            system: the discrete system of `ssm`.

        Returns:
            The output (batch, d_model) and the cache after the step.
        """
        y, cache = self.ssm.step(self.norm(x), cache, system)
        return x + self._mix_features(y), cache

    def _mix_features(self, y: Tensor) -> Tensor:
        y = self.mix(self.dropout(functional.gelu(y)))
        return self.dropout(functional.glu(y, -1))


class S4Classifier(nn.Module):
    """A classifier that averages the features of stacked S4 blocks over time.

    Args:
        layer: makes one S4 layer, given the number of features; `S4D`, for example.
        d_input: features of the signal.
        classes: the number of classes.
        d_model: features inside the blocks.
        n_layer: the number of blocks.
        dropout: the fraction that is set to zero in training.

    Raises:
        ValueError: naming the argument, what was expected and what was given.
    """

    def __init__(self, layer: Callable[[int], S4Layer], d_input: int, classes: int, *,
                 d_model: int = 64, n_layer: int = 2, dropout: float = 0.1) -> None:
        super().__init__()
        if not callable(layer):
            refuse("layer", "a function that makes an S4 layer", type(layer).__name__)
        for name, count in (("d_input", d_input), ("classes", classes), ("d_model", d_model),
                            ("n_layer", n_layer)):
            check_count(name, count)
        check_number("dropout", dropout, "a fraction from 0 to 1", 0, 1)
        self.encoder = nn.Linear(d_input, d_model)
        self.blocks = nn.ModuleList(
            Block(layer(d_model), d_model, dropout) for _ in range(n_layer))
        self.norm = nn.LayerNorm(d_model)
        self.decoder = nn.Linear(d_model, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Classify signals, all steps at once, by convolution.

        Args:
            x: (batch, length, d_input).

        Returns:
            Logits, (batch, classes).

        Raises:
            ValueError: for an x of another shape, dtype or device, or NaN.
        """
        _check_input(x, self.encoder.weight)
        x = self.encoder(x)
        for block in self.blocks:
            x = block(x)
        return self.decoder(self.norm(x).mean(1))

    @torch.no_grad()
    def forward_recurrent(self, x: Tensor) -> Tensor:
        """Classify signals step by step, by recurrence, in memory independent of the length.

        Args:
            x: (batch, length, d_input).

        Returns:
            Logits, (batch, classes), those of `forward` up to rounding; without a gradient.

        Raises:
            ValueError: for an x of another shape, dtype or device, or NaN.
        """
        _check_input(x, self.encoder.weight)
        systems = [block.ssm.discrete_system() for block in self.blocks]
        caches = [block.ssm.init_cache(len(x)) for block in self.blocks]
        total = torch.zeros(())
        for features in self.encoder(x).unbind(1):
            for i, block in enumerate(self.blocks):
                features, caches[i] = block.step(features, caches[i], systems[i])
            total = total + self.norm(features)
        return self.decoder(total / x.shape[1])


class LSTMClassifier(nn.Module):
    """A classifier that reads the last output of one LSTM layer.

    Args:
        d_input: features of the signal.
        classes: the number of classes.
        d_hidden: features of the LSTM's state.

    Raises:
        ValueError: naming the argument, what was expected and what was given.
    """

    def __init__(self, d_input: int, classes: int, d_hidden: int) -> None:
        super().__init__()
        for name, count in (("d_input", d_input), ("classes", classes), ("d_hidden", d_hidden)):
            check_count(name, count)
        self.lstm = nn.LSTM(d_input, d_hidden, batch_first=True)
        self.decoder = nn.Linear(d_hidden, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Classify signals.

        Args:
            x: (batch, length, d_input).

        Returns:
            Logits, (batch, classes).

        Raises:
            ValueError: for an x of another shape, dtype or device, or NaN.
        """
        _check_input(x, self.lstm.weight_ih_l0)
        outputs, _ = self.lstm(x)
        return self.decoder(outputs[:, -1])


def _check_input(x: Tensor, weight: Tensor) -> None:
    """Check signals (batch, length, d_input) against the (features, d_input) that they meet."""
    check_features("x", x, "batch, length", weight.shape[1], weight)
