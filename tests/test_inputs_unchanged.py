"""No function changes what it is given: tensors, incoming gradients, lists, dictionaries."""

import copy
from functools import partial
from pathlib import Path

import pytest
import torch
from models import VOCAB_SIZE, random_ids, small_model
from systems import F64, randn, stable_system, uniform
from test_mixers import MIXERS, build
from torch import Tensor, nn

import minimamba
from minimamba import (
    MambaConfig,
    checkpoint,
    compat,
    continuous,
    discretize,
    generation,
    lti,
    scan,
    selective_scan,
    shapes,
    ssd,
    training,
)
from minimamba.course import classifier, tasks
from minimamba.course import inspect as states
from minimamba.nn.layers import Layer, add_norm
from minimamba.ops import causal_conv1d, gated_norm, linear, pre_norm
from minimamba.s4 import S4, S4D, diagonal, dplr, hippo
from minimamba.scan import associative, chunked

needs_triton = pytest.mark.skipif(bool(scan.why_not("triton")), reason=str(scan.why_not("triton")))
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def tensors_in(value):
    """All tensors in nested lists, tuples, dictionaries and modules."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, nn.Module):
        return [*value.parameters(), *value.buffers()]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return [tensor for part in value for tensor in tensors_in(part)]
    return []


class Unchanged:
    """A context at whose end everything is as it was: the bits, the versions, the containers."""

    def __init__(self, *given):
        self.tensors = tensors_in(given)
        self.containers = [value for value in given if isinstance(value, (list, dict, set))]

    def __enter__(self):
        self.versions = [tensor._version for tensor in self.tensors]
        self.copies = [tensor.detach().clone() for tensor in self.tensors]
        self.contents = [copy.copy(value) for value in self.containers]

    def __exit__(self, *error):
        if any(error):
            return
        for tensor, version, before in zip(self.tensors, self.versions, self.copies, strict=True):
            assert torch.equal(tensor, before), tuple(tensor.shape)
            # Written and restored is not enough: autograd would refuse the tensor.
            assert tensor._version == version, tuple(tensor.shape)
        for value, before in zip(self.containers, self.contents, strict=True):
            assert len(value) == len(before)
            assert isinstance(value, set) or all(
                one is other for one, other in zip(
                    *(v.values() if isinstance(v, dict) else v for v in (value, before)),
                    strict=True))


def check(function, *arguments, **options):
    """Call, and twice backward: neither changes an argument, nor the gradient of a result.

    The second backward gives the same gradients: the first left what autograd saved as it was."""
    __tracebackhide__ = True
    given = [*arguments, *options.values(), getattr(function, "__self__", function)]
    leaves = [t for t in tensors_in(given) if t.is_leaf
              and (t.is_floating_point() or t.is_complex())]
    for leaf in leaves:
        leaf.requires_grad_()
    with Unchanged(*given):
        result = function(*arguments, **options)
        outputs = [t for t in tensors_in(result) if t.requires_grad]
        if not outputs:
            return
        dy = [torch.randn_like(output).contiguous() for output in outputs]
        with Unchanged(dy, result):
            first, second = (torch.autograd.grad(outputs, leaves, dy, retain_graph=True,
                                                 allow_unused=True) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        if one is not None:
            torch.testing.assert_close(one, other)


def scan_arguments(dtype=F64, length=37):
    """More than two chunks, of one sequence: its chunks are contiguous, so never copied."""
    sequence, state = (1, length, 4), (1, length, 4)
    return {"x": randn(*sequence, dtype=dtype), "delta": randn(*sequence, seed=1, dtype=dtype),
            "A": -uniform(0.5, 2, 4, 4, seed=2).to(dtype),
            "B": randn(*state, seed=3, dtype=dtype), "C": randn(*state, seed=4, dtype=dtype),
            "D": randn(4, seed=5, dtype=dtype), "z": randn(*sequence, seed=6, dtype=dtype),
            "delta_bias": randn(4, seed=7, dtype=dtype), "delta_softplus": True,
            "initial_state": randn(1, 4, 4, seed=8, dtype=dtype)}


def run_method(method, dtype=F64):
    check(selective_scan, **scan_arguments(dtype), method=method, return_last_state=True)
    plain = {name: value for name, value in scan_arguments(dtype).items() if name in ("x", *"ABC")}
    check(selective_scan, delta=uniform(0.1, 1, 1, 37, 4).to(dtype), **plain, method=method)


def run_triton():
    on_device = {name: value.to(DEVICE) if isinstance(value, Tensor) else value
                 for name, value in scan_arguments(torch.float32, length=9).items()}
    check(selective_scan, **on_device, method="triton", return_last_state=True)
    from minimamba.scan.triton_minimal import selective_scan_minimal
    del on_device["initial_state"]
    del on_device["delta_bias"]
    check(selective_scan_minimal, **on_device)
    x, weight, bias, conv_state = (randn(*shape, dtype=torch.float32).to(DEVICE)
                                   for shape in ((1, 9, 5), (5, 4), (5,), (1, 3, 5)))
    check(torch.ops.minimamba.causal_conv1d_silu, x, weight, bias, conv_state)
    check(causal_conv1d._apply, x, weight, bias, conv_state)
    check(gated_norm._apply, x, x.flip(0), bias, 1, False, 1e-5)
    check(pre_norm.pre_norm, x, bias, 1e-5, torch.float32)
    check(ssd, **{name: value.to(DEVICE, torch.float32 if value.is_floating_point() else None)
                  for name, value in ssd_arguments().items()},
          dt_softplus=True, return_final_state=True, method="triton")


def run_chunks():
    x, delta, dy = (randn(1, 9, 2, 3, seed=seed) for seed in range(3))
    A, h, dh = (randn(*shape, seed=3) for shape in ((2, 4, 3), (1, 2, 4, 3), (1, 2, 4, 3)))
    B, C = (randn(1, 9, 2, 4, seed=seed) for seed in (4, 5))
    for function, given in ((chunked.forward, (x, delta, A, B, C, h)),
                            (chunked.backward, (x, delta, A, B, C, h, dy, dh))):
        with Unchanged(*given):
            function(*given)


def run_orders():
    a, b, h = uniform(0.1, 1, 7, 3), randn(7, 3), randn(3)
    for order in (associative.blelloch, associative.hillis_steele):
        levels = order(7)
        check(associative.scan, a, b, levels, h)
        with Unchanged(levels):
            associative.covered(7, levels)
            associative.work(levels)


def run_compat():
    u, delta, z = (randn(2, 6, 5, seed=seed) for seed in range(3))
    A, B, C = -uniform(0.5, 2, 6, 4), randn(6, 4), randn(2, 3, 4, 5)
    D, bias = randn(6), randn(6, seed=1)
    check(compat.selective_scan_fn, u, delta, A, B, C, D, z, bias, True, return_last_state=True)


def ssd_arguments():
    return {"x": randn(2, 9, 4, 3), "dt": randn(2, 9, 4, seed=1), "A": -uniform(0.5, 2, 4),
            "B": randn(2, 9, 2, 5, seed=2), "C": randn(2, 9, 2, 5, seed=3), "D": randn(4),
            "z": randn(2, 9, 4, 3, seed=4), "dt_bias": randn(4, seed=5),
            "seq_idx": torch.arange(9).expand(2, -1) // 5, "initial_state": randn(2, 4, 3, 5)}


def run_ssd(method):
    given = ssd_arguments() | {"dt_softplus": True}
    check(ssd, **given, chunk_size=4, return_final_state=True, method=method)
    given["initial_states"] = given.pop("initial_state")
    check(compat.mamba_chunk_scan_combined, **given, chunk_size=4, dt_limit=(0.1, 1.0))


def run_systems(form):
    A, B, C = stable_system(form, 4)
    x, t, h = randn(9), uniform(0, 1, 9).cumsum(0), randn(4)
    for rule in ("euler", "backward_euler", "bilinear", "zoh", "mamba")[:4 if A.ndim == 2 else 5]:
        check(getattr(discretize, rule), A, B, torch.tensor(0.1, dtype=F64))
    check(continuous.exact_step, A, B, torch.tensor(0.1, dtype=F64))
    for interpolation in ("hold", "linear"):
        with Unchanged(t):
            check(partial(continuous.simulate, t=t, interpolation=interpolation), A, B, x,
                  initial_state=h.to(A.dtype))
    check(continuous.state_impulse_response, A, B, t)
    check(continuous.impulse_response, A, B, C, t)
    with Unchanged(A):
        continuous.time_constants(A)
    A_bar, B_bar = discretize.zoh(A.detach(), B.detach(), 0.1)
    check(lti.step, A_bar, B_bar, C, x[0].clone(), h.to(A.dtype))
    check(lti.recurrence, A_bar, B_bar, C, x, initial_state=h.to(A.dtype), return_last_state=True)
    check(lti.kernel, A_bar, B_bar, C, 9)
    check(lti.convolve, randn(9), x)
    check(continuous.phi, 1, randn(5))


def run_s4_functions():
    A, B, C = stable_system("complex", 4)
    delta = torch.tensor(0.1, dtype=F64)
    check(diagonal.kernel, A, B, C, delta, 9, discretize.zoh)
    check(diagonal.include_conjugates, A, C)
    check(diagonal.vandermonde, A, B, 9)
    check(diagonal.powers, A, 9)
    system = dplr.legs(8)
    C = randn(*system.Lambda.shape, dtype=torch.complex128)
    check(dplr.to_dense, system, C)
    check(dplr.bilinear, system, C, delta)
    check(dplr.kernel, system, C, delta, 9)
    age, x, t = uniform(0, 1, 9), randn(9), uniform(0, 1, 9).cumsum(0)
    for measure in ("legs", "legt", "fout"):
        with Unchanged(age, x, t):
            hippo.basis(measure, 5, age)
            hippo.project(measure, 5, x, t, *([] if measure == "legs" else [t[-1].item()]))


def detach(cache):
    """The same cache without a graph."""
    if isinstance(cache, Tensor):
        return cache.detach().clone()
    parts = [part if part is None else part.detach().clone() for part in cache]
    return type(cache)(*parts) if parts else ()


def run_mixer(name):
    mixer, x, x_t = build(name), randn(2, 7, 8), randn(2, 8)
    _, cache = mixer(x, return_cache=True)
    check(mixer, x, return_cache=True)
    check(mixer, x, detach(cache), return_cache=True)
    check(mixer, x, attention_mask=torch.arange(7) >= torch.tensor([[2], [0]]))
    check(mixer.step, x_t, detach(cache))
    check(mixer.step, x_t, mixer.init_cache(2))
    if hasattr(mixer, "step_"):
        with torch.no_grad(), Unchanged(x_t, mixer):
            mixer.step_(x_t, detach(cache))
    if name == "Attention":
        check(mixer.attention_weights, x)


def run_layer():
    layer = Layer(build("Mamba"), 8)
    x, x_t, residual, cache = randn(2, 5, 8), randn(2, 8), randn(2, 8), layer.mixer.init_cache(2)
    check(layer, x, cache, return_cache=True)
    check(layer.step, x_t, residual, cache)
    check(add_norm, layer.norm, x_t, residual)
    with torch.no_grad(), Unchanged(x_t, residual, layer):
        layer.step_(x_t, residual, cache)


def run_ssm():
    mixer = build("Mamba")
    x, z, x_t = (randn(2, *length, mixer.d_inner) for length in ((5,), (5,), ()))
    state = randn(2, mixer.d_inner, mixer.d_state)
    check(mixer.ssm_input, randn(2, 5, 8))
    check(mixer.ssm_parameters, x)
    check(mixer.scan, x, z, initial_state=state, return_last_state=True)
    check(mixer.scan_step, x_t, state, z[:, 0].clone())


def run_s4_layer(kind):
    layer, x = kind(8, 4), randn(2, 7, 8)
    check(layer, x)
    check(layer.step, x[:, 0].clone(), layer.init_cache(2))
    with Unchanged(layer):
        layer.continuous_system()
        layer.discrete_system()
        layer.kernel(9)


def run_model(pattern):
    model = small_model(layers=pattern, n_layer=None, d_state=4, n_heads=2)
    ids, packed = random_ids(2, 12), (torch.arange(12) // 5).expand(2, -1).clone()
    mask = (torch.arange(12) >= torch.tensor([[0], [4]])).long()
    check(model, ids, attention_mask=mask, return_cache=True)
    check(model, ids, seq_idx=packed)
    hidden_states, cache = model.hidden_states(ids)
    check(model.logits, hidden_states.detach())
    cache = [detach(layer_cache) for layer_cache in cache]
    check(model, ids, cache, return_cache=True)
    check(model.step, ids[:, 0].clone(), cache)
    with torch.no_grad(), Unchanged(ids, mask, model):
        generation.prefill(model, ids, mask.bool(), 5)
        states.trace_states(model, ids[0])
        states.attention_weights(model, ids[0])


def run_generation():
    model, prompts, ids = small_model(), [random_ids(1, n)[0] for n in (3, 5)], random_ids()
    eos, logits, occurred = [VOCAB_SIZE - 1, 0], randn(4, 9), torch.arange(36).view(4, 9) % 3 == 0
    sampling = {"temperature": 1.5, "top_k": 9, "top_p": 0.9, "seed": 0}
    with Unchanged(model, prompts, ids, eos, sampling, logits, occurred):
        for options in ({}, sampling):
            options = {**options, "eos_token_id": eos, "repetition_penalty": 1.3}
            minimamba.generate(model, prompts, 6, **options)
            minimamba.generate(model, ids, 6, **options)
            list(model.stream(ids, 6, **options))
        for settings in ((0.0, None, 1.0), (0.7, 5, 0.9)):
            for penalty, marks in ((1.0, None), (1.5, occurred)):
                generation.Sampler(*settings, penalty, 0, logits.device)(logits, marks)


def run_training():
    model, data = small_model(), random_ids(8, 9)
    batches = [(data[:4], data[:4]), (data[4:], data[4:])]
    with Unchanged(data, batches):
        list(training.train_steps(model, lambda x, y: model(x).square().mean(), batches, 2,
                                  learning_rate=1e-3))
        next(training.shuffled_batches(data, data, batch_size=4, seed=0))


def run_checkpoint(tmp_path: Path):
    model, settings = small_model(), {"vocab_size": 8, "layers": "6", "selective": ["delta"]}
    weights = model.state_dict()
    with Unchanged(model, weights, settings, settings["selective"]):
        MambaConfig(**settings)
        checkpoint.check_weights(model.config, weights, model.state_dict())
        for layout in ("transformers", "mamba_ssm", "minimamba"):
            checkpoint.write(tmp_path, model.config, weights, layout)


def run_small_functions():
    x = randn(2, 5, 8)
    A, B, delta = stable_system("dense", 4)[0], randn(4), torch.tensor(0.1, dtype=F64)
    with Unchanged(x, A, B, delta):
        shapes.apply_A(A, B, True)
        shapes.as_delta(delta, A)
        shapes.per_channel_delta(delta, A)
        shapes.align(A, B, delta)
    check(linear.linear, x, randn(3, 8), randn(3))
    check(linear.linear_layer, nn.Linear(8, 3).double(), x)
    for d_conv in (1, 4):
        check(causal_conv1d.causal_conv1d_silu, x, randn(8, d_conv), randn(8),
              randn(2, d_conv - 1, 8))


def run_course():
    targets = torch.tensor([[1, tasks.UNSCORED]])
    for function in (tasks.loss, tasks.accuracy):
        check(function, randn(1, 2, 3), targets)
    model = classifier.S4Classifier(partial(S4D, d_state=4), 1, 3).double().eval()
    check(model, randn(2, 9, 1))
    with Unchanged(model):
        model.forward_recurrent(randn(2, 9, 1))
    check(classifier.LSTMClassifier(1, 3, 4).double(), randn(2, 9, 1))


CALLS = {
    "reference": partial(run_method, "reference"), "chunked": partial(run_method, "chunked"),
    "chunked, float32": partial(run_method, "chunked", torch.float32),
    "chunked, bfloat16": partial(run_method, "chunked", torch.bfloat16),
    "chunks": run_chunks, "associative": run_orders, "compat": run_compat,
    **{f"ssd {method}": partial(run_ssd, method) for method in ("reference", "chunked")},
    **{f"{form} systems": partial(run_systems, form) for form in ("dense", "diagonal", "complex")},
    "s4": run_s4_functions, "S4 layer": partial(run_s4_layer, S4),
    "S4D layer": partial(run_s4_layer, S4D), **{name: partial(run_mixer, name) for name in MIXERS},
    "layer": run_layer, "SSM": run_ssm, "MM": partial(run_model, "MM"),
    "A4": partial(run_model, "A4"), "L6F": partial(run_model, "L6F"),
    "generation": run_generation, "training": run_training, "small functions": run_small_functions,
    "course": run_course}


@pytest.mark.parametrize("name", CALLS)
def test_inputs_and_incoming_gradients_are_unchanged(name, double):
    CALLS[name]()


@pytest.mark.usefixtures("short_chunks")
@needs_triton
def test_kernels_leave_inputs_and_incoming_gradients_unchanged():
    run_triton()


def test_writing_a_checkpoint_leaves_the_weights_unchanged(tmp_path):
    run_checkpoint(tmp_path)
