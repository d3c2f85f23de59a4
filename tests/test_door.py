"""Every argument of every public function, given what Python code passes by an honest mistake.

Each mistake is refused at the door by a ValueError of one line that begins with the argument's
name. What is accepted is listed in `ACCEPTED`, and a function that is in no table fails here.
"""

import inspect
import re
import sys
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from models import random_ids, small_model
from systems import F64
from torch import Tensor
from torch.masked import masked_tensor

from minimamba import compat, continuous, discretize, generation, lti, nn, scan, ssd
from minimamba.config import MambaConfig
from minimamba.lm import MambaLM
from minimamba.nn import LSTM, MLP, S6, Attention, Layer, Mamba, Mamba2, S4Block
from minimamba.s4 import S4, S4D, diagonal, dplr, hippo, layers
from minimamba.scan import associative
from minimamba.ssd import compat as ssd_compat
from minimamba.tokenizer import ByteTokenizer

NAN, INF = float("nan"), float("inf")
ssd_package = sys.modules["minimamba.ssd"]
"""The package, whose name in `minimamba` is the function's."""


def ones(*shape, dtype=F64):
    return torch.full(shape, 0.5, dtype=dtype)


def pairs(*shape):
    return torch.complex(-ones(*shape), ones(*shape))


SYSTEM = {"A": -ones(3), "B": ones(3)}
LTI = {"A_bar": ones(3), "B_bar": ones(3), "C": ones(3)}
TIMES = torch.arange(1, 5, dtype=F64)
DPLR = dplr.DPLR(pairs(2, 3), pairs(2, 3, 1), pairs(2, 3))
SCAN = {"delta": ones(2, 5, 4), "A": -ones(4, 3), "B": ones(2, 5, 3), "C": ones(2, 5, 3),
        "D": ones(4), "z": ones(2, 5, 4), "delta_bias": ones(4), "delta_softplus": False,
        "return_last_state": True}
SSD = {"x": ones(2, 5, 4, 2), "dt": ones(2, 5, 4), "A": -ones(4), "B": ones(2, 5, 2, 3),
       "C": ones(2, 5, 2, 3), "D": ones(4, 2), "z": ones(2, 5, 4, 2), "dt_bias": ones(4),
       "seq_idx": torch.tensor([[0, 0, 0, 1, 1]] * 2)}
FUNCTIONS = {
    **{rule: {**SYSTEM, "delta": ones(4)} for rule in (
        discretize.euler, discretize.backward_euler, discretize.bilinear, discretize.zoh,
        discretize.mamba, continuous.exact_step)},
    continuous.phi: {"k": 1, "z": ones(3)},
    continuous.simulate: {**SYSTEM, "x": ones(2, 4), "t": TIMES, "interpolation": "hold",
                          "initial_state": ones(2, 3)},
    continuous.state_impulse_response: {**SYSTEM, "lag": ones(4)},
    continuous.impulse_response: {**SYSTEM, "C": ones(3), "t": ones(4)},
    continuous.time_constants: {"A": -ones(3)},
    lti.step: {**LTI, "x": ones(2), "h": ones(2, 3)},
    lti.recurrence: {**LTI, "x": ones(2, 5), "initial_state": ones(2, 3),
                     "return_last_state": True},
    lti.kernel: {**LTI, "length": 4},
    lti.convolve: {"kernel": ones(3), "x": ones(2, 5)},
    **{matrices: {"N": 3} for matrices in (hippo.legs, hippo.legt, hippo.fout)},
    hippo.matrices: {"measure": "legs", "N": 3},
    hippo.basis: {"measure": "legs", "N": 3, "age": ones(4)},
    hippo.project: {"measure": "legt", "N": 3, "x": ones(2, 4), "t": TIMES, "window": 2.0},
    dplr.nplr: {"measure": "legs", "N": 4},
    dplr.legs: {"N": 4},
    dplr.to_dense: {"system": DPLR, "C": pairs(2, 3)},
    dplr.bilinear: {"system": DPLR, "C": pairs(2, 3), "delta": ones(2)},
    dplr.kernel: {"system": DPLR, "C": pairs(2, 3), "delta": ones(2), "length": 4},
    diagonal.initial_A: {"init": "lin", "d_state": 4},
    diagonal.kernel: {"A": -ones(2, 3), "B": ones(2, 3), "C": ones(2, 3), "delta": ones(2),
                      "length": 4, "discretization": discretize.zoh},
    diagonal.include_conjugates: {"A": pairs(3), "C": pairs(3)},
    diagonal.vandermonde: {"A_bar": ones(3), "weights": ones(3), "length": 4},
    diagonal.powers: {"base": ones(3), "count": 4},
    scan.why_not: {"method": "chunked", "x": ones(2, 5, 4), "d_state": 3},
    scan.selective_scan: {"x": ones(2, 5, 4), **SCAN, "initial_state": ones(2, 4, 3),
                          "method": "chunked"},
    associative.hillis_steele: {"length": 4},
    associative.blelloch: {"length": 4},
    associative.scan: {"a": ones(4, 2), "b": ones(4, 2), "levels": associative.blelloch(4),
                       "initial_state": ones(2)},
    associative.work: {"levels": associative.blelloch(4)},
    associative.covered: {"length": 4, "levels": associative.blelloch(4)},
    compat.selective_scan_fn: {"u": ones(2, 4, 5), **{
        name: t.mT if isinstance(t, Tensor) and t.ndim == 3 else t for name, t in SCAN.items()}},
    ssd_package.why_not: {"method": "chunked", "x": ones(2, 5, 4, 2), "d_state": 3},
    ssd: {**SSD, "dt_softplus": False, "initial_state": ones(2, 4, 2, 3),
          "return_final_state": True, "chunk_size": 2, "method": "chunked"},
    compat.mamba_chunk_scan_combined: {
        **SSD, "chunk_size": 2, "initial_states": ones(2, 4, 2, 3), "dt_softplus": True,
        "dt_limit": (0.1, 1.0), "return_final_states": True, "return_varlen_states": False},
}

