"""Associative recall by one Mamba block, against the numbers of state a channel, on a CPU.

Usage: python benchmarks/recall_one_block.py [--steps N]

For chapter 11: one block of width 64, 32 tokens, up to 8 pairs of 16 kinds, from one pair to eight
over the first three fifths of 1,600 steps of 32 lines. For each size of state two learning rates;
some minutes on one core. Results: results/recall_one_block_cpu.json.
"""

import argparse
import sys
import time

import torch
from machine import save
from torch import Generator
from tqdm import tqdm

from minimamba import MambaConfig, MambaLM
from minimamba.course import tasks
from minimamba.training import train

TASK = tasks.AssociativeRecall(length=32, pairs=8, kinds=16)
SIZES, RATES = (1, 2, 4, 8, 16), (0.01, 0.005)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=1600)
    steps = parser.parse_args().steps
    torch.set_num_threads(1)
    rows = []
    for rate in RATES:
        for d_state in SIZES:
            rows.append(learned(d_state, rate, steps))
            command = " ".join(["python", "benchmarks/recall_one_block.py", *sys.argv[1:]])
            path = save("recall_one_block", "cpu", {"command": command, "rows": rows})
    print(path)


def learned(d_state: int, rate: float, steps: int) -> dict:
    torch.manual_seed(0)
    model = MambaLM(MambaConfig(TASK.vocabulary, 64, layers="M", d_state=d_state))
    start = time.perf_counter()
    losses = train(model, lambda x, y: tasks.loss(model(x, method="chunked"), y), batches(steps),
                   steps, lr=rate, weight_decay=0.0)
    for _ in tqdm(losses, f"{d_state} numbers, rate {rate}", steps):
        pass
    return {"d_state": d_state, "lr": rate, "steps": steps, "seed": 0,
            "parameters": sum(p.numel() for p in model.parameters()),
            "seconds": round(time.perf_counter() - start, 1),
            "asked": {pairs: round(right(model, pairs), 4) for pairs in range(1, TASK.pairs + 1)}}


def batches(steps: int):
    which, draws = (Generator().manual_seed(0) for _ in range(2))
    for step in range(steps):
        top = int(TASK.pairs ** min(1, step / (0.6 * steps)))
        pairs = 1 + int(torch.randint(top, (), generator=which))
        yield TASK.at(pairs).draw(32, draws)


@torch.no_grad()
def right(model: MambaLM, pairs: int) -> float:
    """The share of right answers on 512 fresh lines."""
    tokens, targets = TASK.at(pairs).draw(512, Generator().manual_seed(10**6))
    return tasks.accuracy(model(tokens, method="chunked"), targets).item()


if __name__ == "__main__":
    main()
