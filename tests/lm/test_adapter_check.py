"""Adapters that are refused, by name and reason; and what merging and averaging make of odd ones."""

import copy
import json
import shutil

import pytest
import torch
from peft import LoraConfig, PrefixTuningConfig, get_peft_model
from peft_adapters import CONFIGS, by_peft, lora, make_adapter, save_model, save_random
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoModelForCausalLM

from pluralign.core import InputError, SteeringWeights
from pluralign.folders.soups import soup_adapter
from pluralign.lm.adapter_check import check_adapter
from pluralign.lm.adapter_stack import AdapterStack, Route, why_not_stacked
from pluralign.lm.adapters import merge_adapter, probe_logits, read_adapter
from pluralign.lm.backbone import load_backbone, make_backbone, make_tiny_backbone
from pluralign.steer.policies import load_policies

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning:peft"),
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"),
]


def llama(folder, seed=0, **more):
    config = copy.deepcopy(CONFIGS["tied"])
    config.update(more)
    return save_model(config, folder, seed)


@pytest.fixture
def model(tmp_path):
    return llama(tmp_path / "model")


def adapter(model, out, targets="all-linear", **more):
    make_adapter(model, lora(targets, **more), out)
    return out


def change_config(folder, **changes):
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return folder


def refused(model, folder, match):
    """Refused in each way of loading it, by the folder's name."""
    for load in (
        lambda: why_not_stacked(load_backbone(str(model), dtype=torch.float32).model, [folder]),
        lambda: load_backbone(str(model), dtype=torch.float32, adapter=folder),
        lambda: load_policies(str(model), own=folder, dtype="float32"),
    ):
        with pytest.raises(InputError, match=match) as error:
            load()
        assert str(folder) in str(error.value)


def check_and_stack(model, folder):
    return AdapterStack(load_backbone(str(model), dtype=torch.float32), {"own": folder})


@pytest.mark.parametrize("start", ["pissa_niter_4", "corda", "lora_ga", "loftq", "of the future"])
def test_initialisations_that_cannot_be_repeated_are_refused_with_the_conversion(model, tmp_path, start):
    own = change_config(adapter(model, tmp_path / "own"), init_lora_weights=start)
    refused(model, own, "path_initial_model_for_weight_conversion")
    with pytest.raises(InputError, match="path_initial_model_for_weight_conversion"):
        soup_adapter({"own": own}, SteeringWeights(own=1.0), tmp_path / "soup")


def test_a_converted_adapter_is_a_plain_one(model, tmp_path):
    network = by_peft(model)
    config = LoraConfig(r=4, target_modules="all-linear", init_lora_weights="pissa", task_type="CAUSAL_LM")
    adapted = get_peft_model(network, config)
    adapted.peft_config["default"].init_lora_weights = True
    adapted.save_pretrained(tmp_path / "start")
    adapted.peft_config["default"].init_lora_weights = "pissa"
    trained = probe_logits(save_random(adapted, tmp_path / "unconverted"))
    adapted.save_pretrained(
        tmp_path / "own", path_initial_model_for_weight_conversion=str(tmp_path / "start")
    )
    stack = check_and_stack(model, tmp_path / "own")
    with stack.routed(Route((0,), (31,), 31)):
        torch.testing.assert_close(probe_logits(stack.backbone.model), trained, atol=2e-4, rtol=1e-5)


def test_settings_of_the_future_are_refused(model, tmp_path):
    own = adapter(model, tmp_path / "own")
    change_config(own, use_next_idea=False, next_idea_config=None, ideas=[])
    assert not check_adapter(own).beyond
    refused(model, change_config(own, use_next_idea=True), "'use_next_idea', which PEFT .* does not know")
    refused(model, change_config(own, use_next_idea=False, peft_type="NEXT"), "type 'NEXT', which PEFT")


def test_what_is_no_change_of_weights_is_refused(model, tmp_path):
    network = by_peft(model)
    prefix = PrefixTuningConfig(num_virtual_tokens=3, task_type="CAUSAL_LM")
    save_random(get_peft_model(network, prefix), tmp_path / "prefix")
    refused(model, tmp_path / "prefix", "type PREFIX_TUNING")
    own = adapter(model, tmp_path / "alora", ["q_proj"], alora_invocation_tokens=[75])
    refused(model, own, "tokens after an invocation")
    own = adapter(model, tmp_path / "replicated", ["q_proj"], layer_replication=[[0, 2], [1, 2]])
    refused(model, own, "repeats layers")


def test_folders_without_one_adapter_are_refused(model, tmp_path):
    own = adapter(model, tmp_path / "several" / "one")
    shutil.copytree(own, tmp_path / "several" / "two")
    with pytest.raises(InputError, match=r"several: .*folders of adapters \(one, two\): give one"):
        load_backbone(str(model), adapter=tmp_path / "several")
    torch.save(load_file(own / "adapter_model.safetensors"), own / "adapter_model.bin")
    (own / "adapter_model.safetensors").unlink()
    refused(model, own, "adapter_model.bin alone, a pickle")
    (own / "adapter_model.bin").unlink()
    refused(model, own, "no adapter_model.safetensors")
    (own / "adapter_model.safetensors").write_bytes(b"no tensors")
    refused(model, own, "holds no tensors")
    change_config(own, peft_type=3)
    refused(model, own, "a peft_type")


