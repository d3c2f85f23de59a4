"""The language model, of every layer pattern: steps, parts, padding, packing, initial weights."""

import pytest
import torch
from models import SMALL, random_ids, small_model
from systems import close

from minimamba import MambaConfig, MambaLM, scan
from minimamba.scan import compiled

PATTERNS = ["MM", "MMMA", "AFAF", "L46MA", "22"]
every_pattern = pytest.mark.parametrize("pattern", PATTERNS)


@pytest.fixture
def model(double):
    return small_model()


def hybrid(pattern, **options):
    return small_model(**{"layers": pattern, "n_layer": None, "d_state": 4, "n_heads": 2,
                          "head_dim": 8} | options)


def caches_close(given, expected):
    for given_part, expected_part in zip(given, expected, strict=True):
        if isinstance(given_part, tuple):
            caches_close(given_part, expected_part)
        elif given_part is not None or expected_part is not None:
            close(given_part, expected_part)


@every_pattern
def test_steps_and_parts_equal_forward(pattern, double):
    model, input_ids = hybrid(pattern), random_ids(length=20)
    logits, last = model(input_ids, return_cache=True)
    first, cache = model(input_ids[:, :11], return_cache=True)
    second, cache = model(input_ids[:, 11:], cache, return_cache=True)
    close(torch.cat([first, second], 1), logits)
    caches_close(cache, last)
    cache = model.init_cache(2)
    outputs = []
    for ids in input_ids.unbind(1):
        step_logits, cache = model.step(ids, cache)
        outputs.append(step_logits)
    close(torch.stack(outputs, 1), logits)
    caches_close(cache, last)
    close(model(input_ids, model.init_cache(2)), logits)


@every_pattern
def test_hidden_states_and_logits_equal_forward(pattern, double):
    model, input_ids = hybrid(pattern), random_ids(length=9)
    hidden_states, cache = model.hidden_states(input_ids)
    logits, expected_cache = model(input_ids, return_cache=True)
    assert hidden_states.shape == (2, 9, 12)
    close(model.logits(hidden_states[:, -1]), logits[:, -1])
    caches_close(cache, expected_cache)


@pytest.mark.skipif(bool(compiled.why_not()), reason=str(compiled.why_not()))
@pytest.mark.parametrize(("batch", "pattern"), [(1, "MM"), (2, "22")])
def test_compiled_steps_equal_steps(double, batch, pattern):
    model = small_model(bias=True, layers=pattern, head_dim=8)
    cache = compiled_cache = model.init_cache(batch)
    with torch.inference_mode():
        for ids in random_ids(batch, 5).unbind(1):
            expected, cache = model.step(ids, cache)
            logits, compiled_cache = model.step(ids, compiled_cache, compiled=True)
            close(logits, expected)
    caches_close(compiled_cache, cache)


@pytest.mark.parametrize("pattern", ["MM", "M2"])
def test_in_place_steps_equal_steps(pattern, double):
    model = small_model(layers=pattern, head_dim=8)
    cache, own = model.init_cache(2), model.init_cache(2)
    with torch.no_grad():
        for ids in random_ids(2, 5).unbind(1):
            logits, cache = model.step(ids, cache)
            assert torch.equal(model.step_(ids, own), logits)
    caches_close(own, cache)


@pytest.mark.parametrize("pattern", ["MM", "M2"])
def test_in_place_step_reads_no_values_so_that_a_graph_can_hold_it(pattern):
    model = small_model(layers=pattern, head_dim=8).to("meta")
    cache = model.init_cache(2)
    with torch.no_grad():
        logits = model.step_(random_ids()[:, 0].to("meta"), cache)
    assert logits.shape == (2, 40)


@every_pattern
def test_logits_do_not_depend_on_later_tokens(pattern, double):
    model, input_ids = hybrid(pattern), random_ids()
    changed = input_ids.clone()
    changed[:, 17:] = random_ids(seed=1)[:, 17:]
    close(model(changed)[:, :17], model(input_ids)[:, :17])
    assert (model(changed)[:, 17:] - model(input_ids)[:, 17:]).abs().max() > 0.1


