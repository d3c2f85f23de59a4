"""The training loop: its steps, its schedule, its batches, and models that learn by it."""

import math

import pytest
import torch
from torch import nn

from minimamba import MambaConfig, MambaLM
from minimamba.course import tasks
from minimamba.course.classifier import LSTMClassifier, S4Classifier
from minimamba.s4 import S4D
from minimamba.training import shuffled_batches, train_steps


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def square_loss(model, scale=1.0):
    return lambda x, y: scale * (model(x) - y).square().mean()


def line_batches():
    """Of points on a plane in four dimensions."""
    x = torch.randn(64, 3)
    y = x @ torch.tensor([[1.0], [-2.0], [0.5]]) + 3
    return shuffled_batches(x, y, batch_size=16, seed=0)


def empty_batches():
    return shuffled_batches(torch.zeros(4), batch_size=2, seed=0)


def test_linear_model_learns_a_linear_function():
    model = nn.Linear(3, 1)
    losses = list(train_steps(model, square_loss(model), line_batches(), 300, learning_rate=0.1,
                              weight_decay=0.0))
    assert len(losses) == 300
    assert losses[-1] < 1e-3 < losses[0]
    assert model.bias.item() == pytest.approx(3, abs=0.05)


def test_learning_rate_rises_linearly_and_falls_to_zero():
    model = nn.Linear(3, 1)
    changes, before = [], model.weight.detach().clone()
    # A loss with the same gradient everywhere: Adam then steps by the learning rate.
    for _ in train_steps(model, lambda x: model.weight.sum(), empty_batches(), 100,
                         learning_rate=0.1, weight_decay=0.0):
        changes.append((model.weight.detach() - before).abs().max().item())
        before = model.weight.detach().clone()
    assert max(changes) == pytest.approx(0.1, rel=0.01)
    assert 5 <= changes.index(max(changes)) <= 15
    assert changes[0] < 0.01
    assert changes[-1] < 1e-4


def test_weight_decay_applies_to_matrices_called_weight_only():
    model = nn.ModuleDict({"linear": nn.Linear(2, 2), "norm": nn.LayerNorm(2), "s4": S4D(2, 4)})
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    # A loss without a gradient: what changes is decay.
    list(train_steps(model, lambda x: sum(0 * p.sum() for p in model.parameters()),
                     empty_batches(), 20, learning_rate=0.1, weight_decay=0.5))
    changed = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert changed == {"linear.weight"}
    assert model["linear"].weight.norm() < before["linear.weight"].norm()


def test_weight_decay_is_proportional_to_its_setting_which_is_001_by_default():
    def log_decay(**options):
        torch.manual_seed(0)
        model = nn.Linear(3, 1).double()
        before = model.weight.detach().clone()
        list(train_steps(model, lambda x: 0 * model.weight.sum(), empty_batches(), 20,
                         learning_rate=1e-3, **options))
        return (model.weight.detach() / before).log().mean().item()

    assert log_decay(weight_decay=0.5) == pytest.approx(50 * log_decay(weight_decay=0.01), rel=1e-3)
    assert log_decay() == log_decay(weight_decay=0.01)


def test_gradients_are_clipped_to_norm_1():
    unclipped = []

    class Recording(nn.Linear):
        def forward(self, x):
            self.weight.register_hook(lambda gradient: unclipped.append(gradient.norm().item()))
            return super().forward(x)

    model = Recording(3, 1)
    for _ in train_steps(model, square_loss(model, 1e6), line_batches(), 3, learning_rate=0.1):
        assert math.hypot(model.weight.grad.norm(), model.bias.grad.norm()) <= 1 + 1e-5
    assert min(unclipped) > 1e5


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_loss_that_is_not_finite_stops_before_the_update(number):
    model = nn.Linear(3, 1)
    before = model.weight.detach().clone()
    with pytest.raises(FloatingPointError, match=f"the loss is {number} at step 0"):
        list(train_steps(model, lambda x: model.weight.sum() * 0 + number, empty_batches(), 5,
                         learning_rate=0.1))
    assert torch.equal(model.weight, before)


