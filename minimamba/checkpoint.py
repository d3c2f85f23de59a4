"""Weights in the two layouts that Mamba's are published in; nothing is ever unpickled.

"transformers" is that of Hugging Face's MambaForCausalLM, "original" that of the official
package. Both are a folder with a config.json and a file of weights; they differ in the names of
the sizes and in that of the embedding. Other layers than Mamba's have no place in them: for
hybrids there is "minimamba", with the names of this library.
"""

import json
import re
from dataclasses import asdict, fields
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from minimamba.arguments import check_one_of, refuse
from minimamba.lm import MambaConfig, MambaLM

LAYOUTS = ("transformers", "original", "minimamba")
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
INDICES = tuple(f"{name}.index.json" for name in WEIGHTS)
"""What stands in their place where the weights are in several files: which of them has which."""
TRANSFORMERS = {"vocab_size": "vocab_size", "d_model": "hidden_size", "n_layer":
                "num_hidden_layers", "d_state": "state_size", "d_conv": "conv_kernel",
                "expand": "expand", "dt_rank": "time_step_rank", "bias": "use_bias",
                "conv_bias": "use_conv_bias", "tie_embeddings": "tie_word_embeddings",
                "norm_epsilon": "layer_norm_epsilon", "residual_in_fp32": "residual_in_fp32"}
"""What the fields of `MambaConfig` are called there."""
ORIGINAL = ("d_state", "d_conv", "expand", "dt_rank", "bias", "conv_bias")
"""The fields that the original layout keeps under "ssm_cfg"; the others have the same names."""
MULTIPLE = "pad_vocab_size_multiple"


def load(path: str | Path, *, dtype: torch.dtype | None = None,
         device: torch.device | str = "cpu") -> MambaLM:
    """A model from a folder, a file of weights beside its config.json, or a name on the hub.

    Args:
        path: such as "checkpoints/mine", "checkpoints/mine/model.safetensors", or, where there
            is a network and `huggingface_hub` is installed, "state-spaces/mamba-130m-hf".
        dtype: of the weights; as they are stored if None. device: where they go.

    Raises:
        ValueError: for a layout that is neither, and for keys that are missing, not known, or
            of another shape, all of which it lists.
        FileNotFoundError: where nothing is.
    """
    file = find(path)
    described = json.loads((file.parent / "config.json").read_text())
    weights = _read(file)
    config = _config(described, weights)
    with torch.device("meta"):
        model = MambaLM(config)
    weights = {_ours(name): value for name, value in weights.items()}
    if config.tie_embeddings:
        weights.setdefault("head.weight", weights.get("embedding.weight"))
    _check(weights, model)
    weights = {name: value.to(device, dtype) for name, value in weights.items()}
    model.load_state_dict(weights, assign=True)
    if config.tie_embeddings:
        model.head.weight = model.embedding.weight
    return model.eval()


def save(model: MambaLM, path: str | Path, *, layout: str = "transformers") -> None:
    """Write config.json and model.safetensors into a folder, made if there is none."""
    check_one_of("layout", layout, LAYOUTS)
    if not isinstance(model, MambaLM):
        refuse("model", "a MambaLM", type(model).__name__)
    if layout != "minimamba" and set(model.config.pattern) != {"M"}:
        refuse("layout", "'minimamba' for other layers than Mamba's",
               f"{layout!r} for {model.config.pattern}")
    folder = Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    weights = {_theirs(name, layout): value.contiguous()
               for name, value in model.state_dict().items()
               if not (name == "head.weight" and model.config.tie_embeddings)}
    save_file(weights, folder / WEIGHTS[0], {"format": "pt"})
    described = _described(model, layout)
    (folder / "config.json").write_text(json.dumps(described, indent=2) + "\n")


def find(path: str | Path) -> Path:
    """The file of weights, or their index, that a path or a name on the hub stands for; fetched,
    in that case, with what stands beside it: config.json and tokenizer.json."""
    place = Path(path)
    if place.is_file():
        return place
    if place.is_dir():
        names = (*WEIGHTS, *INDICES)
        found = [place / name for name in names if (place / name).is_file()]
        if not found:
            raise FileNotFoundError(f"{place}: has none of {', '.join(names)}")
        return found[0]
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", str(path)):
        raise FileNotFoundError(f"{place}: no such file or folder")
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise FileNotFoundError(f"{place}: no such file or folder; to look for it on the hub, "
                                "`pip install huggingface_hub`") from None
    return find(snapshot_download(str(path), allow_patterns=[
        "config.json", "tokenizer.json", *WEIGHTS, *INDICES, "model-*.safetensors",
        "pytorch_model-*.bin"]))


