"""S4 and S4D as layers: two modes from the same parameters, and what they keep to."""

import inspect
import math

import pytest
import torch
from systems import close, randn
from torch import nn
from torch.nn import functional

from minimamba import discretize
from minimamba.course.classifier import LSTMClassifier, S4Classifier
from minimamba.s4 import S4, S4D, diagonal, dplr
from minimamba.training import train

LAYERS = {
    "S4": lambda d: S4(d, 8),
    **{f"S4D {init} {rule}": lambda d, init=init, rule=rule: S4D(d, 8, init=init, rule=rule)
       for init in ("lin", "inv", "legs", "real") for rule in ("zoh", "bilinear")},
}


pytestmark = pytest.mark.usefixtures("double")


def every_layer(test):
    return pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS.keys())(test)


def run(layer, x, h=None):
    """The layer as a recurrence: y and the last state."""
    system, outputs = layer.discrete(), []
    h = layer.initial_state(len(x)) if h is None else h
    for x_t in x.unbind(1):
        y, h = layer.step(x_t, h, system)
        outputs.append(y)
    return torch.stack(outputs, 1), h


@every_layer
@pytest.mark.parametrize("length", [1, 2, 17, 64])
def test_the_convolution_is_the_recurrence(make, length):
    layer, x = make(3), randn(2, length, 3)
    close(layer(x), run(layer, x)[0], atol=1e-10)


@every_layer
def test_a_trained_layer_still_is(make):
    layer, x = make(3), randn(4, 20, 3)
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.05)
    for _ in range(10):
        optimizer.zero_grad()
        layer(x).square().mean().backward()
        assert all(p.grad.isfinite().all() and p.grad.abs().max() > 0 for p in layer.parameters())
        optimizer.step()
    close(layer(x), run(layer, x)[0], atol=1e-9)


@every_layer
def test_the_two_modes_have_the_same_gradients(make):
    layer, x = make(2), randn(1, 9, 2)
    one, other = (torch.autograd.grad((y * randn(1, 9, 2, seed=5)).sum(), list(layer.parameters()))
                  for y in (layer(x), run(layer, x)[0]))
    for a, b in zip(one, other, strict=True):
        close(a, b, rtol=1e-7, atol=1e-9)


@every_layer
def test_a_sequence_may_be_cut_and_a_kernel_grows_without_changing(make):
    layer, x = make(3), randn(2, 30, 3)
    start, h = run(layer, x[:, :18])
    close(torch.cat([start, run(layer, x[:, 18:], h)[0]], 1), layer(x), atol=1e-10)
    close(layer.kernel(64)[:30], layer.kernel(30), atol=1e-10)


@every_layer
def test_linear_causal_and_the_same_at_every_step(make):
    layer, x, z = make(3), randn(1, 24, 3), randn(1, 24, 3, seed=1)
    close(layer(2 * x + z), 2 * layer(x) + layer(z), atol=1e-9)
    late = x.clone()
    late[:, 15:] = 0
    close(layer(late)[:, :15], layer(x)[:, :15], atol=1e-9)
    delayed = torch.cat([torch.zeros(1, 5, 3), x[:, :-5]], 1)
    close(layer(delayed)[:, 5:], layer(x)[:, :-5], atol=1e-9)


@every_layer
def test_features_do_not_mix(make):
    layer, x = make(3), randn(1, 10, 3)
    other = x.clone()
    other[..., 1] += 1
    close(layer(other)[..., [0, 2]], layer(x)[..., [0, 2]], atol=1e-10)


@every_layer
def test_the_state_never_grows_however_the_parameters_are_moved(make):
    layer = make(3)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter += 2 * torch.randn_like(parameter)
    A_bar, _, _ = layer.discrete()
    poles = torch.linalg.eigvals(A_bar) if A_bar.ndim == 3 else A_bar
    assert poles.abs().max() < 1 + 1e-9


@every_layer
def test_the_parameters_are_real_and_the_dtype_is_kept(make):
    layer, x = make(3).float(), randn(2, 5, 3).float()
    assert all(p.dtype == torch.float32 for p in layer.parameters())
    assert layer(x).dtype == run(layer, x)[0].dtype == torch.float32
    close(layer(x), run(layer, x)[0], rtol=1e-4, atol=1e-5)


