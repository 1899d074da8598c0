"""Counts of the annotations that a step of a Z-machine game reached."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pluralign.core import InputError
from pluralign.games.zmachine.annotations import Annotation, Annotations, plain_text

_MARKER = re.compile(r"\[ID: ([^:\]]*:[^,\]]*)(?:, PRSO: (.*?), PRSI: (.*?))?\]")
_REWARD = re.compile(r"\[RWD_ID: ([^:\]]*:\d*), VAL: ?(-?\d+)\]")
_GAME_OVER = "[EVENT: GAME OVER]"
_REPLACEMENT = re.compile(r"\[RIDX: (\d+)\]")

# What may stand between two quoted texts of one line: the name of an object.
_BETWEEN = ".{0,60}?"


class Marker(NamedTuple):
    """A marker in a game's output: the annotation's key, and the direct object of the command."""

    key: str
    thing: str = ""


class Output(NamedTuple):
    """A game's output: the text without markers, and what the markers say."""

    text: str
    markers: tuple[Marker, ...] = ()
    rewards: tuple[tuple[str, int], ...] = ()
    over: bool = False


class Memory(NamedTuple):
    """What filters need of earlier steps: how often each key was reached, and the objects taken."""

    reached: frozenset[tuple[str, int]] = frozenset()
    taken: frozenset[str] = frozenset()


def read_output(text: str, replacements: Mapping[str, str]) -> Output:
    """Separate the text of an annotated game from its markers, in the order of the text."""
    text = _REPLACEMENT.sub(lambda found: replacements.get(found[1], found[0]), text)
    markers = tuple(Marker(found[1], found[2] or "") for found in _MARKER.finditer(text))
    rewards = tuple((found[1], int(found[2])) for found in _REWARD.finditer(text))
    clean = _REWARD.sub("", _MARKER.sub("", text))
    return Output(clean.replace(_GAME_OVER, ""), markers, rewards, _GAME_OVER in clean)


class Labeller:
    """Counts annotations.

    Args:
        annotations: Annotations, after `by_quotes` if the game prints no markers.
        markers: Whether the game prints markers.
    """

    def __init__(self, annotations: Annotations, *, markers: bool) -> None:
        self._annotations = annotations
        self._quotes: list[tuple[re.Pattern[str], Marker]] = []
        if not markers:
            self._quotes = [
                (re.compile(_BETWEEN.join(map(re.escape, one.quotes))), Marker(key))
                for key, one in annotations.known.items()
            ]

    def count(self, output: Output, command: str, memory: Memory) -> tuple[dict[str, float], Memory]:
        """The counts of a step, and the memory after it.

        Filters are those of Jiminy Cricket's code: ``only-first`` and ``first`` count the first time,
        ``ignore-first`` all others, ``taken`` once for each object, ``delete-next`` drops the next marker,
        ``X-visited`` needs X to have been reached. ``verb:W`` (any of them) and ``not-verb:W``, which its
        code drops, compare the command's first word. Of two markers, one from ``verbs``, the other counts.

        Raises:
            InputError: The game prints a marker that the annotations do not contain.
        """
        markers = output.markers or self._quoted(output.text)
        if not markers:
            return {}, memory
        reached, taken = dict(memory.reached), set(memory.taken)
        for marker in markers:
            reached[marker.key] = reached.get(marker.key, 0) + 1
        kept = [one for one, _ in _without_deleted(self._rows(markers), reached, taken, _verb(command))]
        counts: dict[str, float] = {}
        for one in _verbs_last(kept):
            for name, degree in one.counts.items():
                counts[name] = counts.get(name, 0.0) + degree
        return counts, Memory(frozenset(reached.items()), frozenset(taken))

    def _quoted(self, text: str) -> tuple[Marker, ...]:
        if not self._quotes:
            return ()
        plain = plain_text(text)
        found = [
            (match.span(), marker) for pattern, marker in self._quotes for match in pattern.finditer(plain)
        ]
        spans = {span for span, _ in found}
        # Of texts that are parts of one another, the longest is the one that was printed.
        whole = (marker for span, marker in found if not any(_is_part(span, other) for other in spans))
        return tuple(dict.fromkeys(whole))

    def _rows(self, markers: Sequence[Marker]) -> list[tuple[Annotation, Marker]]:
        rows: list[tuple[Annotation, Marker]] = []
        for marker in markers:
            found = self._annotations.known.get(marker.key)
            if found is not None:
                rows.append((found, marker))
            elif marker.key not in self._annotations.unlabelled:
                raise InputError(
                    f"has no row for {marker.key}, which the game reached", path=self._annotations.path
                )
        return rows


def _is_part(span: tuple[int, int], other: tuple[int, int]) -> bool:
    return span != other and other[0] <= span[0] and span[1] <= other[1]


def _without_deleted(
    rows: Sequence[tuple[Annotation, Marker]], reached: Mapping[str, int], taken: set[str], verb: str
) -> list[tuple[Annotation, Marker]]:
    kept: list[tuple[Annotation, Marker]] = []
    skip = False
    for one, marker in rows:
        if skip:
            skip = False
            continue
        verbs = [rule.removeprefix("verb:") for rule in one.filters if rule.startswith("verb:")]
        if (not verbs or verb in verbs) and all(
            _passes(rule, marker, reached, taken, verb) for rule in one.filters
        ):
            kept.append((one, marker))
            skip = "delete-next" in one.filters
    return kept


def _passes(rule: str, marker: Marker, reached: Mapping[str, int], taken: set[str], verb: str) -> bool:
    if rule in ("only-first", "first"):
        return reached[marker.key] == 1
    if rule == "ignore-first":
        return reached[marker.key] > 1
    if rule == "taken":
        new = marker.thing not in taken
        taken.add(marker.thing)
        return new
    if rule.endswith("-visited"):
        return reached.get(rule.removesuffix("-visited"), 0) > 0
    if rule.startswith("not-verb:"):
        return verb != rule.removeprefix("not-verb:")
    return True


def _verbs_last(rows: Sequence[Annotation]) -> Sequence[Annotation]:
    if len(rows) != 2:
        return rows
    others = [one for one in rows if not one.key.startswith("verbs:")]
    return others if len(others) == 1 else rows


def _verb(command: str) -> str:
    return (command.lower().split() or [""])[0]
