"""Lots and typed answers: what a ChoiceScript game does not decide by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pluralign.core import InputError
from pluralign.games.choicescript.compile.story import compile_story
from pluralign.games.choicescript.run.game import ChoiceScriptGame

MakeGame = Callable[..., ChoiceScriptGame]
FOREIGN = '*title A game\n*author Somebody\n*create a 0\n*create b 50\n*create flag false\n*create s "ann"\n'

RANDOM = """\
*label top
*rand a 1 6
*rand b 0.5 1.5
${a} ${b}
*choice
  #Again.
    *goto top
  #Stop.
    *finish
"""


def _play(game: ChoiceScriptGame, seed: int, steps: int = 20) -> list[str]:
    game.reset(seed)
    texts = [game.text]
    for _ in range(steps):
        game.choose(0)
        texts.append(game.text)
    return texts


def test_lots_follow_the_seed(make_game: MakeGame) -> None:
    game = make_game(RANDOM, head=FOREIGN)
    assert _play(game, 3) == _play(make_game(RANDOM, head=FOREIGN), 3)
    assert _play(game, 3) != _play(game, 4)
    assert game.info.random
    dice = [int(text.split()[0]) for seed in range(40) for text in _play(game, seed)]
    # 840 throws: each face is expected 140 times, with a standard deviation of 10.8.
    assert all(90 < dice.count(face) < 190 for face in range(1, 7))
    assert set(dice) == set(range(1, 7))
    shares = [float(text.split()[1]) for text in _play(game, 0)]
    assert all(0.5 <= share < 1.5 for share in shares)


def test_a_saved_state_knows_the_lots_to_come(make_game: MakeGame) -> None:
    game = make_game(RANDOM, head=FOREIGN)
    game.reset(5)
    saved = game.save()
    assert hash(saved) == hash(game.save())
    game.choose(0)
    after = game.text, game.save()
    game.reset(6)
    game.restore(saved)
    assert game.save() == saved
    game.choose(0)
    assert (game.text, game.save()) == after


def test_seeds_change_nothing_where_nothing_is_drawn(make_game: MakeGame) -> None:
    game = make_game("*choice\n  #One.\n    *finish", head=FOREIGN)
    first = game.save()
    game.reset(9)
    assert game.save() == first
    assert not game.info.random


def test_random_scenes_come_once_each(make_game: MakeGame) -> None:
    lines = """\
        *goto_random_scene
          one
          *if (a = 1) two
          *allow_reuse *if (a = 2) two
        none left
        *choice
          #End.
            *ending
        """
    scene = "{}\n*choice\n  #Back.\n    *goto_scene startup\n"
    game = make_game(lines, head=FOREIGN, one=scene.format("first"), two=scene.format("second"))
    assert game.text == "first"
    game.choose(0)
    assert game.text == "none left"
    always = make_game(lines.replace("(a = 2)", "(a = 0)"), head=FOREIGN, one="x\n*ending", two="y\n*ending")
    seen: set[str] = set()
    for seed in range(20):
        always.reset(seed)
        seen.add(always.text)
    assert seen == {"x", "y"}


def test_what_is_typed_comes_from_the_caller() -> None:
    lines = FOREIGN + "*input_text s\n*input_number a 1 6\n${s} ${a}"
    asked: list[Any] = []

    def ask(question: Any) -> str | float:
        asked.append(question)
        return "Bo" if question.low is None else 4

    game = ChoiceScriptGame(compile_story("t", {"startup": lines}, "t"), ask=ask)
    assert game.text == "Bo 4"
    assert [(q.variable, q.low, q.high, q.line) for q in asked] == [("s", None, None, 7), ("a", 1, 6, 8)]


@pytest.mark.parametrize("answers", [("Bo", 7), ("Bo", 2.5), ("Bo", "4"), (3, 4), ("Bo", True)])
def test_answers_that_do_not_fit(answers: tuple[Any, Any]) -> None:
    story = compile_story("t", {"startup": FOREIGN + "*input_text s\n*input_number a 1 6\n"}, "t")
    with pytest.raises(InputError, match=r"startup.txt:[78]: '[sa]' needs"):
        ChoiceScriptGame(story, ask=lambda question: answers[question.low is not None])
