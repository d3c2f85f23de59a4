"""Checkpoints of all layouts: there and back, and the same model as transformers makes of them."""

import json
import os
from dataclasses import asdict
from itertools import permutations

import pytest
import torch
from models import TOKENS, perturb, random_ids, small_model, write_tokenizer
from safetensors.torch import load_file, save_file
from torch.nn.functional import cross_entropy

from minimamba import MambaConfig, MambaLM, checkpoint, layouts
from minimamba.course import weights
from minimamba.tokenizer import ByteTokenizer

os.environ["HF_HUB_OFFLINE"] = "1"
transformers = pytest.importorskip("transformers")

CONFIGS = {
    "defaults": {},
    "other sizes": {"state_size": 8, "time_step_rank": 3, "conv_kernel": 3, "expand": 3},
    "other flags": {"use_bias": True, "use_conv_bias": False, "tie_word_embeddings": False},
    "bfloat16 residual": {"residual_in_fp32": False, "layer_norm_epsilon": 1e-3},
    "Mamba-2": {"num_heads": 6, "head_dim": 8, "n_groups": 2, "state_size": 8, "chunk_size": 16},
    "Mamba-2, other sizes and flags": {
        "num_heads": 6, "head_dim": 12, "n_groups": 1, "expand": 3, "conv_kernel": 3,
        "use_bias": True, "use_conv_bias": False, "tie_word_embeddings": True,
        "layer_norm_epsilon": 1e-2, "eos_token_id": 5},
    "Mamba-2, limited steps": {"num_heads": 3, "head_dim": 16, "n_groups": 3, "state_size": 8,
                               "time_step_limit": (0.01, 0.1), "chunk_size": 16}}


def transformers_model(name="defaults"):
    torch.manual_seed(0)
    config_class, model_class = (
        (transformers.Mamba2Config, transformers.Mamba2ForCausalLM) if name.startswith("Mamba-2")
        else (transformers.MambaConfig, transformers.MambaForCausalLM))
    config = config_class(vocab_size=40, hidden_size=24, num_hidden_layers=3, **CONFIGS[name])
    model = model_class(config).eval()
    perturb(model, 0.1)
    return model


@pytest.fixture(params=CONFIGS)
def pair(request, tmp_path):
    """A model of transformers, and ours, loaded from its checkpoint."""
    theirs = transformers_model(request.param)
    theirs.save_pretrained(tmp_path)
    return theirs, MambaLM.from_pretrained(tmp_path)


def save_small_model(folder):
    MambaLM(MambaConfig(vocab_size=40, d_model=12, n_layer=1)).save_pretrained(folder)


def test_logits_and_gradients_equal_those_of_transformers(pair):
    theirs, ours = pair
    expected, logits = theirs(random_ids()).logits, ours(random_ids())
    assert expected.abs().max() > 0.3
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5)
    for output in (expected, logits):
        cross_entropy(output[:, :-1].flatten(0, 1), random_ids()[:, 1:].flatten()).backward()
    gradients = {layouts.own_key(name): p.grad for name, p in theirs.named_parameters()}
    for name, parameter in ours.named_parameters():
        scale = gradients[name].abs().max()
        torch.testing.assert_close(parameter.grad, gradients[name], rtol=1e-4, atol=1e-4 * scale)


def test_greedy_generation_equals_that_of_transformers(pair):
    theirs, ours = pair
    prompt = random_ids(length=12)
    assert ours.config.eos_token_id == theirs.config.eos_token_id
    # In transformers, a step ignores time_step_limit, so all is computed again for each token.
    has_limits = ours.config.dt_limit is not None
    count = 15 if has_limits else 60
    options = {"attention_mask": torch.ones_like(prompt), "do_sample": False,
               "pad_token_id": ours.config.eos_token_id, "use_cache": not has_limits}
    assert torch.equal(ours.generate(prompt, count), theirs.generate(
        prompt, max_new_tokens=count, **options))
    assert torch.equal(ours.generate(prompt, count, eos_token_id=()), theirs.generate(
        prompt, max_new_tokens=count, eos_token_id=None, **options))


