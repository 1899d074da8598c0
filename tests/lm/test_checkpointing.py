"""Gradient checkpointing changes no gradient and keeps fewer activations."""

from contextlib import nullcontext

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from pluralign.lm.adapters import add_lora
from pluralign.lm.checkpointing import checkpointed_layers
from pluralign.lm.forest import Tree, plant
from pluralign.lm.layers import CutTrunk
from pluralign.lm.trunk import forest_hidden_states
from pluralign.lm.vocabulary import branch_log_probs

SIZES = {
    "vocab_size": 300, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 3,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256,
}  # fmt: skip
MODELS = {
    "llama": SIZES,
    "gemma3_text": {
        **SIZES, "head_dim": 16, "sliding_window": 8,
        "layer_types": ["sliding_attention", "sliding_attention", "full_attention"],
    },
    "gpt2": {"vocab_size": 300, "n_embd": 64, "n_layer": 3, "n_head": 4, "n_positions": 256},
    "opt": {
        "vocab_size": 300, "hidden_size": 64, "ffn_dim": 128, "num_hidden_layers": 3,
        "num_attention_heads": 4, "max_position_embeddings": 256, "word_embed_proj_dim": 64,
    },
    "mamba": {"vocab_size": 300, "hidden_size": 64, "num_hidden_layers": 3, "state_size": 8},
    "bart": {
        "vocab_size": 300, "d_model": 64, "encoder_layers": 2, "decoder_layers": 3,
        "encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 128,
        "decoder_ffn_dim": 128, "max_position_embeddings": 256, "forced_eos_token_id": None,
    },
    "t5": {"vocab_size": 300, "d_model": 64, "d_kv": 16, "d_ff": 128, "num_layers": 3, "num_heads": 4},
}  # fmt: skip
FOREST = [Tree([5, 9, 11, 13] * 6, [[7, 8, 9], [21, 22]]), Tree([17] * 9, [[4, 5, 6] * 4])]


def _model(kind):
    config = CONFIG_MAPPING[kind](**MODELS[kind], pad_token_id=0, bos_token_id=None, eos_token_id=2)
    if config.is_encoder_decoder:
        config.decoder_start_token_id = 2
    torch.manual_seed(0)
    reader = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    return reader.from_config(config, dtype=torch.float32).eval()


def _gradients(model, checkpointing, bf16, states=forest_hidden_states):
    """Gradients of the trained weights, and the bytes that autograd keeps for the backward pass."""
    (forest,) = plant(FOREST)
    kept = {}

    def pack(tensor):
        if not tensor.requires_grad or tensor.grad_fn is not None:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with (
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=bf16),
    ):
        with checkpointed_layers(model) if checkpointing else nullcontext():
            hidden = states(model, forest)
        loss = (branch_log_probs(model, hidden, forest) * torch.arange(1, 4)).sum()
    learned = {name: value for name, value in model.named_parameters() if value.requires_grad}
    found = torch.autograd.grad(loss, list(learned.values()), allow_unused=True)
    return dict(zip(learned, found, strict=True)), sum(kept.values())


def _check(model, bf16=False, states=forest_hidden_states):
    plain, kept = _gradients(model, False, bf16, states)
    again, less = _gradients(model, True, bf16, states)
    assert any(gradient is not None and bool(gradient.any()) for gradient in plain.values())
    for name, gradient in plain.items():
        assert (gradient is None) == (again[name] is None), name
        if gradient is not None:
            torch.testing.assert_close(again[name], gradient, atol=0, rtol=0, msg=name)
    assert not any("forward" in vars(module) for module in model.modules())
    return less / kept


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("kind", MODELS)
def test_the_gradients_are_the_same_bit_for_bit(kind, bf16):
    assert _check(_model(kind), bf16) < 0.8


@pytest.mark.parametrize("bf16", [False, True])
def test_adapters_get_the_same_gradients_over_frozen_inputs(bf16):
    model = add_lora(_model("llama"), rank=4)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "lora_B" in name:
                value.normal_(std=0.1)
    assert _check(model, bf16) < 0.8


def test_a_cut_trunk_gets_the_same_gradients():
    model = _model("llama")
    cut = CutTrunk(model, 2)
    model.requires_grad_(False)
    cut.upper.requires_grad_(True)

    def states(_, forest):
        with torch.no_grad():
            lower = cut.lower_states(forest)
        return cut.hidden_states(forest, lower)

    assert _check(model, states=states) < 0.8


def test_without_gradients_layers_stay_as_they_are():
    model = _model("llama")
    with torch.no_grad(), checkpointed_layers(model):
        assert not any("forward" in vars(module) for module in model.modules())