@every_pattern
def test_left_padding_changes_nothing(pattern, double):
    model, input_ids = hybrid(pattern), random_ids(length=20)
    mask = torch.arange(20) >= torch.tensor([[0], [9]])
    input_ids[1, :9] = 7                                     # any token may stand there
    logits, cache = model(input_ids, attention_mask=mask, return_cache=True)
    close(logits[:1], model(input_ids[:1]))
    expected, last = model(input_ids[1:, 9:], return_cache=True)
    close(logits[1:, 9:], expected)
    ids = random_ids(2, 1, seed=3)[:, 0]
    close(model.step(ids, cache)[0][1:], model.step(ids[1:], last)[0])
    assert torch.equal(model(input_ids, attention_mask=mask.long()), logits)


@every_pattern
def test_packed_sequences_do_not_see_each_other(pattern, double):
    model, input_ids = hybrid(pattern), random_ids(length=20)
    logits = model(input_ids, seq_idx=torch.tensor([[0] * 8 + [1] + [5] * 11, [3] * 20]))
    for part in (slice(0, 8), slice(8, 9), slice(9, 20)):
        close(logits[:1, part], model(input_ids[:1, part]))
    close(logits[1:], model(input_ids[1:]))


@pytest.mark.parametrize("seq_idx", [
    [5] * 8 + [3] + [0] * 11, [0] * 8 + [1] + [0] * 11, [-1] * 8 + [-7] + [2] * 11,
    [2**40] * 8 + [-2**40] + [2**40] * 11,
    list(range(20)), list(range(20, 0, -1)), [0, 1] * 10],
    ids=["falling", "again", "negative", "large", "each its own", "each its own, falling",
         "alternating"])
def test_a_packed_sequence_begins_wherever_the_number_changes(seq_idx, double):
    model, input_ids = hybrid("MA"), random_ids(1, 20)
    packed = model(input_ids, seq_idx=torch.tensor([seq_idx]))
    starts = [t for t in range(20) if t == 0 or seq_idx[t] != seq_idx[t - 1]]
    for start, end in zip(starts, [*starts[1:], 20], strict=True):
        close(packed[:, start:end], model(input_ids[:, start:end]))


def test_packed_sequences_of_any_lengths_are_padded_to_at_most_twice_their_tokens(model):
    seq_idx = torch.cat([torch.arange(300), torch.full((300,), 300)])[None]
    seen = []
    model.embedding.register_forward_pre_hook(lambda _, args: seen.append(args[0].numel()))
    model(random_ids(1, 600), seq_idx=seq_idx)
    assert sum(seen) <= 1200


@every_pattern
def test_every_parameter_has_a_gradient_also_from_packed_sequences(pattern, double):
    model, input_ids = hybrid(pattern), random_ids(length=20)
    seq_idx = (torch.arange(20) >= 15).long().expand(2, -1)
    for logits in (model(input_ids), model(input_ids, seq_idx=seq_idx)):
        gradients = torch.autograd.grad(logits.logsumexp(-1).sum(), list(model.parameters()))
        for (name, _), gradient in zip(model.named_parameters(), gradients, strict=True):
            assert gradient.abs().max() > 0, name


@every_pattern
def test_forward_and_backward_run_under_bfloat16_autocast(pattern):
    """As `train_steps` uses it on a GPU."""
    model = hybrid(pattern, scale=0.1)
    expected = model(random_ids())
    with torch.autocast("cpu", torch.bfloat16):
        logits, cache = model(random_ids(), return_cache=True)
        continued = model(random_ids(), cache)
        logits.float().logsumexp(-1).sum().backward()
    for given in (logits, continued):
        assert given.dtype == torch.bfloat16
        assert given.isfinite().all()
    assert (logits - expected).norm() < 0.02 * expected.norm()
    assert all(parameter.grad.dtype == torch.float32 for parameter in model.parameters())


