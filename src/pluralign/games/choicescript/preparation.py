"""What must be known of all scenes before the first is compiled."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from pluralign.games.choicescript.head import Head
from pluralign.games.choicescript.parser import Node
from pluralign.games.choicescript.workshop import RESTORED, SAVED, Workshop

_CALLS = frozenset({"gosub", "gosub_scene", "goto_scene", "redirect_scene"})


def prepare(head: Head, trees: Mapping[str, Sequence[Node]], *, strict: bool) -> Workshop:
    """A workshop with the slots that belong to no scene.

    Args:
        trees: each scene's lines.
        strict: whether any defect refuses the story.
    """
    lines = [node for tree in trees.values() for node in all_nodes(tree)]
    names = [*head.variables, *_checkpoint_flags(lines), *(f"*{name}" for name in head.achievements)]
    slots = {name: slot for slot, name in enumerate(names)}
    commands = {node.command for node in lines}
    workshop = Workshop(
        head,
        strict,
        globals={name: slot for name, slot in slots.items() if not name.startswith("*")},
        achievements={name: slots[f"*{name}"] for name in head.achievements},
        slots=len(names),
        deleted=frozenset(_deleted(head, lines)),
    )
    if "params" in commands:
        workshop.arguments = workshop.new_slot()
        # Each word can be an argument at most; the label's own counts for nothing.
        workshop.most_arguments = max(
            (len(node.data.split()) for node in lines if node.command in _CALLS), default=0
        )
    if "goto_random_scene" in commands:
        workshop.visited = workshop.new_slot()
    for name in _checkpoints(lines):
        workshop.checkpoints[name] = workshop.new_slot()
        workshop.resume[name] = []
    return workshop


def all_nodes(nodes: Sequence[Node]) -> Iterator[Node]:
    """Lines and all lines under them."""
    for node in nodes:
        yield node
        yield from all_nodes(node.block)


def _checkpoints(lines: Sequence[Node]) -> list[str]:
    commands = ("save_checkpoint", "restore_checkpoint")
    return sorted({node.data.lower() for node in lines if node.command in commands})


def _checkpoint_flags(lines: Sequence[Node]) -> list[str]:
    names = _checkpoints(lines)
    return sorted({SAVED, RESTORED, *(f"{SAVED}_{name}" for name in names if name)}) if names else []


def _deleted(head: Head, lines: Sequence[Node]) -> Iterator[str]:
    for node in lines:
        if node.command == "delete":
            yield node.data.lower()
        elif node.command == "delete_array":
            pattern = re.compile(rf"{re.escape(node.data.lower())}_(count|\d+)")
            yield from filter(pattern.fullmatch, head.variables)
