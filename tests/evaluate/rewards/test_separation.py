"""Separation: AUC within prompts, and edits that change style only."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pluralign.core import InputError
from pluralign.evaluate.rewards.separation import separation, separations, style_separation
from pluralign.evaluate.rewards.style_edits import (
    STYLE_EDITS,
    contractions,
    curly_quotes,
    double_spaces,
    leading_newline,
    lower_case,
    no_contractions,
    no_final_punctuation,
    other_leading_space,
)


def test_by_hand():
    # p: 2 > 1, 3 > 1, 1 = 1, three wins and a half tie of... pairs (1|2,3,1): 1, 1, 1/2; q: (5,0|2): 0, 1.
    first = {"p": [1.0], "q": [5.0, 0.0], "only here": [9.0]}
    second = {"q": [2.0], "p": [2.0, 3.0, 1.0], "only there": [0.0]}
    found = separation(first, second, names=("init", "sft"))
    assert found.auc.mean == pytest.approx(((1 + 1 + 0.5) / 3 + 0.5) / 2)
    assert (found.first, found.second, found.prompts, found.left_out) == ("init", "sft", 2, 2)
    # Across prompts the rewards would say otherwise: prompts are never mixed.
    shifted = {"p": [101.0], "q": [5.0, 0.0]}
    assert separation(shifted, {"p": [102.0, 103.0, 101.0], "q": [2.0]}).auc == found.auc


@given(
    st.lists(st.tuples(*[st.lists(st.integers(-3, 3), min_size=1, max_size=4)] * 2), min_size=2, max_size=6)
)
def test_exchanged_sources_give_the_complement(rows):
    first = {str(i): [float(v) for v in one] for i, (one, _) in enumerate(rows)}
    second = {str(i): [float(v) for v in other] for i, (_, other) in enumerate(rows)}
    there, back = separation(first, second), separation(second, first)
    assert there.auc.mean == pytest.approx(1 - back.auc.mean)
    assert there.auc.low == pytest.approx(1 - back.auc.high)
    # Only the order of rewards counts, not their scale.
    scaled = separation(
        *({k: [3 * v + 1 for v in own] for k, own in kind.items()} for kind in (first, second))
    )
    assert scaled.auc == there.auc
    assert separation(first, first).auc.mean == pytest.approx(0.5)


def test_the_interval_covers():
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(200):
        # P(second > first) of normals with means 0 and 1 is Phi(1 / sqrt(2)).
        drawn = rng.normal(size=(80, 2)) + np.array([0.0, 1.0])
        found = separation(
            *({str(i): [v] for i, v in enumerate(column)} for column in drawn.T), resamples=300, seed=trial
        ).auc
        covered += found.low <= 0.7602499 <= found.high
    assert 178 <= covered <= 199


def test_every_pair_in_order():
    sources = {name: {"p": [v], "q": [v]} for name, v in (("a", 1.0), ("b", 2.0), ("c", 0.0))}
    found = separations(sources)
    assert [(s.first, s.second, s.auc.mean) for s in found] == [("a", "b", 1), ("a", "c", 0), ("b", "c", 0)]
    with pytest.raises(InputError, match="two sources"):
        separations({"a": sources["a"]})


def test_styles_hold_each_text_against_itself():
    original = {"p": [1.0, 10.0], "q": [5.0, 5.0], "r": [0.0]}
    edited = {"p": [2.0, 9.0], "q": [6.0, None], "r": [None]}
    found = style_separation(original, edited, name="lower case")
    assert found.auc.mean == pytest.approx((0.5 + 1.0) / 2)
    assert (found.first, found.second, found.prompts, found.left_out) == ("original", "lower case", 2, 2)


def test_refusals():
    with pytest.raises(InputError, match="'init' and 'sft' share 1 prompts"):
        separation({"p": [1.0], "q": []}, {"p": [1.0], "q": [2.0]}, names=("init", "sft"))
    with pytest.raises(InputError, match="finite rewards of the answers to 'p'"):
        separation({"p": [1.0], "q": [1.0]}, {"p": [float("nan")], "q": [1.0]})
    with pytest.raises(InputError, match="for each original text"):
        style_separation({"p": [1.0, 2.0], "q": [1.0]}, {"p": [1.0], "q": [1.0]})
    with pytest.raises(InputError, match="share 0 prompts"):
        style_separation({"p": [1.0], "q": [1.0]}, {"p": [None], "q": [None]})


@pytest.mark.parametrize(
    ("edit", "before", "after"),
    [
        (lower_case, "I CAN'T, Ann.", "i can't, ann."),
        (no_final_punctuation, "Yes. No!?", "Yes. No"),
        (no_final_punctuation, 'He said "no." ', 'He said "no" '),
        (no_final_punctuation, "It is 3.5", "It is 3.5"),
        (curly_quotes, "\"I can't,\" ('he' said)", "“I can’t,” (‘he’ said)"),
        (no_contractions, "I can't and won't; it's Tom's.", "I cannot and will not; it is Tom's."),
        (no_contractions, "Don't go. I’m sure. WE'RE IN.", "Do not go. I am sure. WE ARE IN."),
        (no_contractions, "It's been long. Let's go.", "It has been long. Let us go."),
        (no_contractions, "Don't you? Isn't it?", "Don't you? Isn't it?"),
        (contractions, "I cannot, I do not say that I am.", "I cannot, I don't say that I am."),
        (contractions, "I can not go. I will not.", "I can't go. I will not."),
        (contractions, "It is so; I will see. I will not go.", "It's so; I'll see. I won't go."),
        (contractions, "We have two. We have been.", "We have two. We've been."),
        (double_spaces, "One. Two? (Three) e.g. four. 'Five.'", "One.  Two?  (Three) e.g. four.  'Five.'"),
        (other_leading_space, " a b", "a b"),
        (other_leading_space, "a b", " a b"),
        (leading_newline, " a", "\n a"),
        (leading_newline, "\na", "\na"),
    ],
)  # fmt: skip
def test_edits(edit, before, after):
    assert edit(before) == after


# What all edits together may touch: case, marks, quotes, spaces, and the letters of short and long forms.
@given(st.text(alphabet="abc XYZ.!?'\"\n()é", max_size=30))
def test_edits_leave_the_letters(text):
    letters = "".join(c for c in text.lower() if c.isalpha())
    for name, edit in STYLE_EDITS.items():
        found = edit(text)
        assert edit(text) == found
        assert "".join(c for c in found.lower() if c.isalpha()) == letters, name


def test_every_edit_edits():
    text = 'It\'s odd. "I do not know," he said.'
    changed = {name: edit(text) for name, edit in STYLE_EDITS.items()}
    assert len({*changed.values(), text}) == len(STYLE_EDITS) + 1
    # Each undoes nothing of what another did: once more changes nothing, but for the one that toggles.
    for name, edit in STYLE_EDITS.items():
        again = edit(changed[name])
        assert again == (text if name == "other leading space" else changed[name])
    assert all(edit("") in ("", " ", "\n") for edit in STYLE_EDITS.values())
