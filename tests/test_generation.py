"""Generation: greedy, sampled, ended, padded, streamed, with ids and with text."""

from concurrent.futures import ThreadPoolExecutor
from itertools import product
from math import inf
from threading import Event

import pytest
import torch
from models import TOKENS, random_ids, small_model, write_tokenizer

from minimamba import MambaLM, generate, generation
from minimamba.generation import Sampler, prefill, stream
from minimamba.nn import Mamba
from minimamba.scan import compiled


@pytest.fixture
def model(double):
    return small_model()


@pytest.fixture
def bytes_model():
    return small_model(vocab_size=256)


@pytest.fixture
def text_model(tmp_path):
    """A model with a tokenizer.json, which writes letters more often than bytes."""
    model = small_model(vocab_size=len(TOKENS))
    model.embedding.weight.data[:TOKENS.index("▁")] = 0
    model.save_pretrained(tmp_path)
    write_tokenizer(tmp_path)
    return MambaLM.from_pretrained(tmp_path)


def without_cache(model, prompt, count, choose=lambda logits, ids: logits.argmax(-1)):
    """Run the model over everything again for each new token; prompt (1, length)."""
    ids = prompt
    for _ in range(count):
        ids = torch.cat([ids, choose(model(ids)[:, -1], ids)[:, None]], 1)
    return ids


every_pattern = pytest.mark.parametrize("pattern", ["MM", "MMMA", "AFAF", "L46MA", "2M", "2A"])


@every_pattern
def test_generation_with_a_cache_equals_generation_without(pattern, double):
    model = small_model(layers=pattern, n_layer=None, d_state=4, n_heads=2, head_dim=8)
    given = generate(model, random_ids(), 15)
    assert given.shape == (2, 45)
    for row, prompt in zip(given, random_ids(), strict=True):
        assert torch.equal(row, without_cache(model, prompt[None], 15)[0])
    prompts = [random_ids(1, length, seed=length)[0] for length in (1, 12, 5)]
    for row, prompt in zip(model.generate(prompts, 6), prompts, strict=True):
        assert torch.equal(row, without_cache(model, prompt[None], 6)[0])


@pytest.mark.parametrize("pattern", ["MM", "2M"])
@pytest.mark.parametrize("chunk", [1, 7, 30, 100])
def test_prefill_in_chunks_equals_forward(pattern, chunk, double):
    model = small_model(layers=pattern, head_dim=8)
    mask = torch.arange(30) >= torch.tensor([[0], [17]])
    logits, cache = prefill(model, random_ids(), mask, chunk)
    expected, last = model(random_ids(), attention_mask=mask, return_cache=True)
    torch.testing.assert_close(logits, expected[:, -1])
    for given, layer_cache in zip(cache, last, strict=True):
        torch.testing.assert_close(given.ssm_state, layer_cache.ssm_state)
        torch.testing.assert_close(given.conv_state, layer_cache.conv_state)


def test_sequences_end_after_their_end_token(model):
    whole = generate(model, random_ids(), 25)
    eos = whole[0, 34].item()
    ends = [next((i + 1 for i in range(30, 55) if row[i] == eos), 55) for row in whole]
    assert ends == [35, 31]                                  # one earlier than the other
    unused = next(i for i in range(40) if i not in whole)
    for end_ids in (eos, [eos], {eos, unused}):
        rows = generate(model, list(random_ids()), 25, eos_token_id=end_ids)
        for row, expected, end in zip(rows, whole, ends, strict=True):
            assert torch.equal(row, expected[:end])
    # In a tensor, the end token fills up the row.
    rows = generate(model, random_ids(), 25, eos_token_id=eos)
    assert torch.equal(rows[0], whole[0, :35])
    assert torch.equal(rows[1, :31], whole[1, :31])
    assert (rows[1, 31:] == eos).all()
    columns = torch.stack(list(stream(model, random_ids(), 25, eos_token_id=eos)), 1)
    assert torch.equal(columns[0], whole[0, 30:35])
    assert columns[1].tolist() == [eos] + 4 * [generation.ENDED]


def test_end_token_of_the_config_is_the_default(double):
    plain = small_model()
    eos = generate(plain, random_ids(1), 9)[0, 34].item()
    model = small_model(eos_token_id=eos)
    expected = generate(plain, random_ids(1), 25, eos_token_id=eos)
    assert expected.shape[1] < 40
    assert torch.equal(generate(model, random_ids(1), 25), expected)
    assert generate(model, random_ids(1), 25, eos_token_id=()).shape == (1, 55)


