"""The Mamba-2 block: its equations, transformers' block, the interface of `mamba_ssm.Mamba2`."""

import inspect
import os

import pytest
import torch
from models import perturb
from systems import close, randn
from torch.nn.functional import conv1d, pad, softplus

from minimamba.nn import Mamba2, Mamba2Cache

pytestmark = pytest.mark.usefixtures("double")
SMALL = {"d_model": 8, "d_state": 3, "headdim": 4}
OPTIONS = [{}, {"ngroups": 2, "norm_before_gate": True, "D_has_hdim": True},
           {"d_conv": 1, "expand": 3, "rmsnorm": False, "bias": True, "conv_bias": False},
           {"d_ssm": 8, "ngroups": 2, "D_has_hdim": True, "dt_limit": (0.5, 1.0)}]
OFFICIAL_CONSTRUCTOR = {
    "d_model": inspect.Parameter.empty, "d_state": 128, "d_conv": 4, "conv_init": None,
    "expand": 2, "headdim": 64, "d_ssm": None, "ngroups": 1, "A_init_range": (1, 16),
    "D_has_hdim": False, "rmsnorm": True, "norm_before_gate": False, "dt_min": 0.001,
    "dt_max": 0.1, "dt_init_floor": 1e-4, "dt_limit": (0.0, float("inf")), "bias": False,
    "conv_bias": True, "chunk_size": 256, "use_mem_eff_path": True, "layer_idx": None,
    "process_group": None, "sequence_parallel": True, "device": None, "dtype": None}
"""Of `mamba_ssm.modules.mamba2.Mamba2`, in its order, with its defaults."""


def official_shapes(d_model, d_state=128, d_conv=4, expand=2, headdim=64, d_ssm=None, ngroups=1, *,
                    D_has_hdim=False, rmsnorm=True, bias=False, conv_bias=True, **_):
    """The state_dict of the official block, read off its constructor: names, order, shapes."""
    d_inner = expand * d_model
    d_ssm = d_ssm or d_inner
    n_heads = d_ssm // headdim
    conv_channels = d_ssm + 2 * ngroups * d_state
    in_features = 2 * d_inner + 2 * ngroups * d_state + n_heads
    shapes = {"dt_bias": (n_heads,), "A_log": (n_heads,), "D": (d_ssm if D_has_hdim else n_heads,),
              "in_proj.weight": (in_features, d_model)}
    if bias:
        shapes["in_proj.bias"] = (in_features,)
    shapes["conv1d.weight"] = (conv_channels, 1, d_conv)
    if conv_bias:
        shapes["conv1d.bias"] = (conv_channels,)
    if rmsnorm:
        shapes["norm.weight"] = (d_ssm,)
    shapes["out_proj.weight"] = (d_model, d_inner)
    if bias:
        shapes["out_proj.bias"] = (d_model,)
    return shapes


