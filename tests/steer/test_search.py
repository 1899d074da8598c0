"""Search over saved states: optima that are known, budgets that are kept, orders by hand."""

from __future__ import annotations

import math
from collections import Counter
from functools import partial

import numpy as np
import pytest
import torch

import pluralign as pl
from pluralign.core import Decision, InputError, Objective, SteeringWeights
from pluralign.games.game import GameInfo
from pluralign.games.state_graph import explore
from pluralign.options.features import DecisionFeatures
from pluralign.options.values import HeadShape, ValueHead, ValuePolicy, ValueUnits
from pluralign.steer.search.orders import Bavt, Beam, Ved, best_first, in_proportion
from pluralign.steer.search.play import METHODS, search_play
from pluralign.steer.search.tree import LEAST, SearchTree
from pluralign.steer.search.values import ExactValues, LearnedValues

SEARCHES = tuple(method for method in METHODS if method != "parallel")
HALF = SteeringWeights(score=0.5, harm_avoidance=0.5)
GAIN = Objective("gain", "Much is gained.", {"points": 1.0})
ONLY = SteeringWeights(gain=1.0)


class TableGame:
    """A game from a table: state -> (points, next state) of each option; other states are ends."""

    def __init__(self, table, start="s", *, random=False):
        self.table, self.start, self.calls = table, start, 0
        self.info = GameInfo("table", "", "", "", "", 10.0, 4, (GAIN,), random=random)
        self.reset()

    def reset(self, seed=0):
        self.state = self.start

    @property
    def decision(self):
        row = self.table.get(self.state)
        return (
            None if row is None else Decision(f"at {self.state}", tuple(f"to {i}" for i in range(len(row))))
        )

    @property
    def text(self):
        return f"This is {self.state}."

    def choose(self, action):
        self.calls += 1
        points, self.state = self.table[self.state][action]
        return {"points": points} if points else {}

    def save(self):
        return self.state

    def restore(self, state):
        self.state = state


class Fixed:
    """Values from a table, of states that are not in it 0."""

    digest, scales = "fixed", {"gain": 1.0}

    def __init__(self, table=None):
        self.table = table or {}

    def rests(self, decision, state, weights):
        return np.array(self.table.get(state, [0.0] * len(decision.options)), dtype=float)


class Noisy:
    """Other values with independent noise, the same whenever a state is asked for."""

    def __init__(self, values, size, seed=0):
        self.values, self.size, self.seed = values, size, seed
        self.scales, self.digest = values.scales, "noisy"
        self.numbers: dict = {}

    def rests(self, decision, state, weights):
        number = self.numbers.setdefault(state, len(self.numbers))
        rng = np.random.default_rng([self.seed, number])
        return self.values.rests(decision, state, weights) + self.size * rng.normal(
            size=len(decision.options)
        )


def _exact(name):
    story = pl.open_story(name)
    return story, ExactValues(explore(story.make_game()), story.info.select(["score", "harm_avoidance"]))


@pytest.fixture(scope="module")
def salt():
    return _exact("salt_ledger")


@pytest.fixture(scope="module")
def tree_game():
    """Three layers of two options without common states; 8 ends, of which the one worth 7 is last."""
    table = {}
    for depth in range(3):
        for number in range(2**depth):
            name = f"{depth}.{number}" if depth else "s"
            table[name] = [(0, f"{depth + 1}.{2 * number + a}") for a in range(2)]
    for number in range(4):
        table[f"2.{number}"] = [(2 * number, "end"), (2 * number + 1, "end")]
    return table


def test_exact_values_agree_with_the_front(salt):
    story, values = salt
    goals = story.info.select(["score", "harm_avoidance"])
    front = pl.exact_front(explore(story.make_game()), goals)
    for weight in (0.0, 0.3, 1.0):
        weights = SteeringWeights(score=weight, harm_avoidance=1 - weight)
        factors = np.array([weight, 1 - weight]) / np.array(list(values.scales.values()))
        assert values.attainable(weights)[1] == pytest.approx((front.points @ factors).max())
    assert list(values.scales.values()) == pytest.approx((front.best - front.worst).tolist())


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


@pytest.mark.parametrize("method", ["beam", "best-first"])
def test_without_a_limit_bad_values_of_a_story_do_not_matter(method, salt):
    story, values = salt
    found = search_play(story.make_game(), Noisy(values, 1.0), HALF, budget=math.inf, method=method)
    assert found.total == pytest.approx(values.attainable(HALF)[1])
    assert (found.calls, found.states) == (3348, 1140)


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


def test_a_beam_tries_all_options_of_its_states(tree_game):
    for width, calls in ((1, 6), (2, 10), (4, 14)):
        values = Fixed({state: [0.5, 1.0] for state in tree_game})
        found = search_play(
            TableGame(tree_game), values, ONLY, budget=99, method=partial(lambda w, rng: Beam(w), width)
        )
        assert found.calls == calls
    with pytest.raises(InputError, match="width"):
        Beam(0)


