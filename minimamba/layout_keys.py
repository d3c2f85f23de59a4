"""The keys of config.json, in each layout in which Mamba models are published.

A config.json may say things that change what the model computes. So each layout lists its `Keys`,
for models of Mamba blocks ("M") and of Mamba-2 blocks ("2"); `minimamba.layouts` refuses any other.
"""

from dataclasses import fields
from typing import NamedTuple

from minimamba.config import MambaConfig


class Keys(NamedTuple):
    """What may stand in a config.json."""

    fields: dict[str, str]
    """The keys that set a field of `MambaConfig`, and which."""
    defaults: dict[str, object]
    """The fields of absent keys, where `MambaConfig` has another default."""
    values: dict[str, tuple]
    """The keys that may have only the values that our model implements."""
    ignored: frozenset[str]
    """The keys that change no output."""


DTYPES = (None, "float32", "bfloat16", "float16", "float64")
_TRANSFORMERS_FIELDS = {
    "vocab_size": "vocab_size", "hidden_size": "d_model", "num_hidden_layers": "n_layer",
    "state_size": "d_state", "conv_kernel": "d_conv", "expand": "expand", "use_bias": "bias",
    "use_conv_bias": "conv_bias", "tie_word_embeddings": "tie_embeddings",
    "layer_norm_epsilon": "norm_epsilon", "residual_in_fp32": "residual_in_fp32",
    "eos_token_id": "eos_token_id"}
_TRANSFORMERS_VALUES = {
    "hidden_act": ("silu", "swish"), "dtype": DTYPES, "torch_dtype": DTYPES,
    "quantization_config": (None,), "pruned_heads": ({},), "is_decoder": (False,),
    "is_encoder_decoder": (False,), "tie_encoder_decoder": (False,),
    "add_cross_attention": (False,), "chunk_size_feed_forward": (0,), "torchscript": (False,),
    "use_bfloat16": (False,), "rms_norm": (True,), "ssm_cfg": ({},)}
_TRANSFORMERS_IGNORED = frozenset((
    "_name_or_path", "transformers_version", "bos_token_id", "pad_token_id", "sep_token_id",
    "use_cache", "return_dict", "output_hidden_states", "output_attentions", "problem_type",
    "id2label", "label2id", "task_specific_params", "_attn_implementation_autoset",
    # How new weights would be initialized.
    "initializer_range", "rescale_prenorm_residual", "time_step_scale", "time_step_min",
    "time_step_max", "time_step_init_scheme", "time_step_floor",
    # Which of several programs computes the same.
    "use_mambapy", "use_associative_scan", "fused_add_norm",
    # vocab_size is a multiple of it already.
    "pad_vocab_size_multiple",
    # What follows from other keys, which is checked.
    "intermediate_size", "d_inner", "d_model", "n_layer"))
TRANSFORMERS = {
    "M": Keys(_TRANSFORMERS_FIELDS | {"time_step_rank": "dt_rank"},
              {"n_layer": 32, "eos_token_id": 0},
              _TRANSFORMERS_VALUES | {
                  "model_type": ("mamba",),
                  "architectures": (None, ["MambaForCausalLM"], ["MambaModel"])},
              _TRANSFORMERS_IGNORED),
    "2": Keys(_TRANSFORMERS_FIELDS | {"head_dim": "head_dim", "n_groups": "n_groups",
                                      "time_step_limit": "dt_limit"},
              {"vocab_size": 32768, "d_model": 4096, "n_layer": 64, "d_state": 128, "n_groups": 8,
               "tie_embeddings": False, "eos_token_id": 2},
              _TRANSFORMERS_VALUES | {
                  "model_type": ("mamba2",),
                  "architectures": (None, ["Mamba2ForCausalLM"], ["Mamba2Model"])},
              # The norm comes after the gate, whatever norm_before_gate says; there is no rank; and
              # num_heads follows from other keys.
              _TRANSFORMERS_IGNORED | {"chunk_size", "norm_before_gate", "time_step_rank",
                                       "num_heads"})}
"""Those of transformers."""

VOCAB_MULTIPLE = "pad_vocab_size_multiple"
"""The official package rounds the size of the vocabulary up to a multiple of this, by default 8."""
OFFICIAL = Keys(
    {name: name for name in ("d_model", "n_layer", "vocab_size", "residual_in_fp32",
                             "tie_embeddings")},
    {"d_model": 2560, "n_layer": 64, "vocab_size": 50277},
    {"d_intermediate": (0,), "attn_layer_idx": ([],), "attn_cfg": ({},), "rms_norm": (True,)},
    # Read apart, all but the second, which is how the same is computed.
    frozenset(("ssm_cfg", "fused_add_norm", VOCAB_MULTIPLE)))
"""Those of the official package."""
_SSM_CFG_FIELDS = {name: name for name in ("d_state", "d_conv", "expand", "bias", "conv_bias")}
_SSM_CFG_IGNORED = frozenset(("dt_min", "dt_max", "dt_init_floor"))
SSM_CFG = {
    "M": Keys(_SSM_CFG_FIELDS | {"dt_rank": "dt_rank"}, {}, {"layer": ("Mamba1",)},
              _SSM_CFG_IGNORED | {"dt_init", "dt_scale", "use_fast_path"}),
    "2": Keys(_SSM_CFG_FIELDS | {"headdim": "head_dim", "ngroups": "n_groups",
                                 "dt_limit": "dt_limit"},
              {"d_state": 128},
              {"layer": ("Mamba2",), "d_ssm": (None,), "D_has_hdim": (False,), "rmsnorm": (True,),
               "norm_before_gate": (False,)},
              _SSM_CFG_IGNORED | {"conv_init", "A_init_range", "chunk_size", "use_mem_eff_path",
                                  "sequence_parallel"})}
"""Those that a config.json of the official package has under "ssm_cfg"."""
OFFICIAL_NORM_EPSILON = 1e-5
"""That of the official package's norms, which its config can't change."""
OWN = Keys({field.name: field.name for field in fields(MambaConfig)}, {},
           {"model_type": ("minimamba",)}, frozenset())
"""Those of this library."""