class BadGradient(torch.autograd.Function):
    """The identity; its gradient is what it was given."""

    @staticmethod
    def forward(ctx, x, gradient):
        ctx.gradient = gradient
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return torch.full_like(gradient, ctx.gradient), None


@pytest.mark.parametrize(("number", "what"), [
    (math.nan, "the gradient of bias"), (math.inf, "the gradient of bias"),
    (3e38, "the norm of all gradients together")])
def test_finite_loss_with_a_bad_gradient_changes_and_writes_nothing(number, what, tmp_path):
    model, file = nn.Linear(1, 3), tmp_path / "state.pt"
    losses = train_steps(model, lambda x, scale: BadGradient.apply(model.bias, scale.item()).sum()
                         + model.weight.sum(), [(torch.zeros(1), torch.tensor(scale)) for scale in
                                                (1.0, 1.0, number, 1.0)],
                         4, learning_rate=0.1, checkpoint=file, save_every=1)
    next(losses), next(losses)
    before = {name: x.clone() for name, x in model.state_dict().items()}
    saved = file.read_bytes()
    with pytest.raises(FloatingPointError, match=f"^{what} is not finite at step 2, where the"):
        next(losses)
    assert all(torch.equal(x, before[name]) for name, x in model.state_dict().items())
    assert file.read_bytes() == saved


@pytest.mark.parametrize("where", ["an update", "a buffer", "a frozen parameter"])
def test_number_that_is_not_finite_reaches_no_file(where, tmp_path):
    model, file = nn.BatchNorm1d(3), tmp_path / "state.pt"
    batches = [(torch.randn(8, 3),)] * 3
    learning_rate, name = 0.1, "weight"
    if where == "an update":
        model.weight.data.fill_(3.3e38)
        learning_rate = 3e37
    elif where == "a buffer":
        model.running_mean[0] = math.nan
        name = "running_mean"
    else:
        model.bias.requires_grad_(False).fill_(math.inf)
        name = "bias"
    losses = train_steps(model, lambda x: -(1e-3 * model.weight).sum(), batches, 3,
                         learning_rate=learning_rate, checkpoint=file, save_every=2)
    with pytest.raises(FloatingPointError, match=f"^{name} is not finite after the update of st"):
        list(losses)
    assert not file.exists()


@pytest.mark.parametrize(("loss", "got"), [
    (lambda model: model.weight, r"shape \(1, 1\) of torch.float32"),
    (lambda model: model.weight.sum().item(), "float"),
    (lambda model: torch.tensor(1), r"shape \(\) of torch.int64"),
    (lambda model: model.weight.sum().detach(), "one without a gradient"),
    (lambda model: torch.zeros((), requires_grad=True), "one without a gradient for any")])
def test_loss_that_can_not_train_the_model_is_refused(loss, got):
    model = nn.Linear(1, 1)
    with pytest.raises(ValueError, match=rf"^loss: expected .*model's parameters, got {got}"):
        next(train_steps(model, lambda x: loss(model), empty_batches(), 2, learning_rate=0.1))


def test_sparse_gradient_is_refused_by_name():
    model = nn.Embedding(4, 2, sparse=True)
    with pytest.raises(ValueError, match=r"^the gradient of weight: expected a dense tensor"):
        next(train_steps(model, lambda ids: model(ids).sum(), [(torch.tensor([1]),)], 1,
                         learning_rate=0.1))


def test_model_is_in_training_mode_also_after_an_evaluation_between_steps():
    model, modes = nn.Linear(3, 1), []

    def loss(x, y):
        modes.append(model.training)
        return square_loss(model)(x, y)

    for _ in train_steps(model, loss, line_batches(), 3, learning_rate=0.1):
        model.eval()
    assert modes == [True, True, True]


@pytest.mark.parametrize("steps", [1, 2, 3, 10, 11, 20])
def test_any_number_of_steps_takes_as_many_batches(steps):
    model, batches = nn.Linear(1, 1), iter([(torch.tensor(float(i)),) for i in range(steps + 1)])
    losses = list(train_steps(model, lambda x: x * model.weight.square().sum(), batches, steps,
                              learning_rate=0.1))
    assert len(losses) == steps
    assert next(batches)[0] == steps


