"""Offline Q-learning on the command line: from recorded episodes to a steered story."""

import pytest

from pluralign.cli.evaluate import evaluate_play
from pluralign.cli.learn import OptionRun
from pluralign.cli.learn_q import learn_q
from pluralign.collect.chooser import PolicyChooser
from pluralign.collect.collector import collect
from pluralign.core import InputError, SteeringWeights, UniformPolicy
from pluralign.evaluate.sweeps.story import sweep_story
from pluralign.games.harms import HARM_AVOIDANCE, SCORE
from pluralign.games.open import open_story
from pluralign.learn.options.q import QConfig
from pluralign.options.open import Models
from pluralign.serve.story import StoryPlayer

SHORT = QConfig(steps=5, hidden=4, heads=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Random play, and values of any weights."""
    folder = tmp_path_factory.mktemp("q")
    story = open_story("salt_ledger")
    collect(
        story.make_game, PolicyChooser(UniformPolicy()), folder / "t.jsonl", episodes=4, seed=0,
        objectives=[SCORE, HARM_AVOIDANCE], progress=False,
    )  # fmt: skip
    learn_q(_run(folder, "q"), config=SHORT)
    return folder


def _run(folder, name):
    return OptionRun(folder / "t.jsonl", folder / name, "tiny-random", folder / "features")


def test_it_reports_what_the_agent_expects_and_what_it_gets(folder, capsys):
    figures = learn_q(_run(folder, "q"), config=SHORT)
    assert set(figures["values"]) == {"score", "harm_avoidance"}
    told = capsys.readouterr().out
    assert "score                   expects" in told
    assert -33 <= figures["values"]["harm_avoidance"]["exact"] <= 0


def test_objectives_are_those_of_the_file(folder):
    with pytest.raises(InputError, match="unknown objective 'charm'"):
        learn_q(_run(folder, "other"), objectives=("charm",), config=SHORT)
    with pytest.raises(InputError, match="must be one of score, found 'harm_avoidance'"):
        learn_q(_run(folder, "other"), objectives=("score",), objective="harm_avoidance", config=SHORT)
    assert not (folder / "other").exists()


def test_one_folder_is_swept_played_and_served_for_every_weighting(folder):
    models = Models("tiny-random", folder / "features")
    both = dict.fromkeys(("score", "harm_avoidance"), folder / "q")
    swept = sweep_story(both, "salt_ledger", steps=2, episodes=2, models=models, say=lambda text: None)
    assert [point.weights["score"] for point in swept.points] == [0, 0.5, 1]
    assert swept.report.mixture == "agents' values"
    told = evaluate_play(
        "salt_ledger", policies=tuple(f"{n}={p}" for n, p in both.items()),
        weights="score=0.5,harm_avoidance=0.5", episodes=2, features=folder / "features",
    )  # fmt: skip
    assert told["episodes"] == 2


def test_a_served_story_follows_the_weights(folder):
    from pluralign.options.open import load_agents

    models = Models("tiny-random", folder / "features")
    both = load_agents(dict.fromkeys(("score", "harm_avoidance"), folder / "q"), models)
    player = StoryPlayer(open_story("salt_ledger").make_game, both)
    found = [
        player._play([], SteeringWeights(score=w, harm_avoidance=1 - w))["mixed"] for w in (0.0, 0.5, 1.0)
    ]
    assert all(sum(row) == pytest.approx(1) for row in found)
    # At the ends it is the agent of one objective.
    ends = player._play([], SteeringWeights(score=1.0, harm_avoidance=0.0))
    assert ends["mixed"] == pytest.approx(ends["probabilities"]["score"])


def test_another_reference_needs_its_backup(folder):
    with pytest.raises(InputError, match="given together or not at all"):
        learn_q(_run(folder, "r"), config=SHORT, reference=folder / "q")
