"""The scan and the layers together with other parts of PyTorch."""

import copy
import pickle
from functools import partial

import pytest
import torch
from models import random_ids, small_model
from packaging.version import Version
from systems import F64, randn, stable_diagonal, uniform
from torch import nn
from torch.autograd import forward_ad, gradgradcheck
from torch.nn.utils import parametrizations, prune
from torch.utils.checkpoint import checkpoint

from minimamba import selective_scan
from minimamba.nn import LSTM, MLP, S6, Attention, Mamba, Mamba2
from minimamba.ops.causal_conv1d import _apply as conv_kernel
from minimamba.s4.layers import S4, S4D
from minimamba.scan import why_not

AGAIN = "can't be differentiated again"


def device_of(method):
    """Where a method runs: the Triton kernels on the GPU if there is one."""
    return "cuda" if method != "chunked" and torch.cuda.is_available() else "cpu"


def scan_inputs(length=5, dtype=torch.float32, device="cpu"):
    tensors = {"x": randn(2, length, 4), "delta": uniform(0.1, 1, 2, length, 4),
               "A": stable_diagonal(4, 2), "B": randn(2, length, 2, seed=1),
               "C": randn(2, length, 2, seed=2), "D": randn(4, seed=3),
               "z": randn(2, length, 4, seed=4), "initial_state": randn(2, 4, 2, seed=5)}
    return {name: t.to(device, dtype).requires_grad_() for name, t in tensors.items()}


def skip_unless_it_runs(method):
    if reason := why_not(method):
        pytest.skip(reason)


def penalize(y, x):
    """A gradient penalty. The gradient that arrives, of a sum, depends on nothing: PyTorch's own
    `once_differentiable` lets it pass, without an error and without an effect."""
    gradient, = torch.autograd.grad(y, x, create_graph=True)
    (y + gradient.square().sum()).backward()


def minimal(**tensors):
    from minimamba.scan.triton_minimal import selective_scan_minimal

    del tensors["initial_state"]
    return selective_scan_minimal(**tensors)


def operator(x, **tensors):
    """The path of `torch.compile`: the registered operator."""
    return torch.compile(partial(selective_scan, method="triton", **tensors), backend="eager")(x)


@pytest.mark.usefixtures("short_chunks")
@pytest.mark.parametrize(("name", "with_respect_to"), [
    *(("chunked", name) for name in ("x", "delta", "A", "B", "C", "D", "z", "initial_state")),
    ("triton", "D"), ("minimal", "x"), ("operator", "x")])
def test_second_derivative_of_a_fused_scan_is_an_error(name, with_respect_to):
    skip_unless_it_runs("chunked" if name == "chunked" else "triton")
    scan = {"minimal": minimal, "operator": operator}.get(name) or partial(selective_scan,
                                                                           method=name)
    tensors = scan_inputs(1, device=device_of(name))
    y = scan(**tensors).sum()
    with pytest.raises(RuntimeError, match=rf"{AGAIN}.+method='reference'"):
        penalize(y, tensors[with_respect_to])


def test_second_derivative_of_the_convolution_kernel_is_an_error():
    skip_unless_it_runs("triton")
    x, weight = (randn(*shape).to(device_of("triton"), torch.float32).requires_grad_()
                 for shape in ((1, 5, 3), (3, 2)))
    y = conv_kernel(x, weight, None, None).sum()
    with pytest.raises(RuntimeError, match=f"{AGAIN}.+float64"):
        penalize(y, x)


@pytest.mark.skipif(Version(torch.__version__) < Version("2.13"),
                    reason="before, gradients of compiled functions had none themselves")
def test_second_derivative_of_a_compiled_scan_is_an_error():
    tensors = scan_inputs(2)
    x = tensors.pop("x")
    scan = partial(selective_scan, method="chunked", **tensors)
    torch.compiler.reset()
    y = torch.compile(scan, backend="aot_eager")(x).sum()
    with pytest.raises(RuntimeError, match=r"again|double backward"):
        penalize(y, x)


def test_reference_has_second_derivatives():
    tensors = scan_inputs(3, F64)
    assert gradgradcheck(lambda *t: selective_scan(**dict(zip(tensors, t, strict=True)),
                                                   method="reference"), tuple(tensors.values()))


@pytest.mark.usefixtures("short_chunks")
@pytest.mark.parametrize(("method", "groups"), [("reference", 1), ("chunked", 1), ("chunked", 4),
                                                ("triton", 1)])
