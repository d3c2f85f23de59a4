"""The training loop, and the classifiers that it trains."""

import math

import pytest
import torch
from torch import nn

from minimamba.course.classifier import LSTMClassifier, S4Classifier
from minimamba.s4 import S4D
from minimamba.training import shuffled, train


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def squares(model, x, y):
    return (model(x) - y).square().mean()


def line(count=64):
    x = torch.randn(count, 3)
    return x, x @ torch.tensor([[1.0], [-2.0], [0.5]]) + 3


def test_a_line_is_learned():
    model, data = nn.Linear(3, 1), line()
    losses = list(train(model, lambda x, y: squares(model, x, y),
                        shuffled(*data, batch_size=16, seed=0), 300, lr=0.1, weight_decay=0.0))
    assert len(losses) == 300
    assert losses[-1] < 1e-3 < losses[0]
    assert model.bias.item() == pytest.approx(3, abs=0.05)


def test_the_learning_rate_rises_and_falls_to_nothing():
    model, data = nn.Linear(3, 1), line()
    moved, before = [], model.weight.detach().clone()
    # A loss with the same gradient everywhere: Adam then steps by the learning rate.
    for _ in train(model, lambda x, y: model.weight.sum(), shuffled(*data, batch_size=4, seed=0),
                   100, lr=0.1, weight_decay=0.0):
        moved.append((model.weight.detach() - before).abs().max().item())
        before = model.weight.detach().clone()
    assert max(moved) == pytest.approx(0.1, rel=0.01)
    assert 5 <= moved.index(max(moved)) <= 15
    assert moved[0] < 0.01
    assert moved[-1] < 1e-4


def test_only_matrices_called_weight_decay():
    model = nn.ModuleDict({"linear": nn.Linear(2, 2), "norm": nn.LayerNorm(2), "s4": S4D(2, 4)})
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    # No loss pulls at anything: what moves is decay.
    list(train(model, lambda x: sum(0 * p.sum() for p in model.parameters()),
               shuffled(torch.zeros(4), batch_size=2, seed=0), 20, lr=0.1, weight_decay=0.5))
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {"linear.weight"}
    assert model["linear"].weight.norm() < before["linear.weight"].norm()


def test_a_steep_loss_takes_no_long_step():
    seen = []

    class Watch(nn.Linear):
        def forward(self, x):
            self.weight.register_hook(lambda g: seen.append(g.norm().item()))
            return super().forward(x)

    model, data = Watch(3, 1), line()
    for _ in train(model, lambda x, y: 1e6 * squares(model, x, y),
                   shuffled(*data, batch_size=16, seed=0), 3, lr=0.1):
        assert math.hypot(model.weight.grad.norm(), model.bias.grad.norm()) <= 1 + 1e-5
    assert min(seen) > 1e5


def test_a_loss_that_is_no_number_stops_at_once():
    model, data = nn.Linear(3, 1), line()
    before = model.weight.detach().clone()
    with pytest.raises(FloatingPointError, match="the loss is nan at step 0"):
        list(train(model, lambda x, y: model(x).sum() * math.nan,
                   shuffled(*data, batch_size=16, seed=0), 5, lr=0.1))
    assert torch.equal(model.weight, before)


def test_the_model_is_in_training_mode_also_after_a_look_in_between():
    model, data, modes = nn.Linear(3, 1), line(), []

    def loss(x, y):
        modes.append(model.training)
        return squares(model, x, y)

    for _ in train(model, loss, shuffled(*data, batch_size=16, seed=0), 3, lr=0.1):
        model.eval()
    assert modes == [True, True, True]


def test_each_epoch_shows_everything_once_in_a_new_order():
    x = torch.arange(10)
    batches = shuffled(x, -x, batch_size=4, seed=0)
    epochs = [[next(batches) for _ in range(3)] for _ in range(2)]
    orders = [torch.cat([a for a, _ in epoch]) for epoch in epochs]
    assert all(torch.equal(a, -b) for epoch in epochs for a, b in epoch)
    assert all(torch.equal(order.sort().values, x) for order in orders)
    assert not torch.equal(*orders)
    again = shuffled(x, -x, batch_size=4, seed=0)
    assert torch.equal(next(again)[0], epochs[0][0][0])


@pytest.mark.parametrize("make", [
    lambda: S4Classifier(lambda d: S4D(d, 8, delta_min=0.05, delta_max=0.5), 1, 2, d_model=8),
    lambda: LSTMClassifier(1, 2, 16)], ids=["S4", "LSTM"])
def test_a_classifier_learns_which_half_was_louder(make):
    x = torch.randn(256, 16, 1)
    y = (x[:, 8:].square().mean((1, 2)) > x[:, :8].square().mean((1, 2))).long()
    x[y == 1, 8:] *= 2
    x[y == 0, :8] *= 2
    model = make()
    list(train(model, lambda x, y: nn.functional.cross_entropy(model(x), y),
               shuffled(x, y, batch_size=32, seed=0), 200, lr=0.01))
    model.eval()
    assert (model(x).argmax(-1) == y).double().mean() > 0.9


def test_dropout_drops_in_training_only():
    model, x = S4Classifier(lambda d: S4D(d, 4), 1, 3, d_model=8, dropout=0.5), torch.randn(2, 9, 1)
    assert not torch.equal(model(x), model(x))
    model.eval()
    assert torch.equal(model(x), model(x))


def test_weight_decay_is_what_it_is_set_to():
    def left(**decay):
        torch.manual_seed(0)
        model = nn.Linear(3, 1).double()
        before = model.weight.detach().clone()
        list(train(model, lambda x: 0 * model.weight.sum(),
                   shuffled(torch.zeros(4), batch_size=2, seed=0), 20, lr=1e-3, **decay))
        return (model.weight.detach() / before).log().mean().item()

    assert left(weight_decay=0.5) == pytest.approx(50 * left(weight_decay=0.01), rel=1e-3)
    assert left() == left(weight_decay=0.01)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_stops_at_once(number):
    model = nn.Linear(3, 1)
    with pytest.raises(FloatingPointError, match=f"the loss is {number} at step 0"):
        list(train(model, lambda x: model.weight.sum() * 0 + number,
                   shuffled(torch.zeros(4), batch_size=2, seed=0), 5, lr=0.1))


def test_no_batch_is_taken_and_not_used():
    model, batches = nn.Linear(1, 1), iter([(torch.tensor(float(k)),) for k in range(6)])
    list(train(model, lambda x: x * model.weight.sum(), batches, 4, lr=0.1))
    assert next(batches)[0] == 4


def test_another_seed_is_another_order():
    x = torch.arange(100)
    first, second = (next(shuffled(x, batch_size=100, seed=seed))[0] for seed in (0, 1))
    assert not torch.equal(first, second)


@pytest.mark.parametrize("steps", [1, 2, 3, 10, 11, 20])
def test_any_number_of_steps_can_be_taken(steps):
    model = nn.Linear(1, 1)
    losses = list(train(model, lambda x: model.weight.square().sum(),
                        shuffled(torch.zeros(4), batch_size=2, seed=0), steps, lr=0.1))
    assert len(losses) == steps


def test_batches_that_run_out_are_told_of():
    model = nn.Linear(1, 1)
    loop = train(model, lambda x: model.weight.sum(), [(torch.zeros(1),)] * 2, 5, lr=0.1)
    with pytest.raises(ValueError, match="batches: expected 5, one a step, got 2"):
        list(loop)


def test_batches_of_nothing_are_refused():
    with pytest.raises(ValueError, match=r"^data: expected at least one tensor, got none"):
        next(shuffled(batch_size=2, seed=0))