def test_200_greedy_tokens_of_a_mamba2_model_equal_those_of_transformers(tmp_path):
    theirs = transformers_model("Mamba-2")
    theirs.save_pretrained(tmp_path)
    prompt = random_ids(length=12)
    expected = theirs.generate(prompt, attention_mask=torch.ones_like(prompt), do_sample=False,
                               max_new_tokens=200, eos_token_id=None, pad_token_id=0)
    given = MambaLM.from_pretrained(tmp_path).generate(prompt, 200, eos_token_id=())
    assert torch.equal(given, expected)
    assert len(set(given[0, 12:].tolist())) > 5              # not the same token over and over


def test_bfloat16_model_is_as_accurate_as_that_of_transformers(tmp_path):
    theirs = transformers_model().bfloat16()
    theirs.save_pretrained(tmp_path)
    ours = MambaLM.from_pretrained(tmp_path)
    assert ours.lm_head.weight.dtype == torch.bfloat16
    exact = MambaLM.from_pretrained(tmp_path, dtype=torch.float64)(random_ids())
    own_error, their_error = ((logits.double() - exact).norm() / exact.norm() for logits in (
        ours(random_ids()), theirs(random_ids()).logits))
    assert own_error < 1.5 * their_error < 0.05


@pytest.mark.parametrize("layout", checkpoint.LAYOUTS)
def test_save_and_load_give_back_the_same_bits_and_config(pair, layout, tmp_path):
    _, model = pair
    if layout == "mamba_ssm" and model.config.norm_epsilon != 1e-5:
        with pytest.raises(ValueError, match=r"^layout: .+ norm_epsilon .+, got 'mamba_ssm' for"):
            model.save_pretrained(tmp_path / "saved", layout=layout)
        return
    model.save_pretrained(tmp_path / "saved", layout=layout)
    weights = "pytorch_model.bin" if layout == "mamba_ssm" else "model.safetensors"
    # The rank "auto" comes back as a number, and "mamba_ssm" has no place for the end token.
    changed = {"dt_rank": 0} | ({"eos_token_id": None} if layout == "mamba_ssm" else {})
    for path in (tmp_path / "saved", tmp_path / "saved" / weights):
        loaded = MambaLM.from_pretrained(path)
        assert not loaded.training
        assert asdict(loaded.config) | changed == asdict(model.config) | changed
        for name, value in model.state_dict().items():
            assert torch.equal(loaded.state_dict()[name], value), name


def test_transformers_loads_what_we_save(pair, tmp_path):
    theirs, ours = pair
    ours.save_pretrained(tmp_path / "saved")
    loaded = type(theirs).from_pretrained(tmp_path / "saved").eval()
    for name, weight in theirs.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], weight), name
    torch.testing.assert_close(loaded(random_ids()).logits, theirs(random_ids()).logits)
    assert loaded.config.eos_token_id == theirs.config.eos_token_id


def test_transformers_loads_a_whole_number_for_epsilon_and_several_dtypes(tmp_path):
    model = small_model(norm_epsilon=1)
    model.norm_f.bfloat16()
    model.save_pretrained(tmp_path)
    loaded = transformers.MambaForCausalLM.from_pretrained(tmp_path)
    assert torch.equal(loaded.backbone.layers[0].mixer.A_log, model.layers[0].mixer.A_log)
    assert loaded.config.layer_norm_epsilon == 1


def test_weights_too_large_for_a_dtype_are_refused_when_they_are_loaded(tmp_path):
    model = small_model()
    with torch.no_grad():
        model.layers[0].mixer.D[0] = 1e5
    model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"^dtype: expected .+ can hold layers.0.mixer.D, got"):
        MambaLM.from_pretrained(tmp_path, dtype=torch.float16)


