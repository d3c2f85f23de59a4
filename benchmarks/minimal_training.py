"""Train chapter 05's model with the readable kernels and with the library's, on a GPU.

Usage: python benchmarks/minimal_training.py
An embedding, one S6 layer and a linear readout on selective copying: the same initial weights and
the same batches for both scans, three seeds, all runs saved. Three minutes on an H200.
"""

import torch
from machine import save
from torch import Tensor, nn
from tqdm import tqdm

from minimamba.course import tasks
from minimamba.nn import S6
from minimamba.scan.triton_minimal import selective_scan_minimal
from minimamba.training import train_steps

STEPS = 1000
LETTERS = 8


class MinimalS6(S6):
    """S6 whose scan runs with the readable kernels."""

    def forward(self, x: Tensor) -> Tensor:
        """Run the layer on x (batch, length, d_model)."""
        delta, B, C = self.ssm_parameters(x)
        return selective_scan_minimal(x, delta, self.A, B, C, self.D)


def batches(task: tasks.SelectiveCopying, seed: int):
    """Yield the batches of chapter 05: lengths grow from 16 to 64 over the first 625 steps."""
    random = torch.Generator().manual_seed(seed)
    for step in range(STEPS):
        longest = 16 + int(48 * min(1, step / 625))
        length = int(torch.randint(8, longest + 1, (), generator=random))
        yield tuple(part.cuda() for part in task.at(length).sample(32, random))


@torch.no_grad()
def accuracy(model: nn.Module, task: tasks.SelectiveCopying, length: int) -> float:
    """The fraction of queries answered correctly, over 256 new sequences."""
    x, y = task.at(length).sample(256, torch.Generator().manual_seed(10_000))
    predicted = model.eval()(x.cuda()).argmax(-1).cpu()
    return (predicted == y)[:, -3:].double().mean().item()


def main() -> None:
    """Train, and save benchmarks/results/minimal_training_cuda.json."""
    task = tasks.SelectiveCopying(64, n_data=3, n_symbols=LETTERS)
    runs = []
    for seed in (4, 5, 6):
        for scan, layer in (("minimal", MinimalS6), ("library", S6)):
            torch.manual_seed(seed)
            model = nn.Sequential(nn.Embedding(task.vocab_size, 32),
                                  layer(32, dt_min=0.1, dt_max=1.0),
                                  nn.Linear(32, task.vocab_size)).cuda()
            losses = train_steps(model, lambda x, y, model=model: tasks.loss(model(x), y),
                                 batches(task, seed), STEPS, learning_rate=0.03, bf16=False)
            losses = list(tqdm(losses, f"{scan}, seed {seed}", STEPS))
            runs.append({"scan": scan, "seed": seed, "loss": losses[::10],
                         "accuracy": {length: accuracy(model, task, length)
                                      for length in (64, 256, 1024)}})
            save("minimal_training", "cuda", {"steps": STEPS, "runs": runs})


if __name__ == "__main__":
    main()
