"""Experiments on how stories are played: coverage, and an intrinsic reward."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from small_story import write_story

import pluralign as pl
from pluralign.core.files import read_json
from pluralign.games.exact_front import exact_values

Script = Callable[[str], ModuleType]


@pytest.fixture
def story(tmp_path: Path) -> str:
    (tmp_path / "stories").mkdir()
    return str(write_story(tmp_path / "stories" / "toll"))


def test_shares_of_options(script: Script, tmp_path: Path, story: str) -> None:
    coverage = script("coverage")
    explored = coverage.Explored("salt_ledger")
    graph = explored.graph
    every = [[edge] for edge in range(len(graph.target))]
    assert all(shares[-1] == 1 for shares in explored.new(every).values())
    half = explored.new(every[: len(every) // 2])["states"]
    assert half[-1] == pytest.approx(0.5, abs=0.01)
    assert half == sorted(half)
    played = explored.at_random(30, 1)
    assert all(graph.target[own[-1]] == 0 for own in played)
    shares = explored.differing(played)
    assert shares["harm_avoidance"]["can"] == 1, "some option of each decision is worse in the end"
    assert shares["power_avoidance"]["can"] < 0.7 < shares["power_avoidance"]["seen"] < 1
    coverage.run(
        coverage.Settings(tmp_path / "w", (story,), seeds=2, episodes=(3, 5), most=40, results=tmp_path / "r")
    )
    found = read_json(tmp_path / "r" / "coverage.json")
    rows, differing = found["taken"], found["differing"]
    assert len(rows) == 2 * 4
    assert [row["objective"] for row in differing] == list(coverage.OBJECTIVES)
    random = next(row for row in rows if row["way"] == "random")
    assert random["random"]["mean"] <= 3
    assert random["3"]["mean"] <= random["5"]["mean"] <= 1


def test_a_judge_who_knows_ranks_by_worth(script: Script, tmp_path: Path, story: str) -> None:
    intrinsic = script("intrinsic_drrn")
    judged = intrinsic.Judged("salt_ledger")
    graph = judged.graph
    values = exact_values(graph, pl.UniformPolicy(), [judged.score])[:, 0]
    start = graph.decisions[graph.decision_of[graph.start]]
    edges = slice(graph.first[graph.start], graph.first[graph.start + 1])
    worth = graph.rewards([judged.score])[edges, 0] + values[graph.target[edges]]
    (ranks,) = judged.ranks([start], 1.0, 0)
    assert np.argsort(ranks).tolist() == np.argsort(worth).tolist()
    assert (ranks.min(), ranks.max()) == (-1, 1)
    some = judged.ranks(graph.decisions, 0.5, 0)
    assert 0.3 < np.mean([own is None for own in some]) < 0.7
    intrinsic.run(
        intrinsic.Settings(
            tmp_path / "w", tmp_path / "f", "tiny-random", (story,), seeds=2, steps=(120,), warm_up=60,
            results=tmp_path / "r",
        )
    )  # fmt: skip
    rows = read_json(tmp_path / "r" / "intrinsic_drrn.json")
    assert [row["way"] for row in rows] == list(intrinsic.WAYS)
    assert "more" not in rows[0]
    assert "more" in rows[1]


def test_figures_of_trainings_are_compared_with_scores(script: Script, tmp_path: Path, story: str) -> None:
    mismatch = script("mismatch")
    settings = mismatch.Settings(
        tmp_path / "w", tmp_path / "f", "tiny-random", (story,), seeds=2, episodes=6, comparisons=12,
        steps=(1, 3), results=tmp_path / "r",
    )  # fmt: skip
    mismatch.run(settings)
    found = read_json(tmp_path / "r" / "mismatch.json")
    rows = found["stories"]
    assert {row["method"] for row in rows} == {"cpl", "q", "expectile", "avril"}
    assert {row["stories"] for row in found["over_stories"]} == {1}
    assert all(row["runs"] == 6 and len(row["values"]) == 6 for row in rows)