def by_the_equations(block, u, options):
    """The outputs of a block, head by head and step by step."""
    d_inner, d_ssm, N = block.d_inner, options.get("d_ssm", block.d_inner), SMALL["d_state"]
    n_groups, P = options.get("ngroups", 1), SMALL["headdim"]
    sizes = [d_inner - d_ssm] * 2 + [d_ssm, d_ssm + 2 * n_groups * N, d_ssm // P]
    gate, mlp, z, xBC, dt = block.in_proj(u).split(sizes, -1)
    width = options.get("d_conv", 4)
    xBC = conv1d(pad(xBC.mT, (width - 1, 0)), block.conv1d.weight, block.conv1d.bias,
                 groups=xBC.shape[-1]).mT
    xBC = xBC * xBC.sigmoid()
    low, high = options.get("dt_limit", (0, float("inf")))
    delta = (dt + block.dt_bias).exp().log1p().clamp(low, high)
    y = torch.zeros_like(z)
    for head in range(d_ssm // P):
        group = head * n_groups // (d_ssm // P)
        channels = slice(head * P, (head + 1) * P)
        D = block.D[channels] if options.get("D_has_hdim") else block.D[head]
        B_start = d_ssm + group * N
        C_start = B_start + n_groups * N
        h = torch.zeros(len(u), P, N)
        for t in range(u.shape[1]):
            x_t = xBC[:, t, channels]
            delta_t = delta[:, t, head, None]
            decay = (-block.A_log[head].exp() * delta_t)[..., None].exp()
            h = decay * h + (delta_t * x_t)[..., None] * xBC[:, t, None, B_start:B_start + N]
            y[:, t, channels] = (h @ xBC[:, t, C_start:C_start + N, None])[..., 0] + D * x_t

    def norm(y):
        if not options.get("rmsnorm", True):
            return y
        groups = y.chunk(n_groups, -1)
        return block.norm.weight * torch.cat(
            [part / (part.square().mean(-1, keepdim=True) + 1e-5).sqrt() for part in groups], -1)

    silu_z = z * z.sigmoid()
    y = norm(y) * silu_z if options.get("norm_before_gate") else norm(y * silu_z)
    return block.out_proj(torch.cat([gate * gate.sigmoid() * mlp, y], -1))


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_block_matches_its_equations(options):
    block = Mamba2(**SMALL | options)
    perturb(block)
    u = randn(2, 11, 8)
    expected = by_the_equations(block, u, options)
    for method in ("auto", "reference", "quadratic"):
        block.scan_method = method
        close(block(u), expected, rtol=1e-9)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_state_dict_has_the_official_names_order_and_shapes(options):
    arguments = SMALL | options
    shapes = {name: tuple(value.shape) for name, value in Mamba2(**arguments).state_dict().items()}
    assert list(shapes.items()) == list(official_shapes(**arguments).items())


def test_constructor_has_the_official_arguments_in_the_official_order():
    parameters = list(inspect.signature(Mamba2).parameters.values())
    assert [(p.name, p.default) for p in parameters] == list(OFFICIAL_CONSTRUCTOR.items())
    assert all(p.kind == inspect.Parameter.POSITIONAL_OR_KEYWORD for p in parameters)
    shapes = {name: tuple(p.shape) for name, p in Mamba2(256, device="meta").state_dict().items()}
    assert shapes == official_shapes(256)


def test_initial_values_are_within_their_ranges():
    block = Mamba2(500, 1, headdim=1, dt_min=0.01, dt_max=0.05, dt_init_floor=0.02, conv_init=0.3,
                   A_init_range=(2, 3))
    delta = softplus(block.dt_bias.detach())
    assert delta.min() == pytest.approx(0.02)
    assert 0.049 < delta.max() <= 0.05 + 1e-9
    A = block.A.detach()
    assert -3 <= A.min() < -2.99
    assert -2.01 < A.max() <= -2
    assert 0.29 < block.conv1d.weight.abs().max() <= 0.3
    assert (block.D == 1).all()
    assert (block.norm.weight == 1).all()


@pytest.mark.parametrize("made", ["converted", "of this dtype"])
def test_bfloat16_block_keeps_its_state_in_float32(made):
    block = (Mamba2(**SMALL).bfloat16() if made == "converted"
             else Mamba2(**SMALL, dtype=torch.bfloat16))
    if made != "converted":
        assert block.A_log.dtype == block.D.dtype == torch.float32
    y, cache = block(randn(1, 5, 8).bfloat16(), return_cache=True)
    assert y.dtype == cache.conv_state.dtype == torch.bfloat16
    assert cache.ssm_state.dtype == block.A.dtype == torch.float32
    assert block.init_cache(1).ssm_state.dtype == torch.float32
    y_t, cache = block.step(randn(1, 8).bfloat16(), cache)
    assert y_t.dtype == torch.bfloat16
    assert cache.ssm_state.dtype == torch.float32


def transformers_block(**options):
    """`transformers`' block, which computes in float32 between its projections."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    # Older versions normalize over all groups at once, unlike the official package.
    minversion = "5.23" if options.get("ngroups", 1) > 1 else None
    transformers = pytest.importorskip("transformers", minversion=minversion)
    from transformers.models.mamba2.modeling_mamba2 import Mamba2Mixer

    names = {"d_model": "hidden_size", "d_state": "state_size", "headdim": "head_dim",
             "ngroups": "n_groups", "d_conv": "conv_kernel", "bias": "use_bias",
             "conv_bias": "use_conv_bias", "dt_limit": "time_step_limit", "expand": "expand"}
    options = SMALL | {"ngroups": 1} | options
    n_heads = options["d_model"] * options.get("expand", 2) // options["headdim"]
    config = transformers.Mamba2Config(num_heads=n_heads, chunk_size=4, **{
        names[name]: value for name, value in options.items()})
    return Mamba2Mixer(config, layer_idx=0)


@pytest.mark.parametrize("options", [
    {}, {"ngroups": 2, "d_conv": 3, "bias": True, "conv_bias": False},
    {"headdim": 8, "expand": 3, "dt_limit": (0.5, 1.0)}], ids=str)
def test_weights_outputs_and_gradients_agree_with_transformers(options):
    ours = Mamba2(**SMALL | options)
    theirs = transformers_block(**options)
    perturb(theirs)
    ours.load_state_dict(theirs.state_dict())
    theirs.load_state_dict(ours.state_dict())
    x = randn(2, 9, 8)
    results = {}
    for block in (ours, theirs):
        u = x.clone().requires_grad_()
        y = block(u)
        names, weights = zip(*sorted(block.named_parameters()), strict=True)
        results[block] = names, [y, *torch.autograd.grad(y.sin().sum(), [u, *weights])]
    assert results[ours][0] == results[theirs][0]
    for given, expected in zip(results[ours][1], results[theirs][1], strict=True):
        close(given, expected, rtol=1e-4, atol=2e-5)


def test_padding_changes_nothing_where_in_proj_has_a_bias_which_it_does_in_transformers():
    theirs = transformers_block(bias=True)
    perturb(theirs)
    ours = Mamba2(**SMALL, bias=True)
    ours.load_state_dict(theirs.state_dict())
    x, mask = randn(1, 9, 8), (torch.arange(9) >= 3)[None]
    with torch.no_grad():
        close(ours(x, attention_mask=mask)[:, 3:], ours(x[:, 3:]))
        close(ours(x[:, 3:]), theirs(x[:, 3:]), rtol=1e-4, atol=1e-5)
        error = theirs(x, attention_mask=mask.long())[:, 3:] - theirs(x[:, 3:])
    assert error.abs().max() > 0.01         # the convolution sees the bias where there is padding


@pytest.mark.parametrize(("arguments", "message"), [
    ({"d_model": 0}, "^d_model: expected a whole number from 1 up, got 0"),
    ({"d_state": 0}, "^d_state: "), ({"expand": 1.5}, "^expand: "),
    ({"headdim": 5}, "^headdim: expected a divisor of the SSM's 16 channels, got 5"),
    ({"headdim": 3, "d_ssm": 8}, "^headdim: expected a divisor of the SSM's 8 channels, got 3"),
    ({"d_ssm": 20}, "^d_ssm: expected at most expand · d_model = 16, got 20"),
    ({"ngroups": 3}, "^ngroups: expected a divisor of the number of heads, 4, got 3"),
    ({"A_init_range": (0, 1)}, "^A_init_range: expected a smallest decay rate greater than 0"),
    ({"A_init_range": (2, 1)}, "^A_init_range: expected a largest decay rate of at least 2, got 1"),
    ({"A_init_range": 1}, "^A_init_range: expected two numbers"),
    ({"dt_min": 1.0, "dt_max": 0.5}, "^dt_min: expected at most dt_max = 0.5, got 1.0"),
    ({"dt_limit": (1.0, 0.5)}, "^dt_limit: expected a largest step of at least 1, got 0.5"),
    ({"dt_init_floor": 0.0}, "^dt_init_floor: "), ({"conv_init": 0.0}, "^conv_init: "),
    ({"process_group": object()}, "^process_group: expected None, since a block belongs to one "),
])
def test_bad_arguments_are_refused_by_name(arguments, message):
    with pytest.raises(ValueError, match=message):
        Mamba2(**SMALL | arguments)


def test_cache_with_one_part_of_another_batch_is_refused():
    block = Mamba2(**SMALL)
    cache = Mamba2Cache(block.init_cache(1).conv_state, block.init_cache(2).ssm_state)
    with pytest.raises(ValueError, match=r"^cache.ssm_state: expected shape \(1, 4, 4, 3\)"):
        block.step(randn(1, 8), cache)
