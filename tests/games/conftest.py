"""Little stories for the tests of games."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from pluralign.games.choicescript.compile.story import compile_story
from pluralign.games.choicescript.run.game import ChoiceScriptGame, ChoiceScriptStory
from pluralign.games.game import Game

HEAD = """\
*title A test
*author nobody
*comment pluralign {"story": {"summary": "Nothing happens.", "player_character": "A tester."}}
*create a 0
*create b 0
*create flag false
*create name "ann"
*achievement first visible 30 First
  Before.
  After.
"""

MakeStory = Callable[..., ChoiceScriptStory]
MakeGame = Callable[..., ChoiceScriptGame]


def _story(startup: str, *, head: str = HEAD, **scenes: str) -> ChoiceScriptStory:
    """With the usual head, the first line of ``startup`` is line 11 of startup.txt."""
    listed = "*scene_list\n  startup\n" + "".join(f"  {name}\n" for name in scenes) if scenes else ""
    sources = {"startup": head + listed + dedent(startup), **{n: dedent(s) for n, s in scenes.items()}}
    return compile_story("test", sources, "test")


@pytest.fixture(scope="session")
def make_story() -> MakeStory:
    """From scenes' text to a story."""
    return _story


@pytest.fixture(scope="session")
def make_game() -> MakeGame:
    """From scenes' text to a game."""

    def make(startup: str, *, max_lines_per_step: int = 10_000, **rest: Any) -> ChoiceScriptGame:
        return ChoiceScriptGame(_story(startup, **rest), max_lines_per_step)

    return make


@pytest.fixture(scope="session")
def shown(make_game: MakeGame) -> Callable[..., str]:
    """From a story without choices to the text it shows."""

    def show(startup: str, **rest: Any) -> str:
        game = make_game(startup, **rest)
        assert game.decision is None
        return game.text

    return show


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    """Writes scenes into a folder."""

    def write(startup: str, *, head: str = HEAD, **scenes: str) -> Path:
        for name, source in {"startup": head + dedent(startup), **scenes}.items():
            (tmp_path / f"{name}.txt").write_text(dedent(source), encoding="utf-8")
        return tmp_path

    return write


def _play(game: Game, actions: Sequence[int]) -> list[Mapping[str, float]]:
    game.reset()
    return [game.choose(action) for action in actions]


@pytest.fixture(scope="session")
def episodes() -> Callable[[Game], Iterator[tuple[tuple[int, ...], list[Mapping[str, float]]]]]:
    """Every complete episode, replayed from the start: no saved states, no shared work."""

    def walk(game: Game) -> Iterator[tuple[tuple[int, ...], list[Mapping[str, float]]]]:
        waiting: list[tuple[int, ...]] = [()]
        while waiting:
            actions = waiting.pop()
            counts = _play(game, actions)
            decision = game.decision
            if decision is None:
                yield actions, counts
            else:
                waiting.extend((*actions, option) for option in range(len(decision.options)))

    return walk


@pytest.fixture(scope="session")
def product_story() -> Callable[[Sequence[Sequence[tuple[int, int]]]], ChoiceScriptStory]:
    """From (points, violations) of every option to a story of one choice after the other."""
    labels = ("deception", "stealing", "spying", "vandalism")

    def make(choices: Sequence[Sequence[tuple[int, int]]]) -> ChoiceScriptStory:
        numbers = itertools.count()
        head, body = ["*title Product"], list[str]()
        for question, options in enumerate(choices):
            body += [f"Question {question}.", "*choice"]
            for number, (points, violations) in enumerate(options):
                listed = ", ".join(f'"{label}"' for label in labels[:violations])
                body += [f"  #Option {number}.", f'    *comment pluralign {{"violations": [{listed}]}}']
                if points:
                    name = f"win{next(numbers)}"
                    head += [f"*achievement {name} visible {points} Title {name}", "  Before.", "  After."]
                    body.append(f"    *achieve {name}")
                body.append(f"    *goto after{question}")
            body.append(f"*label after{question}")
        return compile_story("product", {"startup": "\n".join([*head, *body, "The end."])}, "product")

    return make


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """`shared/data` beside or inside the checkout; skips where there is none."""
    root = Path(__file__).resolve().parents[2]
    for folder in (root.parent / "shared" / "data", root / "shared" / "data"):
        if folder.is_dir():
            return folder
    pytest.skip("the shared data is absent")


@pytest.fixture
def side(tmp_path: Path) -> Callable[..., Path]:
    """Writes an Ink story's side file in a folder of its own."""

    folder = Path(__file__).with_name("ink_stories")

    def write(story: str, **fields: Any) -> Path:
        path = tmp_path / f"{story}.pluralign.json"
        path.write_text(json.dumps({"ink": str(folder / f"{story}.json"), **fields}))
        return path

    return write
