"""What config.json and the weights' names are, in each layout in which Mamba models are published.

A config.json may say things that change what the model computes. So each layout lists its keys:
those that set a field of `MambaConfig`, those that may have only the values that our model
implements, and those that change no output. Any other key or value is refused by name.
"""

import re
from dataclasses import asdict, fields
from functools import reduce
from reprlib import repr as shorten

import torch
from torch import Tensor

from minimamba.arguments import check_count, refuse
from minimamba.config import MambaConfig

TRANSFORMERS_FIELDS = {
    "vocab_size": "vocab_size", "hidden_size": "d_model", "num_hidden_layers": "n_layer",
    "state_size": "d_state", "conv_kernel": "d_conv", "expand": "expand",
    "time_step_rank": "dt_rank", "use_bias": "bias", "use_conv_bias": "conv_bias",
    "tie_word_embeddings": "tie_embeddings", "layer_norm_epsilon": "norm_epsilon",
    "residual_in_fp32": "residual_in_fp32", "eos_token_id": "eos_token_id"}
"""Keys of transformers, and the field of `MambaConfig` that each sets."""
TRANSFORMERS_DEFAULTS = {"n_layer": 32, "eos_token_id": 0}
"""Of the keys that are absent, where `MambaConfig` has another."""
DTYPES = (None, "float32", "bfloat16", "float16", "float64")
TRANSFORMERS_VALUES = {
    "model_type": ("mamba",), "hidden_act": ("silu", "swish"),
    "architectures": (None, ["MambaForCausalLM"], ["MambaModel"]),
    "dtype": DTYPES, "torch_dtype": DTYPES, "quantization_config": (None,), "pruned_heads": ({},),
    "is_decoder": (False,), "is_encoder_decoder": (False,), "tie_encoder_decoder": (False,),
    "add_cross_attention": (False,), "chunk_size_feed_forward": (0,), "torchscript": (False,),
    "use_bfloat16": (False,), "rms_norm": (True,), "ssm_cfg": ({},)}
TRANSFORMERS_IGNORED = frozenset((
    "_name_or_path", "transformers_version", "bos_token_id", "pad_token_id", "sep_token_id",
    "use_cache", "return_dict", "output_hidden_states", "output_attentions", "problem_type",
    "id2label", "label2id", "task_specific_params", "_attn_implementation_autoset",
    # How new weights would be initialized.
    "initializer_range", "rescale_prenorm_residual", "time_step_scale", "time_step_min",
    "time_step_max", "time_step_init_scheme", "time_step_floor",
    # Which of several programs computes the same.
    "use_mambapy", "use_associative_scan", "fused_add_norm",
    # vocab_size is a multiple of it already.
    "pad_vocab_size_multiple"))

OFFICIAL_FIELDS = {name: name for name in (
    "d_model", "n_layer", "vocab_size", "residual_in_fp32", "tie_embeddings")}
OFFICIAL_DEFAULTS = {"d_model": 2560, "n_layer": 64, "vocab_size": 50277}
OFFICIAL_VALUES = {"d_intermediate": (0,), "attn_layer_idx": ([],), "attn_cfg": ({},),
                   "rms_norm": (True,)}
VOCAB_MULTIPLE = "pad_vocab_size_multiple"
"""The official package rounds the size of the vocabulary up to a multiple of this, by default 8."""
OFFICIAL_IGNORED = frozenset(("ssm_cfg", "fused_add_norm", VOCAB_MULTIPLE))
"""Read apart, all but the second, which is how the same is computed."""
SSM_CFG_FIELDS = {name: name for name in (
    "d_state", "d_conv", "expand", "dt_rank", "bias", "conv_bias")}
"""Keys that a config.json of the official package has under "ssm_cfg"."""
SSM_CFG_VALUES = {"layer": ("Mamba1",)}
SSM_CFG_IGNORED = frozenset(("dt_min", "dt_max", "dt_init", "dt_scale", "dt_init_floor",
                             "use_fast_path"))
OFFICIAL_NORM_EPSILON = 1e-5
"""That of the official package's norms, which its config can't change."""
OWN_FIELDS = {field.name: field.name for field in fields(MambaConfig)}


def parse_config(described: dict) -> MambaConfig:
    """Read the sizes of a model.

    Args:
        described: a config.json of any layout.

    Returns:
        The sizes.

    Raises:
        ValueError: naming a key that our model can't honour.
    """
    model_type = described.get("model_type")
    if model_type not in (None, "mamba", "minimamba"):
        refuse("model_type in config.json", "'mamba' or 'minimamba'", shorten(model_type))
    if model_type == "minimamba":
        return _build(described, OWN_FIELDS, {}, {"model_type": ("minimamba",)})
    if model_type == "mamba" or "hidden_size" in described:
        config = _build(described, TRANSFORMERS_FIELDS, TRANSFORMERS_DEFAULTS,
                        TRANSFORMERS_VALUES, TRANSFORMERS_IGNORED
                        | {"intermediate_size", "d_inner", "d_model", "n_layer"})
        d_inner = config.expand * config.d_model
        for key, expected in {"intermediate_size": d_inner, "d_inner": d_inner,
                              "d_model": config.d_model, "n_layer": config.n_layer}.items():
            if described.get(key, expected) != expected:
                refuse(f"{key} in config.json", f"{expected}, by its other keys",
                       repr(described[key]))
        return config
    if "d_model" in described or "ssm_cfg" in described:
        return _parse_official(described)
    refuse("config.json", "the layout of transformers, with hidden_size, or that of mamba_ssm, "
           "with d_model", f"the keys {', '.join(sorted(described)) or '(none)'}")


