"""Files that are not what they claim, or ask for too much: one line with the file's name."""

import io
import json
import os
import time
import zipfile
from pathlib import Path

import pytest
import torch
from models import random_ids, small_model, write_tokenizer
from safetensors.torch import load_file, save_file

from minimamba import MambaConfig, MambaLM, checkpoint

LFS = (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22e"
       b"adbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n")
HTML = b"\n<!DOCTYPE html>\n<html><body>Sign in</body></html>\n"
FILES = ("model.safetensors", "pytorch_model.bin", "config.json", "tokenizer.json",
         "model.safetensors.index.json")


@pytest.fixture
def folder(tmp_path):
    """A checkpoint of a small model."""
    small_model(n_layer=1).save_pretrained(tmp_path)
    return tmp_path


def put(folder, name, content):
    """Write a file into a checkpoint, in the place of what it would be read before or after."""
    if name.startswith(("pytorch", "model")):
        (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(content)


def refused(folder, message, kind=ValueError):
    """Check that a checkpoint is refused with one line."""
    with pytest.raises(kind, match=message) as raised:
        MambaLM.from_pretrained(folder)
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(("content", "found"), [
    (LFS, "got a git-lfs pointer: run `git lfs pull`$"), (HTML, "got a page of HTML$"),
    (b"", "got 0 bytes$"), (b"\0" * 1000, "got .+"), (b"\xff\xfe" + os.urandom(100), "got .+")],
    ids=["git-lfs", "HTML", "empty", "zeros", "noise"])
def test_what_a_file_is_instead_is_said_in_one_line(name, content, found, folder):
    put(folder, name, content)
    refused(folder, rf"^{name}: expected .+, {found}")


@pytest.mark.parametrize("name", FILES[:2])
def test_truncated_weights_are_refused_at_every_length(name, folder):
    layout = "mamba_ssm" if name.endswith(".bin") else "transformers"
    small_model(n_layer=1).save_pretrained(folder, layout=layout)
    content = (folder / name).read_bytes()
    for length in (1, 7, 8, 9, 100, len(content) // 2, len(content) - 1):
        (folder / name).write_bytes(content[:length])
        message = refused(folder, f"^{name}: expected .+, got ")
        if name.endswith("tensors") and length > 100:
            assert message.endswith(f"its header says {len(content)} bytes, there are {length}")


@pytest.mark.parametrize(("content", "found"), [
    ("[]", "a JSON list"), ("null", "a JSON NoneType"), ("3", "a JSON int"), ('"x"', "a JSON str"),
    ("{", "Expecting"), ('{"expand": 2, "expand": 3}', "the key 'expand' twice"),
    ("[" * 10**6, "brackets that are nested too deeply"), ('{"a":' * 10**6, "brackets that are"),
    ('{"expand": ' + "1" * 5000 + "}", "Exceeds the limit"), ('{"x": "é"}'.encode("latin-1"), "'")])
@pytest.mark.parametrize("name", ["config.json", "model.safetensors.index.json"])
def test_json_that_is_no_object_is_refused(name, content, found, folder):
    put(folder, name, content if isinstance(content, bytes) else content.encode())
    refused(folder, f"^{name}: expected .+, got {found}")


def test_last_of_many_keys_twice_is_refused_at_once(folder):
    keys = [*range(300_000), 299_999]
    pairs = ", ".join(f'"{key}": 1' for key in keys)
    put(folder, "config.json", f"{{{pairs}}}".encode())
    start = time.perf_counter()
    refused(folder, "^config.json: expected JSON in UTF-8, got the key '299999' twice")
    assert time.perf_counter() - start < 5


def test_byte_order_mark_is_no_fault(folder):
    config = folder / "config.json"
    config.write_bytes(b"\xef\xbb\xbf" + config.read_bytes())
    assert MambaLM.from_pretrained(folder).config.d_model == 12


@pytest.mark.parametrize("weight_map", [
    None, [], {}, "x", {"a": 1}, {"a": None}, {"a": ["model.safetensors"]},
    {"a": "model.safetensors.index.json"}, {"a": "config.json"}, {"a": "../b.safetensors"},
    {"a": "/etc/passwd"}, {"a": ""}, {"a": "."}, {"a": "x\0.safetensors"}], ids=repr)
def test_index_names_only_files_of_weights_beside_it(weight_map, folder):
    put(folder, "model.safetensors.index.json", json.dumps({"weight_map": weight_map}).encode())
    refused(folder, "^model.safetensors.index.json: expected ")


def test_weight_in_two_files_or_under_two_names_is_refused(folder):
    saved = load_file(folder / "model.safetensors")
    save_file(saved | {"norm_f.weight": torch.ones(12)}, folder / "model.safetensors")
    refused(folder, r"^model.safetensors: expected one .+, got two that are norm_f.weight$")
    save_file(saved, folder / "model-1.safetensors")
    save_file({"backbone.norm_f.weight": torch.ones(12)}, folder / "model-2.safetensors")
    put(folder, "model.safetensors.index.json", json.dumps({"weight_map": {
        "a": "model-1.safetensors", "b": "model-2.safetensors"}}).encode())
    refused(folder, "^model.safetensors.index.json: .+, got backbone.norm_f.weight in two$")


@pytest.mark.parametrize("value", [
    torch.ones(12, dtype=torch.int64), torch.ones(12, dtype=torch.bool),
    torch.ones(12).to(torch.float8_e4m3fn), torch.ones(12, dtype=torch.complex64),
    torch.ones(12).to_sparse(), torch.ones(1).expand(12), torch.empty(12, device="meta"),
    torch.ones(12, dtype=torch.int8),
    torch.full((12,), torch.nan), torch.tensor([torch.inf] * 12), {"weight": torch.ones(12)}, 3],
    ids=lambda value: f"{type(value).__name__} {getattr(value, 'dtype', '')}")
def test_weight_that_is_no_dense_finite_float_is_refused_by_name(value, folder):
    weights = load_file(folder / "model.safetensors") | {"backbone.norm_f.weight": value}
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    refused(folder, "(norm_f.weight in )?pytorch_model.bin: expected |^norm_f.weight: expected f")


@pytest.mark.parametrize("content", [[torch.ones(2)], torch.ones(2), None, {3: torch.ones(2)}, {
    "state_dict": {}}], ids=["list", "tensor", "None", "no names", "wrapped"])
def test_bin_that_holds_no_dict_of_tensors_is_refused(content, folder):
    (folder / "model.safetensors").unlink()
    torch.save(content, folder / "pytorch_model.bin")
    refused(folder, "^pytorch_model.bin: expected a dict of tensors")


HUGE = [{"num_hidden_layers": 10**6}, {"vocab_size": 10**12}, {"vocab_size": 10**30},
        {"hidden_size": 10**9, "intermediate_size": 2 * 10**9}, {"state_size": 10**9},
        {"state_size": 10**30}, {"expand": 10**9, "intermediate_size": 12 * 10**9},
        {"expand": 10**18, "intermediate_size": 12 * 10**18}, {"conv_kernel": 10**12},
        {"time_step_rank": 10**12}]


@pytest.mark.parametrize("changes", HUGE, ids=str)
def test_config_that_asks_for_more_than_the_file_holds_is_refused_at_once(changes, folder):
    resource = pytest.importorskip("resource")                        # not on Windows
    described = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(described | changes))
    start, memory = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    said = r"^((\w+ in )?config.json|checkpoint): expected "
    with pytest.raises(ValueError, match=said):
        MambaLM.from_pretrained(folder)
    assert time.perf_counter() - start < 5
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory
    assert grown < 100_000                                            # in KiB


@pytest.mark.parametrize("changes", [{"layers": "M" * 10**6}, {"layers": "6" * 10**6, "n_layer": 1},
                                     {"layers": "X" * 10**6}, {"layers": "A", "n_heads": 10**9}])
def test_layer_pattern_that_is_too_long_is_refused_in_a_short_line(changes, folder):
    small_model(n_layer=1).save_pretrained(folder, layout="minimamba")
    described = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(described | {"n_layer": None} | changes))
    start = time.perf_counter()
    assert len(refused(folder, "expected .+, got ")) < 300
    assert time.perf_counter() - start < 5


