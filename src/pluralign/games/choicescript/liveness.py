"""Which variables play may still read: what a saved state keeps.

A variable that is written before it is read again cannot change what follows; leaving it out of a
saved state makes states equal that have equal futures.
"""

from __future__ import annotations

from collections.abc import Sequence

from pluralign.games.choicescript.control import Choose, Gosub, GosubScene, Return
from pluralign.games.choicescript.instructions import Instruction


def flow(instructions: Sequence[Instruction]) -> list[tuple[int, ...]]:
    """Where play may go on from each instruction, over choices and returns too.

    A return goes back to every place that a gosub could have come from: more than can happen, never less.
    """
    local = [i.back for i in instructions if isinstance(i, Gosub)]
    scene = [i.back for i in instructions if isinstance(i, GosubScene)]
    edges: list[tuple[int, ...]] = []
    for here, instruction in enumerate(instructions):
        match instruction:
            case Choose():
                edges.append(tuple(option.target for option in instruction.options))
            case Return():
                edges.append((*local, *scene))
            case _:
                edges.append(tuple(instruction.successors(here)))
    return edges


def live_slots(instructions: Sequence[Instruction]) -> dict[int, tuple[int, ...]]:
    """For each choice, the slots that play may read from there before writing them."""
    # What a scene reads after a *gosub_scene must be there to be kept, whatever is called meanwhile.
    edges = [
        (*following, i.back) if isinstance(i, GosubScene) else following
        for i, following in zip(instructions, flow(instructions), strict=True)
    ]
    before: list[list[int]] = [[] for _ in instructions]
    for here, following in enumerate(edges):
        for there in following:
            if there >= 0:
                before[there].append(here)
    live: list[frozenset[int]] = [frozenset()] * len(instructions)
    writes = [frozenset(instruction.writes()) for instruction in instructions]
    waiting = list(range(len(instructions)))
    queued = set(waiting)
    while waiting:
        here = waiting.pop()
        queued.discard(here)
        after = frozenset[int]().union(*(live[there] for there in edges[here] if there >= 0))
        now = instructions[here].reads | (after - writes[here])
        if now != live[here]:
            live[here] = now
            for earlier in before[here]:
                if earlier not in queued:
                    queued.add(earlier)
                    waiting.append(earlier)
    # A scene's temporaries that wait for a return are kept whole in their frame.
    return {
        here: tuple(sorted(live[here]))
        for here, instruction in enumerate(instructions)
        if isinstance(instruction, Choose)
    }
