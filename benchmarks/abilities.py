"""What can a layer learn? Seven experiments, each for Mamba and for what it is compared with.

Usage: python benchmarks/abilities.py EXPERIMENT ... [--models NAME ...] [--seeds N ...]
                                      [--seconds N] [--workers N] [--small]

- selective_copying: 16 data among 4,096 tokens, two layers of width 64 (Gu and Dao 2023, table 1).
- induction_heads: trained at up to 256 tokens, asked at up to 2^20, read in parts (table 2).
- recall: associative recall, by the numbers of state a channel and of pairs (Arora et al. 2023).
- copying, phone_book: at equal numbers of weights (Jelassi et al. 2024).
- ratio: a phone book for eight layers, attention in none, in one (as Jamba) or in all (Lieber et
  al. 2024), or in four of them and perceptrons in four; trained at up to 1,024 tokens, asked at up
  to 2^17, sixteen names each time.
- code: bytes of Python's standard library, at equal numbers of weights; the loss by position.

Each model is trained in a process of its own, for some learning rates and seeds, on a GPU several
at once, for as many steps as fit into N seconds (60), by three that are timed beforehand: what it
can't do after them, it might after more. Tasks grow from easy to full size over the first part of
the training. Results, saved after each model: results/abilities_EXPERIMENT_DEVICE.json; of each
kind of model, the weights of the best one, if they are under 1 MB, in
minimamba/course/weights/EXPERIMENT_MODEL. With --models, these alone are trained, and of the others is
kept what is there. With --seeds, each stack is trained again at the best of its rates that is
there, with these seeds, beside all that is there. With --small, tiny models for a few steps, in
seconds, written to a folder that is named at the end.
"""

import argparse
import copy
import json
import multiprocessing
import os
import sys
import tempfile
import time
from bisect import bisect_left
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from math import log2
from pathlib import Path

# A cache that grows would leave pieces of all sizes behind, which no other process could use.
os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")

import torch
from machine import RESULTS, save
from torch import Generator, Tensor
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from minimamba import MambaConfig, MambaLM, checkpoint
from minimamba.course import corpora, tasks
from minimamba.training import device, train

WEIGHTS = Path(__file__).parent.parent / "minimamba/course/weights"
MEGABYTE = 10**6
CHUNK = 2048
"""Tokens that are read at once: what a model needs to be asked does not grow with the length."""
LONGEST = {"A": 2**17 + 128, "L": 2**17 + 128}
"""Tokens, beyond which a cache has no room, and an LSTM takes minutes."""
NAMES = {"MM": "Mamba", "66": "S6", "44": "S4D", "LL": "LSTM", "AFAF": "Transformer",
         "MA": "hybrid", "MMMM": "Mamba", "MAMM": "hybrid", "LLLL": "LSTM", "M" * 8: "Mamba",
         "MMMMAMMM": "hybrid", "A" * 8: "Transformer", "AF" * 4: "Transformer"}


@dataclass(frozen=True)
class Code:
    """The next byte of Python's source, as a task: `length` bytes to learn at once, and more to be
    asked."""

    length: int = 1024
    asked: int = 4096
    vocabulary = 256