def test_file_with_a_part_of_many_layers_is_refused_at_once(folder):
    many = {f"backbone.layers.{i}.norm.weight": torch.ones(1) for i in range(3000)}
    save_file(load_file(folder / "model.safetensors") | many, folder / "model.safetensors")
    described = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(described | {"num_hidden_layers": 3000}))
    start = time.perf_counter()
    refused(folder, "^checkpoint: expected the weights that its config describes, got ")
    assert time.perf_counter() - start < 5


class Bytes:
    def __reduce__(self):
        return bytearray, (10**9,)


@pytest.mark.parametrize("archive", [True, False])
def test_bin_that_asks_for_a_bytearray_is_refused_before_it_takes_memory(archive, folder):
    resource = pytest.importorskip("resource")                        # not on Windows
    (folder / "model.safetensors").unlink()
    torch.save({"a": Bytes()}, folder / "pytorch_model.bin",
               _use_new_zipfile_serialization=archive)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused(folder, "^pytorch_model.bin: expected a dict of tensors .+, got one with a bytearray")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 100_000      # in KiB


def compressed_zeros(file):
    """Write a pickle of 2 GB of zeros, of which compression leaves 2 MB."""
    plain = io.BytesIO()
    torch.save({"backbone.norm_f.weight": torch.zeros(7)}, plain)
    with zipfile.ZipFile(plain) as read, zipfile.ZipFile(
            file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as write:
        for name in read.namelist():
            content = read.read(name)
            if name.endswith("data.pkl"):                             # it holds the size
                content = content.replace(b"K\x07", b"J" + (5 * 10**8).to_bytes(4, "little"))
            with write.open(name, "w", force_zip64=True) as entry:
                for _ in range(2000 if name.endswith("data/0") else 1):
                    entry.write(bytes(10**6) if name.endswith("data/0") else content)


def many_names(file):
    """Write safetensors of 200,000 empty tensors."""
    header = json.dumps({f"layers.{i}.w": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
                         for i in range(200_000)}).encode()
    file.write_bytes(len(header).to_bytes(8, "little") + header)


def write_sparse(file):
    """Write JSON of 2 GB that takes no space on the disk."""
    with file.open("wb") as opened:
        opened.write(b'{"a": "')
        opened.truncate(2 * 10**9)


def many_brackets(file):
    """Write JSON that takes thirty times as much memory as on the disk."""
    file.write_text('{"a": [' + ",".join(["[]"] * 10**7) + "]}")


@pytest.mark.parametrize(("name", "write", "found"), [
    ("pytorch_model.bin", compressed_zeros, "a compressed one"),
    ("model.safetensors", many_names, r"[\d,]+"), ("tokenizer.json", write_sparse, "2,000,000,000"),
    ("config.json", write_sparse, "2,000,000,000"), ("config.json", many_brackets, r"[\d,]+"),
    ("model.safetensors.index.json", many_brackets, r"[\d,]+")])
def test_file_that_would_fill_the_memory_is_refused_at_once(name, write, found, folder):
    resource = pytest.importorskip("resource")                        # not on Windows
    put(folder, name, b"")
    write(folder / name)
    start, memory = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused(folder, f"^{name}: expected .+, got {found}$")
    assert time.perf_counter() - start < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 300_000  # in KiB


@pytest.mark.parametrize("change", [
    {"vocab_size": "9" * 10**6}, {"vocab_size": [1] * 10**6}, {"use_bias": "a\nb\x1b[31m" * 10**5},
    {"9" * 10**6: 1}], ids=["text", "list", "escapes", "key"])
def test_what_a_file_holds_is_shortened_and_escaped(change, folder):
    described = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(described | change))
    message = refused(folder, "config.json: expected ")
    assert len(message) < 3000
    assert message.isprintable()


