"""What can a layer learn? Nine experiments, each for Mamba and for its baselines or ablations.

Usage: python benchmarks/abilities.py EXPERIMENT ... [--models NAME ...] [--seeds N ...]
                                      [--seconds N] [--workers N] [--small]

- selection: selective copying with every subset of Δ, B and C input-dependent, and S4D; recall of
  two registers with Δ by broadcast and by projections of several ranks. Small models and a fixed
  number of steps, for a CPU: minutes on 16 cores (--workers 16).
- selective_copying: 16 data tokens among 4,096, two layers of width 64 (Gu and Dao 2023, table 1).
- induction_heads: trained at lengths up to 256, evaluated up to 2^20 (table 2).
- recall: associative recall, by state dimension and number of pairs (Arora et al. 2023).
- capacity: associative recall of up to 128 pairs by one Mamba block, by state dimension.
  The saved results of these two are older than the random order of the queries in
  AssociativeRecall: in them early pairs tended to be queried early.
- copying, phone_book: at equal numbers of parameters (Jelassi et al. 2024).
- ratio: a phone book for eight layers with attention in none, in one (as Jamba) or in all of them
  (Lieber et al. 2024), or four times attention + MLP; trained on lists of up to 128 entries,
  evaluated up to 2^14, with sixteen queries each.
- code: bytes of Python's standard library, at equal numbers of parameters; the loss by position.

Each model is trained in a process of its own, at several learning rates and seeds; on a GPU several
at once. Except in selection, a model is trained for as many steps as fit into N seconds (60),
estimated from three steps that are timed in advance: a model that fails might succeed in more. The
difficulty grows from easy to full over the first three fifths of the training.

Results, saved after each model, go to results/abilities_EXPERIMENT_DEVICE.json. In a row, "device"
names the GPU or processor, for older rows may come from another one than the last. "curve" holds
[step, seconds, loss, score] of the validations during training, "evaluation" the accuracy at each
difficulty (or the bits per byte at each range of positions), and "score" its summary. The weights
of the best model of each kind, if they are under 1 MB, go to
minimamba/course/weights/EXPERIMENT_MODEL.

With --models, only these are trained, and the other rows are kept. With --seeds, each stack is
trained again with these seeds, at the learning rate with the best mean score so far, and all rows
are kept. With --small, tiny models are trained for a few steps, and everything is written to a
temporary folder, which is printed at the end.
"""

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, replace
from itertools import chain, combinations
from pathlib import Path
from statistics import mean

# Growing KV caches would otherwise fragment the memory that several processes share.
os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")

import torch
from machine import RESULTS, describe, save
from torch import Tensor
from tqdm import tqdm
from training_run import NAMES, NO_POSITIONS, Code, Job, train_and_evaluate

from minimamba import MambaConfig, MambaLM
from minimamba.course import tasks
from minimamba.training import device

MODELS = sorted({*NAMES.values(), NO_POSITIONS})
WEIGHTS = Path(__file__).parent.parent / "minimamba/course/weights"
MEGABYTE = 10**6


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("experiments", nargs="+", choices=EXPERIMENTS, metavar="EXPERIMENT")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--workers", type=int, default=8 if torch.cuda.is_available() else 1)
    parser.add_argument("--models", nargs="+", choices=MODELS, metavar="NAME", default=MODELS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[])
    options = parser.parse_args(arguments)
    folders = RESULTS, WEIGHTS
    if options.small:
        folders = (Path(tempfile.mkdtemp()),) * 2
        options.seconds = min(options.seconds, 0.5)
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.workers, mp_context=spawn) as pool:
        for name in options.experiments:
            jobs = [job if job.seconds is None else replace(job, seconds=options.seconds)
                    for job in EXPERIMENTS[name](options.small) if job.name in options.models]
            rows = saved_rows(name, folders[0])
            if options.seeds:
                jobs = at_best_learning_rate(jobs, rows, options.seeds)
            else:
                rows = [row for row in rows if row["model"] not in options.models]
            run_experiment(name, jobs, rows, None if options.small else pool, *folders)


