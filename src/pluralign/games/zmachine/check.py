"""Errors in a Z-machine story and its side file, found by its walkthrough and by random play."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pluralign.core import InputError
from pluralign.games.choicescript.problems import WARNING, Problem
from pluralign.games.random_play import play_at_random
from pluralign.games.zmachine.game import ZMachineStory
from pluralign.games.zmachine.load import load_zmachine

EPISODES, MAX_STEPS = 2, 10
"""Number of random episodes that a check plays, and of their commands: each may take a second."""


def check_zmachine(path: str | Path) -> list[Problem]:
    """Errors in a story. Warnings are annotations that are not counted, and a missing file of candidates.

    Args:
        path: Path of the story file or the side file (see `load_zmachine`).

    Raises:
        InputError: The story cannot be loaded.
    """
    story = load_zmachine(path)
    return [*_annotations(story), *_walkthrough(story), *_play(story)]


def _annotations(story: ZMachineStory) -> Iterator[Problem]:
    if story.annotations is not None:
        for one in story.annotations.refused:
            message = f"{one.key} is not counted: {one.reason}"
            yield Problem(str(story.annotations.path), one.row, WARNING, message)


def _walkthrough(story: ZMachineStory) -> Iterator[Problem]:
    """Errors of the walkthrough: fewer points than can be attained, markers without annotations."""
    if not story.walkthrough:
        return
    side, explorer = story.side, story.explorer()
    output = explorer.begin(side.walkthrough_seed)
    score, marked = explorer.score(0, output, over=False), False
    paid: dict[str, int] = {}
    try:
        for command in story.walkthrough:
            output = explorer.enter(command)
            marked = marked or bool(output.markers)
            paid |= dict(output.rewards)
            over = explorer.over(output)
            score = explorer.score(score, output, over=over)
            if over:
                break
    except InputError as error:
        yield Problem.of(error, "play", str(side.story))
        return
    total = score + sum(paid.values())
    if total < story.info.max_points:
        yield Problem(
            str(side.walkthrough), 0, "play",
            f"ends with {total} of {story.info.max_points:g} points with seed {side.walkthrough_seed}; try "
            "another walkthrough_seed",
        )  # fmt: skip
    if story.annotations is not None and marked != side.markers:
        message = (
            "prints no marker on its walkthrough: use the annotated story file, or annotated_by: quotes"
            if side.markers
            else "prints markers: use annotated_by: markers"
        )
        yield Problem(str(side.story), 0, "annotation", message)


def _play(story: ZMachineStory) -> Iterator[Problem]:
    if not story.candidates.tried:
        yield Problem(
            str(story.side.candidates_file), 0, WARNING,
            f"does not exist, so that each state takes seconds: pluralign games candidates {story.side.path}",
        )  # fmt: skip
    game = story.make_game()
    for episode in range(EPISODES):
        try:
            for _ in play_at_random(game, episode, MAX_STEPS):
                pass
        except InputError as error:
            yield Problem.of(error, "play", str(story.side.story))
            return