def test_a_beam_is_as_wide_as_the_budget_affords(tree_game):
    # Values lead to the worst end. A pass of width 1 costs 6 and ends at 1 instead of 0.
    values = Fixed({state: [1.0, 0.0] for state in tree_game} | {f"2.{n}": [-n, -n] for n in range(4)})
    found = [search_play(TableGame(tree_game), values, ONLY, budget=budget) for budget in (6, 10, 14)]
    # 6 more calls afford a width of 2, 8 more too; what was tried is not paid again.
    assert [one.calls for one in found] == [6, 10, 14]
    assert [one.total for one in found] == [1, 3, 7]


def test_a_beam_skips_widths_that_it_can_afford_to_skip():
    table = {"s": [(0, name) for name in "abc"]}
    table |= {name: [(0, f"{name}{n}") for n in range(2)] for name in "abc"}
    table |= {f"{name}{n}": [(0, "end")] for name in "abc" for n in range(2)}
    rests = {"a": [3.0, 0.0], "b": [2.0, 0.0], "c": [1.0, 0.0], "b0": [1.0], "c0": [5.0], "c1": [5.0]}
    tried = {}
    for budget in (12, 24):
        tree, order, tried[budget] = SearchTree(TableGame(table), Fixed(rests), ONLY, budget, 200), Beam(), []
        while tree.calls < budget and (node := order(tree)) is not None:
            tried[budget].append(node.state)
            tree.try_next(node)
    first = ["s", "s", "s", "a", "a", "a0"]
    # The first pass costs 6. 6 more afford a width of 2, in which b0 and a0 are best, and then one of 3; 18
    # more afford a width of 3 at once, in which c0, c1 and b0 are best.
    assert tried[12] == [*first, "b", "b", "b0", "c", "c", "c0"]
    assert tried[24][:13] == [*first, "b", "b", "c", "c", "c0", "c1", "b0"]


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


def test_without_any_budget_left_the_values_complete_the_play(tree_game):
    values = Fixed({state: [0.0, 1.0] for state in tree_game})
    found = search_play(TableGame(tree_game), values, ONLY, budget=1, method="best-first")
    assert (found.calls, found.completion, found.total) == (3, 2, 7)


def test_a_small_share_of_the_budget_makes_bavt_greedy(salt):
    story, values = salt
    noisy = Noisy(values, 0.2)
    plain = search_play(story.make_game(), noisy, HALF, budget=120, method="best-first")
    greedy = search_play(
        story.make_game(), noisy, HALF, budget=120, method=lambda rng: Bavt(rng, exponent=lambda r: 1e12)
    )
    assert greedy.trajectory.steps == plain.trajectory.steps
    assert (greedy.calls, greedy.states) == (plain.calls, plain.states)


def test_probabilities_in_proportion_to_powers():
    assert in_proportion([0.5, 1.0], 1.0) == pytest.approx([1 / 3, 2 / 3])
    assert in_proportion([0.5, 1.0], 10.0)[0] == pytest.approx(1 / 1025)
    assert in_proportion([LEAST, 1.0], 1e12).tolist() == [0.0, 1.0]


@pytest.mark.parametrize(("budget", "power"), [(math.inf, 1), (8, 2), (4.04, 101)])
def test_bavt_draws_in_proportion_to_powers_of_values(budget, power):
    table = {"s": [(0, name) for name in "abcd"]} | {name: [(0, "end")] for name in "abcd"}
    rests = {"s": [0.0] * 4, "a": [0.1], "b": [0.2], "c": [0.3], "d": [0.4]}
    tree = SearchTree(TableGame(table), Fixed(rests), ONLY, budget, 200)
    for _ in range(4):
        tree.try_next(tree.root)
    order, draws = Bavt(np.random.default_rng(0)), 4000
    counts = Counter(order(tree).state for _ in range(draws))
    # The smallest sum met so far is 0, that of the start, and the largest 0.4. All, half or 1/101 of the
    # budget is left.
    values = np.array([0.25, 0.5, 0.75, 1.0]) ** power
    expected = draws * values / values.sum()
    chi = float((((np.array([counts[name] for name in "abcd"]) - expected) ** 2) / expected).sum())
    assert chi < 16.27  # 0.1 % of the distribution with three degrees of freedom lies above


def test_values_are_mapped_above_zero():
    tree = SearchTree(TableGame({"s": [(0, "a")], "a": [(0, "end")]}), Fixed({"a": [-3.0]}), ONLY, 5, 200)
    assert tree.unit(0.0) == 1.0
    tree.try_next(tree.root)
    assert [tree.unit(value) for value in (-3.0, -1.5, 0.0)] == [LEAST, 0.5, 1.0]
    assert tree.left == pytest.approx(0.8)