def test_the_steps_are_spread_evenly_over_their_logarithm():
    layer = S4D(20_000, 2, delta_min=0.001, delta_max=0.1)
    share = (layer.log_delta - math.log(0.001)) / math.log(100)
    assert share.min() >= 0
    assert share.max() <= 1
    counts = torch.histc(share, 10, 0, 1)
    assert (counts - 2000).abs().max() < 200                 # 4.7 standard deviations


@pytest.mark.parametrize("init", ["lin", "inv", "legs", "real"])
def test_a_layer_starts_from_the_matrix_it_names(init):
    A = diagonal.initial(init, 8)
    close(S4D(3, 8, init=init).A, A.expand(3, -1))
    for given, wanted in zip(S4(3, 8).continuous, dplr.legs(8), strict=True):
        close(given, wanted.expand(3, *wanted.shape))


def test_a_state_counts_its_conjugates():
    assert S4D(3, 8).initial_state(2).shape == (2, 3, 4)     # four pairs of complex numbers
    assert S4D(3, 8).initial_state(2).is_complex()
    assert S4D(3, 8, init="real").initial_state(2).shape == (2, 3, 8)
    assert S4(3, 8).initial_state(2).shape == (2, 3, 8)
    assert not S4(3, 8).initial_state(2).is_complex()


def test_a_layer_is_saved_and_loaded():
    first, second, x = S4(3, 8), S4(3, 8), randn(1, 6, 3)
    second.load_state_dict(first.state_dict())
    close(first(x), second(x))


@pytest.mark.parametrize("make", [lambda d: S4D(d, 8), lambda d: S4(d, 8)])
def test_a_classifier_reads_step_by_step_what_it_reads_at_once(make):
    model, x = S4Classifier(make, 2, 5, d_model=6), randn(3, 20, 2)
    model.eval()
    assert model(x).shape == (3, 5)
    close(model.forward_recurrent(x), model(x), atol=1e-9)


BAD = [
    (lambda: S4D(0), "d_model"), (lambda: S4D(2.0), "d_model"), (lambda: S4D(True), "d_model"),
    (lambda: S4D(2, 7), "d_state"), (lambda: S4D(2, 0, init="real"), "d_state"),
    (lambda: S4D(2, 8.0), "d_state"), (lambda: S4(2, 7), "N"), (lambda: S4(2, 0), "N"),
    (lambda: S4D(2, init="legt"), "kind"), (lambda: S4D(2, rule="euler"), "rule"),
    (lambda: S4D(2, delta_min=0.0), "delta_min"),
    (lambda: S4(2, delta_min=0.2, delta_max=0.1), "delta_min"),
    (lambda: S4D(2, delta_max=math.inf), "delta_max"),
    (lambda: S4D(2)(torch.zeros(1, 5, 3)), "x"), (lambda: S4D(2)(torch.zeros(5, 2)), "x"),
    (lambda: S4D(2)(torch.zeros(1, 0, 2)), "x"),
    (lambda: S4D(2)(torch.full((1, 4, 2), math.nan)), "x"),
    (lambda: S4D(2)(torch.zeros(1, 4, 2, dtype=torch.float32)), "x"),
]


@pytest.mark.parametrize(("call", "name"), BAD)
def test_bad_input_is_refused_by_name(call, name):
    with pytest.raises(ValueError, match=rf"^{name}: expected .+, got "):
        call()


def test_a_wrong_step_is_refused():
    layer = S4D(3, 8)
    system, h = layer.discrete(), layer.initial_state(2)
    with pytest.raises(ValueError, match=r"^x: expected shape \(2, 3\)"):
        layer.step(torch.zeros(2, 4), h, system)
    with pytest.raises(ValueError, match=r"^h: expected shape \(2, 3, 4\)"):
        layer.step(torch.zeros(2, 3), h[..., :3], system)


@pytest.mark.parametrize("init", ["lin", "inv", "legs", "real"])
def test_s4d_starts_where_it_says(init):
    layer, A = S4D(3, 8, init=init), diagonal.initial(init, 8)
    close(layer.A, A.expand(3, -1))
    assert layer.D.abs().min() > 0
    close(layer._parts()[1], torch.ones_like(layer.A))
    assert len(layer.C.detach().unique()) == layer.C.numel()     # drawn, each for itself


