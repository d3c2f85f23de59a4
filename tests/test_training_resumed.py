"""Training resumes where it stopped, and runs in two processes as in one."""

import json
import os
import shutil
import subprocess
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from models import random_ids
from torch.nn.functional import cross_entropy, dropout

from minimamba import MambaConfig, MambaLM
from minimamba.training import (
    completed_steps,
    is_main_process,
    parallelize,
    progress,
    train_steps,
)

STEPS = 12


def train(file=None, stop=STEPS, *, wrap=lambda model: model, drop=0.0, request=None):
    """The losses of a small hybrid, up to a step at which it is interrupted."""
    torch.manual_seed(0)
    model = wrap(MambaLM(MambaConfig(40, 8, layers="MAF", n_heads=2)))
    batches = ((random_ids(6, 12, seed=step),) for step in range(STEPS))

    def loss(input_ids):
        logits = dropout(model(input_ids[:, :-1]), drop)
        return cross_entropy(logits.flatten(0, 1), input_ids[:, 1:].flatten())

    losses = train_steps(model, loss, batches, STEPS, learning_rate=0.02, checkpoint=file,
                         save_every=4, stop=request)
    return list(islice(losses, stop))


def at_call(count):
    """A function that returns True when it is called for so many a time."""
    answers = iter([False] * (count - 1) + [True])
    return lambda: next(answers)


def test_a_requested_stop_comes_after_the_step_and_is_saved(tmp_path):
    file = tmp_path / "state.pt"
    whole = train(drop=0.2)
    assert train(file, drop=0.2, request=at_call(3)) == whole[:3]
    assert completed_steps(file) == 3
    assert train(file, drop=0.2, request=lambda: False) == whole[3:]


def test_interrupted_run_resumes_with_the_same_bits(tmp_path):
    whole = train(drop=0.2)
    assert len(set(whole)) == STEPS
    file = tmp_path / "in a folder" / "state.pt"
    assert completed_steps(file) == 0
    # Interrupted after 7 of 12 steps, of which 4 were saved.
    assert train(file, 7, drop=0.2) == whole[:7]
    assert completed_steps(file) == 4
    torch.manual_seed(99)
    assert train(file, drop=0.2) == whole[4:]
    assert completed_steps(file) == STEPS
    assert train(file, drop=0.2) == []
    assert list(file.parent.iterdir()) == [file]


def test_checkpoint_holds_tensors_and_plain_values_alone(tmp_path):
    train(tmp_path / "state.pt", 5)
    saved = torch.load(tmp_path / "state.pt", weights_only=True)
    assert saved["completed"] == 4
    assert set(saved) == {"settings", "model", "optimizer", "completed", "random"}


def line(file, steps=10, stop=None, *, features=3, dtype=torch.float32, **changes):
    """The losses of a linear model."""
    torch.manual_seed(0)
    model = torch.nn.Linear(features, 1, dtype=dtype)
    x = torch.randn(steps, 8, features, dtype=dtype)
    options = {"learning_rate": 0.1, "save_every": 2} | changes
    return list(islice(train_steps(model, lambda x: (model(x) - x.sum(1, True)).square().mean(),
                                   zip(x), steps, checkpoint=file, **options), stop))


@pytest.mark.parametrize(("steps", "stop"), [(10, None), (10, 5), (2, None), (1, None)])
def test_more_steps_continue_with_the_learning_rate_of_the_longer_run(steps, stop, tmp_path):
    file = tmp_path / "state.pt"
    line(file, steps, stop)
    completed = completed_steps(file)
    assert len(line(file, 20)) == 20 - completed
    assert completed_steps(file) == 20
    line(tmp_path / "at once.pt", 20)
    rates, at_once = ([group["lr"] for group in torch.load(
        path, weights_only=True)["optimizer"]["param_groups"]]
        for path in (file, tmp_path / "at once.pt"))
    assert rates == at_once


