"""The minimamba command: what it prints, what it writes, how it fails."""

import subprocess
import sys

import pytest
import torch
from test_lm import shake

from minimamba import MambaConfig, MambaLM, checkpoint, generation, training
from minimamba.course import corpora


@pytest.fixture
def folder(tmp_path):
    """A model of bytes."""
    torch.manual_seed(0)
    model = MambaLM(MambaConfig(vocab_size=256, d_model=16, n_layer=1))
    shake(model)
    model.save_pretrained(tmp_path)
    return tmp_path


def run(*arguments):
    return command.main([str(argument) for argument in arguments])


def test_info_says_what_can_run_and_what_a_checkpoint_is(folder, capsys):
    assert run("info", "--checkpoint", folder) == 0
    said = capsys.readouterr().out
    for part in ("torch ", "scan       chunked: can run here", "d_model           16",
                 "7,488 parameters, the head's shared; torch.float32"):
        assert part in said


def test_it_writes_what_generation_writes(folder, capsys):
    assert run("generate", "--checkpoint", folder, "--prompt", "def é", "--tokens", 12,
               "--temperature", 0.5, "--top-k", 50, "--seed", 3) == 0
    prompt = torch.tensor([list("def é".encode())])
    new, = generation.generate(MambaLM.from_pretrained(folder), prompt, 12, temperature=0.5, top_k=50,
                               seed=3)
    said = capsys.readouterr().out
    whole = "def é" + bytes(new.tolist()).decode(errors="replace")
    assert whole.rstrip("\ufffd").startswith(said.removesuffix("\n").rstrip("\ufffd"))
    assert said.startswith("def é")


def test_a_tokenizer_beside_the_weights_is_used(tmp_path, capsys):
    tokenizers = pytest.importorskip("tokenizers")
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0, "b": 1, "c": 2}, "a"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    words.save(str(tmp_path / "tokenizer.json"))
    checkpoint.save(MambaLM(MambaConfig(vocab_size=3, d_model=8, n_layer=1)), tmp_path)
    assert run("generate", "--checkpoint", tmp_path, "--prompt", "a b", "--tokens", 4) == 0
    assert set(capsys.readouterr().out.split()) <= {"a", "b", "c", "ba", "bb", "bc"}


def test_a_name_on_the_hub_is_fetched_with_its_tokenizer(folder, capsys, monkeypatch):
    hub = pytest.importorskip("huggingface_hub")
    asked = []
    monkeypatch.setattr(hub, "snapshot_download", lambda name, allow_patterns: asked.append(
        (name, allow_patterns)) or str(folder))
    assert run("generate", "--checkpoint", "someone/model", "--prompt", "a", "--tokens", 2) == 0
    assert capsys.readouterr().out.startswith("a")
    name, patterns = asked[0]
    assert name == "someone/model"
    assert {"config.json", "tokenizer.json", "model.safetensors"} <= set(patterns)


def test_it_learns_and_says_how_well(tmp_path, capsys):
    arguments = ("--steps", 30, "--d-model", 16, "--n-layer", 1, "--length", 64, "--batch", 8,
                 "--lr", 0.02)
    assert run("train", "--out", tmp_path / "model", *arguments) == 0
    said = capsys.readouterr()
    assert "7,488 parameters" in said.out
    assert "30/30" in said.err
    assert "bits a byte" in said.err
    model, (_, hold) = MambaLM.from_pretrained(tmp_path / "model"), corpora.code()
    bits = cli.bits_per_byte(model, hold, 64)
    assert f"held out: {bits:.3f} bits a byte" in said.out
    assert bits < 6                                          # eight for one that knows nothing
    torch.manual_seed(9)
    assert run("train", "--out", tmp_path / "again", *arguments) == 0
    for name, value in MambaLM.from_pretrained(tmp_path / "again").state_dict().items():
        assert torch.equal(value, model.state_dict()[name]), name


def test_what_was_stopped_goes_on(tmp_path, monkeypatch, capsys):
    arguments = ("--steps", 6, "--d-model", 8, "--n-layer", 1, "--length", 16, "--batch", 2)
    assert run("train", "--out", tmp_path / "whole", *arguments) == 0
    show = training.progress

    def stopped(losses, *given, **options):
        for i, now in enumerate(show(losses, *given, **options)):
            if i == 4:
                raise KeyboardInterrupt
            yield now

    monkeypatch.setattr(training, "progress", stopped)
    with pytest.raises(KeyboardInterrupt):
        run("train", "--out", tmp_path / "part", *arguments, "--every", 2)
    monkeypatch.setattr(training, "progress", show)
    capsys.readouterr()
    assert run("train", "--out", tmp_path / "part", *arguments) == 0
    said = capsys.readouterr()
    assert "going on from step 4" in said.out
    assert "3/6" not in said.err
    assert "6/6" in said.err
    assert {path.name for path in (tmp_path / "part").iterdir()} == {
        "config.json", "model.safetensors"}
    whole, part = (MambaLM.from_pretrained(tmp_path / name).state_dict() for name in ("whole", "part"))
    assert all(torch.equal(value, part[name]) for name, value in whole.items())


@pytest.mark.parametrize(("arguments", "said"), [
    (("generate", "--checkpoint", "nowhere", "--prompt", "a"),
     "minimamba generate: nowhere: no such file or folder"),
    (("train", "--out", "x", "--steps", "0"),
     "minimamba train: steps: expected a whole number from 1 up, got 0"),
    (("train", "--out", "x", "--d-model", "0"), "minimamba train: d_model: expected"),
])
def test_bad_input_is_one_line_on_stderr(arguments, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(*arguments) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith(said)


def test_an_empty_prompt_and_a_missing_tokenizer_are_named(folder, tmp_path, capsys):
    assert run("generate", "--checkpoint", folder, "--prompt", "") == 2
    assert "--prompt: expected at least one token, got none" in capsys.readouterr().err
    other = tmp_path / "other"
    checkpoint.save(MambaLM(MambaConfig(vocab_size=3, d_model=8, n_layer=1)), other)
    assert run("generate", "--checkpoint", other, "--prompt", "a") == 2
    assert "expected a tokenizer.json beside the weights" in capsys.readouterr().err


def test_it_can_be_run_as_a_module():
    done = subprocess.run([sys.executable, "-m", "minimamba.cli", "--help"], check=True,
                          capture_output=True, text=True)
    assert "{info,generate,train}" in done.stdout


def test_who_knows_nothing_of_bytes_needs_eight_bits():
    model = MambaLM(MambaConfig(256, 8, 1))
    torch.nn.init.zeros_(model.embedding.weight)
    text = torch.arange(200, dtype=torch.uint8)
    assert cli.bits_per_byte(model, text, 10, 4) == pytest.approx(8)
