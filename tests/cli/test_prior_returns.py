"""Mean returns from few episodes and a prior value."""

import json

import numpy as np
import pytest

import pluralign as pl
from pluralign.cli.collect import collect_trajectories
from pluralign.core import InputError
from pluralign.evaluate.play import evaluate_policy
from pluralign.evaluate.prior_returns import expected_returns, fused_returns
from pluralign.learn.options.q import QConfig, belief, fit_q
from pluralign.options.open import Models


@pytest.fixture(scope="module")
def played():
    story = pl.open_story("salt_ledger")
    objectives = story.info.select(("score", "harm_avoidance"))
    result = evaluate_policy(story.make_game, pl.UniformPolicy(), episodes=8, seed=0, objectives=objectives)
    return story, objectives, result


def test_the_prior_is_believed_within_a_standard_error_and_hardly_far_off(played):
    _, _, result = played
    own = np.array(result.episode_returns["score"])
    error = own.std(ddof=1) / 8**0.5
    for gap, believed in ((0.5, 0.0), (2.0, 1 - 1 / 4), (-10.0, 1 - 1 / 100)):
        found = fused_returns(result, {"score": own.mean() + gap * error})["score"]
        # The share of the way from the prior to the mean.
        assert (found.fused - found.prior) / (found.mean - found.prior) == pytest.approx(believed)
        assert found.mean == pytest.approx(own.mean())
    both = fused_returns(result, {"score": 300.0, "harm_avoidance": -14.0, "other": 1.0})
    assert list(both) == ["score", "harm_avoidance"]
    with pytest.raises(InputError, match="'prior': has values of other"):
        fused_returns(result, {"other": 1.0})


def test_the_verb_fuses_with_learned_values(played, run, refuses, tmp_path, capsys):
    story, objectives, result = played
    store = Models("tiny-random").store
    episodes = list(
        pl.roll_out(story.make_game, pl.UniformPolicy(), episodes=5, seed=0, objectives=objectives)
    )
    values = fit_q(episodes, store=store, out=tmp_path / "q", objectives=objectives, objective="score",
                   config=QConfig(steps=3, heads=1), seed=0)  # fmt: skip
    expected = expected_returns(values, story.make_game, episodes=8, seed=0)
    assert expected == pytest.approx(belief(values, [episodes[0].steps[0].decision]))
    figures = tmp_path / "f.json"
    command = (
        "evaluate",
        "play",
        "--story",
        "salt_ledger",
        "--policy",
        "random",
        "--episodes",
        8,
        "--seed",
        0,
    )
    assert run(*command, "--prior", tmp_path / "q", "--json", figures) == 0
    assert "which is not the policy that plays" in capsys.readouterr().out
    assert json.loads(figures.read_text())["prior_of_another_policy"] is True
    fused = json.loads(figures.read_text())["fused"]["score"]
    assert fused["fused"] == pytest.approx(fused_returns(result, expected)["score"].fused, rel=1e-6)
    assert "prior" in refuses(*command, "--objectives", "power_avoidance", "--prior", tmp_path / "q")
    collect_trajectories("salt_ledger", "random", tmp_path / "t.jsonl", episodes=1, objectives=("score",))
    assert "card" in refuses(*command, "--prior", tmp_path)
    itself = ("evaluate", "play", "--story", "salt_ledger", "--policy", tmp_path / "q", "--episodes", 2)
    capsys.readouterr()
    assert run(*itself, "--prior", tmp_path / "." / "q", "--json", figures) == 0
    assert "not the policy that plays" not in capsys.readouterr().out
    assert json.loads(figures.read_text())["prior_of_another_policy"] is False
