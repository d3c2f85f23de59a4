"""The loop goes on where it stopped, and in two processes as in one."""

import json
import os
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest
import torch

from minimamba import MambaConfig, MambaLM
from minimamba.course import tasks
from minimamba.training import is_first, progress, shuffled, spread, train

STEPS = 12
SCRIPT = """
import json, sys
import torch
torch.set_num_threads(1)
torch.set_default_dtype(torch.float64)
from test_training_resumed import is_first, losses, spread
shard, file, stop = json.loads(sys.argv[1])
made = losses(file, stop, wrap=lambda model: spread(model, shard=shard))
if is_first():
    print("losses", json.dumps(made))
"""


def losses(file=None, stop=STEPS, *, wrap=lambda model: model, dropout=0.0):
    """Of a small hybrid that learns induction heads, up to a step at which it is cut off."""
    torch.manual_seed(0)
    model, task = MambaLM(MambaConfig(16, 8, layers="MAF", n_heads=2)), tasks.InductionHeads(9)
    model = wrap(model)
    random = torch.Generator().manual_seed(0)
    batches = (task.sample(6, random) for _ in range(STEPS))

    def loss(tokens, targets):
        scores = torch.nn.functional.dropout(model(tokens), dropout)
        return tasks.loss(scores, targets)

    return list(islice(train(model, loss, batches, STEPS, lr=0.02, checkpoint=file, every=4), stop))


def launched(processes, shard=False, file=None, stop=STEPS):
    """The same under torchrun."""
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node",
           str(processes), "--no-python", sys.executable, "-c", SCRIPT]
    done = subprocess.run([*run, json.dumps([shard, file, stop])], check=False, text=True,
                          capture_output=True, cwd=Path(__file__).parent,
                          env=os.environ | {"OMP_NUM_THREADS": "1"})
    said = [line for line in done.stdout.splitlines() if line.startswith("losses")]
    assert len(said) == 1, done.stdout + done.stderr
    return json.loads(said[0].removeprefix("losses"))


def test_a_run_that_was_cut_off_goes_on_bit_by_bit(tmp_path):
    whole = losses(dropout=0.2)
    assert len(set(whole)) == STEPS
    file = tmp_path / "in a folder" / "state.pt"
    # Cut off after 7 of 12 steps, of which 4 had been written down.
    assert losses(file, 7, dropout=0.2) == whole[:7]
    torch.manual_seed(99)
    assert losses(file, dropout=0.2) == whole[4:]
    # What is done is done.
    assert losses(file, dropout=0.2) == []
    assert list(file.parent.iterdir()) == [file]


def test_the_file_is_weights_and_no_program(tmp_path):
    losses(tmp_path / "state.pt", 5)
    saved = torch.load(tmp_path / "state.pt", weights_only=True)
    assert saved["done"] == 4
    assert set(saved) == {"model", "optimizer", "schedule", "done", "random"}


@pytest.mark.skipif(sys.platform != "linux", reason="torchrun is tested on Linux")
@pytest.mark.parametrize("shard", [False, True], ids=["DDP", "FSDP"])
def test_two_processes_have_the_losses_of_one_and_either_goes_on_for_the_other(
        double, tmp_path, shard):
    one, file = losses(), str(tmp_path / "state.pt")
    two = launched(2, shard, file, 6)
    assert two == pytest.approx(one[:6], abs=1e-6)
    assert losses(file, 5) == pytest.approx(one[4:9], abs=1e-6)
    assert launched(2, shard, file) == pytest.approx(one[8:], abs=1e-6)


def test_without_torchrun_a_model_is_left_as_it_is(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    model = torch.nn.Linear(1, 1)
    assert spread(model) is model
    assert is_first()


def test_the_bar_shows_a_mean_of_the_losses_and_how_far(capsys):
    seen = list(progress(iter([4.0, 2.0]), 2, "learning", measure="nats", unit=2.0))
    assert seen == [4.0, 2.0]
    said = capsys.readouterr().err
    assert "learning: 100%" in said
    assert "2/2" in said
    assert "nats=1.900" in said
    assert "step/s" in said or "s/step" in said


def test_there_is_something_to_write_after_some_steps():
    model = torch.nn.Linear(1, 1)
    with pytest.raises(ValueError, match=r"^every: expected a whole number"):
        next(train(model, None, shuffled(torch.zeros(2), batch_size=1, seed=0), 1, lr=1, every=0))
