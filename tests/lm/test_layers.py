"""A trunk cut between two of its layers is the trunk, or is refused by name."""

import pytest
import torch
from transformers import AutoModelForCausalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from pluralign.core import InputError
from pluralign.lm.forest import Tree, plant
from pluralign.lm.layers import CutTrunk, forest_layers, trunk_layers
from pluralign.lm.passes import trunk_of
from pluralign.lm.tiny import make_tiny_model
from pluralign.lm.trunk import forest_hidden_states

SIZES = {
    "vocab_size": 300, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 3,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256,
}  # fmt: skip
GPT2 = {"vocab_size": 300, "n_embd": 64, "n_layer": 3, "n_head": 4, "n_positions": 256}
OPT = {
    "vocab_size": 300, "hidden_size": 64, "ffn_dim": 128, "num_hidden_layers": 3, "num_attention_heads": 4,
    "max_position_embeddings": 256, "word_embed_proj_dim": 64,
}  # fmt: skip
SCALED = {"embedding_multiplier": 6.0, "residual_multiplier": 0.5, "logits_scaling": 4.0}
# Each with what learns besides the upper layers.
CUT = [
    ("llama", SIZES, {"norm.weight"}),
    ("granite", {**SIZES, **SCALED}, {"norm.weight"}),
    ("gemma", {**SIZES, "head_dim": 16}, {"norm.weight"}),
    (
        "gemma3_text",
        {
            **SIZES, "head_dim": 16, "sliding_window": 512,
            "layer_types": ["sliding_attention", "sliding_attention", "full_attention"],
        },
        {"norm.weight"},
    ),
    ("nanochat", {**SIZES, "num_key_value_heads": 4}, set()),
    ("olmo", SIZES, set()),
    ("gpt_neox", SIZES, {"final_layer_norm.weight", "final_layer_norm.bias"}),
    ("phi", SIZES, {"final_layernorm.weight", "final_layernorm.bias"}),
    ("persimmon", SIZES, {"final_layernorm.weight", "final_layernorm.bias"}),
    ("gpt2", GPT2, {"ln_f.weight", "ln_f.bias"}),
    ("opt", OPT, {"decoder.final_layer_norm.weight", "decoder.final_layer_norm.bias"}),
    (
        "opt",
        {**OPT, "word_embed_proj_dim": 32, "do_layer_norm_before": False},
        {"decoder.project_out.weight"},
    ),
]  # fmt: skip
FOREST = [Tree([5, 9, 11, 13] * 6, [[7, 8, 9], [21, 22]]), Tree([17] * 9, [[4, 5, 6] * 4])]


def _model(kind, settings):
    config = CONFIG_MAPPING[kind](**settings, pad_token_id=0, bos_token_id=None, eos_token_id=2)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="sdpa").eval()
    with torch.no_grad():
        for value in model.parameters():
            # Norms and biases that do something; states that differ from layer to layer.
            value.add_(0.1 * torch.randn(value.shape))
    return model


@pytest.mark.parametrize(("kind", "settings", "after"), CUT)
def test_the_trunk_cut_in_two_is_the_trunk(kind, settings, after):
    model = _model(kind, settings)
    (forest,) = plant(FOREST)
    with torch.no_grad():
        whole = forest_hidden_states(model, forest)
        alone = trunk_of(model)(torch.tensor([FOREST[1].prompt_ids + FOREST[1].branches[0]]))
        torch.testing.assert_close(whole[-21:], alone.last_hidden_state[0], atol=1e-4, rtol=1e-4)
    for layers in range(4):
        cut = CutTrunk(model, layers)
        with torch.no_grad():
            assert torch.equal(cut.hidden_states(forest, cut.lower_states(forest)), whole)
        model.requires_grad_(False)
        cut.upper.requires_grad_(True)
        learned = {name for name, value in trunk_of(model).named_parameters() if value.requires_grad}
        inner = {
            name
            for name, value in trunk_of(model).named_parameters()
            if any(value is own for layer in trunk_layers(model)[3 - layers :] for own in layer.parameters())
        }
        assert learned == (inner | after if layers else set())
        # Nothing of the cut stays on the model.
        assert torch.equal(forest_hidden_states(model, forest), whole)


def test_what_the_upper_part_learns_is_what_the_whole_trunk_would():
    model = _model("granite", {**SIZES, **SCALED})
    (forest,) = plant(FOREST)
    cut = CutTrunk(model, 1)
    with torch.no_grad():
        lower = cut.lower_states(forest)
    model.requires_grad_(False)
    cut.upper.requires_grad_(True)
    learned = [value for value in model.parameters() if value.requires_grad]
    apart = torch.autograd.grad(cut.hidden_states(forest, lower).sin().sum(), learned)
    whole = torch.autograd.grad(forest_hidden_states(model, forest).sin().sum(), learned)
    for one, other in zip(apart, whole, strict=True):
        torch.testing.assert_close(one, other)


def test_layers_that_read_more_than_the_layer_below_are_refused():
    per_layer = {
        **SIZES, "head_dim": 16, "sliding_window": 512, "hidden_size_per_layer_input": 8,
        "vocab_size_per_layer_input": 300, "num_kv_shared_layers": 2, "num_hidden_layers": 4,
        "layer_types": ["sliding_attention", "full_attention"] * 2,
    }  # fmt: skip
    with pytest.raises(InputError, match=r"field 'layers': .*'gemma3n_text'"):
        CutTrunk(_model("gemma3n_text", per_layer), 1)


def test_a_layer_that_reads_an_earlier_ones_result_is_refused(monkeypatch):
    model, kept = make_tiny_model(1), []
    lower, upper = trunk_of(model).layers
    lower.register_forward_hook(lambda *called: kept.append(called[-1]))
    upper_alone = upper.forward
    monkeypatch.setattr(upper, "forward", lambda *args, **inputs: upper_alone(*args, **inputs) + kept[-1])
    with pytest.raises(InputError, match="cannot be cut between layers"):
        CutTrunk(model, 1)


def test_more_layers_than_there_are_is_refused():
    with pytest.raises(InputError, match="must be from 0 to the trunk's 2, found 3"):
        CutTrunk(make_tiny_model(1), 3)


def test_layers_are_those_of_the_model():
    model = make_tiny_model(1)
    (forest,) = plant([Tree([5, 6, 7], [[8, 9]])])
    with torch.no_grad():
        hidden = trunk_of(model)(torch.tensor([[5, 6, 7, 8, 9]]), output_hidden_states=True).hidden_states
        layers = forest_layers(model, forest, [0, 1, -1])
        torch.testing.assert_close(layers[2], forest_hidden_states(model, forest))
        assert torch.equal(forest_layers(model, forest, [1])[0], layers[1])
    for layer, i in zip(layers, (0, 1, 2), strict=True):
        torch.testing.assert_close(layer, hidden[i][0], atol=1e-5, rtol=1e-5)
