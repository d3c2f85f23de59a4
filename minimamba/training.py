"""The one training loop of the course, on one device or, under `torchrun`, on many.

    model = spread(MambaLM(config).to(device()))
    for loss in progress(train(model, loss, batches, steps, lr=1e-3), steps):
        ...

`python script.py` trains in one process; `torchrun --nproc-per-node 2 script.py`, with nothing
changed, in two: each draws the whole batch and works on its part, so that the losses are the same.
"""

import math
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import torch
from torch import Tensor, distributed, nn
from torch.distributed.checkpoint import state_dict
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel
from torch.optim.lr_scheduler import LRScheduler

from minimamba.arguments import check_count, refuse


def train(model: nn.Module, loss: Callable[..., Tensor], batches: Iterable[tuple[Tensor, ...]],
          steps: int, *, lr: float, weight_decay: float = 0.01, bf16: bool = True,
          checkpoint: str | Path | None = None, every: int = 1000) -> Iterator[float]:
    """AdamW with gradients clipped to norm 1; the learning rate rises for a tenth of the steps
    and then falls to zero along a cosine.

    Only matrices called "weight" decay: to pull a Δ, an A or a bias towards zero would change
    what a layer means.

    Args:
        model: trained in place, in training mode; under `torchrun`, as `spread` gave it.
        loss: called with the parts of a batch, gives a number to make small: a mean over the
            batch, in which each sequence counts alike, so that its parts may be averaged.
        batches: at least `steps` of them; the same ones in every process.
        steps: how many to take.
        lr: the highest learning rate. weight_decay: as in AdamW.
        bf16: whether a GPU multiplies in bfloat16. Weights, sums and the states of the scan
            stay in float32.
        checkpoint: a file for all that goes on from step to step. Where there is one, training
            goes on from it, with the losses it would have had, on any number of processes.
        every: after how many steps, and after the last, it is written.

    Yields:
        The loss of each step, after the step: whoever loops may look at the model in between.

    Raises:
        ValueError: when there are too few batches, or one can't be shared out evenly.
        FloatingPointError: when the loss is no longer a finite number.
    """
    check_count("steps", steps)
    check_count("every", every)
    place = next(model.parameters()).device
    optimizer = _optimizer(model, lr, weight_decay)
    # A rise of one step at the least: the schedule divides by its length.
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, lr, total_steps=max(steps, 3), pct_start=max(0.1, 2 / max(steps, 3)),
        cycle_momentum=False)
    done, random = _resume(checkpoint, model, optimizer, schedule)
    batches = iter(batches)
    for step in range(steps):
        batch = next(batches, None)
        if batch is None:
            refuse("batches", f"{steps}, one a step", step)
        if step < done:
            continue
        if step == done and random is not None:
            _set_random(random)
        model.train()
        with torch.autocast(place.type, torch.bfloat16, enabled=bf16 and place.type == "cuda"):
            now = loss(*_share(batch))
        optimizer.zero_grad()
        now.backward()
        value = _mean(now)  # not earlier: to look at it is to wait for the GPU
        if not math.isfinite(value):
            raise FloatingPointError(f"the loss is {value} at step {step}")
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if checkpoint is not None and (step + 1 == steps or (step + 1) % every == 0):
            _save(checkpoint, model, optimizer, schedule, step + 1)
        yield value


def progress(losses: Iterable[float], steps: int, name: str = "", *, done: int = 0,
             measure: str = "loss", unit: float = 1.0) -> Iterator[float]:
    """The same losses, with a bar: how far, from `done` steps on, how fast, and their mean over
    the last ten or so, in units of `unit`. Under `torchrun` the first process shows it."""
    from tqdm.auto import tqdm

    with tqdm(losses, name, steps, initial=done, unit="step", disable=not is_first()) as bar:
        smooth = None
        for now in bar:
            smooth = now if smooth is None else 0.9 * smooth + 0.1 * now
            bar.set_postfix({measure: f"{smooth / unit:.3f}"}, refresh=False)
            yield now


def shuffled(*data: Tensor, batch_size: int, seed: int) -> Iterator[tuple[Tensor, ...]]:
    """Batches for ever, each epoch in a new order: tensors of one length, cut alike."""
    if not data:
        refuse("data", "at least one tensor", "none")
    for i, part in enumerate(data[1:], 1):
        if len(part) != len(data[0]):
            refuse(f"data[{i}]", f"length {len(data[0])}, that of data[0]", len(part))
    random = torch.Generator().manual_seed(seed)
    while True:
        for chosen in torch.randperm(len(data[0]), generator=random).split(batch_size):
            yield tuple(part[chosen] for part in data)


