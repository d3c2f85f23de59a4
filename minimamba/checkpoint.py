"""Files of weights, in the layouts in which Mamba models are published.

| layout | whose it is | may hold |
|---|---|---|
| "transformers" | Hugging Face's `MambaForCausalLM` | Mamba blocks alone |
| "transformers" | Hugging Face's `Mamba2ForCausalLM` | Mamba-2 blocks alone |
| "mamba_ssm" | the official package | Mamba blocks alone, or Mamba-2 blocks alone |
| "minimamba" | this library | any layer pattern |

Each is a folder with a config.json and a file of weights. The parameters of a block have the same
names in all of them; the names of the sizes in config.json and that of the embedding differ.
Nothing is ever unpickled. `MambaLM.from_pretrained` and `save_pretrained` are what to call; this
module finds, checks and writes the files.
"""

import json
import os
import re
import shutil
from pathlib import Path
from reprlib import repr as shorten
from tempfile import TemporaryDirectory

import torch
from safetensors.torch import save_file
from torch import Tensor

from minimamba.arguments import as_path, check_finite, check_one_of, refuse
from minimamba.atomic import complete
from minimamba.config import MambaConfig
from minimamba.files import (
    CHECKPOINT_FILES,
    check_dense,
    first_line,
    read_json,
    read_weights,
)
from minimamba.layout_keys import OFFICIAL_NORM_EPSILON
from minimamba.layouts import describe_config, layout_key, own_key, parse_config
from minimamba.tokenizer import FILE_NAME, ByteTokenizer, FileTokenizer

LAYOUTS = ("transformers", "mamba_ssm", "minimamba")
ADAPTER_FILE = "adapter_config.json"
"""What PEFT writes beside an adapter, which transformers would add to the weights."""
MOST_LISTED = 20
"""How many wrong weights an error lists."""


def find(path: str | Path) -> Path:
    """Find the file of weights that a path or a hub name stands for.

    Args:
        path: a folder, a file of weights, or, where there is a network and `huggingface_hub` is
            installed, a name on the hub: then it is downloaded, with config.json and
            tokenizer.json.

    Returns:
        The file of weights, or the index of several.

    Raises:
        ValueError: if `path` is neither a string nor a Path, or empty.
        FileNotFoundError: if there is none, saying what was tried.
    """
    given = as_path("path", path)
    if given.is_file():
        return given
    if given.is_dir():
        for name in CHECKPOINT_FILES:
            # A link to nothing is no reason to read older weights instead.
            if (given / name).exists() or (given / name).is_symlink():
                return given / name
        raise FileNotFoundError(f"{given}: has none of {', '.join(CHECKPOINT_FILES)}")
    if not re.fullmatch(r"\w[\w.-]*/[\w.-]+", str(path)):
        raise FileNotFoundError(f"{path}: no such file or folder")
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise FileNotFoundError(f"{path}: no such file or folder; to look for it on the hub, "
                                "`pip install huggingface_hub`") from None
    try:
        downloaded = snapshot_download(str(path), allow_patterns=[
            "config.json", "tokenizer.json", ADAPTER_FILE, *CHECKPOINT_FILES,
            "model-*.safetensors", "pytorch_model-*.bin"])
    except Exception as error:  # whatever a network raises
        raise FileNotFoundError(f"{path}: no such file or folder, and the Hugging Face hub did not "
                                f"give it: {first_line(error)}") from None
    return find(downloaded)


def read(file: Path) -> tuple[MambaConfig, dict[str, Tensor]]:
    """Read a checkpoint of any layout.

    Args:
        file: what `find` returned; a config.json stands beside it.

    Returns:
        The sizes, and the weights under the names that `MambaLM` has for them. A file of
        safetensors is only mapped into memory.

    Raises:
        FileNotFoundError: if there is no config.json.
        ValueError: for a layout that is none of the three, a config.json that asks for what our
            model can't honour, or one of another model than the weights'.
    """
    if (file.parent / ADAPTER_FILE).exists():
        refuse(ADAPTER_FILE, "no adapter beside the weights, since this library would ignore it; "
               "PEFT's merge_and_unload adds it to them", f"one in {file.parent}")
    config = parse_config(read_json(file.parent / "config.json"))
    weights = {}
    for name, value in read_weights(file).items():
        if own_key(name) in weights:
            refuse(file.name, "one weight of each name", f"two that are {own_key(name)}")
        weights[own_key(name)] = value
    _check_sizes(config, weights, file.name)
    if config.tie_embeddings and "embedding.weight" in weights:
        weights.setdefault("lm_head.weight", weights["embedding.weight"])
    return config, weights


