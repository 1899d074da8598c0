"""Random play, for checks of stories and for their identity."""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np

from pluralign.core import Decision, InputError
from pluralign.core.digests import digest
from pluralign.games.game import Game

_PROBED = 200
"""Number of random steps that distinguish stories of one name."""


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


def play_digest(game: Game) -> str | None:
    """Digest of a little random play, which differs where a story of the same name was changed.

    Args:
        game: Game to play; it is reset.

    Returns:
        The digest; None for a game that plays the same actions in different ways.
    """
    found = _played(game)
    return found if _played(game) == found else None


def _played(game: Game) -> str:
    stream, parts = np.random.default_rng(0), list[bytes]()
    for episode in range(_PROBED):
        # A reset may take longer than a step.
        if len(parts) == _PROBED:
            break
        game.reset(episode)
        try:
            while (decision := game.decision) is not None and len(parts) < _PROBED:
                counts = game.choose(int(stream.integers(len(decision.options))))
                parts.append(f"{decision.key} {sorted(counts.items())}".encode())
        except InputError:
            # Whoever plays may never come to the place with this error.
            parts.append(b"error")
    return digest(parts)
