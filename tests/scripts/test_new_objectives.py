"""Objectives invented after training: exact successor measures, and the experiment in small."""

import numpy as np
import pytest

import pluralign as pl
from pluralign.core.files import read_json, write_json
from pluralign.games.exact_front import exact_returns
from pluralign.games.state_graph import explore

TABLE = [[0, 0, 0], [1, 0, 0], [-10, 3, 5]]
FRONT = [[1.0, -1.0], [3.0, -3.0], [5.0, -4.0]]


@pytest.fixture
def parts(script):
    """The experiment and its two libraries."""
    experiment = script("new_objectives")
    from new_objectives_lib import measures
    from new_objectives_lib import problems as tables

    return experiment, measures, tables


def test_one_measure_gives_every_objective(parts):
    _, measures, tables = parts
    problem = tables.of_story("salt_ledger")
    shares = measures.uniform(problem)
    measure = measures.successor_operator(problem, shares)
    values = np.stack([measure @ own for own in problem.rewards.T], axis=1)
    start = slice(*problem.first[problem.start : problem.start + 2])
    # Returns of random play, by the house's own dynamic programming.
    story = pl.open_story("salt_ledger")
    objectives = [story.info.objective(name) for name in tables.OBJECTIVES]
    found = exact_returns(explore(story.make_game()), pl.UniformPolicy(), objectives)
    assert shares[start] @ values[start] == pytest.approx(list(found.objectives.values()), abs=1e-9)
    # The same for a policy that is planned: the measure's values are those of backward induction.
    steps = measures.plan(problem, problem.rewards[:, 0])
    taken = np.isin(np.arange(len(shares)), steps).astype(float)
    of_plan = measures.successor_operator(problem, taken)
    expected = measures.step_values(problem, steps)
    assert np.stack([of_plan @ own for own in problem.rewards.T], axis=1) == pytest.approx(expected, abs=1e-9)
    # Representations z of weighted objectives span as many directions as there are objectives.
    backward = measures.features(problem, 8)
    weights = np.random.default_rng(0).dirichlet(np.ones(3), size=20)
    assert np.linalg.matrix_rank(backward.T @ problem.rewards @ weights.T) <= 3
    assert backward.T @ backward == pytest.approx(np.eye(8), abs=1e-8)


def test_improvement_is_never_worse_than_its_policies(parts):
    _, measures, tables = parts
    problem = tables.deep_sea_treasure("sea", TABLE, FRONT, 0.9)
    rng = np.random.default_rng(0)
    plans = [measures.plan(problem, rng.normal(size=len(problem.owner))) for _ in range(5)]
    values = [measures.step_values(problem, steps) for steps in plans]
    for weights in (np.array([0.5, 0.5]), np.array([0.9, 0.1])):
        best = max(measures.returns(problem, steps) @ weights for steps in plans)
        assert measures.returns(problem, measures.improved(problem, values, weights)) @ weights >= best - 1e-9


def test_known_fronts(parts):
    _, measures, tables = parts
    problem = tables.deep_sea_treasure("sea", TABLE, FRONT, 0.9999)
    found = [
        measures.returns(problem, measures.plan(problem, problem.rewards @ [w, 1 - w])) for w in (0.1, 0.6)
    ]
    assert np.stack(found) == pytest.approx(np.array([FRONT[0], FRONT[2]]), abs=0.01)
    # Both resources can be brought home in 18 steps without meeting an enemy.
    gathering = tables.resource_gathering(np.zeros((1, 3)), 0.99)
    safe = [1000.0, 1.0, 1.0]
    reached = measures.returns(gathering, measures.plan(gathering, gathering.rewards @ safe))
    assert reached == pytest.approx([0.0, 0.99**18, 0.99**18])
    tree = tables.fruit_tree([[1, 0], [0, 1], [2, 2], [0, 3]])
    assert measures.returns(tree, measures.plan(tree, tree.rewards @ [0.5, 0.5])) == pytest.approx([2, 2])


def test_new_objectives(parts, tmp_path, monkeypatch):
    experiment, _, tables = parts
    write_json(tmp_path / "data" / "morl_fronts" / "morl_reference_fronts.json", {})
    sea = tables.deep_sea_treasure("sea", TABLE, FRONT, 0.9)
    monkeypatch.setattr(experiment, "problems", lambda *_: [sea])
    experiment.run(
        experiment.Settings(
            tmp_path / "data",
            tmp_path / "out",
            features=(2,),
            most=1.0,
            policies=(2,),
            seeds=2,
            results=tmp_path,
        )
    )
    rows = read_json(tmp_path / "new_objectives.json")
    planned, *rest = rows
    assert all(row["front"] <= planned["front"] + 1e-9 for row in rest)
    # Two features lose much of what plans reach, as many features as there are directions lose nothing.
    few, all_of_them, *_ = (row for row in rest if row["way"] == experiment.FEATURES)
    assert few["front"] < planned["front"] - 0.1
    assert all_of_them["front"] == pytest.approx(planned["front"])
    assert min(all_of_them["seen"]) > 0.99 > max(few["seen"])
    assert "| sea | planned for each weighting |" in (tmp_path / "new_objectives.md").read_text()
