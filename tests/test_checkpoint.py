"""Both published layouts, there and back, and the same model as transformers makes of them."""

import json
import os

import pytest
import torch
from safetensors.torch import load_file, save_file
from test_lm import shake, tokens

from minimamba import MambaConfig, MambaLM, checkpoint, generation
from minimamba.course import weights

os.environ["HF_HUB_OFFLINE"] = "1"
transformers = pytest.importorskip("transformers")

KINDS = {
    "plain": {},
    "other sizes": {"state_size": 8, "time_step_rank": 3, "conv_kernel": 3, "expand": 3},
    "other flags": {"use_bias": True, "use_conv_bias": False, "tie_word_embeddings": False},
    "narrow residual": {"residual_in_fp32": False, "layer_norm_epsilon": 1e-3}}


def theirs(kind="plain", **sizes):
    """Hugging Face's model, its weights far from where they start."""
    torch.manual_seed(0)
    config = transformers.MambaConfig(**{"vocab_size": 40, "hidden_size": 24,
                                         "num_hidden_layers": 3} | KINDS[kind] | sizes)
    model = transformers.MambaForCausalLM(config).eval()
    shake(model, by=0.1)
    return model


@pytest.fixture(params=KINDS)
def pair(request, tmp_path):
    """Their model, and ours, which has read its checkpoint."""
    model = theirs(request.param)
    model.save_pretrained(tmp_path)
    return model, MambaLM.from_pretrained(tmp_path)


def test_the_scores_are_those_of_transformers(pair):
    other, model = pair
    wanted, given = other(tokens()).logits, model(tokens())
    assert wanted.abs().max() > 0.3
    torch.testing.assert_close(given, wanted, rtol=1e-5, atol=1e-5)


def test_so_are_the_gradients_of_every_parameter(pair):
    other, model = pair
    for one in (other, model):
        scores = one(tokens())
        scores = getattr(scores, "logits", scores)
        torch.nn.functional.cross_entropy(scores[:, :-1].flatten(0, 1),
                                          tokens()[:, 1:].flatten()).backward()
    wanted = {checkpoint._ours(name): p.grad for name, p in other.named_parameters()}
    for name, parameter in model.named_parameters():
        scale = wanted[name].abs().max()
        torch.testing.assert_close(parameter.grad, wanted[name], rtol=1e-4, atol=1e-4 * scale)


def test_so_is_what_it_writes(pair):
    other, model = pair
    prompt = tokens(length=12)
    wanted = other.generate(prompt, attention_mask=torch.ones_like(prompt), do_sample=False,
                            max_new_tokens=200, eos_token_id=None, pad_token_id=0)[:, 12:]
    assert torch.equal(torch.stack(generation.generate(model, prompt, 200)), wanted)


def test_half_precision_agrees_to_its_digits(tmp_path):
    other = theirs().bfloat16()
    other.save_pretrained(tmp_path)
    model = MambaLM.from_pretrained(tmp_path)
    assert model.lm_head.weight.dtype == torch.bfloat16
    exact = MambaLM.from_pretrained(tmp_path, dtype=torch.float64)(tokens())
    ours, wanted = ((scores.double() - exact).norm() / exact.norm() for scores in (
        model(tokens()), other(tokens()).logits))
    assert ours < 1.5 * wanted < 0.05                         # as far from the truth as theirs


@pytest.mark.parametrize("layout", checkpoint.LAYOUTS)
def test_there_and_back_bit_for_bit(pair, layout, tmp_path):
    _, model = pair
    model.save_pretrained(tmp_path / "again", layout=layout)
    for path in (tmp_path / "again", tmp_path / "again" / "model.safetensors"):
        again = MambaLM.from_pretrained(path)
        assert {**again.config.__dict__, "dt_rank": 0} == {**model.config.__dict__, "dt_rank": 0}
        for name, value in model.state_dict().items():
            assert torch.equal(again.state_dict()[name], value), name


def test_transformers_reads_what_we_write(pair, tmp_path):
    other, model = pair
    model.save_pretrained(tmp_path / "ours")
    again = transformers.MambaForCausalLM.from_pretrained(tmp_path / "ours").eval()
    assert torch.equal(again(tokens()).logits, other(tokens()).logits)