def test_fewer_steps_continue_down_to_those_completed(tmp_path):
    file = tmp_path / "state.pt"
    line(file, 10, 5)
    assert len(line(file, 6)) == 2
    with pytest.raises(ValueError, match=r"^steps: expected 6 or more, since .+ has .+ 5$"):
        line(file, 5)


@pytest.mark.parametrize(("changes", "message"), [
    ({"learning_rate": 0.2}, "learning_rate: expected 0.1, with which .*state.pt .*, got 0.2"),
    ({"weight_decay": 0.5}, "weight_decay: expected 0.01, with which .*state.pt .*, got 0.5"),
    ({"bf16": False}, "bf16: expected True, with which .*state.pt .*, got False"),
    ({"features": 4}, r"checkpoint: expected weight: shape \(1, 4\) .*, got shape \(1, 3\)"),
    ({"dtype": torch.float64}, "checkpoint: expected .* of torch.float64, .* got .*float32")])
def test_other_settings_than_those_saved_are_refused_with_both_values(changes, message, tmp_path):
    file = tmp_path / "state.pt"
    line(file, stop=5)
    before = file.read_bytes()
    with pytest.raises(ValueError, match=f"^{message}[^\n]*$"):
        line(file, **changes)
    assert file.read_bytes() == before
    assert len(line(file, save_every=3)) == 6                # this may change


@pytest.mark.parametrize(("name", "begun", "other"), [
    ("n_heads", 2, 4), ("norm_epsilon", 1e-5, 1e-3), ("rotary", True, False), ("d_model", 8, 16)])
def test_other_config_is_refused_whatever_the_shapes_of_its_weights(name, begun, other, tmp_path):
    def run(value, steps):
        model = MambaLM(MambaConfig(40, **{"d_model": 8, "layers": "A", name: value}))
        return list(train_steps(model, lambda ids: model(ids).logsumexp(-1).mean(),
                                [(random_ids(),)] * steps, steps, learning_rate=0.1,
                                checkpoint=tmp_path / "state.pt"))

    run(begun, 2)
    with pytest.raises(ValueError, match=f"^{name}: expected {begun}, with .+, got {other}$"):
        run(other, 3)
    assert len(run(begun, 3)) == 1


class Partial(torch.nn.Linear):
    """A linear model with a mask, and with parameters that are used late or never."""

    def __init__(self):
        super().__init__(3, 1)
        self.late, self.never = torch.nn.Linear(3, 1), torch.nn.Linear(1, 1)
        self.register_buffer("mask", torch.full((2, 2), -torch.inf).triu(1))

    def forward(self, x):
        return super().forward(x) + (self.late(x) if (x > 2).any() else 0)


class OneNumber(torch.nn.Module):
    """A model without a vector or a matrix."""

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(2.0))

    def forward(self, x):
        return self.scale * x


@pytest.mark.parametrize("build", [Partial, OneNumber, lambda: torch.nn.Linear(3, 1).double()])
@pytest.mark.parametrize("drop", [0.0, 0.5])
@pytest.mark.parametrize("number", [float, np.float64])
def test_any_model_resumes_and_batches_may_come_from_the_global_generator(build, drop, number,
                                                                         tmp_path):
    def losses(file, stop=None):
        torch.manual_seed(0)
        model = build()
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)      # left over
        dtype = next(model.parameters()).dtype
        batches = ((torch.randn(8, 3, dtype=dtype) + (step == 7),) for step in range(12))
        return list(islice(train_steps(
            model, lambda x: dropout(model(x) - x.sum(1, True), drop).square().mean(), batches, 12,
            learning_rate=number(0.1), weight_decay=number(0.01), checkpoint=tmp_path / file,
            save_every=5), stop))

    whole = losses("whole.pt")
    assert losses("state.pt", 7) == whole[:7]
    assert losses("state.pt") == whole[5:]


