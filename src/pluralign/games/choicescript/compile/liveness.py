"""Liveness analysis: the variables that play may still read, which a saved state keeps.

A variable that is written before it is read again cannot affect what follows. Without such variables, saved
states with equal futures are equal.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from heapq import heappop, heappush

from pluralign.games.choicescript.run.choose import Choose
from pluralign.games.choicescript.run.control import Gosub, GosubScene, Return
from pluralign.games.choicescript.run.instructions import Instruction


def flow(instructions: Sequence[Instruction]) -> list[tuple[int, ...]]:
    """Successors of each instruction, across choices and returns.

    A return is taken to lead back to every call: a superset of what can happen.
    """
    local = [i.back for i in instructions if isinstance(i, Gosub)]
    scene = [i.back for i in instructions if isinstance(i, GosubScene)]
    returns = (*local, *scene)
    edges: list[tuple[int, ...]] = []
    for here, instruction in enumerate(instructions):
        match instruction:
            case Choose():
                edges.append(tuple(option.target for option in instruction.options))
            case Return():
                edges.append(returns)
            case _:
                edges.append(tuple(instruction.successors(here)))
    return edges


def live_slots(instructions: Sequence[Instruction]) -> dict[int, tuple[int, ...]]:
    """Slots that play may read after each choice before it writes them, by place of the choice."""
    edges = _edges(instructions)
    before: list[list[int]] = [[] for _ in edges]
    for here, following in enumerate(edges):
        for there in following:
            before[there].append(here)
    # Sets of slots are bits of integers, so that games with thousands of variables compile in seconds.
    reads = [*(_bits(i.reads) for i in instructions), 0]
    kept = [*(~_bits(i.writes()) for i in instructions), -1]
    live = [0] * len(edges)
    # Later places first, because liveness flows backwards.
    waiting = [-here for here in reversed(range(len(edges)))]
    queued = bytearray(b"\1") * len(edges)
    while waiting:
        here = -heappop(waiting)
        queued[here] = 0
        after = 0
        for there in edges[here]:
            after |= live[there]
        now = reads[here] | (after & kept[here])
        if now != live[here]:
            live[here] = now
            for earlier in before[here]:
                if not queued[earlier]:
                    queued[earlier] = 1
                    heappush(waiting, -earlier)
    # A caller's temporaries are kept whole in its frame.
    choices = [here for here, instruction in enumerate(instructions) if isinstance(instruction, Choose)]
    slots = {bits: _slots(bits) for bits in {live[here] for here in choices}}
    return {here: slots[live[here]] for here in choices}


def _edges(instructions: Sequence[Instruction]) -> list[list[int]]:
    """`flow` with one more place at the end, through which all returns lead."""
    returns = len(instructions)
    edges: list[list[int]] = []
    for instruction, following in zip(instructions, flow(instructions), strict=True):
        if isinstance(instruction, Return):
            edges.append([returns])
            continue
        # What a scene reads after a *gosub_scene stays live during the call.
        back = [instruction.back] if isinstance(instruction, GosubScene) else []
        edges.append([there for there in (*following, *back) if there >= 0])
    backs = {i.back for i in instructions if isinstance(i, Gosub | GosubScene)}
    return [*edges, sorted(backs)]


def _bits(slots: Iterable[int]) -> int:
    bits = 0
    for slot in slots:
        bits |= 1 << slot
    return bits


def _slots(bits: int) -> tuple[int, ...]:
    return tuple(slot for slot, bit in enumerate(reversed(f"{bits:b}")) if bit == "1")
