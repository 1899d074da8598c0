"""Loading of compiled Ink stories."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pluralign.core import InputError
from pluralign.core.jsonl import is_list, is_object
from pluralign.games.game import GameInfo
from pluralign.games.harms import BUILTIN_OBJECTIVES, VARIABLE
from pluralign.games.ink.fallbacks import fallback_choices
from pluralign.games.ink.game import MAX_STATES, InkStory
from pluralign.games.ink.runtime import Runtime
from pluralign.games.ink.side_file import SideFile, check_variables, read_side_file
from pluralign.games.ink.tags import Note, read_tag, static_tags
from pluralign.games.side_file import SUFFIX, names_story

OLDEST, NEWEST = 18, 21
"""Oldest and newest version of compiled Ink that the runtime reads."""

# Control commands that draw random numbers: RANDOM, LIST_RANDOM, SEED_RANDOM, and (in shuffles) sequences.
_CHANCE = frozenset({"rnd", "lrnd", "srnd", "seq"})


def is_ink(path: str | Path) -> bool:
    """Whether a path looks like an Ink story: its source, its compiled file, or its side file."""
    return Path(path).suffix in (".ink", ".json")


def load_ink(path: str | Path) -> InkStory:
    """Read a story.

    Args:
        path: Path of the compiled file, ``NAME.json``, next to which ``NAME.pluralign.json`` is read if it
            exists; or of a side file anywhere, which gives the compiled file's path as ``ink``.

    Raises:
        InputError: The file cannot be read, is not Ink that the runtime reads, or a tag or the side file has
            an error.
    """
    path = Path(path)
    if path.suffix == ".ink":
        raise InputError(
            f"is Ink source; compile it first: inklecate -o {path.stem}.json {path.name}", path=path
        )
    if path.name.endswith(SUFFIX):
        side = read_side_file(path)
    else:
        beside = path.with_name(path.stem + SUFFIX)
        own = beside.is_file() and not names_story(beside)
        side = read_side_file(beside) if own else SideFile(beside, path)
    source, compiled = _read(side.ink)
    # The runtime refuses files that are nested too deeply for the recursion below.
    runtime = Runtime(source, side.ink)
    parts = list(_parts(compiled["root"]))
    if any(isinstance(part, dict) and "#" in part for part in parts):
        raise InputError(
            "its tags have the form of inkVersion 20 and before, which the runtime ignores: recompile its "
            "source with inklecate 1.1 or newer",
            path=side.ink,
        )
    notes = _notes(static_tags(compiled["root"]), side.ink)
    achievements = {name: points for note in notes.values() for name, points in note.points.items()}
    choices = sum(isinstance(part, dict) and "*" in part for part in parts)
    declared = [str(part["VAR="]) for part in parts if is_object(part) and "VAR=" in part]
    numbers = {name for name in declared if runtime.number(name) is not None}
    check_variables(side.objectives, numbers, side.path)
    used = dict.fromkeys(m for o in side.objectives for m in o.coefficients if m.startswith(VARIABLE))
    texts = [part[1:] for part in parts if isinstance(part, str) and part.startswith("^")]
    return InkStory(
        info=_info(side, runtime, achievements, choices, chance=not _CHANCE.isdisjoint(_commands(parts))),
        path=side.ink,
        source=source,
        notes=notes,
        achievements=achievements,
        variables=tuple(metric.removeprefix(VARIABLE) for metric in used),
        choices=choices,
        words=sum(len(text.split()) for text in texts),
        characters=frozenset("".join([*texts, *_names_of_items(compiled.get("listDefs"))])),
        fallbacks=frozenset(fallback_choices(compiled["root"])),
    )


def _read(path: Path) -> tuple[str, dict[str, Any]]:
    try:
        # inklecate begins its files with a byte order mark.
        source = path.read_text(encoding="utf-8-sig")
        compiled = json.loads(source)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", path=path) from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"not JSON ({error})", path=path) from error
    version = compiled.get("inkVersion") if is_object(compiled) else None
    if not is_object(compiled) or type(version) is not int or not is_list(compiled.get("root")):
        raise InputError("is not compiled Ink: it has no inkVersion and root", path=path)
    if not OLDEST <= version <= NEWEST:
        advice = (
            "recompile its source with inklecate 1.0 or newer" if version < OLDEST else "the runtime is older"
        )
        raise InputError(
            f"compiled for inkVersion {version}, and {OLDEST} to {NEWEST} can be played: {advice}", path=path
        )
    return source, compiled


def _notes(tags: Iterable[str], path: Path) -> dict[str, Note]:
    notes: dict[str, Note] = {}
    points: dict[str, float] = {}
    for tag in tags:
        try:
            note = read_tag(tag)
        except InputError as error:
            raise InputError(error.message, path=path, field=error.field) from None
        if note is None:
            continue
        notes[tag] = note
        for name, number in note.points.items():
            if points.setdefault(name, number) != number:
                raise InputError(
                    f"'{name}' is worth {points[name]:g} points elsewhere", path=path, field=f"# {tag}"
                )
    return notes


def _info(
    side: SideFile, runtime: Runtime, achievements: Mapping[str, float], choices: int, *, chance: bool
) -> GameInfo:
    pairs = (tag.partition(":") for tag in reversed(runtime.global_tags))
    words = {**{key.strip(): text.strip() for key, _, text in pairs}, **side.words}
    name = side.path.name.removesuffix(SUFFIX)
    return GameInfo(
        name=name,
        title=words.get("title", name),
        author=words.get("author", ""),
        summary=words.get("summary", words.get("description", "")),
        player_character=words.get("player_character", ""),
        max_points=float(sum(achievements.values())),
        # Threads can list all choices of the source at once; a side file may give a smaller number.
        max_options=side.max_options or choices,
        objectives=(*BUILTIN_OBJECTIVES, *side.objectives),
        random=chance,
        max_states=MAX_STATES,
    )


def _names_of_items(lists: Any) -> Iterator[str]:
    """What lists print: the names of their items, with commas between them."""
    for items in lists.values() if is_object(lists) else ():
        yield from (", ", *items)


def _commands(parts: Iterable[Any]) -> Iterator[str]:
    return (part for part in parts if isinstance(part, str) and not part.startswith("^"))


def _parts(content: Any) -> Iterator[Any]:
    """Every element of every container."""
    for part in content.values() if is_object(content) else content:
        if is_list(content):
            yield part
        if is_object(part) or is_list(part):
            yield from _parts(part)
