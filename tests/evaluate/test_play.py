"""Policies at play, and sweeps."""

import json
from collections.abc import Sequence
from importlib import util
from pathlib import Path

import numpy as np
import pytest

from pluralign.core import Decision, InputError, SteeringWeights, UniformPolicy, simplex_grid
from pluralign.evaluate.play import evaluate_policy
from pluralign.evaluate.statistics import paired_difference
from pluralign.evaluate.sweeps.stories import play_weightings, read_sweep
from pluralign.games.harms import HARM_AVOIDANCE, SCORE
from pluralign.games.random_play import play_digest

_spec = util.spec_from_file_location("evaluate_test_games", Path(__file__).with_name("_games.py"))
assert _spec is not None
assert _spec.loader is not None
_games = util.module_from_spec(_spec)
_spec.loader.exec_module(_games)
Till = _games.Till

OBJECTIVES = (SCORE, HARM_AVOIDANCE)
GRID = simplex_grid(["score", "harm_avoidance"], 4)


class Always:
    """Takes one option always."""

    def __init__(self, action: int, name: str) -> None:
        self.action, self.name = action, name

    def log_probs(self, decisions: Sequence[Decision]) -> list[np.ndarray]:
        return [np.where(np.arange(len(d.options)) == self.action, 0.0, -np.inf) for d in decisions]


FAIR, CHEAT = Always(0, "fair"), Always(1, "cheat")


def test_a_policy_gets_what_the_game_gives() -> None:
    result = evaluate_policy(Till, FAIR, episodes=5, seed=0, objectives=OBJECTIVES)
    assert (result.name, result.episodes, result.steps) == ("fair", 5, 15)
    assert result.returns["score"].mean == 3.0
    assert result.returns["score"].stderr == 0.0
    assert result.metrics["score"].mean == pytest.approx(25.0)  # 3 of 12 points
    assert result.metrics["violations"].mean == 0.0
    cheat = evaluate_policy(Till, CHEAT, episodes=200, seed=0, objectives=OBJECTIVES)
    assert cheat.returns["harm_avoidance"].mean == -3.0
    assert cheat.metrics["violations.deception"].mean == 3.0
    # Three draws of 2, 3 or 4: mean 9, variance 2, so a standard error of 0.1.
    assert cheat.returns["score"].mean == pytest.approx(9.0, abs=0.5)
    assert cheat.returns["score"].stderr == pytest.approx(0.1, rel=0.2)
    assert cheat.returns["score"].low < cheat.returns["score"].mean < cheat.returns["score"].high
    assert cheat.returns_array(["harm_avoidance", "score"]).shape == (200, 2)


def test_policies_play_the_same_episodes() -> None:
    first = evaluate_policy(Till, CHEAT, episodes=20, seed=3, objectives=OBJECTIVES)
    second = evaluate_policy(Till, Always(1, "other"), episodes=20, seed=3, objectives=OBJECTIVES)
    another = evaluate_policy(Till, CHEAT, episodes=20, seed=4, objectives=OBJECTIVES)
    assert first.episode_returns == second.episode_returns
    assert first.episode_returns != another.episode_returns
    assert paired_difference(first.episode_returns["score"], second.episode_returns["score"]).high == 0.0


def test_the_batch_changes_nothing() -> None:
    one = evaluate_policy(Till, UniformPolicy(), episodes=12, seed=0, objectives=OBJECTIVES, batch=1)
    many = evaluate_policy(Till, UniformPolicy(), episodes=12, seed=0, objectives=OBJECTIVES, batch=7)
    assert one == many


def test_bad_input_is_refused() -> None:
    with pytest.raises(InputError, match="two or more, found 1"):
        evaluate_policy(Till, FAIR, episodes=1, seed=0, objectives=OBJECTIVES)
    with pytest.raises(InputError, match="at least one objective"):
        evaluate_policy(Till, FAIR, episodes=2, seed=0, objectives=())


def run(path: Path | None = None, **changed: object) -> list:
    settings = {
        "episodes": 60,
        "seed": 0,
        "objectives": OBJECTIVES,
        "progress": False,
        "power": 1.0,
        "path": path,
        **changed,
    }
    policies = {"score": CHEAT, "harm_avoidance": FAIR}
    return play_weightings(Till, policies, GRID, **settings)


def test_a_sweep_goes_from_one_policy_to_the_other() -> None:
    points = run()
    assert [p.weights for p in points] == GRID
    fair, cheat = (
        evaluate_policy(Till, p, episodes=60, seed=0, objectives=OBJECTIVES) for p in (FAIR, CHEAT)
    )
    assert points[0].episode_returns == fair.episode_returns
    assert points[-1].episode_returns == cheat.episode_returns
    for point in points:
        # With weight w on the cheat each of three customers is cheated with probability w.
        w = point.weights["score"]
        spread = (3 * w * (1 - w) / 60) ** 0.5
        assert point.returns["harm_avoidance"] == pytest.approx(-3 * w, abs=4 * spread + 1e-9)
        assert point.stderr["harm_avoidance"] == pytest.approx(spread, rel=0.5, abs=1e-9)
        assert point.metrics["violations"].mean == pytest.approx(-point.returns["harm_avoidance"])


def test_a_sweep_is_written_as_it_goes_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "sweep.jsonl"
    whole = run(path)
    assert read_sweep(path) == whole
    lines = path.read_text().splitlines(keepends=True)
    assert len(lines) == 1 + len(GRID)
    path.write_text("".join(lines[:3]) + lines[3][:40])
    # Random play tells whether the story was changed.
    Till.begun = 0
    play_digest(Till())
    probed, Till.begun = Till.begun, 0
    assert run(path) == whole
    # Weights 1/2, 3/4 and 1 were still to play.
    assert Till.begun == 3 * 60 + probed
    assert path.read_text() == "".join(lines)
    Till.begun = 0
    run(path)
    assert Till.begun == probed


def test_a_file_of_another_sweep_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sweep.jsonl"
    run(path, episodes=2)
    for changed in ({"episodes": 3}, {"episodes": 2, "seed": 1}, {"episodes": 2, "power": 0.5}):
        with pytest.raises(InputError, match="choose another file"):
            run(path, **changed)
    with pytest.raises(InputError, match="'cards': was started with None"):
        run(path, episodes=2, cards={"score": "0af1"})
    other = tmp_path / "other.jsonl"
    other.write_text('{"pluralign": "pairs", "version": 1}\n')
    with pytest.raises(InputError, match="expected a sweep file"):
        run(other)
    empty = tmp_path / "empty.jsonl"
    empty.write_text("")
    with pytest.raises(InputError, match="is empty"):
        read_sweep(empty)


def test_a_broken_row_is_named(tmp_path: Path) -> None:
    path = tmp_path / "sweep.jsonl"
    run(path, episodes=2)
    lines = path.read_text().splitlines()
    row = json.loads(lines[2])
    row["weights"]["score"] = 3.0
    path.write_text("\n".join([*lines[:2], json.dumps(row), *lines[3:]]) + "\n")
    with pytest.raises(InputError, match=r"sweep\.jsonl:3: .*sum to 1"):
        read_sweep(path)


def test_bad_sweeps_are_refused() -> None:
    with pytest.raises(InputError, match="at least one weighting"):
        play_weightings(Till, {"score": FAIR}, [], episodes=2, seed=0, objectives=OBJECTIVES)
    with pytest.raises(InputError, match="unknown objective 'honesty'"):
        play_weightings(
            Till, {"score": FAIR}, [SteeringWeights(honesty=1.0)], episodes=2, seed=0, objectives=OBJECTIVES
        )
