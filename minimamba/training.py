"""The training loop, on one device or, under `torchrun`, on several.

    model = parallelize(MambaLM(config).to(device()))
    losses = train_steps(model, loss, batches, steps, learning_rate=1e-3)
    for loss in progress(losses, steps):
        ...

`python script.py` trains in one process. `torchrun --nproc-per-node 2 script.py` runs the same
script in two: each draws the whole batch and computes its part, so that the losses are the same.
"""

import os
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from math import isfinite
from pathlib import Path

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.lr_scheduler import OneCycleLR
from torch.serialization import get_unsafe_globals_in_checkpoint

from minimamba.arguments import (
    LARGEST,
    as_path,
    check_bool,
    check_count,
    check_dense,
    check_number,
    check_positive,
    refuse,
    shape_of,
)
from minimamba.atomic import complete, replacing
from minimamba.config import MambaConfig
from minimamba.files import first_line, oversized
from minimamba.progress import ProgressBar

WARM_UP = 0.1
"""The fraction of the steps in which the learning rate rises."""


def train_steps(model: nn.Module, loss: Callable[..., Tensor],
                batches: Iterable[tuple[Tensor, ...]], steps: int, *, learning_rate: float,
                weight_decay: float = 0.01, bf16: bool = True,
                checkpoint: str | Path | None = None, save_every: int = 1000,
                stop: Callable[[], bool] | None = None) -> Iterator[float]:
    """Train with AdamW, gradients clipped to norm 1, linear warm-up and cosine decay.

    Only matrices called "weight" decay: pulling Δ, A or a bias towards zero would change what a
    layer does.

    Args:
        model: trained in place; under `torchrun`, as `parallelize` returned it.
        loss: called with the tensors of a batch, returns a scalar: a mean over the batch in which
            each sequence counts alike, so that it can be averaged over processes.
        batches: at least `steps` tuples of tensors; the same in every process, and again when
            training resumes. If their order comes from PyTorch's global generator, from which
            dropout draws too, it can't be the same again: shuffle with a generator of its own.
        steps: the number of training steps.
        learning_rate: the highest one, reached after a tenth of the steps.
        weight_decay: as in AdamW.
        bf16: whether a GPU multiplies in bfloat16 (autocast). Weights, sums and the states of
            the scan stay in float32.
        checkpoint: a file for the state of the training. If it exists, training resumes from it,
            with the losses it would have had, on any number of processes. `steps` may be another
            number then, down to the steps completed: the schedule is that of the new number.
        save_every: after how many steps it is written; it is written after the last one too.
        stop: called after each step; where it returns True, in any process, the checkpoint is
            written and that step is the last one.

    Returns:
        An iterator that takes one training step at a time and yields its loss.

    Raises:
        ValueError: at the call, for a bad argument; at the first step, if the checkpoint is
            damaged or belongs to another model or other settings; at a step, if there are too few
            batches, one can't be divided evenly among the processes, or the loss is no scalar
            that depends on the model's parameters.
        FloatingPointError: at the step where the loss or a gradient is not finite, before the
            update; or where the update makes a parameter so, before it is saved.

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
    check_number("weight_decay", weight_decay, "a number from 0 up", 0, LARGEST)
    check_bool("bf16", bf16)
    if not isinstance(model, nn.Module) or next(model.parameters(), None) is None:
        refuse("model", "a torch.nn.Module with parameters", type(model).__name__)
    if any(x.is_inference() for x in model.parameters()):
        refuse("model", "parameters that can change", "those of a model made in inference_mode")
    if any(parameter.dtype == torch.float16 for parameter in model.parameters()):
        # AdamW divides by the root of a moment plus 1e-8, which float16 rounds to 0.
        refuse("model", "parameters in float32, float64 or bfloat16", "some in float16")
    if not callable(loss):
        refuse("loss", "a function of the tensors of a batch", type(loss).__name__)
    if not isinstance(batches, Iterable):
        refuse("batches", "an iterable of tuples of tensors", type(batches).__name__)
    if checkpoint is not None:
        _check_writable(checkpoint)
    if not (stop is None or callable(stop)):
        refuse("stop", "a function without arguments", type(stop).__name__)
    return _train_steps(model, loss, batches, steps, learning_rate, weight_decay, bf16, checkpoint,
                        save_every, stop)


def _train_steps(model: nn.Module, loss: Callable[..., Tensor],
                 batches: Iterable[tuple[Tensor, ...]], steps: int, learning_rate: float,
                 weight_decay: float, bf16: bool, checkpoint: str | Path | None,
                 save_every: int, stop: Callable[[], bool] | None) -> Iterator[float]:
    model_device = next(model.parameters()).device
    autocast = bf16 and model_device.type == "cuda"
    # NumPy's float64 is a float too, but no file that holds one can be read without unpickling.
    learning_rate, weight_decay = float(learning_rate), float(weight_decay)
    settings = {"learning_rate": learning_rate, "weight_decay": weight_decay, "bf16": bf16,
                **_config(model)}
    optimizer = _optimizer(model, learning_rate, weight_decay)
    schedule = _schedule(optimizer, steps)
    completed, random_states = 0, None
    if checkpoint is not None and Path(checkpoint).exists():
        completed, random_states = _resume(Path(checkpoint), model, optimizer, settings, steps)
        schedule = _schedule(optimizer, steps, completed)
    masks = {name for name, x in _named(model.named_buffers()) if x.isinf().any()}
    batches = iter(batches)
    for step in range(steps):
        if step == completed and random_states is not None:
            _set_random_states(random_states)  # here, as a batch may be drawn with them too
        batch = next(batches, None)
        if batch is None:
            refuse("batches", f"{steps}, one per step", step)
        if not isinstance(batch, (tuple, list)):
            refuse("batches", "tuples of tensors", type(batch).__name__)
        if step < completed:
            continue
        model.train()
        with torch.autocast(model_device.type, torch.bfloat16, enabled=autocast):
            batch_loss = loss(*_local_part(batch))
        _check_loss(batch_loss)
        optimizer.zero_grad()
        batch_loss.backward()
        value = _check_gradients(model, batch_loss, step)
        optimizer.step()
        schedule.step()
        stopped = stop is not None and _in_any_process(stop())
        is_saved = checkpoint is not None and (stopped or (step + 1) % save_every == 0)
        if is_saved or step + 1 == steps:
            _check_weights(model, optimizer, masks, step)
            if checkpoint is not None:
                _save(Path(checkpoint), model, optimizer, settings, step + 1)
        yield value
        if stopped:
            return


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

    Raises:
        ValueError: at the first step, for a bad argument.
    """
    check_count("steps", steps)
    for argument, text in (("name", name), ("measure", measure)):
        if not isinstance(text, str):
            refuse(argument, "a string", repr(text))
    check_count("completed", completed, 0)
    check_positive("unit", unit, "a number")
    if not isinstance(losses, Iterable):
        refuse("losses", "an iterable of numbers", type(losses).__name__)
    losses = iter(losses)
    average = next(losses, None)
    if average is None:
        return
    # The first step may compile for a minute, which would be taken for the time of every step.
    with ProgressBar(desc=name, total=steps, initial=completed + 1, unit="step",
                     postfix={measure: f"{average / unit:.3f}"},
                     disable=not is_main_process()) as bar:
        yield average
        for loss in losses:
            average = 0.9 * average + 0.1 * loss
            bar.set_postfix({measure: f"{average / unit:.3f}"}, refresh=False)
            bar.update()
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
        ValueError: at the call, if there is no tensor, one has no rows, or they differ in length.
    """
    if not data:
        refuse("data", "at least one tensor", "none")
    for i, tensor in enumerate(data):
        check_dense(f"data[{i}]", tensor)
        if not tensor.ndim or not len(tensor):
            refuse(f"data[{i}]", "shape (count, …), with at least one row", shape_of(tensor))
        if len(tensor) != len(data[0]):
            refuse(f"data[{i}]", f"length {len(data[0])}, that of data[0]", len(tensor))
    check_count("batch_size", batch_size)
    check_count("seed", seed, 0)
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

    Raises:
        ValueError: for what is no model, or no flag.
    """
    if not isinstance(model, nn.Module):
        refuse("model", "a torch.nn.Module", type(model).__name__)
    check_bool("shard", shard)
    if "WORLD_SIZE" not in os.environ:
        return model
    model_device = next(model.parameters()).device
    if not distributed.is_initialized():
        if model_device.type == "cuda":
            torch.cuda.set_device(model_device)
        distributed.init_process_group("nccl" if model_device.type == "cuda" else "gloo")
    if not shard:
        return DistributedDataParallel(model)
    from torch.distributed.fsdp import fully_shard  # only here, as it takes seconds to import

    for layer in model.layers:
        fully_shard(layer)
    return fully_shard(model)


