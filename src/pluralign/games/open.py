"""Any story by its name or path: a built-in one, a folder of ChoiceScript scenes, an Ink story, a game of
MACHIAVELLI."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pluralign.core import InputError
from pluralign.games import state_graph
from pluralign.games.choicescript import ChoiceScriptGame, Story, list_stories, load_story
from pluralign.games.game import Game
from pluralign.games.ink import InkGame, InkStory, is_ink, load_ink
from pluralign.games.ink.game import MAX_STATES as INK_STATES
from pluralign.games.labelled import (
    LabelledFile,
    LabelledGame,
    LabelledStory,
    label_story,
    read_labelled_file,
)
from pluralign.games.machiavelli import MachiavelliGame, MachiavelliStory, is_machiavelli, load_machiavelli
from pluralign.games.side_file import names_story

AnyStory = Story | InkStory | MachiavelliStory | LabelledStory


def open_story(path_or_name: str | Path) -> AnyStory:
    """Read a story.

    Args:
        path_or_name: the name of a built-in story, a folder of ChoiceScript scenes, an Ink story's compiled
            file or the side file that says where it is (`load_ink`), or ``source/GAME.json`` in a folder of
            MACHIAVELLI's; or a side file that names any of these (`read_labelled_file`).

    Raises:
        InputError: there is no such story, or it cannot be played.
    """
    path = Path(path_or_name)
    if names_story(path):
        file = read_labelled_file(path)
        story = open_named(file)
        return label_story(file, story, make_game(story)) if file.labels or file.words else story
    if is_machiavelli(path):
        return load_machiavelli(path)
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


def open_named(file: LabelledFile) -> AnyStory:
    """The story that a side file names, without labels.

    Raises:
        InputError: see `open_story`.
    """
    if not file.compatible:
        return open_story(file.story)
    if not is_machiavelli(file.story):
        raise InputError("goes with a game of MACHIAVELLI", path=file.path, field="compatible")
    return load_machiavelli(file.story, compatible=True)


def make_game(story: AnyStory) -> Game:
    """A fresh game of a story."""
    match story:
        case InkStory():
            return InkGame(story)
        case MachiavelliStory():
            return MachiavelliGame(story)
        case LabelledStory():
            return LabelledGame(story, make_game(story.story))
        case Story():
            return ChoiceScriptGame(story)


def open_game(path_or_name: str | Path) -> Callable[[], Game]:
    """A function that makes games of a story; the story is read once.

    Raises:
        InputError: see `open_story`.
    """
    story = open_story(path_or_name)
    return lambda: make_game(story)


def characters_of(story: AnyStory) -> frozenset[str]:
    """The characters of what a story prints, numbers aside."""
    if isinstance(story, LabelledStory):
        return characters_of(story.story)
    if isinstance(story, InkStory):
        return story.characters
    scenes = story.story.scenes if isinstance(story, MachiavelliStory) else story.scenes
    return frozenset("".join(scenes.values()))


def most_states(game: Game) -> int:
    """How many states of a game are worth walking."""
    if isinstance(game, LabelledGame):
        return most_states(game.game)
    return INK_STATES if isinstance(game, InkGame) else state_graph.MAX_STATES
