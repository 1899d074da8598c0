"""Labels that random play does not meet, and labels of another story."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pluralign.core import Annotation, Comparison, Decision, InputError, Segment, Step
from pluralign.core.records import write_records
from pluralign.games.open import open_story

DEPTH = 30
"""Number of steps to the last choice; random play takes it once in two to this power."""

HIDDEN = Decision("At the top.", ("Look down.", "Sleep."))


def labelled(folder: Path, decision: Decision, head: str = "") -> Path:
    """A story of which one path is long, and a side file with one label."""
    rungs = "".join(
        f"*label rung{n}\nRung {n}.\n*choice\n  #Up.\n    *goto rung{n + 1}\n  #Let go.\n    *finish\n"
        for n in range(DEPTH)
    )
    top = f"*label rung{DEPTH}\nAt the top.\n*choice\n  #Look down.\n    *finish\n  #Sleep.\n    *finish\n"
    story = folder / "ladder"
    story.mkdir()
    (story / "startup.txt").write_text(f"*title Ladder\n*create n 1\n{head}{rungs}{top}", encoding="utf-8")
    first, second = (Segment(f"option-{decision.key}", a, (Step(decision, a),)) for a in (0, 1))
    header = {"objective": {"name": "calm", "description": "Calm."}, "rater": "judge:j"}
    labels = [Annotation(Comparison(first, second), "calm", "judge:j", "second")]
    write_records(folder / "calm.jsonl", "annotations", labels, header)
    side = folder / "judged.pluralign.json"
    side.write_text(json.dumps({"story": "ladder", "labels": ["calm.jsonl"]}), encoding="utf-8")
    return side


def test_labels_that_random_play_does_not_meet_are_accepted(tmp_path: Path) -> None:
    game = open_story(labelled(tmp_path, HIDDEN)).make_game()
    counts = [game.choose(0) for _ in range(DEPTH)]
    assert not any("judged.calm" in step for step in counts)
    assert game.choose(1) == {"judged.calm": 1.0}


def test_labels_of_a_story_whose_decisions_cannot_be_listed_are_accepted(tmp_path: Path) -> None:
    game = open_story(labelled(tmp_path, HIDDEN, "*rand n 1 6\n")).make_game()
    assert game.info.random


def test_labels_of_another_story_are_refused(tmp_path: Path) -> None:
    side = labelled(tmp_path, Decision("In a cellar.", ("Dig.", "Sleep.")))
    with pytest.raises(InputError, match=r"calm.jsonl: its labels fit no decision of 'ladder'"):
        open_story(side)
