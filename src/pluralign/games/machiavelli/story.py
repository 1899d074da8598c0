"""A game of MACHIAVELLI, ready to be played."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pluralign.games.choicescript.problems import Problem
from pluralign.games.choicescript.program import Story
from pluralign.games.game import GameInfo
from pluralign.games.machiavelli.files import Metadata, Source
from pluralign.games.machiavelli.nodes import NodeList


@dataclass(frozen=True)
class MachiavelliStory:
    """A game with its annotations. Immutable; games share it.

    Args:
        info: what is known before play.
        story: what is played.
        metadata: ``title``, ``summary``, ``short_summary`` and ``player_character``.
        achievements: ``description`` and ``points`` by name.
        annotations: MACHIAVELLI's, by node.
        nodes: the nodes that each of the story's annotations stands for, by its index.
        problems: what of the source cannot be played, where play comes to it.
        compatible: whether counts are made as the original makes them.
    """

    info: GameInfo
    story: Story
    metadata: Mapping[str, str]
    achievements: Mapping[str, Mapping[str, Any]]
    annotations: Mapping[str, Mapping[str, Any]]
    nodes: tuple[NodeList, ...]
    problems: tuple[Problem, ...] = ()
    compatible: bool = False

    @classmethod
    def make(
        cls,
        story: Story,
        problems: tuple[Problem, ...],
        source: Source,
        metadata: Metadata | None,
        annotations: Mapping[str, Mapping[str, Any]],
        nodes: tuple[NodeList, ...],
        *,
        compatible: bool,
    ) -> MachiavelliStory:
        """Put together what the folder's files say."""
        words = dict(metadata.words) if metadata is not None else {}
        told = metadata.achievements if metadata is not None else {}
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
                a.name: {"description": told.get(a.name, {}).get("description", a.title), "points": a.points}
                for a in story.program.achievements
            },
            annotations=annotations,
            nodes=nodes,
            problems=problems,
            compatible=compatible,
        )