def test_weights_are_those_that_transformers_loads_where_several_stand(tmp_path):
    model = small_model()
    model.save_pretrained(tmp_path, layout="mamba_ssm")
    perturb(model)
    model.save_pretrained(tmp_path / "new")
    weights = tmp_path / "model-1.safetensors"
    (tmp_path / "new" / "model.safetensors").rename(weights)
    (tmp_path / "new" / "config.json").replace(tmp_path / "config.json")
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({
        "metadata": {}, "weight_map": dict.fromkeys(load_file(weights), weights.name)}))
    theirs = transformers.MambaForCausalLM.from_pretrained(tmp_path).get_input_embeddings().weight
    assert torch.equal(theirs, model.embedding.weight)
    assert torch.equal(MambaLM.from_pretrained(tmp_path).embedding.weight, theirs)


@pytest.mark.parametrize("layout", checkpoint.LAYOUTS)
@pytest.mark.parametrize("tie_embeddings", [True, False])
def test_weights_in_the_same_memory_are_saved_apart(tie_embeddings, layout, tmp_path):
    model = small_model(tie_embeddings=tie_embeddings)
    model.save_pretrained(tmp_path / "apart", layout=layout)
    model.lm_head.weight = model.embedding.weight
    model.layers[1] = model.layers[0]
    weight = model.layers[0].mixer.in_proj.weight
    weight.data = torch.cat([weight.data, torch.zeros(10**5, weight.shape[1])])[:len(weight)]
    model.save_pretrained(tmp_path / "shared", layout=layout)
    loaded = MambaLM.from_pretrained(tmp_path / "shared").state_dict()
    for name, value in model.state_dict().items():
        assert torch.equal(loaded[name], value)
    sizes = [sum(file.stat().st_size for file in (tmp_path / name).iterdir())
             for name in ("apart", "shared")]
    assert sizes[1] < sizes[0] + 1000


def test_hybrid_is_saved_in_the_own_layout_alone(tmp_path):
    model = small_model(layers="MAFL642", n_layer=None, n_heads=2, head_dim=8, rotary=False,
                        eos_token_id=3, selective=("delta",))
    for layout in ("transformers", "mamba_ssm"):
        with pytest.raises(ValueError, match=rf"^layout: expected 'minimamba' .+'{layout}' for 'M"):
            model.save_pretrained(tmp_path, layout=layout)
        with pytest.raises(ValueError, match=rf"^layout: .+ alone, got '{layout}' for '2M'"):
            small_model(layers="2M", head_dim=8).save_pretrained(tmp_path, layout=layout)
    model.save_pretrained(tmp_path)
    loaded = MambaLM.from_pretrained(tmp_path)
    assert loaded.config == model.config
    assert torch.equal(loaded(random_ids()), model(random_ids()))


@pytest.mark.parametrize("layouts", [
    *permutations(("transformers", "mamba_ssm", "minimamba"), 2), ("sharded", "mamba_ssm"),
    ("sharded", "transformers")], ids=" then ".join)
def test_model_saved_last_is_loaded_whatever_layout_came_before(layouts, tmp_path):
    before, after = layouts
    if before == "sharded":
        transformers_model("defaults").save_pretrained(tmp_path, max_shard_size="12KB")
    else:
        small_model(layers="MM").save_pretrained(tmp_path, layout=before)
    model = small_model(0.5, layers="MM")
    model.save_pretrained(tmp_path, layout=after)
    assert torch.equal(MambaLM.from_pretrained(tmp_path)(random_ids()), model(random_ids()))


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
@pytest.mark.parametrize("layout", ["transformers", "mamba_ssm", "minimamba"])
def test_whoever_may_read_new_files_may_read_the_weights(layout, tmp_path):
    (tmp_path / "new").touch()
    small_model(layers="MM").save_pretrained(tmp_path / "model", layout=layout)
    assert {file.stat().st_mode for file in (tmp_path / "model").iterdir()} == {
        (tmp_path / "new").stat().st_mode}


