"""Errors in an Ink story, found in its tags and by random play."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np

from pluralign.core import InputError
from pluralign.games.ink.game import InkGame
from pluralign.games.ink.load import load_ink

EPISODES = 200
"""Number of episodes that a check plays."""

MAX_STEPS = 1000
"""An episode with more decisions counts as endless."""


def check_ink(path: str | Path, *, episodes: int = EPISODES, seed: int = 0) -> list[InputError]:
    """Errors in a story, each reported once.

    Finds tags and side files that cannot be read and, by random play, the runtime's errors, endless loops,
    episodes without an end, and ends without an ``-> END``. Errors that no episode reaches are not found.

    Args:
        path: Path of the compiled file or the side file (see `load_ink`).
        episodes: Number of episodes to play.
        seed: Random seed of the actions and of the story.

    Raises:
        InputError: The file does not exist, or is not compiled Ink that the runtime can read.
    """
    game: InkGame = load_ink(path).make_game()
    found: dict[str, InputError] = {}
    if game.decision is None:
        error = InputError("the story has no choice", path=game.story.path)
        found[error.message] = error
    for episode in range(episodes):
        rng = np.random.default_rng([seed, episode])
        try:
            game.reset(int(cast("Any", rng).integers(2**31)))
            ended = _play(game, rng)
        except InputError as error:
            found.setdefault(error.message, error)
            continue
        message = game.loose_end or ("" if ended else f"an episode goes on after {MAX_STEPS} decisions")
        if message:
            found.setdefault(message, InputError(message, path=game.story.path))
    return list(found.values())


def _play(game: InkGame, rng: np.random.Generator) -> bool:
    for _ in range(MAX_STEPS):
        if game.decision is None:
            return True
        game.choose(int(rng.integers(len(game.decision.options))))
    return game.decision is None
