"""Random play, as checks use it."""

from __future__ import annotations

import random
from collections.abc import Iterator

from pluralign.core import Decision
from pluralign.games.game import Game


def play_at_random(game: Game, seed: int, max_steps: int) -> Iterator[Decision]:
    """Play an episode, each option as likely as any other, and give every decision before it is taken.

    Args:
        game: is reset.
        seed: of the game and of the choices.
        max_steps: after so many decisions play stops.

    Raises:
        InputError: the game's source is at fault.
    """
    lots = random.Random(seed)
    game.reset(seed)
    for _ in range(max_steps):
        decision = game.decision
        if decision is None:
            return
        yield decision
        game.choose(lots.randrange(len(decision.options)))
