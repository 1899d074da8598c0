"""The size of a story."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pluralign.core import UniformPolicy
from pluralign.games.choicescript.language.head import HEAD_COMMANDS
from pluralign.games.choicescript.language.parser import OPTION, TEXT, Node, option_start, parse_scene
from pluralign.games.choicescript.load import load_story
from pluralign.games.choicescript.run.choose import Choose
from pluralign.games.choicescript.run.game import ChoiceScriptGame, ChoiceScriptStory
from pluralign.games.choicescript.run.program import STATS
from pluralign.games.exact_front import exact_returns
from pluralign.games.state_graph import END, StateGraph, explore


@dataclass(frozen=True)
class StoryStatistics:
    """The size of a story.

    Args:
        choices: Number of ``*choice`` and ``*fake_choice`` blocks.
        words: Number of words in text and options.
        states: Number of reachable states, endings excluded.
        decisions: Number of distinct pairs of a prompt and its options.
        shortest: Smallest number of steps of an episode.
        longest: Largest number of steps of an episode.
        mean_length: Expected number of steps of an episode under uniformly random play.
        mean_options: Mean number of options, over the distinct decisions.
    """

    choices: int
    words: int
    states: int
    decisions: int
    shortest: int
    longest: int
    mean_length: float
    mean_options: float


def story_statistics(
    story: ChoiceScriptStory | str | Path, graph: StateGraph | None = None
) -> StoryStatistics:
    """The size of a story.

    Args:
        story: Story, or its folder or name.
        graph: States of the story, if they are explored already.

    Raises:
        InputError: The story cannot be played, or can go on forever.
    """
    story = story if isinstance(story, ChoiceScriptStory) else load_story(story)
    graph = graph or explore(ChoiceScriptGame(story))
    longest = np.zeros(len(graph.states), dtype=np.int64)
    shortest = np.zeros_like(longest)
    for state in graph.backwards.tolist():
        if state != END:
            following = graph.target[graph.first[state] : graph.first[state + 1]]
            longest[state] = 1 + longest[following].max()
            shortest[state] = 1 + shortest[following].min()
    options = [len(decision.options) for decision in graph.decisions]
    return StoryStatistics(
        choices=sum(isinstance(i, Choose) for i in story.program.instructions),
        words=sum(_words(parse_scene(s, "")) for name, s in story.scenes.items() if name != STATS),
        states=len(graph.states) - 1,
        decisions=len(graph.decisions),
        shortest=int(shortest[graph.start]),
        longest=int(longest[graph.start]),
        mean_length=exact_returns(graph, UniformPolicy()).steps,
        mean_options=float(np.mean(options)) if options else 0.0,
    )


def _words(nodes: Sequence[Node]) -> int:
    total = 0
    for node in nodes:
        if node.command == TEXT:
            total += len(node.data.split())
        elif node.is_option:
            # The data of a line that begins with its # has none before the text.
            start = 0 if node.command == OPTION else option_start(node.data) + 1
            total += len(node.data[start:].split())
        if node.command not in HEAD_COMMANDS:
            total += _words(node.block)
    return total
