"""S6: Δ, B and C come from the input, and only those that should."""

import math

import pytest
import torch
from systems import close, randn
from torch.nn.functional import softplus

from minimamba import selective_scan
from minimamba.nn.s6 import S6

CHOICES = [(), ("delta",), ("B",), ("C",), ("delta", "B"), ("delta", "B", "C")]


pytestmark = pytest.mark.usefixtures("double")


def test_it_is_the_papers_algorithm_2():
    layer, x, z = S6(32, 4), randn(2, 9, 32), randn(2, 9, 32, seed=1)
    projected = x @ layer.x_proj.weight.T                    # dt_rank 2, then B and C
    low, B, C = projected[..., :2], projected[..., 2:6], projected[..., 6:]
    delta = softplus(low @ layer.dt_proj.weight.T + layer.dt_bias)
    A = -layer.A_log.exp()
    close(layer(x, z), selective_scan(x, delta, A, B, C, layer.D, z, method="reference"))
    for given, wanted in zip(layer.ssm_parameters(x), (delta, B, C), strict=True):
        close(given, wanted)


def test_broadcast_gives_all_channels_one_number_and_a_bias_of_their_own():
    layer, x = S6(8, 4, dt_rank="broadcast"), randn(1, 5, 8)
    delta = layer.ssm_parameters(x).delta
    before_the_softplus = delta.expm1().log() - layer.dt_bias
    close(before_the_softplus, before_the_softplus[..., :1].expand(1, 5, 8))
    assert layer.x_proj.weight.shape == (1 + 4 + 4, 8)
    assert layer.dt_proj is None


@pytest.mark.parametrize("selective", CHOICES, ids="+".join)
@pytest.mark.parametrize("dt_rank", [None, "broadcast"])
def test_only_what_is_selective_depends_on_the_input(selective, dt_rank):
    layer = S6(8, 4, selective=selective, dt_rank=dt_rank)
    one, other = (layer.ssm_parameters(randn(2, 5, 8, seed=seed)) for seed in (0, 1))
    for name in ("delta", "B", "C"):
        same = torch.equal(getattr(one, name), getattr(other, name))
        assert same == (name not in selective)
        if same:                                             # and is the same at each step
            assert torch.equal(getattr(one, name)[:, :1].expand_as(getattr(one, name)),
                               getattr(one, name))
    assert layer(randn(2, 5, 8)).shape == (2, 5, 8)


@pytest.mark.parametrize("selective", CHOICES, ids="+".join)
def test_every_parameter_has_a_gradient(selective):
    layer = S6(8, 4, selective=selective)
    layer(randn(2, 6, 8)).square().sum().backward()
    for name, parameter in layer.named_parameters():
        assert parameter.grad.abs().max() > 0, name


def test_it_is_linear_only_when_nothing_is_selective():
    x = randn(1, 7, 8)
    fixed, full = S6(8, 4, selective=()), S6(8, 4)
    close(fixed(2 * x), 2 * fixed(x))
    assert (full(2 * x) - 2 * full(x)).abs().max() > 1e-3


def test_where_it_starts():
    layer = S6(20_000, 4, dt_min=0.001, dt_max=0.1)
    close(layer.A, -torch.arange(1.0, 5).expand(20_000, 4))
    assert torch.equal(layer.D, torch.ones(20_000))
    share = (softplus(layer.dt_bias).log() - math.log(0.001)) / math.log(100)
    assert share.min() >= -1e-9
    assert share.max() <= 1 + 1e-9
    assert (torch.histc(share, 10, 0, 1) - 2000).abs().max() < 200
    small = S6(64, 4).dt_proj.weight.abs().max()
    assert 0.9 * 4**-0.5 < small <= 4**-0.5


def test_a_sequence_may_be_cut():
    layer, x = S6(8, 4), randn(2, 20, 8)
    start, h = layer(x[:, :11], return_last_state=True)
    close(torch.cat([start, layer(x[:, 11:], initial_state=h)], 1), layer(x))


@pytest.mark.parametrize(("arguments", "name"), [
    ({"d_inner": 0}, "d_inner"), ({"d_inner": 2.0}, "d_inner"), ({"d_state": 0}, "d_state"),
    ({"d_state": True}, "d_state"), ({"dt_rank": 0}, "dt_rank"), ({"dt_rank": "auto"}, "dt_rank"),
    ({"selective": ["A"]}, "selective"), ({"delta_min": 0.0}, "delta_min"),
    ({"delta_min": 1.0, "delta_max": 0.1}, "delta_min")])
def test_bad_arguments(arguments, name):
    with pytest.raises(ValueError, match=f"^{name}: expected .+, got "):
        S6(**{"d_inner": 8} | arguments)


@pytest.mark.parametrize("shape", [(5, 8), (2, 5, 7), (8,)])
def test_a_wrong_input(shape):
    with pytest.raises(ValueError, match=r"^x: expected shape \(batch, length, 8\)"):
        S6(8)(torch.zeros(shape))
