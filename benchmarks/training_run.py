"""Train one model on one task and evaluate it: what the experiments of abilities.py share.

A synthetic task is trained with a curriculum (`Curriculum`); Python's source, byte by byte, with
random stretches of it (`CodeData`). `train_and_evaluate` gives a row of results and the weights.
"""

import copy
import time
from dataclasses import asdict, dataclass
from itertools import pairwise
from math import log2

import torch
from torch import Generator, Tensor
from torch.nn.functional import cross_entropy

from minimamba import MambaConfig, MambaLM
from minimamba.course import corpora, tasks
from minimamba.training import device, train_steps

CHUNK = 2048
"""Tokens of a sequence that are read at once in an evaluation on a GPU: with the state carried from
chunk to chunk, its memory does not grow with the length."""
LONGEST = {"A": 2**17 + 128, "L": 2**17 + 128}
"""Longest sequence that a stack with such a layer is evaluated on: beyond it, the KV cache does not
fit, and an LSTM takes minutes."""
NAMES = {"M": "Mamba", "MM": "Mamba", "MMMM": "Mamba", "M" * 8: "Mamba",
         "6": "S6", "66": "S6", "44": "S4D", "LL": "LSTM", "LLLL": "LSTM",
         "22": "Mamba-2", "2222": "Mamba-2",
         "AFAF": "Transformer", "A" * 8: "Transformer", "AF" * 4: "Transformer",
         "MA": "hybrid", "MAMM": "hybrid", "MMMMAMMM": "hybrid"}
"""The name of a model in the results, by its layer pattern."""
NO_POSITIONS = "Transformer-NoPE"
"""The name of a Transformer without positional encoding: only the causal mask gives it an order."""


@dataclass(frozen=True)
class Code:
    """Next-byte prediction on the source of Python's standard library.

    Args:
        length: bytes of a training sequence.
        evaluation_length: bytes of the sequences over which the loss is given by position.
    """

    length: int = 1024
    evaluation_length: int = 4096
    vocab_size = 256


@dataclass(frozen=True)
class Job:
    """One training run: the model, the data, the schedule and the evaluation."""

    task: tasks.Task | Code
    config: MambaConfig
    learning_rate: float
    seed: int
    easiest: int
    """The difficulty at which the curriculum begins; the task's is a multiple of it."""
    evaluate_at: tuple[int, ...]
    """The difficulties at which the trained model is evaluated."""
    tokens_per_step: int = 2**16
    steps: int = 20_000
    """Training steps, at most."""
    seconds: float | None = 60.0
    """Training time, from which the number of steps is estimated in advance. None: exactly `steps`,
    so that the result does not depend on the speed of the machine."""
    stop_when_solved: bool = True
    """Whether to stop at an accuracy of 99.9 %."""
    bf16: bool = True
    n_sequences: int = 64
    """Sequences of an evaluation, at each difficulty."""
    save_weights: bool = True

    @property
    def name(self) -> str:
        """The name of the model in the results."""
        name = NAMES[self.config.layer_pattern]
        return NO_POSITIONS if name == "Transformer" and not self.config.rotary else name


def train_and_evaluate(job: Job) -> tuple[dict, dict[str, Tensor]]:
    """Train one model and evaluate it.

    Args:
        job: what to train.

    Returns:
        A row of results, and the trained weights on the CPU.
    """
    torch.set_num_threads(1)
    torch.manual_seed(job.seed)
    model = MambaLM(job.config).to(device())
    generator = Generator(device()).manual_seed(job.seed)
    data = CodeData(job) if isinstance(job.task, Code) else Curriculum(job)
    planned = job.steps
    if job.seconds is not None:
        fit = int(job.seconds / seconds_per_step(model, data, generator))
        planned = min(planned, max(3, fit))
    steps, seconds, curve = _train(model, data, generator, planned)
    evaluation = data.evaluate(model)
    row = {"model": job.name, "config": asdict(job.config), "task": str(job.task),
           "parameters": sum(p.numel() for p in model.parameters()),
           "learning_rate": job.learning_rate, "seed": job.seed, "steps": steps,
           "planned_steps": planned, "tokens_per_step": job.tokens_per_step,
           "seconds": round(seconds, 1), "curve": curve, "evaluation": evaluation,
           "score": data.score(evaluation)}
    return row, {name: value.cpu() for name, value in model.state_dict().items()}