def test_too_few_batches_and_bad_numbers_are_refused_by_name():
    model = nn.Linear(1, 1)
    losses = train_steps(model, lambda x: model.weight.sum(), [(torch.zeros(1),)] * 2, 5,
                         learning_rate=0.1)
    with pytest.raises(ValueError, match=r"^batches: expected 5, one per step, got 2$"):
        list(losses)
    for name, value in (("steps", 0), ("save_every", 0), ("learning_rate", 0.0),
                        ("weight_decay", math.nan), ("bf16", "no")):
        options = {"steps": 5, "learning_rate": 0.1} | {name: value}
        with pytest.raises(ValueError, match=f"^{name}: expected"):
            train_steps(model, None, empty_batches(), **options)   # at the call
    with torch.inference_mode():
        fixed = nn.Linear(1, 1)
    for no_model in (nn.ReLU(), None, fixed, nn.Linear(2, 2).half()):
        with pytest.raises(ValueError, match=r"^model: expected"):
            train_steps(no_model, print, empty_batches(), 5, learning_rate=0.1)


def test_each_epoch_has_every_row_once_in_a_new_order():
    x = torch.arange(10)
    batches = shuffled_batches(x, -x, batch_size=4, seed=0)
    epochs = [[next(batches) for _ in range(3)] for _ in range(2)]
    orders = [torch.cat([a for a, _ in epoch]) for epoch in epochs]
    assert all(torch.equal(a, -b) for epoch in epochs for a, b in epoch)
    assert all(torch.equal(order.sort().values, x) for order in orders)
    assert not torch.equal(*orders)


def test_seed_sets_the_order_of_batches():
    x = torch.arange(100)
    first, again, other = (next(shuffled_batches(x, batch_size=100, seed=seed))[0]
                           for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_bad_data_are_refused_at_the_call():
    for data, batch_size, message in (
            ((), 2, r"^data: expected at least one tensor, got none"),
            ((torch.zeros(3), torch.zeros(2)), 2, r"^data\[1\]: expected length 3, .+ got 2"),
            ((torch.zeros(3),), 0, r"^batch_size: expected a whole number from 1 up, got 0")):
        with pytest.raises(ValueError, match=message):
            shuffled_batches(*data, batch_size=batch_size, seed=0)


@pytest.mark.parametrize("build", [
    lambda: S4Classifier(lambda d: S4D(d, 8, delta_min=0.05, delta_max=0.5), 1, 2, d_model=8),
    lambda: LSTMClassifier(1, 2, 16)], ids=["S4", "LSTM"])
def test_classifier_learns_which_half_is_louder(build):
    x = torch.randn(256, 16, 1)
    y = (x[:, 8:].square().mean((1, 2)) > x[:, :8].square().mean((1, 2))).long()
    x[y == 1, 8:] *= 2
    x[y == 0, :8] *= 2
    model = build()
    list(train_steps(model, lambda x, y: nn.functional.cross_entropy(model(x), y),
                     shuffled_batches(x, y, batch_size=32, seed=0), 150, learning_rate=0.01))
    model.eval()
    assert (model(x).argmax(-1) == y).double().mean() > 0.9


def test_model_of_s6_blocks_learns_selective_copying():
    task = tasks.SelectiveCopying(length=6, n_data=1, n_symbols=3)
    model = MambaLM(MambaConfig(task.vocab_size, 16, layers="66", d_state=4))
    generator = torch.Generator().manual_seed(0)
    batches = (task.sample(32, generator) for _ in range(150))
    list(train_steps(model, lambda tokens, targets: tasks.loss(model(tokens), targets), batches,
                     150, learning_rate=0.03))
    tokens, targets = task.sample(200, generator)
    assert tasks.accuracy(model(tokens), targets) > 0.99


def test_dropout_acts_in_training_mode_only():
    model, x = S4Classifier(lambda d: S4D(d, 4), 1, 3, d_model=8, dropout=0.5), torch.randn(2, 9, 1)
    assert not torch.equal(model(x), model(x))
    model.eval()
    assert torch.equal(model(x), model(x))
