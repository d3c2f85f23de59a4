"""An S4D classifier and an LSTM of equal size learn to read digits, five seeds of each.

Usage: python benchmarks/digits.py
scikit-learn's digits, 64 pixels one after the other, in reading order and in one fixed order
drawn at random; the LSTM once more for three times as many epochs. Each model's learning rate
is chosen first, on the last fifth of the digits to learn from; the held-out ones are not looked
at for that.
"""

import statistics
from functools import partial
from itertools import product

import torch
from machine import save
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from minimamba import corpora
from minimamba.classifier import LSTMClassifier, S4Classifier
from minimamba.corpora import Digits
from minimamba.s4 import S4D
from minimamba.training import shuffled, train

EPOCHS, LONGER, BATCH = 20, 60, 32
RATES = (0.002, 0.005, 0.01, 0.02, 0.05)
MODELS = {
    "S4D": lambda: S4Classifier(partial(S4D, d_state=32, delta_min=0.005, delta_max=0.5), 1, 10),
    "LSTM": lambda: LSTMClassifier(1, 10, 84),
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


def choose_rate(name: str, learned: Digits) -> tuple[float, dict[str, float]]:
    """The learning rate that does best on the last fifth of `learned`, and how each did."""
    kept = len(learned.y) * 4 // 5
    fit, check = (Digits(learned.x[part], learned.y[part])
                  for part in (slice(kept), slice(kept, None)))
    scores = {rate: statistics.mean(
        learn(name, "in order", rate, seed, fit, check)[-1] for seed in (100, 101))
        for rate in tqdm(RATES, desc=f"learning rate of {name}")}
    return max(scores, key=scores.get), {str(rate): score for rate, score in scores.items()}


def main() -> None:
    learned, held_out = corpora.digits()
    results = {"batch": BATCH, "parameters": {
        name: sum(p.numel() for p in make().parameters()) for name, make in MODELS.items()}}
    results["rates"], results["chosen"] = {}, {}
    for name in MODELS:
        results["chosen"][name], results["rates"][name] = choose_rate(name, learned)
    runs = results["runs"] = {order: {} for order in ORDERS}
    trained = (("S4D", EPOCHS), ("LSTM", EPOCHS), ("LSTM", LONGER))
    for order, (name, epochs), seed in tqdm(list(product(ORDERS, trained, range(5)))):
        curve = learn(name, order, results["chosen"][name], seed, learned, held_out, epochs)
        runs[order].setdefault(f"{name}, {epochs} epochs", []).append(curve)
    print(save("digits", "cpu", results))


if __name__ == "__main__":
    main()