def test_letters_build_the_mixers_that_the_table_names():
    model = hybrid("L46MAF2", selective=("delta",), dt_rank=3, head_dim=4, n_groups=3)
    mixers = [layer.mixer for layer in model.layers]
    assert [type(mixer).__name__ for mixer in mixers] == [
        "LSTM", "S4Block", "S4Block", "Mamba", "Attention", "MLP", "Mamba2"]
    assert [type(mixer.ssm).__name__ for mixer in mixers[1:3]] == ["S4D", "S6"]
    assert mixers[2].ssm.x_proj.out_features == mixers[3].dt_proj.in_features == 3
    assert mixers[4].n_heads == 2
    assert (mixers[6].head_dim, mixers[6].n_groups, mixers[6].d_state) == (4, 3, 4)


def test_published_130m_model_has_its_published_size():
    """129,135,360 parameters, with a vocabulary of 50,280 and the embedding shared."""
    with torch.device("meta"):
        model = MambaLM(MambaConfig())
    assert sum(parameter.numel() for parameter in model.parameters()) == 129_135_360


def test_initial_weights_are_those_of_the_official_code():
    torch.manual_seed(0)
    model = MambaLM(MambaConfig(vocab_size=2000, d_model=64, n_layer=9))
    assert 0.0195 < model.embedding.weight.std() < 0.0205
    assert model.lm_head.weight is model.embedding.weight
    mixer = model.layers[3].mixer
    # PyTorch draws a linear layer's weights within 1/√inputs; here that is divided by √9.
    assert 0.95 * 128**-0.5 / 3 < mixer.out_proj.weight.abs().max() <= 128**-0.5 / 3
    close(mixer.A[5].double(), -torch.arange(1.0, 17).double(), rtol=1e-6)
    delta = torch.nn.functional.softplus(mixer.dt_bias)
    assert 0.001 <= delta.min() < 0.01 < 0.05 < delta.max() <= 0.1001


@pytest.mark.parametrize("residual_in_fp32", [True, False])
def test_residual_stream_stays_in_float32_if_asked(residual_in_fp32):
    model = MambaLM(MambaConfig(**SMALL, residual_in_fp32=residual_in_fp32)).bfloat16()
    dtypes = []
    model.layers[0].register_forward_hook(lambda module, args, output: dtypes.append(output.dtype))
    assert model(random_ids()).dtype == torch.bfloat16
    assert dtypes == [torch.float32 if residual_in_fp32 else torch.bfloat16]


def test_scan_method_is_that_of_all_selective_scans(monkeypatch, double):
    model, calls = hybrid("M6AM"), []
    expected = model(random_ids())
    reference = scan.METHODS["reference"]
    monkeypatch.setitem(scan.METHODS, "reference",
                        lambda *args, **kwargs: calls.append(1) or reference(*args, **kwargs))
    assert model.use_scan_method("reference") is model
    close(model(random_ids()), expected)
    assert len(calls) == 3
    with pytest.raises(ValueError, match=r"^method: expected 'auto', .+ got 'fast'$"):
        model.use_scan_method("fast")


def test_scan_method_is_that_of_mamba2_blocks_too(double):
    model = hybrid("M2A")
    expected = model(random_ids())
    for method in ("reference", "chunked", "auto"):
        close(model.use_scan_method(method)(random_ids()), expected)
        assert [layer.mixer.scan_method for layer in model.layers[:2]] == [method, method]
    for method in ("associative", "quadratic"):              # a method of one of the two alone
        with pytest.raises(ValueError, match=rf"^method: expected 'auto', .+ got '{method}'$"):
            model.use_scan_method(method)
        assert model.layers[0].mixer.scan_method == model.layers[1].mixer.scan_method == "auto"
    close(hybrid("22").use_scan_method("quadratic")(random_ids()), hybrid("22")(random_ids()))


