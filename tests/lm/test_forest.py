import logging
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.attention.flex_attention import flex_attention

from pluralign.core import InputError
from pluralign.lm import attention
from pluralign.lm.attention import ForestLayout, _by_flex, forest_attention
from pluralign.lm.forest import Tree, by_tree, plant
from pluralign.lm.passes import trunk_of
from pluralign.lm.pattern import Pattern
from pluralign.lm.tiny import make_tiny_model
from pluralign.lm.trunk import (
    branch_last,
    branch_mean,
    forest_hidden_states,
)
from pluralign.lm.vocabulary import branch_log_probs, log_probs_of, token_log_probs

TOLERANCE = {"atol": 1e-5, "rtol": 1e-5}


def _trees(seed=0, count=7):
    rng = np.random.default_rng(seed)

    def ids(low, high):
        return rng.integers(3, 259, int(rng.integers(low, high))).tolist()

    return [Tree(ids(1, 40), [ids(1, 12) for _ in range(rng.integers(1, 5))]) for _ in range(count)]


def _separately(model, prompt, branch):
    """Last and mean hidden state, and log-probability, of one unpadded sequence."""
    output = model(torch.tensor([[*prompt, *branch]]), output_hidden_states=True)
    hidden = output.hidden_states[-1][0, len(prompt) :]
    predictions = output.logits[0, len(prompt) - 1 : -1].log_softmax(-1)
    likelihood = predictions[torch.arange(len(branch)), torch.tensor(branch)].sum()
    return hidden[-1], hidden.mean(0), likelihood


def _in_a_forest(model, trees, budget):
    forests = plant(trees, budget)
    values = []
    for forest in forests:
        hidden = forest_hidden_states(model, forest)
        likelihood = branch_log_probs(model, hidden, forest)
        values.append(
            torch.cat([branch_last(hidden, forest), branch_mean(hidden, forest), likelihood[:, None]], 1)
        )
    return by_tree(trees, forests, values)


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
@pytest.mark.parametrize("budget", [1, 64, 100_000])
def test_equals_separate_sequences(architecture, budget):
    model, trees = make_tiny_model(1, architecture), _trees()
    with torch.no_grad():
        for tree, rows in zip(trees, _in_a_forest(model, trees, budget), strict=True):
            for branch, row in zip(tree.branches, rows, strict=True):
                expected = torch.cat([part.flatten() for part in _separately(model, tree.prompt_ids, branch)])
                torch.testing.assert_close(row, expected, **TOLERANCE)


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_gradients_equal_those_of_separate_sequences(architecture):
    trees = _trees(3, 4)

    def gradients(values_of):
        model = make_tiny_model(1, architecture)
        (values_of(model) / 50).backward()
        return {name: value.grad for name, value in model.named_parameters() if value.grad is not None}

    together = gradients(lambda model: sum(rows.sin().sum() for rows in _in_a_forest(model, trees, 200)))
    apart = gradients(
        lambda model: sum(
            part.sin().sum()
            for tree in trees
            for branch in tree.branches
            for part in _separately(model, tree.prompt_ids, branch)
        )
    )
    assert together.keys() == apart.keys()
    for name, value in apart.items():
        torch.testing.assert_close(together[name], value, atol=1e-4, rtol=1e-4, msg=name)


@pytest.mark.parametrize("prompt", [[], [4], list(range(3, 60))])
def test_many_branches_attend_in_groups(prompt):
    rng = np.random.default_rng(2)
    tree = Tree(prompt, [rng.integers(3, 259, int(n)).tolist() for n in rng.integers(1, 90, 40)])
    (forest,) = plant([tree], 100_000)
    assert len(forest.blocks) > 3
    model = make_tiny_model(1)
    with torch.no_grad():
        (rows,) = _in_a_forest(model, [tree], 100_000)
        for branch, row in zip(tree.branches, rows, strict=True):
            if prompt:
                expected = torch.cat([part.flatten() for part in _separately(model, prompt, branch)])
                torch.testing.assert_close(row, expected, **TOLERANCE)
            else:
                last = trunk_of(model)(torch.tensor([branch])).last_hidden_state[0, -1]
                torch.testing.assert_close(row[:32], last, **TOLERANCE)


