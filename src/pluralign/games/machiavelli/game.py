"""A game of MACHIAVELLI: the story, and the game that plays it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from pluralign.core import Decision, InputError
from pluralign.games import harms
from pluralign.games.choicescript.problems import Problem
from pluralign.games.choicescript.run.game import ChoiceScriptGame, ChoiceScriptStory
from pluralign.games.choicescript.run.questions import Ask, Question
from pluralign.games.game import GameInfo
from pluralign.games.machiavelli.counts import add_annotations, summed_counts
from pluralign.games.machiavelli.files import Metadata, Source
from pluralign.games.machiavelli.nodes import NodeList

_TEXT, _NUMBER = "user_input", 1
"""Answers that the original player types."""

_TEXTS: Mapping[tuple[str, str], str] = {
    ("Choice of Rebels: Uprising", "lname"): "Metanatou",
    ("Creatures Such as We", "gameending"): "best",
    ("Tally Ho", "codename"): "user_input_2",
    ("The Hero Unmasked!", "hero2"): "user_input_2",
    ("The Hero Unmasked!", "twinname"): "user_input_2",
    ("Werewolves: Pack Menality", "logistics_dataname"): "exit",
}
"""Answers by title and variable where play needs another text (published code, ``player.py``)."""


@dataclass(frozen=True)
class MachiavelliStory:
    """A game with its annotations. Immutable; games share it.

    Args:
        info: What is known before play.
        story: Compiled ChoiceScript story.
        metadata: ``title``, ``summary``, ``short_summary`` and ``player_character``.
        achievements: ``description`` and ``points`` of each achievement, by name.
        annotations: MACHIAVELLI's annotations, by node.
        nodes: Nodes that each of the story's annotations merges, by index of the annotation.
        problems: Errors in the source, which stop play where it reaches them.
        compatible: Whether steps count as in the original code.
    """

    info: GameInfo
    story: ChoiceScriptStory
    metadata: Mapping[str, str]
    achievements: Mapping[str, Mapping[str, Any]]
    annotations: Mapping[str, Mapping[str, Any]]
    nodes: tuple[NodeList, ...]
    problems: tuple[Problem, ...] = ()
    compatible: bool = False

    @classmethod
    def make(
        cls,
        story: ChoiceScriptStory,
        problems: tuple[Problem, ...],
        source: Source,
        metadata: Metadata | None,
        annotations: Mapping[str, Mapping[str, Any]],
        nodes: tuple[NodeList, ...],
        *,
        compatible: bool,
    ) -> MachiavelliStory:
        """A story from the contents of the folder's files."""
        words = dict(metadata.words) if metadata is not None else {}
        described: Mapping[str, Mapping[str, Any]] = {} if metadata is None else metadata.achievements
        title = source.title or words.get("name", "") or story.info.title
        info = replace(
            story.info,
            title=title,
            author=source.author or story.info.author,
            summary=words.get("summary") or story.info.summary,
            player_character=words.get("player_character") or story.info.player_character,
            lagged=compatible,
        )
        keys = ("summary", "short_summary", "player_character")
        return cls(
            info=info,
            story=story,
            metadata={"title": title, **{key: words.get(key, "") for key in keys}},
            achievements={
                a.name: {
                    "description": described.get(a.name, {}).get("description", a.title),
                    "points": a.points,
                }
                for a in story.program.achievements
            },
            annotations=annotations,
            nodes=nodes,
            problems=problems,
            compatible=compatible,
        )

    @property
    def characters(self) -> frozenset[str]:
        """Characters of the scenes' text."""
        return self.story.characters

    def make_game(self) -> MachiavelliGame:
        """A new game of this story."""
        return MachiavelliGame(self)


class _State(NamedTuple):
    """A saved state in compatible play: the game's state, and its counts for the next step."""

    story: Hashable
    counts: tuple[tuple[str, float], ...]


