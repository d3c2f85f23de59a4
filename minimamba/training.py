"""The training loop, on one device or, under `torchrun`, on several.

    model = parallelize(MambaLM(config).to(device()))
    losses = train_steps(model, loss, batches, steps, learning_rate=1e-3)
    for loss in progress(losses, steps):
        ...

`python script.py` trains in one process. `torchrun --nproc-per-node 2 script.py` runs the same
script in two: each draws the whole batch and computes its part, so that the losses are the same.
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

from minimamba.arguments import check_count, check_positive, refuse

WARM_UP = 0.1
"""The fraction of the steps in which the learning rate rises."""


def train_steps(model: nn.Module, loss: Callable[..., Tensor],
                batches: Iterable[tuple[Tensor, ...]], steps: int, *, learning_rate: float,
                weight_decay: float = 0.01, bf16: bool = True,
                checkpoint: str | Path | None = None,
                save_every: int = 1000) -> Iterator[float]:
    """Train with AdamW, gradients clipped to norm 1, linear warm-up and cosine decay.

    Only matrices called "weight" decay: pulling Δ, A or a bias towards zero would change what a
    layer does.

    Args:
        model: trained in place; under `torchrun`, as `parallelize` returned it.
        loss: called with the tensors of a batch, returns a scalar: a mean over the batch in which
            each sequence counts alike, so that it can be averaged over processes.
        batches: at least `steps` tuples of tensors; the same in every process.
        steps: the number of training steps.
        learning_rate: the highest one, reached after a tenth of the steps.
        weight_decay: as in AdamW.
        bf16: whether a GPU multiplies in bfloat16 (autocast). Weights, sums and the states of
            the scan stay in float32.
        checkpoint: a file for the state of the training. If it exists, training resumes from it,
            with the losses it would have had, on any number of processes.
        save_every: after how many steps it is written; it is written after the last one too.

    Returns:
        An iterator that takes one training step at a time and yields its loss.

    Raises:
        ValueError: at the call, for a bad argument; at a step, if there are too few batches, or
            one can't be divided evenly among the processes.
        FloatingPointError: at the step where the loss is not finite.

    Example:
        >>> model = torch.nn.Linear(4, 1)
        >>> x = torch.randn(64, 4)
        >>> batches = shuffled_batches(x, x.sum(1, keepdim=True), batch_size=16, seed=0)
        >>> loss = lambda x, y: (model(x) - y).square().mean()
        >>> losses = list(train_steps(model, loss, batches, 200, learning_rate=0.1))
        >>> losses[-1] < 0.01
        True
    """
    check_count("steps", steps)
    check_count("save_every", save_every)
    check_positive("learning_rate", learning_rate, "a number")
    if not callable(loss):
        refuse("loss", "a function of the tensors of a batch", type(loss).__name__)
    if not isinstance(batches, Iterable):
        refuse("batches", "an iterable of tuples of tensors", type(batches).__name__)
    return _train_steps(model, loss, batches, steps, learning_rate, weight_decay, bf16, checkpoint,
                        save_every)


def _train_steps(model: nn.Module, loss: Callable[..., Tensor],
                 batches: Iterable[tuple[Tensor, ...]], steps: int, learning_rate: float,
                 weight_decay: float, bf16: bool, checkpoint: str | Path | None,
                 save_every: int) -> Iterator[float]:
    model_device = next(model.parameters()).device
    autocast = bf16 and model_device.type == "cuda"
    optimizer = _optimizer(model, learning_rate, weight_decay)
    # The warm-up takes a step at least: the schedule divides by its length.
    total_steps = max(steps, 3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, learning_rate, total_steps=total_steps,
        pct_start=max(WARM_UP, 2 / total_steps), cycle_momentum=False)
    completed, random_states = _resume(checkpoint, model, optimizer, schedule)
    batches = iter(batches)
    for step in range(steps):
        batch = next(batches, None)
        if batch is None:
            refuse("batches", f"{steps}, one per step", step)
        if not isinstance(batch, (tuple, list)):
            refuse("batches", "tuples of tensors", type(batch).__name__)
        if step < completed:
            continue
        if step == completed and random_states is not None:
            _set_random_states(random_states)
        model.train()
        with torch.autocast(model_device.type, torch.bfloat16, enabled=autocast):
            batch_loss = loss(*_local_part(batch))
        optimizer.zero_grad()
        batch_loss.backward()
        value = _mean_over_processes(batch_loss)  # only now: reading it waits for the GPU
        if not math.isfinite(value):
            raise FloatingPointError(f"the loss is {value} at step {step}")
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        is_last = step + 1 == steps
        if checkpoint is not None and (is_last or (step + 1) % save_every == 0):
            _save(checkpoint, model, optimizer, schedule, step + 1)
        yield value


def progress(losses: Iterable[float], steps: int, name: str = "", *, completed: int = 0,
             measure: str = "loss", unit: float = 1.0) -> Iterator[float]:
    """Pass losses on and show a progress bar with their moving average.

    Args:
        losses: one per step, such as `train_steps` yields.
        steps: the number of steps.
        name: what stands before the bar.
        completed: the steps that an earlier run has done.
        measure: what the loss is called.
        unit: the loss is shown divided by this.

    Yields:
        The losses. Under `torchrun`, the main process shows the bar.
    """
    from tqdm.auto import tqdm  # only here, as a bar in a notebook needs ipywidgets

    with tqdm(losses, name, steps, initial=completed, unit="step",
              disable=not is_main_process()) as bar:
        average = None
        for loss in bar:
            average = loss if average is None else 0.9 * average + 0.1 * loss
            bar.set_postfix({measure: f"{average / unit:.3f}"}, refresh=False)
            yield loss


def shuffled_batches(*data: Tensor, batch_size: int, seed: int) -> Iterator[tuple[Tensor, ...]]:
    """Draw batches without end, each epoch in a new order.

    Args:
        data: tensors of one length, (count, …).
        batch_size: how many rows a batch has; the last batch of an epoch may have fewer.
        seed: of the order.

    Returns:
        An iterator over tuples, one tensor for each of `data`.

    Raises:
        ValueError: at the call, if there is no tensor or they differ in length.
    """
    if not data:
        refuse("data", "at least one tensor", "none")
    for i, tensor in enumerate(data[1:], 1):
        if len(tensor) != len(data[0]):
            refuse(f"data[{i}]", f"length {len(data[0])}, that of data[0]", len(tensor))
    check_count("batch_size", batch_size)
    return _shuffled_batches(data, batch_size, seed)


def _shuffled_batches(data: tuple[Tensor, ...], batch_size: int,
                      seed: int) -> Iterator[tuple[Tensor, ...]]:
    generator = torch.Generator().manual_seed(seed)
    while True:
        for chosen in torch.randperm(len(data[0]), generator=generator).split(batch_size):
            yield tuple(tensor[chosen] for tensor in data)


def device() -> torch.device:
    """Return where this process trains.

    Returns:
        Under `torchrun` its own GPU, else the GPU if there is one, else the CPU.
    """
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))


def is_main_process() -> bool:
    """Say whether this process is the one that prints and writes."""
    return not distributed.is_initialized() or distributed.get_rank() == 0


def parallelize(model: nn.Module, *, shard: bool = False) -> nn.Module:
    """Prepare a model for data-parallel training under `torchrun`.

    Args:
        model: the same in every process, on `device()`.
        shard: whether each process keeps only its part of the parameters, gradients and optimizer
            states, and gathers the rest layer by layer (FSDP), for models that are too large for
            one device; the layers are those in `model.layers`. If not, each keeps all (DDP).

    Returns:
        A model whose gradients are the mean over all processes; the model itself if there is no
        `torchrun`.
    """
    if "WORLD_SIZE" not in os.environ:
        return model
    model_device = next(model.parameters()).device
    if not distributed.is_initialized():
        if model_device.type == "cuda":
            torch.cuda.set_device(model_device)
        distributed.init_process_group("nccl" if model_device.type == "cuda" else "gloo")
    if not shard:
        return DistributedDataParallel(model)
    for layer in model.layers:
        fully_shard(layer)
    return fully_shard(model)


def completed_steps(checkpoint: str | Path) -> int:
    """Read after how many steps a training checkpoint was written.

    Args:
        checkpoint: the file that `train_steps` was given.

    Returns:
        The number of steps; 0 if there is no such file.
    """
    file = Path(checkpoint)
    if not file.exists():
        return 0
    return torch.load(file, weights_only=True, mmap=True)["completed"]


def _optimizer(model: nn.Module, learning_rate: float,
               weight_decay: float) -> torch.optim.AdamW:
    with_decay = []
    without_decay = []
    for name, parameter in model.named_parameters():
        is_matrix = name.endswith("weight") and parameter.ndim > 1
        (with_decay if is_matrix else without_decay).append(parameter)
    on_gpu = next(model.parameters()).device.type == "cuda"
    return torch.optim.AdamW([{"params": with_decay, "weight_decay": weight_decay},
                              {"params": without_decay, "weight_decay": 0.0}], lr=learning_rate,
                             fused=True if on_gpu else None)


def _local_part(batch: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The part of a batch that this process computes."""
    if not distributed.is_initialized():
        return batch
    world_size = distributed.get_world_size()
    if len(batch[0]) % world_size:
        refuse("batches", f"sizes that {world_size} processes can divide evenly", len(batch[0]))
    return tuple(tensor.chunk(world_size)[distributed.get_rank()] for tensor in batch)


