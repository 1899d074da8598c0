"""The tree of objects in a Z-machine's memory (The Z-Machine Standards Document 1.1, section 12)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Layout:
    """Places of tables in memory.

    Args:
        version: Version of the Z-machine.
        objects: Address of the object table.
        variables: Address of the global variables.
    """

    version: int
    objects: int
    variables: int


class World:
    """The objects of one state: numbers from 1, 0 is nothing.

    Args:
        layout: Places of the tables.
        memory: Dynamic memory.
        size: One more than the largest object number.
    """

    def __init__(self, layout: Layout, memory: bytes, size: int) -> None:
        self._memory, self.size = memory, size
        early = layout.version <= 3
        self._flags, self._link, self._entry = (4, 1, 9) if early else (6, 2, 14)
        self._first = layout.objects + 2 * (31 if early else 63)
        self._variables = layout.variables

    def variable(self, number: int) -> int:
        """A global variable."""
        place = self._variables + 2 * number
        return int.from_bytes(self._memory[place : place + 2], "big")

    def attributes(self, thing: int) -> str:
        """The attributes of an object, as hexadecimal digits."""
        start = self._start(thing)
        return self._memory[start : start + self._flags].hex()

    def parent(self, thing: int) -> int:
        """The object that contains this one."""
        return self._linked(thing, 0)

    def children(self, thing: int) -> list[int]:
        """The objects directly inside, in the order of the tree."""
        found: list[int] = []
        child = self._linked(thing, 2)
        # A broken chain must not go on forever.
        while child and len(found) < self.size:
            found.append(child)
            child = self._linked(child, 1)
        return found

    def inside(self, thing: int) -> Iterator[int]:
        """All objects inside, at any depth."""
        left = self.children(thing)
        for _ in range(self.size):
            if not left:
                return
            yield (top := left.pop(0))
            left += self.children(top)

    def _linked(self, thing: int, which: int) -> int:
        start = self._start(thing) + self._flags + which * self._link
        return int.from_bytes(self._memory[start : start + self._link], "big")

    def _start(self, thing: int) -> int:
        return self._first + self._entry * (thing - 1)
