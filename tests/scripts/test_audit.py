"""The experiment on audits: agents that are planned for known weightings."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import pluralign as pl
from pluralign.core.files import read_json
from pluralign.games.exact_front import exact_front
from pluralign.games.state_graph import explore

Script = Callable[[str], ModuleType]


def test_agents_of_known_weights(script: Script, tmp_path: Path) -> None:
    audit = script("audit")
    settings = audit.Settings(tmp_path, tmp_path, "", stories=("salt_ledger",), seeds=1, steps=2, episodes=3)
    audit.run(settings)
    rows = read_json(tmp_path / "audit.json")["agents"]
    assert len(rows) == 6
    own = {row["weight"]: row for row in rows if row["grounding"] == "own continuation"}
    assert own[0.0]["mean"] < own[0.5]["mean"] < own[1.0]["mean"]
    assert abs(own[0.5]["mean"] - 0.5) < 0.2
    assert "best returns" in (tmp_path / "audit.md").read_text("utf-8")


def test_best_returns_are_those_of_the_exact_front(script: Script) -> None:
    audit = script("audit")
    story = pl.open_story("salt_ledger")
    graph = explore(story.make_game())
    objectives = [story.info.objective(name) for name in audit.OBJECTIVES]
    rewards = graph.rewards(objectives)
    edges = slice(graph.first[graph.start], graph.first[graph.start + 1])
    best = [audit.best_returns(graph, rewards[:, k])[edges].max() for k in range(2)]
    assert best == pytest.approx(exact_front(graph, objectives).best.tolist())
    # An agent that is decided enough attains nearly the best return of its only objective.
    returns, policy = audit.plan(graph, rewards, np.array([500.0, 0.0]), np.ones(2))
    assert policy[edges] @ returns[edges, 0] == pytest.approx(best[0], rel=1e-3)
