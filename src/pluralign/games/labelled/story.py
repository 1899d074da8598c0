"""A story with a rater's labels of its options."""

from __future__ import annotations

import contextlib
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

from pluralign.core import Decision, InputError
from pluralign.games.game import Game, GameInfo, Story
from pluralign.games.labelled.file import LabelledFile
from pluralign.games.labelled.labels import Labels, digest_of, read_labels
from pluralign.games.random_play import play_at_random
from pluralign.games.state_graph import explore

EPISODES = 20
"""Number of random episodes in which a decision is looked for that the labels of a file fit."""

MAX_STEPS = 200
"""Maximum number of steps of each of these episodes."""


@dataclass(frozen=True, eq=False)
class LabelledStory:
    """A story and the labels of its options. Immutable; games share it.

    Args:
        info: Information about the story, with one more objective for each file of labels.
        story: Story without labels.
        labels: Labels, one file for each objective.
    """

    info: GameInfo
    story: Story
    labels: tuple[Labels, ...]

    @property
    def characters(self) -> frozenset[str]:
        """Characters that the story can print."""
        return self.story.characters

    def make_game(self) -> LabelledGame:
        """A new game of this story."""
        return LabelledGame(self)


def label_story(file: LabelledFile, story: Story) -> LabelledStory:
    """Add labels to a story.

    Args:
        file: Side file that lists the labels.
        story: Story without labels.

    Raises:
        InputError: Labels cannot be read, two files have the same objective, an objective's name is in
            use, or the labels fit no decision of the story. Where the decisions of a story cannot be listed,
            labels that no random episode meets are accepted; steps without labels count nothing.
    """
    labels = tuple(read_labels(path, file.names.get(path, "")) for path in file.labels)
    objectives = {objective.name: objective for objective in story.info.objectives}
    metrics: set[str] = set()
    for found in labels:
        if found.metric in metrics:
            message = f"'{found.asked.name}' has labels already: one file for each objective"
            raise InputError(message, path=found.path, field="objective")
        if found.objective.name in objectives:
            message = f"the story has an objective '{found.objective.name}' already"
            raise InputError(message, path=found.path, field="objective")
        metrics.add(found.metric)
        objectives[found.objective.name] = found.objective
    _check_fit(labels, story)
    info = replace(
        story.info,
        name=file.name,
        objectives=tuple(objectives.values()),
        labels=digest_of(labels),
        **file.words,
    )
    return LabelledStory(info, story, labels)


def _check_fit(labels: Sequence[Labels], story: Story) -> None:
    game = story.make_game()
    waiting: list[Labels] = list(labels)
    for seed in range(EPISODES):
        # Errors in the story are reported where play reaches them, not here.
        with contextlib.suppress(InputError):
            for decision in play_at_random(game, seed, MAX_STEPS):
                waiting = [found for found in waiting if decision.key not in found.values]
                if not waiting:
                    return
    # Random play may miss what a policy reached.
    keys = _all_decisions(game) if waiting else None
    waiting = [found for found in waiting if keys is not None and keys.isdisjoint(found.values)]
    if waiting:
        raise InputError(
            f"its labels fit no decision of '{game.info.name}': were they made for another story?",
            path=waiting[0].path,
        )


def _all_decisions(game: Game) -> frozenset[str] | None:
    """Keys of all decisions; None if they cannot be listed: some are random, or there are too many states."""
    try:
        return frozenset(decision.key for decision in explore(game, errors=[]).decisions)
    except InputError:
        return None


class LabelledGame:
    """A labelled story as a `Game`. A step counts what the unlabelled game counts and, for each objective,
    the rater's value of the option taken, as ``judged.OBJECTIVE``.

    Args:
        story: Story from `label_story`; any number of games may share it.
    """

    def __init__(self, story: LabelledStory) -> None:
        self.story = story
        self.game: Game = story.story.make_game()

    @property
    def info(self) -> GameInfo:
        """What is known before play."""
        return self.story.info

    @property
    def decision(self) -> Decision | None:
        """The current decision; None when the game has ended."""
        return self.game.decision

    @property
    def text(self) -> str:
        """Text shown since the last action (the ending's text when the game has ended)."""
        return self.game.text

    def reset(self, seed: int = 0) -> None:
        """Begin a new episode."""
        self.game.reset(seed)

    def choose(self, action: int) -> Mapping[str, float]:
        """Take an option; see `Game.choose`."""
        decision = self.game.decision
        counts = dict(self.game.choose(action))
        assert decision is not None, "the game refuses a choice after its end"
        for found in self.story.labels:
            if value := found.values.get(decision.key, {}).get(action, 0.0):
                counts[found.metric] = value
        return counts

    def save(self) -> Hashable:
        """The whole state; labels depend on the current decision alone."""
        return self.game.save()

    def restore(self, state: Hashable) -> None:
        """Return to a saved state."""
        self.game.restore(state)
