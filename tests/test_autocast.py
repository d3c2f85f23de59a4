"""Autocast changes nothing in what promises float32; half precision is computed in float32."""

import copy

import pytest
import torch
from models import perturb
from systems import randn, stable_diagonal, uniform

from minimamba import MambaConfig, MambaLM, continuous, discretize, lti, selective_scan
from minimamba.nn import S6, Mamba, Mamba2, S4Block
from minimamba.s4 import diagonal, dplr, hippo
from minimamba.s4.layers import S4, S4D
from minimamba.scan import why_not
from minimamba.shapes import apply_A

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
HALF = (torch.bfloat16, torch.float16)
halves = pytest.mark.parametrize("half", HALF, ids=["bfloat16", "float16"])
LAYERS = {"S4": lambda: S4(4, 8), "S4D": lambda: S4D(4, 8),
          "S4D real": lambda: S4D(4, 8, init="real", discretization="bilinear")}
layers = pytest.mark.parametrize("name", LAYERS)


def f32(*shape, seed=0):
    return randn(*shape, seed=seed).float()


def run(function, *tensors, again=False):
    """All outputs of a function, and the gradients with respect to its arguments; `again`: also
    those of a penalty on these gradients."""
    leaves = [t.detach().clone().requires_grad_() for t in tensors]
    outputs = function(*leaves)
    outputs = outputs if isinstance(outputs, (tuple, list)) else (outputs,)
    loss = sum((y.real * f32(*y.shape, seed=7).to(y.device)).square().sum() for y in outputs)
    gradients = torch.autograd.grad(loss, leaves, create_graph=again, allow_unused=True,
                                    materialize_grads=True)
    results = [*outputs, *gradients]
    if again:
        penalty = sum(gradient.square().sum() for gradient in gradients)
        results += torch.autograd.grad(penalty, leaves, allow_unused=True, materialize_grads=True)
    return [result.detach() for result in results]


def check_unchanged(function, *tensors, half, again=False):
    __tracebackhide__ = True
    tensors = [t.to(DEVICE) for t in tensors]
    expected = run(function, *tensors, again=again)
    with torch.autocast(DEVICE, half):
        given = run(function, *tensors, again=again)
    for one, other in zip(given, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7)


@halves
# "compiled" is "chunked" with other arithmetic, and would compile for a minute here.
@pytest.mark.usefixtures("short_chunks")
@pytest.mark.parametrize("method", ["reference", "chunked", "triton"])
def test_scan_and_its_gradients_are_the_same_under_autocast(method, half):
    if reason := why_not(method):
        pytest.skip(reason)
    length = 5 if method == "triton" else 33
    tensors = (f32(1, length, 4), uniform(0.1, 1, 1, length, 4).float(),
               stable_diagonal(4, 4).float(), f32(1, length, 4, seed=1),
               f32(1, length, 4, seed=2), f32(4, seed=3), f32(1, length, 4, seed=4))
    check_unchanged(lambda *t: selective_scan(*t, return_last_state=True, method=method),
                    *tensors, half=half)


TIMES = torch.arange(9.0, device=DEVICE)
LTI = {"dense": (-torch.eye(4) * 0.5 + 0.1 * f32(4, 4), f32(4, seed=1), f32(4, seed=2)),
       "diagonal": (-uniform(0.1, 0.9, 4).float(), f32(4, seed=1), f32(4, seed=2))}
LEGS = dplr.DPLR(*(p.to(DEVICE, torch.complex64) for p in dplr.legs(8)))
SYSTEMS = {
    "recurrence": (lti.recurrence, (*LTI["dense"], f32(2, 20, seed=3))),
    "step": (lti.step, (*LTI["dense"], f32(2, seed=3), f32(2, 4, seed=4))),
    "apply_A": (lambda A, h: apply_A(A, h, dense=True), (LTI["dense"][0], f32(2, 4))),
    "kernel": (lambda *s: lti.kernel(*s, 20), LTI["dense"]),
    "convolve": (lti.convolve, (f32(20), f32(2, 20, seed=1))),
    "zoh": (lambda A, B: discretize.zoh(A, B, 0.3), LTI["dense"][:2]),
    "bilinear": (lambda A, B: discretize.bilinear(A, B, 0.3), LTI["dense"][:2]),
    "simulate": (lambda A, B, x: continuous.simulate(A, B, x, TIMES),
                 (*LTI["dense"][:2], f32(2, 9, seed=3))),
    "impulse": (lambda *s: continuous.impulse_response(*s, TIMES), LTI["dense"]),
    "project": (lambda x: hippo.project("legt", 6, x, TIMES[1:], 3.0), (f32(2, 8),)),
    "vandermonde": (lambda A, w: diagonal.vandermonde(A, w, 20), LTI["diagonal"][:2]),
    "to_dense": (lambda C: dplr.to_dense(LEGS, torch.complex(C, C)), (f32(4),)),
}


@halves
@pytest.mark.parametrize("name", SYSTEMS)
def test_linear_system_and_its_gradients_are_the_same_under_autocast(name, half):
    function, tensors = SYSTEMS[name]
    check_unchanged(function, *tensors, half=half, again=True)


def with_parameters(layer, call):
    """A function of x and all parameters, whose gradients `run` returns."""
    names = [name for name, _ in layer.named_parameters()]

    def function(x, *parameters):
        return call(lambda *arguments, **options: torch.func.functional_call(
            layer, dict(zip(names, parameters, strict=True)), arguments, options), x)

    return function, [f32(2, 20, 4), *layer.parameters()]


