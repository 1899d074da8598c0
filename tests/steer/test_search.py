"""Search over saved states: optima that are known, budgets that are kept, bad arguments."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from search_games import GAIN, ONLY, Fixed, Noisy, TableGame
from small_story import write_story

import pluralign as pl
from pluralign.core import InputError, SteeringWeights
from pluralign.games.state_graph import explore
from pluralign.steer.search.orders import Bavt, Beam
from pluralign.steer.search.play import METHODS, search_play
from pluralign.steer.search.values import ExactValues

SEARCHES = tuple(method for method in METHODS if method != "parallel")
HALF = SteeringWeights(score=0.5, harm_avoidance=0.5)


def _exact(name):
    story = pl.open_story(name)
    return story, ExactValues(explore(story.make_game()), story.info.select(["score", "harm_avoidance"]))


@pytest.fixture(scope="module")
def salt():
    return _exact("salt_ledger")


def test_exact_values_agree_with_the_front(salt):
    story, values = salt
    goals = story.info.select(["score", "harm_avoidance"])
    front = pl.exact_front(explore(story.make_game()), goals)
    for weight in (0.0, 0.3, 1.0):
        weights = SteeringWeights(score=weight, harm_avoidance=1 - weight)
        factors = np.array([weight, 1 - weight]) / np.array(list(values.scales.values()))
        assert values.attainable(weights)[1] == pytest.approx((front.points @ factors).max())
    assert list(values.scales.values()) == pytest.approx((front.best - front.worst).tolist())


def test_the_order_in_which_rewards_are_added_is_no_range():
    # 0.1 + 0.2 + 0.3 and 0.3 + 0.2 + 0.1 differ by 1e-16.
    table = {"s": [(0.1, "a"), (0.3, "b")], "a": [(0.2, "c")], "b": [(0.2, "d")], "c": [(0.3, "end")]}
    game = TableGame(table | {"d": [(0.1, "end")]})
    assert ExactValues(explore(game), game.info.objectives).scales == {"gain": 1.0}


@pytest.mark.parametrize("weight", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("name", ["salt_ledger", "ninth_watch"])
def test_a_beam_of_one_with_exact_values_finds_the_best_play(name, weight, salt):
    story, values = salt if name == "salt_ledger" else _exact(name)
    weights = SteeringWeights(score=weight, harm_avoidance=1 - weight)
    found = search_play(story.make_game(), values, weights, budget=math.inf, method=lambda rng: Beam(1))
    assert found.total == pytest.approx(values.attainable(weights)[1])
    assert found.completion == 0
    assert found.calls <= 80


@pytest.mark.parametrize("method", SEARCHES)
def test_without_a_limit_every_method_finds_the_best_play(method, tree_game):
    # Values that say nothing, and values that say the opposite.
    for values in (Fixed(), Fixed({state: [9.0, 0.0] for state in tree_game})):
        game = TableGame(tree_game)
        found = search_play(game, values, ONLY, budget=math.inf, method=method)
        assert found.total == 7
        assert (found.calls, found.states, found.plays) == (14, 7, 8)


@pytest.mark.parametrize(
    "method",
    [method if method != "ved" else pytest.param(method, marks=pytest.mark.slow) for method in SEARCHES],
)
def test_without_a_limit_bad_values_of_a_story_do_not_matter(method, salt):
    story, values = salt
    found = search_play(story.make_game(), Noisy(values, 1.0), HALF, budget=math.inf, method=method)
    assert found.total == pytest.approx(values.attainable(HALF)[1])
    assert (found.calls, found.states) == (3348, 1140)


@pytest.mark.parametrize("method", SEARCHES)
def test_without_a_limit_bad_values_of_a_small_story_do_not_matter(method, tmp_path):
    story, values = _exact(write_story(tmp_path / "toll"))
    edges = len(explore(story.make_game()).target)
    for seed in range(5):
        found = search_play(story.make_game(), Noisy(values, 1.0, seed), HALF, budget=math.inf, method=method)
        assert found.total == pytest.approx(values.attainable(HALF)[1], abs=1e-12)
        assert found.calls == edges


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("budget", [1, 30, 100])
def test_a_budget_is_exceeded_only_to_complete_a_play(method, budget, salt):
    story, values = salt
    game = story.make_game()
    choose, called = game.choose, Counter()

    def counted(action):
        called["calls"] += 1
        return choose(action)

    game.choose = counted
    found = search_play(game, Noisy(values, 0.3), HALF, budget=budget, method=method, seed=3)
    assert found.calls - found.completion <= budget
    if method != "parallel":
        assert found.calls == called["calls"]
    # Whoever had a whole play within the budget did not go on.
    assert found.plays == 1 or found.completion == 0
    assert found.trajectory.terminated


@pytest.mark.parametrize("method", METHODS)
def test_a_play_is_what_the_game_says(method, salt):
    story, values = salt
    found = search_play(story.make_game(), Noisy(values, 0.2), HALF, budget=60, method=method, seed=1)
    game, total = story.make_game(), 0.0
    for step in found.trajectory.steps:
        assert game.decision == step.decision
        counts = game.choose(step.action)
        assert dict(step.counts) == dict(counts)
        for name, scale in values.scales.items():
            reward = story.info.objective(name).reward(counts)
            assert step.rewards[name] == reward
            total += 0.5 * reward / scale
    assert game.decision is None
    assert found.trajectory.steps[-1].outcome == game.text
    assert total == pytest.approx(found.total)


@pytest.mark.parametrize("method", METHODS)
def test_the_same_seed_gives_the_same_play(method, salt):
    story, values = salt
    plays = [
        search_play(story.make_game(), Noisy(values, 0.3), HALF, budget=50, method=method, seed=seed)
        for seed in (5, 5, 6, 7, 8)
    ]
    assert plays[0] == plays[1]
    differ = len({tuple(s.action for s in play.trajectory.steps) for play in plays}) > 1
    assert differ == (method in ("bavt", "parallel"))


def test_weights_steer_the_search(salt):
    story, values = salt
    both = [
        search_play(story.make_game(), values, SteeringWeights.one_hot(name), budget=75)
        for name in ("score", "harm_avoidance")
    ]
    assert both[0].trajectory.returns()["score"] == 640
    assert both[1].trajectory.returns()["harm_avoidance"] == 0


def test_more_budget_is_not_worse_on_average(salt):
    story, values = salt
    means = [
        np.mean(
            [
                search_play(story.make_game(), Noisy(values, 0.1, seed), HALF, budget=budget).total
                for seed in range(8)
            ]
        )
        for budget in (75, 300)
    ]
    assert means[1] > means[0] + 0.03


def test_two_ways_to_a_state_are_one_with_the_better_of_them():
    # The way through b is found later and is better; what follows is worth more by it.
    table = {"s": [(0, "a"), (5, "b")], "a": [(1, "m")], "b": [(0, "m")], "m": [(1, "n")], "n": [(1, "end")]}
    values = Fixed({"s": [9.0, 0.0], "a": [9.0], "m": [9.0], "n": [9.0]})
    found = search_play(TableGame(table), values, ONLY, budget=math.inf, method="best-first")
    assert (found.total, found.calls, found.states) == (7, 6, 5)
    assert [step.decision.prompt for step in found.trajectory.steps] == ["at s", "at b", "at m", "at n"]


@pytest.mark.parametrize("method", SEARCHES)
def test_games_in_which_play_can_go_in_circles_are_searched(method):
    table = {"s": [(1, "a"), (0, "end")], "a": [(1, "s"), (0, "b")], "b": [(1, "a"), (2, "end")]}
    found = search_play(TableGame(table), Fixed(), ONLY, budget=math.inf, method=method)
    # Around and around would gain more and never end.
    assert (found.total, found.calls) == (3, 6)
    with pytest.raises(InputError, match="every option leads back"):
        search_play(TableGame({"s": [(1, "s")]}), Fixed(), ONLY, budget=3, method=method)


def test_long_plays_are_cut_off():
    table = {f"{n}": [(1, f"{n + 1}")] for n in range(50)}
    found = search_play(TableGame(table, "0"), Fixed(), ONLY, budget=100, max_steps=7)
    assert (found.total, len(found.trajectory.steps), found.trajectory.truncated) == (7, 7, True)
    assert found.trajectory.steps[-1].outcome == ""


@pytest.mark.parametrize("method", SEARCHES)
def test_a_better_way_that_is_longer_makes_no_play_too_long(method):
    # The first way to x is the shorter one, and by then the plays after x are known.
    table = {
        "s": [(0, "x"), (0, "b")], "b": [(0, "c")], "c": [(5, "x")],
        "x": [(0, "y")], "y": [(0, "z")], "z": [(0, "end")],
    }  # fmt: skip
    values = Fixed({"s": [1.0, 0.0]})
    for most, total in ((4, {0, 5}), (5, {0, 5}), (6, {5})):
        found = search_play(TableGame(table), values, ONLY, budget=math.inf, method=method, max_steps=most)
        assert len(found.trajectory.steps) <= most
        assert found.total in total


@pytest.mark.parametrize("method", SEARCHES)
def test_plays_that_were_cut_off_go_on_when_a_shorter_way_is_better(method):
    table = {
        "s": [(0, "b"), (5, "x")], "b": [(0, "c")], "c": [(0, "x")], "x": [(0, "y")], "y": [(2, "end")],
    }  # fmt: skip
    values = Fixed({"s": [1.0, 0.0], "b": [1.0], "c": [1.0], "x": [1.0]})
    found = search_play(TableGame(table), values, ONLY, budget=math.inf, method=method, max_steps=4)
    assert [step.action for step in found.trajectory.steps] == [1, 0, 0]
    assert (found.total, found.trajectory.terminated, found.plays) == (7, True, 1)


def test_without_any_budget_left_the_values_complete_the_play(tree_game):
    values = Fixed({state: [0.0, 1.0] for state in tree_game})
    found = search_play(TableGame(tree_game), values, ONLY, budget=1, method="best-first")
    assert (found.calls, found.completion, found.total) == (3, 2, 7)


def test_a_play_is_not_completed_by_what_a_state_met_before_has_left():
    # The budget ends behind m, whose better option has been tried; then the other way leads to m again.
    table = {"s": [(1, "a"), (0, "b")], "a": [(0, "m")], "b": [(1, "m")], "m": [(0, "n"), (0, "end")]}
    table["n"] = [(2, "end")]
    values = Fixed({"s": [4.0, 3.0], "a": [3.0], "b": [3.0], "m": [3.0, 0.0], "n": [1.9]})
    found = search_play(TableGame(table), values, ONLY, budget=3, method="best-first")
    assert (found.total, found.calls) == (3, 6)


def test_an_objective_that_all_plays_serve_alike_has_no_range():
    # 0.1 + 0.2 is not 0.3 in floating point.
    table = {"s": [(0.1, "a"), (0.3, "end")], "a": [(0.2, "end")]}
    values = ExactValues(explore(TableGame(table)), [GAIN])
    assert values.scales == {"gain": 1.0}
    assert len(set(values.attainable(ONLY))) == 1


def test_a_small_share_of_the_budget_makes_bavt_greedy(salt):
    story, values = salt
    noisy = Noisy(values, 0.2)
    plain = search_play(story.make_game(), noisy, HALF, budget=120, method="best-first")
    greedy = search_play(
        story.make_game(), noisy, HALF, budget=120, method=lambda rng: Bavt(rng, exponent=lambda r: 1e12)
    )
    assert greedy.trajectory.steps == plain.trajectory.steps
    assert (greedy.calls, greedy.states) == (plain.calls, plain.states)


def test_parallel_plays_keep_the_best_that_fit(salt):
    story, values = salt
    found = search_play(story.make_game(), values, HALF, budget=200, method="parallel", seed=2)
    goals = story.info.select(["score", "harm_avoidance"])
    played = list(
        pl.roll_out(story.make_game, pl.UniformPolicy(), episodes=found.plays, seed=2, objectives=goals)
    )
    totals = [
        sum(0.5 * value / values.scales[name] for name, value in one.returns().items()) for one in played
    ]
    assert found.total == pytest.approx(max(totals))
    assert sum(len(one.steps) for one in played) <= 200


def test_games_that_cannot_save_are_refused_by_name(tree_game):
    class Unsaved(TableGame):
        save = None

    class Unhashable(TableGame):
        def save(self):
            return [self.state]

    for kind in (Unsaved, Unhashable):
        with pytest.raises(InputError, match="game 'table' cannot save and restore its state"):
            search_play(kind(tree_game), Fixed(), ONLY, budget=9)
    # Random plays do not go back.
    assert search_play(Unsaved(tree_game), Fixed(), ONLY, budget=9, method="parallel").plays == 3


def test_values_of_another_story_are_refused(salt):
    with pytest.raises(InputError, match="another story's"):
        search_play(pl.open_story("ninth_watch").make_game(), salt[1], HALF, budget=9)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"budget": 0}, "budget': must be a whole number from 1, or infinity, found 0"),
        ({"budget": math.nan}, "budget': must be a whole number from 1"),
        ({"budget": 7.5}, "budget': must be a whole number from 1, or infinity, found 7.5"),
        ({"budget": math.inf, "method": "parallel"}, "must be finite for random plays"),
        ({"method": "dfs"}, "must be one of beam, best-first, bavt, ved, parallel, found 'dfs'"),
        ({"weights": SteeringWeights(fame=1.0)}, "unknown objective 'fame'"),
        ({"seed": -1}, "seed"),
        ({"max_steps": 0}, "max_steps"),
    ],
)
def test_wrong_arguments_are_refused_by_name(more, message, tree_game):
    given = {"weights": ONLY, "budget": 5, **more}
    with pytest.raises(InputError, match=message):
        search_play(TableGame(tree_game), Fixed(), **given)
    for values, message in (
        ("runs/q", "expected values that fit_q learned, found 'runs/q'"),
        ({"gain": pl.UniformPolicy()}, "the agent of 'gain' has no values"),
    ):
        with pytest.raises(InputError, match=message):
            search_play(TableGame(tree_game), values, ONLY, budget=5)
    with pytest.raises(InputError, match="ends before its first decision"):
        search_play(TableGame({}), Fixed(), ONLY, budget=5)