@dataclass(frozen=True)
class Job:
    """One model to train and ask."""

    task: tasks.Task | Code
    config: MambaConfig
    lr: float
    seed: int
    easiest: int
    """The difficulty to begin with; the task's is a multiple of it."""
    asked: tuple[int, ...]
    """At which difficulties it is asked in the end."""
    tokens: int = 2**16
    """A step."""
    steps: int = 20_000
    seconds: float = 60.0
    until_solved: bool = True
    """Whether to stop once it is."""
    bf16: bool = True

    @property
    def name(self) -> str:
        return NAMES[self.config.pattern]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("experiments", nargs="+", choices=EXPERIMENTS, metavar="EXPERIMENT")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--workers", type=int, default=8 if torch.cuda.is_available() else 1)
    parser.add_argument("--models", nargs="+", choices=sorted(set(NAMES.values())), metavar="NAME",
                        default=sorted(set(NAMES.values())))
    parser.add_argument("--seeds", nargs="+", type=int, default=[])
    options = parser.parse_args(arguments)
    folders = RESULTS, WEIGHTS
    if options.small:
        folders = (Path(tempfile.mkdtemp()),) * 2
        options.seconds = min(options.seconds, 0.5)
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.workers, mp_context=spawn) as pool:
        for name in options.experiments:
            jobs = [replace(job, seconds=options.seconds)
                    for job in EXPERIMENTS[name](options.small) if job.name in options.models]
            found = before(name, folders[0])
            if options.seeds:
                jobs = again(jobs, found, options.seeds)
            else:
                found = [row for row in found if row["model"] not in options.models]
            experiment(name, jobs, found, None if options.small else pool, *folders)


def experiment(name: str, jobs: list[Job], found: list[dict], pool: ProcessPoolExecutor | None,
               results: Path, weights: Path) -> None:
    """Run all jobs, and write down after each what is there; without a pool, one by one, here."""
    keys = {key(job.config, job.lr, job.seed) for job in jobs}
    runs = [row for row in found if key(row["config"], row["lr"], row["seed"]) not in keys]
    best, mine = {}, Path(sys.argv[0]).name
    for row in runs:
        best[row["model"]] = max(best.get(row["model"], -torch.inf), row.get("score", -torch.inf))
    command = " ".join(["python", f"benchmarks/{mine}", *sys.argv[1:]])
    done = (map(run, jobs) if pool is None else
            (future.result() for future in as_completed(pool.submit(run, job) for job in jobs)))
    for row, state in tqdm(done, name, len(jobs)):
        runs.append(row | {"command": command})
        kind = row["model"]
        if state is not None and row["score"] > best.get(kind, -torch.inf):
            best[kind] = row["score"]
            model = MambaLM(MambaConfig(**row["config"]))
            model.load_state_dict(state)
            if 4 * row["parameters"] < MEGABYTE:
                checkpoint.save(model, weights / f"{name}_{kind.lower()}", layout="minimamba")
        path = save(f"abilities_{name}", device().type, {"runs": runs}, results)
    print(path)


def before(name: str, results: Path) -> list[dict]:
    """What was found before."""
    file = results / f"abilities_{name}_{device().type}.json"
    return json.loads(file.read_text())["runs"] if file.exists() else []


def key(config: MambaConfig | dict, lr: float, seed: int) -> tuple:
    """What makes two trainings one."""
    config = config if isinstance(config, dict) else asdict(config)
    return tuple(config.items()), lr, seed


def again(jobs: list[Job], found: list[dict], seeds: list[int]) -> list[Job]:
    """Each stack at the best of its rates that were found, with these seeds."""
    score = {}
    for row in found:
        at = key(row["config"], row["lr"], 0)
        score[at] = max(score.get(at, -torch.inf), row.get("score", -torch.inf))
    best = {}
    for job in sorted(jobs, key=lambda job: score.get(key(job.config, job.lr, 0), -torch.inf)):
        best[key(job.config, 0.0, 0)] = job
    return [replace(job, seed=seed) for job in best.values() for seed in seeds]


def run(job: Job) -> tuple[dict, dict[str, Tensor] | None]:
    """Train one model and ask it: a row of results, and the weights. What went wrong is a result
    too, and no reason for the others to stop."""
    try:
        return learned(job)
    except (FloatingPointError, RuntimeError) as error:
        return {"model": job.name, "config": asdict(job.config), "lr": job.lr, "seed": job.seed,
                "failed": f"{type(error).__name__}: {error}"[:500]}, None


