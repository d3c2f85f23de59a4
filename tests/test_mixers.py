"""Every mixer of minimamba.nn keeps the contract of `Mixer`: forward, step, cache and mask."""

import inspect

import pytest
import torch
from models import perturb
from systems import close, randn
from torch import Tensor

from minimamba.nn import LSTM, MLP, S6, Attention, Mamba, Mamba2, Mixer, S4Block
from minimamba.s4 import S4D

MIXERS = {
    "Mamba": lambda: Mamba(8),
    "Mamba d_conv=1": lambda: Mamba(8, d_state=3, d_conv=1, expand=3, dt_rank=2),
    "Mamba d_conv=3 bias": lambda: Mamba(8, d_conv=3, bias=True, conv_bias=False),
    "Mamba2": lambda: Mamba2(8, d_state=4, headdim=4, ngroups=2),
    "Mamba2 limits": lambda: Mamba2(8, d_state=3, d_conv=1, headdim=8, dt_limit=(0.01, 0.05),
                                    rmsnorm=False, bias=True, conv_bias=False),
    "Mamba2 beside an MLP": lambda: Mamba2(8, d_state=3, headdim=4, d_ssm=8, D_has_hdim=True,
                                           norm_before_gate=True),
    "S6": lambda: S6(8, 4),
    "S6 broadcast": lambda: S6(8, 4, dt_rank="broadcast", selective=("delta", "C")),
    "S6 LTI": lambda: S6(8, 4, selective=()),
    "Attention": lambda: Attention(8, 2),
    "Attention without positions": lambda: Attention(8, 2, rotary=False),
    "LSTM": lambda: LSTM(8),
    "MLP": lambda: MLP(8),
    "S4Block of S4D": lambda: S4Block(S4D(8, 4), 8),
    "S4Block of real S4D": lambda: S4Block(S4D(8, 4, init="real"), 8),
    "S4Block of S6": lambda: S4Block(S6(8, 4), 8),
}
ONE_OF_EACH_CLASS = ("Mamba", "Mamba2", "S6", "Attention", "LSTM", "MLP", "S4Block of S4D",
                     "S4Block of S6")
"""One of each class."""


@pytest.fixture(params=MIXERS)
def mixer(request, double):
    return build(request.param)


@pytest.fixture(params=ONE_OF_EACH_CLASS)
def one_of_each_class(request, double):
    return build(request.param)


def build(name):
    mixer = MIXERS[name]()
    perturb(mixer, 0.1)
    return mixer


def parts(cache):
    """The tensors of a cache."""
    if isinstance(cache, Tensor):
        return [cache]
    return [part for part in cache if part is not None]


def changed(cache, function):
    """The same cache of changed tensors."""
    if isinstance(cache, Tensor):
        return function(cache)
    return cache._make(part if part is None else function(part) for part in cache)


def caches_close(given, expected):
    for given_part, expected_part in zip(parts(given), parts(expected), strict=True):
        close(given_part, expected_part)


def run_steps(mixer, x):
    """The outputs of `step` after each other, and the last cache."""
    cache = mixer.init_cache(len(x))
    outputs = []
    for x_t in x.unbind(1):
        y_t, cache = mixer.step(x_t, cache)
        outputs.append(y_t)
    return torch.stack(outputs, 1), cache


def test_mixer_satisfies_the_protocol(one_of_each_class):
    assert isinstance(one_of_each_class, Mixer)
    for method in ("forward", "step", "init_cache"):
        own, expected = (inspect.signature(getattr(kind, method)).parameters.values()
                         for kind in (type(one_of_each_class), Mixer))
        assert [(p.name, p.kind) for p in own] == [(p.name, p.kind) for p in expected]


def test_steps_equal_forward(mixer):
    x = randn(2, 9, 8)
    y, last = mixer(x, return_cache=True)
    assert y.shape == x.shape
    outputs, cache = run_steps(mixer, x)
    close(outputs, y)
    caches_close(cache, last)
    close(mixer(x), y)


@pytest.mark.parametrize("cut", [1, 2, 8])
def test_continuing_from_a_cache_equals_the_whole_sequence(mixer, cut):
    x = randn(2, 9, 8)
    y, last = mixer(x, return_cache=True)
    first, cache = mixer(x[:, :cut], mixer.init_cache(2), return_cache=True)
    second, cache = mixer(x[:, cut:], cache, return_cache=True)
    close(torch.cat([first, second], 1), y)
    caches_close(cache, last)
    close(mixer(x[:, cut:], mixer(x[:, :cut], return_cache=True)[1]), second)


