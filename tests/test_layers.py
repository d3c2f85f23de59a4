"""The residual layer, and the mixers that Mamba is compared with, against their equations."""

import pytest
import torch
from systems import close, randn
from torch.nn.functional import gelu

from minimamba import MambaConfig, MambaLM
from minimamba.nn import LSTM, MLP, S6, Layer, Mamba, S4Block
from minimamba.nn.layers import add_norm
from minimamba.s4 import S4D

pytestmark = pytest.mark.usefixtures("double")


def test_mlp_matches_its_equation():
    mlp, x = MLP(6), randn(2, 3, 6)
    a, b = mlp.in_proj(x).split(16, -1)
    close(mlp(x), mlp.out_proj(a * a.sigmoid() * b))


def test_lstm_matches_that_of_pytorch():
    layer, x = LSTM(6), randn(2, 3, 6)
    close(layer(x), layer.out_proj(layer.lstm(x)[0]))


@pytest.mark.parametrize("ssm", [lambda: S4D(6, 4), lambda: S6(6, 4)], ids=["S4D", "S6"])
def test_s4_block_matches_its_equation(ssm):
    block, x = S4Block(ssm(), 6), randn(2, 9, 6)
    a, b = block.out_proj(gelu(block.ssm(x))).chunk(2, -1)
    close(block(x), a * b.sigmoid())


def test_layer_adds_the_mixer_of_the_normalized_input():
    layer, x = Layer(Mamba(6), 6, norm_epsilon=1e-2), randn(2, 3, 6)
    layer.norm.weight.data += randn(6, seed=1)
    normed = x * (x.square().mean(-1, keepdim=True) + 1e-2).rsqrt() * layer.norm.weight
    close(layer(x), x + layer.mixer(normed))
    y, cache = layer(x, return_cache=True)
    close(y, layer(x))
    close(cache.ssm_state, layer.mixer(normed, return_cache=True)[1].ssm_state)


def test_layer_steps_equal_forward_and_in_place_steps_equal_steps():
    layer, x = Layer(Mamba(6), 6), randn(2, 4, 6)
    expected = layer(x)
    cache, own = layer.mixer.init_cache(2), layer.mixer.init_cache(2)
    for t in range(4):
        # A layer is given its input in two parts: the residual stream, and what to add to it.
        part = randn(2, 6, seed=t)
        y, residual, cache = layer.step(part, x[:, t] - part, cache)
        close(residual, x[:, t])
        close(residual + y, expected[:, t])
        y_in_place, residual_in_place = layer.step_(part, x[:, t] - part, own)
        close(y_in_place, y)
        close(residual_in_place, residual)
        close(own.ssm_state, cache.ssm_state)


@pytest.mark.parametrize("mixer", [None, torch.nn.Linear(6, 6), MLP], ids=repr)
def test_what_is_no_mixer_is_refused(mixer):
    with pytest.raises(ValueError, match=r"^mixer: expected a module with the interface of Mixer"):
        Layer(mixer, 6)


@pytest.mark.parametrize("residual_in_fp32", [True, False])
def test_residual_stream_stays_in_float32_if_asked(residual_in_fp32):
    layer = Layer(MLP(6), 6, residual_in_fp32=residual_in_fp32).bfloat16()
    x = randn(2, 6).bfloat16()
    wanted = torch.float32 if residual_in_fp32 else torch.bfloat16
    assert layer(x[:, None]).dtype == wanted
    y, residual, _ = layer.step(x, x, ())
    assert (y.dtype, residual.dtype) == (torch.bfloat16, wanted)


def test_add_norm_adds_and_normalizes_in_the_dtype_of_the_weight():
    norm = torch.nn.RMSNorm(6, 1e-2)
    norm.weight.data += randn(6, seed=1)
    x, residual = randn(3, 6), randn(3, 6, seed=2)
    normed, total = add_norm(norm, x, residual)
    close(total, x + residual)
    close(normed, norm(x + residual))
    normed, total = add_norm(norm.float(), x.float(), residual)
    assert (normed.dtype, total.dtype) == (torch.float32, torch.float64)


def test_add_norm_takes_pytorchs_norm_if_that_has_no_epsilon(monkeypatch):
    monkeypatch.setattr("minimamba.ops.decode.can_use_kernels", lambda x: True)
    x, residual = randn(3, 6), randn(3, 6, seed=2)
    norm = torch.nn.RMSNorm(6)
    close(add_norm(norm, x, residual)[0], norm(x + residual))


@pytest.mark.parametrize("d_model", [1, 2, 3, 4, 64, 768])
def test_width_of_an_mlp_is_eight_thirds_rounded_up(d_model):
    d_inner = MLP(d_model).out_proj.in_features
    assert 8 * d_model / 3 <= d_inner < 8 * d_model / 3 + 8


def test_transformer_layer_has_as_many_parameters_as_two_mamba_blocks():
    def count(pattern):
        with torch.device("meta"):
            model = MambaLM(MambaConfig(1, 768, layers=pattern))
        return sum(parameter.numel() for parameter in model.layers.parameters())

    assert 0.9 < count("AF") / count("MM") < 1.05
