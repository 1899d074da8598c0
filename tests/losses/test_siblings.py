"""Advantages over the options that other episodes took at the same decision, and over other tokens."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pluralign.losses.siblings import advantage_weights, sibling_advantages, token_advantages


def test_every_option_once_gives_the_advantage_of_uniform_play():
    returns = torch.tensor([3.0, 5.0, 10.0, -1.0], dtype=torch.float64)
    decisions, actions = torch.tensor([7, 7, 7, 2]), torch.tensor([0, 2, 1, 0])
    found = sibling_advantages(decisions, actions, returns)
    assert found.tolist() == [-3, -1, 4, 0]
    moved = sibling_advantages(decisions, actions, returns + 1000)
    torch.testing.assert_close(moved, found)


def test_siblings_count_as_often_as_they_were_taken_or_alike():
    decisions, actions = torch.zeros(4, dtype=torch.int64), torch.tensor([0, 0, 0, 1])
    returns = torch.tensor([1.0, 2.0, 3.0, 10.0])
    assert sibling_advantages(decisions, actions, returns).tolist() == [-2, -2, -2, 6]
    assert sibling_advantages(decisions, actions, returns, weighted=False).tolist() == [-4, -4, -4, 4]
    scaled = sibling_advantages(decisions, actions, returns, weighted=False, scale=True)
    torch.testing.assert_close(scaled, torch.tensor([-1.0, -1.0, -1.0, 1.0]), rtol=1e-4, atol=0)


def test_a_lone_option_has_no_advantage():
    found = sibling_advantages(torch.tensor([0, 0]), torch.tensor([1, 1]), torch.tensor([0.1, 0.7]))
    assert found.tolist() == [0, 0]
    scaled = sibling_advantages(torch.tensor([0]), torch.tensor([1]), torch.tensor([0.1]), scale=True)
    assert scaled.tolist() == [0]


def test_weights_grow_with_the_advantage_up_to_a_limit():
    weights = advantage_weights(torch.tensor([-1.0, 0.0, 1.0, 1000.0]), beta=0.5)
    assert weights.tolist() == pytest.approx([0.1353, 1, 7.3891, 100], rel=1e-3)


def test_a_full_tree_of_tokens_gives_q_minus_v():
    # Two tokens, each 7 or 9: the mean of each subtree minus the mean of all, then the leaf minus its pair.
    paths, rewards = (
        [[7, 7], [7, 9], [9, 7], [9, 9]],
        torch.tensor([1.0, 3.0, 6.0, 10.0], dtype=torch.float64),
    )
    advantages, branching = token_advantages(paths, rewards)
    assert advantages.tolist() == [-3, -1, -3, 1, 3, -2, 3, 2]
    assert bool(branching.all())
    moved, _ = token_advantages(paths, rewards + 1000)
    torch.testing.assert_close(moved, advantages)


def test_tokens_without_siblings_have_no_advantage():
    # A shared beginning, a fork, and one sample's end against the other's next token.
    paths = [[1, 2, 3, 4], [1, 2, 5, 6, 4], [1, 2, 5, 4]]
    advantages, branching = token_advantages(paths, torch.tensor([0.0, 1.0, 5.0]))
    assert branching.tolist() == [False, False, True, False, *[False, False, True, True, False],
                                  *[False, False, True, True]]  # fmt: skip
    # Means through 3 and 5 are 0 and 3, of all 2; then 1 and 5 against their mean 3.
    assert advantages.tolist() == [0, 0, -2, 0, 0, 0, 1, -2, 0, 0, 0, 1, 2]
    alike, _ = token_advantages(paths, torch.tensor([0.0, 1.0, 5.0]), weighted=False)
    assert alike[2].item() == -1.5
    scaled, _ = token_advantages(paths, torch.tensor([0.0, 1.0, 5.0]), weighted=False, scale=True)
    assert scaled[[2, 7, 12]].tolist() == pytest.approx([-1, -1, 1], rel=1e-3)
    alone, none = token_advantages([[1, 2], [1, 2]], torch.tensor([0.0, 1.0]))
    assert alone.tolist() == [0, 0, 0, 0]
    assert not bool(none.any())


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.lists(st.integers(0, 2), max_size=4), st.integers(-5, 5)), min_size=1, max_size=12)
)
def test_advantages_of_a_sample_add_up_to_its_own(samples):
    paths, rewards = (
        [[*path, 9] for path, _ in samples],
        torch.tensor([float(r) for _, r in samples]).double(),
    )
    advantages, branching = token_advantages(paths, rewards)
    sums = [float(own.sum()) for own in advantages.split([len(path) for path in paths])]
    for path, found in zip(paths, sums, strict=True):
        same = [float(r) for other, r in zip(paths, rewards, strict=True) if other == path]
        assert found == pytest.approx(sum(same) / len(same) - float(rewards.mean()), abs=1e-9)
    assert bool((advantages[~branching] == 0).all())
