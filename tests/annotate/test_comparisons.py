from collections import Counter

import pytest
from collect_fakes import SCORE, HashPolicy, TowerGame

from pluralign.annotate.comparisons import make_comparisons
from pluralign.collect.roll_out import roll_out
from pluralign.core import Decision, InputError, Step, Trajectory, UniformPolicy
from pluralign.core.splits import SPLITS, split_of


@pytest.fixture(scope="module")
def trajectories():
    return list(roll_out(TowerGame, UniformPolicy(), episodes=80, seed=1, objectives=[SCORE]))


def trajectory(name, *actions, prompts=None):
    prompts = prompts or [f"step {i}" for i in range(len(actions))]
    steps = tuple(Step(Decision(p, ("a", "b", "c")), a) for p, a in zip(prompts, actions, strict=True))
    return Trajectory(name, "made up", "nobody", 0, steps, terminated=True)


def unordered(comparisons):
    return [frozenset((c.first.id, c.second.id)) for c in comparisons]


@pytest.mark.parametrize("length", [None, 1, 3])
def test_same_decision(trajectories, length):
    by_id = {t.id: t for t in trajectories}
    comparisons = make_comparisons(trajectories, count=300, seed=0, length=length)
    assert len(comparisons) == 300
    assert len(set(unordered(comparisons))) == 300
    for c in comparisons:
        assert c.first.trajectory_id != c.second.trajectory_id
        assert c.first.steps[0].decision == c.second.steps[0].decision
        assert c.first.steps[0].action != c.second.steps[0].action
        for s in (c.first, c.second):
            whole = by_id[s.trajectory_id]
            assert s.steps == whole.steps[s.start : s.stop]
            end = len(whole.steps)
            assert s.stop == (end if length is None else min(s.start + length, end))


def test_decisions_are_covered_alike(trajectories):
    """The first floor is seen by all 80 episodes, the door with a key by few."""
    comparisons = make_comparisons(trajectories, count=200, seed=0, length=1)
    counts = Counter(c.first.steps[0].decision.prompt for c in comparisons)
    visits = Counter(s.decision.prompt for t in trajectories for s in t.steps)
    assert visits["Floor 0, with nothing, rested 0 times."] == 80
    assert counts["Floor 0, with nothing, rested 0 times."] <= 200 // len(counts) + 8
    rare = [p for p in counts if visits[p] <= 10]
    assert len(rare) >= 3
    rounds = sorted(counts.values())
    # Turns: all that are not used up have the same count, but for the round that is cut short.
    assert rounds[-1] - 1 in rounds or rounds[-1] in rounds[:-1]


def test_drawn_again_it_is_the_same_whatever_the_order(trajectories):
    one = make_comparisons(trajectories, count=50, seed=4)
    assert make_comparisons(trajectories[::-1], count=50, seed=4) == one
    assert make_comparisons(trajectories, count=50, seed=5) != one


def test_position_carries_nothing(trajectories):
    comparisons = make_comparisons(trajectories, count=600, seed=2)
    smaller_first = sum(c.first.id < c.second.id for c in comparisons)
    # Six standard deviations of a fair coin.
    assert abs(smaller_first - 300) < 6 * 600**0.5 / 2


def test_all_there_are_when_more_are_asked():
    three = [trajectory("x", 0), trajectory("y", 1), trajectory("z", 1)]
    found = make_comparisons(three, count=100, seed=0)
    assert set(unordered(found)) == {frozenset(("x:0:1", "y:0:1")), frozenset(("x:0:1", "z:0:1"))}
    assert len(found) == 2


def test_a_trajectory_is_not_compared_with_itself():
    loop = trajectory("loop", 0, 1, prompts=["same", "same"])
    with pytest.raises(InputError, match="nothing to compare in 1 trajectories"):
        make_comparisons([loop], count=5, seed=0)
    found = make_comparisons([loop, trajectory("other", 1, prompts=["same"])], count=50, seed=0)
    assert unordered(found) == [frozenset(("loop:0:2", "other:0:1"))]