def test_gradients_through_the_cache_equal_those_of_the_whole_sequence(mixer):
    x = randn(1, 6, 8)
    _, cache = mixer(x[:, :3], return_cache=True)
    weights = list(mixer.parameters())
    in_parts = torch.autograd.grad(mixer(x[:, 3:], cache).square().sum(), weights)
    whole = torch.autograd.grad(mixer(x)[:, 3:].square().sum(), weights)
    for given, expected in zip(in_parts, whole, strict=True):
        close(given, expected)
        assert expected.abs().max() > 0


def test_outputs_do_not_depend_on_later_inputs(mixer):
    x = randn(1, 10, 8).requires_grad_()
    sees_the_past = not isinstance(mixer, MLP)
    for t in (0, 4, 9):
        gradient, = torch.autograd.grad(mixer(x)[0, t].sum(), x)
        depends = gradient[0].abs().amax(-1) > 1e-13         # not 0 where there is an FFT
        assert not depends[t + 1:].any()
        assert depends[t]
        assert depends[:t].all() == (sees_the_past or t == 0)


def test_left_padding_changes_neither_outputs_nor_steps_after_it(mixer):
    x = randn(1, 7, 8)
    padded = torch.cat([randn(1, 4, 8, seed=1), x], 1)
    mask = (torch.arange(11) >= 4)[None]
    expected, last = mixer(x, return_cache=True)
    y, cache = mixer(padded, attention_mask=mask, return_cache=True)
    close(y[:, 4:], expected)
    assert y.isfinite().all()
    x_t = randn(1, 8, seed=2)
    close(mixer.step(x_t, cache)[0], mixer.step(x_t, last)[0])
    # In two parts, of which the first is nothing but padding.
    _, cache = mixer(padded[:, :3], attention_mask=mask[:, :3], return_cache=True)
    close(mixer(padded[:, 3:], cache, attention_mask=mask[:, 3:])[:, 1:], expected)


@pytest.mark.parametrize("paddings", [(3, 3), (0, 5), (1, 9), (9, 2)])
def test_padding_beside_a_cache_changes_nothing(mixer, paddings):
    first, second, x_t = randn(2, 6, 8), randn(2, 9, 8, seed=1), randn(2, 8, seed=2)
    mask = torch.arange(9) >= torch.tensor(paddings)[:, None]
    _, cache = mixer(first, return_cache=True)
    y, padded = mixer(second, cache, attention_mask=mask, return_cache=True)
    assert y.isfinite().all()
    for row, padding in enumerate(paddings):
        one = slice(row, row + 1)
        _, expected_cache = mixer(first[one], return_cache=True)
        if padding < 9:
            expected, expected_cache = mixer(second[one, padding:], expected_cache,
                                             return_cache=True)
            close(y[one, padding:], expected)
        if not isinstance(mixer, Attention):                     # whose cache holds padding too
            given = [part[one] for part in parts(padded)]
            caches_close(tuple(given), tuple(parts(expected_cache)))
        close(mixer.step(x_t, padded)[0][one], mixer.step(x_t[one], expected_cache)[0])


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32])
def test_integer_mask_equals_bool_mask(one_of_each_class, dtype):
    x = randn(2, 5, 8)
    mask = torch.arange(5) >= torch.tensor([[2], [0]])
    assert torch.equal(one_of_each_class(x, attention_mask=mask.to(dtype)),
                       one_of_each_class(x, attention_mask=mask))


@pytest.mark.parametrize(("mask", "message"), [
    (torch.ones(2, 5), "expected dtype bool or int64 or int32, got float32$"),
    (torch.ones(2, 4, dtype=torch.bool), r"expected shape \(2, 5\) = .+, got shape \(2, 4\)$"),
    (torch.full((2, 5), 2), "expected values that are 0 or 1, got 2 to 2$"),
    (torch.arange(5).expand(2, 5) < 3, "expected padding to the left alone, got some after a "),
    (torch.tensor([[True, False, True, True, True]] * 2), "expected padding to the left alone"),
    (torch.ones(2, 5, dtype=torch.bool, device="meta"), "expected device cpu, .+ got meta$"),
    ([[1] * 5] * 2, "expected a torch.Tensor, got list$"),
], ids=["float", "shape", "values", "right", "between", "device", "list"])
def test_wrong_mask_is_refused(one_of_each_class, mask, message):
    with pytest.raises(ValueError, match=f"^attention_mask: {message}"):
        one_of_each_class(randn(2, 5, 8), attention_mask=mask)


