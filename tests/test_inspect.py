"""What `course.inspect` records is what the model computes."""

import pytest
import torch
from models import SMALL, random_ids, small_model
from systems import close

from minimamba import MambaConfig, MambaLM
from minimamba.course.inspect import attention_weights, trace_states


@pytest.fixture
def model(double):
    return small_model()


def test_every_state_is_the_cache_after_that_token(model):
    input_ids = random_ids(batch=1, length=9)
    traces = trace_states(model, input_ids[0])
    assert len(traces) == 2
    for t in range(9):
        _, cache = model(input_ids[:, :t + 1], return_cache=True)
        for trace, layer_cache in zip(traces, cache, strict=True):
            close(trace.h[t], layer_cache.ssm_state[0])


def test_decay_and_norm_follow_from_delta_and_the_state(model):
    traces = trace_states(model, random_ids()[0])
    for trace, layer in zip(traces, model.layers, strict=True):
        assert trace.h.shape == trace.decay.shape == (30, 24, 16)
        assert trace.delta.shape == trace.norm.shape == (30, 24)
        close(trace.decay, torch.exp(trace.delta[..., None] * layer.mixer.A))
        close(trace.norm, trace.h.square().sum(-1).sqrt())


def test_hybrid_gives_states_of_mamba_layers_and_weights_of_attention_layers(double):
    model, input_ids = small_model(layers="MAFM", n_layer=None, n_heads=2), random_ids(1, 20)
    traces, weights = trace_states(model, input_ids[0]), attention_weights(model, input_ids[0])
    assert [trace.h.shape for trace in traces] == [(20, 24, 16)] * 2
    assert [each.shape for each in weights] == [(2, 20, 20)]
    close(weights[0].sum(-1), torch.ones(2, 20))
    x = model.layers[0](model.embedding(input_ids))
    close(weights[0], model.layers[1].mixer.attention_weights(model.layers[1].norm(x))[0])


def test_no_hook_stays_behind_also_after_an_error(model):
    def hooks():
        return [hook for layer in model.layers for hook in layer.mixer._forward_pre_hooks]

    trace_states(model, random_ids()[0])
    assert not hooks()
    with pytest.raises(ValueError, match="input_ids: expected token ids from 0 to 39"):
        trace_states(model, torch.tensor([40]))
    assert not hooks()


@pytest.mark.parametrize("look", [trace_states, attention_weights])
@pytest.mark.parametrize(("name", "given"), [
    ("input_ids", random_ids(2, 5)), ("input_ids", [1, 2]), ("input_ids", "abc"),
    ("input_ids", torch.tensor(3)), ("model", None), ("model", torch.nn.Linear(1, 1))],
    ids=["a batch", "a list", "a text", "a number", "no model", "another model"])
def test_other_arguments_are_refused_by_name(look, name, given, model):
    with pytest.raises(ValueError, match=f"^{name}: expected "):
        look(**{"model": model, "input_ids": random_ids()[0], name: given})


def test_bfloat16_model_is_traced_in_float32():
    model = MambaLM(MambaConfig(**SMALL)).bfloat16()
    for trace in trace_states(model, random_ids()[0]):
        assert trace.h.dtype == trace.decay.dtype == trace.delta.dtype == torch.float32
