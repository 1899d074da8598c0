"""A game of somebody else: Starforge (Cessnya Lin, MIT), 68 files, where the shared data holds it."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pluralign.games.choicescript.check.story import check_story
from pluralign.games.choicescript.load import load_story
from pluralign.games.choicescript.run.game import ChoiceScriptGame, ChoiceScriptStory

PREFIX = re.compile(r"\s*(?:\*\w+\s+(?:\([^#]*\)\s+)?)*#\s*(.*)")


@pytest.fixture(scope="module")
def folder(shared_data: Path) -> Path:
    """The game's scenes; skips where they are absent."""
    path = shared_data / "interactive_fiction" / "starforge_choicescript"
    if not path.is_dir():
        pytest.skip(f"Starforge is absent: no {path}")
    return path


@pytest.fixture(scope="module")
def story(folder: Path) -> ChoiceScriptStory:
    """The game."""
    return load_story(folder)


def episodes(game: ChoiceScriptGame, count: int) -> Iterator[int]:
    """Play at random to an ending, one seed after the other; the steps of each."""
    for seed in range(count):
        lots = random.Random(seed)
        game.reset(seed)
        steps = 0
        while game.decision is not None:
            yield steps
            game.choose(lots.randrange(len(game.decision.options)))
            steps += 1
        assert game.text.endswith("available for the next adaptation pass.")


def test_the_whole_game_is_sound(folder: Path, story: ChoiceScriptStory) -> None:
    assert check_story(folder) == []
    assert (story.info.title, story.info.author, story.info.random) == (
        "Starforge Act 1",
        "Cessnya Lin",
        False,
    )


def written(option_line: str) -> re.Pattern[str]:
    """What an option's source line can show: its text, and whatever its values print."""
    match = PREFIX.match(option_line)
    assert match is not None, option_line
    pieces = re.split(r"[$@]!{0,2}\{[^}]*\}", match.group(1).strip())
    return re.compile(".*".join(re.escape(" ".join(piece.split())) for piece in pieces))


def check_option_texts(story: ChoiceScriptStory, folder: Path, count: int) -> set[tuple[str, int]]:
    """Hold every text shown against its line of the source; the lines that were shown."""
    lines = {path.name: path.read_text(encoding="utf-8").split("\n") for path in folder.glob("*.txt")}
    game = ChoiceScriptGame(story)
    seen: set[tuple[str, int]] = set()
    for _ in episodes(game, count):
        assert game.decision is not None
        for option, text in zip(game.options, game.decision.options, strict=True):
            file = Path(option.path).name
            assert written(lines[file][option.line - 1]).fullmatch(text), (file, option.line, text)
            seen.add((file, option.line))
    return seen


def test_options_read_as_they_are_written(story: ChoiceScriptStory, folder: Path) -> None:
    seen = check_option_texts(story, folder, 50)
    options = sum(len(re.findall(r"^\s*#", p.read_text(), re.MULTILINE)) for p in folder.glob("*.txt"))
    # 50 plays of some 35 choices pass nearly all of the game's.
    assert len(seen) > 0.9 * options


@pytest.mark.slow
def test_a_thousand_episodes_end(story: ChoiceScriptStory, folder: Path) -> None:
    seen = check_option_texts(story, folder, 1000)
    options = sum(len(re.findall(r"^\s*#", p.read_text(), re.MULTILINE)) for p in folder.glob("*.txt"))
    assert len(seen) == options


def test_one_seed_is_one_episode(story: ChoiceScriptStory) -> None:
    first, second = ChoiceScriptGame(story), ChoiceScriptGame(story)
    for _ in zip(episodes(first, 3), episodes(second, 3), strict=True):
        assert first.decision == second.decision
        assert first.save() == second.save()


def test_states_come_back(story: ChoiceScriptStory) -> None:
    game, other = ChoiceScriptGame(story), ChoiceScriptGame(story)
    for _ in episodes(game, 2):
        other.restore(game.save())
        assert other.decision == game.decision
        assert other.save() == game.save()