def test_wrong_cache_is_refused_by_name(one_of_each_class):
    x = randn(2, 5, 8)
    for call in (lambda cache: one_of_each_class(x, cache),
                 lambda cache: one_of_each_class.step(x[:, 0], cache)):
        with pytest.raises(ValueError, match=r"^cache: expected .+`init_cache`.+, got str$"):
            call("state")
        if isinstance(one_of_each_class, MLP):
            continue
        with pytest.raises(ValueError, match=r"^cache(\.\w+)?: expected shape \(2, .+, got shape"):
            call(one_of_each_class.init_cache(3))
        with torch.no_grad():
            _, cache = one_of_each_class(x, return_cache=True)
        for change in (lambda part: part.to(torch.complex64), lambda part: part.to("meta"),
                       Tensor.tolist, lambda part: part / 0, Tensor.to_sparse):
            with pytest.raises(ValueError, match=r"^cache(\.\w+)?: expected .+, got "):
                call(changed(cache, change))
    with pytest.raises(ValueError, match=r"^cache: expected .+, got NoneType$"):
        one_of_each_class.step(x[:, 0], None)
    with pytest.raises(ValueError, match=r"^batch: expected a whole number from 1 up, got 0$"):
        one_of_each_class.init_cache(0)


def test_the_parts_of_a_new_cache_share_no_memory(mixer):
    tensors = [part for part in parts(mixer.init_cache(2)) if part.numel()]
    assert len({part.data_ptr() for part in tensors}) == len(tensors)


@pytest.mark.parametrize("shape", [(2, 5, 7), (2, 8), (8,)])
def test_wrong_input_shape_is_refused(one_of_each_class, shape):
    with pytest.raises(ValueError, match=r"^x: expected shape \(batch, length, 8\), got shape"):
        one_of_each_class(torch.zeros(shape))
    step_shape = (2, 5, 8) if shape == (2, 8) else shape
    with pytest.raises(ValueError, match=r"^x: expected shape \(batch, 8\), got shape"):
        one_of_each_class.step(torch.zeros(step_shape), one_of_each_class.init_cache(2))


@pytest.mark.parametrize(("wrong", "message"), [
    (lambda x: x.tolist(), "a torch.Tensor, got list"),
    (lambda x: x.numpy(), "a torch.Tensor, got ndarray"),
    (lambda x: x.float(), "dtype float64, that of the layer, got float32"),
    (lambda x: x.half(), "dtype float64, that of the layer, got float16"),
    (lambda x: x.long(), "dtype .+, got int64"),
    (lambda x: x.to(torch.complex128), "dtype .+, got complex128"),
    (lambda x: x.to("meta"), "device cpu, that of the weights, got meta"),
    (lambda x: x.to_sparse(), "a dense tensor, got torch.sparse_coo"),
    (lambda x: x[:0], "at least one element"),
    (lambda x: x / 0, "finite numbers, got "),
])
def test_wrong_input_is_refused_by_forward_and_step(one_of_each_class, wrong, message):
    x = randn(2, 5, 8)
    if isinstance(one_of_each_class, MLP) and message == "at least one element":
        assert one_of_each_class(x[:, :0]).shape == (2, 0, 8)  # for an expert that gets no token
    else:
        with pytest.raises(ValueError, match=f"^x: expected {message}"):
            one_of_each_class(wrong(x))
    with pytest.raises(ValueError, match=f"^x: expected {message}"):
        one_of_each_class.step(wrong(x[:, 0]), one_of_each_class.init_cache(2))


def test_step_does_not_change_the_cache_it_is_given(mixer):
    _, cache = mixer(randn(2, 5, 8), return_cache=True)
    before = [part.clone() for part in parts(cache)]
    mixer.step(randn(2, 8, seed=1), cache)
    for part, copy in zip(parts(cache), before, strict=True):
        assert torch.equal(part, copy)


@pytest.mark.parametrize("build", [lambda: Mamba(8), lambda: Mamba2(8, headdim=4), lambda: S6(8)],
                         ids=["Mamba", "Mamba2", "S6"])
