"""config.json of every layout: what it sets, what it may say, and what is refused by name."""

import json
from dataclasses import dataclass, field, fields
from math import ceil

import pytest
import torch
from models import random_ids, small_model

from minimamba import MambaConfig, MambaLM
from minimamba.layouts import describe_config, parse_config

# As published on the hub: state-spaces/mamba-130m and mamba-130m-hf.
OFFICIAL = {"d_model": 768, "n_layer": 24, "vocab_size": 50277, "ssm_cfg": {}, "rms_norm": True,
            "residual_in_fp32": True, "fused_add_norm": True, "pad_vocab_size_multiple": 8}
TRANSFORMERS = {
    "_name_or_path": "state-spaces/mamba-130m", "architectures": ["MambaForCausalLM"],
    "bos_token_id": 0, "conv_kernel": 4, "d_inner": 1536, "d_model": 768, "eos_token_id": 0,
    "expand": 2, "fused_add_norm": True, "hidden_act": "silu", "hidden_size": 768,
    "initializer_range": 0.1, "intermediate_size": 1536, "layer_norm_epsilon": 1e-05,
    "model_type": "mamba", "n_layer": 24, "num_hidden_layers": 24, "pad_token_id": 0,
    "pad_vocab_size_multiple": 8, "rescale_prenorm_residual": False, "residual_in_fp32": True,
    "rms_norm": True, "ssm_cfg": {}, "state_size": 16, "time_step_floor": 0.0001,
    "time_step_init_scheme": "random", "time_step_max": 0.1, "time_step_min": 0.001,
    "time_step_rank": 48, "time_step_scale": 1.0, "torch_dtype": "float32",
    "transformers_version": "4.39.0.dev0", "use_bias": False, "use_cache": True,
    "use_conv_bias": True, "vocab_size": 50280}
MAMBA2_OFFICIAL = OFFICIAL | {
    "ssm_cfg": {"layer": "Mamba2"}, "d_intermediate": 0, "attn_layer_idx": [], "attn_cfg": {},
    "pad_vocab_size_multiple": 16, "tie_embeddings": True}
MAMBA2 = {
    "architectures": ["Mamba2ForCausalLM"], "bos_token_id": 0, "chunk_size": 256, "conv_kernel": 4,
    "eos_token_id": 0, "expand": 2, "head_dim": 64, "hidden_act": "silu", "hidden_size": 4096,
    "initializer_range": 0.1, "intermediate_size": 8192, "layer_norm_epsilon": 1e-05,
    "model_type": "mamba2", "n_groups": 8, "norm_before_gate": True, "num_heads": 128,
    "num_hidden_layers": 64, "pad_token_id": 0, "rescale_prenorm_residual": False,
    "residual_in_fp32": True, "rms_norm": True, "state_size": 128, "tie_word_embeddings": False,
    "time_step_floor": 0.0001, "time_step_init_scheme": "random", "time_step_limit": [
        0.0, float("inf")], "time_step_max": 0.1, "time_step_min": 0.001, "time_step_rank": 256,
    "time_step_scale": 1.0, "torch_dtype": "bfloat16", "transformers_version": "4.44.0",
    "use_bias": False, "use_cache": True, "use_conv_bias": True, "vocab_size": 32768}
OWN = describe_config(MambaConfig(40, 12, 2), {}, "minimamba")


def test_published_configs_are_those_of_the_130m_model():
    assert parse_config(OFFICIAL) == MambaConfig(n_layer=24)
    assert parse_config(TRANSFORMERS) == MambaConfig(n_layer=24, dt_rank=48, eos_token_id=0)


def test_configs_of_mamba2_models_are_read_in_both_layouts():
    assert parse_config(MAMBA2_OFFICIAL) == MambaConfig(50288, layers="2" * 24, d_state=128)
    assert parse_config(MAMBA2) == MambaConfig(
        32768, 4096, layers="2" * 64, d_state=128, n_groups=8, tie_embeddings=False,
        eos_token_id=0)


def test_an_absent_key_has_the_default_of_its_own_layout():
    assert parse_config({"d_model": 64}) == MambaConfig(50280, 64, 64)
    assert parse_config({"ssm_cfg": {}}) == MambaConfig(50280, 2560, 64)
    assert parse_config({"model_type": "mamba"}) == MambaConfig(50280, 768, 32, eos_token_id=0)
    assert parse_config({"model_type": "minimamba"}) == MambaConfig()
    assert parse_config({"ssm_cfg": {"layer": "Mamba2"}}) == MambaConfig(
        50280, 2560, layers="2" * 64, d_state=128)