def test_official_layout_has_its_names_and_pads_the_vocabulary(tmp_path):
    model = MambaLM(MambaConfig(vocab_size=48, d_model=12, n_layer=1))
    model.save_pretrained(tmp_path, layout="mamba_ssm")
    # What the official package opens: a pickle, with the tied head in it, and a config whose keys
    # are arguments of its MambaConfig.
    saved = torch.load(tmp_path / "pytorch_model.bin", weights_only=True)
    assert torch.equal(saved["lm_head.weight"], saved["backbone.embedding.weight"])
    assert set(json.loads((tmp_path / "config.json").read_text())) <= {
        "d_model", "d_intermediate", "n_layer", "vocab_size", "ssm_cfg", "attn_layer_idx",
        "attn_cfg", "rms_norm", "residual_in_fp32", "fused_add_norm", "pad_vocab_size_multiple",
        "tie_embeddings"}
    block = ["A_log", "D", "in_proj.weight", "conv1d.weight", "conv1d.bias", "x_proj.weight",
             "dt_proj.weight", "dt_proj.bias", "out_proj.weight"]
    assert set(saved) == {"backbone.embedding.weight", "backbone.norm_f.weight",
                          "lm_head.weight", "backbone.layers.0.norm.weight",
                          *(f"backbone.layers.0.mixer.{name}" for name in block)}
    # As published: 41 tokens, in a matrix of a multiple of 8 rows.
    published = {"d_model": 12, "n_layer": 1, "vocab_size": 41, "ssm_cfg": {}, "rms_norm": True,
                 "residual_in_fp32": True, "fused_add_norm": True, "pad_vocab_size_multiple": 8}
    (tmp_path / "config.json").write_text(json.dumps(published))
    loaded = MambaLM.from_pretrained(tmp_path)
    assert loaded.config.vocab_size == 48
    assert torch.equal(loaded(random_ids()), model(random_ids()))


@pytest.mark.parametrize("name", ["defaults", "other flags"])
def test_weights_in_several_files_are_loaded_by_their_index(name, tmp_path):
    theirs = transformers_model(name)
    theirs.save_pretrained(tmp_path, max_shard_size="12KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    assert checkpoint.find(tmp_path).name == "model.safetensors.index.json"
    ours = MambaLM.from_pretrained(tmp_path)
    torch.testing.assert_close(ours(random_ids()), theirs(random_ids()).logits, rtol=1e-5,
                               atol=1e-5)


@pytest.mark.parametrize(("change", "message"), [
    (lambda file_of: file_of.update(one="../elsewhere.safetensors"),
     "stand beside it, got ../else"),
    (lambda file_of: file_of.update(one="not_there.safetensors"), "stand beside it, got not_there"),
    (lambda file_of: file_of.update(one=next(iter(file_of.values()))), "its files hold, got one")])
def test_wrong_index_is_refused(change, message, tmp_path):
    transformers_model().save_pretrained(tmp_path, max_shard_size="12KB")
    index = tmp_path / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    change(content["weight_map"])
    index.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message):
        MambaLM.from_pretrained(tmp_path)


def test_missing_unknown_and_misshapen_weights_are_listed(tmp_path):
    save_small_model(tmp_path)
    file = tmp_path / "model.safetensors"
    saved = load_file(file)
    saved["backbone.layers.0.mixer.D"] = torch.ones(5)
    saved["backbone.layers.0.mixer.E"] = torch.ones(5)
    del saved["backbone.norm_f.weight"]
    save_file(saved, file)
    with pytest.raises(ValueError, match=r"^checkpoint: expected the weights") as raised:
        MambaLM.from_pretrained(tmp_path)
    message = str(raised.value)
    assert "layers.0.mixer.D: expected shape (24,), got (5,)" in message
    assert "not known: layers.0.mixer.E" in message
    assert "missing: norm_f.weight" in message


