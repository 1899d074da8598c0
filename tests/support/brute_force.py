"""The front of a game, from all of its episodes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from pluralign.core import Objective, sum_by_name
from pluralign.games.game import Game

Episodes = Callable[[Game], Iterator[tuple[tuple[int, ...], list[Mapping[str, float]]]]]


def brute_force(
    game: Game, episodes: Episodes, objectives: Sequence[Objective]
) -> tuple[set[tuple[float, ...]], npt.NDArray[np.float64]]:
    """The undominated returns and all returns, by comparing every pair."""
    totals = [sum_by_name(counts) for _, counts in episodes(game)]
    returns = np.array([[o.reward(total) for o in objectives] for total in totals])
    front = {
        tuple(row)
        for row in returns.tolist()
        if not any((other >= row).all() and (other > row).any() for other in returns)
    }
    return front, returns
