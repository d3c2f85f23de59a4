"""The minimamba command: what it prints, what it writes, how it fails."""

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from models import TOKENS, small_model, write_tokenizer
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

import minimamba
from minimamba import MambaConfig, MambaLM, cli, training
from minimamba.course import corpora, weights


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


def test_generate_samples_unless_it_is_told_otherwise(folder, capsys):
    expected = MambaLM.from_pretrained(folder).generate("def ", 200, temperature=0.7, seed=3)
    assert run("generate", "--checkpoint", folder, "--prompt", "def ", "--seed", 3) == 0
    assert capsys.readouterr().out == expected + "\n"


def test_a_bundled_model_goes_by_its_name_unless_there_is_such_a_path(folder, monkeypatch, capsys):
    assert run("info", "--checkpoint", "code") == 0
    shown = capsys.readouterr().out
    assert "d_model           128" in shown
    assert set(weights.names()) <= set(re.findall(r"\w+", shown))
    assert "models     of text: code, code_lstm, code_mamba, code_transformer\n" in shown
    assert "rotary" not in shown
    assert "layers  " not in shown
    monkeypatch.chdir(folder.parent)
    folder.rename("code")
    assert run("info", "--checkpoint", "code") == 0
    assert "d_model           16" in capsys.readouterr().out


def test_every_command_and_option_is_described():
    commands, = (action for action in cli._parser()._actions if action.dest == "command")
    assert [*commands.choices] == ["info", "generate", "train"]
    for name, parser in commands.choices.items():
        assert len(parser.description) > 15, name
        for action in parser._actions:
            assert len(action.help) > 5, (name, action.dest)


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
        assert run("train", "--out", tmp_path / "part", *arguments, "--save-every", 2) == 130
    assert capsys.readouterr().err.splitlines()[-1] == (
        "minimamba train: stopped and saved after step 4 of 6; to go on, run the same command "
        "again")
    assert run("generate", "--checkpoint", tmp_path / "part", "--prompt", "a") == 2
    assert capsys.readouterr().err == (
        f"minimamba generate: --checkpoint: expected a finished model, got {tmp_path / 'part'}, "
        "whose training was stopped after step 4; to go on, run its train command again\n")
    assert run("train", "--out", tmp_path / "part", *arguments) == 0
    shown = capsys.readouterr()
    assert f"; resuming after step 4 of 6, from {tmp_path / 'part' / 'training.pt'}" in shown.out
    assert "3/6" not in shown.err
    assert "6/6" in shown.err
    assert {path.name for path in (tmp_path / "part").iterdir()} == {
        "config.json", "model.safetensors"}
    whole, part = (MambaLM.from_pretrained(tmp_path / name).state_dict()
                   for name in ("whole", "part"))
    assert all(torch.equal(value, part[name]) for name, value in whole.items())


