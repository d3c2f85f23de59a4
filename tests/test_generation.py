"""Writing: greedy, drawn, stopped, padded, streamed; the same as reading everything again."""

import pytest
import torch
from test_lm import SMALL, shake, tokens

from minimamba import MambaConfig, MambaLM, generation
from minimamba.scan import compiled


@pytest.fixture
def model(double):
    model = MambaLM(MambaConfig(**SMALL))
    shake(model)
    return model


def again(model, prompt, count, choose=lambda scores, text: scores.argmax(-1)):
    """Without a memory: all that there is, read anew for each token. prompt (1, length)."""
    text = prompt
    for _ in range(count):
        text = torch.cat([text, choose(model(text)[:, -1], text)[:, None]], 1)
    return text[0, prompt.shape[1]:]


def test_the_memory_stands_for_all_that_was_read(model):
    for row, prompt in zip(generation.generate(model, tokens(), 25), tokens(), strict=True):
        assert torch.equal(row, again(model, prompt[None], 25))


def test_prompts_of_any_lengths_together(model):
    prompts = [tokens(1, length, seed=length)[0] for length in (1, 30, 7)]
    together = generation.generate(model, prompts, 20)
    for row, prompt in zip(together, prompts, strict=True):
        assert torch.equal(row, again(model, prompt[None], 20))


@pytest.mark.parametrize("chunk", [1, 7, 30, 100])
def test_a_prompt_may_be_read_in_chunks(model, chunk):
    real = torch.arange(30) >= torch.tensor([[0], [17]])
    scores, memory = generation.prefill(model, tokens(), real, chunk)
    wanted, last = model(tokens(), real=real, return_memory=True)
    torch.testing.assert_close(scores, wanted[:, -1])
    for one, other in zip(memory, last, strict=True):
        torch.testing.assert_close(one.h, other.h)
        torch.testing.assert_close(one.inputs, other.inputs)


def test_a_text_ends_with_its_stop_token(model):
    plain = generation.generate(model, tokens(), 25)
    stop = plain[0][4].item()
    rows = generation.generate(model, tokens(), 25, stop=[stop])
    for row, whole in zip(rows, plain, strict=True):
        where = (whole == stop).nonzero()
        end = where[0].item() + 1 if len(where) else 25
        assert torch.equal(row, whole[:end])


def test_when_all_have_stopped_nothing_more_is_made(model):
    first = {row[0].item() for row in generation.generate(model, tokens(), 1)}
    assert len(list(generation.stream(model, tokens(), 25, stop=first))) == 1


def test_a_stream_gives_each_token_as_it_is_made(model):
    columns = generation.stream(model, tokens(), 25)
    first = next(columns)
    assert first.shape == (2,)
    assert torch.equal(torch.stack([first, *columns], 1),
                       torch.stack(generation.generate(model, tokens(), 25)))


def test_draws_follow_the_probabilities(model):
    prompt = tokens(1, 9).expand(3000, -1)
    drawn = torch.cat(generation.generate(model, prompt, 1, temperature=2.0)).bincount(minlength=40)
    wanted = (model(prompt[:1])[0, -1] / 2).softmax(-1)
    # Five standard deviations for each.
    assert ((drawn / 3000 - wanted).abs() < 5 * (wanted / 3000).sqrt() + 1e-9).all()


def test_top_k_and_top_p_leave_the_best(model):
    prompt = tokens(1, 9).expand(2000, -1)
    chance, order = (model(prompt[:1])[0, -1] / 3).softmax(-1).sort(descending=True)
    for kept, options in ((3, {"top_k": 3}), (1, {"top_p": 1e-6}),
                          (4, {"top_p": chance[:4].sum().item() - 1e-3}),
                          (2, {"top_k": 2, "top_p": 0.999999}), (40, {"top_k": 100})):
        drawn = torch.cat(generation.generate(model, prompt, 1, temperature=3.0, **options))
        best = set(order[:kept].tolist())
        assert set(drawn.tolist()) == best if kept < 40 else set(drawn.tolist()) <= best


