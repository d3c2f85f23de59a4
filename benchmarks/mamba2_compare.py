"""Mamba-1 and Mamba-2 with equal numbers of parameters, on recall and on code.

Usage: python benchmarks/mamba2_compare.py [--task NAME] [--steps N] [--workers N] [--seconds N]
                                           [--small]

For chapter 12. Both have the same sweep: state dimensions, learning rates and seeds; and the same
number of training steps (--steps, 3,000), of the same batches. At each state dimension the width is
the one that gives the wanted number of parameters.

- recall: two layers; associative recall of up to 32 pairs in 128 tokens (Arora et al. 2023), with
  `abilities.py`'s curriculum. A run ends when its accuracy is 99.9 %.
- code: four layers; the bytes of Python's standard library, in stretches of 1,024.

Several models are trained at once, each in a process of its own. --task limits the runs to one of
the two. No run begins after --seconds (240). Results, saved after each run:
results/mamba2_compare_DEVICE.json, with the rows of `abilities.py`; "seconds" in a row depends on
the other processes. The saved file has both tasks, from two commands, whose rows were put together;
of recall's three seeds there was time for the first and a part of the second. With --small, tiny
models are trained for a few steps, and the results go to a temporary folder.
"""

import argparse
import multiprocessing
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from itertools import product
from pathlib import Path

import torch
from abilities import of_size, run
from machine import RESULTS, save
from tqdm import tqdm
from training_run import Code, Job

from minimamba.course import tasks
from minimamba.training import device

LETTERS = {"M": {"multiple": 4}, "2": {"multiple": 8, "head_dim": 16}}
"""The letter of each model in a layer pattern, and what `of_size` is told beside the sweep: heads
need whole multiples of their 16 channels."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--task", choices=JOBS)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--workers", type=int, default=12 if torch.cuda.is_available() else 1)
    parser.add_argument("--seconds", type=float, default=240.0)
    parser.add_argument("--small", action="store_true")
    options = parser.parse_args()
    chosen = JOBS if options.task is None else [options.task]
    jobs = [job for task in chosen for job in JOBS[task](options.small)]
    jobs = [replace(job, steps=3 if options.small else options.steps) for job in jobs]
    folder = Path(tempfile.mkdtemp()) if options.small else RESULTS
    deadline = time.time() + options.seconds
    compile_kernels(jobs)
    rows = []
    command = " ".join(["python", "benchmarks/mamba2_compare.py", *sys.argv[1:]])
    with ProcessPoolExecutor(options.workers, multiprocessing.get_context("spawn")) as pool:
        futures = [pool.submit(run_before, deadline, job) for job in jobs]
        for future in tqdm(as_completed(futures), "runs", len(jobs)):
            row = future.result()
            if row is not None:
                rows.append(row)
                path = save("mamba2_compare", device().type, {"command": command, "runs": rows},
                            folder)
    print(f"{path}: {len(rows)} of {len(jobs)} runs")


def recall_jobs(small: bool) -> list[Job]:
    """Return the runs on recall, the two models in turn."""
    task = tasks.AssociativeRecall(32, 4, 8) if small else tasks.AssociativeRecall(128, 32, 32)
    return [_job(task, 2 * letter, d_state, 9_000 if small else 75_000, lr, seed, small,
                 evaluate_at=(2, 4) if small else (1, 2, 4, 8, 12, 16, 24, 32))
            for seed, lr, d_state, letter in product(
                range(1 if small else 3), (0.004,) if small else (0.002, 0.004, 0.008),
                (16,) if small else (16, 64), LETTERS)]


def code_jobs(small: bool) -> list[Job]:
    """Return the runs on code, the two models in turn."""
    task = Code(64, 128) if small else Code()
    return [_job(task, 4 * letter, d_state, 40_000 if small else 404_000, lr, seed, small)
            for seed, lr, d_state, letter in product(
                range(1), (0.004,) if small else (0.002, 0.004, 0.008),
                (16,) if small else (16, 64), LETTERS)]


JOBS = {"code": code_jobs, "recall": recall_jobs}


def _job(task: tasks.Task | Code, layers: str, d_state: int, parameters: int, lr: float, seed: int,
         small: bool, evaluate_at: tuple[int, ...] = ()) -> Job:
    config = of_size(layers, task.vocab_size, parameters, d_state=d_state, **LETTERS[layers[0]])
    return Job(task, config, lr, seed, easiest=1, evaluate_at=evaluate_at, seconds=None,
               tokens_per_step=512 if small else 2**14, bf16=isinstance(task, Code),
               save_weights=False, stop_when_solved=not isinstance(task, Code))


def compile_kernels(jobs: list[Job]) -> None:
    """Take a training step with each model, so that the processes find their kernels compiled."""
    if torch.cuda.is_available():
        for job in {job.config: job for job in jobs}.values():
            run(replace(job, steps=1, evaluate_at=job.evaluate_at[:1]))


def run_before(deadline: float, job: Job) -> dict | None:
    """Train and evaluate a model; None if it is too late to begin."""
    return run(job)[0] if time.time() < deadline else None


if __name__ == "__main__":
    main()
