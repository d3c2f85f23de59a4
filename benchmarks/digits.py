"""An S4D classifier and an LSTM of equal size learn to read digits, five seeds of each.

Usage: python benchmarks/digits.py
scikit-learn's digits, 64 pixels one after the other, in reading order and in one fixed order
drawn at random; the LSTM once more for three times as many epochs. Each model's learning rate
is chosen first, on the last fifth of the digits to learn from; the held-out ones are not looked
at for that.
"""

import statistics
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import product

import torch
from machine import save
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from minimamba.course import corpora
from minimamba.course.classifier import LSTMClassifier, S4Classifier
from minimamba.course.corpora import Digits
from minimamba.s4 import S4D
from minimamba.training import shuffled, train

EPOCHS, LONGER, BATCH = 20, 60, 32
RATES = (0.002, 0.005, 0.01, 0.02, 0.05)
MODELS = {
    "S4D": lambda: S4Classifier(partial(S4D, delta_min=0.005, delta_max=0.5), 1, 10),
    "LSTM": lambda: LSTMClassifier(1, 10, 100),
}
ORDERS = {"in order": torch.arange(64),
          "permuted": torch.randperm(64, generator=torch.Generator().manual_seed(0))}


def accuracy(model: torch.nn.Module, digits: Digits) -> float:
    model.eval()
    with torch.no_grad():
        return (model(digits.x).argmax(-1) == digits.y).double().mean().item()


def learn(name: str, order: str, rate: float, seed: int, learned: Digits, judged: Digits,
          epochs: int = EPOCHS) -> list[float]:
    """Train one model; its accuracy on `judged` after each epoch."""
    torch.manual_seed(seed)
    model, order = MODELS[name](), ORDERS[order]
    learned, judged = (Digits(part.x[:, order], part.y) for part in (learned, judged))
    steps_an_epoch = -(-len(learned.y) // BATCH)
    curve = []
    loop = train(model, lambda x, y: cross_entropy(model(x), y),
                 shuffled(*learned, batch_size=BATCH, seed=seed), epochs * steps_an_epoch, lr=rate)
    for step, _ in enumerate(loop, 1):
        if step % steps_an_epoch == 0:
            curve.append(round(accuracy(model, judged), 4))
    return curve


def run(job: tuple) -> list[float]:
    """`learn` in a process of its own: (name, order, rate, seed, epochs, on the held-out ones)."""
    torch.set_num_threads(1)
    name, order, rate, seed, epochs, final = job
    learned, held_out = corpora.digits()
    if not final:
        kept = len(learned.y) * 4 // 5
        learned, held_out = (Digits(learned.x[part], learned.y[part])
                             for part in (slice(kept), slice(kept, None)))
    return learn(name, order, rate, seed, learned, held_out, epochs)


def main() -> None:
    trained = (("S4D", EPOCHS), ("LSTM", EPOCHS), ("LSTM", LONGER))
    with ProcessPoolExecutor() as pool:
        def run_all(jobs: list[tuple], what: str) -> list[list[float]]:
            return list(tqdm(pool.map(run, jobs), total=len(jobs), desc=what))

        jobs = list(product(MODELS, ["in order"], RATES, (100, 101, 102), [EPOCHS], [False]))
        ends: dict[str, dict[float, list[float]]] = {name: {} for name in MODELS}
        for (name, _, rate, *_), curve in zip(jobs, run_all(jobs, "learning rates"), strict=True):
            ends[name].setdefault(rate, []).append(curve[-1])
        rates = {name: {rate: round(statistics.mean(end), 4) for rate, end in scores.items()}
                 for name, scores in ends.items()}
        chosen = {name: max(scores, key=scores.get) for name, scores in rates.items()}

        jobs = [(name, order, chosen[name], seed, epochs, True)
                for order, (name, epochs), seed in product(ORDERS, trained, range(5))]
        runs: dict[str, dict[str, list]] = {order: {} for order in ORDERS}
        for (name, order, _, _, epochs, _), curve in zip(jobs, run_all(jobs, "seeds"), strict=True):
            runs[order].setdefault(f"{name}, {epochs} epochs", []).append(curve)
    parameters = {name: sum(p.numel() for p in make().parameters())
                  for name, make in MODELS.items()}
    print(save("digits", "cpu", {"batch": BATCH, "parameters": parameters, "rates": rates,
                                 "chosen": chosen, "runs": runs}))


if __name__ == "__main__":
    main()