def learned(job: Job) -> tuple[dict, dict[str, Tensor]]:
    torch.set_num_threads(1)
    torch.manual_seed(job.seed)
    model = MambaLM(job.config).to(device())
    random = Generator(device()).manual_seed(job.seed)
    source = Bytes(job) if isinstance(job.task, Code) else Growing(job)
    steps = min(job.steps, max(3, int(job.seconds / seconds_a_step(model, source, random))))

    def loss(tokens: Tensor, targets: Tensor) -> Tensor:
        return tasks.loss(model(tokens), targets)

    curve, start, every = [], time.perf_counter(), max(50, steps // 40)
    batches = (source.batch(step / steps, random) for step in range(steps))
    losses = train(model, loss, batches, steps, lr=job.lr, weight_decay=0.0, bf16=job.bf16)
    for step, now in enumerate(losses, 1):
        late = time.perf_counter() - start > 3 * job.seconds
        if step % every == 0 or step == steps or late:
            score = source.score(model)
            curve.append([step, round(time.perf_counter() - start, 2), round(now, 4),
                          round(score, 4)])
            if late or (job.until_solved and score >= 0.999):
                break
    seconds = time.perf_counter() - start
    row = {"model": job.name, "config": asdict(job.config), "task": str(job.task),
           "parameters": sum(p.numel() for p in model.parameters()), "lr": job.lr,
           "seed": job.seed, "steps": step, "planned": steps, "tokens a step": job.tokens,
           "seconds": round(seconds, 1), "curve: step, seconds, loss, score": curve,
           "asked": source.ask(model)}
    row["score"] = source.judge(row["asked"])
    return row, {name: value.cpu() for name, value in model.state_dict().items()}


def seconds_a_step(model: MambaLM, source: "Growing | Bytes", random: Generator) -> float:
    """Measured on a copy, at the full size, after two steps to warm up."""
    model = copy.deepcopy(model)
    batches = (source.batch(1.0, random) for _ in range(5))
    loop = train(model, lambda tokens, targets: tasks.loss(model(tokens), targets), batches, 5,
                 lr=1e-9, bf16=source.job.bf16)
    for _ in range(2):
        next(loop)
    start = time.perf_counter()
    for _ in loop:
        pass
    return (time.perf_counter() - start) / 3


@dataclass
class Growing:
    """A task at any multiple of the easiest difficulty, up to a limit whose logarithm grows evenly
    over the first three fifths of the training. Of few lengths, a model could learn a fixed
    distance for each."""

    job: Job

    def __post_init__(self) -> None:
        task, easiest = self.job.task, self.job.easiest
        hardest = getattr(task, task.difficulty)
        self.rungs = [task.at(rung) for rung in range(easiest, hardest + 1, easiest)]
        lengths = [rung.draw(1, Generator()).tokens.shape[1] for rung in self.rungs]
        self.sizes = [max(1, min(512, self.job.tokens // length)) for length in lengths]
        self.order = Generator().manual_seed(self.job.seed)

    def batch(self, done: float, random: Generator) -> tasks.Examples:
        """When a share of the training is done; the full size at the very end."""
        top = int(len(self.rungs) ** min(1, done / 0.6))
        i = top - 1 if done == 1 else int(torch.randint(top, (), generator=self.order))
        return self.rungs[i].draw(self.sizes[i], random)

    def score(self, model: MambaLM) -> float:
        return right(model, self.job.task, seed=10**6)

    def ask(self, model: MambaLM) -> dict[int, float]:
        least = min(LONGEST.get(letter, 2**30) for letter in self.job.config.pattern)
        found = {}
        for at in self.job.asked:
            task = self.job.task.at(at)
            length = task.draw(1, Generator()).tokens.shape[1]
            if length <= least:
                # A cache of all that was read has room for few sequences that are long, and
                # attention makes a score for each pair of their steps and of those read at once.
                attends = "A" in self.job.config.pattern
                count = 16 if attends and length > 2**14 else 64
                chunk = min(CHUNK, 2**27 // (count * length)) if attends else CHUNK
                found[at] = round(right(model, task, 10**7, count, chunk), 4)
        return found

    def judge(self, asked: dict[int, float]) -> float:
        """The mean over all sizes, so that of two that are exact the one that goes further wins."""
        return sum(asked.values()) / len(asked)


@torch.no_grad()
def right(model: MambaLM, task: tasks.Task, seed: int, count: int = 64,
          chunk: int = CHUNK) -> float:
    """The share of right answers on fresh sequences, read in parts of a constant size."""
    model.eval()
    tokens, targets = task.draw(count, Generator(device()).manual_seed(seed))
    hits, memory = 0, None
    for part, wanted in zip(tokens.split(chunk, 1), targets.split(chunk, 1), strict=True):
        scores, memory = model(part, memory, return_memory=True)
        hits += (scores.argmax(-1) == wanted).sum()
    return (hits / (targets != tasks.UNSCORED).sum()).item()


@dataclass
class Bytes:
    """Stretches of the corpus; a score is minus the bits a held-out byte takes."""

    job: Job

    def __post_init__(self) -> None:
        self.learn, self.hold = (part.to(device()) for part in corpora.code())

    def batch(self, done: float, random: Generator) -> tasks.Examples:
        length = self.job.task.length
        starts = torch.randint(len(self.learn) - length, (self.job.tokens // length, 1),
                               generator=random, device=random.device)
        return self._cut(self.learn, starts, length)

    def _cut(self, data: Tensor, starts: Tensor, length: int) -> tasks.Examples:
        found = data[starts + torch.arange(length + 1, device=starts.device)].long()
        return tasks.Examples(found[:, :-1], found[:, 1:])

    @torch.no_grad()
    def bits(self, model: MambaLM, length: int, count: int) -> Tensor:
        """(length,): the mean at each place of stretches that are spread over what is held out."""
        model.eval()
        starts = torch.linspace(0, len(self.hold) - length - 1, count, device=device()).long()
        total = torch.zeros(length, device=device())
        for some in starts[:, None].split(8):
            tokens, targets = self._cut(self.hold, some, length)
            total += cross_entropy(model(tokens).mT, targets, reduction="none").sum(0)
        return total / count / torch.log(torch.tensor(2.0))

    def score(self, model: MambaLM) -> float:
        return -self.bits(model, self.job.task.length, 8).mean().item()

    def ask(self, model: MambaLM) -> dict[str, float]:
        """Bits a byte at the first place, the next, the next two, four, …; and at the length that
        was trained, over all."""
        each = self.bits(model, self.job.task.asked, 64)
        edges = [0, *(2**k for k in range(int(log2(len(each))) + 1))]
        bins = {f"{low} to {high - 1}": round(each[low:high].mean().item(), 4)
                for low, high in pairwise(edges)}
        return bins | {"all": round(self.bits(model, self.job.task.length, 256).mean().item(), 4)}

    def judge(self, asked: dict[str, float]) -> float:
        return -asked["all"]


def of_size(layers: str, vocabulary: int, parameters: int, **more: int) -> MambaConfig:
    """The width, of multiples of 8, at which such a stack has about so many parameters."""
    def config(width: int) -> MambaConfig:
        return MambaConfig(vocabulary, width, layers=layers, **more)

    def count(width: int) -> int:
        with torch.device("meta"):
            return sum(p.numel() for p in MambaLM(config(width)).parameters())

    widths = range(8, 513, 8)
    at = bisect_left(widths, parameters, 1, key=count)
    return config(min(widths[at - 1:at + 1], key=lambda width: abs(count(width) - parameters)))


def selective_copying(small: bool) -> list[Job]:
    task = tasks.SelectiveCopying(32, 4, 6) if small else tasks.SelectiveCopying(4096, 16, 14)
    width, tokens = (8, 512) if small else (64, 2**16)
    return [Job(task, MambaConfig(task.vocabulary, width, layers=layers, d_state=d_state), lr, 0,
                easiest=16 if small else 32, asked=(32,) if small else (256, 1024, 4096, 16384),
                tokens=tokens)
            for layers, d_state, more in (("MM", 16, ()), ("66", 16, ()), ("44", 64, (0.02, 0.05)),
                                          ("AFAF", 1, (0.001,)), ("LL", 1, (0.001,)))
            for lr in ((0.005,) if small else (0.003, 0.008, *more))]


def induction_heads(small: bool) -> list[Job]:
    task = tasks.InductionHeads(32 if small else 256)
    width, tokens = (8, 512) if small else (64, 2**13)
    lengths = (32, 64) if small else tuple(2**k for k in range(6, 21))
    four = (0.002, 0.005, 0.015, 0.045)
    return [Job(task, MambaConfig(task.vocabulary, width, layers=layers, d_state=d_state), lr, seed,
                easiest=8, asked=lengths, tokens=tokens, until_solved=False, bf16=False)
            for layers, d_state, rates in (("MM", 4, (0.01, 0.03)), ("MM", 16, (0.01, 0.03)),
                                           ("66", 16, (0.01, 0.03)), ("44", 64, four),
                                           ("AFAF", 1, (0.001, 0.003, 0.01)), ("LL", 1, four))
            for lr in (rates[:1] if small else rates)
            for seed in range(1 if small else 3 if layers == "MM" else 2)]


def recall(small: bool) -> list[Job]:
    task = (tasks.AssociativeRecall(32, 4, 8) if small
            else tasks.AssociativeRecall(128, 32, 32))
    width, tokens = (8, 512) if small else (64, 2**14)
    stacks = [("MM", d_state) for d_state in ((2,) if small else (2, 4, 8, 16, 32, 64))]
    stacks += [("AFAF", 1), ("MA", 16)]
    asked = (2, 4) if small else (1, 2, 4, 8, 12, 16, 24, 32)
    return [Job(task, MambaConfig(task.vocabulary, width, layers=layers, d_state=d_state), lr, 0,
                easiest=1, asked=asked, tokens=tokens, bf16=False)
            for layers, d_state in stacks for lr in ((0.005,) if small else (0.002, 0.004))]


def _at_equal_size(task: tasks.Task, easiest: int, asked: tuple[int, ...],
                   small: bool) -> list[Job]:
    parameters, tokens = (10_000, 512) if small else (240_000, 2**15)
    return [Job(task, of_size(layers, task.vocabulary, parameters), lr, 0, easiest=easiest,
                asked=asked, tokens=tokens)
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
    asked = (4, 8) if small else tuple(2**k for k in range(5, 15))
    # Positions where there is nothing but attention; in a hybrid, as in Jamba, none.
    stacks = [("M" * 8, {}, (0.003, 0.008)),
              ("MMMMAMMM", {"n_heads": 2, "rotary": False}, (0.003, 0.008)),
              ("A" * 8, {"n_heads": 2}, (0.0005, 0.004)),
              ("AF" * 4, {"n_heads": 4}, (0.001, 0.002, 0.004))]
    return [Job(task, of_size(layers, task.vocabulary, parameters, **more), lr, 0,
                easiest=1 if small else 4, asked=asked, tokens=tokens)
            for layers, more, rates in stacks for lr in ((0.005,) if small else rates)]


def code(small: bool) -> list[Job]:
    task, parameters = (Code(64, 128), 20_000) if small else (Code(), 215_000)
    return [Job(task, of_size(layers, 256, parameters), lr, 0, easiest=1, asked=(),
                tokens=512 if small else 2**16, until_solved=False)
            for layers in ("MMMM", "AFAF", "LLLL")
            for lr in ((0.005,) if small else (0.002, 0.006, 0.015))]


EXPERIMENTS = {"selective_copying": selective_copying, "induction_heads": induction_heads,
               "recall": recall, "copying": copying, "phone_book": phone_book, "ratio": ratio,
               "code": code}

if __name__ == "__main__":
    main()
