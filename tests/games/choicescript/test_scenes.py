"""Scenes that lead back to the first, or leave a called one, as in the official engine."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pluralign.core import InputError
from pluralign.games.choicescript.run.game import ChoiceScriptGame
from pluralign.games.state_graph import explore

MakeGame = Callable[..., ChoiceScriptGame]
HEAD = "*title T\n*create a 0\n*create b true\n"


def play(game: ChoiceScriptGame, *actions: int) -> str:
    game.reset()
    for action in actions:
        game.choose(action)
    return game.text


def test_the_first_scene_creates_its_variables_again(make_game: MakeGame) -> None:
    hub = "a is ${a}\n*choice\n  #On\n    *set a 1\n    *{} second\n  #Stop\n    *finish"
    for there, back in (
        ("goto_scene", "goto_scene"),
        ("goto_scene", "gosub_scene"),
        ("gosub_scene", "goto_scene"),
    ):
        game = make_game(hub.replace("{}", there), head=HEAD, second=f"Back.\n*{back} startup")
        assert play(game, 0) == "Back. a is 0"
    listed = make_game(
        hub.replace("{}", "goto_scene").replace("a is", "*label in\na is"),
        head=HEAD,
        second="*goto_scene startup in",
    )
    assert play(listed, 0) == "a is 1"
    returned = make_game(hub.replace("{}", "gosub_scene") + "\n", head=HEAD, second="*return")
    with pytest.raises(InputError, match="falls out of this option"):
        play(returned, 0)
    # The blank lines of its head end the paragraph.
    spaced = hub.replace("{}", "goto_scene")
    game = make_game(spaced, head=HEAD + "\n", second="Back.\n*goto_scene startup")
    assert (play(game), play(game, 0)) == ("a is 0", "Back.\n\na is 0")
    # Within the scene, there is no second *create, unless play was elsewhere in between.
    with pytest.raises(InputError, match=r"startup\.txt:5: .* would create the variables twice"):
        play(make_game("*if b\n  *goto_scene startup", head=HEAD))
    away = "a is ${a}\n*choice\n  #On\n    *set a 1\n    *gosub_scene second\n    *goto_scene startup"
    assert play(make_game(away, head=HEAD, second="Away.\n*return"), 0, 0) == "Away. a is 0"


def test_goto_scene_forgets_the_calls(make_game: MakeGame) -> None:
    hub = "Hub.\n*choice\n  #Visit\n    *gosub_scene two\n    Back.\n    *finish\n  #Leave\n    *finish"
    game = make_game(hub, head=HEAD, two="Two.\n*goto_scene startup")
    seen = {game.save()}
    for _ in range(50):
        game.choose(0)
        seen.add(game.save())
    assert len(seen) == 2
    assert len(explore(game).states) == 2 + 1
    nowhere = make_game(
        "*gosub_scene two", head=HEAD, two="*goto_scene three", three="*choice\n  #x\n    *return"
    )
    with pytest.raises(InputError, match=r"three\.txt:3: \*return without"):
        play(nowhere, 0)