@pytest.mark.parametrize("more", [{}, {"use_dora": True}], ids=["plain", "own"])
@pytest.mark.parametrize(
    "shape",
    [{"hidden_size": 64}, {"num_hidden_layers": 3}, {"num_hidden_layers": 1}, {"intermediate_size": 96}],
    ids=str,
)
def test_adapters_of_another_model_are_refused(tmp_path, shape, more):
    base = llama(tmp_path / "base")
    other = llama(tmp_path / "other", **shape)
    own = adapter(base, tmp_path / "own", ["q_proj", "down_proj"], **more)
    refused(other, own, "was made for .*base.*another model")
    # The same where its base is no longer there.
    shutil.rmtree(base)
    for load in (
        lambda: load_backbone(str(other), dtype=torch.float32, adapter=own),
        lambda: load_policies(str(other), own=own, dtype="float32"),
    ):
        with pytest.raises(InputError, match=r"was made for .*base.*another model"):
            load()


def test_configurations_that_do_not_match_the_file_are_refused(model, tmp_path):
    own = adapter(model, tmp_path / "own", ["q_proj", "o_proj"])
    refused(model, change_config(own, target_modules=["q_proj"]), r"o_proj")
    refused(model, change_config(own, target_modules=["q_proj", "o_proj", "v_proj"]), r"v_proj")
    refused(model, change_config(own, target_modules="(q"), r"PEFT cannot read it|cannot be loaded")
    change_config(own, target_modules=["q_proj", "o_proj"], lora_alpha="much")
    with pytest.raises(InputError, match="a number as alpha, found 'much'"):
        check_and_stack(model, own)


def test_an_adapter_of_other_weights_of_the_same_shape_is_refused(tmp_path):
    base, other = llama(tmp_path / "base"), llama(tmp_path / "other", seed=1)
    own = adapter(base, tmp_path / "own")
    refused(other, own, "the weights of .*base.* are others")
    shutil.copytree(base, tmp_path / "copy")
    assert why_not_stacked(load_backbone(str(tmp_path / "copy"), dtype=torch.float32).model, [own]) == [""]
    half = tmp_path / "half"
    shutil.copytree(base, half)
    by_peft(base).to(torch.bfloat16).save_pretrained(half)
    assert why_not_stacked(load_backbone(str(half), dtype=torch.float32).model, [own]) == [""]
    change_config(own, base_model_name_or_path="someone/else")
    assert why_not_stacked(load_backbone(str(other), dtype=torch.float32).model, [own]) == [""]


def test_copies_of_other_weights_are_no_plain_adapter(model, tmp_path):
    own = adapter(model, tmp_path / "own", ["lm_head"])
    trunk = load_backbone(str(model), dtype=torch.float32).model
    assert why_not_stacked(trunk, [own]) == [""]
    tensors = load_file(own / "adapter_model.safetensors")
    tensors["base_model.model.lm_head.base_layer.weight"] += 0.1
    save_file(tensors, own / "adapter_model.safetensors")
    assert why_not_stacked(trunk, [own]) == ["it changes the weights of lm_head themselves"]


@pytest.mark.parametrize(
    ("targets", "more"),
    [
        (["q_proj", "lm_head"], {}),
        (["embed_tokens"], {}),
        (["embed_tokens", "lm_head"], {"ensure_weight_tying": True}),
        (["q_proj"], {"modules_to_save": ["lm_head"]}),
        (["q_proj"], {"trainable_token_indices": [75, 90]}),
        (["q_proj"], {"use_dora": True}),
        (["q_proj"], {"init_lora_weights": "pissa"}),
    ],
    ids=str,
)
def test_a_merged_model_is_the_same_after_it_was_saved(model, tmp_path, targets, more):
    own = adapter(model, tmp_path / "own", targets, **more)
    expected = probe_logits(by_peft(model, own))
    for merged in (
        merge_adapter(read_adapter(by_peft(model), own)),
        load_backbone(str(own), dtype=torch.float32).model,
    ):
        torch.testing.assert_close(probe_logits(merged), expected, atol=1e-5, rtol=1e-5)
        merged.save_pretrained(tmp_path / "merged")
        again = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
        torch.testing.assert_close(probe_logits(again), expected, atol=1e-5, rtol=1e-5)


class Experts(nn.Module):
    """A feed-forward layer whose experts get the tokens that a router sends them."""

    def __init__(self):
        super().__init__()
        self.branches = nn.ModuleList(nn.Linear(32, 32) for _ in range(2))

    def forward(self, x):
        flat, out = x.flatten(0, 1), torch.zeros_like(x.flatten(0, 1))
        chosen = flat[:, 0] > 0
        for sign, branch in zip((False, True), self.branches, strict=True):
            out[chosen == sign] = branch(flat[chosen == sign])
        return out.view_as(x)


def with_experts():
    backbone = make_tiny_backbone()
    torch.manual_seed(7)
    backbone.model.model.layers[1].mlp = Experts()
    return make_backbone(backbone.model, backbone.tokenizer, "experts")


def test_experts_that_get_some_of_the_tokens_are_found(tmp_path):
    network = with_experts().model
    config = LoraConfig(r=4, target_modules=["branches.0", "branches.1"], task_type="CAUSAL_LM")
    own = tmp_path / "own"
    save_random(get_peft_model(network, config), own)
    (reason,) = why_not_stacked(with_experts().model, [own])
    assert "branches.0, which not all tokens pass" in reason
    with pytest.raises(InputError, match="not all tokens pass"):
        AdapterStack(with_experts(), {"own": own})


def test_tokens_that_do_not_reach_a_layer_are_an_error(model, tmp_path):
    stack = check_and_stack(model, adapter(model, tmp_path / "own"))
    with stack.routed(Route((0,), (5,), 12)), pytest.raises(RuntimeError, match="31 of 12 tokens"):
        probe_logits(stack.backbone.model)
