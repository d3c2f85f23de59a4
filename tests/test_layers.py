"""Every letter of a pattern, alone and in a stack: one face, whatever stands behind it."""

import pytest
import torch
from systems import close
from test_lm import shake

from minimamba import MambaConfig, MambaLM, checkpoint, generation
from minimamba.course.inspect import attention_weights, trace_states
from minimamba.lm import MIXERS
from minimamba.nn.layers import LSTM, MLP

pytestmark = pytest.mark.usefixtures("double")
PATTERNS = [*MIXERS, "MMMAMMMM", "AFAF", "MFAF", "L46MA"]
every = pytest.mark.parametrize("pattern", PATTERNS)


def make(pattern, **options):
    torch.manual_seed(0)
    model = MambaLM(MambaConfig(40, 16, layers=pattern, d_state=4, **options))
    shake(model, 0.1)
    return model


def tokens(batch=2, length=20, seed=0):
    return torch.randint(0, 40, (batch, length), generator=torch.Generator().manual_seed(seed))


def alike(one, other):
    for a, b in zip(one, other, strict=True):
        if isinstance(a, tuple):
            alike(a, b)
        elif a is not None or b is not None:
            close(a, b)


@every
def test_steps_and_parts_are_the_whole(pattern):
    model, given = make(pattern), tokens()
    whole, last = model(given, return_cache=True)
    first, cache = model(given[:, :11], return_cache=True)
    second, cache = model(given[:, 11:], cache, return_cache=True)
    close(torch.cat([first, second], 1), whole)
    alike(cache, last)
    cache, outputs = model.init_cache(2), []
    for now in given.unbind(1):
        scores, cache = model.step(now, cache)
        outputs.append(scores)
    close(torch.stack(outputs, 1), whole)
    alike(cache, last)
    close(model(given, model.init_cache(2)), whole)


@every
def test_nothing_looks_ahead_and_all_but_the_mlp_look_back(pattern):
    model, given = make(pattern), tokens(1)
    seen = model.embedding(given).detach().requires_grad_()
    model.embedding.register_forward_hook(lambda *_: seen)
    gradient, = torch.autograd.grad(model(given)[0, 12].logsumexp(-1), seen)
    # Not exactly zero, where a convolution goes through an FFT.
    felt = gradient[0].abs().amax(-1) > 1e-12
    assert not felt[13:].any()
    assert felt[12]
    assert felt[:12].all() == (pattern != "F")


@every
def test_padding_to_the_left_changes_nothing(pattern):
    model, given = make(pattern), tokens()
    real = torch.arange(20) >= torch.tensor([[0], [9]])
    given[1, :9] = 7
    scores, cache = model(given, attention_mask=mask, return_cache=True)
    close(scores[:1], model(given[:1]))
    wanted, last = model(given[1:, 9:], return_cache=True)
    close(scores[1:, 9:], wanted)
    now = tokens(2, 1, seed=3)[:, 0]
    close(model.step(now, cache)[0][1:], model.step(now[1:], last)[0])


@every
def test_packed_sequences_see_nothing_of_each_other(pattern):
    model, given = make(pattern), tokens()
    packed = model(given, seq_idx=torch.tensor([[0] * 8 + [1] * 1 + [5] * 11, [3] * 20]))
    for part in (slice(0, 8), slice(8, 9), slice(9, 20)):
        close(packed[:1, part], model(given[:1, part]))
    close(packed[1:], model(given[1:]))


@every
def test_it_writes_by_steps_what_it_would_by_reading(pattern):
    model = make(pattern).float()
    prompts = [tokens(1, length, seed=length)[0] for length in (5, 12)]
    rows = generation.generate(model, prompts, 6)
    for row, prompt in zip(rows, prompts, strict=True):
        text = prompt[None]
        for new in row:
            assert model(text)[0, -1].argmax() == new
            text = torch.cat([text, new[None, None]], 1)


