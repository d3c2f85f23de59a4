"""What is watched is what the model does."""

import pytest
import torch
from systems import close
from test_lm import SMALL, shake, tokens

from minimamba import MambaConfig, MambaLM
from minimamba.course.inspect import trace_states


@pytest.fixture
def model(double):
    model = MambaLM(MambaConfig(**SMALL))
    shake(model)
    return model


def test_the_last_states_are_those_that_the_model_remembers(model):
    given = tokens(batch=1)
    _, cache = model(given, return_cache=True)
    seen = trace_states(model, given[0])
    assert len(seen) == 2
    for one, kept in zip(seen, cache, strict=True):
        assert one.h.shape == one.decay.shape == (30, 24, 16)
        assert one.delta.shape == one.norm.shape == (30, 24)
        close(one.h[-1], kept.h[0])


def test_every_state_is_that_of_the_text_up_to_it(model):
    given = tokens(batch=1, length=9)
    seen = trace_states(model, given[0])
    for t in range(1, 10):
        _, cache = model(given[:, :t], return_cache=True)
        for one, kept in zip(seen, cache, strict=True):
            close(one.h[t - 1], kept.h[0])


def test_the_decays_are_those_of_the_steps(model):
    for one, layer in zip(trace_states(model, tokens()[0]), model.layers, strict=True):
        close(one.decay, torch.exp(one.delta[..., None] * layer.mixer.A))
        close(one.norm, one.h.square().sum(-1).sqrt())


def test_the_model_is_left_as_it_was(model):
    trace_states(model, tokens()[0])
    assert not any(layer.mixer._forward_pre_hooks for layer in model.layers)
    with pytest.raises(ValueError, match="tokens: expected numbers from 0 to 39"):
        trace_states(model, torch.tensor([40]))
    assert not any(layer.mixer._forward_pre_hooks for layer in model.layers)


def test_weights_in_half_precision_are_watched_in_float32():
    model = MambaLM(MambaConfig(**SMALL)).bfloat16()
    for one in trace_states(model, tokens()[0]):
        assert one.h.dtype == one.decay.dtype == one.delta.dtype == torch.float32