def test_outputs_may_be_changed_in_place(method, groups):
    skip_unless_it_runs(method)
    tensors = scan_inputs(1, device=device_of(method))
    for name in "BC":
        tensors[name] = tensors[name].detach()[:, :, None].expand(-1, -1, groups, -1)
        tensors[name].requires_grad_()                       # then the states are saved for it
    y, last = selective_scan(**tensors, method="reference", return_last_state=True)
    expected = torch.autograd.grad(y.sin().sum() + last.sin().sum(), tensors["x"])[0]
    y, last = selective_scan(**tensors, method=method, return_last_state=True)
    y += 1
    last += 1
    given = torch.autograd.grad((y - 1).sin().sum() + (last - 1).sin().sum(), tensors["x"])[0]
    torch.testing.assert_close(given, expected)


@pytest.mark.parametrize("method", ["chunked", "triton"])
def test_input_changed_in_place_before_the_backward_pass_is_an_error(method):
    skip_unless_it_runs(method)
    tensors = scan_inputs(1, device=device_of(method))
    x = tensors.pop("x").detach().clone()
    y = selective_scan(x, **tensors, method=method)
    x += 1
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


class Scan(nn.Module):
    """A scan of x by one method, everything else given."""

    def __init__(self, method, length=18):
        super().__init__()
        self.method = method
        self.inputs = {name: t.detach() for name, t in scan_inputs(length).items() if name != "x"}

    def forward(self, x):
        return selective_scan(x, **self.inputs, method=self.method)


@pytest.mark.parametrize(("method", "length"), [("reference", 3), ("chunked", 18)])
def test_scan_runs_in_one_graph(method, length):
    scan = Scan(method, length)
    x = randn(2, length, 4).float()
    torch.compiler.reset()
    compiled = torch.compile(scan, fullgraph=True, backend="aot_eager")
    runs = [scan, compiled]
    if method != "chunked":
        runs.append(torch.export.export(scan, (x,)).module())
    gradients = []
    for run in runs:
        leaf = x.clone().requires_grad_()
        y = run(leaf)
        torch.testing.assert_close(y, scan(x))
        gradients.append(torch.autograd.grad(y.sin().sum(), leaf)[0])
    for gradient in gradients:
        torch.testing.assert_close(gradient, gradients[0])


@pytest.mark.parametrize("absent", [(), ("D", "z", "delta_bias")], ids=["all", "few"])
def test_operator_of_the_chunks_is_registered_as_pytorch_asks_and_is_the_scan(absent):
    given = scan_inputs(20, F64) | {"delta_bias": randn(4, seed=6).requires_grad_()}
    given |= dict.fromkeys(absent)
    x, delta, A, B, C, D, z, h, bias = given.values()
    arguments = x, delta, A, B[:, :, None], C[:, :, None], D, z, bias, h, True, True, 2
    operator = torch.ops.minimamba.scan_in_chunks.default
    torch.library.opcheck(operator, arguments)
    leaves = [t for t in given.values() if t is not None]
    results = operator(*arguments)[:2], selective_scan(
        **given, delta_softplus=True, return_last_state=True, method="reference")
    for one, other in zip(*([*outputs, *torch.autograd.grad(
            sum(output.sin().sum() for output in outputs), leaves)] for outputs in results),
            strict=True):
        torch.testing.assert_close(one, other)


def test_graph_of_a_longer_scan_is_no_larger():
    sizes = []

    def count(graph, _):
        sizes.append(len(graph.graph.nodes))
        return graph.forward

    for length in (5, 50):
        torch.compiler.reset()
        torch.compile(Scan("chunked", length), backend=count)(randn(2, length, 4).float())
    assert sizes[0] == sizes[1] < 50


def test_compiled_method_says_that_it_cannot_be_part_of_a_graph():
    with pytest.raises(Exception, match="can't be a part of a larger one"):
        torch.compile(Scan("compiled"), backend="eager", fullgraph=True)(randn(2, 18, 4).float())


def test_chunked_method_says_that_it_cannot_be_exported():
    with pytest.raises(ValueError, match="would lose its backward pass"):
        torch.export.export(Scan("chunked"), (randn(2, 18, 4).float(),))


@pytest.mark.parametrize("method", ["auto", "reference"])
def test_scan_can_be_transformed(method):
    scan = Scan(method)
    x = randn(3, 2, 18, 4).float()
    each = torch.stack([scan(one) for one in x])
    torch.testing.assert_close(torch.func.vmap(scan)(x), each)
    leaf = x.clone().requires_grad_()
    expected, = torch.autograd.grad(torch.stack([scan(one) for one in leaf]).sin().sum(), leaf)
    given = torch.func.vmap(torch.func.grad(lambda one: scan(one).sin().sum()))(x)
    torch.testing.assert_close(given, expected)
    jacobian = torch.func.jacrev(scan)(x[0])
    torch.testing.assert_close(jacobian.flatten(0, 2).sum(0),
                               torch.func.grad(lambda one: scan(one).sum())(x[0]))


