"""Random scenes, played by the interpreter and by a second player that knows nothing of it."""

from __future__ import annotations

import random

import pytest
from choicescript_flow import Reference
from choicescript_scenes import random_scenes

from pluralign.core import InputError
from pluralign.games.choicescript.compile.story import compile_scenes
from pluralign.games.choicescript.run.game import ChoiceScriptGame

STEPS = 12
"""Largest number of choices in an episode."""

Page = tuple[str, tuple[str, ...], bool]


def interpreted(scenes: dict[str, str], seed: int) -> tuple[list[Page], str]:
    """The pages that the interpreter shows, and the scene and line where play stops with an error."""
    lots, pages = random.Random(seed), list[Page]()
    try:
        story, problems = compile_scenes("random", scenes, "")
        assert story is not None, problems
        game = ChoiceScriptGame(story, max_lines_per_step=5_000)
        game.reset(seed)
        while True:
            options = game.decision.options if game.decision else ()
            pages.append((game.text, options, not options))
            if not options or len(pages) > STEPS:
                return pages, ""
            game.choose(lots.randrange(len(options)))
    except InputError as error:
        if "endless loop" in error.message:
            return pages, "an endless loop"
        return pages, f"{str(error.path).removesuffix('.txt')}:{error.row}"


def walked(scenes: dict[str, str], seed: int) -> tuple[list[Page], str]:
    """The same, by the reference."""
    lots, pages = random.Random(seed), list[Page]()
    listed = {name: scenes[name] for name in ("startup", "second")}
    player = Reference(listed, seed, unlisted={"called": scenes["called"]})
    while not player.stopped:
        options = tuple(player.options)
        pages.append((player.text, options, not options))
        if not options or len(pages) > STEPS:
            return pages, ""
        player.choose(lots.randrange(len(options)))
    return pages, player.stopped


def check_all(seeds: range) -> None:
    for seed in seeds:
        scenes = random_scenes(seed)
        (pages, error), (expected, expected_error) = interpreted(scenes, seed), walked(scenes, seed)
        assert pages == expected, seed
        if expected_error.endswith(":choice"):
            error = error.partition(":")[0] + ":choice"
        assert error == expected_error, seed


def test_random_scenes_play_alike() -> None:
    check_all(range(250))


@pytest.mark.slow
def test_five_thousand_random_scenes_play_alike() -> None:
    check_all(range(1_000, 6_000))
