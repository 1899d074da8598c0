"""Side files that name the objectives of their labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pluralign.core import Annotation, Comparison, InputError, Segment, Step
from pluralign.core.records import write_records
from pluralign.games.labelled.file import read_labelled_file, write_labelled_file
from pluralign.games.open import open_story

STORY = str(Path(__file__).parent / "ink_stories" / "toll.json")


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """A side file; of the first decision's two options the second is better, by two raters."""
    decision = open_story(STORY).make_game().decision
    assert decision is not None
    options = [Segment(f"option-{decision.key}", i, (Step(decision, i),)) for i in (0, 1)]
    for name in ("utilitarianism", "virtue"):
        header = {"objective": {"name": name, "description": "What is right."}, "rater": f"reward:{name}"}
        said = Annotation(Comparison(*options), name, f"reward:{name}", "second")
        write_records(tmp_path / f"{name}.jsonl", "annotations", [said], header)
    return tmp_path / "mine.pluralign.json"


def write(path: Path, *labels: Any) -> Path:
    path.write_text(json.dumps({"story": STORY, "labels": labels}), encoding="utf-8")
    return path


def test_a_label_has_the_name_that_the_file_gives_it(labelled: Path) -> None:
    named = {"file": "utilitarianism.jsonl", "objective": "utilitarian"}
    game = open_story(write(labelled, named, "virtue.jsonl")).make_game()
    assert [o.name for o in game.info.objectives[-2:]] == ["utilitarian", "judged_virtue"]
    counts = game.choose(1)
    # The count keeps the name of the objective that the rater was asked about.
    assert counts["judged.utilitarianism"] == 1.0
    assert game.info.objective("utilitarian").reward(counts) == 1.0
    before = json.loads(labelled.read_text())["labels"]
    write_labelled_file(read_labelled_file(labelled))
    assert json.loads(labelled.read_text())["labels"] == before


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([{"file": "virtue.jsonl"}], "field 'labels': must be a list of files or "),
        ([{"file": "virtue.jsonl", "objective": 1}], "field 'labels': must be a list of files or "),
        ([{"file": "virtue.jsonl", "objective": "Virtue"}], "field 'labels': objective name 'Virtue' must"),
        ([3], "field 'labels': must be a list of files or "),
        ([{"file": "virtue.jsonl", "objective": ""}], "field 'labels': objective name '' must"),
        (
            [{"file": f"{name}.jsonl", "objective": "right"} for name in ("virtue", "utilitarianism")],
            "utilitarianism.jsonl, field 'objective': the story has an objective 'right' already",
        ),
        (
            ["virtue.jsonl", {"file": "virtue.jsonl", "objective": "right"}],
            "virtue.jsonl, field 'objective': 'virtue' has labels already",
        ),
    ],
)  # fmt: skip
def test_names_that_are_refused(labelled: Path, labels: list[Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        open_story(write(labelled, *labels))
    assert message in str(caught.value)
