"""The file of candidates of a Z-machine story, made by play."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from pluralign.core.progress import ProgressBar
from pluralign.games.zmachine.candidates import Candidates, is_playable, place_key, to_try
from pluralign.games.zmachine.explorer import Explorer
from pluralign.games.zmachine.game import ZMachineGame, ZMachineStory, walked

PLACE_TRIES = 3
"""Number of states of a place in which directions are tried; the other commands are tried once per key."""


@dataclass(frozen=True)
class Prepared:
    """What the play for a file of candidates found.

    Args:
        keys: Number of keys.
        commands: Number of commands that do something.
        score: Score at the end of the walkthrough; None without a walkthrough.
        tried: Number of commands tried in this run.
    """

    keys: int
    commands: int
    score: int | None
    tried: int


def prepare_candidates(
    story: ZMachineStory,
    *,
    episodes: int,
    max_steps: int,
    seed: int,
    shown: bool = True,
) -> Prepared:
    """Play the walkthrough and random episodes, try commands in every state met, and write those that do
    something to the story's file of candidates. A file that exists is extended.

    Args:
        story: Story.
        episodes: Number of random episodes.
        max_steps: Largest number of commands of a random episode.
        seed: Random seed of the episodes.
        shown: Whether to show a progress bar on a terminal.

    Raises:
        InputError: The interpreter stopped, or a file cannot be written.
    """
    found = story.candidates
    explorer = story.explorer()
    work = _Work(story, explorer, found)
    steps = len(story.walkthrough) + episodes * max_steps
    with ProgressBar(steps, "candidates", unit="step", shown=shown) as bar:
        score = _walk(work, bar.advance) if story.walkthrough else None
        found.write()
        _play(work, ZMachineGame(replace(story, candidates=found)), episodes, max_steps, seed, bar.advance)
    return Prepared(len(found.tried), sum(map(len, found.commands.values())), score, work.tried)


def _play(
    work: _Work, game: ZMachineGame, episodes: int, max_steps: int, seed: int, progress: Callable[[], None]
) -> None:
    """Try commands in the states of random episodes."""
    for episode in range(episodes):
        lots = random.Random(f"{seed} {episode}")
        game.reset(lots.randrange(2**31))
        for _ in range(max_steps):
            if game.over:
                break
            work.explorer.interpreter.load(game.explorer.interpreter.state)
            work.examine(work.explorer.peek("look").text)
            decision = game.decision
            assert decision is not None, "the game is not over"
            game.choose(lots.randrange(len(decision.options)))
            progress()
        work.found.write()


def _walk(work: _Work, progress: Callable[[], None]) -> int:
    """Play the walkthrough; each of its commands is listed in its place.

    Commands are tried if the file has not got the whole walkthrough, so that an extended file is the same as
    one that was made at once.
    """
    explorer, story = work.explorer, work.story
    listed = {command for commands in work.found.walkthrough.values() for command in commands}
    fresh = not listed.issuperset(filter(is_playable, story.walkthrough))
    output = explorer.begin(story.side.walkthrough_seed)
    score, over = explorer.score(0, output, over=False), False
    for command in story.walkthrough:
        if fresh and is_playable(command):
            description = explorer.peek("look").text
            work.examine(description)
            _list_walked(work, command, description)
        output = explorer.enter(command)
        over = explorer.over(output)
        score = explorer.score(score, output, over=over)
        progress()
        if over:
            break
    return score


def _list_walked(work: _Work, command: str, description: str) -> None:
    scene = work.explorer.scene(description)
    key, known = place_key(scene.place), work.found.walkthrough
    if command not in known.setdefault(key, []):
        known[key].append(command)
    if command not in walked(work.story, work.explorer, scene):
        # It names an object by another word than its name.
        known.setdefault(f"{key} always", []).append(command)


class _Work:
    """Commands tried so far.

    Args:
        story: Story.
        explorer: Its run.
        found: File of candidates, which grows.
    """

    def __init__(self, story: ZMachineStory, explorer: Explorer, found: Candidates) -> None:
        self.story, self.explorer, self.found = story, explorer, found
        self.tried = 0

    def examine(self, description: str) -> None:
        """Try the commands of all keys of a state that have not been tried often enough."""
        scene = self.explorer.scene(description)
        place = place_key(scene.place)
        skip = frozenset(
            key for key, times in self.found.tried.items() if key != place or times >= PLACE_TRIES
        )
        unknown = to_try(scene, self.story.templates, skip)
        self.tried += sum(map(len, unknown.values()))
        for key, working in (self.explorer.working(unknown, scene) if unknown else {}).items():
            self.found.add(key, working)
