"""Comparison of searches: figures, files, continuation."""

from __future__ import annotations

import json

import pytest

import pluralign as pl
from pluralign.core import InputError
from pluralign.core.records import read_header, read_trajectories
from pluralign.evaluate import search
from pluralign.evaluate.search import compare_searches

HALF = pl.SteeringWeights(score=0.5, harm_avoidance=0.5)


@pytest.fixture(scope="module")
def story():
    return pl.open_story("salt_ledger")


@pytest.fixture(scope="module")
def found(story, tmp_path_factory):
    folder = tmp_path_factory.mktemp("search") / "out"
    return compare_searches(
        story, "exact", HALF, budgets=(20, 75), methods=("beam", "parallel"), seeds=3, folder=folder
    ), folder


def test_figures_of_exact_values_are_the_best(found):
    comparison, _ = found
    rows = {(row["method"], row["budget"]): row for row in comparison.rows()}
    assert set(rows) == {("beam", 20), ("beam", 75), ("parallel", 20), ("parallel", 75)}
    beam = rows["beam", 75]
    assert beam["worth"] == {"mean": pytest.approx(1.0)}
    assert beam["completion"] == {"mean": 0}
    assert rows["beam", 20]["completion"]["mean"] == rows["beam", 20]["calls"]["mean"] - 20 > 0
    parallel = rows["parallel", 75]
    assert parallel["seeds"] == 3
    assert 0 < parallel["worth"]["low"] < parallel["worth"]["mean"] < parallel["worth"]["high"] < 0.95
    assert beam["cut_off"] == 0


def test_the_plays_are_trajectories_that_learners_take(found, story):
    comparison, folder = found
    played = read_trajectories(folder / "trajectories.jsonl")
    assert [one.id for one in played][:3] == ["beam-20-0", "beam-75-0", "parallel-20-0"]
    assert len(played) == 8
    header = read_header(folder / "trajectories.jsonl", "trajectories")
    assert header["max_points"] == {"salt_ledger": story.info.max_points}
    assert [row["name"] for row in header["objectives"]] == ["score", "harm_avoidance"]
    assert played[0].returns() == comparison.sides[0].plays[0].trajectory.returns()


def test_files_say_what_was_found(found):
    comparison, folder = found
    comparison.save(folder)
    written = json.loads((folder / "search.json").read_text())
    assert written == json.loads(json.dumps(comparison.to_json()))
    assert written["attainable"][1] == pytest.approx(comparison.sides[1].plays[0].total)
    assert "| beam, 75 | 1.000 | 75 | 0.0 | 0 of 1 | 480.0 | -10.0 |" in (folder / "search.md").read_text()
    assert (folder / "search.svg").read_text().startswith("<?xml")


def test_an_interrupted_comparison_continues(story, tmp_path, monkeypatch):
    given = {"budgets": (30,), "methods": ("bavt",), "folder": tmp_path / "out"}
    played: list[int] = []
    whole = search.search_play

    def stops(*args, seed, **more):
        if len(played) == 2 and stops.breaks:
            raise KeyboardInterrupt
        played.append(seed)
        return whole(*args, seed=seed, **more)

    stops.breaks = True
    monkeypatch.setattr(search, "search_play", stops)
    with pytest.raises(KeyboardInterrupt):
        compare_searches(story, "exact", HALF, seeds=4, **given)
    stops.breaks = False
    found = compare_searches(story, "exact", HALF, seeds=4, **given)
    assert played == [0, 1, 2, 3]
    again = compare_searches(story, "exact", HALF, seeds=4, budgets=(30,), methods=("bavt",))
    assert found.to_json() == again.to_json()
    other = pl.SteeringWeights(score=0.6, harm_avoidance=0.4)
    with pytest.raises(InputError, match="was started with"):
        compare_searches(story, "exact", other, seeds=4, **given)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="is not empty"):
        compare_searches(story, "exact", HALF, folder=tmp_path / "full")


def test_a_game_without_exact_front_is_compared_by_sums(story, monkeypatch):
    told: list[str] = []
    values = search.ExactValues(search.walk(story.make_game(), print), story.info.select(list(HALF)))
    monkeypatch.setattr(search, "walk", lambda game, say: say("no exact front: too many"))
    found = compare_searches(story, values, HALF, budgets=[75], methods=["beam"], seeds=1, say=told.append)
    assert told == ["no exact front: too many"]
    assert found.to_json()["attainable"] is None
    assert found.columns[0] == "weighted sum"
    assert found.worth(found.sides[0].plays[0]) == found.sides[0].plays[0].total
    with pytest.raises(InputError, match="states cannot be explored"):
        compare_searches(story, "exact", HALF, say=told.append)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"budgets": []}, "budgets': expected one or more different ones"),
        ({"budgets": [75, 75]}, "budgets': expected one or more different ones"),
        ({"budgets": [0]}, "must be at least 1 and finite, found 0"),
        ({"methods": ["beam", "mcts"]}, "must be of beam, best-first, bavt, ved, parallel, found 'mcts'"),
        ({"seeds": 0}, "seeds"),
        ({"values": "learned"}, "expected values or 'exact', found 'learned'"),
        ({"weights": pl.SteeringWeights(fame=1.0)}, "fame"),
    ],
)
def test_wrong_arguments_are_refused_by_name(story, more, message):
    given = {"values": "exact", "weights": HALF, **more}
    with pytest.raises(InputError, match=message):
        compare_searches(story, **given)
