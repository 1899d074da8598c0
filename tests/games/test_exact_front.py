"""Exact results against every episode, one by one."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from brute_force import Episodes, brute_force
from hypothesis import given, settings
from hypothesis import strategies as st

from pluralign.core import Decision, InputError, Objective, UniformPolicy, sum_by_name
from pluralign.core.pareto import undominated
from pluralign.games.choicescript.run.game import ChoiceScriptGame, ChoiceScriptStory
from pluralign.games.exact_front import exact_front, exact_returns, exact_values
from pluralign.games.harms import HARM_AVOIDANCE, METRICS, POWER_AVOIDANCE, SCORE
from pluralign.games.state_graph import explore

MakeGame = Callable[..., ChoiceScriptGame]
Product = Callable[[Sequence[Sequence[tuple[int, int]]]], ChoiceScriptStory]

HEAD = """\
*create a 0
*create b 0
*achievement first visible 30 First
  Before.
  After.
*achievement second visible 20 Second
  Before.
*achievement third visible 10 Third
  Before.
"""

# Loops that end, subroutines, options that come and go, an achievement on several ways.
WINDING = """\
*temp t 0
*label top
${a} ${b}
*choice
  *if (a < 2) #Round.
    *comment pluralign {"violations": ["spying"]}
    *achieve third
    *set a +1
    *goto top
  *hide_reuse #Help.
    *comment pluralign {"utility": {"others": -3}}
    *achieve first
    *gosub note
    *goto top
  *if (b = 1) #Lie.
    *comment pluralign {"violations": ["deception"], "power": ["social"]}
    *achieve second
    *set t 1
    *goto out
  #Leave.
    *comment pluralign {}
    *goto out
*label out
*choice
  #Boast.
    *comment pluralign {"violations": ["deception"]}
    *achieve first
    *finish
  *if ((t = 1) or (a = 2)) #Hush.
    *comment pluralign {}
    *finish
*label note
*set b 1
*choice
  #Nod.
    *comment pluralign {"power": ["money", "physical"]}
    *return
  #Wink.
    *comment pluralign {}
    *return
