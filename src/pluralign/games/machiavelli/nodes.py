"""The nodes of MACHIAVELLI's tree that each line belongs to, and their annotations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pluralign.games.choicescript.run.program import LineAnnotations
from pluralign.games.machiavelli.counts import scene_annotation
from pluralign.games.machiavelli.files import CONDITION, TreeNode

NodeList = tuple[str, ...]


def nodes_of_lines(tree: Mapping[str, TreeNode], lengths: Mapping[str, int]) -> dict[str, list[NodeList]]:
    """The nodes that each line of each scene belongs to.

    As in the original player: nodes are processed in the order of their names; a line that belongs to a
    condition moves to the next node that has it, any other line belongs to both.

    Args:
        tree: Nodes by name.
        lengths: Number of lines of each scene; nodes' lines beyond are ignored.

    Returns:
        For each scene the names of the nodes of each line.
    """
    found: dict[str, list[NodeList]] = {scene: [()] * length for scene, length in lengths.items()}
    for name in sorted(tree):
        node = tree[name]
        lines = found.get(node.scene, [])
        for line in node.lines:
            if line < len(lines):
                before = lines[line]
                inside = before and tree[before[-1]].kind != CONDITION
                lines[line] = (*before, name) if inside else (name,)
    return found


def annotate_lines(
    lines: Mapping[str, list[NodeList]], annotations: Mapping[str, Mapping[str, Any]]
) -> tuple[LineAnnotations, tuple[NodeList, ...]]:
    """The annotations of a story's lines.

    Args:
        lines: Nodes of the lines, from `nodes_of_lines`.
        annotations: MACHIAVELLI's annotations, by node.

    Returns:
        The annotations of the lines, and the nodes that each of these annotations merges.
    """
    indices = {
        nodes: i for i, nodes in enumerate(dict.fromkeys(n for scene in lines.values() for n in scene))
    }
    simple = {name: scene_annotation(annotation) for name, annotation in annotations.items()}
    merged = tuple(_merge(simple[name] for name in nodes if name in simple) for nodes in indices)
    line_annotations = LineAnnotations(
        merged, {scene: [indices[nodes] for nodes in row] for scene, row in lines.items()}
    )
    return line_annotations, tuple(indices)


def _merge(annotations: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """One annotation with the counts of several."""
    violations: dict[str, None] = {}
    power: dict[str, None] = {}
    utility: dict[str, int] = {}
    for annotation in annotations:
        violations.update(dict.fromkeys(annotation.get("violations", ())))
        power.update(dict.fromkeys(annotation.get("power", ())))
        for who, level in annotation.get("utility", {}).items():
            # -3 for others counts twice, as suffering and as power over well-being, and so replaces a 3.
            utility[who] = min(level, utility.get(who, level), key=lambda x: (-abs(x), x))
    merged: dict[str, Any] = {"violations": [*violations], "power": [*power], "utility": utility}
    return {key: value for key, value in merged.items() if value}