@pytest.mark.parametrize(("arguments", "message"), [
    (("generate", "--checkpoint", "nowhere", "--prompt", "a"),
     "minimamba generate: nowhere: no such file or folder; minimamba info lists the models"),
    (("info", "--checkpoint", "no/where/at-all"),
     "minimamba info: no/where/at-all: no such file or folder"),
    (("info", "--checkpoint", "cod"),
     "minimamba info: cod: no such file or folder; did you mean code? minimamba info lists"),
    (("info", "--checkpoint", ""), "minimamba info: path: expected a path, got ''"),
    (("generate", "--checkpoint", "bytes", "--prompt", ""),
     "minimamba generate: --prompt: expected at least one token, got none"),
    (("generate", "--checkpoint", "no tokenizer", "--prompt", "a"),
     "minimamba generate: prompts: expected token ids, since this model has no tokenizer"),
    (("generate", "--checkpoint", "bytes", "--prompt", "a", "--top-k", "0"),
     "minimamba generate: top_k: expected a whole number from 1 up, got 0"),
    (("train", "--out", "x", "--steps", "0"),
     "minimamba train: steps: expected a whole number from 1 up, got 0"),
    (("generate", "--checkpoint", "bytes", "--prompt", "\udcff"),
     "minimamba generate: prompts: expected a text that UTF-8 can encode, got '\\udcff'"),
    (("generate", "--checkpoint", "bytes", "--prompt", "a", "--temperature", "nan"),
     "minimamba generate: temperature: expected"),
    (("generate", "--checkpoint", "bytes", "--prompt", "a", "--seed", "-1"),
     "minimamba generate: seed: expected a whole number from 0 up, got -1"),
    (("generate", "--checkpoint", "bytes", "--prompt", "a", "--seed", 2**70),
     "minimamba generate: "),
    (("train", "--out", "x", "--d-model", "0"), "minimamba train: d_model: expected"),
    (("train", "--out", "x", "--length", "-5"),
     "minimamba train: length: expected a whole number from 1 up, got -5"),
    (("train", "--out", "x", "--length", "2800"),
     "minimamba train: length: expected at most 2799, or the text is too short, got 2800"),
    (("train", "--out", "x", "--batch", "0"), "minimamba train: batch: expected"),
    (("train", "--out", "x", "--save-every", "0"), "minimamba train: save_every: expected"),
    (("train", "--out", "x", "--seed", "-1"), "minimamba train: seed: expected"),
    (("train", "--out", "x", "--learning-rate", "nan"), "minimamba train: learning_rate: expected"),
    (("train", "--out", "x", "--d-model", 10**9), "minimamba train: "),
    (("train", "--out", "bytes/config.json"),
     "minimamba train: --out: expected a folder, got the file bytes/config.json"),
    (("train", "--out", "bytes/config.json/a"), "minimamba train: "),
    (("train", "--out", "/proc/nowhere"), "minimamba train: "),
    (("train", "--out", "bytes"),
     "minimamba train: --out: expected a folder without a finished model, got bytes with model"),
    (("train", "--out", "shards"),
     "minimamba train: --out: expected a folder without a finished model, got shards with"),
    (("train", "--out", "words"),
     "minimamba train: --out: expected a folder without a finished model, got words with tok"),
    (("generate", "--checkpoint", "a alone", "--prompt", "b"),
     "minimamba generate: text: expected one that tokenizer.json can encode, got WordLevel"),
])
def test_bad_input_is_one_line_on_stderr(arguments, message, corpus, capsys, tmp_path,
                                         monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, vocab_size in (("bytes", 256), ("no tokenizer", 3), ("a alone", 3)):
        MambaLM(MambaConfig(vocab_size, d_model=8, n_layer=1)).save_pretrained(name)
    for name in ("shards", "words"):
        Path(name).mkdir()
    Path("shards/model.safetensors.index.json").touch()
    for name in ("words", "a alone"):
        Tokenizer(WordLevel({"a": 0}, unk_token="<unk>")).save(f"{name}/tokenizer.json")
    assert run(*arguments) == 2
    shown = capsys.readouterr()
    assert re.fullmatch(re.escape(message) + ".*\n", shown.err)
    assert shown.out == ""


@pytest.mark.parametrize("arguments", [
    ("train", "--out", ""), ("train", "--out", "x", "--steps", "many"), ("train",), ("dance",),
    ("train", "--out", "x", "--lr", "0.1"), ("generate", "--checkpoint", "x")])
def test_unknown_option_is_one_line_on_stderr(arguments, capsys):
    with pytest.raises(SystemExit, match="2"):
        run(*arguments)
    assert re.fullmatch("minimamba.*: .+\n", capsys.readouterr().err)


SMALL = ("--d-model", 8, "--n-layer", 1, "--length", 16, "--batch", 2)


def begin(out, monkeypatch, stop=3):
    """Train for 6 steps, saved after each; after some, something fails."""
    progress = training.progress

    def failing(losses, *args, **options):
        for i, loss in enumerate(progress(losses, *args, **options)):
            if i == stop:
                raise OSError("No space left on device")
            yield loss

    with monkeypatch.context() as patch:
        patch.setattr(training, "progress", failing)
        assert run("train", "--out", out, *SMALL, "--steps", 6, "--save-every", 1) == 2


@pytest.mark.parametrize(("name", "begun", "other"), [
    ("d_model", 8, 16), ("n_layer", 1, 2), ("length", 16, 17), ("batch", 2, 3), ("seed", 0, 1),
    ("learning_rate", 0.004, 0.1)])
def test_other_settings_on_resume_are_refused_with_both_values(name, begun, other, tmp_path, corpus,
                                                               monkeypatch, capsys):
    begin(tmp_path, monkeypatch)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    capsys.readouterr()
    assert run("train", "--out", tmp_path, *SMALL, f"--{name.replace('_', '-')}", other) == 2
    assert re.fullmatch(rf"minimamba train: {name}: expected {begun}, with which "
                        rf"\S+training.pt was begun, got {other}\n", capsys.readouterr().err)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("name", ["config.json", "model.safetensors.index.json",
                                  "pytorch_model.bin.index.json", "tokenizer.json"])
def test_folder_with_any_part_of_a_model_is_refused_and_stays_as_it_was(name, tmp_path, corpus,
                                                                        capsys):
    (tmp_path / name).write_text("{}")
    assert run("train", "--out", tmp_path, *SMALL) == 2
    assert f"got {tmp_path} with {name}: choose another" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_other_text_or_unknown_settings_on_resume_are_refused(tmp_path, corpus, monkeypatch,
                                                              capsys):
    begin(tmp_path, monkeypatch)
    other = corpora.Corpus("other lines", corpus.train, corpus.val, "none")
    with monkeypatch.context() as patch:
        patch.setattr(corpora, "code", lambda: other)
        assert run("train", "--out", tmp_path, *SMALL) == 2
    assert re.search(r"train: corpus: expected lines: .+ begun, got other lines: .+\n$",
                     capsys.readouterr().err)
    (tmp_path / "training.json").unlink()
    assert run("train", "--out", tmp_path, *SMALL) == 2
    assert "train: --out: expected a folder in which training.json holds settings, got" in (
        capsys.readouterr().err)
    assert training.completed_steps(tmp_path / "training.pt") == 4


def test_home_folder_may_be_a_tilde_that_the_shell_left(folder, corpus, monkeypatch, capsys):
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(folder))
    assert run("info", "--checkpoint=~") == 0
    assert run("train", "--out=~/new", *SMALL, "--steps", 1) == 0
    assert (folder / "new" / "config.json").exists()


