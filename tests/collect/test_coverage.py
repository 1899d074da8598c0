"""Play that prefers what was taken least often."""

import json

import numpy as np
import pytest
from collect_fakes import HONESTY, SCORE, TowerGame

from pluralign.cli.collect import collect_trajectories
from pluralign.collect.chooser import PolicyChooser
from pluralign.collect.collector import collect
from pluralign.collect.coverage import CoverageChooser, VisitCounts
from pluralign.collect.open import open_chooser
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


def test_a_finished_file_is_counted_whole(tmp_path):
    first = CoverageChooser(5)
    _run(tmp_path / "t.jsonl", first, episodes=13)
    counted = VisitCounts()
    counted.add(read_trajectories(tmp_path / "t.jsonl"))
    assert first.counts.report(3) == counted.report(3)
    # Nothing is left to play, and the last round of the file is not whole.
    for episodes in (13, 4):
        again = CoverageChooser(5)
        assert _run(tmp_path / "t.jsonl", again, episodes=episodes).new_episodes == 0
        assert again.counts.report(3) == counted.report(3)
        assert again.counts.lacking(3) == counted.lacking(3)


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
    lacking = figures["coverage"]["lacking"]
    assert len(lacking) == figures["coverage"]["missing"] > 5
    decisions = {
        step.decision.key: step.decision
        for one in read_trajectories(tmp_path / "t.jsonl")
        for step in one.steps
    }
    assert all(row["option"] in decisions[row["decision"]].options for row in lacking)
    assert [row["visits"] for row in lacking] == sorted(row["visits"] for row in lacking)
    for row in lacking[:5]:
        assert f"{row['option']!r} (decision {row['decision']}, {row['visits']} of 3 visits)" in told
    assert f"and {len(lacking) - 5} more" in told
    with pytest.raises(InputError, match="needed"):
        CoverageChooser(needed=0)


def test_the_size_of_rounds_is_a_setting_of_the_file(tmp_path):
    settings = {"episodes": 3, "objectives": ("score",)}
    collect_trajectories("salt_ledger", "coverage", tmp_path / "t.jsonl", round_size=1, **settings)
    header = json.loads((tmp_path / "t.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert header["settings"]["round_size"] == 1
    with pytest.raises(InputError, match="round_size"):
        collect_trajectories("salt_ledger", "coverage", tmp_path / "t.jsonl", **settings)
    assert open_chooser("coverage", TowerGame).settings["round_size"] == 10
    assert open_chooser("coverage", TowerGame, plan="states").settings["round_size"] == 1
    assert open_chooser("coverage", TowerGame, plan="states", round_size=4).settings["round_size"] == 4
    with pytest.raises(InputError, match="round_size"):
        open_chooser("coverage", TowerGame, round_size=0)


@pytest.mark.parametrize(("field", "given"), [("need", {"needed": 3}), ("round_size", {"round_size": 5})])
def test_settings_of_coverage_are_for_no_other_policy(field, given):
    with pytest.raises(InputError, match=f"'{field}': is for the policy coverage, not random"):
        open_chooser("random", TowerGame, **given)


@pytest.mark.parametrize("given", [{"temperature": 0.5}, {"mode": "number"}, {"re_asks": 1}])
@pytest.mark.parametrize("name", ["random", "coverage", "drrn"])
def test_settings_of_language_models_are_refused_for_other_policies(name, given):
    with pytest.raises(InputError, match=f"field '{next(iter(given))}': is for language models, not {name}"):
        open_chooser(name, TowerGame, **given)
