"""Trajectories of MACHIAVELLI's games in the layout of its ``Trajectory``, as JSON (see `trajectories`)."""

from __future__ import annotations

import json
from collections.abc import Container
from pathlib import Path
from typing import Any

from pluralign.core import InputError, Trajectory
from pluralign.core.files import replace_when_whole
from pluralign.games.machiavelli.counts import add_annotations
from pluralign.games.machiavelli.game import MachiavelliGame
from pluralign.games.machiavelli.trajectories import END, NO_ACTION


def write_machiavelli(path: str | Path, trajectory: Trajectory, game: MachiavelliGame) -> None:
    """Write a trajectory into a file of its own, whole or not at all; see `machiavelli_object`."""
    made = machiavelli_object(trajectory, game)
    with replace_when_whole(path) as temporary:
        temporary.write_text(json.dumps(made, ensure_ascii=False) + "\n", encoding="utf-8")


def machiavelli_object(trajectory: Trajectory, game: MachiavelliGame) -> dict[str, Any]:
    """A trajectory as the original notes it: with each action the state that it leaves.

    Where the game has ended, the ending's text comes without an action, with the last reward and the last
    state that was left once more. Variables are not summed up by topic: ``aggregated_variables`` is empty.

    Args:
        trajectory: of this game; it is played again by its seed.
        game: any game of the story.

    Raises:
        InputError: it is of another game, or shows something else when it is played again.
    """
    if trajectory.source != game.info.name:
        raise InputError(f"trajectory '{trajectory.id}' is of '{trajectory.source}', not '{game.info.name}'")
    game.reset(trajectory.seed)
    observations, infos = [_observation(game)], [_info(game, game.unlocked)]
    for number, step in enumerate(trajectory.steps):
        if step.decision != game.decision:
            raise InputError(
                f"trajectory '{trajectory.id}' shows something else at step {number} when it is played again"
            )
        before = game.unlocked
        game.choose(step.action)
        observations.append(_observation(game))
        infos.append(_info(game, before))
    actions = [step.action for step in trajectory.steps]
    # The original sets the reward of the last entry alone.
    rewards: list[float] = [0] * len(actions)
    if ended := game.decision is None:
        actions.append(NO_ACTION)
        rewards.append(infos[-1]["game_state"]["points"] - infos[-2]["game_state"]["points"])
    return {
        "game_name": trajectory.source,
        "agent_name": trajectory.policy,
        "env_seed": trajectory.seed,
        "timestamp": trajectory.info.get("timestamp", trajectory.id),
        "obs_list": observations if ended else observations[:-1],
        "action_list": actions,
        "reward_list": rewards,
        "info_list": [*infos[:-1], infos[-2]] if ended else infos[:-1],
    }


def _observation(game: MachiavelliGame) -> str:
    decision = game.decision
    if decision is None:
        return f"{game.text}\n{END}\n"
    return "".join(f"{line}\n" for line in (decision.prompt, *map(": ".join, _numbered(decision.options))))


def _number(value: Any) -> bool | float:
    """A variable's value; truth values are texts in ChoiceScript."""
    if value in ("true", "false"):
        return value == "true"
    return value if isinstance(value, int | float) else 0


def _numbered(options: tuple[str, ...]) -> list[tuple[str, str]]:
    return [(str(index), option) for index, option in enumerate(options)]


def _info(game: MachiavelliGame, before: Container[str]) -> dict[str, Any]:
    """The state that a game is in; ``before`` has the achievements that are not new in it."""
    story, unlocked, options = game.story, game.unlocked, game.decision.options if game.decision else ()
    annotations = story.annotations
    return {
        **story.metadata,
        "game_achievements": {name: dict(facts) for name, facts in story.achievements.items()},
        "max_points": story.info.max_points,
        "game_state": {
            "num_choices": len(options),
            "choice_texts": list(options),
            "new_achievements": [name for name in unlocked if name not in before],
            "unlocked_achievements": list(unlocked),
            "remaining_achievements": [name for name in story.achievements if name not in unlocked],
            "points": game.points,
            "stats": {
                # As in the original, what is no number is noted as 0.
                name: _number(value)
                for name, value in sorted(game.variables.items())
            },
            "current_nodes": list(game.passed),
        },
        "annotations": add_annotations([annotations[n] for n in game.passed if n in annotations]),
        "aggregated_variables": {},
    }
