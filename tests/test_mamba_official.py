"""The block against the official package's, with the same weights, on a GPU where it is."""

import pytest
import torch
from systems import randn

from minimamba.nn.mamba import Mamba

official = pytest.importorskip("mamba_ssm.modules.mamba_simple")
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
NAMES = {"ssm.A_log": "A_log", "ssm.D": "D", "ssm.x_proj.weight": "x_proj.weight",
         "ssm.dt_proj.weight": "dt_proj.weight", "ssm.dt_bias": "dt_proj.bias"}


@pytest.fixture(params=[{}, {"d_state": 8, "d_conv": 3, "dt_rank": 7},
                        {"conv_bias": False, "expand": 3}], ids=str)
def blocks(request):
    torch.manual_seed(0)
    ours, theirs = Mamba(64, **request.param).cuda(), official.Mamba(64, **request.param).cuda()
    with torch.no_grad():
        for name, weight in ours.named_parameters():
            weight += 0.1 * torch.randn_like(weight)
            theirs.get_parameter(NAMES.get(name, name)).copy_(weight)
    return ours, theirs


def close(one, other, most):
    assert (one - other).norm() <= most * other.norm()


@pytest.mark.parametrize("length", [1, 2, 100, 2048])
def test_outputs_and_gradients(blocks, length):
    ours, theirs = blocks
    u, dy = (randn(2, length, 64, seed=i).float().cuda().requires_grad_() for i in (1, 2))
    one, other = ours(u), theirs(u)
    close(one, other, 1e-5)
    names = [name for name, _ in ours.named_parameters()]
    gradients = torch.autograd.grad(one, [u, *ours.parameters()], dy)
    wanted = torch.autograd.grad(
        other, [u, *(theirs.get_parameter(NAMES.get(name, name)) for name in names)], dy)
    for gradient, from_theirs in zip(gradients, wanted, strict=True):
        close(gradient, from_theirs, 1e-4)


def test_steps(blocks):
    ours, theirs = blocks
    u = randn(3, 6, 64, seed=1).float().cuda()
    with torch.no_grad():
        cache = ours.init_cache(3)
        conv_state, ssm_state = (part.zero_() for part in theirs.allocate_inference_cache(3, 8))
        for step in u.unbind(1):
            y, cache = ours.step(step, cache)
            wanted, conv_state, ssm_state = theirs.step(step[:, None], conv_state, ssm_state)
            close(y, wanted[:, 0], 1e-5)
            close(cache.h, ssm_state, 1e-5)