@pytest.mark.parametrize(("call", "message"), [
    (lambda m: m(random_ids().float()),
     r"^input_ids: expected dtype int64, got float32$"),
    (lambda m: m([1, 2]), "^input_ids: .+ got list$"),
    (lambda m: m(random_ids()[0]),
     r"^input_ids: expected shape \(batch, length\), got shape \(30,\)$"),
    (lambda m: m(random_ids()[:, :0]), r"^input_ids: .+ got shape \(2, 0\)$"),
    (lambda m: m(random_ids() + 40), "^input_ids: expected token ids from 0 to 39, got 4"),
    (lambda m: m(random_ids() - 40), "^input_ids: expected token ids from 0 to 39, got -"),
    (lambda m: m(random_ids(), m.init_cache(2)[:1]),
     "^cache: expected one of 2 layers, got one of 1$"),
    (lambda m: m(random_ids(), [*m.init_cache(2)[:1], None]),
     r"^cache\[1\]: expected the cache of a layer, got None$"),
    (lambda m: m.norm_f.bfloat16() and m(random_ids()),
     "^norm_f: expected dtype float64, .+ got bfloat16$"),
    (lambda m: m.norm_f.bfloat16() and m.step(random_ids()[:, 0], m.init_cache(2)),
     "^norm_f: expected dtype float64, .+ got bfloat16$"),
    (lambda m: m.layers[1].mixer.in_proj.bfloat16() and m(random_ids()),
     "^weight of a linear layer: expected torch.float64, as its input, got torch.bfloat16$"),
    (lambda m: m.layers[1].mixer.out_proj.bfloat16() and m(random_ids()),
     "^weight of a linear layer: expected torch.float64, as its input, got torch.bfloat16$"),
    (lambda m: m.layers[0].mixer.dt_proj.bfloat16() and m.step(random_ids()[:, 0], m.init_cache(2)),
     "^weight of a linear layer: expected torch.float64, as its input, got torch.bfloat16$"),
    (lambda m: m(random_ids(), seq_idx=torch.zeros(2, 3, dtype=torch.int64)),
     r"^seq_idx: expected shape \(2, 30\)"),
    (lambda m: m(random_ids(), m.init_cache(2), seq_idx=torch.zeros(2, 30)),
     "^seq_idx: expected no cache and no attention_mask beside it, got one of them$"),
    (lambda m: m(random_ids(), attention_mask=torch.arange(30).expand(2, -1) < 20),
     "^attention_mask: expected padding to the left alone, got some after a token$"),
    (lambda m: m(random_ids(), attention_mask=torch.ones(2, 30)),
     "^attention_mask: expected dtype bool or int64 or int32, got float64$"),
    (lambda m: m(random_ids(), attention_mask=torch.ones(2, 3) > 0),
     r"^attention_mask: expected shape \(2, 30\)"),
    (lambda m: m(random_ids().to("meta")), "^input_ids: expected device cpu, .+ got meta$"),
    (lambda m: m(random_ids(), "cache"), "^cache: expected a list of one per layer, .+ got str$"),
    (lambda m: m(random_ids(), hybrid("AM").init_cache(2)), "^cache: .+MambaCache.+ got KVCache$"),
    (lambda m: hybrid("4M")(random_ids(), m.init_cache(2)), "^cache: .+Tensor.+ got MambaCache$"),
    (lambda m: m.step(random_ids()[:, 0], None), "^cache: expected a MambaCache, .+ got NoneType$"),
    (lambda m: m(random_ids(), seq_idx=torch.zeros(2, 30)), "^seq_idx: expected dtype int64 or"),
    (lambda m: m.logits(torch.zeros(2, 3)), r"^hidden_states: expected shape \(…, \d+\), got"),
    (lambda m: m.logits([1.0]), "^hidden_states: expected a torch.Tensor, got list"),
    (lambda m: m.step(random_ids(), m.init_cache(2)), r"^input_ids: expected shape \(batch,\)"),
    (lambda m: m.step_(random_ids(), m.init_cache(2)), r"^input_ids: expected shape \(batch,\)"),
    (lambda m: hybrid("MA").step_(random_ids()[:, 0], None),
     "^step_: expected a model of Mamba and Mamba-2 blocks alone, got layers 'MA'$"),
])
def test_bad_input_is_refused_by_name(model, call, message):
    with pytest.raises(ValueError, match=message):
        call(model)
