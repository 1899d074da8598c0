"""Tiny random models of the architectures that transformers has, made from configurations."""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

import torch
from torch import nn
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, PreTrainedModel
from transformers.pytorch_utils import Conv1D

WINDOW = 16
"""Tokens of sliding windows and chunks: fewer than the tests' texts have."""
VOCABULARY = 259
_LAYERS = 4

# What configurations call their sizes; each takes those that it knows.
_SIZES: dict[str, Any] = {
    # All
    "vocab_size": VOCABULARY, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
    "initializer_range": 0.2, "rms_norm_eps": 1e-6,
    # Width and depth
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": _LAYERS, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "n_embd": 32, "n_layer": _LAYERS, "n_head": 4, "n_inner": 64,
    "d_model": 32, "n_layers": _LAYERS, "n_heads": 4, "num_heads": 4, "ffn_dim": 64, "attention_heads": 4,
    "num_layers": _LAYERS, "word_embed_proj_dim": 32, "rotary_dim": 4,
    # Lengths
    "max_position_embeddings": 512, "n_positions": 512, "max_seq_len": 512, "context_length": 512,
    "sliding_window": WINDOW, "attention_chunk_size": WINDOW, "attention_window_size": WINDOW,
    # Experts
    "moe_intermediate_size": 16, "shared_expert_intermediate_size": 16, "num_experts": 4,
    "num_local_experts": 4, "n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2,
    "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1, "num_dense_layers": 1,
    # Latent attention, sparse attention
    "q_lora_rank": 16, "kv_lora_rank": 16, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "v_head_dim": 8,
    "index_head_dim": 8, "index_n_heads": 16, "index_topk": 8,
    # Recurrent layers and convolutions
    "state_size": 8, "ssm_state_size": 8, "attention_hidden_size": 32, "lru_width": 32, "chunk_size": 8,
    "mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_n_groups": 1, "mamba_chunk_size": 8,
    "mamba_num_heads": 8, "mamba_head_dim": 8, "mamba_d_ssm": 64, "use_mamba_kernels": False,
    "expand": 2, "n_groups": 1, "linear_num_value_heads": 4, "linear_num_key_heads": 2,
    "linear_key_head_dim": 8, "linear_value_head_dim": 8,
    # Inputs of each layer, shared keys
    "hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": VOCABULARY, "global_head_dim": 8,
    "num_kv_shared_layers": 0,
    # Nothing at random
    "dropout": 0.0, "attention_dropout": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0, "resid_pdrop": 0.0,
    "hidden_dropout": 0.0, "activation_dropout": 0.0, "emb_pdrop": 0.0, "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}  # fmt: skip
_MLA = {"head_dim": None, "num_key_value_heads": 4}


def tiny(kind: str, **own: Any) -> PreTrainedModel:
    """A random model of a few layers in float32.

    Args:
        kind: transformers' name of the architecture.
        own: Fields of the configuration; None leaves the configuration's own.
    """
    example: Any = CONFIG_MAPPING[kind]()
    example = example.get_text_config()
    fields = {**{name: value for name, value in _SIZES.items() if name in example.to_dict()}, **own}
    kinds = list(dict.fromkeys(getattr(example, "layer_types", None) or ()))
    derived = any(
        isinstance(getattr(type(example), field, None), property)
        for field in ("layer_types", "layers_block_type")
    )
    if kinds and "layer_types" not in own and not derived:
        fields["layer_types"] = [kinds[i % len(kinds)] for i in range(_LAYERS)]
    config = type(example)(**{name: value for name, value in fields.items() if value is not None})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: Any
        try:
            model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="sdpa")
        except ValueError:
            model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="eager")
        # Some initialise with zeros, and some so small that no fault would show.
        for weight in model.parameters():
            if weight.dim() >= 2:
                nn.init.normal_(weight, std=0.15)
    return model.eval()