def test_fused_scan_refuses_to_be_transformed():
    with pytest.raises(ValueError, match=r"method: .+'reference'.+torch\.func"):
        torch.func.vmap(Scan("chunked"))(randn(3, 2, 18, 4).float())


@pytest.mark.parametrize("pattern", ["M", "A64FL2"])
def test_model_runs_in_one_graph(pattern):
    model = small_model(0.1, n_layer=len(pattern), layers=pattern, n_heads=2, head_dim=8).eval()
    ids = random_ids(length=3)
    expected = model(ids)
    exported = torch.export.export(model, (ids,)).module()
    torch.testing.assert_close(exported(ids), expected)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(other(ids), expected)


@pytest.mark.parametrize("pattern", ["M", "A64F2"])
def test_model_is_compiled_whole(pattern):
    model = small_model(0.1, n_layer=len(pattern), layers=pattern, n_heads=2, head_dim=8).eval()
    torch.compiler.reset()
    # S4D's kernel is computed in blocks, whose number PyTorch must know; and PyTorch 2.11 takes no
    # function with a hand-written backward for several lengths.
    dynamic = "4" not in pattern and torch.__version__ >= "2.12"
    run = torch.compile(model, backend="aot_eager", fullgraph=True, dynamic=dynamic)
    for length in (4, 6) if dynamic else (4,):
        ids = random_ids(length=length)
        torch.testing.assert_close(run(ids), model(ids))
    exported = torch.export.export(model, (ids,), strict=True).module()
    torch.testing.assert_close(exported(ids), model(ids))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("pattern", ["M", "A64FL2"])