@every
def test_products_may_be_in_half_precision(pattern):
    """As the training loop has them on a GPU."""
    model = make(pattern).float()
    wanted = model(tokens())
    with torch.autocast("cpu", torch.bfloat16):
        scores, cache = model(tokens(), return_cache=True)
        more = model(tokens(), cache)
        scores.float().logsumexp(-1).sum().backward()
    for given in (scores, more):
        assert given.dtype == torch.bfloat16
        assert given.isfinite().all()
    assert (scores - wanted).norm() < 0.02 * wanted.norm()
    assert all(parameter.grad.dtype == torch.float32 for parameter in model.parameters())


@every
def test_every_weight_learns(pattern):
    model = make(pattern)
    for name, parameter in model.named_parameters():
        gradient, = torch.autograd.grad(model(tokens()).logsumexp(-1).sum(), parameter)
        assert gradient.abs().max() > 0, name


@every
def test_what_is_saved_comes_back(pattern, tmp_path):
    model = make(pattern, n_heads=2, rotary=False).float()
    model.save_pretrained(tmp_path, layout="minimamba")
    again = MambaLM.from_pretrained(tmp_path)
    assert again.config == model.config
    assert torch.equal(again(tokens()), model(tokens()))


def size(cache):
    """Numbers in a cache."""
    if isinstance(cache, (tuple, list)):
        return sum(size(part) for part in cache)
    return 0 if cache is None else cache.numel()


def test_attention_remembers_more_with_every_step_and_the_others_do_not():
    for pattern in PATTERNS:
        model = make(pattern)
        short, long = (size(model(tokens(1, length), return_cache=True)[1]) for length in (9, 19))
        assert long - short == pattern.count("A") * 2 * 16 * 10
    assert size(make("AFAF").empty(1)) == 0


def test_a_transformer_layer_has_the_weights_of_two_mamba_blocks():
    def count(pattern):
        with torch.device("meta"):
            model = MambaLM(MambaConfig(1, 768, layers=pattern))
        return sum(p.numel() for p in model.layers.parameters())

    assert 0.9 < count("AF") / count("MM") < 1.05


def test_all_letters_mean_what_their_table_says():
    model = make("L46MA")
    assert [type(layer.mixer).__name__ for layer in model.layers] == [
        "LSTM", "SSM", "SSM", "Mamba", "Attention"]
    assert [type(layer.mixer.ssm).__name__ for layer in model.layers[1:3]] == ["S4D", "S6"]
    assert model.config.n_layer == 5
    assert MambaConfig(3, 8, n_layer=2).layer_pattern == "MM"


def test_an_mlp_is_its_equation():
    mlp, u = MLP(6), torch.randn(2, 3, 6)
    a, b = mlp.in_proj(u).split(16, -1)
    close(mlp(u), mlp.out_proj(a * a.sigmoid() * b))


def test_an_lstm_is_pytorchs():
    layer, u = LSTM(6), torch.randn(2, 3, 6)
    close(layer(u), layer.out_proj(layer.lstm(u)[0]))


def test_a_hybrid_is_watched_layer_by_layer():
    model = make("MAFM", n_heads=2)
    states, attention = trace_states(model, tokens(1)[0]), attention_weights(model, tokens(1)[0])
    assert [part.h.shape for part in states] == [(20, 32, 4)] * 2
    assert [part.shape for part in attention] == [(2, 20, 20)]
    close(attention[0].sum(-1), torch.ones(2, 20))


def test_only_mamba_has_the_published_layouts(tmp_path):
    with pytest.raises(ValueError, match=r"^layout: expected 'minimamba' .+'original' for MA$"):
        checkpoint.save(make("MA"), tmp_path, layout="mamba_ssm")


def test_only_mamba_steps_in_place():
    model = make("MA")
    with pytest.raises(ValueError, match=r"^in_place: expected False for other layers"):
        model.step(tokens(1)[:, 0], model.init_cache(1), in_place=True)


@pytest.mark.parametrize("layers", ["", "MX", 3, ("M",)])
def test_unknown_letters_are_named(layers):
    with pytest.raises(ValueError, match=r"^layers: expected letters among MAFL64, got"):
        MambaConfig(40, layers=layers)