def test_the_original_layout_has_its_names_and_pads_its_vocabulary(tmp_path):
    model = MambaLM(MambaConfig(vocab_size=48, d_model=12, n_layer=1))
    model.save_pretrained(tmp_path, layout="mamba_ssm")
    assert {"backbone.embedding.weight", "backbone.norm_f.weight", "backbone.layers.0.norm.weight",
            "backbone.layers.0.mixer.dt_proj.bias", "backbone.layers.0.mixer.A_log"} <= set(
                load_file(tmp_path / "model.safetensors"))
    # As published: 41 tokens, in a matrix of a multiple of 8 rows, in a pickle.
    published = {"d_model": 12, "n_layer": 1, "vocab_size": 41, "ssm_cfg": {}, "rms_norm": True,
                 "residual_in_fp32": True, "fused_add_norm": True, "pad_vocab_size_multiple": 8}
    (tmp_path / "config.json").write_text(json.dumps(published))
    weights = load_file(tmp_path / "model.safetensors")
    weights["lm_head.weight"] = weights["backbone.embedding.weight"]
    torch.save(weights, tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    again = MambaLM.from_pretrained(tmp_path)
    assert again.config.vocab_size == 48
    assert torch.equal(again(tokens()), model(tokens()))


@pytest.mark.parametrize("kind", ["plain", "other flags"])
def test_weights_in_several_files_are_read_by_their_index(kind, tmp_path):
    other = theirs(kind)
    other.save_pretrained(tmp_path, max_shard_size="12KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    assert checkpoint.find(tmp_path).name == "model.safetensors.index.json"
    model = MambaLM.from_pretrained(tmp_path)
    assert len(model.state_dict()) >= len(other.state_dict())
    torch.testing.assert_close(model(tokens()), other(tokens()).logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("change", "complaint"), [
    (lambda held: held.update(one="../elsewhere.safetensors"), "stand beside it, got ../else"),
    (lambda held: held.update(one="not_there.safetensors"), "stand beside it, got not_there"),
    (lambda held: held.update(one=next(iter(held.values()))), "its files hold, got one")])
def test_an_index_that_is_wrong_is_refused(change, complaint, tmp_path):
    theirs().save_pretrained(tmp_path, max_shard_size="12KB")
    index = tmp_path / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    change(content["weight_map"])
    index.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=complaint):
        MambaLM.from_pretrained(tmp_path)


def test_what_is_wrong_with_the_weights_is_listed(tmp_path):
    checkpoint.save(MambaLM(MambaConfig(vocab_size=40, d_model=12, n_layer=1)), tmp_path)
    file = tmp_path / "model.safetensors"
    weights = load_file(file)
    weights["backbone.layers.0.mixer.D"] = torch.ones(5)
    weights["backbone.layers.0.mixer.E"] = torch.ones(5)
    del weights["backbone.norm_f.weight"]
    save_file(weights, file)
    with pytest.raises(ValueError, match=r"^checkpoint: expected the weights") as raised:
        MambaLM.from_pretrained(tmp_path)
    said = str(raised.value)
    assert "layers.0.mixer.D: expected shape (24,), got (5,)" in said
    assert "not known: layers.0.mixer.E" in said
    assert "missing: norm.weight" in said


def test_nothing_is_unpickled(tmp_path):
    class Evil:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "ran"),))

    checkpoint.save(MambaLM(MambaConfig(vocab_size=40, d_model=12, n_layer=1)), tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save({"backbone.norm_f.weight": Evil()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(Exception, match=r"[Ww]eights.only"):
        MambaLM.from_pretrained(tmp_path)
    assert not (tmp_path / "ran").exists()


def test_a_config_of_neither_layout_is_refused(tmp_path):
    checkpoint.save(MambaLM(MambaConfig(vocab_size=40, d_model=12, n_layer=1)), tmp_path)
    (tmp_path / "config.json").write_text('{"width": 3}')
    with pytest.raises(ValueError, match=r"^config.json: .+ got the keys width$"):
        MambaLM.from_pretrained(tmp_path)


def test_what_is_not_there_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"has none of model.safetensors, pytorch_model"):
        MambaLM.from_pretrained(tmp_path)
    with pytest.raises(FileNotFoundError, match="no such file or folder"):
        MambaLM.from_pretrained(tmp_path / "nowhere" / "at" / "all")
    with pytest.raises(ValueError, match=r"^layout: expected .+ or 'minimamba', got 'x'"):
        checkpoint.save(MambaLM(MambaConfig(8, 8, 1)), tmp_path, layout="x")
    with pytest.raises(ValueError, match=r"^model: expected a MambaLM, got dict$"):
        checkpoint.save({}, tmp_path)


def test_the_committed_checkpoint_is_one_of_transformers():
    kept = load_file(weights.TRANSFORMERS / "scores.safetensors")
    other = transformers.MambaForCausalLM.from_pretrained(weights.TRANSFORMERS).eval()
    for model in (other, MambaLM.from_pretrained(weights.TRANSFORMERS)):
        scores = model(kept["tokens"])
        torch.testing.assert_close(getattr(scores, "logits", scores), kept["scores"], rtol=1e-5,
                                   atol=1e-5)


def test_the_committed_model_of_code_is_one_of_bytes():
    model = MambaLM.from_pretrained(weights.CODE)
    assert (model.config.vocab_size, model.config.d_model, model.config.n_layer) == (256, 128, 2)