def write(folder: str | Path, config: MambaConfig, weights: dict[str, Tensor],
          layout: str = "transformers",
          tokenizer: FileTokenizer | ByteTokenizer | None = None) -> None:
    """Write config.json, the weights and tokenizer.json.

    The weights are in model.safetensors, or in pytorch_model.bin for "mamba_ssm": the official
    package opens no other file, and wants the head's weight in it even where that is the
    embedding's.

    A refusal or a full disk leaves the folder as it was. New files replace the old ones when all
    of them are complete, config.json last: a folder without it is refused, never mixed up.

    Args:
        folder: where; created if it does not exist. Weights that are there already are replaced.
        config: the sizes.
        weights: the `state_dict()` of a `MambaLM`.
        layout: "transformers", "mamba_ssm" or "minimamba".
        tokenizer: the model's; what to write as tokenizer.json. None leaves one that is there,
            which a model that reads bytes refuses: it would be loaded with it.

    Raises:
        ValueError: for an unknown layout, or one that can't hold this model; if the model reads
            bytes, and there is a tokenizer.json with which it would be loaded.
        OSError: if the folder can't be written to, or the disk is full.
    """
    check_one_of("layout", layout, LAYOUTS)
    if layout != "minimamba" and config.only_block is None:
        refuse("layout", "'minimamba' for layers other than Mamba blocks alone or Mamba-2 blocks "
               "alone", f"{layout!r} for {shorten(config.layer_pattern)}")
    if layout == "mamba_ssm" and config.norm_epsilon != OFFICIAL_NORM_EPSILON:
        refuse("layout", f"'transformers' or 'minimamba' for a norm_epsilon other than "
               f"{OFFICIAL_NORM_EPSILON:g}", f"'mamba_ssm' for {config.norm_epsilon:g}")
    folder = as_path("folder", folder)
    if isinstance(tokenizer, ByteTokenizer) and (folder / FILE_NAME).exists():
        refuse("folder", f"one without a {FILE_NAME}, since this model reads bytes", str(folder))
    separate = _separate({name: value for name, value in weights.items()
                          if name != "lm_head.weight" or not config.tie_embeddings})
    named = {layout_key(name, layout): value for name, value in separate.items()}
    described = describe_config(config, weights, layout)
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".saving-", dir=folder) as new:
        if layout == "mamba_ssm":
            if config.tie_embeddings:
                named["lm_head.weight"] = named[layout_key("embedding.weight", layout)]
            with complete(folder / "pytorch_model.bin"):
                torch.save(named, Path(new) / "pytorch_model.bin")
        else:
            with complete(folder / "model.safetensors"):
                save_file(named, Path(new) / "model.safetensors", {"format": "pt"})
        if isinstance(tokenizer, FileTokenizer):
            tokenizer.save(new)
        (Path(new) / "config.json").write_text(json.dumps(described, indent=2) + "\n")
        _replace_files(folder, Path(new))


def check_weights(config: MambaConfig, weights: dict[str, Tensor],
                  expected: dict[str, Tensor]) -> None:
    """Compare weights with those that a model has.

    Args:
        config: the model's sizes.
        weights: those to be loaded or saved.
        expected: the model's `state_dict()`, of which only the shapes are read.

    Raises:
        ValueError: listing the weights that are missing, unknown or of another shape; naming one
            that is not finite, or a head that is not the embedding though the config ties them.
    """
    wrong = [f"missing: {name}" for name in expected.keys() - weights.keys()]
    wrong += [f"not known: {name}" for name in weights.keys() - expected.keys()]
    for name in expected.keys() & weights.keys():
        wanted = tuple(expected[name].shape)
        given = tuple(weights[name].shape)
        if wanted != given:
            wrong.append(f"{name}: expected shape {wanted}, got {given}")
    if wrong:
        more = f"; and {len(wrong) - MOST_LISTED} more" if len(wrong) > MOST_LISTED else ""
        refuse("checkpoint", "the weights that its config describes",
               "; ".join(sorted(wrong)[:MOST_LISTED]) + more)
    check_dense("the checkpoint", weights)
    for name, value in weights.items():
        check_finite(name, value)
    if config.tie_embeddings and not torch.equal(weights["lm_head.weight"],
                                                 weights["embedding.weight"]):
        refuse("lm_head.weight", "the weight of the embedding, to which the config ties it",
               "another one")


def _check_sizes(config: MambaConfig, weights: dict[str, Tensor], name: str) -> None:
    """Refuse a config of another model before a model of its sizes is built."""
    n_layer = len({match[1] for key in weights if (match := re.match(r"layers\.(\d+)\.", key))})
    found = [("layers", n_layer, config.n_layer)]
    embedding = weights.get("embedding.weight")
    if not n_layer and embedding is None:
        refuse(name, "weights with the names of transformers, mamba_ssm or this library, such as "
               "layers.0.norm.weight", next(iter(weights), "none"))
    if embedding is not None and embedding.ndim == 2:
        found += [("tokens", embedding.shape[0], config.vocab_size),
                  ("features", embedding.shape[1], config.d_model)]
    for what, size, described in found:
        if size != described:
            refuse("config.json", f"{size} {what}, as in {name}", described)


def _separate(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights, each contiguous and, as far as that needs a copy, in memory of its own.

    safetensors writes no two that share it, such as those of two layers, and `torch.save` writes
    all the memory that a weight is a part of.
    """
    separate = {}
    used = set()
    for name, value in weights.items():
        memory = value.untyped_storage()
        if memory.data_ptr() in used or memory.nbytes() > value.numel() * value.itemsize:
            value = value.clone(memory_format=torch.contiguous_format)
        used.add(memory.data_ptr())
        separate[name] = value.contiguous()
    return separate


def _replace_files(folder: Path, new: Path) -> None:
    """Move a new checkpoint over an old one. In between there is no config.json."""
    for file in new.iterdir():
        shutil.copymode(new / "config.json", file)  # safetensors lets none but the owner read
        with file.open("rb+") as opened:
            os.fsync(opened.fileno())
    for name in ("config.json", *CHECKPOINT_FILES):
        if name == "config.json" or not (new / name).exists():
            (folder / name).unlink(missing_ok=True)  # else a later load might find older weights
    for file in sorted(new.iterdir(), key=lambda file: file.name == "config.json"):
        file.replace(folder / file.name)
