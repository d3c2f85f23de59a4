"""What config.json and the weights' names are, in each layout in which Mamba models are published.

A key or a value that might change what the model computes, and that our model can't honour, is
refused by name.
"""

import re
from dataclasses import asdict
from functools import reduce
from math import inf
from reprlib import repr as shorten
from typing import Literal

import torch
from torch import Tensor

from minimamba.arguments import check_count, refuse
from minimamba.config import MambaConfig
from minimamba.layout_keys import OFFICIAL, OWN, SSM_CFG, TRANSFORMERS, VOCAB_MULTIPLE, Keys

MOST_LAYERS = 10**6
"""A pattern of more letters would take more memory than a config.json may ask for."""


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
    if model_type not in (None, "mamba", "mamba2", "minimamba"):
        refuse("model_type in config.json", "'mamba', 'mamba2' or 'minimamba'",
               shorten(model_type))
    if model_type == "minimamba":
        return _build(described, OWN)
    if model_type is not None or "hidden_size" in described:
        return _parse_transformers(described, "2" if model_type == "mamba2" else "M")
    if "d_model" in described or "ssm_cfg" in described:
        return _parse_official(described)
    refuse("config.json", "the layout of transformers, with hidden_size, or that of mamba_ssm, "
           "with d_model", f"the keys {', '.join(sorted(described)) or '(none)'}")


def describe_config(config: MambaConfig, weights: dict[str, Tensor], layout: str) -> dict:
    """Write the sizes of a model.

    Args:
        config: the sizes; for a layout other than "minimamba", of Mamba blocks alone or of Mamba-2
            blocks alone.
        weights: the `state_dict()` of the model.
        layout: "transformers", "mamba_ssm" or "minimamba".

    Returns:
        What config.json holds.
    """
    if layout == "minimamba":
        return {"model_type": "minimamba", **asdict(config)}
    block = config.only_block
    keys = (TRANSFORMERS if layout == "transformers" else SSM_CFG)[block]
    sizes = {key: getattr(config, own) for key, own in keys.fields.items()
             if own != "dt_limit" or config.dt_limit is not None}
    if block == "M":
        rank = weights["layers.0.mixer.dt_proj.weight"].shape[1]
        sizes["time_step_rank" if layout == "transformers" else "dt_rank"] = rank
    if layout == "transformers":
        # transformers converts all weights to one dtype, so it has to be the widest.
        dtype = reduce(torch.promote_types, {weight.dtype for weight in weights.values()})
        architecture = "MambaForCausalLM" if block == "M" else "Mamba2ForCausalLM"
        return {"architectures": [architecture], "model_type": keys.values["model_type"][0],
                **sizes, **_derived_sizes(config),
                "layer_norm_epsilon": float(config.norm_epsilon),  # it takes no int
                "hidden_act": "silu", "dtype": str(dtype).removeprefix("torch.")}
    if block == "2":
        sizes["layer"] = "Mamba2"
    return {"d_model": config.d_model, "n_layer": config.n_layer, "vocab_size": config.vocab_size,
            "ssm_cfg": sizes, "rms_norm": True, "fused_add_norm": True,
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


def _parse_transformers(described: dict, block: Literal["M", "2"]) -> MambaConfig:
    if "time_step_limit" in described:
        limit = _decode_infinity(described["time_step_limit"])
        described = described | {"time_step_limit": limit}
    config = _build(described, TRANSFORMERS[block], block)
    derived = _derived_sizes(config) | {"d_model": config.d_model, "n_layer": config.n_layer}
    derived["d_inner"] = derived["intermediate_size"]
    for key, expected in derived.items():
        if described.get(key, expected) != expected:
            refuse(f"{key} in config.json", f"{expected}, by its other keys",
                   shorten(described[key]))
    return config


def _derived_sizes(config: MambaConfig) -> dict[str, int]:
    """Keys of transformers that follow from others."""
    d_inner = config.expand * config.d_model
    if config.only_block == "2":
        return {"intermediate_size": d_inner, "num_heads": d_inner // config.head_dim}
    return {"intermediate_size": d_inner}


def _decode_infinity(limit: object) -> object:
    """The steps of a time_step_limit, as numbers: JSON has none for infinity."""
    if not isinstance(limit, list):
        return limit
    return [inf if step == {"__float__": "Infinity"} else step for step in limit]


def _parse_official(described: dict) -> MambaConfig:
    ssm_cfg = described.get("ssm_cfg", {})
    if not isinstance(ssm_cfg, dict):
        refuse("ssm_cfg in config.json", "a JSON object", repr(ssm_cfg))
    layer = ssm_cfg.get("layer", "Mamba1")
    if layer not in ("Mamba1", "Mamba2"):
        refuse("layer in config.json", "'Mamba1' or 'Mamba2'", shorten(layer))
    block = "2" if layer == "Mamba2" else "M"
    keys = SSM_CFG[block]
    _check_keys(ssm_cfg, keys)
    _check_keys(described, OFFICIAL)
    multiple = described.get(VOCAB_MULTIPLE, 8)
    vocab_size = described.get("vocab_size", OFFICIAL.defaults["vocab_size"])
    check_count(f"{VOCAB_MULTIPLE} in config.json", multiple)
    check_count("vocab_size in config.json", vocab_size)
    sizes = {key: described[key] for key in OFFICIAL.fields if key in described}
    sizes |= {key: ssm_cfg[key] for key in keys.fields if key in ssm_cfg}
    sizes["vocab_size"] = -(-vocab_size // multiple) * multiple
    both = Keys(OFFICIAL.fields | keys.fields, OFFICIAL.defaults | keys.defaults, {}, frozenset())
    return _build(sizes, both, block)


def _build(described: dict, keys: Keys, block: Literal["M", "2"] = "M") -> MambaConfig:
    """The sizes, of a model of this block alone; an error calls a field what the file calls it."""
    _check_keys(described, keys)
    sizes = keys.defaults | {own: described[key] for key, own in keys.fields.items()
                             if key in described}
    try:
        if block == "2":
            check_count("n_layer", sizes["n_layer"])
            if sizes["n_layer"] > MOST_LAYERS:
                refuse("n_layer", f"at most {MOST_LAYERS} layers", sizes["n_layer"])
            sizes["layers"] = block * sizes["n_layer"]
        return MambaConfig(**sizes)
    except ValueError as error:
        own, _, rest = str(error).partition(": ")
        key = {name: key for key, name in keys.fields.items()}[own]
        raise ValueError(f"{key} in config.json: {rest}") from None


def _check_keys(described: dict, keys: Keys) -> None:
    """Refuse what our model can't honour."""
    for key, value in described.items():
        if key in keys.values:
            allowed = keys.values[key]
            if value not in allowed:
                refuse(f"{key} in config.json", " or ".join(map(repr, allowed)), shorten(value))
        elif key not in keys.fields and key not in keys.ignored:
            refuse("config.json", "no key that this library does not know, since it might change "
                   "the outputs", f"{shorten(key)} = {shorten(value)}")