def _read(file: Path) -> dict[str, Tensor]:
    if file.name in INDICES:
        held = json.loads(file.read_text())["weight_map"]
        parts = sorted(set(held.values()))
        for part in parts:
            if Path(part).name != part or not (file.parent / part).is_file():
                refuse(file.name, "names of files that stand beside it", part)
        weights = {name: value for part in parts
                   for name, value in _read(file.parent / part).items()}
        if absent := sorted(held.keys() - weights.keys()):
            refuse(file.name, "names of weights that its files hold", ", ".join(absent))
        return weights
    if file.suffix == ".safetensors":
        return load_file(file)
    return torch.load(file, map_location="cpu", weights_only=True)


def _config(described: dict, weights: dict[str, Tensor]) -> MambaConfig:
    if described.get("model_type") == "minimamba":
        return MambaConfig(**{field.name: described[field.name] for field in fields(MambaConfig)
                              if field.name in described})
    if "hidden_size" in described:
        given = {ours: described[theirs] for ours, theirs in TRANSFORMERS.items()
                 if theirs in described}
        if given.get("dt_rank") == "auto":
            given["dt_rank"] = None
        given.setdefault("tie_embeddings", "lm_head.weight" not in weights)
    elif "d_model" in described:
        inner = described.get("ssm_cfg", {})
        given = {field.name: source[field.name] for field in fields(MambaConfig)
                 for source in (described, inner) if field.name in source}
        if given.get("dt_rank") == "auto":
            given["dt_rank"] = None
        multiple = described.get(MULTIPLE, 8)
        given["vocab_size"] = -(-described["vocab_size"] // multiple) * multiple
    else:
        refuse("config.json", "the layout of transformers, with hidden_size, or the original one, "
               "with d_model", f"the keys {', '.join(sorted(described)) or '(none)'}")
    return MambaConfig(**given)


def _described(model: MambaLM, layout: str) -> dict:
    config = model.config
    if layout == "minimamba":
        return {"model_type": "minimamba", **asdict(config)}
    rank = model.layers[0].mixer.ssm.dt_proj.in_features
    if layout == "transformers":
        values = {theirs: getattr(config, ours) for ours, theirs in TRANSFORMERS.items()}
        inner = model.layers[0].mixer.d_inner
        return {"architectures": ["MambaForCausalLM"], "model_type": "mamba", **values,
                "time_step_rank": rank, "intermediate_size": inner, "hidden_act": "silu",
                "dtype": str(model.norm.weight.dtype).removeprefix("torch.")}
    return {"d_model": config.d_model, "n_layer": config.n_layer, "vocab_size": config.vocab_size,
            "ssm_cfg": {name: getattr(config, name) for name in ORIGINAL} | {"dt_rank": rank},
            "rms_norm": True, "norm_epsilon": config.norm_epsilon, "fused_add_norm": True,
            "residual_in_fp32": config.residual_in_fp32, MULTIPLE: 1,
            "tie_embeddings": config.tie_embeddings}


def _ours(name: str) -> str:
    """A key of either layout as this library's; one that neither has stays as it is."""
    name = re.sub(r"^backbone\.embeddings?\.", "embedding.", name)
    name = re.sub(r"^backbone\.norm_f\.", "norm.", name)
    name = re.sub(r"^lm_head\.", "head.", name)
    name = re.sub(r"^backbone\.layers\.", "layers.", name)
    name = re.sub(r"\.mixer\.dt_proj\.bias$", ".mixer.ssm.dt_bias", name)
    return re.sub(r"\.mixer\.(x_proj\.|dt_proj\.|A_log$|D$)", r".mixer.ssm.\1", name)


def _theirs(name: str, layout: str) -> str:
    if layout == "minimamba":
        return name
    embedding = "embeddings" if layout == "transformers" else "embedding"
    name = re.sub(r"^embedding\.", f"backbone.{embedding}.", name)
    name = re.sub(r"^norm\.", "backbone.norm_f.", name)
    name = re.sub(r"^head\.", "lm_head.", name)
    name = re.sub(r"^layers\.", "backbone.layers.", name)
    name = re.sub(r"\.ssm\.dt_bias$", ".dt_proj.bias", name)
    return name.replace(".mixer.ssm.", ".mixer.")


def _check(weights: dict[str, Tensor], model: MambaLM) -> None:
    wanted = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    given = {name: tuple(value.shape) for name, value in weights.items() if value is not None}
    wrong = [f"missing: {name}" for name in wanted.keys() - given.keys()]
    wrong += [f"not known: {name}" for name in given.keys() - wanted.keys()]
    wrong += [f"{name}: expected shape {wanted[name]}, got {given[name]}"
              for name in wanted.keys() & given.keys() if wanted[name] != given[name]]
    if wrong:
        refuse("checkpoint", "the weights that its config.json describes", "\n  ".join(
            ["these:", *sorted(wrong)]))
