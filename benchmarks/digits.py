"""S4D classifiers and an LSTM of equal size, trained on digits pixel by pixel, five seeds each.

Usage: python benchmarks/digits.py

scikit-learn's digits as sequences of 64 pixels, in reading order and in one fixed random order.
The S4D classifiers differ in the initial A. The LSTM is trained for three times as many epochs too.
The learning rate of each model is chosen first, by the mean accuracy of three seeds on the last
fifth of the training digits; the held-out digits play no part in that.
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
from minimamba.training import shuffled_batches, train_steps

EPOCHS = 20
MORE_EPOCHS = 60
BATCH = 32
LEARNING_RATES = (0.002, 0.005, 0.01, 0.02, 0.05)
INITS = {"S4D-Lin": "lin", "S4D-Inv": "inv", "S4D-LegS": "legs", "S4D-Real": "real"}
MODELS = {name: partial(S4Classifier, partial(S4D, init=init, delta_min=0.005, delta_max=0.5), 1,
                        10)
          for name, init in INITS.items()} | {"LSTM": partial(LSTMClassifier, 1, 10, 100)}
ORDERS = {"in order": torch.arange(64),
          "permuted": torch.randperm(64, generator=torch.Generator().manual_seed(0))}


def accuracy(model: torch.nn.Module, digits: Digits) -> float:
    """Return the fraction of digits that are classified correctly."""
    model.eval()
    with torch.no_grad():
        return (model(digits.x).argmax(-1) == digits.y).double().mean().item()


def train_model(name: str, order: str, learning_rate: float, seed: int, train_set: Digits,
                test_set: Digits, epochs: int) -> list[float]:
    """Train one model, and return its accuracy on `test_set` after each epoch."""
    torch.manual_seed(seed)
    model, pixels = MODELS[name](), ORDERS[order]
    train_set, test_set = (Digits(part.x[:, pixels], part.y) for part in (train_set, test_set))
    steps_per_epoch = -(-len(train_set.y) // BATCH)
    curve = []
    batches = shuffled_batches(*train_set, batch_size=BATCH, seed=seed)
    loop = train_steps(model, lambda x, y: cross_entropy(model(x), y), batches,
                       epochs * steps_per_epoch, learning_rate=learning_rate)
    for step, _ in enumerate(loop, 1):
        if step % steps_per_epoch == 0:
            curve.append(round(accuracy(model, test_set), 4))
    return curve


def run(job: tuple) -> list[float]:
    """Run `train_model` in a process of its own.

    A job is (name, order, learning rate, seed, epochs, whether to test on the held-out digits).
    """
    torch.set_num_threads(1)
    name, order, learning_rate, seed, epochs, final = job
    train_set, test_set = corpora.digits()
    if not final:
        kept = len(train_set.y) * 4 // 5
        train_set, test_set = (Digits(train_set.x[part], train_set.y[part])
                               for part in (slice(kept), slice(kept, None)))
    return train_model(name, order, learning_rate, seed, train_set, test_set, epochs)


def main() -> None:
    trained = [*((name, EPOCHS) for name in MODELS), ("LSTM", MORE_EPOCHS)]
    with ProcessPoolExecutor() as pool:
        def run_all(jobs: list[tuple], what: str) -> list[list[float]]:
            return list(tqdm(pool.map(run, jobs), total=len(jobs), desc=what))

        jobs = list(product(MODELS, ["in order"], LEARNING_RATES, (100, 101, 102), [EPOCHS],
                            [False]))
        curves = run_all(jobs, "learning rates")
        last: dict[str, dict[float, list[float]]] = {name: {} for name in MODELS}
        for (name, _, learning_rate, *_), curve in zip(jobs, curves, strict=True):
            last[name].setdefault(learning_rate, []).append(curve[-1])
        scores = {name: {rate: round(statistics.mean(found), 4) for rate, found in rates.items()}
                  for name, rates in last.items()}
        best = {name: max(rates, key=rates.get) for name, rates in scores.items()}

        jobs = [(name, order, best[name], seed, epochs, True)
                for order, (name, epochs), seed in product(ORDERS, trained, range(5))]
        runs: dict[str, dict[str, list]] = {order: {} for order in ORDERS}
        for (name, order, _, _, epochs, _), curve in zip(jobs, run_all(jobs, "seeds"), strict=True):
            runs[order].setdefault(f"{name}, {epochs} epochs", []).append(curve)
    parameters = {name: sum(p.numel() for p in make().parameters())
                  for name, make in MODELS.items()}
    print(save("digits", "cpu", {"batch": BATCH, "parameters": parameters,
                                 "accuracy_by_learning_rate": scores, "learning_rate": best,
                                 "runs": runs}))


if __name__ == "__main__":
    main()