def test_defaults_are_those_of_the_config_of_transformers():
    transformers = pytest.importorskip("transformers")
    every_key = transformers.MambaConfig().to_dict()
    assert parse_config(every_key) == MambaConfig(n_layer=32, dt_rank=48, eos_token_id=0)
    without_rank = {key: value for key, value in every_key.items() if key != "time_step_rank"}
    assert parse_config(without_rank) == parse_config({"model_type": "mamba"})
    mamba2 = parse_config(transformers.Mamba2Config().to_dict())
    assert mamba2 == parse_config({"model_type": "mamba2"}) == MambaConfig(
        32768, 4096, layers="2" * 64, d_state=128, n_groups=8, tie_embeddings=False,
        eos_token_id=2)


@pytest.mark.parametrize(("vocab_size", "multiple", "padded"), [
    (41, {}, 48), (48, {}, 48), (41, {"pad_vocab_size_multiple": 16}, 48),
    (41, {"pad_vocab_size_multiple": 1}, 41)])
def test_official_vocabulary_is_padded_to_a_multiple_of_8_by_default(vocab_size, multiple, padded):
    config = parse_config({"d_model": 8, "n_layer": 1, "vocab_size": vocab_size} | multiple)
    assert config.vocab_size == padded


def test_every_value_that_our_model_has_is_honoured():
    config = parse_config(TRANSFORMERS | {
        "hidden_act": "swish", "layer_norm_epsilon": 1e-3, "residual_in_fp32": False,
        "use_bias": True, "use_conv_bias": False, "tie_word_embeddings": False, "dtype": "bfloat16",
        "time_step_rank": "auto", "eos_token_id": [3, 5]})
    assert config == MambaConfig(
        n_layer=24, norm_epsilon=1e-3, residual_in_fp32=False, bias=True, conv_bias=False,
        tie_embeddings=False, eos_token_id=(3, 5))
    ssm_cfg = {"layer": "Mamba1", "d_state": 8, "d_conv": 3, "expand": 3, "dt_rank": 5,
               "bias": True, "conv_bias": False, "dt_min": 0.01, "use_fast_path": False}
    assert parse_config(OFFICIAL | {
        "ssm_cfg": ssm_cfg, "d_intermediate": 0, "attn_layer_idx": [], "attn_cfg": {},
        "fused_add_norm": False, "residual_in_fp32": False, "tie_embeddings": False,
    }) == MambaConfig(n_layer=24, d_state=8, d_conv=3, expand=3, dt_rank=5, bias=True,
                      conv_bias=False, residual_in_fp32=False, tie_embeddings=False)
    ssm_cfg = {"layer": "Mamba2", "d_state": 8, "headdim": 96, "ngroups": 4, "d_ssm": None,
               "dt_limit": [0.01, 0.2], "rmsnorm": True, "D_has_hdim": False, "conv_init": 0.1,
               "norm_before_gate": False, "A_init_range": [1, 8], "chunk_size": 64,
               "sequence_parallel": True}
    assert parse_config(MAMBA2_OFFICIAL | {"ssm_cfg": ssm_cfg}) == MambaConfig(
        50288, layers="2" * 24, d_state=8, head_dim=96, n_groups=4, dt_limit=(0.01, 0.2))


@pytest.mark.parametrize(("limit", "read"), [
    ([0.0, {"__float__": "Infinity"}], None), ([0.0, float("inf")], None), ([0.01, 1], (0.01, 1)),
    ([0.01, {"__float__": "Infinity"}], (0.01, float("inf")))], ids=str)
def test_infinite_largest_step_is_read_however_transformers_writes_it(limit, read):
    assert parse_config(MAMBA2 | {"time_step_limit": limit}).dt_limit == read


def test_several_end_tokens_end_a_text_and_are_saved(tmp_path):
    model = small_model(eos_token_id=[3, 5])
    model.save_pretrained(tmp_path)
    loaded = MambaLM.from_pretrained(tmp_path)
    assert loaded.config.eos_token_id == (3, 5)
    prompt = random_ids()
    assert torch.equal(loaded.generate(prompt, 40), model.generate(
        prompt, 40, eos_token_id=(3, 5)))