def _check_writable(checkpoint: str | Path) -> None:
    """Try a checkpoint's folder, which is better done before hours of training than after."""
    folder = _as_file(checkpoint).parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        refuse("checkpoint", "a file in a folder that can be written to",
               f"{checkpoint} ({error.strerror})")


def _as_file(checkpoint: object) -> Path:
    file = as_path("checkpoint", checkpoint)
    if file.is_dir():
        refuse("checkpoint", "the path of a file", f"{file}, a folder")
    return file


def completed_steps(checkpoint: str | Path) -> int:
    """Read after how many steps a training checkpoint was written.

    Args:
        checkpoint: the file that `train_steps` was given.

    Returns:
        The number of steps; 0 if there is no such file.

    Raises:
        ValueError: if the file is not one that `train_steps` wrote, or is damaged; if `checkpoint`
            is no path of a file.
    """
    file = _as_file(checkpoint)
    return _read(file)["completed"] if file.exists() else 0


def _optimizer(model: nn.Module, learning_rate: float,
               weight_decay: float) -> torch.optim.AdamW:
    with_decay = []
    without_decay = []
    for name, parameter in model.named_parameters():
        is_matrix = name.endswith("weight") and parameter.ndim > 1
        (with_decay if is_matrix else without_decay).append(parameter)
    on_gpu = next(model.parameters()).device.type == "cuda"
    groups = [{"params": with_decay, "weight_decay": weight_decay},
              {"params": without_decay, "weight_decay": 0.0}]
    # PyTorch mixes up the state of groups if one is empty.
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=learning_rate,
                             fused=True if on_gpu else None)


