"""Files of weights, in the layouts in which Mamba models are published.

| layout | whose it is | may hold |
|---|---|---|
| "transformers" | Hugging Face's `MambaForCausalLM` | Mamba blocks alone |
| "mamba_ssm" | the official package | Mamba blocks alone |
| "minimamba" | this library | any layer pattern |

Each is a folder with a config.json and a file of weights. The parameters of a block have the same
names in all three; the names of the sizes in config.json and that of the embedding differ. Nothing
is ever unpickled. `MambaLM.from_pretrained` and `save_pretrained` are what to call; this module
reads and writes the files.
"""

import json
import re
from dataclasses import asdict, fields
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from minimamba.arguments import check_one_of, refuse
from minimamba.config import MambaConfig

LAYOUTS = ("transformers", "mamba_ssm", "minimamba")
WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
INDEX_FILES = tuple(f"{name}.index.json" for name in WEIGHT_FILES)
"""What stands in their place if the weights are in several files: it says which file has which."""
TRANSFORMERS_KEYS = {
    "vocab_size": "vocab_size", "d_model": "hidden_size", "n_layer": "num_hidden_layers",
    "d_state": "state_size", "d_conv": "conv_kernel", "expand": "expand",
    "dt_rank": "time_step_rank", "bias": "use_bias", "conv_bias": "use_conv_bias",
    "tie_embeddings": "tie_word_embeddings", "norm_epsilon": "layer_norm_epsilon",
    "residual_in_fp32": "residual_in_fp32", "eos_token_id": "eos_token_id"}
"""Fields of `MambaConfig`, and their names in a config.json of transformers."""
SSM_CFG_KEYS = ("d_state", "d_conv", "expand", "dt_rank", "bias", "conv_bias")
"""Fields that a config.json of the official package has under "ssm_cfg"."""
OFFICIAL_NORM_EPSILON = 1e-5
"""That of the official package's norms, which its config can't change."""
VOCAB_MULTIPLE = "pad_vocab_size_multiple"
"""The official package rounds the size of the vocabulary up to a multiple of this, by default 8."""


def find(path: str | Path) -> Path:
    """Find the file of weights that a path or a hub name stands for.

    Args:
        path: a folder, a file of weights, or, where there is a network and `huggingface_hub` is
            installed, a name on the hub: then it is downloaded, with config.json and
            tokenizer.json.

    Returns:
        The file of weights, or the index of several.

    Raises:
        FileNotFoundError: if there is none.
    """
    given = Path(path)
    if given.is_file():
        return given
    if given.is_dir():
        names = (*WEIGHT_FILES, *INDEX_FILES)
        for name in names:
            if (given / name).is_file():
                return given / name
        raise FileNotFoundError(f"{given}: has none of {', '.join(names)}")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", str(path)):
        raise FileNotFoundError(f"{given}: no such file or folder")
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise FileNotFoundError(f"{given}: no such file or folder; to look for it on the hub, "
                                "`pip install huggingface_hub`") from None
    return find(snapshot_download(str(path), allow_patterns=[
        "config.json", "tokenizer.json", *WEIGHT_FILES, *INDEX_FILES, "model-*.safetensors",
        "pytorch_model-*.bin"]))


def read(file: Path) -> tuple[MambaConfig, dict[str, Tensor]]:
    """Read a checkpoint of any layout.

    Args:
        file: what `find` returned; a config.json stands beside it.

    Returns:
        The sizes, and the weights under the names that `MambaLM` has for them.

    Raises:
        ValueError: for a layout that is none of the three.
    """
    described = json.loads((file.parent / "config.json").read_text())
    weights = _read_weights(file)
    config = _parse_config(described, weights)
    weights = {_own_key(name): value for name, value in weights.items()}
    if config.tie_embeddings and "embedding.weight" in weights:
        weights.setdefault("lm_head.weight", weights["embedding.weight"])
    return config, weights


def write(folder: str | Path, config: MambaConfig, weights: dict[str, Tensor],
          layout: str = "transformers") -> None:
    """Write config.json and the weights: model.safetensors, or pytorch_model.bin for "mamba_ssm".

    The official package opens no other file, and wants the head's weight in it even where that is
    the embedding's.

    Args:
        folder: where; created if it does not exist. Weights that are there already are replaced.
        config: the sizes.
        weights: the `state_dict()` of a `MambaLM`.
        layout: "transformers", "mamba_ssm" or "minimamba".

    Raises:
        ValueError: for an unknown layout, or one that can't hold this model.
    """
    check_one_of("layout", layout, LAYOUTS)
    if layout != "minimamba" and not config.is_all_mamba:
        refuse("layout", "'minimamba' for layers other than Mamba blocks",
               f"{layout!r} for {config.layer_pattern!r}")
    if layout == "mamba_ssm" and config.norm_epsilon != OFFICIAL_NORM_EPSILON:
        refuse("layout", f"'transformers' or 'minimamba' for a norm_epsilon other than "
               f"{OFFICIAL_NORM_EPSILON:g}", f"'mamba_ssm' for {config.norm_epsilon:g}")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name in (*WEIGHT_FILES, *INDEX_FILES):
        (folder / name).unlink(missing_ok=True)  # else a later load might find the older weights
    named = {_layout_key(name, layout): value.contiguous() for name, value in weights.items()}
    if layout == "mamba_ssm":
        torch.save(named, folder / "pytorch_model.bin")
    else:
        if config.tie_embeddings:
            del named["lm_head.weight"]
        save_file(named, folder / "model.safetensors", {"format": "pt"})
    described = _describe_config(config, weights, layout)
    (folder / "config.json").write_text(json.dumps(described, indent=2) + "\n")