def describe_config(config: MambaConfig, weights: dict[str, Tensor], layout: str) -> dict:
    """Write the sizes of a model.

    Args:
        config: the sizes.
        weights: the `state_dict()` of the model.
        layout: "transformers", "mamba_ssm" or "minimamba".

    Returns:
        What config.json holds.
    """
    if layout == "minimamba":
        return {"model_type": "minimamba", **asdict(config)}
    dt_rank = weights["layers.0.mixer.dt_proj.weight"].shape[1]
    if layout == "transformers":
        sizes = {key: getattr(config, own) for key, own in TRANSFORMERS_FIELDS.items()}
        # transformers converts all weights to one dtype, so it has to be the widest.
        dtype = reduce(torch.promote_types, {weight.dtype for weight in weights.values()})
        return {"architectures": ["MambaForCausalLM"], "model_type": "mamba", **sizes,
                "layer_norm_epsilon": float(config.norm_epsilon),  # it takes no int
                "time_step_rank": dt_rank, "intermediate_size": config.expand * config.d_model,
                "hidden_act": "silu", "dtype": str(dtype).removeprefix("torch.")}
    ssm_cfg = {name: getattr(config, name) for name in SSM_CFG_FIELDS} | {"dt_rank": dt_rank}
    return {"d_model": config.d_model, "n_layer": config.n_layer, "vocab_size": config.vocab_size,
            "ssm_cfg": ssm_cfg, "rms_norm": True, "fused_add_norm": True,
            "residual_in_fp32": config.residual_in_fp32,
            VOCAB_MULTIPLE: 1, "tie_embeddings": config.tie_embeddings}


def own_key(name: str) -> str:
    """Find the name of a weight in `MambaLM`.

    Args:
        name: its name in any layout.

    Returns:
        Its name in `MambaLM`.
    """
    name = name.removeprefix("backbone.")
    return re.sub(r"^embeddings\.", "embedding.", name)


def layout_key(name: str, layout: str) -> str:
    """Find the name of a weight in a layout.

    Args:
        name: its name in `MambaLM`.
        layout: "transformers", "mamba_ssm" or "minimamba".

    Returns:
        Its name in the layout.
    """
    if layout == "minimamba" or name.startswith("lm_head."):
        return name
    if layout == "transformers":
        name = re.sub(r"^embedding\.", "embeddings.", name)
    return f"backbone.{name}"


def _parse_official(described: dict) -> MambaConfig:
    ssm_cfg = described.get("ssm_cfg", {})
    if not isinstance(ssm_cfg, dict):
        refuse("ssm_cfg in config.json", "a JSON object", repr(ssm_cfg))
    _check_keys(ssm_cfg, SSM_CFG_FIELDS, SSM_CFG_VALUES, SSM_CFG_IGNORED)
    _check_keys(described, OFFICIAL_FIELDS, OFFICIAL_VALUES, OFFICIAL_IGNORED)
    multiple = described.get(VOCAB_MULTIPLE, 8)
    vocab_size = described.get("vocab_size", OFFICIAL_DEFAULTS["vocab_size"])
    check_count(f"{VOCAB_MULTIPLE} in config.json", multiple)
    check_count("vocab_size in config.json", vocab_size)
    sizes = {key: described[key] for key in OFFICIAL_FIELDS if key in described}
    sizes |= {key: ssm_cfg[key] for key in SSM_CFG_FIELDS if key in ssm_cfg}
    sizes["vocab_size"] = -(-vocab_size // multiple) * multiple
    return _build(sizes, OFFICIAL_FIELDS | SSM_CFG_FIELDS, OFFICIAL_DEFAULTS, {})


def _build(described: dict, own_of: dict[str, str], defaults: dict[str, object],
           values: dict[str, tuple], ignored: frozenset[str] = frozenset()) -> MambaConfig:
    """The sizes; an error calls a field what the file calls it."""
    _check_keys(described, own_of, values, ignored)
    sizes = {own: described[key] for key, own in own_of.items() if key in described}
    try:
        return MambaConfig(**{**defaults, **sizes})
    except ValueError as error:
        own, _, rest = str(error).partition(": ")
        key = {name: key for key, name in own_of.items()}[own]
        raise ValueError(f"{key} in config.json: {rest}") from None


def _check_keys(described: dict, own_of: dict[str, str], values: dict[str, tuple],
                ignored: frozenset[str]) -> None:
    """Refuse what our model can't honour."""
    for key, value in described.items():
        if key in values:
            if value not in values[key]:
                refuse(f"{key} in config.json", " or ".join(map(repr, values[key])), shorten(value))
        elif key not in own_of and key not in ignored:
            refuse("config.json", "no key that this library does not know, since it might change "
                   "the outputs", f"{shorten(key)} = {shorten(value)}")
