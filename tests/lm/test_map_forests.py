"""The loop over forests: each value comes back to the tree and branch that it was computed for."""

from functools import partial

import pytest
import torch

from pluralign.lm.completion_trees import CompletionTrees
from pluralign.lm.forest import Tree
from pluralign.lm.layers import forest_layers
from pluralign.lm.map_forests import forest_states, map_completions, map_forests
from pluralign.lm.tiny import make_tiny_model
from pluralign.lm.vocabulary import branch_log_probs

TREES = [Tree([1, 2, 3], [[4, 5], [6]]), Tree([7], [[8, 9, 10]]), Tree([1, 2], [[3], [4], [5, 6]])]


@pytest.fixture(scope="module")
def model():
    return make_tiny_model()


@pytest.mark.parametrize("budget", [1, 8, 4096])
def test_values_come_back_by_tree(model, budget):
    with torch.no_grad():
        found = map_forests(model, TREES, partial(branch_log_probs, model), token_budget=budget)
        alone = [
            torch.cat(
                map_forests(
                    model,
                    [Tree(tree.prompt_ids, [b]) for b in tree.branches],
                    partial(branch_log_probs, model),
                )
            )
            for tree in TREES
        ]
    assert [len(values) for values in found] == [2, 1, 3]
    for one, other in zip(found, alone, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


def test_a_function_may_read_inner_layers(model):
    states = partial(forest_layers, layers=[1])
    with torch.no_grad():
        inner = map_forests(model, TREES, lambda layers, forest: layers[0][forest.ends], states=states)
        (expected,) = (
            layers[0][forest.ends] for forest, layers in forest_states(model, TREES, states=states)
        )
    torch.testing.assert_close(torch.cat(inner), expected)


def test_completions_of_several_trees_come_back_in_their_own_order(model):
    """A prompt whose completions had to be cut apart, read backwards, before one that was not."""
    cut = CompletionTrees((Tree([1, 2], [[3, 4]]), Tree([2], [[5, 6, 7]])), ((1, 0), (0, 0)))
    whole = CompletionTrees((Tree([8], [[9], [10, 11]]),), ((0, 0), (0, 1)))
    ids = map_completions(
        model, [cut, whole],
        lambda _, forest: list(forest.input_ids[0, forest.places].split(forest.lengths.tolist())),
        token_budget=5,
    )  # fmt: skip
    assert [[branch.tolist() for branch in one] for one in ids] == [[[5, 6, 7], [3, 4]], [[9], [10, 11]]]


def test_nothing_gives_nothing(model):
    assert map_forests(model, [], partial(branch_log_probs, model)) == []
    assert map_completions(model, [], lambda _, forest: [None] * len(forest.ends)) == []
