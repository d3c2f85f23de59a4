"""The Mamba block: figure 3 of the paper, and the interface of `mamba_ssm.Mamba`."""

import inspect
import os

import pytest
import torch
from models import perturb
from systems import close, randn
from torch.nn.functional import conv1d, pad, softplus

from minimamba import MambaConfig, MambaLM
from minimamba.nn import S6, Mamba, Mamba2, MambaCache

pytestmark = pytest.mark.usefixtures("double")
OPTIONS = [{}, {"d_state": 3, "d_conv": 1, "expand": 3, "dt_rank": 2},
           {"d_conv": 3, "bias": True, "conv_bias": False}]
OFFICIAL_CONSTRUCTOR = {
    "d_model": inspect.Parameter.empty, "d_state": 16, "d_conv": 4, "expand": 2,
    "dt_rank": "auto", "dt_min": 0.001, "dt_max": 0.1, "dt_init": "random", "dt_scale": 1.0,
    "dt_init_floor": 1e-4, "conv_bias": True, "bias": False, "use_fast_path": True,
    "layer_idx": None, "device": None, "dtype": None}
"""Of `mamba_ssm.modules.mamba_simple.Mamba`, in its order, with its defaults."""


def official_shapes(d_model, d_state=16, d_conv=4, expand=2, dt_rank=None, *, conv_bias=True,
                    bias=False):
    """The state_dict of the official block, read off its constructor: names, order, shapes."""
    d_inner = expand * d_model
    dt_rank = dt_rank or -(-d_model // 16)
    shapes = {"A_log": (d_inner, d_state), "D": (d_inner,),
              "in_proj.weight": (2 * d_inner, d_model)}
    if bias:
        shapes["in_proj.bias"] = (2 * d_inner,)
    shapes["conv1d.weight"] = (d_inner, 1, d_conv)
    if conv_bias:
        shapes["conv1d.bias"] = (d_inner,)
    shapes |= {"x_proj.weight": (dt_rank + 2 * d_state, d_inner),
               "dt_proj.weight": (d_inner, dt_rank), "dt_proj.bias": (d_inner,),
               "out_proj.weight": (d_model, d_inner)}
    if bias:
        shapes["out_proj.bias"] = (d_model,)
    return shapes


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_block_matches_figure_3(options):
    block = Mamba(8, **options)
    u = randn(2, 11, 8)
    x, z = block.in_proj(u).chunk(2, -1)
    x = conv1d(pad(x.mT, (block.d_conv - 1, 0)), block.conv1d.weight, block.conv1d.bias,
               groups=block.d_inner).mT
    x = x * x.sigmoid()
    close(block.ssm_input(u), x)
    expected = block.out_proj(block.scan(x) * z * z.sigmoid())
    for method in ("auto", "reference"):
        block.scan_method = method
        close(block(u), expected)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_state_dict_has_the_official_names_order_and_shapes(options):
    shapes = {name: tuple(value.shape) for name, value in Mamba(24, **options).state_dict().items()}
    expected = official_shapes(24, **options)
    assert list(shapes.items()) == list(expected.items())


def test_constructor_has_the_official_arguments_in_the_official_order():
    parameters = list(inspect.signature(Mamba).parameters.values())
    assert {p.name: p.default for p in parameters} == OFFICIAL_CONSTRUCTOR
    assert [p.name for p in parameters] == list(OFFICIAL_CONSTRUCTOR)
    assert all(p.kind == inspect.Parameter.POSITIONAL_OR_KEYWORD for p in parameters)
    block = Mamba(8, 3, 2, 3, 5, 0.01, 0.02, "constant", 0.5, 0.015, False, True, False, 7, "cpu",
                  torch.float32)
    assert (block.layer_idx, block.dt_proj.in_features) == (7, 5)
    assert {name: tuple(p.shape) for name, p in block.named_parameters()} == official_shapes(
        8, 3, 2, 3, 5, conv_bias=False, bias=True)


def test_A_log_and_D_stay_float32_in_a_bfloat16_block():
    block = Mamba(8, dtype=torch.bfloat16)
    dtypes = {name: p.dtype for name, p in block.named_parameters()}
    assert {name for name, dtype in dtypes.items() if dtype == torch.float32} == {"A_log", "D"}
    assert set(dtypes.values()) == {torch.float32, torch.bfloat16}
    assert block(randn(1, 5, 8).bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize(("block", "names"), [
    (Mamba, {"A_log", "D"}), (Mamba2, {"A_log", "D", "dt_bias"})])
def test_parameters_without_weight_decay_have_the_official_mark(block, names, tmp_path):
    def marked(module):
        return {name for name, parameter in module.named_parameters()
                if getattr(parameter, "_no_weight_decay", False)}

    assert marked(block(64)) == names
    config = MambaConfig(vocab_size=8, d_model=64, layers="M2"[block is Mamba2])
    MambaLM(config).save_pretrained(tmp_path)
    assert marked(MambaLM.from_pretrained(tmp_path)) == {f"layers.0.mixer.{name}" for name in names}


@pytest.mark.parametrize("name", ["A_log", "D"])
def test_a_parametrized_block_computes_the_same(name):
    block, x = Mamba(8), randn(1, 3, 8)
    expected = block(x)
    torch.nn.utils.parametrize.register_parametrization(block, name, torch.nn.Identity())
    torch.testing.assert_close(block(x), expected)


def test_device_meta_allocates_nothing():
    block = Mamba(8, bias=True, device="meta")
    assert {p.device.type for p in block.parameters()} == {"meta"}
    assert {name: tuple(p.shape) for name, p in block.named_parameters()} == official_shapes(
        8, bias=True)


def test_initial_delta_is_between_dt_min_and_dt_max_and_not_below_the_floor():
    def initial_delta(**options):
        block = Mamba(500, 1, dt_min=0.01, dt_max=0.05, **options)
        return softplus(block.dt_proj.bias.detach())

    delta = initial_delta()
    assert 0.01 - 1e-9 <= delta.min() < 0.011
    assert 0.049 < delta.max() <= 0.05 + 1e-9
    floored = initial_delta(dt_init_floor=0.02)
    assert floored.min() == pytest.approx(0.02)
    assert floored.max() > 0.049


def test_dt_init_and_dt_scale_set_the_weight_of_dt_proj():
    constant = Mamba(64, dt_init="constant", dt_scale=3.0).dt_proj.weight
    close(constant, torch.full((128, 4), 3.0 * 4**-0.5))
    drawn = Mamba(64, dt_scale=3.0).dt_proj.weight.abs().max()
    assert 0.95 * 3.0 * 4**-0.5 < drawn <= 3.0 * 4**-0.5


def test_bfloat16_block_keeps_its_state_in_float32():
    block = Mamba(8).bfloat16()                              # A_log and D too
    y, cache = block(randn(1, 5, 8).bfloat16(), return_cache=True)
    assert y.dtype == cache.conv_state.dtype == torch.bfloat16
    assert cache.ssm_state.dtype == block.A.dtype == torch.float32
    assert block.init_cache(1).ssm_state.dtype == torch.float32
    y_t, cache = block.step(randn(1, 8).bfloat16(), cache)
    assert y_t.dtype == torch.bfloat16
    assert cache.ssm_state.dtype == torch.float32


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_weights_move_to_and_from_transformers_with_plain_load_state_dict(options):
    os.environ["HF_HUB_OFFLINE"] = "1"
    transformers = pytest.importorskip("transformers")
    from transformers.models.mamba.modeling_mamba import MambaMixer

    names = {"d_state": "state_size", "d_conv": "conv_kernel", "dt_rank": "time_step_rank",
             "bias": "use_bias", "conv_bias": "use_conv_bias", "expand": "expand"}
    config = transformers.MambaConfig(
        hidden_size=24, **{names[name]: value for name, value in options.items()})
    x = randn(2, 9, 24)
    for seed in (1, 2):
        ours = Mamba(24, **options)
        theirs = MambaMixer(config, layer_idx=0)
        source, target = (ours, theirs) if seed == 1 else (theirs, ours)
        perturb(source, 0.1)
        target.load_state_dict(source.state_dict())
        with torch.no_grad():
            # Theirs computes in float32 between its projections.
            close(ours(x), theirs(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("arguments", "message"), [
    ({"d_model": 0}, "^d_model: expected a whole number from 1 up, got 0"),
    ({"d_state": 0}, "^d_state: "), ({"d_conv": 0}, "^d_conv: "), ({"expand": 1.5}, "^expand: "),
    ({"dt_rank": "broadcast"}, "^dt_rank: expected a whole number from 1 up or 'auto', got 'broad"),
    ({"dt_rank": 0}, "^dt_rank: "), ({"dt_rank": True}, "^dt_rank: "),
    ({"dt_min": 0.0}, "^dt_min: expected a step greater than 0"),
    ({"dt_min": 1.0, "dt_max": 0.5}, "^dt_min: expected at most dt_max = 0.5, got 1.0"),
    ({"dt_init": "zero"}, "^dt_init: expected 'random' or 'constant', got 'zero'"),
    ({"dt_scale": 0.0}, "^dt_scale: "), ({"dt_init_floor": 0.0}, "^dt_init_floor: "),
])
def test_bad_arguments_are_refused_by_name(arguments, message):
    with pytest.raises(ValueError, match=message):
        Mamba(**{"d_model": 8} | arguments)


def test_cache_with_one_part_of_another_batch_is_refused():
    block = Mamba(8)
    cache = MambaCache(block.init_cache(1).conv_state, block.init_cache(2).ssm_state)
    with pytest.raises(ValueError, match=r"^cache.ssm_state: expected shape \(1, 16, 16\)"):
        block.step(randn(1, 8), cache)


@pytest.mark.parametrize(("d_model", "dt_rank"), [(1, 1), (15, 1), (16, 1), (17, 2), (32, 2),
                                                  (33, 3), (48, 3)])
def test_dt_rank_is_a_sixteenth_of_the_width_rounded_up(d_model, dt_rank):
    model = MambaLM(MambaConfig(8, d_model, layers="M6"))
    for module in (Mamba(d_model), S6(d_model), model.layers[0].mixer, model.layers[1].mixer.ssm):
        assert module.dt_proj.weight.shape[1] == dt_rank
        assert module.x_proj.weight.shape[0] == dt_rank + 2 * module.d_state
