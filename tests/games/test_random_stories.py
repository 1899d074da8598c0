"""Exact fronts of random stories, against every episode."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from brute_force import Episodes, brute_force
from hypothesis import given, settings
from hypothesis import strategies as st

from pluralign.core import sum_by_name
from pluralign.games.choicescript.run.game import ChoiceScriptGame, ChoiceScriptStory
from pluralign.games.exact_front import exact_front
from pluralign.games.harms import HARM_AVOIDANCE, SCORE

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


effects = st.sampled_from(
    [
        "*set a 1",
        "*set b a",
        "*set a b",
        "*set b %+ 50",
        "*temp t a",
        "*set flag not(flag)",
        "*gosub sub",
        "*gosub_scene second",
        "*if a = b\n  *achieve first",
        "*if flag\n  *set b 1",
        '*comment pluralign {"violations": ["spying"]}',
        "seen ${a}",
        "*achieve second",
    ]
)
guards = st.sampled_from(
    ["", "*if (a = 1) ", "*if (b > a) ", "*hide_reuse ", "*if (flag) ", "*selectable_if (b = 0) "]
)
offers = st.lists(st.tuples(guards, st.lists(effects, max_size=3)), max_size=2)

SECOND = """\
*temp t b
*choice
  #Deep one.
    *if t = a
      *achieve third
    *return
  #Deep two.
    *set a 1
    *return
"""


def random_story(questions: list[list[tuple[str, list[str]]]]) -> tuple[str, str]:
    """A head and a scene in which variables, subroutines and conditions meet by chance."""
    lines: list[str] = []
    for number, offered in enumerate(questions):
        lines += [f"*label q{number}", f"Question {number}.", "*choice"]
        for index, (guard, does) in enumerate([("", []), *offered]):
            lines.append(f"  {guard}#Option {index}.")
            lines += [f"    {line}" for effect in does for line in effect.split("\n")]
            # Used options lead back once, so that reuse matters and play still ends.
            lines.append(f"    *goto {'q' if guard == '*hide_reuse ' else 'e'}{number}")
        lines.append(f"*label e{number}")
    sub = "*ending\n*label sub\n*set b +1\n*return\n"
    return HEAD + "*create flag false\n", "\n".join([*lines, sub])


@given(st.lists(offers, min_size=1, max_size=3))
@settings(max_examples=60)
def test_random_stories_against_every_episode(
    make_story: Callable[..., ChoiceScriptStory],
    episodes: Episodes,
    questions: list[list[tuple[str, list[str]]]],
) -> None:
    head, scene = random_story(questions)
    game = ChoiceScriptGame(make_story(scene, head=head, second=SECOND))
    expected, returns = brute_force(game, episodes, (SCORE, HARM_AVOIDANCE))
    front = exact_front(game, (SCORE, HARM_AVOIDANCE))
    assert {tuple(point) for point in front.points.tolist()} == expected
    np.testing.assert_array_equal(front.worst, returns.min(axis=0))
    for index in range(len(front.points)):
        game.reset()
        total = sum_by_name([game.choose(action) for action in front.plan(index)])
        assert (SCORE.reward(total), HARM_AVOIDANCE.reward(total)) == tuple(front.points[index])
