"""Files from elsewhere: JSON and weights, in which whatever is wrong gives one line.

The line names the file and says what was found in it: a git-lfs pointer, a page of HTML, half a
file. Nothing is ever unpickled.
"""

import json
import zipfile
from collections import Counter
from math import inf
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from minimamba.arguments import refuse

WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
INDEX_FILES = tuple(f"{name}.index.json" for name in WEIGHT_FILES)
"""What stands in their place if the weights are in several files: it says which file has which."""
CHECKPOINT_FILES = (WEIGHT_FILES[0], INDEX_FILES[0], WEIGHT_FILES[1], INDEX_FILES[1])
"""All of them, in the order in which transformers looks for them."""
WEIGHT_DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
LARGEST_JSON = 10_000_000
"""In bytes; the index of the largest models has some millions. In memory it is many times as
large."""
STAND_INS = {b"version https://git-lfs": "a git-lfs pointer: run `git lfs pull`",
             b"<!doctype": "a page of HTML", b"<html": "a page of HTML", b"<?xml": "XML"}
"""What a download may leave in the place of a file, by its first bytes."""


def check_file(file: Path, largest: float = inf) -> None:
    """Refuse what is no file, is empty, or stands in the place of a file that was not downloaded.

    Args:
        file: its path.
        largest: how many bytes it may have.

    Raises:
        FileNotFoundError: if there is nothing.
        ValueError: saying what is there.
    """
    if not file.exists():
        raise FileNotFoundError(f"{file}: no such file")
    if not file.is_file():
        refuse(file.name, "a file", "a folder or a device")
    with file.open("rb") as opened:
        start = opened.read(512).lstrip().lower()
    if not file.stat().st_size:
        refuse(file.name, "a file with content", "0 bytes")
    for first_bytes, found in STAND_INS.items():
        if start.startswith(first_bytes):
            refuse(file.name, "the file itself", found)
    if file.stat().st_size > largest:
        refuse(file.name, f"at most {largest:,} bytes", f"{file.stat().st_size:,}")


def read_json(file: Path) -> dict:
    """Read a file that holds one JSON object.

    Args:
        file: its path.

    Returns:
        The object.

    Raises:
        FileNotFoundError: if there is nothing.
        ValueError: for anything else, a key that occurs twice included.
    """
    check_file(file, LARGEST_JSON)
    try:
        content = json.loads(file.read_text("utf-8-sig"), object_pairs_hook=_unique)
    except RecursionError:
        refuse(file.name, "JSON", "brackets that are nested too deeply")
    except ValueError as error:
        refuse(file.name, "JSON in UTF-8", first_line(error))
    if not isinstance(content, dict):
        refuse(file.name, "a JSON object", f"a JSON {type(content).__name__}")
    return content


def read_weights(file: Path) -> dict[str, Tensor]:
    """Read all weights, from one file or from those that an index names.

    Args:
        file: a .safetensors, a pickle of tensors, or an index.

    Returns:
        Dense floating-point tensors on the CPU, by name.

    Raises:
        FileNotFoundError: if there is nothing.
        ValueError: for anything else.
    """
    if file.name in INDEX_FILES:
        return _read_indexed(file)
    check_file(file)
    weights = _read_safetensors(file) if file.suffix == ".safetensors" else _read_pickle(file)
    check_dense(file.name, weights)
    return {name: value.detach() for name, value in weights.items()}


def check_dense(where: str, weights: object) -> None:
    """Check that weights are named tensors that hold a floating-point number for each element.

    Args:
        where: what holds them, for the message.
        weights: any object.

    Raises:
        ValueError: naming the first weight that is anything else, such as quantized or sparse.
    """
    if not isinstance(weights, dict):
        refuse(where, "a dict of tensors", f"{type(weights).__name__}")
    for name, value in weights.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            refuse(where, "a dict of tensors by name", f"{type(value).__name__} at {name!r}")
        if value.dtype not in WEIGHT_DTYPES:
            refuse(f"{name} in {where}", "float32, bfloat16, float16 or float64",
                   str(value.dtype).removeprefix("torch."))
        if (value.layout != torch.strided or value.is_meta
                or value.untyped_storage().nbytes() < value.numel() * value.itemsize):
            refuse(f"{name} in {where}", "a number for each element",
                   "a sparse, expanded or meta tensor")


