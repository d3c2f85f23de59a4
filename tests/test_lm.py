"""The language model beside Hugging Face's, in steps and parts, packed and padded."""

import pytest
import torch
from systems import close

from minimamba import MambaConfig, MambaLM
from minimamba.scan import compiled

SMALL = {"vocab_size": 40, "d_model": 12, "n_layer": 2}


@pytest.fixture
def model(double):
    model = MambaLM(MambaConfig(**SMALL))
    shake(model)
    return model


def shake(model, by=0.3):
    """Weights far from where they start: there, much of a block shows too little."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += by * torch.randn_like(parameter)


def tokens(batch=2, length=30, seed=0):
    return torch.randint(0, 40, (batch, length), generator=torch.Generator().manual_seed(seed))


def test_steps_and_parts_are_the_whole(model):
    given = tokens()
    whole, last = model(given, return_memory=True)
    first, memory = model(given[:, :11], return_memory=True)
    second, memory = model(given[:, 11:], memory, return_memory=True)
    close(torch.cat([first, second], 1), whole)
    memory, outputs = model.empty(2), []
    for now in given.unbind(1):
        scores, memory = model.step(now, memory)
        outputs.append(scores)
    close(torch.stack(outputs, 1), whole)
    for one, other in zip(memory, last, strict=True):
        close(one.h, other.h)
        close(one.inputs, other.inputs)


@pytest.mark.skipif(bool(compiled.why_not()), reason=str(compiled.why_not()))
@pytest.mark.parametrize("batch", [1, 2])
def test_compiled_steps_are_the_same(double, batch):
    model = MambaLM(MambaConfig(**SMALL, bias=True))
    shake(model)
    one = other = model.empty(batch)
    with torch.inference_mode():
        for now in tokens(batch, 5).unbind(1):
            wanted, one = model.step(now, one)
            scores, other = model.step(now, other, compiled=True)
            close(scores, wanted)
    for kept, given in zip(one, other, strict=True):
        close(given.h, kept.h)
        close(given.inputs, kept.inputs)


def test_nothing_looks_ahead(model):
    given = tokens()
    other = given.clone()
    other[:, 17:] = tokens(seed=1)[:, 17:]
    close(model(given)[:, :17], model(other)[:, :17])
    assert (model(given)[:, 17:] - model(other)[:, 17:]).abs().max() > 0.1


def test_padding_to_the_left_changes_nothing(model):
    given, real = tokens(), torch.arange(30) >= torch.tensor([[0], [9]])
    given[1, :9] = 7                                         # whatever stands there
    scores = model(given, real=real)
    close(scores[:1], model(given[:1]))
    close(scores[1:, 9:], model(given[1:, 9:]))


def test_packed_sequences_see_nothing_of_each_other(model):
    given = tokens()
    packed = model(given, seq_idx=torch.tensor([[0] * 12 + [1] * 1 + [5] * 17, [3] * 30]))
    for part in (slice(0, 12), slice(12, 13), slice(13, 30)):
        close(packed[:1, part], model(given[:1, part]))
    close(packed[1:], model(given[1:]))
    gradient, = torch.autograd.grad(
        model(given, seq_idx=(torch.arange(30) >= 20).long().expand(2, -1))[:, 20:].sum(),
        model.embedding.weight)
    assert gradient[given[0, 25]].abs().max() > 0


def test_every_weight_learns(model):
    for name, parameter in model.named_parameters():
        gradient, = torch.autograd.grad(model(tokens()).logsumexp(-1).sum(), parameter)
        assert gradient.abs().max() > 0, name


def test_the_published_model_has_its_published_size():
    """130M: 129,135,360 parameters, with a vocabulary of 50,280 and the head's weights shared."""
    with torch.device("meta"):
        model = MambaLM(MambaConfig(vocab_size=50280))
    assert sum(parameter.numel() for parameter in model.parameters()) == 129_135_360


def test_it_starts_as_the_official_code_does():
    torch.manual_seed(0)
    model = MambaLM(MambaConfig(vocab_size=2000, d_model=64, n_layer=9))
    assert 0.0195 < model.embedding.weight.std() < 0.0205
    assert model.head.weight is model.embedding.weight
    mixer = model.layers[3].mixer
    # PyTorch draws a linear layer's weights within 1/√inputs; here a third of that.
    assert 0.95 * 128**-0.5 / 3 < mixer.out_proj.weight.abs().max() <= 128**-0.5 / 3
    close(mixer.ssm.A[5].double(), -torch.arange(1.0, 17).double(), rtol=1e-6)
    step = torch.nn.functional.softplus(mixer.ssm.dt_bias)
    assert 0.001 <= step.min() < 0.01 < 0.05 < step.max() <= 0.1001


def test_the_residual_may_be_kept_wide():
    kept = {}
    for wide in (True, False):
        model = MambaLM(MambaConfig(**SMALL, residual_in_fp32=wide)).bfloat16()
        model.norm.register_forward_pre_hook(
            lambda module, given, wide=wide: kept.__setitem__(wide, given))
        seen = []
        model.layers[0].register_forward_hook(lambda module, given, out, seen=seen:
                                              seen.append(out[0].dtype))
        assert model(tokens()).dtype == torch.bfloat16
        assert seen == [torch.float32 if wide else torch.bfloat16]


@pytest.mark.parametrize(("call", "message"), [
    (lambda m: m(tokens().float()), "^tokens: expected a torch.Tensor of dtype int64, got .+32"),
    (lambda m: m([1, 2]), "^tokens: .+ got list$"),
    (lambda m: m(tokens()[0]), r"^tokens: expected shape \(batch, length\), not empty, got shape"),
    (lambda m: m(tokens()[:, :0]), r"^tokens: .+ got shape \(2, 0\)$"),
    (lambda m: m(tokens() + 40), "^tokens: expected numbers from 0 to 39, got 4"),
    (lambda m: m(tokens() - 40), "^tokens: expected numbers from 0 to 39, got -"),
    (lambda m: m(tokens(), m.empty(2)[:1]), "^memory: expected one of 2 layers, got one of 1$"),
    (lambda m: m(tokens(), seq_idx=torch.zeros(2, 3)), r"^seq_idx: expected shape \(2, 30\)"),
    (lambda m: m(tokens(), m.empty(2), seq_idx=torch.zeros(2, 30)), "^seq_idx: expected no memory"),
    (lambda m: m(tokens(), real=torch.arange(30).expand(2, -1) < 20),
     "^real: expected padding to the left alone, got some after a token$"),
    (lambda m: m(tokens(), real=torch.ones(2, 30)), "^real: expected dtype bool, got float64$"),
    (lambda m: m(tokens(), real=torch.ones(2, 3) > 0), r"^real: expected shape \(2, 30\)"),
    (lambda m: m.step(tokens(), m.empty(2)), r"^tokens: expected shape \(batch,\)"),
    (lambda m: MambaConfig(vocab_size=0), "^vocab_size: expected a whole number from 1 up, got 0$"),
    (lambda m: MambaConfig(10, dt_rank=0), "^dt_rank: "),
    (lambda m: MambaConfig(10, norm_epsilon=0.0), "^norm_epsilon: "),
])
def test_bad_input_is_named(model, call, message):
    with pytest.raises(ValueError, match=message):
        call(model)
