"""Batched play of episodes, with results that do not depend on the batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from pluralign.collect.chooser import SEED_RANGE, Choice, Chooser, PolicyChooser, StateChooser
from pluralign.core import Decision, InputError, Objective, Policy, Step, Trajectory
from pluralign.core.checks import checked
from pluralign.core.objective import require_goals
from pluralign.games.game import Game

AHEAD = 4
"""Number of batches' worth of episodes that may start ahead of the oldest unfinished one."""


@checked
def roll_out(
    make_game: Callable[[], Game],
    policy: Policy,
    *,
    episodes: int | Sequence[int],
    seed: int,
    objectives: Sequence[Objective],
    max_steps: int = 200,
    greedy: bool = False,
    batch: int = 64,
) -> Iterator[Trajectory]:
    """Play episodes with a policy; a shorthand for `play` with a `PolicyChooser`.

    Examples:
        >>> import pluralign as pl
        >>> game = pl.open_story("salt_ledger")
        >>> played = list(pl.roll_out(game.make_game, pl.UniformPolicy(), episodes=3, seed=0, objectives=[]))
        >>> len(played)
        3
    """
    chooser = PolicyChooser(policy, greedy=greedy)
    return play(
        make_game,
        chooser,
        episodes=episodes,
        seed=seed,
        objectives=objectives,
        max_steps=max_steps,
        batch=batch,
    )


@checked
def play(
    make_game: Callable[[], Game],
    chooser: Chooser,
    *,
    episodes: int | Sequence[int],
    seed: int,
    objectives: Sequence[Objective],
    max_steps: int = 200,
    batch: int = 64,
) -> Iterator[Trajectory]:
    """Play episodes in lock-step, so that the chooser receives batches, and yield them in order.

    All randomness of an episode derives from ``(seed, episode)``; neither the batch size nor the other
    episodes change it. The game's seed does not depend on the player, so policies are compared on the same
    episodes. The chooser is not called for a decision with a single option.

    Args:
        make_game: Function that makes a game; called up to ``batch`` times. Games are reused for later
            episodes.
        chooser: Player.
        episodes: Number of episodes, counted from 0, or the indices of the episodes to play.
        seed: Random seed, not negative.
        objectives: Objectives whose rewards are recorded (`Objective.reward` of each step's counts).
        max_steps: Number of steps after which an episode is truncated.
        batch: Number of episodes played at once.

    Raises:
        InputError: An argument is out of range, or an episode has no decision.
    """
    require_goals(objectives)
    indexes = range(episodes) if isinstance(episodes, int) else [int(index) for index in episodes]
    negative = episodes < 0 if isinstance(episodes, int) else any(index < 0 for index in indexes)
    if seed < 0 or max_steps < 1 or batch < 1 or negative:
        raise InputError(
            "seed and episodes must not be negative, max_steps and batch must be at least 1; "
            f"found seed {seed}, max_steps {max_steps}, batch {batch}"
        )
    return _play(make_game, chooser, indexes, seed, tuple(objectives), max_steps, batch)


@dataclass
class _Seat:
    """A game and the episode that is being played on it."""

    game: Game
    place: int
    episode: int
    seed: int
    stream: np.random.Generator
    steps: list[Step] = field(default_factory=list[Step])


def _play(
    make_game: Callable[[], Game],
    chooser: Chooser,
    indexes: Sequence[int],
    seed: int,
    objectives: tuple[Objective, ...],
    max_steps: int,
    batch: int,
) -> Iterator[Trajectory]:
    idle: list[Game] = []
    seats: list[_Seat] = []
    finished: dict[int, Trajectory] = {}
    begun = given = 0
    while given < len(indexes):
        while begun < min(len(indexes), given + AHEAD * batch) and len(seats) < batch:
            game = idle.pop() if idle else make_game()
            seats.append(_begin(game, begun, indexes[begun], seed))
            begun += 1
        _step_all(seats, chooser, objectives)
        still: list[_Seat] = []
        for seat in seats:
            ended = seat.game.decision is None
            if ended or len(seat.steps) >= max_steps:
                finished[seat.place] = _finish(seat, chooser.name, seed, ended)
                idle.append(seat.game)
            else:
                still.append(seat)
        seats = still
        while given in finished:
            yield finished.pop(given)
            given += 1


def episode_seeds(seed: int, episode: int) -> tuple[np.random.Generator, int]:
    """Source of random numbers of an episode's choices, and the seed of its game.

    Args:
        seed: Random seed of all episodes.
        episode: Number of the episode.
    """
    stream = np.random.default_rng([seed, episode])
    return stream, int(stream.integers(2**31))


def _begin(game: Game, place: int, episode: int, seed: int) -> _Seat:
    stream, game_seed = episode_seeds(seed, episode)
    game.reset(game_seed)
    if game.decision is None:
        raise InputError(f"story '{game.info.name}' ends before its first decision")
    return _Seat(game, place, episode, game_seed, stream)


def _step_all(seats: list[_Seat], chooser: Chooser, objectives: tuple[Objective, ...]) -> None:
    asked: list[tuple[_Seat, Decision, int]] = []
    for seat in seats:
        decision = seat.game.decision
        assert decision is not None, "seats whose story ended are cleared"
        # Drawn even if the chooser is not called, so that a step's number determines its seed.
        step_seed = int(seat.stream.integers(SEED_RANGE))
        if len(decision.options) == 1:
            _take(seat, decision, Choice(0, {"log_prob": 0.0}), objectives)
        else:
            asked.append((seat, decision, step_seed))
    if asked:
        decisions, seeds = [d for _, d, _ in asked], [s for _, _, s in asked]
        if isinstance(chooser, StateChooser):
            choices = chooser.choose_at([seat.game.save() for seat, _, _ in asked], decisions, seeds)
        else:
            choices = chooser.choose(decisions, seeds)
        for (seat, decision, _), choice in zip(asked, choices, strict=True):
            _take(seat, decision, choice, objectives)


def _take(seat: _Seat, decision: Decision, choice: Choice, objectives: tuple[Objective, ...]) -> None:
    counts = seat.game.choose(choice.action)
    seat.steps.append(
        Step(
            decision=decision,
            action=choice.action,
            rewards={o.name: o.reward(counts) for o in objectives},
            counts=dict(counts),
            outcome=seat.game.text if seat.game.decision is None else "",
            info=choice.info,
        )
    )


def _finish(seat: _Seat, policy: str, seed: int, ended: bool) -> Trajectory:
    return Trajectory(
        id=f"{policy}-{seed}-{seat.episode}",
        source=seat.game.info.name,
        policy=policy,
        seed=seat.seed,
        steps=tuple(seat.steps),
        terminated=ended,
        truncated=not ended,
    )
