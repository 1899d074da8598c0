"""Whole models on a GPU: forests by FlexAttention, and layers that are packed on CPUs only."""

import copy

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, LlamaConfig

from pluralign.lm import attention
from pluralign.lm.forest import Tree, plant
from pluralign.lm.packed import PackedLinear, can_pack, packed
from pluralign.lm.passes import trunk_of
from pluralign.lm.tensors import seeded
from pluralign.lm.trunk import forest_hidden_states

pytestmark = pytest.mark.gpu
DEVICE = "cuda"


@pytest.fixture(scope="module")
def model():
    """Two layers with heads that are wide enough for FlexAttention, on the CPU."""
    config = LlamaConfig(
        vocab_size=259, hidden_size=128, intermediate_size=256, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=2048,
    )  # fmt: skip
    with seeded(0):
        return AutoModelForCausalLM.from_config(config).eval()


def on_the_gpu(model, dtype):
    return copy.deepcopy(model).to(DEVICE, dtype)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 5e-3), (torch.bfloat16, 1e-1)])
def test_a_forest_is_what_each_branch_is_alone(model, dtype, tolerance, monkeypatch):
    calls = []
    compiled = attention._compiled_flex()
    monkeypatch.setattr(
        attention, "_compiled_flex", lambda: lambda *a, **k: calls.append(1) or compiled(*a, **k)
    )
    generator = torch.Generator().manual_seed(0)

    def ids(count):
        return torch.randint(3, 259, (count,), generator=generator).tolist()

    trees = [Tree(ids(150), [ids(30), ids(7)]), Tree(ids(40), [ids(20)] * 3)]
    (forest,) = plant(trees, 2000)
    with torch.no_grad():
        found = forest_hidden_states(on_the_gpu(model, dtype), forest.to(DEVICE)).float().cpu()
        assert len(calls) == 2, "one for each layer"
        branches = found[forest.places].split(forest.lengths.tolist())
        for (tree, branch), own in zip(forest.owners.tolist(), branches, strict=True):
            path = torch.tensor([[*trees[tree].prompt_ids, *trees[tree].branches[branch]]])
            alone = trunk_of(model)(path).last_hidden_state[0, len(trees[tree].prompt_ids) :]
            torch.testing.assert_close(own, alone, atol=tolerance, rtol=tolerance)


def test_gradients_are_those_of_the_cpu(model):
    (forest,) = plant([Tree([5] * 150, [[6, 7, 8] * 10, [9] * 5])], 2000)
    found = []
    for one, there in ((on_the_gpu(model, torch.float32), forest.to(DEVICE)), (model, forest)):
        one.zero_grad()
        forest_hidden_states(one, there).sin().sum().backward()
        found.append({name: value.grad.cpu() for name, value in trunk_of(one).named_parameters()})
    for name, value in found[1].items():
        torch.testing.assert_close(found[0][name], value, atol=5e-2, rtol=5e-2, msg=name)


def test_layers_are_not_packed(model):
    there = on_the_gpu(model, torch.float32)
    assert not can_pack(nn.Linear(4, 4).to(DEVICE))
    ids = torch.tensor([[5, 6, 7]], device=DEVICE)
    with torch.inference_mode():
        expected = there(ids).logits
        with packed(there):
            assert not any(isinstance(module, PackedLinear) for module in there.modules())
            assert torch.equal(there(ids).logits, expected)