def test_without_a_prompt_nothing_predicts_the_first_token():
    model = make_tiny_model(1)
    (forest,) = plant([Tree([], [[5, 6, 7], [8]]), Tree([4], [[9]])])
    with torch.no_grad():
        found = token_log_probs(model, forest_hidden_states(model, forest), forest)
        logits = model(torch.tensor([[5, 6, 7]])).logits[0].log_softmax(-1)
    assert forest.predicted.tolist() == [False, True, True, False, True]
    torch.testing.assert_close(found[:4], torch.tensor([0, logits[0, 6], logits[1, 7], 0]), **TOLERANCE)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_roundings_of_the_targets_logits_in_bfloat16_cancel(temperature):
    model = make_tiny_model(1).to(torch.bfloat16)
    states = 12 * torch.randn(300, 32, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    logits = states.float() @ model.lm_head.weight.detach().float().T / temperature
    found = log_probs_of(model, states, logits.argmax(-1), temperature=temperature).detach()
    assert float(found.max()) <= 1e-5
    error = found - logits.log_softmax(-1).amax(-1)
    assert float(error.square().mean().sqrt()) < 0.02


@pytest.mark.parametrize("pattern", [Pattern(), Pattern(window=9), Pattern(chunk=7)])
@pytest.mark.parametrize("budget", [60, 100_000])
def test_flex_attention_sees_what_the_blocks_see(budget, pattern):
    generator = torch.Generator().manual_seed(0)
    many = Tree([1, 2], [[3] * 40] * 20)
    for forest in plant([*_trees(4), many, Tree([], [[5, 6], [7]])], budget):
        tokens = forest.input_ids.shape[1]
        q, k, v = torch.randn(3, 1, 4, tokens, 16, generator=generator).unbind()
        k, v = k[:, :2], v[:, :2]
        layout = ForestLayout(forest)
        blocks = layout.by_blocks(q, k, v, None, pattern)
        with torch.no_grad(), warnings.catch_warnings():
            # Not compiled, it is slow and says so.
            warnings.simplefilter("ignore")
            flex = flex_attention(q, k, v, block_mask=layout.block_mask(pattern), enable_gqa=True)
        torch.testing.assert_close(flex, blocks, **TOLERANCE)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_flex_attention_on_the_gpu(dtype, monkeypatch):
    generator = torch.Generator().manual_seed(0)
    compiled = []
    monkeypatch.setattr(
        attention, "_by_flex", lambda *a, real=_by_flex: compiled.append(real(*a)) or compiled[-1]
    )
    sizes = set()
    for forest in plant([*_trees(4), *_trees(9), Tree([1, 2], [[3] * 40] * 20)], 400):
        forest = forest.to("cuda")
        tokens = forest.input_ids.shape[1]
        sizes.add(tokens)
        shapes = [(1, heads, tokens, 64) for heads in (4, 2, 2)]
        inputs = [
            torch.randn(shape, generator=generator).to("cuda", dtype).requires_grad_() for shape in shapes
        ]
        layout = ForestLayout(forest)
        expected = layout.by_blocks(*inputs, None, Pattern(window=9))
        mark = torch.full((1, 1, 1, 1), 9)
        found, _ = forest_attention(None, *inputs, mark, layout=layout)
        tolerance = 1e-3 if dtype == torch.float32 else 3e-2
        torch.testing.assert_close(found.transpose(1, 2), expected, atol=tolerance, rtol=tolerance)
        gradients = [
            torch.autograd.grad(out.float().sin().sum(), inputs) for out in (expected, found.transpose(1, 2))
        ]
        torch.testing.assert_close(*gradients, atol=10 * tolerance, rtol=tolerance)
    assert len(sizes) > 2
    assert compiled
    assert all(one is not None for one in compiled)


@pytest.mark.gpu
def test_what_cannot_be_compiled_is_read_by_blocks(monkeypatch):
    """torch 2.11 cannot compile FlexAttention whose keys are a view of its queries."""
    monkeypatch.setattr(attention, "_failed", [])
    (forest,) = plant([*_trees(4), Tree([1, 2], [[3] * 40] * 20)], 10_000)
    forest = forest.to("cuda")
    query = torch.randn(1, 4, forest.input_ids.shape[1], 64, device="cuda", requires_grad=True)
    key = query[:, :2]
    layout = ForestLayout(forest)
    expected = layout.by_blocks(query, key, key, None, Pattern(window=9))
    found, _ = forest_attention(None, query, key, key, torch.full((1, 1, 1, 1), 9), layout=layout)
    torch.testing.assert_close(found.transpose(1, 2), expected, atol=1e-3, rtol=1e-3)


def test_failures_to_compile_are_said_once(monkeypatch, caplog):
    def fail(*_, **__):
        raise torch._dynamo.exc.InternalTorchDynamoError("no source")

    monkeypatch.setattr(attention, "_compiled_flex", lambda: fail)
    monkeypatch.setattr(attention, "_failed", [])
    q = torch.ones(1, 2, 3, 16)
    for _ in range(2):
        assert _by_flex(q, q, q, None, None) is None
    (line,) = caplog.messages
    assert "block by block, which is slower" in line


def test_a_model_that_does_not_hand_the_forest_on_goes_the_plain_way(monkeypatch):
    model = make_tiny_model(1)
    model.config.rope_parameters = {**model.config.rope_parameters, "rope_theta": 5000.0}
    monkeypatch.setattr(trunk_of(model), "layers", torch.nn.ModuleList())
    tree = Tree([1, 2], [[3], [4, 5]])
    (forest,) = plant([tree])
    with torch.no_grad():
        states = forest_hidden_states(model, forest)
        for branch, found in zip(tree.branches, states[forest.places].split([1, 2]), strict=True):
            expected = trunk_of(model)(torch.tensor([[1, 2, *branch]])).last_hidden_state[0, 2:]
            torch.testing.assert_close(found, expected, **TOLERANCE)


def test_what_shares_the_batch_changes_nothing():
    model, trees = make_tiny_model(1), _trees(5, 9)
    with torch.no_grad():
        alone = _in_a_forest(model, trees[4:5], 1000)[0]
        for order in (trees, trees[::-1]):
            together = _in_a_forest(model, order, 500)[order.index(trees[4])]
            torch.testing.assert_close(together, alone, **TOLERANCE)


def test_each_prompt_is_laid_out_once():
    trees = [Tree([1] * 30, [[2]] * 4), Tree([3] * 20, [[4, 5]] * 3)]
    (forest,) = plant(trees, 4096)
    assert forest.input_ids.shape == (1, 30 + 4 + 20 + 6)
    assert sorted(forest.owners.tolist()) == [[0, 0], [0, 1], [0, 2], [0, 3], [1, 0], [1, 1], [1, 2]]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(60, 400))