@pytest.mark.parametrize(("config", "changes", "message"), [
    # Activation, architecture, norms, scaling, precision, quantization: what changes the outputs.
    *((TRANSFORMERS, {key: value}, rf"^{key} in config.json: expected .+, got ") for key, value in {
        "hidden_act": "gelu", "model_type": "falcon_mamba", "rms_norm": False,
        "architectures": ["MambaForSequenceClassification"], "torchscript": True,
        "quantization_config": {"quant_method": "bitsandbytes"}, "dtype": "float8_e4m3fn",
        "is_encoder_decoder": True, "ssm_cfg": {"layer": "Mamba2"}, "intermediate_size": 1000,
        "d_inner": 768, "d_model": 1024, "n_layer": 23}.items()),
    *((TRANSFORMERS, {key: 1}, f"^config.json: expected no key .+, got '{key}' = 1$") for key in (
        "mixer_rms_eps", "rope_scaling", "num_experts", "auto_map", "logit_scale", "head_dim",
        "n_groups", "d_state")),
    # A wrong type, by the name that it has in the file.
    *((TRANSFORMERS, {key: value}, rf"^{key} in config.json: expected .+, got ") for key, value in {
        "expand": "2", "hidden_size": 768.0, "num_hidden_layers": True, "state_size": None,
        "conv_kernel": [4], "use_bias": 0, "use_conv_bias": "false", "tie_word_embeddings": None,
        "layer_norm_epsilon": float("nan"), "residual_in_fp32": 1, "time_step_rank": "broadcast",
        "eos_token_id": [0, "1"], "vocab_size": -1}.items()),
    (TRANSFORMERS, {"eos_token_id": 50280}, "^eos_token_id in config.json: .+ got 50280$"),
    (TRANSFORMERS, {"eos_token_id": [0, 10**30]}, "^eos_token_id in config.json: "),
    (TRANSFORMERS, {"a\nb" * 100: "x\n" * 10**5}, "^config.json: expected no key .{,200}$"),
    ({"model_type": "mamba3"}, OFFICIAL, "^model_type in config.json: .+, got 'mamba3'$"),
    *((MAMBA2, {key: value}, rf"^{key} in config.json: expected .+, got ") for key, value in {
        "num_heads": 64, "head_dim": 60, "n_groups": 3, "hidden_act": "gelu", "rms_norm": False,
        "architectures": ["MambaForCausalLM"], "num_hidden_layers": "64", "state_size": 0,
        "time_step_limit": [0.1, 0.01], "intermediate_size": 4096}.items()),
    (MAMBA2, {"num_hidden_layers": 10**18}, "^num_hidden_layers in config.json: .+ at most 10000"),
    (MAMBA2, {"d_ssm": 64}, "^config.json: expected no key .+, got 'd_ssm' = 64$"),
    *((OFFICIAL, {"ssm_cfg": {"layer": "Mamba2", key: value}},
       rf"^{key} in config.json: expected .+, got ") for key, value in {
        "d_ssm": 64, "D_has_hdim": True, "rmsnorm": False, "norm_before_gate": True,
        "headdim": 100, "ngroups": 5, "dt_limit": 1}.items()),
    (OFFICIAL, {"ssm_cfg": {"layer": "Mamba2", "dt_rank": 4}}, "^config.json: .+ 'dt_rank' = 4$"),
    *((OFFICIAL, {key: value}, rf"^{key} in config.json: expected .+, got ") for key, value in {
        "rms_norm": False, "d_intermediate": 1024, "attn_layer_idx": [3], "ssm_cfg": [],
        "attn_cfg": {"causal": True}, "pad_vocab_size_multiple": 0, "vocab_size": "50277",
        "d_model": 2.5, "n_layer": "24", "tie_embeddings": "yes"}.items()),
    *((OFFICIAL, {"ssm_cfg": {key: value}}, rf"^{key} in config.json: expected .+, got ")
      for key, value in {"layer": "Mamba3", "d_state": "16", "dt_rank": "broadcast"}.items()),
    (OFFICIAL, {"ssm_cfg": {"headdim": 64}}, "^config.json: expected no key .+ 'headdim' = 64$"),
    (OFFICIAL, {"norm_epsilon": 1e-3}, "^config.json: expected no key .+ got 'norm_epsilon'"),
    (OWN, {"dropout": 0.1}, "^config.json: expected no key .+ got 'dropout' = 0.1$"),
    (OWN, {"selective": "delta"}, "^selective in config.json: .+ got 'delta'$"),
    (OWN, {"selective": [1]}, "^selective in config.json: "),
    (OWN, {"rotary": "no"}, "^rotary in config.json: expected True or False, got 'no'$"),
], ids=lambda value: None if isinstance(value, str) else str(value)[:40])
def test_what_would_change_the_outputs_is_refused_by_name(config, changes, message):
    with pytest.raises(ValueError, match=message) as raised:
        parse_config(config | changes)
    assert "\n" not in str(raised.value)


