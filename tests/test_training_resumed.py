"""Training resumes where it stopped, and runs in two processes as in one."""

import json
import os
import shutil
import subprocess
import sys
from itertools import islice
from pathlib import Path

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


def train(file=None, stop=STEPS, *, wrap=lambda model: model, drop=0.0):
    """The losses of a small hybrid, up to a step at which it is interrupted."""
    torch.manual_seed(0)
    model = wrap(MambaLM(MambaConfig(40, 8, layers="MAF", n_heads=2)))
    batches = ((random_ids(6, 12, seed=step),) for step in range(STEPS))

    def loss(input_ids):
        logits = dropout(model(input_ids[:, :-1]), drop)
        return cross_entropy(logits.flatten(0, 1), input_ids[:, 1:].flatten())

    losses = train_steps(model, loss, batches, STEPS, learning_rate=0.02, checkpoint=file,
                         save_every=4)
    return list(islice(losses, stop))


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
    assert set(saved) == {"model", "optimizer", "schedule", "completed", "random"}


TWO_PROCESSES = """
import json, sys
import torch
torch.set_num_threads(1)
torch.set_default_dtype(torch.float64)
from test_training_resumed import is_main_process, parallelize, train
for shard, begun, new in json.loads(sys.argv[1]):
    def wrap(model):
        return parallelize(model, shard=shard)
    losses = train(begun, wrap=wrap), train(new, 6, wrap=wrap)
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
        arguments.append((shard, str(copy), str(tmp_path / f"new {shard}.pt")))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node",
               "2", "--no-python", sys.executable, "-c", TWO_PROCESSES, json.dumps(arguments)]
    run = subprocess.run(command, check=False, text=True, capture_output=True,
                         cwd=Path(__file__).parent, env=os.environ | {"OMP_NUM_THREADS": "1"})
    lines = [line.removeprefix("losses") for line in run.stdout.splitlines()
             if line.startswith("losses")]
    assert len(lines) == 2, run.stdout + run.stderr
    for line, (_, _, new) in zip(lines, arguments, strict=True):
        resumed, started = json.loads(line)
        assert resumed == pytest.approx(expected[4:], abs=1e-6)
        assert started == pytest.approx(expected[:6], abs=1e-6)
        assert train(new, 5) == pytest.approx(expected[4:9], abs=1e-6)


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
