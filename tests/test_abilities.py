"""The experiments of benchmarks/abilities.py at reduced size: the same code, in seconds."""

import json
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch

from minimamba import MambaConfig, MambaLM
from minimamba.course import tasks

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))
import abilities
import training_run
from abilities import EXPERIMENTS, row_key, run_key


@pytest.fixture(autouse=True)
def _small(tmp_path, monkeypatch):
    mkdtemp = abilities.tempfile.mkdtemp
    monkeypatch.setattr(abilities.tempfile, "mkdtemp",
                        lambda *given: mkdtemp(*given) if given else str(tmp_path))
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def published(name):
    """The committed results of an experiment."""
    device = "cpu" if name == "selection" else "cuda"
    return json.loads((abilities.RESULTS / f"abilities_{name}_{device}.json").read_text())["runs"]


def key_of(job):
    return run_key(job.config, job.learning_rate, job.seed)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_writes_a_row_per_job_and_the_best_weights(name, tmp_path):
    abilities.main(["--small", name])
    file, = tmp_path.glob("*.json")
    saved = json.loads(file.read_text())
    jobs = EXPERIMENTS[name](small=True)
    assert {"machine", "runs"} == set(saved)
    assert sorted(map(str, map(row_key, saved["runs"]))) == sorted(str(key_of(job)) for job in jobs)
    for row in saved["runs"]:
        assert "error" not in row, row["error"]
        assert row["curve"][-1][0] == row["steps"] <= row["planned_steps"]
        assert row["seconds"] < 5
        assert row["evaluation"]
        assert row["command"].startswith("python benchmarks/")
    kinds = {job.name for job in jobs if job.save_weights}
    assert {path.name for path in tmp_path.glob(f"{name}_*")} == {
        f"{name}_{kind.lower()}" for kind in kinds}
    for kind in kinds:
        best = max((row for row in saved["runs"] if row["model"] == kind),
                   key=lambda row: row["score"])
        model = MambaLM.from_pretrained(tmp_path / f"{name}_{kind.lower()}")
        assert model.config == MambaConfig(**best["config"])
        assert sum(p.numel() for p in model.parameters()) == best["parameters"]


def test_the_experiments_have_the_sizes_of_the_papers():
    copying = abilities.selective_copying(small=False)
    assert {job.name for job in copying} == {"Mamba", "S6", "S4D", "LSTM", "Transformer"}
    for job in copying:
        assert (job.task.length, job.task.n_data, job.task.vocab_size) == (4096, 16, 16)
        assert (job.config.d_model, job.config.layer_pattern) in {
            (64, "MM"), (64, "66"), (64, "44"), (64, "LL"), (64, "AFAF")}
    induction = abilities.induction_heads(small=False)
    assert all((job.task.length, job.task.vocab_size) == (256, 16) for job in induction)
    assert {job.seed for job in induction if job.name == "Mamba"} == {0, 1, 2}
    assert max(induction[0].evaluate_at) == 2**20


def test_selection_has_every_subset_of_the_input_dependent_parameters():
    jobs = abilities.selection(small=False)
    subsets = [job.config.selective for job in jobs if job.config.layer_pattern == "66"]
    assert len(set(subsets)) == 8
    assert set(Counter(subsets).values()) == {6}                  # 3 learning rates, 2 seeds
    ranks = [job.config.dt_rank for job in jobs if job.config.layer_pattern == "6"]
    assert Counter(ranks) == dict.fromkeys(("broadcast", 1, 2, 4, 32), 6)
    assert sum(job.config.layer_pattern == "44" for job in jobs) == 6


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_published_results_have_every_stack_at_two_learning_rates_or_more(name):
    planned = {(job.config, job.learning_rate) for job in EXPERIMENTS[name](small=False)}
    found = {row_key(row)[:2] for row in published(name)}
    assert found == planned
    assert min(Counter(config for config, _ in found).values()) >= 2


@pytest.mark.parametrize("name", ["copying", "phone_book", "ratio", "code"])
def test_compared_models_have_equal_numbers_of_parameters(name):
    sizes = []
    for config in {job.config for job in EXPERIMENTS[name](small=False)}:
        with torch.device("meta"):
            model = MambaLM(config)
        sizes.append(sum(p.numel() for p in model.parameters()))
    assert max(sizes) < 1.1 * min(sizes)
    assert 4 * max(sizes) < abilities.MEGABYTE


