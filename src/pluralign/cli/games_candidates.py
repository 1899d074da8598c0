"""``pluralign games candidates``: the commands that a Z-machine story lists."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import tyro

from pluralign.cli.common import Figures, say, wrote
from pluralign.core import InputError
from pluralign.games.zmachine.load import load_zmachine
from pluralign.games.zmachine.prepare import prepare_candidates
from pluralign.games.zmachine.side_file import is_zmachine


def find_candidates(
    story: Annotated[Path, tyro.conf.Positional],
    episodes: int = 20,
    max_steps: int = 40,
    seed: int = 0,
) -> Figures:
    """Find the commands that a Z-machine story lists in each state, and write its file of candidates.

    Plays the walkthrough and random episodes, tries commands with the objects in sight in each state, and
    keeps those that do something. A file that exists is extended. In states that are not in the file, play
    tries the commands itself, which takes seconds.

    Example: pluralign games candidates stories/zork1.z3 --episodes 30

    Args:
        story: Path of the story file or its side file.
        episodes: Number of random episodes.
        max_steps: Largest number of commands of a random episode.
        seed: Random seed of the episodes.
    """
    if not is_zmachine(story):
        raise InputError("is not a Z-machine story or its side file", path=story)
    loaded = load_zmachine(story)
    found = prepare_candidates(loaded, episodes=episodes, max_steps=max_steps, seed=seed)
    if found.score is not None:
        say(f"the walkthrough ends with {found.score} of {loaded.info.max_points:g} points")
    say(f"{found.tried} commands tried; {found.commands} do something, with {found.keys} keys")
    wrote(loaded.side.candidates_file, "read whenever the story is played")
    return {"file": str(loaded.side.candidates_file), **asdict(found)}