def test_model_can_be_traced(pattern):
    model = small_model(0.1, n_layer=len(pattern), layers=pattern, n_heads=2, head_dim=8).eval()
    ids = random_ids(length=9)
    traced = torch.jit.trace(model, (ids,))
    torch.testing.assert_close(traced(ids), model(ids), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("build", [lambda: S4(4, 8), lambda: S4D(4, 8, init="legs")])
def test_S4_layer_can_be_built_without_memory(build):
    with torch.device("meta"):
        layer = build()
    assert {x.device.type for x in layer.parameters()} == {"meta"}


def test_forward_mode_derivatives_are_those_of_torch_func():
    block = Mamba(6)
    x, tangent = randn(2, 9, 6).float(), randn(2, 9, 6, seed=1).float()
    _, expected = torch.func.jvp(block, (x,), (tangent,))
    with forward_ad.dual_level():
        y = block(forward_ad.make_dual(x, tangent))
        torch.testing.assert_close(forward_ad.unpack_dual(y).tangent, expected)


@pytest.mark.parametrize("method", ["auto", "reference"])
def test_batched_gradients_are_right_or_an_error(method):
    tensors = scan_inputs()
    y = selective_scan(**tensors, method=method)
    several = torch.stack([torch.ones_like(y), y.detach()])
    call = partial(torch.autograd.grad, y, tensors["x"], retain_graph=True)
    if method == "reference":
        given, = call(grad_outputs=several, is_grads_batched=True)
        torch.testing.assert_close(given, torch.stack([call(grad_outputs=one)[0]
                                                       for one in several]))
    else:
        with pytest.raises(RuntimeError, match=r"^These .+is_grads_batched.+'reference'"):
            call(grad_outputs=several, is_grads_batched=True)


def test_gradients_of_each_sequence_by_vmap_are_those_of_one_after_the_other():
    model = small_model(0.1)
    ids = random_ids(length=5)
    weights = dict(model.named_parameters())

    def loss(weights, sequence):
        return torch.func.functional_call(model, weights, (sequence[None],)).square().mean()

    given = torch.func.vmap(torch.func.grad(loss), (None, 0))(weights, ids)
    for i, sequence in enumerate(ids):
        expected = torch.autograd.grad(loss(weights, sequence), list(weights.values()))
        for name, gradient in zip(weights, expected, strict=True):
            torch.testing.assert_close(given[name][i], gradient, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("build", [lambda: S4(4, 8), lambda: S4D(4, 8, init="legs")],
                         ids=["S4", "S4D"])
def test_gradients_of_S4_layers_by_vmap_sum_to_those_of_the_batch(build):
    layer, x = build(), randn(3, 12, 4).float()
    weights = dict(layer.named_parameters())

    def loss(weights, x):
        return torch.func.functional_call(layer, weights, (x,)).square().sum()

    given = torch.vmap(torch.func.grad(loss), (None, 0))(weights, x[:, None])
    expected = torch.autograd.grad(loss(weights, x), list(weights.values()))
    for gradient, whole in zip(given.values(), expected, strict=True):
        torch.testing.assert_close(gradient.sum(0), whole, rtol=1e-3, atol=1e-5)


def test_checkpointed_block_has_the_same_gradients():
    block = Mamba(6)
    x = randn(2, 9, 6).float().requires_grad_()
    expected = torch.autograd.grad(block(x).sin().sum(), x)[0]
    given = torch.autograd.grad(checkpoint(block, x, use_reentrant=False).sin().sum(), x)[0]
    torch.testing.assert_close(given, expected)


class LowRank(nn.Module):
    """LoRA: a layer and a product of low rank beside it. It has the weight, and another effect."""

    def __init__(self, base, features):
        super().__init__()
        self.base = base
        outputs, inputs = features
        self.down, self.up = nn.Linear(inputs, 2, bias=False), nn.Linear(2, outputs, bias=False)

    @property
    def weight(self):
        return self.base.weight

    @property
    def bias(self):
        return self.base.bias

    def forward(self, x):
        return self.base(x) + self.up(self.down(x))

    def merged(self):
        """One layer of the same effect."""
        layer = copy.deepcopy(self.base)
        layer.weight.data += self.up.weight.data @ self.down.weight.data
        return layer


MIXERS = {"Mamba": lambda: Mamba(8, d_state=3), "S6": lambda: S6(8, 3),
          "Mamba2": lambda: Mamba2(8, d_state=3, headdim=4),
          "Attention": lambda: Attention(8, 2), "MLP": lambda: MLP(8), "LSTM": lambda: LSTM(8)}
PROJECTIONS = [("Mamba", "in_proj"), ("Mamba", "x_proj"), ("Mamba", "dt_proj"),
               ("Mamba", "out_proj"), ("Mamba2", "in_proj"), ("Mamba2", "out_proj"),
               ("S6", "x_proj"), ("S6", "dt_proj"),
               ("Attention", "in_proj"), ("Attention", "out_proj"), ("MLP", "in_proj"),
               ("LSTM", "out_proj")]


def outputs(mixer, x):
    """The outputs for a sequence, all at once and one by one."""
    cache = mixer.init_cache(len(x))
    steps = []
    for x_t in x.unbind(1):
        y_t, cache = mixer.step(x_t, cache)
        steps.append(y_t)
    return mixer(x), torch.stack(steps, 1)


def check_same(given, expected):
    for one, other in zip(given, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("mixer", "name"), PROJECTIONS)
def test_a_projection_that_was_replaced_is_called(mixer, name):
    torch.manual_seed(0)
    block = MIXERS[mixer]()
    x = randn(2, 7, 8).float()
    plain = block(x)
    layer = getattr(block, name)
    lora = LowRank(layer, layer.weight.shape)
    setattr(block, name, lora)
    given = outputs(block, x)
    assert not torch.allclose(given[0], plain)
    setattr(block, name, lora.merged())
    check_same(given, outputs(block, x))


class Quantized(torch.Tensor):
    """A weight that, like those of torchao, has no other operation than that of its layer."""

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        if function in (torch.Tensor.chunk, torch.Tensor.__getitem__, torch.Tensor.new_zeros):
            raise NotImplementedError(function.__name__)
        if function is torch.Tensor.detach:
            return super().__torch_function__(function, types, args, kwargs or {})
        with torch._C.DisableTorchFunctionSubclass():
            return function(*args, **(kwargs or {}))


def quantize(layer):
    layer.weight = nn.Parameter(layer.weight.detach().as_subclass(Quantized))


def replace_forward(layer):
    """As offloading does, which first brings the weights back."""
    forward = layer.forward
    layer.forward = lambda x: 2 * forward(x)


@pytest.mark.parametrize("name", ["in_proj", "conv1d", "x_proj", "dt_proj", "out_proj"])
@pytest.mark.parametrize("change", [
    replace_forward, quantize,
    parametrizations.weight_norm, parametrizations.spectral_norm, nn.utils.weight_norm,
    partial(prune.random_unstructured, name="weight", amount=0.5),
    lambda layer: layer.register_forward_hook(lambda layer, inputs, y: 2 * y),
    lambda layer: layer.register_forward_pre_hook(lambda layer, inputs: (2 * inputs[0],))],
    ids=["forward", "subclass", "weight_norm", "spectral_norm", "old weight_norm", "prune", "hook",
         "pre-hook"])
def test_a_layer_that_was_changed_is_called(name, change):
    torch.manual_seed(0)
    block = Mamba(8, d_state=3).eval()
    x = randn(2, 7, 8).float()
    layer = getattr(block, name)
    change(layer)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter += 0.1 * torch.rand_like(parameter)

    class Called(nn.Module):
        def forward(self, inputs):
            return layer(inputs)

    given = outputs(block, x)
    setattr(block, name, Called())
    check_same(given, outputs(block, x))


def test_a_hook_on_all_modules_sees_every_layer():
    seen = set()
    model = small_model(n_layer=8, layers="MA64FLM2", n_heads=2, head_dim=8)
    hook = nn.modules.module.register_module_forward_hook(
        lambda module, inputs, y: seen.add(module))
    model(random_ids(length=9))
    hook.remove()
    assert set(model.modules()) - seen == {model.layers}


@pytest.mark.parametrize("name", ["in_proj", "conv1d", "x_proj", "dt_proj", "out_proj"])
@pytest.mark.parametrize("kind", ["full_backward_pre_hook", "full_backward_hook"])
def test_a_hook_on_the_gradient_of_a_layer_is_called(name, kind):
    torch.manual_seed(0)
    block = Mamba(8, d_state=3)
    x = randn(2, 7, 8).float().requires_grad_()
    calls = []
    getattr(getattr(block, name), f"register_{kind}")(lambda *_: calls.append(kind))
    block(x).sum().backward()
    assert len(calls) == 1
    block.step(x[:, 0], block.init_cache(2))[0].sum().backward()
    assert len(calls) == 2


def test_compiled_step_calls_a_layer_with_hooks():
    model = small_model(0.1)
    ids = random_ids(length=1)[:, 0]
    hook = model.layers[0].mixer.out_proj.register_forward_hook(lambda layer, inputs, y: 2 * y)
    expected, _ = model.step(ids, model.init_cache(2))
    torch.compiler.reset()
    step = torch.compile(lambda ids, cache: model.step(ids, cache)[0], backend="eager")
    torch.testing.assert_close(step(ids, model.init_cache(2)), expected)
    hook.remove()
    assert not torch.allclose(step(ids, model.init_cache(2)), expected)


@pytest.mark.parametrize("change", [
    lambda model: model.to("meta"), lambda model: model.to("meta").to_empty(device="cpu"),
    lambda model: model.load_state_dict(small_model(0.1).state_dict(), assign=True),
    lambda model: nn.ModuleList([model]).load_state_dict(
        nn.ModuleList([small_model(0.1)]).state_dict(), assign=True)],
    ids=["meta", "to_empty", "load_state_dict", "part of another module"])
def test_tied_weights_stay_tied(change):
    model = copy.deepcopy(small_model(0.1))
    change(model)
    assert model.lm_head.weight is model.embedding.weight
    assert len(list(model.parameters())) == len(list(small_model(0.1).parameters()))


def test_an_ensemble_computes_what_its_models_do():
    models = [small_model(0.1, n_layer=6, layers="MA64F2", n_heads=2, head_dim=8).eval()
              for _ in range(2)]
    with torch.no_grad():
        models[1].embedding.weight *= 2
    ids = random_ids(length=9)
    base = copy.deepcopy(models[0]).to("meta")

    def call(parameters, buffers):
        return torch.func.functional_call(base, (parameters, buffers), (ids,))

    given = torch.vmap(call)(*torch.func.stack_module_state(models))
    torch.testing.assert_close(given, torch.stack([model(ids) for model in models]),
                               rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("pattern", ["M", "MA64FL2"])
def test_quantized_model_runs_in_both_ways(pattern):
    from torch.ao.quantization import quantize_dynamic

    model = small_model(0.1, n_layer=len(pattern), layers=pattern, n_heads=2, head_dim=8).eval()
    ids = random_ids(length=9)
    expected = model(ids)
    quantized = quantize_dynamic(model, {nn.Linear}, torch.qint8)
    logits = quantized(ids)
    assert 0 < (logits - expected).norm() < 0.2 * expected.norm()
    last, _ = quantized.step(ids[:, 0], quantized.init_cache(2))
    torch.testing.assert_close(last, quantized(ids[:, :1])[:, 0], rtol=0.1, atol=0.1)
    assert quantized.generate(ids, 3).shape == (2, 12)