def test_the_accuracy_in_chunks_is_that_of_the_whole_sequence():
    torch.manual_seed(0)
    task = tasks.AssociativeRecall(64, 4, 4)
    model = MambaLM(MambaConfig(task.vocab_size, 16, layers="M4AL", d_state=4))
    tokens, targets = task.sample(64, torch.Generator().manual_seed(3))
    whole = tasks.accuracy(model(tokens), targets).item()
    assert 0 < whole < 1
    for chunk in (7, 2048):
        found = training_run.accuracy_in_chunks(model, task, seed=3, count=64, chunk=chunk)
        assert found == pytest.approx(whole)


def test_the_curriculum_grows_to_the_full_difficulty():
    job = abilities.copying(small=True)[0]
    data, generator = training_run.Curriculum(job), torch.Generator().manual_seed(0)

    def lengths(progress):
        return {data.batch(progress, generator).tokens.shape[1] // 2 for _ in range(40)}

    assert [lengths(progress) for progress in (0.0, 0.35, 0.5, 0.99, 1.0)] == [
        {4}, {4, 8}, {4, 8, 12}, {4, 8, 12, 16}, {16}]


def test_a_job_without_a_time_limit_gives_equal_results_at_each_run():
    job = abilities.selection(small=True)[0]
    first, second = (training_run.train_and_evaluate(job)[0] for _ in range(2))
    assert first["steps"] == first["planned_steps"] == job.steps
    assert first["evaluation"] == second["evaluation"]
    assert first["curve"][-1][2] == second["curve"][-1][2]


def test_an_error_in_training_becomes_a_row(tmp_path, monkeypatch):
    job = abilities.copying(small=True)[0]
    monkeypatch.setattr(training_run, "train_steps",
                        lambda *given, **options: torch.zeros(2, 2).inverse())
    row, state = abilities.run(job)
    assert state is None
    assert "singular" in row["error"]
    abilities.run_experiment("failing", [job], [], None, tmp_path, tmp_path)
    assert "error" in (tmp_path / "abilities_failing_cpu.json").read_text()


def test_models_that_are_not_trained_keep_their_rows(tmp_path):
    file = tmp_path / "abilities_recall_cpu.json"
    earlier = [{"model": name, "config": {"vocab_size": 8}, "learning_rate": 0.01, "seed": 0,
                "score": 2.0} for name in ("Mamba", "hybrid", "Transformer")]
    file.write_text(json.dumps({"runs": earlier}))
    abilities.main(["--small", "--models", "Mamba", "--", "recall"])
    rows = json.loads(file.read_text())["runs"]
    assert [row["model"] for row in rows] == ["hybrid", "Transformer", "Mamba"]
    assert rows[:2] == earlier[1:]
    assert rows[2]["score"] <= 1
    assert [path.name for path in tmp_path.glob("recall_*")] == ["recall_mamba"]


def result(job, learning_rate, seed, **score):
    config = json.loads(json.dumps(abilities.asdict(job.config)))
    return {"model": job.name, "config": config, "learning_rate": learning_rate,
            "seed": seed} | score


def test_the_best_learning_rate_is_that_of_the_highest_mean_score():
    job = abilities.recall(small=True)[0]
    jobs = [abilities.replace(job, learning_rate=learning_rate, seed=seed)
            for learning_rate in (0.1, 0.2, 0.3) for seed in (8, 9)]
    rows = [result(job, 0.1, 8, score=0.9), result(job, 0.1, 9, score=0.1),
            result(job, 0.2, 8, score=0.6), result(job, 0.2, 9, score=0.6),
            result(job, 0.3, 8, score=1.0), result(job, 0.3, 9),              # failed
            result(job, 0.1, 1, score=1.0)]                                   # a repetition
    best = abilities.at_best_learning_rate(jobs, rows, [3, 4])
    assert [(job.learning_rate, job.seed) for job in best] == [(0.2, 3), (0.2, 4)]


def test_repetitions_with_other_seeds_are_added_and_replaced(tmp_path):
    file, job = tmp_path / "abilities_recall_cpu.json", abilities.recall(small=True)[0]
    earlier = [result(job, job.learning_rate, 0, score=0.3), result(job, 0.1, 0, score=2.0)]
    file.write_text(json.dumps({"runs": earlier}))
    for _ in range(2):
        abilities.main(["--small", "--models", "Mamba", "--seeds", "1", "2", "--", "recall"])
        rows = json.loads(file.read_text())["runs"]
        assert rows[:2] == earlier
        assert [(row["learning_rate"], row["seed"]) for row in rows[2:]] == [
            (job.learning_rate, 1), (job.learning_rate, 2)]
    assert not list(tmp_path.glob("recall_*"))      # none of them is as good as an earlier one
