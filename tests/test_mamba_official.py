"""The block against the official package's, with the same weights, on a GPU that has it."""

import pytest
import torch
from models import perturb
from systems import randn

from minimamba.nn.mamba import Mamba

official = pytest.importorskip("mamba_ssm.modules.mamba_simple")
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.fixture(params=[{}, {"d_state": 8, "d_conv": 3, "dt_rank": 7},
                        {"conv_bias": False, "expand": 3}], ids=str)
def blocks(request):
    """Ours, and the official one with the same weights."""
    ours = Mamba(64, **request.param).cuda()
    theirs = official.Mamba(64, **request.param).cuda()
    perturb(ours, 0.1)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def close(given, expected, tolerance):
    assert (given - expected).norm() <= tolerance * expected.norm()


def test_state_dicts_have_the_same_names_and_load_both_ways(blocks):
    ours, theirs = blocks
    assert list(ours.state_dict()) == list(theirs.state_dict())
    perturb(theirs, 0.1)
    ours.load_state_dict(theirs.state_dict())
    x = randn(2, 9, 64, seed=1).float().cuda()
    close(ours(x), theirs(x), 1e-5)


@pytest.mark.parametrize("length", [1, 2, 100, 2048])
def test_outputs_and_gradients_equal_the_official_ones(blocks, length):
    ours, theirs = blocks
    x, dy = (randn(2, length, 64, seed=i).float().cuda().requires_grad_() for i in (1, 2))
    y, expected = ours(x), theirs(x)
    close(y, expected, 1e-5)
    gradients = torch.autograd.grad(y, [x, *ours.parameters()], dy)
    expected_gradients = torch.autograd.grad(expected, [x, *theirs.parameters()], dy)
    for gradient, expected_gradient in zip(gradients, expected_gradients, strict=True):
        close(gradient, expected_gradient, 1e-4)


def test_steps_equal_the_official_ones(blocks):
    ours, theirs = blocks
    x = randn(3, 6, 64, seed=1).float().cuda()
    with torch.no_grad():
        cache = ours.init_cache(3)
        conv_state, ssm_state = (part.zero_() for part in theirs.allocate_inference_cache(3, 8))
        for x_t in x.unbind(1):
            y, cache = ours.step(x_t, cache)
            expected, conv_state, ssm_state = theirs.step(x_t[:, None], conv_state, ssm_state)
            close(y, expected[:, 0], 1e-5)
            close(cache.ssm_state, ssm_state, 1e-5)