@pytest.mark.parametrize("name", ["a\nb\x1b[31m", "x" * 10**6])
def test_names_of_weights_are_shortened_and_escaped(name, folder):
    weights = load_file(folder / "model.safetensors")
    save_file(weights | {name: torch.ones(2)}, folder / "model.safetensors")
    message = refused(folder, "^checkpoint: expected .+, got not known: ")
    assert len(message) < 3000
    assert message.isprintable()


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.backbone."])
def test_weights_under_the_names_of_a_wrapper_are_blamed_and_not_the_config(prefix, folder):
    saved = load_file(folder / "model.safetensors")
    save_file({prefix + name: value for name, value in saved.items()},
              folder / "model.safetensors")
    refused(folder, f"^model.safetensors: expected weights with the names .+, got {prefix}")


def test_adapter_beside_the_weights_is_refused(folder):
    (folder / "adapter_config.json").write_text("{}")
    refused(folder, "^adapter_config.json: expected no adapter beside the weights, ")


def test_what_is_missing_or_no_file_is_said(folder):
    (folder / "config.json").unlink()
    refused(folder, r"config.json: no such file$", FileNotFoundError)
    (folder / "config.json").mkdir()
    refused(folder, r"^config.json: expected a file, got a folder")
    (folder / "tokenizer.json").mkdir()
    (folder / "config.json").rmdir()
    small_model(n_layer=1).save_pretrained(folder)
    refused(folder, r"^tokenizer.json: expected a file, got a folder")
    (folder / "tokenizer.json").rmdir()
    (folder / "tokenizer.json").symlink_to("nowhere")
    refused(folder, r"tokenizer.json: no such file$", FileNotFoundError)
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").mkdir()
    refused(folder, r"^model.safetensors: expected a file, got a folder")
    (folder / "model.safetensors").rmdir()
    (folder / "model.safetensors").symlink_to("nowhere")
    torch.save({}, folder / "pytorch_model.bin")
    refused(folder, r"model.safetensors: no such file$", FileNotFoundError)


