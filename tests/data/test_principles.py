"""Principles in prompts."""

import pytest

from pluralign.core import Decision, InputError, Objective, PreferencePair, Segment, Step
from pluralign.data.principles import PRINCIPLED, principled_decision, principled_pairs, with_principle

KIND, TRUE = Objective("kind", "It is kind."), Objective("true", " It is true.\n")


def pair(objective):
    decision = Decision("Shall I tell her?", ("Yes.", "No."))
    chosen, rejected = (Segment(f"t{i}", 0, (Step(decision, i),)) for i in (0, 1))
    return PreferencePair(chosen, rejected, objective, rater="me", weight=0.8, split="test", margin=0.5)


def test_each_pair_has_its_own_principle_and_nothing_else_changes():
    found = principled_pairs([pair("kind"), pair("true")], [KIND, TRUE])
    for one, principle in zip(found, ("It is kind.", "It is true."), strict=True):
        (prompt, chosen), (other, rejected) = one.texts()
        assert prompt == other == f"Principle: {principle}\n\nShall I tell her?"
        assert (chosen, rejected) == ("Yes.", "No.")
        assert (one.objective, one.rater, one.weight, one.split, one.margin) == (
            PRINCIPLED,
            "me",
            0.8,
            "test",
            0.5,
        )
        assert one.chosen.trajectory_id == "t0"
    decision = principled_decision(Decision("Why?", ("a", "b")), "It is kind.")
    assert decision.prompt == with_principle("Why?", "It is kind.")


def test_an_objective_without_a_description_is_named():
    with pytest.raises(InputError, match="row 2, field 'objective': unknown objective 'true'; known: kind"):
        principled_pairs([pair("kind"), pair("true")], [KIND])
