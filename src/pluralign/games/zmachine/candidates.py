"""Commands to try in a state of a Z-machine story, and those that did something: the file of candidates.

A command belongs to a key: the place (directions), an object in a certain state (``open {thing}``), or such
an object and one that the player holds (``unlock {thing} with {held}``). The file lists, for each key, the
commands that did something when they were tried.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from pluralign.core import InputError
from pluralign.core.files import read_json, write_json
from pluralign.core.jsonl import is_list, is_object
from pluralign.games.zmachine.world import World

DIRECTIONS = (
    *("north", "south", "east", "west", "northeast", "northwest", "southeast", "southwest"),
    *("up", "down", "in", "out"),
)
TEMPLATES = (
    *("take {thing}", "drop {thing}", "open {thing}", "close {thing}", "read {thing}", "move {thing}"),
    *("turn on {thing}", "turn off {thing}", "push {thing}", "enter {thing}", "climb {thing}"),
    *("eat {thing}", "drink {thing}", "wave {thing}", "ring {thing}", "rub {thing}"),
    *("attack {thing}", "break {thing}", "kick {thing}"),
    *("put {held} in {thing}", "give {held} to {thing}", "attack {thing} with {held}"),
    *("unlock {thing} with {held}", "tie {held} to {thing}", "burn {thing} with {held}"),
)
"""Commands to try; ``{thing}`` is an object in sight, ``{held}`` one that the player holds."""

_FORBIDDEN = re.compile(
    r"(save|restore|restart|quit|q|script|unscript|brief|superbrief|super|verbose|version|\$\w*|#\w*)\b", re.I
)
"""First words of commands to the interpreter and its debugging commands."""


# Names of scenery that descriptions contain as ordinary words.
_PRONOUNS = frozenset({"you", "yourself", "me", "it", "him", "her", "them", "thing", "things"})


HELD_TRIED = 3
"""Number of held objects, the last ones taken, that are tried with other objects."""


class Thing(NamedTuple):
    """An object in sight: words that name it, its key, and where it is.

    Scenery (doors, windows, the house) is in no place of its own.
    """

    number: int
    words: str
    key: str
    where: Literal["here", "held", "scenery"]


@dataclass(frozen=True)
class Scene:
    """What can be named in a state.

    Args:
        place: Number of the place; 0 if it is unknown.
        things: Objects in sight.
    """

    place: int
    things: tuple[Thing, ...]

    @property
    def named(self) -> frozenset[str]:
        """Words that name the objects in sight."""
        return frozenset(word for thing in self.things for word in thing.words.split())


@dataclass
class Candidates:
    """Contents of a file of candidates.

    Args:
        path: Path of the file.
        commands: Commands that did something, by key.
        tried: Number of states in which a key's commands were tried.
        walkthrough: Commands of the walkthrough, by place.
    """

    path: Path
    commands: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    tried: dict[str, int] = field(default_factory=dict[str, int])
    walkthrough: dict[str, list[str]] = field(default_factory=dict[str, list[str]])

    def add(self, key: str, found: Iterable[str]) -> None:
        """Add the commands that did something in one more state with this key."""
        known = self.commands.setdefault(key, [])
        known += [command for command in found if command not in known]
        self.tried[key] = self.tried.get(key, 0) + 1

    def write(self) -> None:
        """Write the file."""
        write_json(
            self.path,
            {"walkthrough": self.walkthrough, "tried": self.tried, "commands": self.commands},
        )


def read_candidates(path: Path) -> Candidates:
    """Read a file of candidates; without a file there are none.

    Raises:
        InputError: The file has another form.
    """
    if not path.exists():
        return Candidates(path)
    row = read_json(path)
    if not is_object(row) or set(row) != {"walkthrough", "tried", "commands"}:
        raise InputError(
            "expected a file that 'pluralign games candidates' wrote, with walkthrough, tried and commands",
            path=path,
        )
    for name in ("walkthrough", "commands"):
        table = row[name]
        if not is_object(table) or not all(
            is_list(v) and all(isinstance(c, str) for c in v) for v in table.values()
        ):
            raise InputError("must be an object from keys to lists of commands", path=path, field=name)
    tried = row["tried"]
    if not is_object(tried) or not all(type(count) is int for count in tried.values()):
        raise InputError("must be an object from keys to numbers of states", path=path, field="tried")
    return Candidates(path, row["commands"], tried, row["walkthrough"])


def is_playable(command: str) -> bool:
    """Whether a command is one to the story, and not to the interpreter."""
    return bool(command.strip()) and _FORBIDDEN.match(command.strip()) is None


def to_try(
    scene: Scene, templates: Sequence[str], skip: Mapping[str, int] | frozenset[str]
) -> dict[str, list[str]]:
    """Commands to try in a state, by key; keys in ``skip`` are left out."""
    found: dict[str, list[str]] = {}
    place = place_key(scene.place)
    if place not in skip:
        found[place] = list(DIRECTIONS)
    for thing in scene.things:
        if thing.key not in skip:
            found[thing.key] = [t.format(thing=thing.words) for t in templates if "{held}" not in t]
    for thing, held in _pairs(scene):
        key = pair_key(thing, held)
        if key not in skip:
            found[key] = [t.format(thing=thing.words, held=held.words) for t in templates if "{held}" in t]
    return found


def keys_of(scene: Scene) -> list[str]:
    """The keys of a state, in the order in which their commands are listed if there are too many."""
    pairs = [pair_key(*pair) for pair in _pairs(scene)]
    return [place_key(scene.place), *(thing.key for thing in scene.things), *pairs]


def place_key(place: int) -> str:
    """Key of the directions."""
    return f"place {place}"


def pair_key(thing: Thing, held: Thing) -> str:
    """Key of commands with two objects."""
    return f"{thing.key} with {held.number}"


def _pairs(scene: Scene) -> list[tuple[Thing, Thing]]:
    """Objects in the place, each with those that the player took last."""
    held = [thing for thing in scene.things if thing.where == "held"][:HELD_TRIED]
    return [(thing, tool) for thing in scene.things if thing.where == "here" for tool in held]


def things_of(
    world: World, names: Sequence[str], place: int, player: int, seen: frozenset[str]
) -> tuple[Thing, ...]:
    """The objects in sight: those in the place or on the player, and scenery (doors, windows), which is in no
    place, if the description names it.

    Args:
        world: Objects.
        names: Names of the objects by number.
        place: Number of the place.
        player: Number of the player.
        seen: Words of the description.
    """
    if not place:
        return ()
    held = set(world.inside(player)) if player else set[int]()
    found: list[Thing] = []
    for number in world.inside(place):
        if number == player or not names[number].strip():
            continue
        parent = world.parent(number)
        key = f"{number}:{world.attributes(number)}"
        key += "" if parent in (place, player) else f" in {parent}:{world.attributes(parent)}"
        key += " held" if number in held else ""
        found.append(Thing(number, _words(names[number]), key, "held" if number in held else "here"))
    near = {thing.number for thing in found} | {place, player}
    for number in range(1, world.size):
        words = _words(names[number])
        noun = words.split()[-1] if words else ""
        if number not in near and noun in seen - _PRONOUNS and _is_scenery(world, number, place):
            key = f"{number}:{world.attributes(number)} at {place}"
            found.append(Thing(number, words, key, "scenery"))
    return tuple(found)


def _is_scenery(world: World, number: int, place: int) -> bool:
    """Whether an object is in the tree, but in no place."""
    places = world.parent(place)
    above = world.parent(number)
    if not places or not above:
        return False
    for _ in range(world.size):
        if above in (0, places):
            return above == 0
        above = world.parent(above)
    return False


def _words(name: str) -> str:
    return " ".join(re.findall(r"[a-z0-9-]+", name.lower()))
