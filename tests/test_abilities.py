"""The benchmark of abilities at reduced size: the same code, in seconds."""

import json
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch

from minimamba import MambaConfig, checkpoint
from minimamba.course import tasks

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))
import abilities


@pytest.fixture(autouse=True)
def _small(tmp_path, monkeypatch):
    monkeypatch.setattr(abilities.tempfile, "mkdtemp", lambda: str(tmp_path))
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("name", abilities.EXPERIMENTS)
def test_each_experiment_runs(name, tmp_path):
    abilities.main(["--small", name])
    file, = tmp_path.glob("*.json")
    saved = json.loads(file.read_text())
    assert {"machine", "runs"} == set(saved)
    assert len(saved["runs"]) == len(abilities.EXPERIMENTS[name](small=True))
    for row in saved["runs"]:
        assert "failed" not in row, row["failed"]
        assert row["curve: step, seconds, loss, score"][-1][0] == row["steps"] <= row["planned"]
        assert row["seconds"] < 5
        assert row["asked"]
        assert row["command"].startswith("python benchmarks/")
    for kind in {row["model"] for row in saved["runs"]}:
        best = max((row for row in saved["runs"] if row["model"] == kind),
                   key=lambda row: row["score"])
        model = checkpoint.load(tmp_path / f"{name}_{kind.lower()}")
        assert model.config == MambaConfig(**best["config"])
        assert sum(p.numel() for p in model.parameters()) == best["parameters"]


def test_the_experiments_are_the_papers():
    copying = abilities.selective_copying(small=False)
    assert {job.name for job in copying} == {"Mamba", "S6", "S4D", "LSTM", "Transformer"}
    for job in copying:
        assert (job.task.length, job.task.data, job.task.vocabulary) == (4096, 16, 16)
        assert (job.config.d_model, job.config.pattern) in {
            (64, "MM"), (64, "66"), (64, "44"), (64, "LL"), (64, "AFAF")}
    induction = abilities.induction_heads(small=False)
    assert all((job.task.length, job.task.vocabulary) == (256, 16) for job in induction)
    assert {job.seed for job in induction if job.name == "Mamba"} == {0, 1, 2}
    assert max(induction[0].asked) == 2**20


@pytest.mark.parametrize("name", abilities.EXPERIMENTS)
def test_each_stack_is_trained_at_two_learning_rates_or_more(name):
    """And what the chapters read is what the experiment is now."""
    kept = json.loads((abilities.RESULTS / f"abilities_{name}_cuda.json").read_text())["runs"]
    planned = {(json.dumps(abilities.asdict(job.config)), job.lr)
               for job in abilities.EXPERIMENTS[name](small=False)}
    found = {(json.dumps(run["config"]), run["lr"]) for run in kept}
    assert found == planned
    assert min(Counter(config for config, _ in found).values()) >= 2


@pytest.mark.parametrize("name", ["copying", "phone_book", "ratio", "code"])
def test_models_that_are_compared_are_of_one_size(name):
    sizes = []
    for job in abilities.EXPERIMENTS[name](small=False):
        with torch.device("meta"):
            model = abilities.MambaLM(job.config)
        sizes.append(sum(p.numel() for p in model.parameters()))
    assert max(sizes) < 1.1 * min(sizes)
    assert 4 * max(sizes) < abilities.MEGABYTE


def test_an_answer_is_the_same_read_at_once_or_in_parts(monkeypatch):
    torch.manual_seed(0)
    task = tasks.AssociativeRecall(64, 4, 4)
    model = abilities.MambaLM(MambaConfig(task.vocabulary, 16, layers="M4AL", d_state=4))
    whole = abilities.right(model, task, seed=3)
    tokens, targets = task.draw(64, torch.Generator().manual_seed(3))
    assert whole == pytest.approx(tasks.accuracy(model(tokens), targets).item())
    assert 0 < whole < 1
    monkeypatch.setattr(abilities, "CHUNK", 7)
    assert abilities.right(model, task, seed=3) == pytest.approx(whole)


def test_a_task_grows_to_its_full_size():
    job, = abilities.copying(small=True)[:1]
    source, random = abilities.Growing(job), torch.Generator().manual_seed(0)

    def lengths(done):
        return {(source.batch(done, random).tokens.shape[1]) // 2 for _ in range(40)}

    assert [lengths(done) for done in (0.0, 0.35, 0.5, 0.99, 1.0)] == [
        {4}, {4, 8}, {4, 8, 12}, {4, 8, 12, 16}, {16}]


def test_what_fails_is_written_down(tmp_path, monkeypatch):
    job = abilities.copying(small=True)[0]
    monkeypatch.setattr(abilities, "train", lambda *given, **options: torch.zeros(2, 2).inverse())
    row, state = abilities.run(job)
    assert state is None
    assert "singular" in row["failed"]
    abilities.experiment("failing", [job], [], None, tmp_path, tmp_path)
    assert "failed" in (tmp_path / "abilities_failing_cpu.json").read_text()


def test_some_models_again_and_the_others_as_they_were(tmp_path):
    file = tmp_path / "abilities_recall_cpu.json"
    before = [{"model": name, "config": {}, "lr": 0.01, "seed": 0, "score": 2.0}
              for name in ("Mamba", "hybrid", "Transformer")]
    file.write_text(json.dumps({"runs": before}))
    abilities.main(["--small", "--models", "Mamba", "--", "recall"])
    runs = json.loads(file.read_text())["runs"]
    assert [row["model"] for row in runs] == ["hybrid", "Transformer", "Mamba"]
    assert runs[:2] == before[1:]
    assert runs[2]["score"] <= 1
    assert [path.name for path in tmp_path.glob("recall_*")] == ["recall_mamba"]


def test_the_best_rate_of_each_stack_again_with_other_seeds(tmp_path):
    file, job = tmp_path / "abilities_recall_cpu.json", abilities.recall(small=True)[0]
    other = {"model": "Mamba", "config": {"d_model": 1}, "lr": 0.01, "seed": 0, "score": 2.0}
    before = [{"model": "Mamba", "config": abilities.asdict(job.config), "lr": lr, "seed": 0} | more
              for lr, more in ((0.1, {"score": 0.2}), (job.lr, {"score": 0.3}), (1.0, {}))]
    best = abilities.again([abilities.replace(job, lr=lr) for lr in (0.1, job.lr, 1.0)],
                           [*before, other], [3, 4])
    assert [(job.lr, job.seed) for job in best] == [(job.lr, 3), (job.lr, 4)]
    file.write_text(json.dumps({"runs": [*before, other]}))
    for _ in range(2):                       # a seed a second time takes the place of its first
        abilities.main(["--small", "--models", "Mamba", "--seeds", "1", "2", "--", "recall"])
        runs = json.loads(file.read_text())["runs"]
        assert runs[:4] == [*before, other]
        assert [(row["lr"], row["seed"]) for row in runs[4:]] == [(job.lr, 1), (job.lr, 2)]
    assert not list(tmp_path.glob("recall_*"))   # none of them is as good as what was there