def test_many_visits_are_listed_to_the_last_pair():
    many = [trajectory(f"t{i}", i % 2) for i in range(40)]
    found = make_comparisons(many, count=10_000, seed=0)
    assert len(found) == len(set(unordered(found))) == 20 * 20


def test_rare_actions_are_compared_too():
    many = [trajectory(f"t{i}", 0) for i in range(50)] + [trajectory(f"u{i}", 1) for i in range(50)]
    found = make_comparisons([*many, trajectory("rare", 2)], count=90, seed=0)
    assert 30 < sum("rare" in c.id for c in found) < 90


@pytest.mark.parametrize("length", [None, 2, 1000])
def test_any(trajectories, length):
    comparisons = make_comparisons(trajectories, count=150, seed=0, length=length, anchor="any")
    assert len(set(unordered(comparisons))) == len(comparisons) == 150
    sizes = {t.id: len(t.steps) for t in trajectories}
    for c in comparisons:
        assert c.first.trajectory_id != c.second.trajectory_id
        for s in (c.first, c.second):
            assert len(s.steps) == min(length or 10**9, sizes[s.trajectory_id])
    if length == 2:
        assert {c.first.start for c in comparisons} >= {0, 1, 2}


def test_any_stops_when_all_pairs_are_drawn():
    four = [trajectory(f"t{i}", 0) for i in range(4)]
    assert len(make_comparisons(four, count=100, seed=0, anchor="any")) == 6
    with pytest.raises(InputError, match="no group has two"):
        make_comparisons(four[:1], count=1, seed=0, anchor="any")


@pytest.mark.parametrize("anchor", ["same_decision", "any"])
def test_groups_are_not_mixed(trajectories, anchor):
    shares = (0.5, 0.25, 0.25)
    comparisons = make_comparisons(
        trajectories, count=200, seed=0, anchor=anchor, group=lambda n: split_of(n, shares=shares)
    )
    groups = [{split_of(s.trajectory_id, shares=shares) for s in (c.first, c.second)} for c in comparisons]
    assert all(len(g) == 1 for g in groups)
    assert set().union(*groups) == set(SPLITS)
    for name in SPLITS:
        share = sum(split_of(t.id, shares=shares) == name for t in trajectories) / len(trajectories)
        # Exact turns for the one, five standard deviations of a fair draw for the other.
        slack = 2 if anchor == "same_decision" else 5 * (200 * share * (1 - share)) ** 0.5
        assert abs(groups.count({name}) - 200 * share) <= slack


@pytest.mark.parametrize("changed", [{"count": 0}, {"length": 0}, {"seed": -1}])
def test_bad_arguments(trajectories, changed):
    with pytest.raises(InputError):
        make_comparisons(trajectories, **{"count": 1, "seed": 0, **changed})


def test_ids_must_differ():
    with pytest.raises(InputError, match="id 'x'"):
        make_comparisons([trajectory("x", 0), trajectory("x", 1)], count=1, seed=0)


def test_suffixes_from_one_state_differ_in_return_as_in_regret():
    """The reason for the default length: V*(s) is the same for both, so it cancels."""
    played = list(roll_out(TowerGame, HashPolicy(), episodes=60, seed=1, objectives=[SCORE]))
    played += list(roll_out(TowerGame, UniformPolicy(), episodes=60, seed=1, objectives=[SCORE]))

    def best(game):
        """V* by exhaustive search."""
        if game.decision is None:
            return 0.0
        return max(q(game, a) for a in range(len(game.decision.options)))

    def q(game, action):
        state = game.save()
        reward = SCORE.reward(game.choose(action))
        value = reward + best(game)
        game.restore(state)
        return value

    def regrets(trajectory):
        game = TowerGame()
        found = []
        for step in trajectory.steps:
            found.append(best(game) - q(game, step.action))
            game.choose(step.action)
        return found

    by_id = {t.id: regrets(t) for t in played}
    for c in make_comparisons(played, count=40, seed=0):
        of_return = c.first.returns()["score"] - c.second.returns()["score"]
        of_regret = sum(by_id[c.second.trajectory_id][c.second.start :]) - sum(
            by_id[c.first.trajectory_id][c.first.start :]
        )
        assert of_return == pytest.approx(of_regret, abs=1e-9)