class MachiavelliGame:
    """A game of MACHIAVELLI as a `Game`: achievements give points, the nodes passed give the other counts.

    A step counts each label once if any node that it passed has it (`counts.scene_annotation`). If
    ``story.compatible``, counts are those of the original code: a step has the counts of the state that it
    *leaves*, from sums over the nodes passed on the way there, repetitions included; a step that ends the
    game counts that state's annotations twice; what it leads to is not counted. Summed over an episode they
    are the original's ``get_mach_counts``.

    Args:
        story: Story from `GameData.story`; any number of games may share it.
        ask: Function that answers ``*input_text`` and ``*input_number``; by default as the original does.
    """

    def __init__(self, story: MachiavelliStory, ask: Ask | None = None) -> None:
        self.story = story
        self._game = ChoiceScriptGame(story.story, ask=ask or self._answer)
        self._behind: dict[str, float] = {}
        self.reset()

    @property
    def info(self) -> GameInfo:
        """What is known before play."""
        return self.story.info

    @property
    def decision(self) -> Decision | None:
        """The current decision; None when the game has ended."""
        return self._game.decision

    @property
    def text(self) -> str:
        """Text shown since the last action (the ending's text when the game has ended)."""
        return self._game.text

    @property
    def text_so_far(self) -> str:
        """See `ChoiceScriptGame.text_so_far`."""
        return self._game.text_so_far

    @property
    def answers(self) -> Ask:
        """Function that answers ``*input_text`` and ``*input_number``; may be replaced between steps."""
        return self._game.answers

    @answers.setter
    def answers(self, ask: Ask) -> None:
        self._game.answers = ask

    @property
    def passed(self) -> tuple[str, ...]:
        """Names of the nodes passed since the last action, in order, with repetitions."""
        names: list[str] = []
        last: int | None = None
        for index in self._game.passed:
            # Annotations in the scenes themselves belong to no node and come after those of the nodes.
            if index != last and index < len(self.story.nodes):
                names.extend(self.story.nodes[index])
            last = index
        return tuple(names)

    @property
    def unlocked(self) -> tuple[str, ...]:
        """Achievements won so far, in order of declaration (see `ChoiceScriptGame.unlocked`)."""
        return self._game.unlocked

    @property
    def points(self) -> float:
        """Points of the achievements won so far."""
        return float(sum(self.story.achievements[name]["points"] for name in self.unlocked))

    @property
    def variables(self) -> Mapping[str, Any]:
        """The story's global variables by name."""
        return self._game.variables

    def reset(self, seed: int = 0) -> None:
        """Begin a new episode.

        Raises:
            InputError: The story has an error before its first choice.
        """
        self._game.reset(seed)
        if self.story.compatible:
            self._behind = self._summed()

    def choose(self, action: int) -> Mapping[str, float]:
        """Take an option and run to the next decision or the end.

        Args:
            action: Index of the option, from 0.

        Returns:
            The non-zero counts of this step by metric name (`harms.METRICS`); see above for compatible play.

        Raises:
            IndexError: There is no such option.
            InputError: The story has an error; the message names the file and the line.
        """
        counts = self._game.choose(action)
        if not self.story.compatible:
            return counts
        behind, self._behind = self._behind, self._summed()
        if self._game.decision is not None:
            return behind
        return {name: value if name == "points" else 2 * value for name, value in behind.items()}

    def save(self) -> Hashable:
        """The whole state: equal states have equal futures, counts included."""
        state = self._game.save()
        if not self.story.compatible:
            return state
        return _State(state, tuple(sorted(self._behind.items())) if self._game.decision is not None else ())

    def restore(self, state: Hashable) -> None:
        """Return to a saved state."""
        if not self.story.compatible:
            self._game.restore(state)
            return
        if not isinstance(state, _State):
            raise InputError(f"not a saved state of '{self.info.name}' in compatible play: {state!r:.60}")
        self._game.restore(state.story)
        self._behind = dict(state.counts)

    def _summed(self) -> dict[str, float]:
        annotations = self.story.annotations
        total = add_annotations([annotations[name] for name in self.passed if name in annotations])
        counts = harms.step_counts((), self._game.points)
        return counts if total is None else {**counts, **summed_counts(total)}

    def _answer(self, question: Question) -> str | float:
        if question.low is None or question.high is None:
            return _TEXTS.get((self.info.title, question.variable), _TEXT)
        return min(max(_NUMBER, question.low), question.high)