@pytest.mark.parametrize("path", ["./nowhere", "../nowhere", "nowhere", "/nowhere/at/all"])
def test_path_that_does_not_exist_is_not_looked_for_on_the_hub(path, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=rf"^{path}: no such file or folder$"):
        checkpoint.find(path)


@pytest.mark.parametrize("error", [OSError("no network\nat all"), ValueError("no such name"),
                                   RuntimeError()])
def test_mistyped_hub_name_says_what_was_tried(error, monkeypatch):
    hub = pytest.importorskip("huggingface_hub")

    def fail(*_, **__):
        raise error

    monkeypatch.setattr(hub, "snapshot_download", fail)
    with pytest.raises(FileNotFoundError, match=r"^a/b: no such .+ and the Hugging Face hub did "
                       r"not give it: (no network|no such name|RuntimeError)$"):
        checkpoint.find("a/b")


@pytest.mark.parametrize("path", [None, 3, b"folder", ["a"], ""])
def test_path_of_another_type_is_refused(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"^path: expected a (string|path)"):
        MambaLM.from_pretrained(path)
    with pytest.raises(ValueError, match=r"^folder: expected a (string|path)"):
        MambaLM(MambaConfig(vocab_size=40, d_model=8, n_layer=1)).save_pretrained(path)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("path", ["", "a\0b"])
def test_path_that_can_be_none_is_refused_for_loading_and_saving(path, folder, monkeypatch):
    monkeypatch.chdir(folder)
    with pytest.raises(ValueError, match=r"^path: expected a path, got '"):
        MambaLM.from_pretrained(path)
    with pytest.raises(ValueError, match=r"^folder: expected a path, got '"):
        small_model().save_pretrained(path)
    for other in (None, 3, b"folder", True):
        with pytest.raises(ValueError, match=r"^folder: expected a string or a pathlib.Path, got "):
            small_model().save_pretrained(other)


