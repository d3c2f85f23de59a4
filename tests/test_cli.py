"""The minimamba command: what it prints, what it writes, how it fails."""

import re
import subprocess
import sys

import pytest
import torch
from models import TOKENS, small_model, write_tokenizer

from minimamba import MambaConfig, MambaLM, cli, training
from minimamba.course import corpora


@pytest.fixture
def folder(tmp_path):
    """A saved byte-level model."""
    small_model(vocab_size=256, d_model=16, n_layer=1).save_pretrained(tmp_path)
    return tmp_path


@pytest.fixture
def corpus(monkeypatch):
    """A small corpus in place of the standard library's source."""
    data = torch.tensor(list(b"def f(x):\n    return x + 1\n" * 400), dtype=torch.uint8)
    small = corpora.Corpus("lines", data[:8000], data[8000:], "none")
    monkeypatch.setattr(corpora, "code", lambda: small)
    return small


def run(*arguments):
    return cli.main([str(argument) for argument in arguments])


def test_info_shows_what_can_run_and_what_a_checkpoint_is(folder, capsys):
    assert run("info", "--checkpoint", folder) == 0
    shown = capsys.readouterr().out
    for part in ("torch ", "scan       chunked: can run here", "d_model           16",
                 "7,488 parameters, the head's shared with the embedding's; torch.float32"):
        assert part in shown


@pytest.mark.parametrize("kind", ["bytes", "tokenizer.json"])
def test_generate_prints_what_the_model_generates(kind, folder, capsys):
    if kind == "tokenizer.json":
        small_model(vocab_size=len(TOKENS)).save_pretrained(folder)
        write_tokenizer(folder)
    options = {"temperature": 0.5, "top_k": 50, "top_p": 0.9, "repetition_penalty": 1.1, "seed": 3}
    flags = [part for name, value in options.items()
             for part in (f"--{name.replace('_', '-')}", value)]
    assert run("generate", "--checkpoint", folder, "--prompt", "def é", "--max-new-tokens", 12,
               *flags) == 0
    expected = MambaLM.from_pretrained(folder).generate("def é", 12, **options)
    assert capsys.readouterr().out == expected + "\n"


def test_train_learns_reports_and_repeats_with_the_same_seed(tmp_path, corpus, capsys):
    arguments = ("--steps", 30, "--d-model", 16, "--n-layer", 1, "--length", 64, "--batch", 8,
                 "--learning-rate", 0.02)
    assert run("train", "--out", tmp_path / "model", *arguments) == 0
    shown = capsys.readouterr()
    assert "7,488 parameters, 8,000 training bytes, 2,800 held out; on " in shown.out
    assert "30/30" in shown.err
    assert "bits per byte" in shown.err
    model = MambaLM.from_pretrained(tmp_path / "model")
    bits = cli.bits_per_byte(model, corpus.val, 64)
    assert f"held out: {bits:.3f} bits per byte; saved in {tmp_path / 'model'}" in shown.out
    assert bits < 4                                          # 8 without training
    torch.manual_seed(9)
    assert run("train", "--out", tmp_path / "again", *arguments) == 0
    for name, value in MambaLM.from_pretrained(tmp_path / "again").state_dict().items():
        assert torch.equal(value, model.state_dict()[name]), name


def test_interrupted_training_resumes_with_the_same_bits(tmp_path, corpus, monkeypatch, capsys):
    arguments = ("--steps", 6, "--d-model", 8, "--n-layer", 1, "--length", 16, "--batch", 2)
    assert run("train", "--out", tmp_path / "whole", *arguments) == 0
    progress = training.progress

    def interrupted(losses, *args, **options):
        for i, loss in enumerate(progress(losses, *args, **options)):
            if i == 4:
                raise KeyboardInterrupt
            yield loss

    with monkeypatch.context() as patch:
        patch.setattr(training, "progress", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run("train", "--out", tmp_path / "part", *arguments, "--save-every", 2)
    capsys.readouterr()
    assert run("train", "--out", tmp_path / "part", *arguments) == 0
    shown = capsys.readouterr()
    assert "; resuming after step 4" in shown.out
    assert "3/6" not in shown.err
    assert "6/6" in shown.err
    assert {path.name for path in (tmp_path / "part").iterdir()} == {
        "config.json", "model.safetensors"}
    whole, part = (MambaLM.from_pretrained(tmp_path / name).state_dict()
                   for name in ("whole", "part"))
    assert all(torch.equal(value, part[name]) for name, value in whole.items())


@pytest.mark.parametrize(("arguments", "message"), [
    (("generate", "--checkpoint", "nowhere", "--prompt", "a"),
     "minimamba generate: nowhere: no such file or folder"),
    (("generate", "--checkpoint", "bytes", "--prompt", ""),
     "minimamba generate: --prompt: expected at least one token, got none"),
    (("generate", "--checkpoint", "no tokenizer", "--prompt", "a"),
     "minimamba generate: prompts: expected token ids, since this model has no tokenizer"),
    (("generate", "--checkpoint", "bytes", "--prompt", "a", "--top-k", "0"),
     "minimamba generate: top_k: expected a whole number from 1 up, got 0"),
    (("train", "--out", "x", "--steps", "0"),
     "minimamba train: steps: expected a whole number from 1 up, got 0"),
    (("train", "--out", "x", "--d-model", "0"), "minimamba train: d_model: expected"),
])
def test_bad_input_is_one_line_on_stderr(arguments, message, corpus, capsys, tmp_path,
                                         monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, vocab_size in (("bytes", 256), ("no tokenizer", 3)):
        MambaLM(MambaConfig(vocab_size, d_model=8, n_layer=1)).save_pretrained(name)
    assert run(*arguments) == 2
    shown = capsys.readouterr()
    assert re.fullmatch(re.escape(message) + ".*\n", shown.err)
    assert shown.out == "" or arguments[0] == "train"


def test_command_runs_as_a_module():
    done = subprocess.run([sys.executable, "-m", "minimamba.cli", "--help"], check=True,
                          capture_output=True, text=True)
    assert "{info,generate,train}" in done.stdout


def test_uniform_predictions_need_8_bits_per_byte():
    model = MambaLM(MambaConfig(256, 8, 1))
    torch.nn.init.zeros_(model.embedding.weight)
    data = torch.arange(200, dtype=torch.uint8)
    assert cli.bits_per_byte(model, data, 10, 4) == pytest.approx(8)