def test_s4_starts_at_hippo():
    layer = S4(3, 8)
    for part, wanted in zip(layer.continuous, dplr.legs(8), strict=True):
        close(part, wanted.expand(3, *wanted.shape))
    assert len(layer.C.detach().unique()) == layer.C.numel()


@pytest.mark.parametrize(("name", "rule"), [("zoh", discretize.zoh),
                                            ("bilinear", discretize.bilinear)])
def test_s4d_takes_the_rule_it_is_given(name, rule):
    layer = S4D(3, 8, rule=name)
    _, B, _ = layer._parts()
    wanted = rule(layer.A, B, layer.log_delta.exp())
    for part, other in zip(layer.discrete()[:2], wanted, strict=True):
        close(part, other)


def test_the_defaults_are_the_ones_the_course_tells_of():
    def defaults(made):
        return {name: p.default for name, p in inspect.signature(made).parameters.items()
                if p.default is not p.empty}

    steps = {"delta_min": 0.001, "delta_max": 0.1}
    assert defaults(S4D) == {"d_state": 64, "init": "lin", "rule": "zoh", **steps}
    assert defaults(S4) == {"d_state": 64, **steps}
    assert defaults(S4Classifier) == {"d_model": 64, "n_layer": 2, "dropout": 0.1}
    assert defaults(train) == {"weight_decay": 0.01, "bf16": True, "checkpoint": None,
                               "every": 1000}


def test_all_features_may_have_one_step():
    close(S4D(3, 4, delta_min=0.01, delta_max=0.01).log_delta.exp(), torch.full((3,), 0.01),
          rtol=1e-6)


def test_d_state_is_no_bool():
    with pytest.raises(ValueError, match=r"^d_state: expected .+, got True"):
        S4D(2, True, init="real")


def test_a_block_is_the_formula_it_states():
    model, x = S4Classifier(lambda d: S4D(d, 8), 2, 5, d_model=6), randn(3, 20, 6)
    model.eval()
    block = model.blocks[0]
    y = block.mix(functional.gelu(block.ssm(block.norm(x))))
    close(block(x), x + y[..., :6] * y[..., 6:].sigmoid())


def test_a_classifier_has_as_many_blocks_as_asked_and_drops_twice_in_each():
    model = S4Classifier(lambda d: S4D(d, 4), 1, 3, d_model=8, n_layer=3, dropout=0.75)
    x = randn(50, 9, 8)
    assert len(model.blocks) == 3
    for block in model.blocks:
        nn.init.ones_(block.mix.bias)
        before = []
        block.mix.register_forward_pre_hook(
            lambda _, given, before=before: before.append(given[0]))
        after = block(x) - x
        for part in (before[0], after):
            assert (part == 0).double().mean().item() == pytest.approx(0.75, abs=0.05)


def test_reading_step_by_step_keeps_nothing_for_a_backward_pass():
    model = S4Classifier(lambda d: S4D(d, 4), 1, 3, d_model=8)
    assert not model.forward_recurrent(randn(2, 9, 1)).requires_grad


def test_the_lstm_answers_from_its_last_output():
    model, x = LSTMClassifier(2, 3, 7), randn(4, 9, 2)
    _, (last, _) = model.lstm(x)
    close(model(x), model.decoder(last[0]))


@pytest.mark.parametrize("init", ["lin", "real"])
def test_an_s4d_goes_on_from_a_state(init):
    torch.manual_seed(0)
    layer, x = S4D(3, 4, init=init).double(), torch.randn(2, 9, 3, dtype=torch.float64)
    whole, last = layer(x, return_last_state=True)
    torch.testing.assert_close(whole, layer(x))
    first, h = layer(x[:, :4], return_last_state=True)
    second, h = layer(x[:, 4:], initial_state=h, return_last_state=True)
    torch.testing.assert_close(torch.cat([first, second], 1), whole)
    torch.testing.assert_close(h, last)
    h = layer.initial_state(2)
    for t, now in enumerate(x.unbind(1)):
        y, h = layer.step(now, h)
        torch.testing.assert_close(y, whole[:, t])
    torch.testing.assert_close(h, last)
