"""S4 and S4D as layers: convolution equals recurrence, the cache, the mask, initialization."""

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
from minimamba.training import train_steps

S4D_LAYERS = {
    f"S4D {init} {rule}": lambda d, init=init, rule=rule: S4D(d, 8, init=init, discretization=rule)
    for init, rule in (("lin", "zoh"), ("inv", "zoh"), ("legs", "bilinear"), ("real", "zoh"),
                       ("real", "bilinear"))}
LAYERS = {"S4": lambda d: S4(d, 8), **S4D_LAYERS}
every_layer = pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS.keys())
every_s4d = pytest.mark.parametrize("make", S4D_LAYERS.values(), ids=S4D_LAYERS.keys())
every_init = pytest.mark.parametrize("init", ["lin", "inv", "legs", "real"])

pytestmark = pytest.mark.usefixtures("double")


def run(layer, x, cache=None):
    """The layer as a recurrence: y and the last state."""
    system, outputs = layer.discrete_system(), []
    if cache is None:
        cache = layer.init_cache(len(x))
    for x_t in x.unbind(1):
        y, cache = layer.step(x_t, cache, system)
        outputs.append(y)
    return torch.stack(outputs, 1), cache


@every_layer
def test_convolution_equals_recurrence_at_any_length(make):
    layer = make(3)
    for length in (1, 2, 17, 63, 64, 65):
        x = randn(2, length, 3)
        close(layer(x), run(layer, x)[0], atol=1e-10)


@every_layer
def test_convolution_equals_recurrence_after_training(make):
    layer, x = make(3), randn(4, 20, 3)
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.05)
    for _ in range(5):
        optimizer.zero_grad()
        layer(x).square().mean().backward()
        assert all(p.grad.isfinite().all() and p.grad.abs().max() > 0 for p in layer.parameters())
        optimizer.step()
    close(layer(x), run(layer, x)[0], atol=1e-9)


@every_layer
def test_convolution_and_recurrence_have_the_same_gradients(make):
    layer, x = make(2), randn(1, 9, 2)
    one, other = (torch.autograd.grad((y * randn(1, 9, 2, seed=5)).sum(), list(layer.parameters()))
                  for y in (layer(x), run(layer, x)[0]))
    for a, b in zip(one, other, strict=True):
        close(a, b, rtol=1e-7, atol=1e-9)


@every_layer
def test_steps_continue_from_a_cache_and_a_longer_kernel_begins_like_a_shorter_one(make):
    layer, x = make(3), randn(2, 30, 3)
    start, cache = run(layer, x[:, :18])
    close(torch.cat([start, run(layer, x[:, 18:], cache)[0]], 1), layer(x), atol=1e-10)
    close(layer.kernel(64)[:30], layer.kernel(30), atol=1e-10)


@every_s4d
def test_s4d_forward_continues_from_a_cache_and_returns_the_one_of_the_steps(make):
    layer, x = make(3), randn(2, 9, 3)
    y, last = layer(x, return_cache=True)
    close(y, layer(x))
    steps_y, steps_last = run(layer, x)
    close(y, steps_y, atol=1e-10)
    close(last, steps_last, atol=1e-10)
    for cut in (1, 4, 8):
        first, cache = layer(x[:, :cut], return_cache=True)
        assert cache.shape == layer.init_cache(2).shape
        assert cache.dtype == layer.init_cache(2).dtype
        given = cache.clone()
        second, cache = layer(x[:, cut:], cache, return_cache=True)
        close(torch.cat([first, second], 1), y, atol=1e-10)
        close(cache, last, atol=1e-10)
        close(layer(x[:, cut:], given), second)
        layer.step(x[:, 0], given)
        close(given, run(layer, x[:, :cut])[1], atol=1e-10)     # not changed in place


def test_gradients_of_s4d_flow_through_the_cache():
    layer, x = S4D(2, 4), randn(1, 6, 2).requires_grad_()
    inputs = [x, *layer.parameters()]
    weights = randn(1, 6, 2, seed=5)
    whole = torch.autograd.grad((layer(x) * weights).sum(), inputs)
    first, cache = layer(x[:, :4], return_cache=True)
    in_parts = torch.cat([first, layer(x[:, 4:], cache)], 1)
    for a, b in zip(torch.autograd.grad((in_parts * weights).sum(), inputs), whole, strict=True):
        close(a, b, rtol=1e-8, atol=1e-9)


