"""MambaConfig: its defaults, its layer pattern, and what it refuses."""

import pytest

from minimamba import MambaConfig
from minimamba.config import LAYER_TYPES
from minimamba.lm import MIXERS


def test_defaults_are_those_of_the_published_130m_model():
    config = MambaConfig()
    assert (config.vocab_size, config.d_model, config.n_layer) == (50280, 768, 24)
    assert (config.d_state, config.d_conv, config.expand, config.dt_rank) == (16, 4, 2, "auto")
    assert config.tie_embeddings
    assert config.eos_token_id is None
    assert config.layer_pattern == "M" * 24
    assert config.is_all_mamba


def test_layer_pattern_sets_the_number_of_layers():
    config = MambaConfig(layers="MMMA")
    assert config.n_layer == 4
    assert config.layer_pattern == "MMMA"
    assert not config.is_all_mamba
    assert config.only_block is None
    assert MambaConfig(layers="MM", n_layer=2) == MambaConfig(layers="MM")
    assert MambaConfig(n_layer=2).layer_pattern == "MM"


def test_pattern_says_which_blocks_are_in_it_alone():
    for pattern, only_block in (("MM", "M"), ("22", "2"), ("2M", None)):
        config = MambaConfig(layers=pattern)
        assert config.is_all_mamba
        assert config.only_block == only_block


def test_no_limits_of_the_step_compare_equal_however_they_are_given():
    assert MambaConfig(dt_limit=[0, float("inf")]) == MambaConfig()
    assert MambaConfig(dt_limit=[0.1, 1]) == MambaConfig(dt_limit=(0.1, 1.0))


def test_every_letter_has_a_name_and_a_mixer():
    assert set(LAYER_TYPES) == set(MIXERS)


def test_equal_configs_compare_equal_however_selective_is_given():
    config = MambaConfig(8, layers="6", selective=["delta", "B"])
    assert config == MambaConfig(8, layers="6", selective=("delta", "B"))
    assert hash(config) == hash(MambaConfig(8, layers="6", selective=("delta", "B")))


@pytest.mark.parametrize(("arguments", "message"), [
    ({"layers": "MM", "n_layer": 3},
     "^n_layer: expected 2, the number of letters in layers = 'MM', or None, got 3$"),
    ({"layers": ""}, r"^layers: expected letters among M \(Mamba\), 2 \(Mamba-2\), .+, got ''$"),
    ({"layers": "MX"}, r"^layers: expected letters among M \(Mamba\), .+ 4 \(S4D\), got 'MX'$"),
    ({"layers": "M2", "head_dim": 100},
     "^head_dim: expected a divisor of expand · d_model = 1536, in a Mamba-2 block, got 100$"),
    ({"layers": "2", "n_groups": 5},
     "^n_groups: expected a divisor of the 24 heads of a Mamba-2 block, got 5$"),
    ({"head_dim": 0}, "^head_dim: "), ({"n_groups": 1.0}, "^n_groups: "),
    ({"dt_limit": (1, 0.5)}, "^dt_limit: expected a largest step of at least 1, got 0.5$"),
    ({"layers": 3}, "^layers: .+ got 3$"), ({"layers": ("M",)}, "^layers: "),
    ({"vocab_size": 0}, "^vocab_size: expected a whole number from 1 up, got 0$"),
    ({"n_layer": 0}, "^n_layer: "), ({"n_layer": 2.0}, "^n_layer: "), ({"d_model": -1}, "^d_model"),
    ({"n_heads": 0}, "^n_heads: "), ({"dt_rank": 0}, "^dt_rank: "), ({"dt_rank": "x"}, "^dt_rank"),
    ({"norm_epsilon": 0.0}, "^norm_epsilon: "), ({"eos_token_id": -1}, "^eos_token_id: "),
    ({"eos_token_id": [None]}, "^eos_token_id: expected a whole number from 0 up, got None$"),
    ({"vocab_size": 40, "eos_token_id": 40}, "^eos_token_id: .+ below vocab_size = 40, got 40$"),
    ({"vocab_size": 40, "eos_token_id": (39, 40)}, "^eos_token_id: .+, got 40$"),
])
def test_bad_sizes_are_refused_by_name(arguments, message):
    with pytest.raises(ValueError, match=message):
        MambaConfig(**arguments)