@halves
@layers
def test_S4_layer_and_its_gradients_are_the_same_under_autocast(name, half):
    torch.manual_seed(0)
    layer = LAYERS[name]().to(DEVICE)
    options = {} if name == "S4" else {"return_cache": True}
    function, tensors = with_parameters(layer, lambda run_layer, x: run_layer(x, **options))
    check_unchanged(function, *tensors, half=half, again=True)


@halves
@layers
def test_S4_step_is_the_same_under_autocast(name, half):
    torch.manual_seed(0)
    layer = LAYERS[name]().to(DEVICE)
    cache = torch.rand_like(layer.init_cache(2))
    check_unchanged(layer.step, f32(2, 4), cache, half=half)


@halves
def test_step_of_a_selective_SSM_keeps_the_state_in_float32_under_autocast(half, monkeypatch):
    """The projections run in half precision, as autocast has it; the rest is as without."""
    torch.manual_seed(0)
    layer = S6(4, 8).to(DEVICE)
    projected = [part.detach() for part in layer._project(f32(2, 1, 4).to(DEVICE))]
    monkeypatch.setattr(S6, "_project", lambda self, x: projected)
    check_unchanged(layer.scan_step, f32(2, 4), f32(2, 4, 8, seed=1), f32(2, 4, seed=2), half=half)


@halves
@pytest.mark.parametrize("ssm", [S6, S4D])
def test_state_in_the_block_of_S4_is_the_same_under_autocast(ssm, half):
    torch.manual_seed(0)
    block = S4Block(ssm(4, 8), 4)
    x = f32(2, 5, 4)

    def caches():
        _, read = block(x[:, :4], return_cache=True)
        return read, block.step(x[:, 4], read)[1]

    expected = caches()
    with torch.autocast("cpu", half):
        torch.testing.assert_close(caches(), expected, rtol=1e-6, atol=1e-7)


class AutocastInBackward(torch.autograd.Function):
    """The identity, which notes whether autocast is on in its backward pass."""

    @staticmethod
    def forward(ctx, x, seen):
        ctx.seen = seen
        return x.clone()

    @staticmethod
    def backward(ctx, dy):
        ctx.seen.append(torch.is_autocast_enabled("cpu"))
        return dy, None


def test_autocast_stays_on_in_the_backward_pass_around_what_promises_float32():
    after, before = [], []
    h = f32(4).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        x = AutocastInBackward.apply(h, before)
        y = lti.convolve(f32(3, seed=1), x)
        AutocastInBackward.apply(y, after).sum().backward()
    assert (after, before) == ([True], [True])


@halves
@pytest.mark.parametrize("build", [lambda: Mamba(8), lambda: Mamba2(8, headdim=4)],
                         ids=["Mamba", "Mamba2"])
def test_caches_have_the_same_dtype_under_autocast(build, half):
    block = build()
    expected = [state.dtype for state in block.init_cache(1)]
    mask = torch.tensor([[False, True, True, True, True]])
    with torch.autocast("cpu", half):
        _, cache = block(f32(1, 5, 8), return_cache=True)
        assert [state.dtype for state in cache] == expected
        for before in (None, cache):
            _, cache = block(f32(1, 5, 8), before, attention_mask=mask, return_cache=True)
            assert [state.dtype for state in cache] == expected
        _, cache = block.step(f32(1, 8), cache)
        assert [state.dtype for state in cache] == expected


@halves
@layers
def test_S4_in_half_precision_rounds_only_its_output(name, half):
    torch.manual_seed(0)
    layer = LAYERS[name]().to(half)
    wide = copy.deepcopy(layer).float()                      # of the same, rounded parameters
    x = f32(2, 30, 4).to(half)
    y = layer(x)
    assert y.dtype == half
    torch.testing.assert_close(y, wide(x.float()).to(half))
    cache = layer.init_cache(2)
    assert cache.dtype == wide.init_cache(2).dtype
    outputs = []
    for x_t in x.unbind(1):
        y_t, cache = layer.step(x_t, cache)
        outputs.append(y_t)
    assert y_t.dtype == half
    unit = torch.finfo(half).eps
    torch.testing.assert_close(torch.stack(outputs, 1), y, rtol=2 * unit, atol=2 * unit)
    y.float().square().sum().backward()
    wide(x.float()).square().sum().backward()
    for given, expected in zip(layer.parameters(), wide.parameters(), strict=True):
        assert given.grad.isfinite().all()
        assert (given.grad.float() - expected.grad).norm() <= 4 * unit * expected.grad.norm()


@halves
@pytest.mark.parametrize("pattern", ["MM", "A", "F", "L", "6", "4", "2", "MA64FL2"])
def test_half_precision_model_steps_as_it_reads(pattern, half):
    torch.manual_seed(0)
    model = MambaLM(MambaConfig(vocab_size=40, d_model=8, n_layer=len(pattern), layers=pattern,
                                n_heads=2, head_dim=8))
    perturb(model, 0.1)
    expected = copy.deepcopy(model)
    model = model.to(half)
    ids = torch.randint(40, (2, 12))
    with torch.no_grad():
        whole, cache = model(ids, return_cache=True)
        torch.testing.assert_close(whole.float(), expected(ids), rtol=0.1, atol=0.05)
        later, _ = model.step(ids[:, 0], cache)
        assert later.isfinite().all()
        cache, outputs = model.init_cache(2), []
        for column in ids.unbind(1):
            logits, cache = model.step(column, cache)
            outputs.append(logits)
    assert logits.dtype == half
    torch.testing.assert_close(torch.stack(outputs, 1), whole, rtol=0.1, atol=0.05)
    assert model.generate(ids, 3).shape == (2, 15)