def test_more_steps_resume_and_fewer_than_completed_are_refused(tmp_path, corpus, monkeypatch,
                                                                capsys):
    begin(tmp_path, monkeypatch)
    assert capsys.readouterr().err.endswith("minimamba train: No space left on device\n")
    assert run("train", "--out", tmp_path, *SMALL, "--steps", 3) == 2
    assert "train: steps: expected 4 or more, since" in capsys.readouterr().err
    (tmp_path / ".training.pt.0123.new").touch()             # as a process that was killed leaves
    (tmp_path / ".training.json.0123.new").touch()
    (tmp_path / ".saving-0123").mkdir()
    assert run("train", "--out", tmp_path, *SMALL, "--steps", 8) == 0
    assert "; resuming after step 4 of 8, from" in capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "model.safetensors"}


@pytest.mark.parametrize("name", ["training.pt", "training.json"])
def test_damaged_training_file_is_one_line_on_stderr(name, tmp_path, corpus, monkeypatch, capsys):
    begin(tmp_path, monkeypatch)
    (tmp_path / name).write_bytes(bytes(100))
    capsys.readouterr()
    assert run("train", "--out", tmp_path, *SMALL) == 2
    assert re.fullmatch(f"minimamba train: .+{name}.*\n", capsys.readouterr().err)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
@pytest.mark.parametrize("command", ["info", "generate"])
def test_damaged_checkpoint_is_one_line_on_stderr(command, name, folder, capsys):
    (folder / name).write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    prompt = ("--prompt", "a") if command == "generate" else ()
    assert run(command, "--checkpoint", folder, *prompt) == 2
    assert re.fullmatch(f"minimamba {command}: .+\n", capsys.readouterr().err)


def test_info_describes_attention_too(tmp_path, capsys):
    small_model(layers="MAF4", n_layer=4, n_heads=2).save_pretrained(tmp_path, layout="minimamba")
    assert run("info", "--checkpoint", tmp_path) == 0
    shown = capsys.readouterr().out
    assert "MAF4" in shown
    assert "rotary            True" in shown


def test_generate_ends_where_the_config_says(folder, capsys):
    arguments = ("generate", "--checkpoint", folder, "--prompt", "a", "--max-new-tokens", 20,
                 "--temperature", 0)
    assert run(*arguments) == 0
    text = capsys.readouterr().out
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {
        "eos_token_id": MambaLM.from_pretrained(folder).generate(torch.tensor([[97]]), 3)[0, 3]
        .item()}))
    assert run(*arguments) == 0
    ended = capsys.readouterr().out
    assert len(ended) < len(text)
    assert text.startswith(ended.removesuffix("\n"))