def test_model_whose_state_no_checkpoint_can_hold_is_refused_before_it_is_lost(tmp_path):
    class Custom(OneNumber):
        def get_extra_state(self):
            return {"scale": np.float64(1)}

    file = tmp_path / "state.pt"
    with pytest.raises(ValueError, match=r"^model: expected .+ plain values.+ got one with numpy"):
        list(train_steps(model := Custom(), lambda x: model(x).sum(), [(torch.ones(1),)] * 3, 3,
                         learning_rate=0.1, checkpoint=file, save_every=1))
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["", ".", "a file/state.pt", 3, True])
def test_checkpoint_that_can_not_be_written_is_refused_at_the_call(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a file").write_text("here")
    model = torch.nn.Linear(1, 1)
    with pytest.raises(ValueError, match=r"^checkpoint: expected [^\n]+, got [^\n]+$"):
        train_steps(model, model, [(torch.ones(1, 1),)], 1, learning_rate=0.1, checkpoint=name)


def test_frozen_parameter_resumes_and_may_be_trained_later(tmp_path):
    def losses(stop, frozen=True):
        torch.manual_seed(0)
        model = torch.nn.Linear(3, 1)
        model.bias.requires_grad_(not frozen)
        return list(islice(train_steps(model, lambda x: model(x).square().mean(),
                                       [(torch.ones(2, 3),)] * 6, 6, learning_rate=0.1,
                                       checkpoint=tmp_path / "state.pt", save_every=2), stop))

    first = losses(5)
    shutil.copy(tmp_path / "state.pt", tmp_path / "copy.pt")
    assert losses(None)[:1] == first[4:]
    shutil.copy(tmp_path / "copy.pt", tmp_path / "state.pt")
    assert losses(None, frozen=False)[:1] == first[4:]


@pytest.mark.parametrize("contents", [
    b"", b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", b"<!DOCTYPE html><html>",
    b"PK\x03\x04" + bytes(500)])
def test_file_that_is_no_checkpoint_is_refused_in_one_line(contents, tmp_path):
    file = tmp_path / "state.pt"
    file.write_bytes(contents)
    for read in (completed_steps, line):
        with pytest.raises(ValueError, match=r"^checkpoint: expected a file that [^\n]+, got "
                                             r"[^\n]+state\.pt, which begins with b[^\n]+$"):
            read(file)
    line(whole := tmp_path / "whole.pt", 2)
    saved = torch.load(whole, weights_only=True)
    for other in ({"completed": 3}, saved | {"settings": None}, saved | {"optimizer": {}},
                  saved | {"completed": "2"}):
        torch.save(other, file)
        with pytest.raises(ValueError, match=r"^checkpoint: .+ of another kind or an older ver"):
            line(file)
    torch.save(saved | {"settings": {}}, file)
    with pytest.raises(ValueError, match=r"^learning_rate: expected None, with which .+, got 0.1"):
        line(file)


@pytest.mark.parametrize("name", ["settings", "model", "optimizer", "completed", "random"])
@pytest.mark.parametrize("value", [None, "5", [], {}, -1, [torch.ones(3)]], ids=str)
def test_checkpoint_with_another_value_under_a_key_is_refused(name, value, tmp_path):
    file = tmp_path / "state.pt"
    line(file, 4)
    torch.save(torch.load(file, weights_only=True) | {name: value}, file)
    with pytest.raises(ValueError, match=r"^(checkpoint|learning_rate): expected .+state\.pt"):
        line(file)


@pytest.mark.parametrize("path", ["", 3, b"state.pt", True, "a\0b"])
def test_checkpoint_is_named_by_a_path(path):
    for read in (completed_steps, line):
        with pytest.raises(ValueError, match=r"^checkpoint: expected a "):
            read(path)


def test_damaged_checkpoint_is_refused_wherever_the_damage_is(tmp_path):
    file = tmp_path / "state.pt"
    line(file, 4)
    whole = file.read_bytes()
    expected = torch.load(file, weights_only=True)
    noticed = 0
    for start in range(0, len(whole), 97):
        file.write_bytes(whole[:start] + bytes(64) + whole[start + 64:])
        try:
            completed_steps(file)
        except ValueError:
            noticed += 1
        else:                                                # only padding was hit
            assert str(torch.load(file, weights_only=True)) == str(expected)
    assert noticed > 20
    for length in range(1, len(whole), 311):
        file.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"^checkpoint: "):
            completed_steps(file)