def test_a_step_does_not_write_over_what_it_can_not(build):
    mixer = build()
    x = torch.randn(3, 8)
    expanded = changed(mixer.init_cache(1), lambda part: part.expand(3, *part.shape[1:]))
    with torch.inference_mode():
        inference = mixer.init_cache(3)
        mixer.step_(x, inference)
    for cache, reason in ((expanded, "an expanded tensor"), (inference, "one made in inference")):
        with torch.no_grad(), pytest.raises(ValueError, match=rf"^cache.*: expected .+ {reason}"):
            mixer.step_(x, cache)


@pytest.mark.parametrize("build", [lambda: Mamba(8), lambda: Mamba2(8, headdim=4), lambda: S6(8),
                                   lambda: LSTM(8), lambda: S4D(8)],
                         ids=["Mamba", "Mamba2", "S6", "LSTM", "S4D"])
def test_gradients_through_a_cache_of_inference_mode_are_refused_by_its_name(build):
    mixer = build()
    x = torch.randn(3, 5, 8)
    with torch.inference_mode():
        _, cache = mixer(x, return_cache=True)
    for call in (lambda: mixer.step(x[:, 0], cache), lambda: mixer(x, cache)):
        with pytest.raises(ValueError, match=r"^cache.*: expected .+`torch.no_grad`.+inference"):
            call()
        with torch.no_grad():
            call()


@pytest.mark.parametrize("name", [name for name in MIXERS if name.startswith(("Mamba", "S6"))])
def test_in_place_step_equals_step_and_writes_into_the_given_tensors(name, double):
    mixer = build(name)
    with torch.no_grad():
        _, cache = mixer(randn(2, 5, 8), return_cache=True)
        own = changed(cache, torch.clone)
        for seed in (1, 2):
            x_t = randn(2, 8, seed=seed)
            expected, cache = mixer.step(x_t, cache)
            assert torch.equal(mixer.step_(x_t, own), expected)
            for part, expected_part in zip(parts(own), parts(cache), strict=True):
                assert torch.equal(part, expected_part)


def test_only_attention_caches_grow_with_the_length(mixer):
    sizes = [sum(part.numel() for part in parts(mixer(randn(2, length, 8), return_cache=True)[1]))
             for length in (1, 2, 30)]
    growth = 2 * 2 * 8 if isinstance(mixer, Attention) else 0    # a key and a value for each of two
    assert sizes[1] - sizes[0] == growth
    assert sizes[2] - sizes[1] == 28 * growth
    assert sum(part.numel() for part in parts(mixer.init_cache(2))) == sizes[0] - growth


def test_forward_and_backward_run_under_bfloat16_autocast(one_of_each_class):
    mixer = one_of_each_class.float()
    x = randn(2, 20, 8).float()
    expected = mixer(x)
    with torch.autocast("cpu", torch.bfloat16):
        y, cache = mixer(x, return_cache=True)
        continued = mixer(x, cache)
        y.float().square().sum().backward()
    assert (y - expected).norm() < 0.02 * expected.norm()
    assert continued.isfinite().all()
    assert all(parameter.grad.dtype == torch.float32 for parameter in mixer.parameters())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64],
                         ids=str)
@pytest.mark.parametrize("name", MIXERS)
def test_an_initial_cache_equals_no_cache_in_every_dtype(name, dtype):
    torch.manual_seed(0)
    mixer = MIXERS[name]().to(dtype)
    x = randn(2, 5, 8).to(dtype)
    y, last = mixer(x, return_cache=True)
    y_, last_ = mixer(x, mixer.init_cache(2), return_cache=True)
    stepped, last_stepped = run_steps(mixer, x)
    tolerance = {torch.float64: 1e-12, torch.float32: 1e-5}.get(dtype, 4 * torch.finfo(dtype).eps)
    assert y.dtype == y_.dtype == stepped.dtype == dtype
    assert torch.equal(y_, y)
    assert (stepped.double() - y.double()).norm() <= tolerance * y.double().norm()
    kinds = [[(part.dtype, part.shape) for part in parts(cache)]
             for cache in (last, last_, last_stepped)]
    assert kinds[0] == kinds[1] == kinds[2]
    for one, other, step_part in zip(parts(last), parts(last_), parts(last_stepped), strict=True):
        assert torch.equal(one, other)
        wide = torch.complex128 if one.is_complex() else torch.float64
        assert (step_part.to(wide) - one.to(wide)).norm() <= tolerance * one.to(wide).norm()
    if not isinstance(mixer, Attention):
        assert [(part.dtype, part.shape) for part in parts(mixer.init_cache(2))] == kinds[0]