def test_generation_stops_when_all_sequences_have_ended(model):
    first = set(generate(model, random_ids(), 1)[:, -1].tolist())
    assert len(list(stream(model, random_ids(), 25, eos_token_id=first))) == 1
    assert generate(model, random_ids(), 25, eos_token_id=first).shape == (2, 31)


def test_stream_yields_the_tokens_that_generate_returns(model):
    columns = model.stream(random_ids(), 25)
    first = next(columns)
    assert first.shape == (2,)
    assert torch.equal(torch.stack([first, *columns], 1), generate(model, random_ids(), 25)[:, 30:])


def test_result_has_the_form_of_the_prompts(bytes_model):
    ids = torch.tensor([list(b"ab"), list(b"cd")])
    rows = bytes_model.generate(ids, 3)
    assert rows.shape == (2, 5)
    assert torch.equal(rows[:, :2], ids)
    listed = bytes_model.generate(list(ids), 3)
    assert all(map(torch.equal, listed, rows))
    texts = bytes_model.generate(["ab", "cd"], 3)
    assert texts == [bytes(row.tolist()).decode(errors="replace") for row in rows]
    assert bytes_model.generate("ab", 3) == texts[0]
    assert generate(bytes_model, "ab", 3) == texts[0]


def test_text_of_a_tokenizer_file_equals_its_decoded_ids(text_model):
    tokenizer = text_model.tokenizer
    prompts = ["a cab", "naïve 日本語", " b,"]
    ids = [torch.tensor(tokenizer.encode(prompt)) for prompt in prompts]
    texts, rows = text_model.generate(prompts, 40), text_model.generate(ids, 40)
    for text, prompt, prompt_ids, row in zip(texts, prompts, ids, rows, strict=True):
        assert torch.equal(row[:len(prompt_ids)], prompt_ids)
        decoded_prompt = tokenizer.decode(prompt_ids.tolist())
        assert text == prompt + tokenizer.decode(row.tolist()).removeprefix(decoded_prompt)
    assert len("".join(texts)) > 80


@pytest.mark.parametrize("kind", ["bytes_model", "text_model"])
def test_streamed_text_joins_to_what_generate_returns(kind, request):
    model, prompt = request.getfixturevalue(kind), "a cab 日"
    for seed in range(3):
        pieces = list(model.stream(prompt, 60, temperature=1.0, seed=seed))
        assert len(pieces) > 5
        assert all(pieces)
        assert prompt + "".join(pieces) == model.generate(prompt, 60, temperature=1.0, seed=seed)


def test_text_ends_with_the_end_token_whose_text_is_empty(text_model):
    eos = 1
    # An embedding that points along every hidden state makes its token the most likely one.
    hidden_states, _ = text_model.hidden_states(torch.tensor([text_model.tokenizer.encode("a b")]))
    text_model.embedding.weight.data[eos] = 10 * text_model.norm_f(hidden_states)[0, -1].detach()
    assert text_model.generate("a b", 5, eos_token_id=eos) == "a b"
    assert list(text_model.stream("a b", 5, eos_token_id=eos)) == []


def test_samples_follow_the_probabilities(model):
    prompt = random_ids(1, 9)
    samples = generate(model, prompt.expand(3000, -1), 1, temperature=2.0, seed=0)[:, -1]
    expected = (model(prompt)[0, -1] / 2).softmax(-1)
    error = (samples.bincount(minlength=40) / 3000 - expected).abs()
    assert (error < 5 * (expected / 3000).sqrt() + 1e-9).all()   # five standard deviations


def test_top_k_and_top_p_keep_the_most_likely_tokens(model):
    prompt = random_ids(1, 9)
    probabilities, order = (model(prompt)[0, -1] / 3).softmax(-1).sort(descending=True)
    for count, options in ((3, {"top_k": 3}), (1, {"top_p": 1e-6}),
                           (4, {"top_p": probabilities[:4].sum().item() - 1e-3}),
                           (2, {"top_k": 2, "top_p": 0.999999}), (40, {"top_k": 100})):
        samples = generate(model, prompt.expand(1000, -1), 1, temperature=3.0, seed=0,
                           **options)[:, -1]
        kept = set(order[:count].tolist())
        if count < 40:
            assert set(samples.tolist()) == kept
        else:
            assert len(set(samples.tolist())) > 10