def check_weights(weights: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Compare the names and shapes of weights with those that a model has.

    Args:
        weights: what a file holds.
        expected: the model's `state_dict()`.

    Raises:
        ValueError: listing every weight that is missing, unknown or of another shape.
    """
    wrong = [f"missing: {name}" for name in expected.keys() - weights.keys()]
    wrong += [f"not known: {name}" for name in weights.keys() - expected.keys()]
    for name in expected.keys() & weights.keys():
        wanted = tuple(expected[name].shape)
        given = tuple(weights[name].shape)
        if wanted != given:
            wrong.append(f"{name}: expected shape {wanted}, got {given}")
    if wrong:
        refuse("checkpoint", "the weights that its config.json describes",
               "\n  ".join(["these:", *sorted(wrong)]))


def _read_weights(file: Path) -> dict[str, Tensor]:
    """All weights, from one file or from those that an index names."""
    if file.suffix == ".safetensors":
        return load_file(file)
    if file.name not in INDEX_FILES:
        return torch.load(file, map_location="cpu", weights_only=True)
    file_of = json.loads(file.read_text())["weight_map"]
    weights = {}
    for name in sorted(set(file_of.values())):
        if Path(name).name != name or not (file.parent / name).is_file():
            refuse(file.name, "names of files that stand beside it", name)
        weights |= _read_weights(file.parent / name)
    if absent := sorted(file_of.keys() - weights.keys()):
        refuse(file.name, "names of weights that its files hold", ", ".join(absent))
    return weights


def _parse_config(described: dict, weights: dict[str, Tensor]) -> MambaConfig:
    """The sizes, from a config.json of any layout."""
    own_names = [field.name for field in fields(MambaConfig)]
    if described.get("model_type") == "minimamba":
        return MambaConfig(**{name: described[name] for name in own_names if name in described})
    if "hidden_size" in described:
        sizes = {own: described[key] for own, key in TRANSFORMERS_KEYS.items() if key in described}
        sizes.setdefault("tie_embeddings", "lm_head.weight" not in weights)
        return MambaConfig(**sizes)
    if "d_model" in described:
        known = {**described.get("ssm_cfg", {}), **described}
        sizes = {name: known[name] for name in own_names if name in known}
        multiple = described.get(VOCAB_MULTIPLE, 8)
        sizes["vocab_size"] = -(-described["vocab_size"] // multiple) * multiple
        return MambaConfig(**sizes)
    refuse("config.json", "the layout of transformers, with hidden_size, or that of mamba_ssm, "
           "with d_model", f"the keys {', '.join(sorted(described)) or '(none)'}")


def _describe_config(config: MambaConfig, weights: dict[str, Tensor], layout: str) -> dict:
    """What config.json holds."""
    if layout == "minimamba":
        return {"model_type": "minimamba", **asdict(config)}
    dt_rank = weights["layers.0.mixer.dt_proj.weight"].shape[1]
    if layout == "transformers":
        sizes = {key: getattr(config, own) for own, key in TRANSFORMERS_KEYS.items()}
        dtype = weights["norm_f.weight"].dtype
        return {"architectures": ["MambaForCausalLM"], "model_type": "mamba", **sizes,
                "time_step_rank": dt_rank, "intermediate_size": config.expand * config.d_model,
                "hidden_act": "silu", "dtype": str(dtype).removeprefix("torch.")}
    ssm_cfg = {name: getattr(config, name) for name in SSM_CFG_KEYS} | {"dt_rank": dt_rank}
    return {"d_model": config.d_model, "n_layer": config.n_layer, "vocab_size": config.vocab_size,
            "ssm_cfg": ssm_cfg, "rms_norm": True, "fused_add_norm": True,
            "residual_in_fp32": config.residual_in_fp32,
            VOCAB_MULTIPLE: 1, "tie_embeddings": config.tie_embeddings}


def _own_key(name: str) -> str:
    """The name of a weight in `MambaLM`, from its name in any layout."""
    name = name.removeprefix("backbone.")
    return re.sub(r"^embeddings\.", "embedding.", name)


def _layout_key(name: str, layout: str) -> str:
    """The name of a weight in a layout, from its name in `MambaLM`."""
    if layout == "minimamba" or name.startswith("lm_head."):
        return name
    if layout == "transformers":
        name = re.sub(r"^embedding\.", "embeddings.", name)
    return f"backbone.{name}"
