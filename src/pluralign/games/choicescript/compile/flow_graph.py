"""Flow graph of a program: which instruction play may reach from which.

Where many instructions lead to the same many places, they lead there through one place beyond the
instructions (a hub), so that the graph grows with the program and not with its square.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pluralign.games.choicescript.run.checkpoints import RestoreCheckpoint
from pluralign.games.choicescript.run.choose import Choose
from pluralign.games.choicescript.run.control import Gosub, GosubScene, Jump, LeaveScene, Return
from pluralign.games.choicescript.run.instructions import Instruction

Edges = list[tuple[int, ...]]
"""Successors by place: of the instructions first, then of the hubs."""


def flow(instructions: Sequence[Instruction], *, over_calls: bool = False) -> Edges:
    """Successors of each instruction, across choices and returns, and of the hubs.

    A return is taken to lead back to every call: a superset of what can happen.

    Args:
        instructions: Instructions of the program.
        over_calls: Whether a ``*gosub_scene`` also leads to the place after it.
    """
    hubs = _Hubs(len(instructions))
    backs = tuple(dict.fromkeys(i.back for i in instructions if isinstance(i, Gosub | GosubScene)))
    edges: Edges = []
    for here, instruction in enumerate(instructions):
        match instruction:
            case Choose():
                found = tuple(option.target for option in instruction.options)
            case Return():
                found = (hubs.through(backs),)
            case RestoreCheckpoint():
                found = (hubs.through(instruction.places),)
            case Jump() | Gosub() | GosubScene() | LeaveScene() if instruction.computed is not None:
                found = (hubs.through(instruction.computed.places),)
            case _:
                found = tuple(instruction.successors(here))
        if over_calls and isinstance(instruction, GosubScene):
            found = (*found, instruction.back)
        edges.append(found)
    return [*edges, *hubs.edges]


class _Hubs:
    def __init__(self, first: int) -> None:
        self.first = first
        self.edges: Edges = []
        self._places: dict[int, tuple[int, Any]] = {}

    def through(self, places: Sequence[int]) -> int:
        """The hub that leads to these places; the same sequence has the same hub."""
        if id(places) not in self._places:
            # The sequence is kept, because its identity is the key.
            self._places[id(places)] = (self.first + len(self.edges), places)
            self.edges.append(tuple(places))
        return self._places[id(places)][0]