def samples_of(logits, count=4000, occurred=None, *, temperature=1.0, top_k=None, top_p=1.0,
               penalty=1.0, seed=0):
    """How often a sampler takes each token."""
    sampler = Sampler(temperature, top_k, top_p, penalty, seed, logits.device)
    marks = None if occurred is None else occurred.expand(count, -1)
    return sampler(logits.expand(count, -1), marks).bincount(minlength=len(logits)).double()


def follow(counts, probabilities):
    """Pearson's χ² with one degree of freedom less than tokens, within five deviations."""
    possible = probabilities > 0
    assert counts[~possible].sum() == 0
    expected = probabilities[possible] * counts.sum()
    freedom = len(expected) - 1
    excess = ((counts[possible] - expected)**2 / expected).sum() - freedom
    return excess <= 5 * (2 * freedom)**0.5


LOGITS = torch.tensor([0.25, 0.0625, 0.25, 0.125, 0.25, 0.0625]).log()
"""Probabilities that float32 and their sums hold exactly."""


@pytest.mark.parametrize(("options", "kept"), [
    ({}, 6), ({"top_k": 6}, 6), ({"top_k": 7}, 6), ({"top_k": 10**9}, 6), ({"top_p": 1.0}, 6),
    ({"top_k": 3}, 3), ({"top_k": 4}, 4), ({"top_p": 0.75}, 3), ({"top_p": 0.7500001}, 4),
    ({"top_p": 0.875}, 4), ({"top_p": 0.5000001}, 3), ({"top_p": 0.9999999}, 6),
    ({"top_k": 4, "top_p": 0.8571428}, 3), ({"top_k": 4, "top_p": 0.86}, 4),
    ({"top_k": 1, "top_p": 0.5}, 3)], ids=str)
def test_samples_follow_the_exact_probabilities_up_to_each_boundary(options, kept):
    # Tokens as likely as the k-th all stay, as in transformers.
    order = torch.tensor([0, 2, 4, 3, 1, 5])[:kept]
    probabilities = torch.zeros(6, dtype=torch.float64)
    probabilities[order] = LOGITS.exp().double()[order]
    if options == {"top_k": 1, "top_p": 0.5}:
        # Of the tie, top_p keeps two, of which it doesn't matter which.
        counts = samples_of(LOGITS, **options)
        assert (counts > 0).sum() == 2
        assert follow(counts, (counts > 0) / 2)
    else:
        assert follow(samples_of(LOGITS, **options), probabilities / probabilities.sum())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(("temperature", "penalty"), [(0.0, 1.0), (0.0, 1.5), (0.7, 1.0)])
def test_half_precision_is_sampled_as_if_it_were_widened_first(dtype, temperature, penalty):
    logits = torch.randn(50, 400, generator=torch.Generator().manual_seed(0)).to(dtype)  # with ties
    occurred = None if penalty == 1 else logits > 1

    def sample(logits):
        return Sampler(temperature, None, 1.0, penalty, 0, logits.device)(logits, occurred)

    assert torch.equal(sample(logits), sample(logits.float()))


@pytest.mark.parametrize("options", [
    {}, {"temperature": 0.5}, {"top_k": 2}, {"top_p": 0.6}, {"repetition_penalty": 3.0}], ids=str)
def test_each_row_of_a_batch_is_sampled_by_its_own_logits(options):
    rows = torch.tensor([[0.25, 0.5, 0.125, 0.125], [0.4, 0.1, 0.2, 0.3]]).log() + torch.tensor(
        [[0.0], [7.0]])
    occurred = torch.tensor([[True, False, False, False], [False, False, True, False]])
    given = {"temperature": 1.0, "top_k": None, "top_p": 1.0, "repetition_penalty": 1.0, **options}
    marks = occurred if "repetition_penalty" in options else None
    sampler = Sampler(**given, seed=0, device=rows.device)
    samples = sampler(rows.repeat(4000, 1), None if marks is None else marks.repeat(4000, 1))
    given["penalty"] = given.pop("repetition_penalty")
    for i, row in enumerate(rows):
        counts = samples[i::2].bincount(minlength=4).double()
        alone = samples_of(row, 40_000, None if marks is None else marks[i], **given)
        assert follow(counts, alone / alone.sum())


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0, 1e6])
def test_temperature_divides_the_logits(temperature):
    for seed in (0, 1):
        counts = samples_of(LOGITS, temperature=temperature, seed=seed)
        assert follow(counts, (LOGITS.double() / temperature).softmax(0))