def run_experiment(name: str, jobs: list[Job], rows: list[dict], pool: ProcessPoolExecutor | None,
                   results: Path, weights: Path) -> None:
    """Run all jobs and save the results after each.

    Args:
        name: of the experiment.
        jobs: what to train.
        rows: earlier results, which are kept, except of runs that are repeated.
        pool: the processes to train in; None: one job after the other, in this process.
        results: folder of the results file.
        weights: folder of the weights.
    """
    repeated = {run_key(job.config, job.learning_rate, job.seed) for job in jobs}
    rows = [row for row in rows if row_key(row) not in repeated]
    best = defaultdict(lambda: -torch.inf)
    for row in rows:
        best[row["model"]] = max(best[row["model"]], row.get("score", -torch.inf))
    command = " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]])
    for job, row, state in tqdm(_run_all(jobs, pool), name, len(jobs)):
        rows.append(row | {"command": command, "device": describe(device().type)["device"]})
        if state is not None and job.save_weights and row["score"] > best[job.name]:
            best[job.name] = row["score"]
            _save_weights(job, state, weights / f"{name}_{job.name.lower()}")
        path = save(f"abilities_{name}", device().type, {"runs": rows}, results)
    print(path)


def _run_all(jobs: list[Job], pool: ProcessPoolExecutor | None
             ) -> Iterable[tuple[Job, dict, dict[str, Tensor] | None]]:
    if pool is None:
        yield from ((job, *run(job)) for job in jobs)
        return
    futures = {pool.submit(run, job): job for job in jobs}
    for future in as_completed(futures):
        yield futures[future], *future.result()


def _save_weights(job: Job, state: dict[str, Tensor], folder: Path) -> None:
    model = MambaLM(job.config)
    model.load_state_dict(state)
    if 4 * sum(p.numel() for p in model.parameters()) < MEGABYTE:
        model.save_pretrained(folder, layout="minimamba")


def saved_rows(name: str, results: Path) -> list[dict]:
    """Load the rows that an earlier run of the experiment saved, if there was one."""
    file = results / f"abilities_{name}_{device().type}.json"
    return json.loads(file.read_text())["runs"] if file.exists() else []


def run_key(config: MambaConfig, learning_rate: float, seed: int) -> tuple:
    """Return what identifies a run within an experiment."""
    return config, learning_rate, seed


def row_key(row: dict) -> tuple:
    """Return the `run_key` of a row of results."""
    return run_key(MambaConfig(**row["config"]), row["learning_rate"], row["seed"])


def at_best_learning_rate(jobs: list[Job], rows: list[dict], seeds: list[int]) -> list[Job]:
    """Return one job for each stack and each of the seeds, at the stack's best learning rate.

    Args:
        jobs: the experiment, with all its learning rates and seeds.
        rows: earlier results. The best learning rate is the one with the highest mean score over
            the seeds in `jobs`; the seeds of later repetitions have no influence on it.
        seeds: of the new jobs.
    """
    score = {row_key(row): row.get("score", -torch.inf) for row in rows}
    by_stack = defaultdict(lambda: defaultdict(list))
    for job in jobs:
        by_stack[job.config][job.learning_rate].append(job)

    def mean_score(jobs: list[Job]) -> float:
        return mean(score.get(run_key(job.config, job.learning_rate, job.seed), -torch.inf)
                    for job in jobs)

    best = [max(rates.values(), key=mean_score)[0] for rates in by_stack.values()]
    return [replace(job, seed=seed) for job in best for seed in seeds]


def run(job: Job) -> tuple[dict, dict[str, Tensor] | None]:
    """Train one model and evaluate it; an error becomes a row of the results, so that the other
    jobs go on."""
    try:
        return train_and_evaluate(job)
    except (FloatingPointError, RuntimeError) as error:
        return {"model": job.name, "config": asdict(job.config),
                "learning_rate": job.learning_rate, "seed": job.seed,
                "error": f"{type(error).__name__}: {error}"[:500]}, None