def test_nothing_is_unpickled(tmp_path):
    class Malicious:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "ran"),))

    save_small_model(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save({"backbone.norm_f.weight": Malicious()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(Exception, match=r"[Ww]eights.only"):
        MambaLM.from_pretrained(tmp_path)
    assert not (tmp_path / "ran").exists()


def test_unknown_config_unknown_layout_and_missing_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"has none of model.safetensors, model.saf"):
        MambaLM.from_pretrained(tmp_path)
    with pytest.raises(FileNotFoundError, match="no such file or folder"):
        MambaLM.from_pretrained(tmp_path / "nowhere" / "at" / "all")
    model = MambaLM(MambaConfig(8, 8, 1))
    with pytest.raises(ValueError, match=r"^layout: expected .+ or 'minimamba', got 'x'"):
        model.save_pretrained(tmp_path, layout="x")
    model.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"width": 3}')
    with pytest.raises(ValueError, match=r"^config.json: .+ got the keys width$"):
        MambaLM.from_pretrained(tmp_path)


@pytest.mark.parametrize("layout", checkpoint.LAYOUTS)
def test_tokenizer_is_saved_and_loaded_with_the_weights(layout, tmp_path):
    (tmp_path / "first").mkdir()
    write_tokenizer(tmp_path / "first")
    model = small_model(vocab_size=len(TOKENS))
    model.save_pretrained(tmp_path / "first", layout=layout)
    loaded = MambaLM.from_pretrained(tmp_path / "first")
    loaded.save_pretrained(tmp_path / "second", layout=layout)
    again = MambaLM.from_pretrained(tmp_path / "second")
    assert again.tokenizer.encode("a naïve cab") == loaded.tokenizer.encode("a naïve cab")
    assert again.generate("a cab", 5) == loaded.generate("a cab", 5)


def test_model_of_bytes_is_not_saved_beside_the_tokenizer_of_another(tmp_path):
    write_tokenizer(tmp_path)
    with pytest.raises(ValueError, match=r"^folder: expected one without a tokenizer.json, .+got"):
        small_model(vocab_size=256).save_pretrained(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["tokenizer.json"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such limit")
@pytest.mark.parametrize("layout", ["transformers", "mamba_ssm"])
def test_full_disk_is_an_error_that_names_the_file_and_leaves_the_old_ones(layout, tmp_path):
    import resource

    model = small_model()
    model.save_pretrained(tmp_path, layout=layout)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, most[1]))
    try:
        with pytest.raises(OSError, match=r"(model\.safetensors|model\.bin): can't be written"):
            model.save_pretrained(tmp_path, layout=layout)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, most)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_model_without_a_tokenizer_file_reads_bytes_if_it_has_256_tokens(tmp_path):
    for vocab_size, kind in ((256, ByteTokenizer), (40, type(None))):
        model = MambaLM(MambaConfig(vocab_size, d_model=8, n_layer=1))
        model.save_pretrained(tmp_path)
        for each in (model, MambaLM.from_pretrained(tmp_path)):
            assert type(each.tokenizer) is kind
    assert not (tmp_path / "tokenizer.json").exists()


def test_hub_name_is_downloaded_with_config_and_tokenizer(tmp_path, monkeypatch):
    hub = pytest.importorskip("huggingface_hub")
    downloads = []
    monkeypatch.setattr(hub, "snapshot_download", lambda name, allow_patterns: downloads.append(
        (name, allow_patterns)) or str(tmp_path))
    save_small_model(tmp_path)
    assert checkpoint.find("someone/model") == tmp_path / "model.safetensors"
    (name, patterns), = downloads
    assert name == "someone/model"
    assert {"config.json", "tokenizer.json", "model.safetensors"} <= set(patterns)


def test_bundled_checkpoint_gives_the_logits_that_transformers_gave():
    stored = load_file(weights.TRANSFORMERS / "scores.safetensors")
    theirs = transformers.MambaForCausalLM.from_pretrained(weights.TRANSFORMERS).eval()
    for output in (theirs(stored["tokens"]).logits,
                   MambaLM.from_pretrained(weights.TRANSFORMERS)(stored["tokens"])):
        torch.testing.assert_close(output, stored["scores"], rtol=1e-5, atol=1e-5)


def test_bundled_model_of_code_reads_bytes():
    model = MambaLM.from_pretrained(weights.CODE)
    assert (model.config.vocab_size, model.config.d_model, model.config.n_layer) == (256, 128, 2)
    assert isinstance(model.tokenizer, ByteTokenizer)