@dataclass
class OfficialConfig:
    """The fields of the official package's config, and its defaults."""

    d_model: int = 2560
    d_intermediate: int = 0
    n_layer: int = 64
    vocab_size: int = 50277
    ssm_cfg: dict = field(default_factory=dict)
    attn_layer_idx: list = field(default_factory=list)
    attn_cfg: dict = field(default_factory=dict)
    rms_norm: bool = True
    residual_in_fp32: bool = True
    fused_add_norm: bool = True
    pad_vocab_size_multiple: int = 8
    tie_embeddings: bool = True


def official_shapes(config):
    """The names and shapes in the `state_dict()` of the official MambaLMHeadModel."""
    def block(d_state=16, d_conv=4, expand=2, dt_rank="auto", conv_bias=True, bias=False):
        dt_rank = ceil(d / 16) if dt_rank == "auto" else dt_rank
        e = expand * d
        shapes = {"in_proj.weight": (2 * e, d), "conv1d.weight": (e, 1, d_conv), "A_log": (
            e, d_state), "D": (e,), "x_proj.weight": (dt_rank + 2 * d_state, e),
            "dt_proj.weight": (e, dt_rank), "dt_proj.bias": (e,), "out_proj.weight": (d, e)}
        shapes |= {"conv1d.bias": (e,)} if conv_bias else {}
        return shapes | ({"in_proj.bias": (2 * e,), "out_proj.bias": (d,)} if bias else {})

    def block2(d_state=128, d_conv=4, expand=2, headdim=64, ngroups=1, conv_bias=True, bias=False,
               dt_limit=None):
        e = expand * d
        heads, conv_channels = e // headdim, e + 2 * ngroups * d_state
        features = e + conv_channels + heads
        shapes = {"in_proj.weight": (features, d), "conv1d.weight": (conv_channels, 1, d_conv),
                  "dt_bias": (heads,), "A_log": (heads,), "D": (heads,), "norm.weight": (e,),
                  "out_proj.weight": (d, e)}
        shapes |= {"conv1d.bias": (conv_channels,)} if conv_bias else {}
        return shapes | ({"in_proj.bias": (features,), "out_proj.bias": (d,)} if bias else {})

    d, vocab_size, multiple = config.d_model, config.vocab_size, config.pad_vocab_size_multiple
    if vocab_size % multiple:
        vocab_size += multiple - vocab_size % multiple
    shapes = {"backbone.embedding.weight": (vocab_size, d), "backbone.norm_f.weight": (d,),
              "lm_head.weight": (vocab_size, d)}
    for layer in range(config.n_layer):
        shapes[f"backbone.layers.{layer}.norm.weight"] = (d,)
        options = dict(config.ssm_cfg)
        block_shapes = block2 if options.pop("layer", "Mamba1") == "Mamba2" else block
        shapes |= {f"backbone.layers.{layer}.mixer.{name}": shape
                   for name, shape in block_shapes(**options).items()}
    return shapes


@pytest.mark.parametrize("changes", [
    {}, {"vocab_size": 41}, {"tie_embeddings": False, "residual_in_fp32": False},
    {"bias": True, "conv_bias": False}, {"d_state": 5, "d_conv": 3, "expand": 3, "dt_rank": 2},
    {"layers": "22", "head_dim": 4, "n_groups": 3, "d_state": 5, "dt_limit": (0.01, 0.1)},
    {"layers": "22", "head_dim": 18, "expand": 3, "bias": True, "conv_bias": False, "d_conv": 3}],
    ids=str)
def test_official_package_opens_what_is_saved_in_its_layout(changes, tmp_path):
    model = small_model(**changes)
    model.save_pretrained(tmp_path, layout="mamba_ssm")
    described = json.loads((tmp_path / "config.json").read_text())
    config = OfficialConfig(**described)                      # refuses a key that it has not
    assert (config.tie_embeddings, config.residual_in_fp32) == (
        model.config.tie_embeddings, model.config.residual_in_fp32)
    saved = torch.load(tmp_path / "pytorch_model.bin", weights_only=True)
    assert {name: tuple(value.shape) for name, value in saved.items()} == official_shapes(config)
    head_is_embedding = torch.equal(saved["lm_head.weight"], saved["backbone.embedding.weight"])
    assert head_is_embedding == config.tie_embeddings
    assert not list(tmp_path.glob("*.safetensors"))


def test_we_read_every_field_of_the_official_config():
    config = OfficialConfig(d_model=32, n_layer=2)
    ours = parse_config({each.name: getattr(config, each.name) for each in fields(config)})
    assert ours == MambaConfig(50280, 32, 2)
    with torch.device("meta"):
        shapes = {name: tuple(value.shape) for name, value in MambaLM(ours).state_dict().items()}
    assert shapes == {name.removeprefix("backbone."): shape
                      for name, shape in official_shapes(config).items()}