def test_a_temperature_near_zero_takes_the_most_likely_tokens():
    # At 0 the first of a tie, as argmax does; near 0 each of a tie.
    assert samples_of(LOGITS, temperature=0.0)[0] == 4000
    assert follow(samples_of(LOGITS, temperature=1e-3), torch.tensor([1, 0, 1, 0, 1, 0]) / 3)


@pytest.mark.parametrize("penalty", [0.5, 1.7])
def test_repetition_penalty_leaves_the_exact_probabilities(penalty):
    logits = torch.tensor([-2.0, -0.5, 0.0, 0.5, 2.0, -0.0])
    occurred = torch.tensor([True, False, True, True, True, True])
    penalized = torch.tensor([-2 * penalty, -0.5, 0.0, 0.5 / penalty, 2 / penalty, 0.0])
    assert follow(samples_of(logits, occurred=occurred, penalty=penalty),
                  penalized.double().softmax(0))
    assert follow(samples_of(logits, occurred=~torch.ones(6, dtype=torch.bool), penalty=penalty),
                  logits.double().softmax(0))


def test_repetition_penalty_equals_its_definition(model):
    def choose(logits, ids):
        occurred = torch.zeros_like(logits, dtype=torch.bool).scatter_(1, ids, True)
        penalized = torch.where(logits < 0, logits * 1.7, logits / 1.7)
        return torch.where(occurred, penalized, logits).argmax(-1)

    prompts = [random_ids(1, length, seed=length)[0] for length in (5, 30)]
    rows = generate(model, prompts, 25, repetition_penalty=1.7)
    for row, prompt in zip(rows, prompts, strict=True):
        assert torch.equal(row, without_cache(model, prompt[None], 25, choose)[0])
    assert not torch.equal(rows[1], generate(model, prompts, 25)[1])


def test_repetition_penalty_lowers_negative_logits_and_ignores_padding():
    input_ids, mask = generation._left_pad([torch.tensor([2]), torch.tensor([3, 1, 3])],
                                           torch.zeros(4, 1))
    occurred = generation._occurrences(input_ids, mask, 4)
    assert occurred.tolist() == [[False, False, True, False], [False, True, False, True]]
    logits = torch.tensor([[-5.0, -5.0, -1.0, -1.2], [-5.0, -1.0, -1.2, -5.0]])
    for penalty, expected in ((1.0, [2, 1]), (1.7, [3, 2])):
        sampler = Sampler(0.0, None, 1.0, penalty, None, logits.device)
        assert sampler(logits, occurred).tolist() == expected


def test_seed_repeats_and_none_differs(model):
    def sample(seed):
        torch.manual_seed(3)                                 # has no effect
        return generate(model, random_ids(), 25, temperature=1.0, seed=seed)

    first = sample(0)
    assert torch.equal(first, sample(0))
    assert not torch.equal(first, sample(1))
    assert not torch.equal(sample(None), sample(None))


@pytest.mark.skipif(bool(compiled.why_not()), reason=str(compiled.why_not()))
def test_only_long_texts_are_generated_by_compiled_steps(model, monkeypatch):
    plain = generate(model, random_ids(1), 12)
    calls = []
    step = MambaLM.step

    def recording_step(self, *args, compiled):
        calls.append(compiled)                               # test_lm.py compiles; here none is
        return step(self, *args)

    monkeypatch.setattr(MambaLM, "step", recording_step)
    monkeypatch.setattr(generation, "WORTH_COMPILING", 100)
    assert torch.equal(generate(model, random_ids(1), 12), plain)
    monkeypatch.setattr(generation, "WORTH_COMPILING", 2**33)
    generate(model, random_ids(1), 3)
    assert calls == [True] * 11 + [False] * 2


def test_model_is_left_in_its_mode(model):
    for training in (True, False):
        model.train(training)
        generate(model, random_ids(), 2)
        assert model.training == training
        for _ in zip(stream(model, random_ids(), 3), stream(model, random_ids(), 4), strict=False):
            assert model.training == training
        assert model.training == training


@every_pattern
def test_generations_side_by_side_equal_each_alone(pattern, double):
    model = small_model(layers=pattern, n_layer=None, d_state=4, n_heads=2, head_dim=8)
    prompts = [random_ids(length=5), random_ids(length=9, seed=1), random_ids(3, 7, seed=2)]
    expected = [generate(model, ids, 12) for ids in prompts]
    streams = [stream(model, ids, 12) for ids in prompts]
    rows = [torch.stack(tokens, 1) for tokens in zip(*zip(*streams, strict=True), strict=True)]
    for ids, row, wanted in zip(prompts, rows, expected, strict=True):
        assert torch.equal(torch.cat([ids, row], 1), wanted)
    with ThreadPoolExecutor(3) as pool:
        for given, wanted in zip(pool.map(lambda ids: generate(model, ids, 12), prompts), expected,
                                 strict=True):
            assert torch.equal(given, wanted)


