"""Liveness analysis: the variables that play may still read, which a saved state keeps.

A variable that is written before it is read again cannot affect what follows. Without such variables, saved
states with equal futures are equal.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from heapq import heappop, heappush

from pluralign.games.choicescript.compile.flow_graph import Edges, flow
from pluralign.games.choicescript.run.choose import Choose
from pluralign.games.choicescript.run.instructions import Instruction, SlotOrSet


class LiveSlots(Mapping[int, tuple[int, ...]]):
    """Slots that play may read after each choice before it writes them, by place of the choice.

    Args:
        live: The slots as the bits of an integer, by place.
    """

    def __init__(self, live: Mapping[int, int]) -> None:
        self._live = live
        self._slots: dict[int, tuple[int, ...]] = {}

    def __getitem__(self, place: int) -> tuple[int, ...]:
        bits = self._live[place]
        if bits not in self._slots:
            # Only the choices that play reaches have their slots listed.
            self._slots[bits] = tuple(slot for slot, bit in enumerate(reversed(f"{bits:b}")) if bit == "1")
        return self._slots[bits]

    def __iter__(self) -> Iterator[int]:
        return iter(self._live)

    def __len__(self) -> int:
        return len(self._live)


def live_slots(instructions: Sequence[Instruction]) -> LiveSlots:
    """Slots that play may read after each choice before it writes them.

    A caller's temporaries are kept whole in its frame; what a scene reads after a ``*gosub_scene`` is live
    during the call.
    """
    edges = [
        tuple(there for there in found if there >= 0) if found and min(found) < 0 else found
        for found in flow(instructions, over_calls=True)
    ]
    blocks = _blocks(instructions, edges)
    block_of = {start: number for number, (start, _) in enumerate(blocks)}
    following = [[block_of[there] for there in edges[last]] for _, last in blocks]
    bits = _Bits()
    effects = [bits.effect(instructions[start : last + 1]) for start, last in blocks]
    hubs = len(edges) - len(instructions)
    live = _solve(following, [reads for reads, _ in effects], [~writes for _, writes in effects], hubs)
    return LiveSlots(
        {here: live[block_of[here]] for here, i in enumerate(instructions) if isinstance(i, Choose)}
    )


def _blocks(instructions: Sequence[Instruction], edges: Edges) -> list[tuple[int, int]]:
    """First and last place of each run that play always passes from its beginning to its end."""
    before = [0] * len(edges)
    for found in edges:
        for there in found:
            before[there] += 1
    blocks: list[tuple[int, int]] = []
    start = 0
    for here, found in enumerate(edges):
        inner = found == (here + 1,) and here + 1 < len(instructions) and before[here + 1] == 1
        if not (inner and not isinstance(instructions[here + 1], Choose)):
            blocks.append((start, here))
            start = here + 1
    return blocks


def _solve(
    following: Sequence[Sequence[int]], reads: Sequence[int], kept: Sequence[int], hubs: int
) -> list[int]:
    before: list[list[int]] = [[] for _ in following]
    for here, found in enumerate(following):
        for there in found:
            before[there].append(here)
    live = [0] * len(following)
    # Sweeps: later blocks first, because liveness flows backwards; then the hubs, whose targets are done.
    size = len(following)
    order = [*reversed(range(size - hubs)), *range(size - hubs, size)]
    turn = [0] * size
    for position, here in enumerate(order):
        turn[here] = position
    waiting = list(range(size))
    queued = bytearray(b"\1") * size
    while waiting:
        sweep, position = divmod(heappop(waiting), size)
        here = order[position]
        queued[here] = 0
        after = 0
        for there in following[here]:
            # Equal sets are one object, so that memory does not grow with places times slots.
            after = live[there] if live[there] | after == live[there] else after | live[there]
        now = after & kept[here] | reads[here]
        now = after if now == after else now
        if now != live[here]:
            live[here] = now
            for earlier in before[here]:
                if not queued[earlier]:
                    queued[earlier] = 1
                    # What this sweep has passed waits for the next one.
                    heappush(waiting, (sweep + (turn[earlier] <= position)) * size + turn[earlier])
    return live


class _Bits:
    """Sets of slots as bits of integers, so that games with thousands of variables compile in seconds."""

    def __init__(self) -> None:
        self._shared: dict[frozenset[int], int] = {}

    def effect(self, instructions: Sequence[Instruction]) -> tuple[int, int]:
        """What a block reads before it writes it, and what it writes."""
        reads = writes = 0
        for instruction in reversed(instructions):
            written = self._of(instruction.writes())
            writes |= written
            reads &= ~written
            if instruction.reads:
                reads |= self._of(instruction.reads)
        return reads, writes

    def _of(self, slots: Iterable[SlotOrSet]) -> int:
        if isinstance(slots, range):
            return ((1 << len(slots)) - 1) << slots.start
        bits = 0
        for slot in slots:
            if isinstance(slot, int):
                bits |= 1 << slot
                continue
            if slot not in self._shared:
                self._shared[slot] = self._of(slot)
            bits |= self._shared[slot]
        return bits