MIXERS = {"Mamba": lambda: Mamba(8), "Mamba2": lambda: Mamba2(8, 4, headdim=4),
          "S6": lambda: S6(8, 4), "Attention": lambda: Attention(8, 2),
          "LSTM": lambda: LSTM(8), "MLP": lambda: MLP(8),
          "S4Block": lambda: S4Block(S4D(8, 4), 8)}
def sampler(**options):
    return generation.Sampler(**options, device="cpu")


CONSTRUCTORS = {
    Mamba: {"d_model": 8, "d_state": 4, "d_conv": 4, "expand": 2, "dt_rank": 2, "dt_min": 0.01,
            "dt_max": 0.1, "dt_init": "random", "dt_scale": 1.0, "dt_init_floor": 1e-4,
            "conv_bias": True, "bias": True, "device": "cpu", "dtype": torch.float16},
    Mamba2: {"d_model": 8, "d_state": 4, "d_conv": 4, "conv_init": 0.5, "expand": 2, "headdim": 4,
             "d_ssm": 8, "ngroups": 2, "A_init_range": (1.0, 2.0), "D_has_hdim": True,
             "rmsnorm": True, "norm_before_gate": True, "dt_min": 0.01, "dt_max": 0.1,
             "dt_init_floor": 1e-4, "dt_limit": (0.01, 1.0), "bias": True, "conv_bias": True,
             "device": "cpu", "dtype": torch.float16},
    S6: {"d_inner": 8, "d_state": 4, "dt_rank": 2, "selective": ("B",), "dt_min": 0.01,
         "dt_max": 0.1, "device": "cpu", "dtype": torch.float16},
    Attention: {"d_model": 8, "n_heads": 2, "rotary": True},
    LSTM: {"d_model": 8},
    MLP: {"d_model": 8},
    S4Block: {"ssm": S4D(8, 4), "d_model": 8},
    Layer: {"mixer": MLP(8), "d_model": 8, "norm_epsilon": 1e-5, "residual_in_fp32": True},
    S4D: {"d_model": 4, "d_state": 4, "init": "lin", "discretization": "zoh", "delta_min": 0.01,
          "delta_max": 0.1},
    S4: {"d_model": 4, "d_state": 4, "delta_min": 0.01, "delta_max": 0.1},
    MambaLM: {"config": MambaConfig(40, 8, n_layer=1)},
    sampler: {"temperature": 1.0, "top_k": 3, "top_p": 0.5, "repetition_penalty": 1.2,
                         "seed": 3},
}


