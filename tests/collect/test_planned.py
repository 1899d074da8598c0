"""Play that plans through the states seen so far to options that were taken too rarely."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from collect_fakes import HONESTY, SCORE, TowerGame

from pluralign.cli.collect import collect_trajectories
from pluralign.collect.chooser import Choice
from pluralign.collect.collector import collect
from pluralign.collect.coverage import CoverageChooser, VisitCounts
from pluralign.collect.open import open_chooser
from pluralign.collect.planned import PlannedCoverage
from pluralign.collect.roll_out import play
from pluralign.core import Decision, InputError
from pluralign.core.records import read_trajectories
from pluralign.games.open import open_story
from pluralign.games.state_graph import explore


class Stair(TowerGame):
    """Steps 0 to 9 with one page for all: up leads on, down out."""

    def reset(self, seed=0):
        self.state = 0

    @property
    def decision(self):
        return None if self.state is None else Decision("A step.", ("Up.", "Down."))

    text = "On."

    def choose(self, action):
        self.state = None if action == 1 or self.state == 9 else self.state + 1
        return {}


def _run(out, chooser, game=TowerGame, **changed):
    settings = {"episodes": 12, "seed": 3, "objectives": [SCORE, HONESTY], "batch": 4, "progress": False}
    return collect(game, chooser, out, **{**settings, **changed})


def _pairs(game, trajectories):
    """Options of states in the order in which they were first taken, by episode."""
    one, seen, new = game(), set(), []
    for trajectory in trajectories:
        one.reset(trajectory.seed)
        before = len(seen)
        for step in trajectory.steps:
            seen.add((one.save(), step.action))
            one.choose(step.action)
        new.append(len(seen) - before)
    return seen, new


def toll():
    """A game of an Ink story, whose states are the same in each of its games."""
    return open_story(Path(__file__).parents[1] / "games" / "ink_stories" / "toll.json").make_game()


@pytest.mark.parametrize("game", [TowerGame, Stair, toll])
def test_every_episode_takes_an_option_that_was_needed_until_none_is_left(tmp_path, game):
    pairs = len(explore(game()).target)
    chooser = PlannedCoverage(game, unit="states")
    _run(tmp_path / "t.jsonl", chooser, game, episodes=pairs)
    seen, new = _pairs(game, read_trajectories(tmp_path / "t.jsonl"))
    assert len(seen) == pairs
    first = new.index(0) if 0 in new else len(new)
    assert all(new[:first])
    assert not any(new[first:])
    options, taken = chooser.state_options
    assert taken == options


def test_more_visits_are_planned_for(tmp_path):
    chooser = PlannedCoverage(Stair, unit="states", needed=3)
    _run(tmp_path / "t.jsonl", chooser, Stair, episodes=60)
    assert all(visits >= 3 for own in chooser._visits.values() for visits in own)
    assert sum(map(len, chooser._visits.values())) == 20


def test_options_of_decisions_are_needed_once_in_any_of_their_states(tmp_path):
    chooser = PlannedCoverage(Stair, unit="decisions", needed=2)
    chooser.start_round(())
    decision = Decision("A step.", ("Up.", "Down."))
    # Nothing has been met: both are needed.
    np.testing.assert_allclose(np.exp(_log_probs(chooser, 0, decision)), [0.5, 0.5])
    _replayed(chooser, [0, 0, 1])
    # "Down." lacks a visit wherever one is.
    assert _log_probs(chooser, 0, decision) == [None, 0.0]
    _replayed(chooser, [1])
    # Both were taken twice. Nobody has tried "Down." on the second step, to which the first "Up." leads.
    assert _log_probs(chooser, 0, decision) == [0.0, None]
    assert _log_probs(chooser, 1, decision) == [None, 0.0]


class Hall(Stair):
    """Two doors to one page; on the right, its first option leads to a corridor with a single way on."""

    def reset(self, seed=0):
        self.state = "door"

    @property
    def decision(self):
        pages = {
            "door": Decision("Two doors.", ("Left.", "Right.")),
            "corridor": Decision("A corridor.", ("On.",)),
            None: None,
        }
        return pages.get(self.state, Decision("A hall.", ("Leave.", "Stay.")))

    def choose(self, action):
        following = {"door": ("left", "right")[action], "right": ("corridor", None)[action]}
        self.state = following.get(self.state)
        return {}


def test_visits_are_not_planned_for_where_there_is_no_choice():
    chooser = PlannedCoverage(Hall, unit="decisions", needed=5)
    own = [[0, 0], [0, 1], [1, 0, 0], [1, 1]]
    episodes = {
        tuple(actions): next(
            play(Hall, _Given(actions), episodes=1, seed=0, objectives=[], max_steps=len(actions))
        )
        for actions in own
    }
    # All options of both pages have five visits; the corridor has one.
    chooser.start_round([episodes[0, 0]] * 4 + [episodes[0, 1]] * 4 + [episodes[1, 0, 0], episodes[1, 1]] * 3)
    assert chooser.counts.lacking(5) == []
    assert None not in _log_probs(chooser, "door", Decision("Two doors.", ("Left.", "Right.")))


def _log_probs(chooser, state, decision):
    """Log-probabilities of the options at a state; None for what is never taken."""
    found = [None] * len(decision.options)
    for seed in np.random.default_rng(0).integers(2**63, size=60).tolist():
        (choice,) = chooser.choose_at([state], [decision], [seed])
        found[choice.action] = choice.info["log_prob"]
    return found


class _Given:
    """Takes these options."""

    name, settings = "given", {}

    def __init__(self, actions):
        self.left = list(actions)

    def choose(self, decisions, seeds):
        return [Choice(self.left.pop(0)) for _ in decisions]


def _replayed(chooser, actions):
    given = _Given(actions)
    chooser.start_round(play(Stair, given, episodes=1, seed=0, objectives=[], max_steps=len(actions)))


def test_batch_and_interruption_change_nothing(tmp_path):
    def run(out, **changed):
        unit = changed.pop("unit", "decisions")
        _run(out, PlannedCoverage(TowerGame, unit=unit, round_size=2), **changed)

    run(tmp_path / "whole.jsonl")
    whole = (tmp_path / "whole.jsonl").read_bytes()
    run(tmp_path / "other.jsonl", batch=1)
    assert (tmp_path / "other.jsonl").read_bytes() == whole
    lines = whole.splitlines(keepends=True)
    for kept in (1, len(lines) // 3, len(lines) // 2, len(lines) - 1):
        (tmp_path / "cut.jsonl").write_bytes(b"".join(lines[:kept]))
        run(tmp_path / "cut.jsonl")
        assert (tmp_path / "cut.jsonl").read_bytes() == whole
    with pytest.raises(InputError, match="plan"):
        run(tmp_path / "cut.jsonl", unit="states")
    # What was written is what the file says: the probability of the choice in its state.
    steps = [step for one in read_trajectories(tmp_path / "whole.jsonl") for step in one.steps]
    assert all(step.info["log_prob"] <= 0 for step in steps)


def test_plans_cover_more_of_a_story_in_fewer_episodes(tmp_path):
    story = open_story("salt_ledger")
    taken = {}
    for name, chooser in {
        "planned": PlannedCoverage(story.make_game), "rounds": CoverageChooser()
    }.items():  # fmt: skip
        out = tmp_path / f"{name}.jsonl"
        collect(story.make_game, chooser, out, episodes=50, seed=0, objectives=[], progress=False)
        counts = VisitCounts()
        counts.add(read_trajectories(out))
        taken[name] = counts.report().taken
        assert counts.report() == chooser.counts.report()
    assert taken["planned"] > 1.04 * taken["rounds"]


def test_the_verb_plans_and_what_cannot_be_planned_is_refused(tmp_path, capsys):
    figures = collect_trajectories(
        "salt_ledger", "coverage", tmp_path / "t.jsonl", episodes=5, objectives=("score",), plan="states"
    )
    assert f"{figures['state_options_taken']} of {figures['state_options']} options of the states met" in (
        capsys.readouterr().out
    )

    class Dice(TowerGame):
        info = replace(TowerGame.info, random=True)

    with pytest.raises(InputError, match="'plan': 'tower' draws random numbers"):
        PlannedCoverage(Dice)
    with pytest.raises(InputError, match="'plan': is for the policy coverage, not random"):
        open_chooser("random", TowerGame, plan="states")
    with pytest.raises(InputError, match="needed"):
        PlannedCoverage(TowerGame, needed=0)
    with pytest.raises(InputError, match="is not of 'tower' as it is now"):
        PlannedCoverage(TowerGame).start_round(read_trajectories(tmp_path / "t.jsonl"))
