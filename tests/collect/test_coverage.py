"""Play that prefers what was taken least often."""

import numpy as np
import pytest
from collect_fakes import HONESTY, SCORE, TowerGame

from pluralign.cli.collect import collect_trajectories
from pluralign.collect.chooser import PolicyChooser
from pluralign.collect.collector import collect
from pluralign.collect.coverage import CoverageChooser, VisitCounts
from pluralign.core import Decision, InputError, UniformPolicy
from pluralign.core.records import read_trajectories
from pluralign.games.harms import SCORE as POINTS
from pluralign.games.open import open_story


def _run(out, chooser=None, **changed):
    settings = {"episodes": 12, "seed": 3, "objectives": [SCORE, HONESTY], "batch": 4, "progress": False}
    return collect(TowerGame, chooser or CoverageChooser(5), out, **{**settings, **changed})


def test_probabilities_fall_with_visits():
    chooser = CoverageChooser()
    fork = Decision("A fork.", ("Left", "Right", "Back"))
    np.testing.assert_allclose(np.exp(chooser.log_probs([fork])[0]), 1 / 3)
    chooser.counts._visits[fork.key] = [3, 1, 1]
    np.testing.assert_allclose(np.exp(chooser.log_probs([fork])[0]), np.array([1, 2, 2]) / 5)
    needing = CoverageChooser(needed=2)
    needing.counts._visits[fork.key] = [3, 1, 1]
    np.testing.assert_allclose(np.exp(needing.log_probs([fork])[0]), np.array([0.1, 2, 2]) / 4.1)


def test_a_round_s_counts_are_those_of_the_rounds_before(tmp_path):
    chooser = CoverageChooser(5)
    _run(tmp_path / "t.jsonl", chooser)
    played = read_trajectories(tmp_path / "t.jsonl")
    again = CoverageChooser(5)
    for start in (0, 5, 10):
        for trajectory in played[start : start + 5]:
            for step in trajectory.steps:
                (known,) = again.log_probs([step.decision])
                if "log_prob" in step.info:
                    assert step.info["log_prob"] == pytest.approx(float(known[step.action]))
        again.start_round(played[start : start + 5])
    counted = VisitCounts()
    counted.add(played)
    assert chooser.counts.report() == counted.report()


def test_batch_and_interruption_change_nothing(tmp_path):
    _run(tmp_path / "whole.jsonl")
    whole = (tmp_path / "whole.jsonl").read_bytes()
    _run(tmp_path / "other.jsonl", batch=1)
    assert (tmp_path / "other.jsonl").read_bytes() == whole
    lines = whole.splitlines(keepends=True)
    for kept in (1, len(lines) // 3, len(lines) // 2, len(lines) - 1):
        (tmp_path / "cut.jsonl").write_bytes(b"".join(lines[:kept]))
        _run(tmp_path / "cut.jsonl")
        assert (tmp_path / "cut.jsonl").read_bytes() == whole
    with pytest.raises(InputError, match="round_size"):
        _run(tmp_path / "cut.jsonl", CoverageChooser(6))


def test_it_covers_more_of_a_story_than_random_play(tmp_path):
    story = open_story("salt_ledger")
    shares = {}
    for chooser in (CoverageChooser(), PolicyChooser(UniformPolicy())):
        out = tmp_path / f"{chooser.name}.jsonl"
        collect(story.make_game, chooser, out, episodes=60, seed=0, objectives=[POINTS], progress=False)
        counts = VisitCounts()
        counts.add(read_trajectories(out))
        shares[chooser.name] = counts.report().taken
    assert shares["coverage"] > 1.05 * shares["random"]


def test_the_verb_says_what_is_missing(tmp_path, capsys):
    figures = collect_trajectories(
        "salt_ledger", "coverage", tmp_path / "t.jsonl", episodes=5, objectives=("score",), need=3
    )
    told = capsys.readouterr().out
    assert f"{figures['coverage']['missing']} have fewer than 3 visits" in told
    assert figures["coverage"]["missing"] > 0
    with pytest.raises(InputError, match="needed"):
        CoverageChooser(needed=0)