def test_ved_descends_by_worth_and_visits():
    table = {"s": [(0, "a"), (0, "b")], "a": [(0, "c"), (0, "d")], "b": [(0, "e"), (0, "f")]} | {
        name: [(0, "end"), (0, "end")] for name in "cdef"
    }
    rests = {"s": [1.0, 2.0], "a": [1.0, 0.0], "b": [2.0, 1.9], "e": [1.8, 0.0], "f": [1.7, 0.0]}
    tree = SearchTree(TableGame(table), Fixed(rests), ONLY, math.inf, 200)
    order, tried = Ved(curiosity=0.0), []
    for _ in range(9):
        node = order(tree)
        tried.append(node.state)
        tree.try_next(node)
    # At first only b and then only e are at least the mean of their depth. When no state is, the bonus
    # decides: ln(8) = 2.08, a 0.5 + sqrt(2.08 / 1) = 1.94 against b 1 + sqrt(2.08 / 5) = 1.64. Then c lowers
    # the mean, so that f is above it, and a is not.
    assert tried == ["s", "s", "b", "b", "e", "e", "a", "f", "f"]


def test_ved_goes_where_the_values_are_undecided():
    table = {"s": [(0, "a"), (0, "b")], "a": [(0, "end"), (0, "end")], "b": [(0, "end"), (0, "end")]}
    rests = {"s": [1.0, 1.0], "a": [1.0, 0.0], "b": [1.0, 1.0]}
    for curiosity, first in ((0.0, "a"), (0.1, "b")):
        tree = SearchTree(TableGame(table), Fixed(rests), ONLY, math.inf, 200)
        order = Ved(curiosity=curiosity)
        for _ in range(2):
            tree.try_next(order(tree))
        assert order(tree).state == first


def test_best_first_takes_up_what_promises_most():
    table = {"s": [(0, "a"), (0, "b")], "a": [(0, "end"), (0, "end")], "b": [(0, "end")]}
    tree = SearchTree(TableGame(table), Fixed({"s": [3.0, 2.5], "a": [2.0, 1.0], "b": [2.5]}), ONLY, 9, 200)
    tried = []
    while (node := best_first(tree)) is not None:
        tried.append((node.state, node.waiting[0]))
        tree.try_next(node)
    # After its first option, s promises 2.5 and not 3 any more.
    assert tried == [("s", 0), ("s", 1), ("b", 0), ("a", 0), ("a", 1)]


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


class Hashed:
    """Features of two numbers for each option, from its text."""

    dimension, fingerprint = 2, "hashed"

    def get(self, decisions):
        return [
            DecisionFeatures(
                np.array([[len(text), len(d.prompt)] for text in d.options], dtype=np.float32),
                np.zeros(len(d.options)), np.ones(len(d.options), dtype=np.int64),
            )
            for d in decisions
        ]  # fmt: skip


def _agent(name, *, conditioned=False, seed=0, objectives=("score", "harm_avoidance")):
    head = ValueHead(HeadShape(2, len(objectives), 4, 2, conditioned), seed)
    torch.nn.init.normal_(head.level, generator=torch.Generator().manual_seed(seed))
    units = ValueUnits(objectives, (200.0, 10.0)[: len(objectives)])
    weights = (
        SteeringWeights.uniform(objectives) if conditioned else SteeringWeights.one_hot(name, objectives)
    )
    return ValuePolicy(name, head, Hashed(), units, weights)


def test_learned_values_are_those_that_steer(salt):
    story, _ = salt
    agents = {"score": _agent("score"), "harm_avoidance": _agent("harm_avoidance", seed=1)}
    values, decision = LearnedValues(agents), story.make_game().decision
    assert values.scales == {"score": 200.0, "harm_avoidance": 10.0}
    np.testing.assert_allclose(
        values.rests(decision, None, HALF), pl.ValueSteeredPolicy(agents, HALF).totals([decision])[0]
    )
    found = search_play(story.make_game(), agents, HALF, budget=75)
    assert set(found.trajectory.returns()) == {"score", "harm_avoidance"}


def test_one_model_of_any_weights_serves_all_objectives(salt):
    story, _ = salt
    model = _agent("values", conditioned=True)
    single, both = LearnedValues(model), LearnedValues(dict.fromkeys(("score", "harm_avoidance"), model))
    decision = story.make_game().decision
    np.testing.assert_allclose(single.rests(decision, None, HALF), both.rests(decision, None, HALF))
    assert single.digest == both.digest != LearnedValues(_agent("values", conditioned=True, seed=1)).digest
    with pytest.raises(InputError, match="'score' was trained for fixed weights; give an agent"):
        LearnedValues(_agent("score"))


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