def of_size(layers: str, vocab_size: int, parameters: int, multiple: int = 8,
            **more: int) -> MambaConfig:
    """Return the stack whose number of parameters is nearest to the one given.

    Args:
        layers: the layer pattern.
        vocab_size: the number of tokens.
        parameters: the number wanted.
        multiple: of what the width is one.
        **more: further fields of the config.
    """
    def config(width: int) -> MambaConfig:
        return MambaConfig(vocab_size, width, layers=layers, **more)

    def count(width: int) -> int:
        with torch.device("meta"):
            return sum(p.numel() for p in MambaLM(config(width)).parameters())

    widths = range(8, 513, multiple)
    i = bisect_left(widths, parameters, 1, key=count)
    return config(min(widths[i - 1:i + 1], key=lambda width: abs(count(width) - parameters)))


def selection(small: bool) -> list[Job]:
    n_symbols, steps = (4, 3) if small else (8, 2000)
    width, tokens = (8, 256) if small else (32, 2**10)
    lengths = (16, 32) if small else (64, 256, 1024)
    copying = tasks.SelectiveCopying(lengths[0], 4, n_symbols)
    registers = tasks.Registers(lengths[0], n_symbols)
    subsets = chain.from_iterable(combinations(("delta", "B", "C"), k) for k in range(4))
    copying_rates, registers_rates = (0.01, 0.02, 0.04), (0.005, 0.01, 0.02)
    stacks = [(copying, {"layers": "44", "d_state": 64}, copying_rates),
              *((copying, {"layers": "66", "selective": subset}, copying_rates)
                for subset in subsets),
              *((registers, {"layers": "6", "dt_rank": rank}, registers_rates)
                for rank in ("broadcast", 1, 2, 4, width))]
    return [Job(task, MambaConfig(task.vocab_size, width, **more), lr, seed, easiest=8,
                evaluate_at=lengths, tokens_per_step=tokens, steps=steps, seconds=None,
                stop_when_solved=False, bf16=False, n_sequences=256, save_weights=False)
            for task, more, rates in stacks for lr in (rates[:1] if small else rates)
            for seed in ((100,) if small else (100, 101))]


def selective_copying(small: bool) -> list[Job]:
    task = tasks.SelectiveCopying(32, 4, 6) if small else tasks.SelectiveCopying(4096, 16, 14)
    width, tokens = (8, 512) if small else (64, 2**16)
    return [Job(task, MambaConfig(task.vocab_size, width, layers=layers, d_state=d_state), lr, 0,
                easiest=16 if small else 32, tokens_per_step=tokens,
                evaluate_at=(32,) if small else (256, 1024, 4096, 16384))
            for layers, d_state, more in (("MM", 16, ()), ("66", 16, ()), ("44", 64, (0.02, 0.05)),
                                          ("AFAF", 1, (0.001,)), ("LL", 1, (0.001,)))
            for lr in ((0.005,) if small else (0.003, 0.008, *more))]


def induction_heads(small: bool) -> list[Job]:
    task = tasks.InductionHeads(32 if small else 256)
    width, tokens = (8, 512) if small else (64, 2**13)
    lengths = (32, 64) if small else tuple(2**k for k in range(6, 21))
    four_rates = (0.002, 0.005, 0.015, 0.045)
    return [Job(task, MambaConfig(task.vocab_size, width, layers=layers, d_state=d_state), lr, seed,
                easiest=8, evaluate_at=lengths, tokens_per_step=tokens, stop_when_solved=False,
                bf16=False)
            for layers, d_state, rates in (("MM", 4, (0.01, 0.03)), ("MM", 16, (0.01, 0.03)),
                                           ("66", 16, (0.01, 0.03)), ("44", 64, four_rates),
                                           ("AFAF", 1, (0.001, 0.003, 0.01)), ("LL", 1, four_rates))
            for lr in (rates[:1] if small else rates)
            for seed in range(1 if small else 3 if layers == "MM" else 2)]


