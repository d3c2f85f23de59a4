"""The one training loop of the course."""

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor, nn

from minimamba.arguments import check_count, refuse


def train(model: nn.Module, loss: Callable[..., Tensor], batches: Iterable[tuple[Tensor, ...]],
          steps: int, *, lr: float, weight_decay: float = 0.01) -> Iterator[float]:
    """AdamW with gradients clipped to norm 1; the learning rate rises for a tenth of the steps
    and then falls to zero along a cosine.

    Only matrices called "weight" decay: to pull a Δ, an A or a bias towards zero would change
    what a layer means.

    Args:
        model: trained in place, in training mode.
        loss: called with the parts of a batch, gives a number to make small.
        batches: at least `steps` of them.
        steps: how many to take.
        lr: the highest learning rate. weight_decay: as in AdamW.

    Yields:
        The loss of each step, after the step: whoever loops may look at the model in between.

    Raises:
        ValueError: when there are too few batches.
        FloatingPointError: when the loss is no longer a finite number.
    """
    check_count("steps", steps)
    matrices, others = [], []
    for name, parameter in model.named_parameters():
        decays = name.endswith("weight") and parameter.ndim > 1
        (matrices if decays else others).append(parameter)
    optimizer = torch.optim.AdamW([{"params": matrices, "weight_decay": weight_decay},
                                   {"params": others, "weight_decay": 0.0}], lr=lr)
    # A rise of one step at the least: the schedule divides by its length.
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, lr, total_steps=max(steps, 3), pct_start=max(0.1, 2 / max(steps, 3)),
        cycle_momentum=False)
    batches = iter(batches)
    for step in range(steps):
        batch = next(batches, None)
        if batch is None:
            refuse("batches", f"{steps}, one a step", step)
        model.train()
        now = loss(*batch)
        if not torch.isfinite(now):
            raise FloatingPointError(f"the loss is {now.item()} at step {step}")
        optimizer.zero_grad()
        now.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        yield now.item()


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
