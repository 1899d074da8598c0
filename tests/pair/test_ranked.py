"""Lists of completions: levels that do not depend on units, and counts of what is left out."""

import math

import pytest

import pluralign as pl
from pluralign.core import InputError
from pluralign.data.examples import RankedCompletions, ScoredCompletion
from pluralign.pair.ranked import rank_completions, win_shares


def scored(prompt, **rewards):
    return [ScoredCompletion(prompt, text, reward, "o") for text, reward in rewards.items()]


def test_shares_of_wins_are_between_0_and_1_and_ties_count_half():
    assert win_shares([3.0, -1.0]) == [1.0, 0.0]
    assert win_shares([1.0, 5.0, 3.0]) == [0.0, 1.0, 0.5]
    assert win_shares([2.0, 2.0, 2.0]) == [0.5, 0.5, 0.5]
    assert win_shares([1.0, 1.0, 0.0]) == [0.75, 0.75, 0.0]
    # Another unit and another prompt's level of rewards change nothing.
    assert win_shares([100 + 7 * r for r in (1.0, 5.0, 3.0)]) == win_shares([1.0, 5.0, 3.0])


def test_each_prompt_gives_one_list_best_first():
    rows = [*scored("p", a=1, b=4, c=2, d=9), *scored("q", a=5, b=-2, c=0), *scored("r", a=1, b=2)]
    found = rank_completions(rows, 3)
    assert list(found) == [
        RankedCompletions("p", ("b", "c", "a"), (1.0, 0.5, 0.0), "o"),
        RankedCompletions("q", ("a", "c", "b"), (1.0, 0.5, 0.0), "o"),
    ]
    assert found.counts == {
        "completions": 9, "repeated": 0, "short": 1, "surplus": 1, "tied": 0, "lists": 2, "lists_train": 2,
        "lists_validation": 0, "lists_test": 0,
    }  # fmt: skip


def test_a_repeated_completion_is_one_with_its_mean_reward():
    rows = [*scored("p", a=1, b=2), ScoredCompletion("p", "a", 5.0, "o"), *scored("q", a=1, b=1)]
    found = rank_completions(rows, 2)
    assert [row.completions for row in found] == [("a", "b")]
    assert (found.counts["repeated"], found.counts["tied"]) == (1, 1)


def test_levels_of_your_own():
    found = rank_completions(scored("p", a=0.25, b=0.5), 2, levels=list)
    assert found[0].levels == (0.5, 0.25)


def test_the_template_stays_with_the_lists():
    messages = [{"role": "user", "content": "hi"}]
    rows = [{"prompt": messages, "completion": text, "reward": i} for i, text in enumerate("ab")]
    loaded = pl.load_scored(rows, "o", "train")
    assert loaded.template is not None
    assert rank_completions(loaded, 2).template == loaded.template


def test_refusals():
    rows = scored("p", a=1, b=2)
    for wrong in (1, 0, 2.5, "x", None):
        with pytest.raises(InputError, match="field 'size'"):
            rank_completions(rows, wrong)
    with pytest.raises(InputError, match="no prompt has 3 different completions with different rewards"):
        rank_completions(rows, 3)
    with pytest.raises(InputError, match="no prompt has 2"):
        rank_completions([], 2)
    with pytest.raises(InputError, match="expected a completion with its reward"):
        rank_completions([*rows, 3], 2)
    with pytest.raises(InputError, match=r"row 3.*'reward'.*must be finite, found nan"):
        rank_completions([*rows, ScoredCompletion("p", "c", math.nan, "o")], 2)
    with pytest.raises(InputError, match="of one objective, found several"):
        rank_completions([*rows, ScoredCompletion("p", "c", 1.0, "other")], 2)
    with pytest.raises(InputError, match="the prompt 'p' is in several splits"):
        rank_completions([*rows, ScoredCompletion("p", "c", 1.0, "o", "test")], 2)
    for completions, levels, message in (
        (("a",), (1.0,), "expected two or more, found 1"),
        (("a", "b"), (1.0,), "one for each of 2 completions, found 1"),
        (("a", "b"), (1.5, 0.0), "must be from 0 to 1, found 1.5"),
        (("a", "b"), (math.nan, 0.0), "must be from 0 to 1, found nan"),
    ):
        with pytest.raises(InputError, match=message):
            RankedCompletions("p", completions, levels)
