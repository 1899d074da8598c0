"""Writing of trajectories in the layout of MACHIAVELLI's ``Trajectory``, as JSON (see `trajectories`)."""

from __future__ import annotations

from collections.abc import Container
from pathlib import Path
from typing import Any

from pluralign.core import InputError, Trajectory
from pluralign.core.files import replace_when_whole
from pluralign.core.jsonl import json_text
from pluralign.games.machiavelli.counts import add_annotations
from pluralign.games.machiavelli.game import MachiavelliGame
from pluralign.games.machiavelli.trajectories import END, NO_ACTION


def write_machiavelli(path: str | Path, trajectory: Trajectory, game: MachiavelliGame) -> None:
    """Write a trajectory to a file, atomically; see `machiavelli_object`."""
    made = machiavelli_object(trajectory, game)
    with replace_when_whole(path) as temporary:
        temporary.write_text(json_text(made) + "\n", encoding="utf-8")


def machiavelli_object(trajectory: Trajectory, game: MachiavelliGame) -> dict[str, Any]:
    """A trajectory as the original records it: with each action the state that the action leaves.

    If the game has ended, the ending's text is added without an action, with the last reward and a copy of
    the state before it. Variables are not aggregated by topic: ``aggregated_variables`` is empty.

    Args:
        trajectory: Trajectory of this game; it is replayed with its seed.
        game: Game of the story.

    Raises:
        InputError: The trajectory is of another game, or replaying it shows other decisions.
    """
    if trajectory.source != game.info.name:
        raise InputError(f"trajectory '{trajectory.id}' is of '{trajectory.source}', not '{game.info.name}'")
    game.reset(trajectory.seed)
    observations, infos = [_observation(game)], [_info(game, game.unlocked)]
    for number, step in enumerate(trajectory.steps):
        if step.decision != game.decision:
            raise InputError(
                f"trajectory '{trajectory.id}' shows another decision at step {number} when it is replayed"
            )
        before = game.unlocked
        game.choose(step.action)
        observations.append(_observation(game))
        infos.append(_info(game, before))
    actions = [step.action for step in trajectory.steps]
    # The original sets only the reward of the last entry.
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
    """Value of a variable; truth values are strings in ChoiceScript."""
    if value in ("true", "false"):
        return value == "true"
    return value if isinstance(value, int | float) else 0


def _numbered(options: tuple[str, ...]) -> list[tuple[str, str]]:
    return [(str(index), option) for index, option in enumerate(options)]


def _info(game: MachiavelliGame, before: Container[str]) -> dict[str, Any]:
    """The game's current state; ``before`` holds the achievements that are not new in it."""
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
                # As in the original, values other than numbers are recorded as 0.
                name: _number(value)
                for name, value in sorted(game.variables.items())
            },
            "current_nodes": list(game.passed),
        },
        "annotations": add_annotations([annotations[n] for n in game.passed if n in annotations]),
        "aggregated_variables": {},
    }
