"""What a state of a Z-machine story offers: description, objects in sight, commands that do something."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple

from pluralign.core import InputError
from pluralign.games.zmachine.annotations import plain_text
from pluralign.games.zmachine.candidates import DIRECTIONS, Scene, things_of
from pluralign.games.zmachine.interpreter import Interpreter
from pluralign.games.zmachine.labels import Labeller, Memory, Output, read_output
from pluralign.games.zmachine.world import World

ENDINGS = ("RESTART, RESTORE", "*** You have won ***", "*** You have died ***")
"""Texts with which play ends, though the story does not quit: Infocom's and Inform's questions."""

# Infocom's words and those of Inform's library: "You have so far scored 5 out of a possible 10".
_SCORE = re.compile(r"[Ss]core(?:d| is| would be| was| of) (-?\d+)")
_MOST = re.compile(r"(?:total of|out of a possible|out of a maximum of|of a possible|out of) (\d+)")

# Commands without an effect of their own: what happens after them happens anyway.
_IDLE = ("look", "wait")

_WALK = 40


class Effect(NamedTuple):
    """What can be compared after two commands."""

    place: int
    near: frozenset[tuple[int, int, str]]
    scenery: tuple[str, ...]
    score: int
    over: bool
    counted: tuple[tuple[str, float], ...]


class Explorer:
    """Reads states, and tries commands in them.

    Args:
        interpreter: Run of the story.
        labeller: Counts of annotations, so that commands count as doing something if they are annotated.
        replacements: Texts that the story prints as numbers.
        endings: Texts with which play ends, next to `ENDINGS`.
        player: Number of the object that is the player; 0 if it is unknown (`find_player`).
        initial: Commands that an episode begins with, such as answers to the question of the player's name.
    """

    def __init__(
        self,
        interpreter: Interpreter,
        labeller: Labeller | None = None,
        replacements: Mapping[str, str] | None = None,
        endings: Sequence[str] = (),
        player: int = 0,
        initial: Sequence[str] = (),
    ) -> None:
        self.interpreter = interpreter
        self._labeller = labeller
        self._replacements = replacements or {}
        self._endings = (*ENDINGS, *endings)
        self.player = player
        self._initial = initial

    def begin(self, seed: int) -> Output:
        """Begin an episode."""
        texts = [self.interpreter.begin(seed), *map(self.interpreter.enter, self._initial)]
        return self._read("\n\n".join(map(without_prompt, texts)))

    def enter(self, command: str) -> Output:
        """Enter a command."""
        return self._read(self.interpreter.enter(command))

    def peek(self, command: str) -> Output:
        """The output of a command, after which the state is as before."""
        here = self.interpreter.state
        found = self.enter(command)
        self.interpreter.load(here)
        return found

    def over(self, output: Output) -> bool:
        """Whether play has ended."""
        return output.over or self.interpreter.done or any(text in output.text for text in self._endings)

    def score(self, known: int, output: Output, *, over: bool) -> int:
        """The score: that of the status line, or what the story prints when asked for it."""
        if self.interpreter.shows_score:
            return self.interpreter.score
        text = output.text if over else self.peek("score").text
        found = _SCORE.findall(text)
        return int(found[-1]) if found else known

    def attainable(self) -> int | None:
        """The points that the story says can be attained; None if it does not say."""
        found = _MOST.search(plain_text(self.peek("score").text))
        return int(found[1]) if found else None

    def scene(self, description: str) -> Scene:
        """The objects in sight.

        Args:
            description: What the story answers to ``look``.
        """
        world = self.interpreter.world
        place = self._place(world)
        words = frozenset(re.findall(r"[a-z0-9-]+", description.lower()))
        return Scene(place, things_of(world, self.interpreter.names, place, self.player, words))

    def carried(self) -> list[str]:
        """Names of the objects that the player holds directly."""
        if not self.player:
            return []
        return [
            self.interpreter.names[number].strip() for number in self.interpreter.world.children(self.player)
        ]

    def working(self, commands: Mapping[str, Sequence[str]], scene: Scene) -> dict[str, list[str]]:
        """Those of the commands that do something in this state, which stays as it is.

        A command does something if the place, the objects in sight or the score differ from those after
        ``look`` and ``wait``, if play ends, or if an annotation counts. Of the commands of a key that do the
        same, the first is kept.

        Args:
            commands: Commands to try, by key.
            scene: The objects in sight.
        """
        here = self.interpreter.state
        scenery = [thing.number for thing in scene.things if thing.where == "scenery"]
        idle = {self._try(one, scenery, here) for one in (None, *_IDLE)}
        found: dict[str, list[str]] = {}
        for key, tried in commands.items():
            done = set(idle)
            found[key] = []
            for command in tried:
                effect = self._try(command, scenery, here)
                if effect not in done:
                    done.add(effect)
                    found[key].append(command)
        self.interpreter.load(here)
        return found

    def _try(self, command: str | None, scenery: Sequence[int], here: Hashable) -> Effect:
        self.interpreter.load(here)
        output = Output("") if command is None else self.enter(command)
        counts = self._labeller.count(output, command or "", Memory())[0] if self._labeller else {}
        world = self.interpreter.world
        place = self._place(world)
        inside = world.inside(place) if place else iter(())
        return Effect(
            place=place,
            # The player's own attributes say what was talked about, and the like.
            near=frozenset(
                (n, world.parent(n), "" if n == self.player else world.attributes(n)) for n in inside
            ),
            scenery=tuple(world.attributes(number) for number in scenery),
            score=self.interpreter.score if self.interpreter.shows_score else 0,
            over=self.over(output),
            counted=(*sorted(counts.items()), *((key, float(points)) for key, points in output.rewards)),
        )

    def _place(self, world: World) -> int:
        """The place of the player: the first global variable, which version 3 prescribes and Inform keeps."""
        number = world.variable(0)
        if 0 < number < world.size:
            return number
        number = self.player
        while number and world.parent(world.parent(number)):
            number = world.parent(number)
        return number if number != self.player else 0

    def find_player(self, name: str, walkthrough: Sequence[str]) -> int:
        """The number of the object that is the player.

        Args:
            name: Name of the object; if empty, it is the one that walking moves from the old place to the new
                one.
            walkthrough: Commands that walk.

        Returns:
            Its number; 0 if no object is found by walking.

        Raises:
            InputError: No object, or more than one, has this name.
        """
        if name:
            named = [number for number, other in enumerate(self.interpreter.names) if other.strip() == name]
            if len(named) != 1:
                raise InputError(
                    f"{len(named)} objects have this name", path=self.interpreter.path, field="player"
                )
            return named[0]
        self.begin(0)
        opening = self.interpreter.state
        for command in (*walkthrough[:_WALK], *DIRECTIONS):
            before = self.interpreter.world
            old = self._place(before)
            if self.over(self.enter(command)):
                self.interpreter.load(opening)
                continue
            after = self.interpreter.world
            new = self._place(after)
            moved = set(before.children(old)) & set(after.children(new)) if old and new != old else set[int]()
            if len(moved) == 1:
                return moved.pop()
        return 0

    def _read(self, text: str) -> Output:
        return read_output(text, self._replacements)


def without_prompt(text: str) -> str:
    """A text of the story without its prompt."""
    return text.strip().removesuffix(">").strip()