def _train(model: MambaLM, data: "Curriculum | CodeData", generator: Generator,
           planned: int) -> tuple[int, float, list[list[float]]]:
    """Steps taken, seconds, and a curve of [step, seconds, loss, score of the validation]."""
    job, curve, start = data.job, [], time.perf_counter()
    every = max(50, planned // 40)
    batches = (data.batch(step / planned, generator) for step in range(planned))
    losses = train_steps(model, _loss(model), batches, planned, learning_rate=job.learning_rate,
                         weight_decay=0.0, bf16=job.bf16)
    for step, loss in enumerate(losses, 1):
        late = job.seconds is not None and time.perf_counter() - start > 3 * job.seconds
        if step % every == 0 or step == planned or late:
            score = data.validate(model)
            seconds = time.perf_counter() - start
            curve.append([step, round(seconds, 2), round(loss, 4), round(score, 4)])
            if late or (job.stop_when_solved and score >= 0.999):
                break
    return step, time.perf_counter() - start, curve


def _loss(model: MambaLM):
    return lambda tokens, targets: tasks.loss(model(tokens), targets)


def seconds_per_step(model: MambaLM, data: "Curriculum | CodeData", generator: Generator) -> float:
    """Measure a training step at full size, on a copy of the model, after two steps of warm-up.

    Args:
        model: not changed.
        data: where the batches come from.
        generator: the source of randomness.

    Returns:
        The mean time of three steps, in seconds.
    """
    model = copy.deepcopy(model)
    batches = (data.batch(1.0, generator) for _ in range(5))
    loop = train_steps(model, _loss(model), batches, 5, learning_rate=1e-9, bf16=data.job.bf16)
    for _ in range(2):
        next(loop)
    start = time.perf_counter()
    for _ in loop:
        pass
    return (time.perf_counter() - start) / 3


@dataclass
class Curriculum:
    """Batches of a synthetic task whose difficulty grows, and its evaluation.

    The difficulty of a batch is a random multiple of the easiest one, up to a limit. The logarithm
    of the limit grows evenly over the first three fifths of the training. There are many lengths at
    all times: given few, a model could learn a fixed distance for each.
    """

    job: Job

    def __post_init__(self) -> None:
        task, easiest = self.job.task, self.job.easiest
        hardest = getattr(task, task.difficulty)
        self.levels = [task.at(level) for level in range(easiest, hardest + 1, easiest)]
        self.batch_sizes = [max(1, min(512, self.job.tokens_per_step // _length(level)))
                            for level in self.levels]
        self.order = Generator().manual_seed(self.job.seed)

    def batch(self, progress: float, generator: Generator) -> tasks.Examples:
        """Sample a batch at a fraction `progress` of the training; at 1, of the full difficulty."""
        top = int(len(self.levels) ** min(1, progress / 0.6))
        i = top - 1 if progress == 1 else int(torch.randint(top, (), generator=self.order))
        return self.levels[i].sample(self.batch_sizes[i], generator)

    def validate(self, model: MambaLM) -> float:
        """Return the accuracy at the full difficulty, on 64 sequences."""
        task = self.job.task
        return accuracy_in_chunks(model, task, 10**6, 64, self._chunk(64, _length(task)))

    def evaluate(self, model: MambaLM) -> dict[int, float]:
        """Return the accuracy at each difficulty of the job whose sequences aren't too long."""
        longest = min(LONGEST.get(letter, 2**30) for letter in self.job.config.layer_pattern)
        found = {}
        for difficulty in self.job.evaluate_at:
            task = self.job.task.at(difficulty)
            length = _length(task)
            if length <= longest:
                # The KV cache of long sequences has room for few of them.
                count = 16 if self._attends and length > 2**14 else self.job.n_sequences
                chunk = self._chunk(count, length)
                found[difficulty] = round(accuracy_in_chunks(model, task, 10**7, count, chunk), 4)
        return found

    def score(self, evaluation: dict[int, float]) -> float:
        """Return the mean accuracy over all difficulties: of two models that are exact where they
        were trained, the one that extrapolates further has the higher score."""
        return sum(evaluation.values()) / len(evaluation)

    @property
    def _attends(self) -> bool:
        return "A" in self.job.config.layer_pattern

    def _chunk(self, count: int, length: int) -> int:
        """Tokens of each sequence to read at once."""
        if device().type == "cpu":
            return max(1, 2**13 // count)    # so small a scan starts no compiler
        # Attention has a logit for each token of the chunk and each one in the cache.
        return min(CHUNK, 2**27 // (count * length)) if self._attends else CHUNK


def _length(task: tasks.Task) -> int:
    return task.sample(1, Generator()).tokens.shape[1]


@torch.no_grad()
def accuracy_in_chunks(model: MambaLM, task: tasks.Task, seed: int, count: int,
                       chunk: int) -> float:
    """Evaluate a model on new sequences, which are read chunk by chunk.

    Args:
        model: the model, on the device that is used.
        task: the task at the difficulty wanted.
        seed: of the sequences.
        count: how many sequences.
        chunk: tokens of each sequence that are read at once.

    Returns:
        The fraction of scored tokens that are correct.
    """
    model.eval()
    tokens, targets = task.sample(count, Generator(device()).manual_seed(seed))
    correct, cache = 0, None
    for part, wanted in zip(tokens.split(chunk, 1), targets.split(chunk, 1), strict=True):
        logits, cache = model(part, cache, return_cache=True)
        correct += (logits.argmax(-1) == wanted).sum()
    return (correct / (targets != tasks.UNSCORED).sum()).item()


@dataclass
class CodeData:
    """Random stretches of the corpus, and the evaluation in bits per byte of its held-out part."""

    job: Job

    def __post_init__(self) -> None:
        corpus = corpora.code()
        self.train = corpus.train.to(device())
        self.val = corpus.val.to(device())

    def batch(self, progress: float, generator: Generator) -> tasks.Examples:
        """Sample stretches of the training length; they are the same at any `progress`."""
        length = self.job.task.length
        count = self.job.tokens_per_step // length
        starts = torch.randint(len(self.train) - length, (count, 1), generator=generator,
                               device=generator.device)
        return _stretches(self.train, starts, length)

    @torch.no_grad()
    def bits_per_byte(self, model: MambaLM, length: int, count: int) -> Tensor:
        """Return the mean at each position of `count` stretches spread over the held-out bytes,
        as (length,)."""
        model.eval()
        starts = torch.linspace(0, len(self.val) - length - 1, count, device=device()).long()
        total = torch.zeros(length, device=device())
        for some in starts[:, None].split(8):
            tokens, targets = _stretches(self.val, some, length)
            total += cross_entropy(model(tokens).mT, targets, reduction="none").sum(0)
        return total / count / torch.log(torch.tensor(2.0))

    def validate(self, model: MambaLM) -> float:
        """Return minus the bits per byte of 8 stretches of the training length."""
        return -self.bits_per_byte(model, self.job.task.length, 8).mean().item()

    def evaluate(self, model: MambaLM) -> dict[str, float]:
        """Return the bits per byte at the first position, the next, the next two, four, …, and,
        as "all", over the training length."""
        task = self.job.task
        by_position = self.bits_per_byte(model, task.evaluation_length, 64)
        edges = [0, *(2**k for k in range(int(log2(len(by_position))) + 1))]
        bins = {f"{low} to {high - 1}": round(by_position[low:high].mean().item(), 4)
                for low, high in pairwise(edges)}
        overall = self.bits_per_byte(model, task.length, 256).mean().item()
        return bins | {"all": round(overall, 4)}

    def score(self, evaluation: dict[str, float]) -> float:
        """Return minus the bits per byte over the training length."""
        return -evaluation["all"]


def _stretches(data: Tensor, starts: Tensor, length: int) -> tasks.Examples:
    found = data[starts + torch.arange(length + 1, device=starts.device)].long()
    return tasks.Examples(found[:, :-1], found[:, 1:])