def test_the_budget_holds_and_nothing_is_lost(seed, budget):
    trees = _trees(seed, 12)
    forests = plant(trees, budget)
    assert all(forest.input_ids.numel() <= budget for forest in forests)
    assert all(sum(b.size for b in forest.blocks) == forest.input_ids.numel() for forest in forests)
    found = {tuple(owner) for forest in forests for owner in forest.owners.tolist()}
    assert found == {(i, j) for i, tree in enumerate(trees) for j in range(len(tree.branches))}
    lengths = by_tree(trees, forests, [forest.lengths for forest in forests])
    assert [part.tolist() for part in lengths] == [[len(b) for b in tree.branches] for tree in trees]


def test_over_long_prompts_keep_their_end_and_are_counted(caplog):
    tree = Tree(list(range(1, 101)), [[201] * 4, [202] * 10], keep_first=1)
    with caplog.at_level(logging.WARNING):
        (forest,) = plant([tree, Tree([7], [[8]])], max_path=30)
    assert forest.cut_tokens == 80
    assert "80 tokens cut" in caplog.text
    prompt = forest.input_ids[0, :20].tolist()
    assert prompt == [1, *range(82, 101)]
    # A tree split by the budget is cut the same, and counted once.
    assert sum(forest.cut_tokens for forest in plant([tree], 31, max_path=30)) == 80


def test_refuses_trees_it_cannot_lay_out():
    for tree in (Tree([1], []), Tree([1], [[2], []])):
        with pytest.raises(InputError, match="needs at least one branch"):
            plant([tree])
    with pytest.raises(InputError, match="leaves no room"):
        plant([Tree([1, 2], [[3] * 30])], max_path=30)


def test_nothing_to_plant():
    assert plant([]) == []
    assert by_tree([], [], []) == []
