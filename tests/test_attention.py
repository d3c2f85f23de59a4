"""Attention: causal, the same in steps and in parts, deaf to padding; its cache grows."""

import pytest
import torch
from systems import close, randn
from torch.testing import assert_close

from minimamba.nn.attention import Attention, KVCache, _turned

pytestmark = pytest.mark.usefixtures("double")


@pytest.fixture(params=[True, False], ids=["rotary", "no positions"])
def layer(request):
    return Attention(8, 2, rotary=request.param)


def by_hand(layer, u):
    """The equations at the head of the file, a head and a step at a time."""
    q, k, v = layer.in_proj(u).chunk(3, -1)
    heads = []
    for one in (slice(0, 4), slice(4, 8)):
        parts = []
        for t in range(u.shape[1]):
            scores = []
            for s in range(t + 1):
                a, b = q[:, t, one], k[:, s, one]
                if layer.rotary:
                    # As complex numbers: a turn by the distance alone.
                    a, b = (torch.complex(*part.chunk(2, -1)) for part in (a, b))
                    turn = torch.polar(torch.ones(2), (t - s) * torch.tensor([1.0, 0.01]))
                    scores.append((a * turn * b.conj()).real.sum(-1) / 2)
                else:
                    scores.append((a * b).sum(-1) / 2)
            share = torch.stack(scores, -1).softmax(-1)
            parts.append((share[..., None] * v[:, :t + 1, one]).sum(1))
        heads.append(torch.stack(parts, 1))
    return layer.out_proj(torch.cat(heads, -1))


def test_it_is_its_equations(layer):
    u = randn(2, 7, 8)
    close(layer(u), by_hand(layer, u))


def test_steps_and_parts_are_the_whole(layer):
    u = randn(2, 9, 8)
    whole, last = layer(u, return_cache=True)
    cache, outputs = layer.init_cache(2), []
    for now in u.unbind(1):
        out, cache = layer.step(now, cache)
        outputs.append(out)
    close(torch.stack(outputs, 1), whole)
    close(cache.keys, last.keys)
    for cut in (1, 4, 8):
        first, cache = layer(u[:, :cut], return_cache=True)
        second, cache = layer(u[:, cut:], cache, return_cache=True)
        close(torch.cat([first, second], 1), whole)
        close(cache.values, last.values)


def test_padding_to_the_left_changes_nothing(layer):
    u = randn(1, 7, 8)
    padded, real = torch.cat([randn(1, 4, 8, seed=1), u], 1), (torch.arange(11) >= 4)[None]
    given, cache = layer(padded, attention_mask=mask, return_cache=True)
    wanted, last = layer(u, return_cache=True)
    close(given[:, 4:], wanted)
    assert given.isfinite().all()
    now = randn(1, 8, seed=2)
    close(layer.step(now, cache)[0], layer.step(now, last)[0])
    # In parts, the first of them nothing but padding.
    _, cache = layer(padded[:, :3], attention_mask=mask[:, :3], return_cache=True)
    close(layer(padded[:, 3:], cache, attention_mask=mask[:, 3:])[:, 1:], wanted)


def test_nothing_looks_ahead(layer):
    u = randn(1, 10, 8).requires_grad_()
    for t in (0, 4, 9):
        gradient, = torch.autograd.grad(layer(u)[0, t].sum(), u)
        assert (gradient[0, t + 1:] == 0).all()
        assert (gradient[0, :t + 1] != 0).any(-1).all()


def test_the_memory_grows_by_a_key_and_a_value_a_step(layer):
    for length in (1, 2, 30):
        cache = layer(randn(2, length, 8), return_cache=True)[1]
        assert cache.keys.shape == cache.values.shape == (2, 2, length, 4)
        assert cache.real is None


def test_only_the_distance_counts():
    layer, u = Attention(8, 2), randn(1, 6, 8)

    def last(before):
        """After a past of padding: the same steps, further along."""
        past = torch.zeros(1, before, dtype=torch.bool)
        real = torch.cat([past, past.new_ones(1, 6)], 1)
        return layer(torch.cat([randn(1, before, 8), u], 1), attention_mask=mask)[:, -6:]

    far = last(1000)
    assert_close(far, last(1), rtol=1e-9, atol=1e-12)
    assert_close(far, layer(u), rtol=1e-9, atol=1e-12)


def test_order_shows_with_positions_alone():
    u = randn(1, 6, 8)
    mixed = torch.cat([u[:, [3, 0, 4, 1, 2]], u[:, 5:]], 1)
    for rotary in (True, False):
        layer = Attention(8, 2, rotary=rotary)
        same = torch.allclose(layer(u)[:, -1], layer(mixed)[:, -1])
        assert same == (not rotary)


def test_it_says_where_it_looks(layer):
    u = randn(2, 7, 8)
    looks = layer.attention_weights(u)
    assert looks.shape == (2, 2, 7, 7)
    assert (looks.triu(1) == 0).all()
    close(looks.sum(-1), torch.ones(2, 2, 7))
    values = layer(u, return_cache=True)[1].values
    close(layer.out_proj((looks @ values).transpose(1, 2).flatten(2)), layer(u))


def test_far_positions_are_told_apart_in_single_precision():
    layer = Attention(8, 2).float()
    q = torch.randn(1, 2, 2, 4, dtype=torch.float32)
    far, near = _turned(q, 2**20), _turned(q.double(), 2**20)
    assert_close(far.double(), near, rtol=1e-5, atol=1e-5)
    assert layer(torch.randn(1, 3, 8, dtype=torch.float32)).dtype == torch.float32


@pytest.mark.parametrize(("call", "message"), [
    (lambda: Attention(8, 3), "^n_heads: expected a number that divides d_model = 8 into equal"),
    (lambda: Attention(6, 2), "^n_heads: .+ of an even size, got 2$"),
    (lambda: Attention(0, 2), "^d_model: expected a whole number"),
    (lambda: Attention(8, 2)(randn(2, 3, 7)), r"^u: expected shape \(batch, length, 8\)"),
    (lambda: Attention(8, 2).step(randn(2, 3, 8), None), r"^u: expected shape \(batch, 8\)"),
    (lambda: Attention(8, 2)(randn(2, 3, 8), attention_mask=torch.ones(2, 3)), "^real: expected dtype bool"),
    (lambda: Attention(8, 2)(randn(2, 3, 8), attention_mask=torch.ones(2, 4) > 0), "^real: expected shape"),
    (lambda: Attention(8, 2)(randn(2, 3, 8), Attention(8, 2).init_cache(3)),
     r"^cache.keys: expected shape \(2, 2, 0, 4\)"),
    (lambda: Attention(8, 2)(randn(2, 3, 8), KVCache(randn(2, 2, 5, 4), randn(2, 2, 4, 4),
                                                        None)),
     "^cache.values: expected shape .+ that of the keys"),
])
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