@pytest.mark.parametrize("device", ["gpu", "cuda:99", 3.5])
def test_device_that_is_not_there_is_refused(device, folder):
    with pytest.raises(ValueError, match=r"^device: expected one that PyTorch has here, got .+"):
        MambaLM.from_pretrained(folder, device=device)


@pytest.mark.parametrize("dtype", [torch.int64, "float16", torch.complex64])
def test_dtype_that_holds_no_weights_is_refused(dtype, folder):
    with pytest.raises(ValueError, match=r"^dtype: expected "):
        MambaLM.from_pretrained(folder, dtype=dtype)


def test_head_that_is_not_the_embedding_to_which_it_is_tied_is_refused(folder):
    saved = load_file(folder / "model.safetensors")
    embedding = saved["backbone.embeddings.weight"]
    for head, message in ((embedding.clone(), None), (embedding + 1, "^lm_head.weight: expected")):
        save_file(saved | {"lm_head.weight": head}, folder / "model.safetensors")
        if message:
            refused(folder, message)
        else:
            assert MambaLM.from_pretrained(folder).config.tie_embeddings


def test_loaded_weights_share_no_memory_with_each_other_or_the_file(folder):
    model = small_model(n_layer=1, tie_embeddings=False)
    with torch.no_grad():
        model.lm_head.weight.copy_(model.embedding.weight)
    model.save_pretrained(folder, layout="mamba_ssm")
    saved = torch.load(folder / "pytorch_model.bin", weights_only=True)
    saved["lm_head.weight"] = saved["backbone.embedding.weight"]      # one storage for both
    torch.save(saved, folder / "pytorch_model.bin")
    loaded = MambaLM.from_pretrained(folder)
    loaded.embedding.weight.data.zero_()
    assert torch.equal(loaded.lm_head.weight, model.lm_head.weight)


def break_weight(model):
    model.norm_f.weight.data[0] = torch.nan


def replace_head(model):
    model.lm_head = torch.nn.Linear(12, 40, bias=False)


def add_weight(model):
    model.extra = torch.nn.Linear(1, 1)


def remove_block(model):
    del model.layers[0].mixer


def forget_values(model):
    model.to("meta")


@pytest.mark.parametrize("change", [break_weight, replace_head, add_weight, remove_block,
                                    forget_values])
def test_refused_save_leaves_the_folder_as_it_was(change, folder):
    write_tokenizer(folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    model = small_model(n_layer=1)
    change(model)
    with pytest.raises(ValueError, match=": expected "):
        model.save_pretrained(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("failing", ["safetensors.torch.serialize_file", "os.fsync"])
def test_save_that_fails_leaves_the_folder_as_it_was(failing, folder, monkeypatch):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def fail(*_, **__):
        raise OSError("no space left on device")

    monkeypatch.setattr(failing, fail)
    with pytest.raises(OSError, match="no space left"):
        small_model(0.5, n_layer=1).save_pretrained(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_interrupted_replacement_is_refused_and_never_mixed(folder, monkeypatch):
    old, new = small_model(n_layer=1), small_model(0.5, n_layer=1, norm_epsilon=1e-3)
    replace = Path.replace
    for stop_at in ("model.safetensors", "config.json"):
        def replace_or_stop(file, target, stop_at=stop_at):
            if file.name == stop_at:
                raise KeyboardInterrupt
            return replace(file, target)

        old.save_pretrained(folder)
        monkeypatch.setattr(Path, "replace", replace_or_stop)
        with pytest.raises(KeyboardInterrupt):
            new.save_pretrained(folder)
        monkeypatch.undo()
        refused(folder, "config.json: no such file$", FileNotFoundError)
    new.save_pretrained(folder)
    loaded = MambaLM.from_pretrained(folder)
    assert torch.equal(loaded(random_ids()), new(random_ids()))
    assert loaded.config == MambaConfig(40, 12, 1, dt_rank=1, norm_epsilon=1e-3)
