"""What has to be selective? S4D and S6 in the same two blocks learn made-up tasks.

Usage: python benchmarks/selective_copying.py
Each model is trained at lengths from 8 to 64 and asked at 64, 256 and 1,024. The learning rate is
chosen first, of three, by two seeds that are not used again; then five seeds. One process a core.

- copying: 4 of 8 kinds of tokens among noise; every subset of Δ, B and C is made selective.
- registers: the last letter and the last digit; Δ by the paper's broadcast, or by projections
  of several ranks, in one block.
"""

import statistics
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import chain, combinations

import torch
from machine import save
from torch import Generator, Tensor, nn
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from minimamba.course import tasks
from minimamba.course.classifier import Tagger
from minimamba.nn.s6 import S6
from minimamba.s4 import S4D
from minimamba.training import train

STEPS, BATCH, SHORTEST, LONGEST, KINDS = 1000, 32, 8, 64, 8
RATES = (0.005, 0.01, 0.02)
JUDGED_AT = (64, 256, 1024)
TASKS: dict[str, Callable[[int, int, Generator], tasks.Questions]] = {
    "copying": lambda batch, length, g: tasks.selective_copying(batch, length, 4, KINDS, g),
    "registers": lambda batch, length, g: tasks.registers(batch, length, KINDS, g),
}
SELECTIVE = list(chain.from_iterable(combinations(("delta", "B", "C"), k) for k in range(4)))
RANKS = ("broadcast", 1, 2, 4, 32)
STEPS_FROM = {"delta_min": 0.1, "delta_max": 1.0}


def make(task: str, name: str) -> nn.Module:
    """The model of that name, from the current seed."""
    if task == "registers":
        rank = name if name == "broadcast" else int(name)
        layer, blocks = partial(S6, dt_rank=rank, **STEPS_FROM), 1
    elif name == "S4D":
        layer, blocks = partial(S4D, delta_min=0.005, delta_max=0.5), 2
    else:
        chosen = [] if name == "S6, none" else name.removeprefix("S6, ").split(" ")
        layer, blocks = partial(S6, selective=chosen, **STEPS_FROM), 2
    return Tagger(layer, 2 * KINDS + 2, KINDS, n_layer=blocks)


NAMES = {"copying": ["S4D", *("S6, " + (" ".join(part) or "none") for part in SELECTIVE)],
         "registers": [str(rank) for rank in RANKS]}


def answers(model: nn.Module, questions: tasks.Questions) -> Tensor:
    return model(questions.x)[:, -questions.y.shape[1]:]


def loss(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return cross_entropy(answers(model, tasks.Questions(x, y)).flatten(0, 1), y.flatten())


def run(job: tuple[str, str, float, int]) -> dict[str, float]:
    """Train one model and judge it: the share of right answers at each length."""
    torch.set_num_threads(1)
    task, name, rate, seed = job
    torch.manual_seed(seed)
    model, random = make(task, name), torch.Generator().manual_seed(seed)

    def batches() -> object:
        while True:
            length = int(torch.randint(SHORTEST, LONGEST + 1, (), generator=random))
            yield TASKS[task](BATCH, length, random)

    for _ in train(model, partial(loss, model), batches(), STEPS, lr=rate):
        pass
    model.eval()
    right = {}
    with torch.no_grad():
        for length in JUDGED_AT:
            # In parts, so that no compiler is started for a large one.
            parts = [TASKS[task](16, length, torch.Generator().manual_seed(10_000 + i))
                     for i in range(16)]
            hits = [(answers(model, part).argmax(-1) == part.y).double().mean() for part in parts]
            right[str(length)] = round(torch.stack(hits).mean().item(), 4)
    return right


def main() -> None:
    jobs = [(task, name, rate, seed) for task, names in NAMES.items() for name in names
            for rate in RATES for seed in (100, 101)]
    with ProcessPoolExecutor() as pool:
        scores: dict[str, dict[str, dict[float, list[float]]]] = {task: {} for task in NAMES}
        results = tqdm(pool.map(run, jobs), total=len(jobs), desc="learning rates")
        for (task, name, rate, _), right in zip(jobs, results, strict=True):
            scores[task].setdefault(name, {}).setdefault(rate, []).append(right["64"])
        chosen = {task: {name: max(rates, key=lambda rate, rates=rates:
                                   statistics.mean(rates[rate]))
                         for name, rates in names.items()} for task, names in scores.items()}
        jobs = [(task, name, chosen[task][name], seed) for task, names in NAMES.items()
                for name in names for seed in range(5)]
        runs: dict[str, dict[str, list[dict]]] = {task: {} for task in NAMES}
        results = tqdm(pool.map(run, jobs), total=len(jobs), desc="seeds")
        for (task, name, *_), right in zip(jobs, results, strict=True):
            runs[task].setdefault(name, []).append(right)
    print(save("selective_copying", "cpu", {
        "steps": STEPS, "batch": BATCH, "trained_at": [SHORTEST, LONGEST], "chance": 1 / KINDS,
        "chosen": chosen, "runs": runs}))


if __name__ == "__main__":
    main()