def first_line(error: Exception) -> str:
    """Shorten what a library says about a file that it can't read.

    Args:
        error: what it raised.

    Returns:
        The first line of the message, or else the name of the error's type.
    """
    return (str(error).splitlines() or [type(error).__name__])[0]


def oversized(file: Path, is_archive: bool) -> str:
    """Say what in a file of tensors would take memory without end, though the file is small.

    Args:
        file: what `torch.load` is about to read.
        is_archive: whether it is a zip archive, as PyTorch writes them.

    Returns:
        What it is, in words; "" if there is nothing.
    """
    name = b"\nbytearray\n"  # as a pickle that weights_only reads has to write it
    if not is_archive:
        return "one with a bytearray" if name in file.read_bytes() else ""
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        if any(entry.compress_type for entry in entries):
            return "a compressed one"
        pickles = [entry for entry in entries if entry.filename.endswith(".pkl")]
        return "one with a bytearray" if any(name in archive.read(p) for p in pickles) else ""


def _read_safetensors(file: Path) -> dict[str, Tensor]:
    with file.open("rb") as opened:
        header = int.from_bytes(opened.read(8), "little")
    if LARGEST_JSON < header < file.stat().st_size:
        refuse(file.name, f"a header of at most {LARGEST_JSON:,} bytes", f"{header:,}")
    try:
        return load_file(file)
    except Exception as error:  # whatever the parser of a foreign file raises
        needed, size = _safetensors_size(file), file.stat().st_size
        found = (f"one that is truncated: its header says {needed} bytes, there are {size}"
                 if needed > size else first_line(error))
    refuse(file.name, "a safetensors file", found)


def _safetensors_size(file: Path) -> int:
    """How many bytes a safetensors file should have, as far as its header can be read."""
    with file.open("rb") as opened:
        end = 8 + int.from_bytes(opened.read(8), "little")
        try:
            entries = json.loads(opened.read(end - 8) if end <= file.stat().st_size else "{}")
            entries.pop("__metadata__", None)
            return end + max(entry["data_offsets"][1] for entry in entries.values())
        except Exception:  # of a header that is none, its length is all there is
            return end


def _read_pickle(file: Path) -> object:
    try:
        # Mapped into memory, and read when it is known to fit the config. Older files are no
        # archives.
        is_archive = zipfile.is_zipfile(file)
        # Compressed, which PyTorch never writes, or with a bytearray, it may be of any size.
        found = oversized(file, is_archive)
        if not found:
            return torch.load(file, map_location="cpu", weights_only=True, mmap=is_archive)
    except Exception:  # whatever it raises; it suggests to run the code in the file
        found = "one that it refuses or can't read"
    refuse(file.name, "a dict of tensors that torch.load reads with weights_only=True", found)


def _read_indexed(index: Path) -> dict[str, Tensor]:
    file_of = read_json(index).get("weight_map")
    if (not isinstance(file_of, dict) or not file_of
            or not all(isinstance(name, str) for name in file_of.values())):
        refuse(index.name, "a weight_map: the name of a file for each weight", "none")
    suffix = Path(index.name.removesuffix(".index.json")).suffix
    beside = {path.name for path in index.parent.iterdir() if path.suffix == suffix}
    weights = {}
    for name in sorted(set(file_of.values())):
        if name not in beside:
            refuse(index.name, f"names of {suffix} files that stand beside it", name)
        part = read_weights(index.parent / name)
        if twice := sorted(weights.keys() & part.keys()):
            refuse(index.name, "each weight in one file", f"{twice[0]} in two")
        weights |= part
    if absent := sorted(file_of.keys() - weights.keys()):
        refuse(index.name, "names of weights that its files hold", ", ".join(absent))
    return weights


def _unique(pairs: list[tuple[str, object]]) -> dict:
    """A JSON object, of which no key may get lost."""
    content = dict(pairs)
    if len(content) < len(pairs):
        twice = (Counter(key for key, _ in pairs) - Counter(content.keys())).popitem()[0]
        raise ValueError(f"the key {twice!r} twice")
    return content