"""


class Tilted:
    """Prefers later options, by a weight that depends on the prompt alone."""

    name = "tilted"

    def __init__(self) -> None:
        self.calls = 0

    def log_probs(self, decisions: Sequence[Decision]) -> list[npt.NDArray[np.float64]]:
        self.calls += 1
        logits = [np.arange(len(d.options)) * (1 + len(d.prompt) % 3) / 2 for d in decisions]
        return [x - np.log(np.exp(x).sum()) for x in logits]


@pytest.mark.parametrize(
    "objectives",
    [(SCORE,), (SCORE, HARM_AVOIDANCE), (HARM_AVOIDANCE, SCORE), (SCORE, HARM_AVOIDANCE, POWER_AVOIDANCE)],
)
def test_front_of_a_winding_story(
    make_game: MakeGame, episodes: Episodes, objectives: tuple[Objective, ...]
) -> None:
    game = make_game(WINDING, head=HEAD)
    expected, returns = brute_force(game, episodes, objectives)
    front = exact_front(game, objectives)
    assert {tuple(point) for point in front.points.tolist()} == expected
    assert len(front.points) == len(expected)
    np.testing.assert_array_equal(front.best, returns.max(axis=0))
    np.testing.assert_array_equal(front.worst, returns.min(axis=0))
    assert (np.diff(front.points[:, 0]) <= 0).all()


def test_plans_attain_their_points(make_game: MakeGame) -> None:
    game = make_game(WINDING, head=HEAD)
    objectives = (SCORE, HARM_AVOIDANCE, POWER_AVOIDANCE)
    front = exact_front(game, objectives)
    assert len(front.points) > 1
    for index, point in enumerate(front.points):
        game.reset()
        total = sum_by_name([game.choose(action) for action in front.plan(index)])
        assert game.decision is None
        assert [o.reward(total) for o in objectives] == point.tolist()


options = st.tuples(st.integers(0, 9), st.integers(0, 3))


@given(st.lists(st.lists(options, min_size=1, max_size=3), min_size=1, max_size=4))
@settings(max_examples=30)
def test_front_of_independent_choices(product_story: Product, choices: list[list[tuple[int, int]]]) -> None:
    front = exact_front(ChoiceScriptGame(product_story(choices)), (SCORE, HARM_AVOIDANCE))
    sums = {
        (float(sum(o[0] for o in taken)), -float(sum(o[1] for o in taken)))
        for taken in itertools.product(*choices)
    }
    expected = {p for p in sums if not any(q != p and q[0] >= p[0] and q[1] >= p[1] for q in sums)}
    assert {tuple(point) for point in front.points.tolist()} == expected
    # The choices share nothing but the way to them: one state each.
    assert front.states <= sum(len(c) for c in choices)


def test_rewards_that_are_no_whole_numbers(product_story: Product) -> None:
    third = Objective("third", "x", {"points": 1 / 3})
    tenth = Objective("tenth", "x", {"points": -0.1})
    front = exact_front(ChoiceScriptGame(product_story([[(1, 0), (2, 0)], [(2, 0), (1, 0)]])), (third, tenth))
    # 1 + 2 and 2 + 1 are one point, however the thirds were added.
    np.testing.assert_allclose(front.points, [[4 / 3, -0.4], [1.0, -0.3], [2 / 3, -0.2]], atol=1e-8)
    assert [len(front.plan(index)) for index in range(3)] == [2, 2, 2]


@pytest.mark.parametrize("policy", [UniformPolicy(), Tilted()])
def test_exact_returns_are_the_average_of_all_episodes(
    make_game: MakeGame, episodes: Episodes, policy: UniformPolicy | Tilted
) -> None:
    game = make_game(WINDING, head=HEAD)
    expected = dict.fromkeys(METRICS, 0.0)
    steps = mass = 0.0
    for actions, counts in list(episodes(game)):
        game.reset()
        chance = 1.0
        for action in actions:
            assert game.decision is not None
            chance *= float(np.exp(policy.log_probs([game.decision])[0][action]))
            game.choose(action)
        mass += chance
        steps += chance * len(actions)
        for metric, total in sum_by_name(counts).items():
            expected[metric] += chance * total
    assert mass == pytest.approx(1.0)
    found = exact_returns(game, policy, (SCORE, POWER_AVOIDANCE))
    assert {**dict.fromkeys(METRICS, 0.0), **found.counts} == pytest.approx(expected)
    assert found.steps == pytest.approx(steps)
    assert found.objectives == pytest.approx(
        {"score": SCORE.reward(expected), "power_avoidance": POWER_AVOIDANCE.reward(expected)}
    )


def test_a_policy_is_asked_once(make_game: MakeGame) -> None:
    policy = Tilted()
    exact_returns(make_game(WINDING, head=HEAD), policy)
    assert policy.calls == 1


def test_an_explored_graph_serves_both(make_game: MakeGame) -> None:
    graph = explore(make_game(WINDING, head=HEAD))
    game = make_game(WINDING, head=HEAD)
    np.testing.assert_array_equal(exact_front(graph, (SCORE,)).points, exact_front(game, (SCORE,)).points)
    assert exact_returns(graph, UniformPolicy()) == exact_returns(game, UniformPolicy())


def test_dead_variables_do_not_multiply_states(make_game: MakeGame) -> None:
    def states(read: str) -> int:
        lines = "".join(
            f"Q{i}\n*choice\n  #x\n    *set a {i}\n    *goto l{i}\n  #y\n    *set b {i}\n    *goto l{i}\n"
            f"*label l{i}\n"
            for i in range(8)
        )
        return exact_front(make_game(lines + read), (SCORE,)).states

    assert states("end") == 8
    assert states("${a} ${b}\n*choice\n  #z\n    *finish") > 16


def test_what_steps_round_away_does_not_add_up(make_game: MakeGame) -> None:
    step = '    *comment pluralign {"violations": ["deception"]}\n'
    lines = (
        f"*choice\n  #Slowly\n{step}    *goto two\n"
        '  #At once\n    *comment pluralign {"violations": ["stealing", "spying"]}\n    *finish\n'
        f"*label two\n*choice\n  #On\n{step}    *goto three\n*label three\n*choice\n  #On\n{step}    *finish"
    )
    honest = Objective("honest", "No lies.", {"violations.deception": -2 / 3, "violations.stealing": -2.0})
    unseen = Objective("unseen", "No spying.", {"violations.spying": -1.0})
    # Three times two thirds are two: the slow way is as honest, and spies on nobody.
    front = exact_front(make_game(lines, head=HEAD), (honest, unseen))
    assert front.points.tolist() == [[-2.0, 0.0]]
    assert front.best.tolist() == [-2.0, 0.0]
    assert front.plan(0) == [0, 0, 0]


def test_endless_play_is_refused(make_game: MakeGame) -> None:
    game = make_game("*label top\n*choice\n  #x\n    *goto top\n  #y\n    *finish")
    for walk in (lambda: exact_front(game, (SCORE,)), lambda: exact_returns(game, UniformPolicy())):
        with pytest.raises(InputError, match="forever"):
            walk()


def test_too_many_states_are_refused(make_game: MakeGame) -> None:
    game = make_game(WINDING, head=HEAD)
    states = exact_front(game, (SCORE,)).states
    assert exact_front(game, (SCORE,), max_states=states).states == states
    with pytest.raises(InputError, match=f"more than {states - 1} states"):
        exact_front(game, (SCORE,), max_states=states - 1)


def test_bad_arguments(make_game: MakeGame) -> None:
    game = make_game(WINDING, head=HEAD)
    with pytest.raises(InputError, match="at least one objective"):
        exact_front(game, ())
    wrong: Any = (game.story, "score")
    for walk in (
        lambda: exact_front(game, [wrong[1]]),
        lambda: exact_returns(game, UniformPolicy(), [wrong[1]]),
        lambda: exact_values(explore(game), UniformPolicy(), [wrong[1]]),
        lambda: exact_front(game, wrong[1]),
    ):
        with pytest.raises(InputError, match="field 'objectives'"):
            walk()
    with pytest.raises(InputError, match=r"field 'game': expected a game, .* found a ChoiceScriptStory"):
        exact_front(wrong[0], (SCORE,))

    class Careless:
        name = "careless"

        def __init__(self, log_prob: float) -> None:
            self.log_prob = log_prob

        def log_probs(self, decisions: Sequence[Decision]) -> list[npt.NDArray[np.float64]]:
            return [np.full(len(d.options), self.log_prob) for d in decisions]

    graph = explore(game)
    for log_prob in (0.0, np.nan):
        with pytest.raises(InputError, match="policy 'careless' must give"):
            exact_returns(graph, Careless(log_prob))
        with pytest.raises(InputError, match="policy 'careless' must give"):
            exact_values(graph, Careless(log_prob), (SCORE,))


def test_a_story_that_ends_at_once(make_game: MakeGame) -> None:
    game = make_game("The end.")
    front = exact_front(game, (SCORE, HARM_AVOIDANCE))
    assert front.points.tolist() == [[0.0, 0.0]]
    assert front.plan(0) == []
    assert exact_returns(game, UniformPolicy()).steps == 0.0


@given(
    st.integers(1, 4).flatmap(
        lambda n: st.lists(st.lists(st.integers(-3, 3), min_size=n, max_size=n), min_size=1, max_size=20)
    )
)
def test_undominated_against_every_pair(rows: list[list[int]]) -> None:
    points = np.array(rows, dtype=np.float64)
    found = undominated(points).tolist()
    expected = {
        tuple(p) for p in points.tolist() if not any((q >= p).all() and (q > p).any() for q in points)
    }
    assert {tuple(p) for p in found} == expected
    assert len(found) == len(expected)
    assert found == sorted(found, reverse=True)
