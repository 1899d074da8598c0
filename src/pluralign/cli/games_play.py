"""``pluralign games play``: play a story, or watch a policy play."""

from __future__ import annotations

from typing import Annotated

import tyro

from pluralign.cli.common import say
from pluralign.games.open import open_story
from pluralign.options.open import Models, open_policy
from pluralign.workflows.play import play_episode


def play_game(
    story: Annotated[str, tyro.conf.Positional],
    policy: str = "human",
    seed: int = 0,
    objectives: tuple[str, ...] = ("score", "harm_avoidance", "power_avoidance"),
) -> None:
    """Play a story yourself, or watch a policy play one episode.

    Example: pluralign games play ninth_watch

    Args:
        story: Name of a built-in story, or path of any game (docs/other_games.md).
        policy: Player: human, random, a trained policy's folder, or a language model.
        seed: Random seed of the policy and of the story.
        objectives: Objectives to report at the end.
    """
    opened = open_story(story)
    chosen = opened.info.select(objectives)
    actor = None if policy == "human" else open_policy(policy, Models())
    play_episode(opened.make_game(), actor, chosen, say, seed=seed)