TWO_PROCESSES = """
import json, os, sys
import torch
torch.set_num_threads(1)
torch.set_default_dtype(torch.float64)
from test_training_resumed import at_call, is_main_process, parallelize, train
for shard, begun, new, stopped in json.loads(sys.argv[1]):
    def wrap(model):
        return parallelize(model, shard=shard)
    request = at_call(3) if os.environ["RANK"] == "1" else lambda: False
    losses = (train(begun, wrap=wrap), train(new, 6, wrap=wrap),
              train(stopped, wrap=wrap, request=request))
    if is_main_process():
        print("losses", json.dumps(losses))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="torchrun is tested on Linux")
def test_two_processes_have_the_losses_of_one_and_each_resumes_the_other(double, tmp_path):
    expected = train()
    begun = tmp_path / "begun.pt"
    train(begun, 5)                                          # saved after 4 steps
    arguments = []
    for shard in (False, True):                              # DDP, then FSDP
        copy = tmp_path / f"begun {shard}.pt"
        shutil.copy(begun, copy)
        arguments.append((shard, str(copy), str(tmp_path / f"new {shard}.pt"),
                          str(tmp_path / f"stopped {shard}.pt")))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node",
               "2", "--no-python", sys.executable, "-c", TWO_PROCESSES, json.dumps(arguments)]
    run = subprocess.run(command, check=False, text=True, capture_output=True,
                         cwd=Path(__file__).parent,
                         env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""})
    lines = [line.removeprefix("losses") for line in run.stdout.splitlines()
             if line.startswith("losses")]
    assert len(lines) == 2, run.stdout + run.stderr
    for line, (_, _, new, interrupted) in zip(lines, arguments, strict=True):
        resumed, started, stopped = json.loads(line)
        assert resumed == pytest.approx(expected[4:], abs=1e-6)
        assert started == pytest.approx(expected[:6], abs=1e-6)
        assert train(new, 5) == pytest.approx(expected[4:9], abs=1e-6)
        assert stopped == pytest.approx(expected[:3], abs=1e-6)      # in both, as one asked for it
        assert completed_steps(interrupted) == 3


def test_without_torchrun_the_model_is_returned_as_it_is(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    model = torch.nn.Linear(1, 1)
    assert parallelize(model) is model
    assert is_main_process()


def test_progress_shows_a_moving_average_and_passes_the_losses_on(capsys):
    losses = list(progress(iter([4.0, 2.0]), 2, "training", measure="nats", unit=2.0))
    assert losses == [4.0, 2.0]
    shown = capsys.readouterr().err
    assert "training: 100%" in shown
    assert "2/2" in shown
    assert "nats=1.900" in shown
    assert "step/s" in shown or "s/step" in shown


@pytest.mark.parametrize("argument", ["name", "measure"])
@pytest.mark.parametrize("given", [None, 5, b"loss"])
def test_what_progress_shows_must_be_text(argument, given):
    with pytest.raises(ValueError, match=f"^{argument}: expected a string, got {given!r}$"):
        next(progress([1.0], 1, **{argument: given}))


def test_checkpoint_that_asks_for_a_bytearray_is_refused_unread(tmp_path):
    class Bytes:
        def __reduce__(self):
            return bytearray, (10**9,)

    torch.save({"model": Bytes()}, tmp_path / "state.pt")
    with pytest.raises(ValueError, match=r"^checkpoint: .+ got .+, one with a bytearray$"):
        completed_steps(tmp_path / "state.pt")