def doors():
    """(name, function, good arguments) of everything that is public."""
    torch.manual_seed(0)
    for function, good in (FUNCTIONS | CONSTRUCTORS).items():
        name = f"{function.__module__}.{function.__name__}".removeprefix("minimamba.")
        yield name, function, good
    mask = torch.tensor([[False, True, True, True, True]] * 2)
    for name, build in MIXERS.items():
        mixer = build().double()
        cache = mixer.init_cache(2)
        yield f"{name}.forward", mixer.forward, {"x": ones(2, 5, 8), "cache": cache,
                                                 "attention_mask": mask, "return_cache": True}
        yield f"{name}.step", mixer.step, {"x": ones(2, 8), "cache": cache}
        yield f"{name}.init_cache", mixer.init_cache, {"batch": 2}
        if hasattr(mixer, "step_"):
            yield f"{name}.step_", mixer.step_, {"x": ones(2, 8), "cache": cache}
        if hasattr(mixer, "ssm_parameters"):
            x = ones(2, 5, mixer.d_inner)
            state = ones(2, mixer.d_inner, mixer.d_state)
            yield f"{name}.ssm_parameters", mixer.ssm_parameters, {"x": x}
            yield f"{name}.scan", mixer.scan, {"x": x, "z": x, "initial_state": state,
                                               "attention_mask": mask, "return_last_state": True}
            yield f"{name}.scan_step", mixer.scan_step, {"x": x[:, 0], "ssm_state": state,
                                                         "z": x[:, 0], "in_place": False}
    block, attention = Mamba(8).double(), Attention(8, 2).double()
    yield "Mamba.ssm_input", block.ssm_input, {"x": ones(2, 5, 8)}
    yield "Attention.attention_weights", attention.attention_weights, {"x": ones(2, 5, 8)}
    layer, state = Layer(block, 8).double(), block.init_cache(2)
    yield "Layer.forward", layer.forward, {"x": ones(2, 5, 8), "cache": state,
                                           "attention_mask": mask, "return_cache": True}
    for step in (layer.step, layer.step_):
        yield f"Layer.{step.__name__}", step, {"hidden_states": ones(2, 8), "residual": ones(2, 8),
                                               "cache": state}
    for s4 in (S4D(4, 4).double(), S4(4, 4).double()):
        name = type(s4).__name__
        more = {} if name == "S4" else {"cache": s4.init_cache(2), "attention_mask": mask,
                                          "return_cache": True}
        yield f"{name}.forward", s4.forward, {"x": ones(2, 5, 4), **more}
        yield f"{name}.step", s4.step, {"x": ones(2, 4), "cache": s4.init_cache(2),
                                        "system": tuple(t.detach() for t in s4.discrete_system())}
        yield f"{name}.kernel", s4.kernel, {"length": 4}
        yield f"{name}.init_cache", s4.init_cache, {"batch": 2}
    model = small_model(d_model=8, n_layer=1).double()
    ids, cache = random_ids(2, 5), model.init_cache(2)
    yield "MambaLM.forward", model.forward, {"input_ids": ids, "cache": cache,
                                             "attention_mask": mask, "return_cache": True}
    yield "MambaLM.forward packed", model.forward, {"input_ids": ids, "seq_idx": mask.int()}
    yield "MambaLM.hidden_states", model.hidden_states, {"input_ids": ids, "cache": cache,
                                                         "attention_mask": mask}
    yield "MambaLM.logits", model.logits, {"hidden_states": ones(2, 5, 8)}
    yield "MambaLM.step", model.step, {"input_ids": ids[:, 0], "cache": cache, "compiled": False}
    yield "MambaLM.step_", model.step_, {"input_ids": ids[:, 0], "cache": cache}
    yield "MambaLM.init_cache", model.init_cache, {"batch": 2}
    yield "MambaLM.use_scan_method", model.use_scan_method, {"method": "chunked"}
    options = {"prompts": ids, "max_new_tokens": 2, "temperature": 1.0, "top_k": 3, "top_p": 0.5,
               "repetition_penalty": 1.2, "eos_token_id": 3, "seed": 3}
    yield "MambaLM.generate", model.generate, options
    yield "MambaLM.stream", model.stream, options
    for function in (generation.generate, generation.stream):
        yield f"generation.{function.__name__}", function, {"model": model, **options}
    yield "generation.prefill", generation.prefill, {"model": model, "input_ids": ids,
                                                     "attention_mask": mask, "chunk": 2}
    yield "Sampler", generation.Sampler(1.0, None, 1.0, 1.2, 0, "cpu"), {
        "logits": ones(2, 9), "occurred": ones(2, 9) > 0}
    text = ByteTokenizer()
    yield "ByteTokenizer.encode", text.encode, {"text": "a"}
    yield "ByteTokenizer.decode", text.decode, {"ids": [97, 98]}
    yield "ByteTokenizer.token", text.token, {"token_id": 97}