def _layers(*kinds: str) -> dict[str, list[str]]:
    return {"layer_types": list(kinds) * (_LAYERS // len(kinds))}


_LONGROPE = {
    "max_position_embeddings": 256,
    "original_max_position_embeddings": 32,
    "rope_parameters": {
        "rope_type": "longrope", "rope_theta": 10000.0, "short_factor": [1.0] * 4,
        "long_factor": [1.5, 2.0, 3.0, 4.0], "original_max_position_embeddings": 32, "factor": 8.0,
    },
}  # fmt: skip
_DYNAMIC = {
    "max_position_embeddings": 40,
    "rope_parameters": {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 4.0},
}

# Name in the table -> architecture and its own fields.
ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    **{
        name: (name, {})
        for name in (
            "afmoe", "apertus", "arcee", "bitnet", "bloom", "codegen", "cohere", "cohere2", "diffllama",
            "doge", "dots1", "ernie4_5", "ernie4_5_moe", "exaone4", "falcon", "falcon_mamba", "flex_olmo",
            "gemma",
            "gemma2", "gemma3n_text", "gemma4_text", "glm", "glm4", "glm4_moe", "gpt2", "gpt_bigcode",
            "gpt_neox", "gptj", "gpt_oss", "granite", "granitemoe", "granitemoeshared", "helium",
            "hunyuan_v1_dense", "hunyuan_v1_moe", "hyperclovax", "jais2", "jetmoe", "llama", "llama4_text",
            "mamba", "minimax", "minimax_m2", "ministral", "ministral3", "mistral", "mixtral",
            "modernbert-decoder", "mpt", "nanochat", "nemotron", "nemotron_h", "olmo", "olmo2", "olmo3",
            "olmo_hybrid", "olmoe", "opt", "persimmon", "phi", "phi3", "phimoe", "qwen2", "qwen2_moe",
            "qwen3", "qwen3_moe", "qwen3_next", "qwen3_5_text", "qwen3_5_moe_text", "recurrent_gemma", "rwkv",
            "seed_oss", "smollm3", "solar_open", "stablelm", "starcoder2", "vaultgemma", "xglm",
        )
    },
    "bamba": ("bamba", {"attn_layer_indices": [1, 3]}),
    "gpt_neo": ("gpt_neo", {"attention_types": [[["global", "local"], 2]], "window_size": WINDOW}),
    "deepseek_v2": ("deepseek_v2", _MLA),
    "deepseek_v3": ("deepseek_v3", _MLA),
    "deepseek_v32": ("deepseek_v32", _MLA),
    "falcon alibi": ("falcon", {"alibi": True}),
    "falcon_h1": ("falcon_h1", {}),
    "gemma3_text": ("gemma3_text", _layers("sliding_attention", "full_attention")),
    "gemma3n shared keys": ("gemma3n_text", {"num_kv_shared_layers": 2}),
    "glm4_moe_lite": ("glm4_moe_lite", _MLA),
    "granitemoehybrid": ("granitemoehybrid", _layers("mamba", "attention")),
    "jamba": ("jamba", {"attn_layer_period": 2, "attn_layer_offset": 1}),
    "lfm2": ("lfm2", _layers("conv", "full_attention")),
    "lfm2_moe": ("lfm2_moe", _layers("conv", "full_attention")),
    "llama dynamic": ("llama", _DYNAMIC),
    "mamba2": ("mamba2", {"num_heads": 8}),
    "opt projection": ("opt", {"word_embed_proj_dim": 16, "do_layer_norm_before": False}),
    "phi3 longrope": ("phi3", _LONGROPE),
    "qwen2 window": ("qwen2", {"use_sliding_window": True, "max_window_layers": 2}),
    "xlstm": ("xlstm", {"head_dim": None, "num_heads": 4}),
    "youtu": ("youtu", _MLA),
}  # fmt: skip
"""Architectures that are tested, by their name in the table of docs/architectures.md."""


def make(name: str) -> PreTrainedModel:
    """The tiny model of one row of the table."""
    return copy.deepcopy(_made(name))


@cache
def _made(name: str) -> PreTrainedModel:
    kind, own = ARCHITECTURES[name]
    return tiny(kind, **own)


FEW = (
    "llama", "gpt2", "mistral", "gemma2", "gemma3_text", "gpt_oss", "deepseek_v3", "diffllama", "lfm2",
    "mamba", "qwen3_next", "phi3 longrope", "llama dynamic", "bloom", "opt projection",
)  # fmt: skip
"""One of each kind; the others are tested where slow tests are."""


def linear_names(model: PreTrainedModel) -> list[str]:
    """Names of linear layers that all tokens pass: attention, and dense feed-forward blocks."""
    kinds = {name: type(module) for name, module in model.named_modules()}
    experts = any("experts" in name for name in kinds)
    named = {name.rpartition(".")[2] for name, kind in kinds.items() if issubclass(kind, (nn.Linear, Conv1D))}
    chosen = named & (_ATTENTION if experts else _ATTENTION | _FEED_FORWARD)
    # PEFT refuses it where a kernel reads its weight directly.
    return sorted(chosen - ({"out_proj"} if _MAMBA & {name.rpartition(".")[2] for name in kinds} else set()))


_MAMBA = {"mamba", "mixer"}
_ATTENTION = {
    "q_proj", "k_proj", "v_proj", "o_proj", "out_proj", "qkv_proj", "query_key_value", "Wqkv", "in_proj",
    "c_attn", "Wo", "key", "value", "receptance", "x_proj", "in_proj_qkvz", "q", "k", "v", "q_b_proj",
    "kv_proj",
}  # fmt: skip
_FEED_FORWARD = {
    "up_proj", "down_proj", "gate_proj", "fc1", "fc2", "dense", "c_fc", "c_proj", "Wi", "w1", "w2", "w3",
}  # fmt: skip