def test_what_has_occurred_is_penalised(model):
    def choose(scores, text):
        seen = torch.zeros_like(scores, dtype=torch.bool).scatter_(1, text, True)
        penalised = torch.where(scores < 0, scores * 1.7, scores / 1.7)
        return torch.where(seen, penalised, scores).argmax(-1)

    prompts = [tokens(1, length, seed=length)[0] for length in (5, 30)]
    rows = generation.generate(model, prompts, 25, repetition_penalty=1.7)
    for row, prompt in zip(rows, prompts, strict=True):
        assert torch.equal(row, again(model, prompt[None], 25, choose))
    assert not torch.equal(rows[1], generation.generate(model, prompts, 25)[1])


def test_a_penalty_lowers_negative_scores_too_and_spares_what_fills_up():
    prompts = [torch.tensor([2]), torch.tensor([3, 1, 3])]
    tokens_, real = generation._to_the_right(prompts)
    seen = generation._holds(tokens_, real, 4)
    assert seen.tolist() == [[False, False, True, False], [False, True, False, True]]
    scores = torch.tensor([[-5.0, -5.0, -1.0, -1.2], [-5.0, -1.0, -1.2, -5.0]])
    for penalty, best in ((1.0, [2, 1]), (1.7, [3, 2])):
        chosen = generation._choose(scores, seen, 0.0, None, 1.0, penalty, torch.Generator())
        assert chosen.tolist() == best


def test_a_seed_settles_the_draws(model):
    def draw(seed):
        return torch.stack(generation.generate(model, tokens(), 25, temperature=1.0, seed=seed))

    torch.manual_seed(3)
    first = draw(1)
    torch.manual_seed(4)
    assert torch.equal(first, draw(1))
    assert not torch.equal(first, draw(2))


@pytest.mark.skipif(bool(compiled.why_not()), reason=str(compiled.why_not()))
def test_a_long_text_is_written_by_a_compiled_step(model, monkeypatch):
    plain = generation.generate(model, tokens(1), 12)[0]
    asked = []
    step = MambaLM.step
    monkeypatch.setattr(MambaLM, "step", lambda self, *given, compiled: asked.append(compiled)
                        or step(self, *given, compiled=compiled))
    monkeypatch.setattr(generation, "WORTH", 100)
    assert torch.equal(generation.generate(model, tokens(1), 12)[0], plain)
    monkeypatch.setattr(generation, "WORTH", 2**33)          # three tokens more are not worth it
    generation.generate(model, tokens(1), 3)
    assert asked == [True] * 11 + [False] * 2


def test_the_model_is_left_in_its_mode(model):
    for mode in (True, False):
        model.train(mode)
        generation.generate(model, tokens(), 2)
        assert model.training == mode


@pytest.mark.parametrize(("change", "message"), [
    ({"max_new_tokens": 0}, "^max_new_tokens: expected a whole number from 1 up, got 0"),
    ({"temperature": -1.0}, "^temperature: expected a number from 0 up, got -1.0"),
    ({"top_k": 0}, "^top_k: "), ({"top_p": 0.0}, "^top_p: expected a number above 0, at most 1"),
    ({"repetition_penalty": 0.0}, "^repetition_penalty: "),
    ({"prompts": []}, "^prompts: expected at least one, got none"),
    ({"prompts": [torch.tensor([1]), torch.tensor([], dtype=torch.int64)]},
     r"^prompts\[1\]: expected a tensor of shape \(length,\), not empty, got \(0,\)"),
    ({"prompts": ["abc"]}, r"^prompts\[0\]: .+ got str$"),
])
def test_bad_input_is_named(model, change, message):
    with pytest.raises(ValueError, match=message):
        generation.generate(model, **{"prompts": tokens(), "max_new_tokens": 3} | change)
