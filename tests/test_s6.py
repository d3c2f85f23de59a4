"""S6: Δ, B and C depend on the input, or those of them that should."""

import math

import pytest
import torch
from systems import close, randn
from torch.nn.functional import softplus

from minimamba import selective_scan
from minimamba.nn.s6 import S6

pytestmark = pytest.mark.usefixtures("double")
SELECTIVE = [(), ("delta",), ("B",), ("C",), ("delta", "B"), ("delta", "B", "C")]
every_selection = pytest.mark.parametrize("selective", SELECTIVE, ids="+".join)


def test_layer_matches_algorithm_2_of_the_paper():
    layer, x, z = S6(32, 4), randn(2, 9, 32), randn(2, 9, 32, seed=1)
    projected = x @ layer.x_proj.weight.T                    # dt_rank = 2, then B and C
    low_rank_dt, B, C = projected[..., :2], projected[..., 2:6], projected[..., 6:]
    delta = softplus(low_rank_dt @ layer.dt_proj.weight.T + layer.dt_proj.bias)
    A = -layer.A_log.exp()
    close(layer(x), selective_scan(x, delta, A, B, C, layer.D, method="reference"))
    close(layer.scan(x, z), selective_scan(x, delta, A, B, C, layer.D, z, method="reference"))
    for given, expected in zip(layer.ssm_parameters(x), (delta, B, C), strict=True):
        close(given, expected)


def test_state_dict_has_the_official_names():
    assert set(S6(8).state_dict()) == {"A_log", "D", "x_proj.weight", "dt_proj.weight",
                                       "dt_proj.bias"}
    assert set(S6(8, selective=("B",)).state_dict()) == {"A_log", "D", "x_proj.weight",
                                                         "delta_bias", "C"}
    assert S6(40).dt_proj.in_features == 3                   # d_inner / 16, rounded up


def test_broadcast_delta_differs_between_channels_in_the_bias_alone():
    layer, x = S6(8, 4, dt_rank="broadcast"), randn(1, 5, 8)
    delta = layer.ssm_parameters(x).delta
    before_the_bias = delta.expm1().log() - layer.dt_bias
    close(before_the_bias, before_the_bias[..., :1].expand(1, 5, 8))
    assert layer.x_proj.weight.shape == (1 + 4 + 4, 8)
    assert layer.dt_proj is None


@every_selection
@pytest.mark.parametrize("dt_rank", ["auto", "broadcast"])
def test_only_selective_parameters_depend_on_the_input(selective, dt_rank):
    layer = S6(8, 4, selective=selective, dt_rank=dt_rank)
    first, second = (layer.ssm_parameters(randn(2, 5, 8, seed=seed)) for seed in (0, 1))
    for name in ("delta", "B", "C"):
        value = getattr(first, name)
        is_constant = torch.equal(value, getattr(second, name))
        assert is_constant == (name not in selective)
        if is_constant:
            assert torch.equal(value[:, :1].expand_as(value), value)


@every_selection
def test_every_parameter_has_a_gradient(selective):
    layer = S6(8, 4, selective=selective)
    layer(randn(2, 6, 8)).square().sum().backward()
    for name, parameter in layer.named_parameters():
        assert parameter.grad.abs().max() > 0, name


def test_layer_is_linear_only_if_nothing_is_selective():
    x = randn(1, 7, 8)
    lti, selective = S6(8, 4, selective=()), S6(8, 4)
    close(lti(2 * x), 2 * lti(x))
    assert (selective(2 * x) - 2 * selective(x)).abs().max() > 1e-3


def test_initial_values_are_those_of_the_paper():
    layer = S6(20_000, 4, dt_rank=1, dt_min=0.001, dt_max=0.1)
    close(layer.A, -torch.arange(1.0, 5).expand(20_000, 4))
    assert torch.equal(layer.D, torch.ones(20_000))
    quantile = (softplus(layer.dt_bias).log() - math.log(0.001)) / math.log(100)
    assert quantile.min() >= -1e-9
    assert quantile.max() <= 1 + 1e-9
    assert (torch.histc(quantile, 10, 0, 1) - 2000).abs().max() < 200
    largest = S6(64, 4).dt_proj.weight.abs().max()           # dt_rank = 4
    assert 0.9 * 4**-0.5 < largest <= 4**-0.5


@pytest.mark.parametrize(("arguments", "name"), [
    ({"d_inner": 0}, "d_inner"), ({"d_inner": 2.0}, "d_inner"), ({"d_state": 0}, "d_state"),
    ({"d_state": True}, "d_state"), ({"dt_rank": 0}, "dt_rank"), ({"dt_rank": "some"}, "dt_rank"),
    ({"selective": ["A"]}, "selective"), ({"dt_min": 0.0}, "dt_min"), ({"dt_max": -1.0}, "dt_max"),
    ({"dt_min": 1.0, "dt_max": 0.1}, "dt_min")])
def test_bad_arguments_are_refused_by_name(arguments, name):
    with pytest.raises(ValueError, match=f"^{name}: expected .+, got "):
        S6(**{"d_inner": 8} | arguments)