def recall(small: bool) -> list[Job]:
    task = (tasks.AssociativeRecall(32, 4, 8) if small
            else tasks.AssociativeRecall(128, 32, 32))
    width, tokens = (8, 512) if small else (64, 2**14)
    rates, attention_rates = (0.002, 0.004), (0.0005, 0.001, 0.002, 0.004)
    stacks = [("MM", {"d_state": d_state}, rates)
              for d_state in ((2,) if small else (2, 4, 8, 16, 32, 64))]
    stacks += [("AFAF", {"d_state": 1}, attention_rates),
               ("AFAF", {"d_state": 1, "rotary": False}, attention_rates),
               ("MA", {"d_state": 16}, rates)]
    n_pairs = (2, 4) if small else (1, 2, 4, 8, 12, 16, 24, 32)
    return [Job(task, MambaConfig(task.vocab_size, width, layers=layers, **more), lr, 0, easiest=1,
                evaluate_at=n_pairs, tokens_per_step=tokens, bf16=False,
                save_weights=more.get("rotary", True))
            for layers, more, rates in stacks for lr in ((0.005,) if small else rates)]


def capacity(small: bool) -> list[Job]:
    task = (tasks.AssociativeRecall(32, 4, 8) if small
            else tasks.AssociativeRecall(512, 128, 128))
    width, tokens = (8, 512) if small else (128, 2**15)
    return [Job(task, MambaConfig(task.vocab_size, width, layers="M", d_state=d_state), lr, 0,
                easiest=4, tokens_per_step=tokens, bf16=False, save_weights=False,
                evaluate_at=(2, 4) if small else (4, 8, 16, 32, 64, 96, 128))
            for d_state in ((2,) if small else (2, 4, 8, 16, 32))
            for lr in ((0.005,) if small else (0.003, 0.01))]


def _at_equal_size(task: tasks.Task, easiest: int, evaluate_at: tuple[int, ...],
                   small: bool) -> list[Job]:
    parameters, tokens = (10_000, 512) if small else (240_000, 2**15)
    return [Job(task, of_size(layers, task.vocab_size, parameters), lr, 0, easiest=easiest,
                evaluate_at=evaluate_at, tokens_per_step=tokens)
            for layers in ("MMMM", "AFAF", "MAMM")
            for lr in ((0.005,) if small else (0.001, 0.003, 0.008))]


def copying(small: bool) -> list[Job]:
    if small:
        return _at_equal_size(tasks.Copying(16, 4), 4, (16, 32), small)
    return _at_equal_size(tasks.Copying(128), 1, (8, 16, 32, 64, 128, 192, 256, 512), small)


def phone_book(small: bool) -> list[Job]:
    if small:
        return _at_equal_size(tasks.PhoneBook(4, 2), 1, (4, 8), small)
    return _at_equal_size(tasks.PhoneBook(64), 4, (2, 4, 8, 16, 32, 64, 128), small)


def ratio(small: bool) -> list[Job]:
    task = tasks.PhoneBook(4, 2, 3, 2) if small else tasks.PhoneBook(128, 4, 3, 16)
    parameters, tokens = (10_000, 512) if small else (205_000, 2**15)
    n_entries = (4, 8) if small else tuple(2**k for k in range(5, 15))
    # Rotary positions in stacks of attention alone; none in a hybrid, as in Jamba.
    stacks = [("M" * 8, {}, (0.003, 0.008)),
              ("MMMMAMMM", {"n_heads": 2, "rotary": False}, (0.003, 0.008)),
              ("A" * 8, {"n_heads": 2}, (0.0005, 0.004)),
              ("AF" * 4, {"n_heads": 4}, (0.001, 0.002, 0.004))]
    return [Job(task, of_size(layers, task.vocab_size, parameters, **more), lr, 0,
                easiest=1 if small else 4, evaluate_at=n_entries, tokens_per_step=tokens)
            for layers, more, rates in stacks for lr in ((0.005,) if small else rates)]


def code(small: bool) -> list[Job]:
    task, parameters = (Code(64, 128), 20_000) if small else (Code(), 215_000)
    return [Job(task, of_size(layers, 256, parameters), lr, 0, easiest=1, evaluate_at=(),
                tokens_per_step=512 if small else 2**16, stop_when_solved=False)
            for layers in ("MMMM", "AFAF", "LLLL")
            for lr in ((0.005,) if small else (0.002, 0.006, 0.015))]


EXPERIMENTS = {"selection": selection, "selective_copying": selective_copying,
               "induction_heads": induction_heads, "recall": recall, "capacity": capacity,
               "copying": copying, "phone_book": phone_book, "ratio": ratio, "code": code}

if __name__ == "__main__":
    main()