@every_s4d
@pytest.mark.parametrize("dtype", [torch.bool, torch.int64])
def test_left_padding_does_not_change_outputs_or_cache(make, dtype):
    layer, x = make(3), randn(2, 9, 3)
    mask = torch.ones(2, 9, dtype=dtype)
    mask[0, :5] = 0
    y, cache = layer(x, attention_mask=mask, return_cache=True)
    close(layer(x, attention_mask=mask), y)
    for row, start in ((0, 5), (1, 0)):
        alone, alone_cache = layer(x[row:row + 1, start:], return_cache=True)
        close(y[row:row + 1, start:], alone, atol=1e-10)
        close(cache[row:row + 1], alone_cache, atol=1e-10)


@every_layer
def test_a_layer_is_linear_causal_and_time_invariant(make):
    layer, x, z = make(3), randn(1, 24, 3), randn(1, 24, 3, seed=1)
    close(layer(2 * x + z), 2 * layer(x) + layer(z), atol=1e-9)
    shorter = x.clone()
    shorter[:, 15:] = 0
    close(layer(shorter)[:, :15], layer(x)[:, :15], atol=1e-9)
    delayed = torch.cat([torch.zeros(1, 5, 3), x[:, :-5]], 1)
    close(layer(delayed)[:, 5:], layer(x)[:, :-5], atol=1e-9)


@every_layer
def test_channels_do_not_mix(make):
    layer, x = make(3), randn(1, 10, 3)
    other = x.clone()
    other[..., 1] += 1
    close(layer(other)[..., [0, 2]], layer(x)[..., [0, 2]], atol=1e-10)


@every_layer
def test_a_layer_is_stable_for_any_parameters(make):
    layer = make(3)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter += 2 * torch.randn_like(parameter)
    A_bar, _, _ = layer.discrete_system()
    poles = torch.linalg.eigvals(A_bar) if A_bar.ndim == 3 else A_bar
    assert poles.abs().max() < 1 + 1e-9


@every_layer
def test_parameters_are_real_and_the_dtype_is_kept(make):
    layer, x = make(3).float(), randn(2, 5, 3).float()
    assert all(p.dtype == torch.float32 for p in layer.parameters())
    assert layer(x).dtype == run(layer, x)[0].dtype == torch.float32
    close(layer(x), run(layer, x)[0], rtol=1e-4, atol=1e-5)


def test_delta_is_initialized_uniformly_in_its_logarithm():
    layer = S4D(20_000, 2, delta_min=0.001, delta_max=0.1)
    fraction = (layer.log_delta - math.log(0.001)) / math.log(100)
    assert fraction.min() >= 0
    assert fraction.max() <= 1
    counts = torch.histc(fraction, 10, 0, 1)
    assert (counts - 2000).abs().max() < 200                 # 4.7 standard deviations


def test_delta_min_may_equal_delta_max():
    close(S4D(3, 4, delta_min=0.01, delta_max=0.01).log_delta.exp(), torch.full((3,), 0.01),
          rtol=1e-6)


@every_init
def test_s4d_is_initialized_as_documented(init):
    layer, A = S4D(3, 8, init=init), diagonal.initial_A(init, 8)
    close(layer.A, A.expand(3, -1))
    assert layer.D.abs().min() > 0
    close(layer.continuous_system()[1], torch.ones_like(layer.A))
    assert len(layer.C.detach().unique()) == layer.C.numel()     # drawn independently


def test_s4_is_initialized_with_hippo_legs():
    layer = S4(3, 8)
    system, C = layer.continuous_system()
    for part, wanted in zip(system, dplr.legs(8), strict=True):
        close(part, wanted.expand(3, *wanted.shape))
    assert len(C.real.unique()) == C.numel()


def test_the_cache_counts_a_conjugate_pair_once():
    assert S4D(3, 8).init_cache(2).shape == (2, 3, 4)        # 4 conjugate pairs
    assert S4D(3, 8).init_cache(2).is_complex()
    assert S4D(3, 8, init="real").init_cache(2).shape == (2, 3, 8)
    assert S4(3, 8).init_cache(2).shape == (2, 3, 8)
    assert not S4(3, 8).init_cache(2).is_complex()


def test_a_loaded_layer_gives_the_same_outputs():
    first, second, x = S4(3, 8), S4(3, 8), randn(1, 6, 3)
    second.load_state_dict(first.state_dict())
    close(first(x), second(x))


@pytest.mark.parametrize(("name", "function"), [("zoh", discretize.zoh),
                                                ("bilinear", discretize.bilinear)])
def test_s4d_uses_the_discretization_it_is_given(name, function):
    layer = S4D(3, 8, discretization=name)
    A, B, _ = layer.continuous_system()
    wanted = function(A, B, layer.log_delta.exp())
    for part, other in zip(layer.discrete_system()[:2], wanted, strict=True):
        close(part, other)