def with_last(x, value):
    """A copy whose last element is changed."""
    x = x.clone(memory_format=torch.contiguous_format)
    x.view(-1)[-1] = value
    return x


def mistakes(good):
    """(what it is, value) of all that may be passed in place of a good value."""
    yield from {"None": None, "str": "unknown", "object": object(), "list": [[0.5]],
                "dict": {"a": 1}}.items()
    if not isinstance(good, bool):
        yield "bool", True
    if isinstance(good, Tensor):
        yield from {"number": 0.5, "its list": good.tolist(), "its array": good.detach().numpy(),
                    "meta": good.to("meta"), "sparse": good.to_sparse(),
                    "nested": torch.nested.nested_tensor([good, good]),
                    "masked": masked_tensor(good.real, torch.ones(good.shape, dtype=torch.bool)),
                    "empty": good[:0] if good.ndim else good[None][:0],
                    "an axis more": good[None], "an axis less": good.flatten()[0]}.items()
        if good.is_floating_point() or good.is_complex():
            yield from {"NaN": with_last(good, NAN), "inf": with_last(good, INF),
                        "int": good.real.long(), "half": good.real.half(),
                        "bfloat16": good.real.bfloat16(),
                        "single": good.to(torch.complex64 if good.is_complex() else torch.float32),
                        "complex" if good.is_floating_point() else "real":
                            good + 0j if good.is_floating_point() else good.real}.items()
        else:
            yield from {"float": good.double(), "uint8": good.to(torch.uint8),
                        "negative": with_last(good.int(), -1).to(torch.int64)}.items()
    elif isinstance(good, bool):
        yield from {"number": 1, "a string": str(good), "tensor": torch.tensor(good),
                    "array": np.array(good), "a tensor of several": ones(2)}.items()
    elif isinstance(good, (int, float)):
        yield from {"a string": str(good), "tensor": torch.tensor(good), "array": np.array(good),
                    "negative": -good, "NaN": NAN, "inf": INF, "huge": 10**400,
                    "in a list": [good], "numpy int": np.int64(3)}.items()
        if isinstance(good, int):
            yield from {"float": float(good), "zero": 0}.items()
    elif isinstance(good, torch.dtype):
        yield from {"int64": torch.int64, "complex": torch.complex64, "name": "float32",
                    "float8": torch.float8_e4m3fn, "of NumPy": np.float32}.items()
    elif isinstance(good, str):
        yield from {"bytes": good.encode(), "in a list": [good], "number": 3}.items()
    else:
        yield from {"number": 3, "tensor": ones(2), "array": np.ones(2, int)}.items()