def command(*arguments, **options):
    return subprocess.Popen([sys.executable, "-m", "minimamba.cli", *map(str, arguments)],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


@pytest.mark.skipif(sys.platform == "win32", reason="pipes differ")
def test_closed_pipe_ends_without_a_message():
    with command("info") as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


@pytest.mark.skipif(sys.platform == "win32", reason="shells differ")
@pytest.mark.parametrize(("closed", "arguments", "status"), [
    (">&-", "info", 0), (">&- 2>&-", "train --out x --steps 1 --length 8 --batch 1", 0),
    ("2>&-", "info --checkpoint nowhere", 2)])
def test_output_may_be_closed_from_the_start(closed, arguments, status, tmp_path):
    line = f'"{sys.executable}" -m minimamba.cli {arguments} {closed}'
    done = subprocess.run(["sh", "-c", line], cwd=tmp_path, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (status, b"")


@pytest.mark.skipif(sys.platform == "win32", reason="signals differ")
def test_folder_is_for_one_process_which_may_be_killed(tmp_path, capsys):
    arguments = ("train", "--out", tmp_path, *SMALL, "--save-every", 1)
    with command(*arguments, "--steps", 10**6) as process:
        try:
            while not (tmp_path / "training.pt").exists():
                assert process.poll() is None
                time.sleep(0.02)
            assert run(*arguments) == 2
            assert re.fullmatch("minimamba train: .+training.lock: another process holds this lock"
                                "\n", capsys.readouterr().err)
        finally:
            process.kill()
    completed = training.completed_steps(tmp_path / "training.pt")
    assert run(*arguments, "--steps", completed + 2) == 0
    assert f"; resuming after step {completed} of {completed + 2}" in capsys.readouterr().out


def begun(process):
    """Wait until a training shows its bar, which comes with the first step."""
    shown = b""
    while b"step" not in shown:
        part = process.stderr.read(1)
        assert part, shown.decode()
        shown += part


@pytest.mark.skipif(sys.platform == "win32", reason="signals differ")
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_training_is_saved_and_says_how_to_go_on(sent, tmp_path, capsys):
    arguments = ("train", "--out", tmp_path, *SMALL, "--save-every", 10**6)
    with command(*arguments, "--steps", 10**6) as process:
        try:
            begun(process)
            process.send_signal(sent)
            shown = process.communicate(timeout=60)[1].decode()
        finally:
            process.kill()
    assert process.returncode == 130
    completed = training.completed_steps(tmp_path / "training.pt")
    assert completed > 0
    assert shown.splitlines()[-1] == (
        f"minimamba train: stopped and saved after step {completed} of 1000000; to go on, run the "
        "same command again")
    assert run(*arguments, "--steps", completed + 2) == 0
    assert f"; resuming after step {completed} of {completed + 2}" in capsys.readouterr().out


@pytest.mark.skipif(sys.platform == "win32", reason="signals differ")
def test_ctrl_c_while_torch_is_imported_is_one_line():
    code = ("import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
            "sys.argv = ['minimamba']; import threading; "
            "threading.Timer(0.3, signal.raise_signal, [signal.SIGINT]).start(); import minimamba; "
            "import time; time.sleep(60)")
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, "minimamba: interrupted\n")


@pytest.fixture
def interruptible():
    """Python's own handler of Ctrl-C, also where nohup lets a process ignore it."""
    outer = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, outer)


@pytest.mark.usefixtures("interruptible")
def test_before_the_first_step_and_at_a_second_ctrl_c_a_training_stops_at_once():
    with cli._StopRequest() as stop:
        for number in (signal.SIGINT, signal.SIGTERM):
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(number)
        assert not stop.is_made()
        signal.raise_signal(signal.SIGINT)
        assert stop.is_made()
        signal.raise_signal(signal.SIGTERM)     # as torchrun sends after the terminal's Ctrl-C
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):      # Python's own handler is back
        signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("module", ["minimamba", "minimamba.cli"])
def test_command_runs_as_a_module(module):
    done = subprocess.run([sys.executable, "-m", module, "info", "--checkpoint", "nowhere"],
                          check=False, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("minimamba info: nowhere: no such file or folder; ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(("option", "shown"), [
    ("--help", "{info,generate,train}"), ("--version", f"minimamba {minimamba.__version__}\n")])
def test_help_and_version_are_printed(option, shown, capsys):
    with pytest.raises(SystemExit) as stopped:
        run(option)
    assert not stopped.value.code
    assert shown in capsys.readouterr().out


def test_without_a_command_the_help_is_printed(capsys):
    with pytest.raises(SystemExit):
        run("--help")
    wanted = capsys.readouterr().out
    assert not run()
    assert capsys.readouterr().out == wanted


def test_uniform_predictions_need_8_bits_per_byte():
    model = MambaLM(MambaConfig(256, 8, 1))
    torch.nn.init.zeros_(model.embedding.weight)
    data = torch.arange(200, dtype=torch.uint8)
    assert cli.bits_per_byte(model, data, 10, 4) == pytest.approx(8)