def test_defaults_are_those_that_the_course_states():
    def defaults(made):
        return {name: p.default for name, p in inspect.signature(made).parameters.items()
                if p.default is not p.empty}

    deltas = {"delta_min": 0.001, "delta_max": 0.1}
    assert defaults(S4D) == {"d_state": 64, "init": "lin", "discretization": "zoh", **deltas}
    assert defaults(S4) == {"d_state": 64, **deltas}
    assert defaults(S4Classifier) == {"d_model": 64, "n_layer": 2, "dropout": 0.1}
    assert defaults(train_steps) == {"weight_decay": 0.01, "bf16": True, "checkpoint": None,
                                     "save_every": 1000, "stop": None}


BAD = [
    (lambda: S4D(0), "d_model"), (lambda: S4D(2.0), "d_model"), (lambda: S4D(True), "d_model"),
    (lambda: S4D(2, 7), "d_state"), (lambda: S4D(2, 0, init="real"), "d_state"),
    (lambda: S4D(2, 8.0), "d_state"), (lambda: S4D(2, True, init="real"), "d_state"),
    (lambda: S4(2, 7), "d_state"), (lambda: S4(2, 0), "d_state"),
    (lambda: S4D(2, init="legt"), "init"), (lambda: S4D(2, discretization="euler"),
                                            "discretization"),
    (lambda: S4D(2, delta_min=0.0), "delta_min"),
    (lambda: S4(2, delta_min=0.2, delta_max=0.1), "delta_min"),
    (lambda: S4D(2, delta_max=math.inf), "delta_max"),
    (lambda: S4D(2)(torch.zeros(1, 5, 3)), "x"), (lambda: S4D(2)(torch.zeros(5, 2)), "x"),
    (lambda: S4D(2)(torch.zeros(1, 0, 2)), "x"),
    (lambda: S4D(2)(torch.full((1, 4, 2), math.nan)), "x"),
    (lambda: S4D(2)(torch.zeros(1, 4, 2, dtype=torch.float32)), "x"),
    (lambda: S4D(2)(torch.zeros(1, 4, 2), torch.zeros(1, 2, 64)), "cache"),
    (lambda: S4D(2)(torch.zeros(1, 4, 2), S4D(2).init_cache(3)), "cache"),
    (lambda: S4D(2)(torch.zeros(1, 4, 2), S4D(2).init_cache(1).to(torch.complex64)), "cache"),
    (lambda: S4D(2)(torch.zeros(1, 4, 2), attention_mask=torch.ones(1, 5).bool()),
     "attention_mask"),
    (lambda: S4D(2)(torch.zeros(1, 4, 2), attention_mask=torch.ones(1, 4)), "attention_mask"),
    (lambda: S4D(2)(torch.zeros(1, 4, 2), attention_mask=[1, 1, 1, 1]), "attention_mask"),
]


@pytest.mark.parametrize(("call", "name"), BAD)
def test_bad_input_raises_an_error_that_names_it(call, name):
    with pytest.raises(ValueError, match=rf"^{name}: expected .+, got "):
        call()


def test_a_step_of_the_wrong_shape_raises_an_error():
    layer = S4D(3, 8)
    system, cache = layer.discrete_system(), layer.init_cache(2)
    with pytest.raises(ValueError, match=r"^x: expected shape \(batch, 3\)"):
        layer.step(torch.zeros(2, 4), cache, system)
    with pytest.raises(ValueError, match=r"^cache: expected shape \(2, 3, 4\)"):
        layer.step(torch.zeros(2, 3), cache[..., :3], system)


@pytest.mark.parametrize("make", [lambda d: S4D(d, 8), lambda d: S4(d, 8)])
def test_a_classifier_as_a_recurrence_gives_the_same_logits(make):
    model, x = S4Classifier(make, 2, 5, d_model=6), randn(3, 20, 2)
    model.eval()
    assert model(x).shape == (3, 5)
    close(model.forward_recurrent(x), model(x), atol=1e-9)


def test_classifier_block_matches_its_formula():
    model, x = S4Classifier(lambda d: S4D(d, 8), 2, 5, d_model=6), randn(3, 20, 6)
    model.eval()
    block = model.blocks[0]
    y = block.mix(functional.gelu(block.ssm(block.norm(x))))
    close(block(x), x + y[..., :6] * y[..., 6:].sigmoid())


def test_classifier_has_n_layer_blocks_with_two_dropouts_each():
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


def test_classifier_as_a_recurrence_saves_nothing_for_a_backward_pass():
    model = S4Classifier(lambda d: S4D(d, 4), 1, 3, d_model=8)
    assert not model.forward_recurrent(randn(2, 9, 1)).requires_grad


def test_lstm_classifier_decodes_its_last_output():
    model, x = LSTMClassifier(2, 3, 7), randn(4, 9, 2)
    _, (last, _) = model.lstm(x)
    close(model(x), model.decoder(last[0]))