DOORS = {name: (function, good) for name, function, good in doors()}
ACCEPTED = (
    # A linear system may be complex; in S4 a complex one stands for itself and its conjugate.
    (r"(continuous|discretize|lti|s4\.diagonal|scan\.associative)\.", "complex, real",
     "A B C A_bar B_bar kernel weights base x h z a b initial_state"),
    (r"s4\.hippo\.project", "complex", "x"),
    # Functions of each element, and of the last axes, take any axes before them.
    (r"discretize\.|continuous\.(?!simulate)", "an axis more, an axis less", "delta z lag t"),
    (r"continuous\.exact_step|s4\.dplr", "number, an axis less", "delta"),
    (r"discretize\.|s4\.diagonal\.kernel", "number, an axis less", "delta"),
    (r"s4\.hippo\.basis|s4\.diagonal\.include", "an axis more, an axis less", "age A C"),
    (r"continuous\.time|lti\.conv|s4\.hippo\.project|s4\.diagonal\.powers|MambaLM\.logits",
     "an axis more", "A x base hidden_states"),
    # A single tensor sets the precision. A residual stream may have another than the weights.
    (r"continuous\.(phi|time)|s4\.hippo\.basis|s4\.diagonal\.powers", "single", "z A age base"),
    (r"Layer\.|MambaLM\.logits", "half, bfloat16, single", "x hidden_states residual"),
    (r"S4D?\.", "half, bfloat16", "x"),
    # Questions and options that have more answers.
    (r"s(can|sd)\.why_not", "meta, empty, NaN, inf, int, half, bfloat16, single, complex", "x"),
    (r".*(sampler|generate|stream)", "zero", "seed eos_token_id"),
    (r".*sampler", "None", "top_k seed"),
    (r".*(generate|stream)", "in a list", "eos_token_id"),
    (r"MambaLM\.forward packed|ssd\.", "negative", "seq_idx"),
    (r"ssd\.compat", "half, bfloat16, single", "initial_states"),
    (r"Sampler", "half, bfloat16, single", "logits"),
    (r"ByteTokenizer\.encode", "str", "text"),
    (r"ByteTokenizer\.token", "zero", "token_id"),
    (r"nn\.", "bytes", "device"),
)


def is_accepted(name, function, argument, what):
    parameter = inspect.signature(function).parameters.get(argument)
    if what == "None" and parameter is not None and parameter.default is None:
        return argument != "window"                         # which LegS alone goes without
    return any(re.match(pattern, name) and what in whats.split(", ")
               and argument in arguments.split() for pattern, whats, arguments in ACCEPTED)


@pytest.mark.filterwarnings("ignore:The PyTorch API of")
@pytest.mark.parametrize("name", DOORS)
def test_every_mistake_is_refused_at_the_door_by_name(name):
    function, good = DOORS[name]
    names = "|".join((*good, "A and B"))
    wrong = []
    for argument, value in good.items():
        for what, mistake in mistakes(value):
            try:
                function(**good | {argument: mistake})
                given = "accepted"
            except Exception as error:
                given = f"{type(error).__name__}: {error}"
            expected = r"ValueError: (" + names + r")(\W[^:\n]*)?: expected [^\n]+, got [^\n]+"
            if is_accepted(name, function, argument, what):
                expected = "accepted"
            if not re.fullmatch(expected, given):
                wrong.append(f"{argument} = {what}: {given[:100]}")
    assert not wrong


def tensors(value):
    """All tensors in a value, nested in tuples and lists."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for part in value:
            yield from tensors(part)


@pytest.mark.parametrize("name", [name for name in DOORS if not name.endswith("step_")])
def test_good_arguments_are_accepted_and_never_modified(name):
    function, good = DOORS[name]
    before = [x.clone() for x in tensors([*good.values()])]
    result = function(**good)
    if isinstance(result, Iterator):
        list(result)
    for x, copy in zip(tensors([*good.values()]), before, strict=True):
        assert torch.equal(x, copy)


def test_every_public_function_and_class_is_tried():
    not_tried = {
        "continuous.ExactStep", "nn.KVCache", "nn.LSTMCache", "nn.Mamba2Cache", "nn.MambaCache",
        "nn.SSMParameters", "s4.dplr.DPLR",                 # tuples: they compute nothing
        "scan.associative.combine",                         # on tuples
        "nn.Mixer", "s4.layers.S4Layer",                    # abstract
        "scan.methods", "ssd.methods",                      # without arguments
        "generation.Sampler",                               # tried without its device
    }
    modules = (compat, continuous, discretize, generation, lti, scan, ssd_package, ssd_compat,
               associative, diagonal, dplr, hippo, layers)
    public = {f"{module.__name__.removeprefix('minimamba.')}.{name}": value
              for module in modules for name, value in vars(module).items()
              if getattr(value, "__module__", "") == module.__name__ and name[0] != "_"}
    public |= {f"nn.{name}": getattr(nn, name) for name in nn.__all__}
    tried = {*FUNCTIONS, *CONSTRUCTORS, *(function for function, _ in DOORS.values())}
    left = {name for name, value in public.items() if callable(value) and value not in tried}
    assert left == not_tried