def test_training_between_two_tokens_counts_from_the_next_one_on(model):
    input_ids = random_ids()
    tokens = stream(model, input_ids, 6)
    first = next(tokens)
    with torch.no_grad():
        logits, cache = model(input_ids, return_cache=True)
    assert torch.equal(first, logits[:, -1].argmax(-1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for new_ids in tokens:
        with torch.no_grad():
            step_logits, cache = model.step(first, cache)
        assert torch.equal(new_ids, step_logits.argmax(-1))
        first = new_ids
        model.train()
        optimizer.zero_grad()
        model(new_ids[:, None]).square().mean().backward()
        optimizer.step()


def test_each_module_is_left_in_its_mode(model):
    model.train()
    model.layers[0].mixer.eval()
    modes = [module.training for module in model.modules()]
    for _ in stream(model, random_ids(), 3):
        assert [module.training for module in model.modules()] == modes


def test_generation_is_in_evaluation_mode_while_one_that_began_before_it_ends(model):
    model.train()
    begun, overlapping, ended = Event(), Event(), Event()
    modes = []

    def wait_for_the_other(module, inputs):
        if begun.is_set():
            overlapping.set()
            assert ended.wait(60)
            modes.append(model.layers[1].training)
        else:
            begun.set()
            assert overlapping.wait(60)

    hook = model.layers[0].register_forward_pre_hook(wait_for_the_other)
    with hook, ThreadPoolExecutor(2) as pool:
        first = pool.submit(generate, model, random_ids(), 1)
        assert begun.wait(60)
        second = pool.submit(generate, model, random_ids(), 1)
        first.result()
        ended.set()
        second.result()
    assert modes == [False]
    assert model.training
    assert model.layers[1].training


@pytest.mark.parametrize(("change", "message"), [
    ({"max_new_tokens": 0}, "^max_new_tokens: expected a whole number from 1 up, got 0"),
    ({"temperature": -1.0}, "^temperature: expected 0 or a number from .+ got -1.0"),
    ({"top_k": 0}, "^top_k: "),
    ({"top_p": 0.0}, "^top_p: expected a number from 1e-09 to 1, got 0.0"),
    ({"top_k": 3}, "^temperature: expected a number above 0 beside top_k or top_p"),
    ({"top_p": 0.5}, "^temperature: expected a number above 0 beside top_k or top_p"),
    ({"repetition_penalty": 0.0}, "^repetition_penalty: "),
    ({"repetition_penalty": inf}, "^repetition_penalty: "),
    ({"temperature": 1e-40}, "^temperature: "), ({"temperature": inf}, "^temperature: "),
    ({"repetition_penalty": 1e-40}, "^repetition_penalty: "),
    ({"temperature": 1.0, "top_p": 1e-12}, "^top_p: expected a number from 1e-09 to 1, got 1e-12"),
    ({"seed": 2**64}, "^seed: "), ({"seed": -1}, "^seed: "), ({"max_new_tokens": True}, "^max_n"),
    ({"eos_token_id": 40}, "^eos_token_id: expected token ids from 0 to 39, got 40"),
    ({"eos_token_id": torch.tensor(3)}, "^eos_token_id: "), ({"eos_token_id": "7"}, "^eos_token"),
    ({"prompts": random_ids()[:, :0]}, "^prompts: expected at least one element, got shape"),
    ({"prompts": random_ids().to("meta")}, "^prompts: expected device cpu, .+ got meta"),
    ({"prompts": random_ids().numpy()}, "^prompts: expected token ids or texts, got ndarray"),
    ({"prompts": [[1, 2], [3]]}, r"^prompts\[0\]: expected a torch.Tensor, got list"),
    ({"prompts": [torch.tensor([1]), torch.tensor([1, 2], dtype=torch.int32)]},
     r"^prompts\[1\]: expected dtype int64, got int32"),
    ({"prompts": ["abc", torch.tensor([1])]}, r"^prompts\[0\]: .+ got str"),
    ({"seed": 1.5}, "^seed: expected a whole number from 0 up, got 1.5"),
    ({"eos_token_id": -1}, "^eos_token_id: "), ({"eos_token_id": ["a"]}, "^eos_token_id: "),
    ({"prompts": []}, "^prompts: expected at least one, got none"),
    ({"prompts": 3}, "^prompts: expected token ids or texts, got int"),
    ({"prompts": torch.tensor([1, 2])},
     r"^prompts: expected shape \(batch, length\), got shape \(2,\)"),
    ({"prompts": [torch.tensor([1]), torch.tensor([], dtype=torch.int64)]},
     r"^prompts\[1\]: expected at least one element, got shape \(0,\)"),
    ({"prompts": [torch.tensor([1]), "abc"]}, r"^prompts\[1\]: .+ got str$"),
    ({"prompts": random_ids() + 40}, "^prompts: expected token ids from 0 to 39, got 4"),
    ({"prompts": random_ids().float()}, "^prompts: expected dtype int64, got float32"),
    ({"prompts": "abc"}, "^prompts: expected token ids, since this model has no tokenizer"),
])
def test_bad_arguments_are_refused_at_the_call(model, change, message):
    arguments = {"prompts": random_ids(), "max_new_tokens": 3} | change
    for call in (generate, stream, MambaLM.generate, MambaLM.stream):
        with pytest.raises(ValueError, match=message):
            call(model, **arguments)


@pytest.mark.parametrize("temperature", [1e-12, 1e12])
def test_the_coldest_and_the_hottest_samples_are_tokens(model, temperature):
    cold = generate(model, random_ids(), 5)
    given = generate(model, random_ids(), 5, temperature=temperature, repetition_penalty=1e-12,
                     seed=2**63 - 1)
    assert given.shape == cold.shape
    if temperature < 1:
        assert torch.equal(given, generate(model, random_ids(), 5, repetition_penalty=1e-12))


@pytest.mark.parametrize("pattern", ["MM", "L46MA"])
@pytest.mark.parametrize("parameter", ["embedding.weight", "layers.1.mixer.out_proj.weight"])
@pytest.mark.parametrize("value", [float("nan"), inf])
def test_weights_that_are_not_finite_are_named(pattern, parameter, value):
    model = small_model(layers=pattern, n_layer=None, n_heads=2)
    model.get_parameter(parameter).data.view(-1)[-1] = value
    with pytest.raises(FloatingPointError, match=rf"^model: .+finite weights.+ {parameter}$"):
        generate(model, random_ids(), 3)


def test_logits_that_overflow_are_refused(model):
    model.norm_f.weight.data.fill_(torch.finfo(torch.float64).max)
    with pytest.raises(FloatingPointError, match=r"^model: expected finite logits"):
        generate(model, random_ids(), 3)


def test_prefill_refuses_what_forward_refuses(model):
    mask = torch.ones(2, 30, dtype=torch.int64)
    for ids, given_mask, message in (
            (random_ids()[:, :0], None, "^input_ids: expected at least one element"),
            (random_ids(), torch.cat([mask, mask], 1), r"^attention_mask: expected shape \(2, 30"),
            (random_ids(), torch.arange(30).expand(2, -1) // 7 % 2, "^attention_mask: .+ left"),
            (random_ids(), mask * torch.tensor([[1], [0]]), "^attention_mask: .+ padding alone")):
        with pytest.raises(ValueError, match=message):
            generation.prefill(model, ids, given_mask, chunk=7)


@pytest.mark.parametrize("wrong", [None, "a", Mamba(8)], ids=repr)
def test_what_is_no_model_is_refused(wrong, bytes_model):
    for call, prompt in product((generate, stream), ("a", random_ids())):
        with pytest.raises(ValueError, match=r"^model: expected a MambaLM, got "):
            call(wrong, prompt, 3)
        with pytest.raises(ValueError, match=r"^model: expected weights that hold numbers, got "):
            call(bytes_model.to("meta"), prompt, 3)


def test_empty_and_mixed_texts_are_refused(bytes_model):
    for call in (generate, stream):
        with pytest.raises(ValueError, match=r"^prompts: expected a text of at least one token"):
            call(bytes_model, "", 3)
    with pytest.raises(ValueError, match=r"^prompts: expected .+ one text, .+ got a list of texts"):
        stream(bytes_model, ["a", "b"], 3)


def test_a_vocabulary_of_more_than_2_to_the_24_tokens_is_sampled():
    logits = torch.zeros(1, 2**24 + 2)
    logits[0, -1] = 100.0
    sample = Sampler(1.0, None, 1.0, 1.0, 0, torch.device("cpu"))
    assert sample(logits, None).tolist() == [2**24 + 1]