def _mean_over_processes(loss: Tensor) -> float:
    if not distributed.is_initialized():
        return loss.item()
    total = loss.detach().clone()
    distributed.all_reduce(total)
    return total.item() / distributed.get_world_size()


FULL_STATE = state_dict.StateDictOptions(full_state_dict=True, cpu_offload=True)
"""A checkpoint holds whole tensors, however they are sharded, and so fits any number of
processes."""


def _save(file: str | Path, model: nn.Module, optimizer: torch.optim.Optimizer,
          schedule: LRScheduler, completed: int) -> None:
    weights, optimizer_state = state_dict.get_state_dict(model, optimizer, options=FULL_STATE)
    if not is_main_process():
        return
    file = Path(file)
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(file.name + ".new")
    torch.save({"model": weights, "optimizer": optimizer_state, "schedule": schedule.state_dict(),
                "completed": completed, "random": _random_states()}, temporary)
    temporary.replace(file)  # at once: half a file would be worse than none


def _resume(file: str | Path | None, model: nn.Module, optimizer: torch.optim.Optimizer,
            schedule: LRScheduler) -> tuple[int, list[Tensor] | None]:
    """Load a checkpoint; return how many steps are completed, and the random generators' states."""
    if file is None or not Path(file).exists():
        return 0, None
    # Tensors and plain values alone, and nothing is read before it is needed.
    saved = torch.load(file, weights_only=True, mmap=True)
    state_dict.set_state_dict(model, optimizer, model_state_dict=saved["model"],
                              optim_state_dict=saved["optimizer"],
                              options=state_dict.StateDictOptions(full_state_dict=True))
    schedule.load_state_dict(saved["schedule"])
    return saved["completed"], [state.clone() for state in saved["random"]]


def _random_states() -> list[Tensor]:
    """The states of the CPU's random generator and, if there is one, of this GPU's."""
    states = [torch.get_rng_state()]
    if torch.cuda.is_available():
        states.append(torch.cuda.get_rng_state())
    return states


def _set_random_states(states: list[Tensor]) -> None:
    torch.set_rng_state(states[0])
    if len(states) > 1 and torch.cuda.is_available():
        torch.cuda.set_rng_state(states[1])
