"""Any story by its name or path: a built-in one, a folder of ChoiceScript scenes, or an Ink story."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pluralign.core import InputError
from pluralign.games import state_graph
from pluralign.games.choicescript import ChoiceScriptGame, Story, list_stories, load_story
from pluralign.games.game import Game
from pluralign.games.ink import InkGame, InkStory, is_ink, load_ink
from pluralign.games.ink.game import MAX_STATES as INK_STATES


def open_story(path_or_name: str | Path) -> Story | InkStory:
    """Read a story.

    Args:
        path_or_name: the name of a built-in story, a folder of ChoiceScript scenes, an Ink story's compiled
            file or the side file that says where it is (`load_ink`).

    Raises:
        InputError: there is no such story, or it cannot be played.
    """
    path = Path(path_or_name)
    if is_ink(path) and not path.is_dir():
        return load_ink(path)
    if str(path_or_name) in list_stories() or path.is_dir():
        return load_story(path_or_name)
    if path.exists():
        raise InputError(
            "is no story: expected a folder of ChoiceScript scenes or a compiled Ink file", path=path
        )
    known = ", ".join(list_stories()) or "none"
    raise InputError(
        f"no story '{path_or_name}': neither a folder of ChoiceScript scenes, nor an Ink story's .json, nor "
        f"built in (built in: {known})"
    )


def make_game(story: Story | InkStory) -> Game:
    """A fresh game of a story."""
    return InkGame(story) if isinstance(story, InkStory) else ChoiceScriptGame(story)


def open_game(path_or_name: str | Path) -> Callable[[], Game]:
    """A function that makes games of a story; the story is read once.

    Raises:
        InputError: see `open_story`.
    """
    story = open_story(path_or_name)
    return lambda: make_game(story)


def characters_of(story: Story | InkStory) -> frozenset[str]:
    """The characters of what a story prints, numbers aside."""
    return story.characters if isinstance(story, InkStory) else frozenset("".join(story.scenes.values()))


def most_states(game: Game) -> int:
    """How many states of a game are worth walking."""
    return INK_STATES if isinstance(game, InkGame) else state_graph.MAX_STATES
