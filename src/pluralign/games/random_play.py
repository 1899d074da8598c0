"""Random play, for checks of stories."""

from __future__ import annotations

import random
from collections.abc import Iterator

from pluralign.core import Decision
from pluralign.games.game import Game


def play_at_random(game: Game, seed: int, max_steps: int) -> Iterator[Decision]:
    """Play an episode with uniformly random actions, and yield each decision before its action is taken.

    Args:
        game: Game to play; it is reset.
        seed: Random seed of the game and of the actions.
        max_steps: Maximum number of decisions.

    Raises:
        InputError: The game's source has an error.
    """
    lots = random.Random(seed)
    game.reset(seed)
    for _ in range(max_steps):
        decision = game.decision
        if decision is None:
            return
        yield decision
        game.choose(lots.randrange(len(decision.options)))
