"""Attention: its equation, its rotary position embedding, its weights, its mask."""

import pytest
import torch
from systems import close, randn
from torch.testing import assert_close

from minimamba.nn.attention import Attention, KVCache, _rotate

pytestmark = pytest.mark.usefixtures("double")


@pytest.fixture(params=[True, False], ids=["rotary", "no positions"])
def layer(request):
    return Attention(8, 2, rotary=request.param)


def attention_by_definition(layer, x):
    """The equations at the head of the file, one head and one step at a time."""
    q, k, v = layer.in_proj(x).chunk(3, -1)
    heads = []
    for head in (slice(0, 4), slice(4, 8)):
        outputs = []
        for t in range(x.shape[1]):
            scores = []
            for s in range(t + 1):
                q_t, k_s = q[:, t, head], k[:, s, head]
                if layer.rotary:
                    # As complex numbers: rotated by an angle that the distance alone sets.
                    q_t, k_s = (torch.complex(*part.chunk(2, -1)) for part in (q_t, k_s))
                    rotation = torch.polar(torch.ones(2), (t - s) * torch.tensor([1.0, 0.01]))
                    scores.append((q_t * rotation * k_s.conj()).real.sum(-1) / 2)
                else:
                    scores.append((q_t * k_s).sum(-1) / 2)
            weights = torch.stack(scores, -1).softmax(-1)
            outputs.append((weights[..., None] * v[:, :t + 1, head]).sum(1))
        heads.append(torch.stack(outputs, 1))
    return layer.out_proj(torch.cat(heads, -1))


def test_layer_matches_its_definition(layer):
    x = randn(2, 7, 8)
    close(layer(x), attention_by_definition(layer, x))


def test_cache_holds_one_key_and_one_value_per_step(layer):
    for length in (1, 2, 30):
        cache = layer(randn(2, length, 8), return_cache=True)[1]
        assert cache.keys.shape == cache.values.shape == (2, 2, length, 4)
        assert cache.attention_mask is None


def test_outputs_depend_on_distances_not_on_positions():
    layer, x = Attention(8, 2), randn(1, 6, 8)

    def shifted(padding):
        """The outputs for x after so many steps of padding."""
        mask = torch.arange(padding + 6) >= padding
        return layer(torch.cat([randn(1, padding, 8), x], 1), attention_mask=mask[None])[:, -6:]

    far = shifted(1000)
    assert_close(far, shifted(1), rtol=1e-9, atol=1e-12)
    assert_close(far, layer(x), rtol=1e-9, atol=1e-12)


def test_order_of_the_past_matters_only_with_positions(layer):
    x = randn(1, 6, 8)
    permuted = torch.cat([x[:, [3, 0, 4, 1, 2]], x[:, 5:]], 1)
    assert torch.allclose(layer(x)[:, -1], layer(permuted)[:, -1]) == (not layer.rotary)


def test_attention_weights_are_those_of_the_outputs(layer):
    x = randn(2, 7, 8)
    weights = layer.attention_weights(x)
    assert weights.shape == (2, 2, 7, 7)
    assert (weights.triu(1) == 0).all()
    close(weights.sum(-1), torch.ones(2, 2, 7))
    values = layer(x, return_cache=True)[1].values
    close(layer.out_proj((weights @ values).transpose(1, 2).flatten(2)), layer(x))


def test_rotation_in_float32_is_exact_at_positions_of_a_million():
    q = torch.randn(1, 2, 2, 16, dtype=torch.float32)
    position = 2**20 + torch.arange(2)
    given = _rotate(q, position)
    assert given.dtype == torch.float32
    frequency = torch.tensor([10_000.0 ** (-i / 8) for i in range(8)])
    rotation = torch.polar(torch.ones(2, 8), position[:, None] * frequency)
    expected = torch.complex(*q.double().chunk(2, -1)) * rotation
    assert_close(given.double(), torch.cat([expected.real, expected.imag], -1), rtol=1e-5,
                 atol=1e-5)


@pytest.mark.parametrize(("call", "message"), [
    (lambda: Attention(8, 3), "^n_heads: expected a number that divides d_model = 8 into equal"),
    (lambda: Attention(6, 2), "^n_heads: .+ of an even size, got 2$"),
    (lambda: Attention(0, 2), "^d_model: expected a whole number"),
    (lambda: Attention(8, 2).attention_weights(randn(2, 8)), "^x: expected shape"),
    (lambda: Attention(8, 2)(randn(2, 3, 8), KVCache(randn(2, 2, 5, 4), randn(2, 2, 4, 4), None)),
     r"^cache.values: expected shape \(2, 2, 5, 4\) .+ got shape \(2, 2, 4, 4\)"),
])
def test_bad_input_is_refused_by_name(call, message):
    with pytest.raises(ValueError, match=message):
        call()