def device() -> torch.device:
    """Where this process trains: on its own GPU under `torchrun`, on the GPU, or on the CPU."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))


def is_first() -> bool:
    """Whether this process is the one that prints and writes."""
    return not distributed.is_initialized() or distributed.get_rank() == 0


def spread(model: nn.Module, *, shard: bool = False) -> nn.Module:
    """The model for one of `torchrun`'s processes, whose gradients are the mean over all; the
    model itself where there is no `torchrun`.

    Args:
        model: the same in every process, on `device()`.
        shard: whether each process keeps only its part of the weights, gradients and moments,
            and the rest of a layer while it runs (FSDP), for models that are too large for one
            device; the layers are those in `model.layers`. If not, each has all (DDP).
    """
    if "WORLD_SIZE" not in os.environ:
        return model
    place = next(model.parameters()).device
    if not distributed.is_initialized():
        if place.type == "cuda":
            torch.cuda.set_device(place)
        distributed.init_process_group("nccl" if place.type == "cuda" else "gloo")
    if not shard:
        return DistributedDataParallel(model)
    for layer in model.layers:
        fully_shard(layer)
    return fully_shard(model)


def steps_done(checkpoint: str | Path) -> int:
    """After how many steps such a file was written; 0 if there is none."""
    file = Path(checkpoint)
    return torch.load(file, weights_only=True, mmap=True)["done"] if file.exists() else 0


def _optimizer(model: nn.Module, lr: float, weight_decay: float) -> torch.optim.AdamW:
    matrices, others = [], []
    for name, parameter in model.named_parameters():
        decays = name.endswith("weight") and parameter.ndim > 1
        (matrices if decays else others).append(parameter)
    on_gpu = next(model.parameters()).device.type == "cuda"
    return torch.optim.AdamW([{"params": matrices, "weight_decay": weight_decay},
                              {"params": others, "weight_decay": 0.0}], lr=lr,
                             fused=True if on_gpu else None)


def _share(batch: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The part of a batch that this process works on."""
    if not distributed.is_initialized():
        return batch
    count, mine = distributed.get_world_size(), distributed.get_rank()
    if len(batch[0]) % count:
        refuse("batches", f"sizes that {count} processes can share evenly", len(batch[0]))
    return tuple(part.chunk(count)[mine] for part in batch)


def _mean(loss: Tensor) -> float:
    """Over all processes."""
    if not distributed.is_initialized():
        return loss.item()
    total = loss.detach().clone()
    distributed.all_reduce(total)
    return total.item() / distributed.get_world_size()


WHOLE = state_dict.StateDictOptions(full_state_dict=True, cpu_offload=True)
"""What is written is whole, whoever holds which part, and so fits any number of processes."""


def _save(file: str | Path, model: nn.Module, optimizer: torch.optim.Optimizer,
          schedule: LRScheduler, done: int) -> None:
    weights, moments = state_dict.get_state_dict(model, optimizer, options=WHOLE)
    if not is_first():
        return
    file = Path(file)
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_name(file.name + ".new")
    torch.save({"model": weights, "optimizer": moments, "schedule": schedule.state_dict(),
                "done": done, "random": _random()}, new)
    new.replace(file)  # at once: a file half written would be worse than none


def _resume(file: str | Path | None, model: nn.Module, optimizer: torch.optim.Optimizer,
            schedule: LRScheduler) -> tuple[int, list[Tensor] | None]:
    """How many steps are done, and what PyTorch's generators had come to."""
    if file is None or not Path(file).exists():
        return 0, None
    # Nothing but tensors and plain values, and not read before it is needed.
    saved = torch.load(file, weights_only=True, mmap=True)
    state_dict.set_state_dict(model, optimizer, model_state_dict=saved["model"],
                              optim_state_dict=saved["optimizer"],
                              options=state_dict.StateDictOptions(full_state_dict=True))
    schedule.load_state_dict(saved["schedule"])
    return saved["done"], [state.clone() for state in saved["random"]]


def _random() -> list[Tensor]:
    """The states of the CPU's generator and, where there is one, of this GPU's."""
    return [torch.get_rng_state(),
            *([torch.cuda.get_rng_state()] if torch.cuda.is_available() else [])]


def _set_random(states: list[Tensor]) -> None:
    torch.set_rng_state(states[0])
    if len(states) > 1 and torch.cuda.is_available():
        torch.cuda.set_rng_state(states[1])
