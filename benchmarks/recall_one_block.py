"""Associative recall by one Mamba block, by its state dimension, on a CPU.

Usage: python benchmarks/recall_one_block.py [--steps N]

For chapter 11: one block of width 64; sequences of 32 tokens with up to 8 pairs of 16 keys; 1,600
steps of 32 sequences, in which the number of pairs grows from one to eight over the first three
fifths. Two learning rates for each state dimension; a few minutes on one core. Results:
results/recall_one_block_cpu.json.
"""

import argparse
import sys
import time
from collections.abc import Iterator

import torch
from machine import save
from torch import Generator
from tqdm import tqdm

from minimamba import MambaConfig, MambaLM
from minimamba.course import tasks
from minimamba.training import train_steps

TASK = tasks.AssociativeRecall(length=32, n_pairs=8, n_keys=16)
D_STATES = (1, 2, 4, 8, 16)
LEARNING_RATES = (0.01, 0.005)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=1600)
    steps = parser.parse_args().steps
    torch.set_num_threads(1)
    rows = []
    for learning_rate in LEARNING_RATES:
        for d_state in D_STATES:
            rows.append(train_and_evaluate(d_state, learning_rate, steps))
            command = " ".join(["python", "benchmarks/recall_one_block.py", *sys.argv[1:]])
            path = save("recall_one_block", "cpu", {"command": command, "runs": rows})
    print(path)


def train_and_evaluate(d_state: int, learning_rate: float, steps: int) -> dict:
    """Train one model, and return a row of results with its accuracy by number of pairs."""
    torch.manual_seed(0)
    model = MambaLM(MambaConfig(TASK.vocab_size, 64, layers="M", d_state=d_state))
    start = time.perf_counter()
    losses = train_steps(model, lambda tokens, targets: tasks.loss(model(tokens), targets),
                         batches(steps), steps, learning_rate=learning_rate, weight_decay=0.0)
    for _ in tqdm(losses, f"d_state {d_state}, learning rate {learning_rate}", steps):
        pass
    return {"d_state": d_state, "learning_rate": learning_rate, "steps": steps, "seed": 0,
            "parameters": sum(p.numel() for p in model.parameters()),
            "seconds": round(time.perf_counter() - start, 1),
            "evaluation": {n: round(accuracy(model, n), 4) for n in range(1, TASK.n_pairs + 1)}}


def batches(steps: int) -> Iterator[tasks.Examples]:
    """Yield the batches of the curriculum."""
    order = Generator().manual_seed(0)
    generator = Generator().manual_seed(0)
    for step in range(steps):
        most = int(TASK.n_pairs ** min(1, step / (0.6 * steps)))
        n_pairs = 1 + int(torch.randint(most, (), generator=order))
        yield TASK.at(n_pairs).sample(32, generator)


@torch.no_grad()
def accuracy(model: MambaLM, n_pairs: int) -> float:
    """Return the accuracy on 512 new sequences."""
    tokens, targets = TASK.at(n_pairs).sample(512, Generator().manual_seed(10**6))
    # In parts so small that the scan starts no compiler.
    logits = torch.cat([model(part) for part in tokens.split(64)])
    return tasks.accuracy(logits, targets).item()


if __name__ == "__main__":
    main()