def _config(model: nn.Module) -> dict[str, str]:
    """The config of a `MambaLM`, some of which no shape of a weight shows, such as n_heads."""
    config = getattr(getattr(model, "module", model), "config", None)
    if not isinstance(config, MambaConfig):
        return {}
    return {name: str(value) for name, value in vars(config).items()}


def _schedule(optimizer: torch.optim.Optimizer, steps: int, completed: int = 0) -> OneCycleLR:
    """The learning rates from a step on; those before it must have set up the optimizer."""
    # The warm-up takes a step at least: the schedule divides by its length.
    total_steps = max(steps, 3)
    return OneCycleLR(optimizer, optimizer.defaults["lr"], total_steps=total_steps,
                      pct_start=max(WARM_UP, 2 / total_steps), cycle_momentum=False,
                      last_epoch=completed - 1)


def _local_part(batch: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The part of a batch that this process computes."""
    if not distributed.is_initialized():
        return batch
    world_size = distributed.get_world_size()
    if len(batch[0]) % world_size:
        refuse("batches", f"sizes that {world_size} processes can divide evenly", len(batch[0]))
    return tuple(tensor.chunk(world_size)[distributed.get_rank()] for tensor in batch)


def _check_loss(loss: object) -> None:
    expected = "a scalar tensor that is computed from the model's parameters"
    if not isinstance(loss, Tensor):
        refuse("loss", expected, type(loss).__name__)
    if loss.ndim or not loss.is_floating_point():
        refuse("loss", expected, f"{shape_of(loss)} of {loss.dtype}")
    if not loss.requires_grad:
        refuse("loss", expected, "one without a gradient")


def _check_gradients(model: nn.Module, loss: Tensor, step: int) -> float:
    """Clip the gradients to norm 1 and return the loss, if both are finite."""
    gradients = {name: p.grad for name, p in _named(model.named_parameters())
                 if p.grad is not None}
    if not gradients:
        refuse("loss", "one that is computed from the model's parameters",
               "one without a gradient for any of them")
    for name, gradient in gradients.items():
        if gradient.layout != torch.strided:
            refuse(f"the gradient of {name}", "a dense tensor, as AdamW needs", gradient.layout)
    norm = nn.utils.get_total_norm(gradients.values())
    # Reading waits for the GPU, and so the loss and the norm are read at once.
    whole_norm = norm.full_tensor() if hasattr(norm, "full_tensor") else norm
    value, norm_value = torch.stack([_mean_over_processes(loss).double(),
                                     whole_norm.double()]).tolist()
    if not isfinite(value):
        raise FloatingPointError(f"the loss is {value} at step {step}")
    if not isfinite(norm_value):
        names = [name for name, gradient in gradients.items() if not gradient.isfinite().all()]
        what = f"the gradient of {names[0]}" if names else "the norm of all gradients together"
        raise FloatingPointError(f"{what} is not finite at step {step}, where the loss is {value}")
    nn.utils.clip_grads_with_norm_(model.parameters(), 1.0, norm)
    return value


def _check_weights(model: nn.Module, optimizer: torch.optim.Optimizer, masks: set[str],
                   step: int) -> None:
    """Raise if a parameter, a buffer or a moment of the optimizer is not finite.

    Buffers that held an infinity from the start, such as attention masks, must only not be NaN.
    """
    tensors = list(_named(model.state_dict().items()))
    for name, parameter in _named(model.named_parameters()):
        moments = optimizer.state.get(parameter, {})
        tensors += [(f"{key} of {name}", x) for key, x in moments.items()]
    for name, x in tensors:
        if isinstance(x, Tensor) and (x.isnan().any() if name in masks
                                      else not x.isfinite().all()):
            raise FloatingPointError(f"{name} is not finite after the update of step {step}")


def _named(items: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
    """Names as the user's model has them, without the wrapper's prefix."""
    return ((name.removeprefix("module."), x) for name, x in items)


def _mean_over_processes(loss: Tensor) -> Tensor:
    total = loss.detach().clone()
    if distributed.is_initialized():
        distributed.all_reduce(total)
        total /= distributed.get_world_size()
    return total


def _in_any_process(flag: bool) -> bool:
    """Whether a flag is set in any process: all of them must stop at the same step."""
    if not distributed.is_initialized():
        return flag
    count = torch.tensor(int(flag), device=device())
    distributed.all_reduce(count)
    return count.item() > 0


CHECKPOINT_KEYS = {"settings": dict, "model": dict, "optimizer": dict, "completed": int,
                   "random": list}
"""What a checkpoint holds."""


def _save(file: Path, model: nn.Module, optimizer: torch.optim.Optimizer,
          settings: dict[str, float | str], completed: int) -> None:
    from torch.distributed.checkpoint import state_dict  # only here, as it takes seconds to import

    # Whole tensors, however they are sharded, so that they fit any number of processes.
    options = state_dict.StateDictOptions(full_state_dict=True, cpu_offload=True)
    weights, optimizer_state = state_dict.get_state_dict(model, optimizer, options=options)
    if not is_main_process():
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    values = settings, weights, optimizer_state, completed, _random_states()
    with replacing(file) as temporary:
        with complete(file), temporary.open("wb") as opened:
            torch.save(dict(zip(CHECKPOINT_KEYS, values, strict=True)), opened)
        if unreadable := get_unsafe_globals_in_checkpoint(temporary):
            refuse("model", "a state_dict of tensors and plain values, so that a checkpoint can be "
                   "read again", f"one with {', '.join(sorted(unreadable))}")


def _resume(file: Path, model: nn.Module, optimizer: torch.optim.Optimizer,
            settings: dict[str, float | str], steps: int) -> tuple[int, list[Tensor]]:
    """Load a checkpoint; return how many steps are completed, and the random generators' states."""
    from torch.distributed.checkpoint import state_dict
    from torch.distributed.tensor import DTensor

    saved = _read(file)
    for name, value in settings.items():
        begun = saved["settings"].get(name)
        if value != begun:
            refuse(name, f"{begun}, with which {file} was begun", value)
    if steps < saved["completed"]:
        refuse("steps", f"{saved['completed']} or more, since {file} has completed so many", steps)
    expected = _descriptions(state_dict.get_model_state_dict(model))
    given = _descriptions(saved["model"])
    for name in sorted(expected.keys() | given.keys()):
        if expected.get(name) != given.get(name):
            refuse("checkpoint", f"{name}: {expected.get(name, 'none')}, as in the model",
                   f"{given.get(name, 'none')} in {file}")
    # The full state is for shards alone: with it, PyTorch takes no model of scalars.
    sharded = any(isinstance(x, DTensor) for x in model.parameters())
    optimizer.zero_grad()  # PyTorch takes no optimizer state while there is a gradient
    try:
        state_dict.set_state_dict(model, optimizer, model_state_dict=saved["model"],
                                  optim_state_dict=_with_all_moments(saved),
                                  options=state_dict.StateDictOptions(full_state_dict=sharded))
    except Exception as error:  # whatever it makes of the state of another optimizer
        refuse("checkpoint", "the state of this model's AdamW", f"another one in {file} "
               f"({first_line(error)})")
    return saved["completed"], [state.clone() for state in saved["random"]]


def _with_all_moments(saved: dict) -> dict:
    """The optimizer's state in a checkpoint, with the moments of parameters without a gradient.

    PyTorch saves none for those, and asks for them. The others are copied: the file that they are
    mapped from may change while training goes on.
    """
    state = {name: {key: x.clone() for key, x in moments.items()}
             for name, moments in saved["optimizer"]["state"].items()}
    groups = saved["optimizer"]["param_groups"]
    for name in {name for group in groups for name in group["params"]} - state.keys():
        zeros = torch.zeros_like(saved["model"][name])
        state[name] = {"step": torch.zeros(()), "exp_avg": zeros, "exp_avg_sq": zeros.clone()}
    return {"state": state, "param_groups": groups}


def _descriptions(weights: dict[str, Tensor]) -> dict[str, str]:
    return {name: f"{shape_of(x)} of {x.dtype}" for name, x in weights.items()
            if isinstance(x, Tensor)}


def _read(file: Path) -> dict:
    """Load a checkpoint, and refuse a file that isn't one or is damaged."""
    expected = "a file that train_steps wrote"
    with file.open("rb") as opened:
        start = opened.read(16)
    try:
        with zipfile.ZipFile(file) as archive:
            damaged = archive.testzip()  # compares checksums, which torch.load does not
        found = f"damaged in {damaged}" if damaged else oversized(file, is_archive=True)
        if not found:
            # Tensors and plain values alone, and nothing is read before it is needed.
            saved = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # a damaged archive can raise almost anything
        refuse("checkpoint", expected, f"{file}, which begins with {start!r} and can't be read "
               f"({type(error).__name__})")
    if found:
        refuse("checkpoint", expected, f"{file}, {found}")
    if (not isinstance(saved, dict) or saved.keys() != CHECKPOINT_KEYS.keys()
            or not all(isinstance(saved[key], kind) for key, kind in CHECKPOINT_KEYS.items())
            or saved["optimizer"].keys() != {"state", "param_groups"}
            or saved["completed"] < 1 or not saved["random"]
            or not all(isinstance(state, Tensor) and state.dtype == torch.uint8
                       for state in saved["random"])):
        refuse("checkpoint", expected, f"{file}, which is of another kind or an older version")
    return saved


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
