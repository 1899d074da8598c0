"""Compilation of the commands that print text, annotate, and award achievements."""

from __future__ import annotations

from collections.abc import Mapping

from pluralign.core import InputError
from pluralign.games import harms
from pluralign.games.choicescript.compile.scene_builder import SceneBuilder
from pluralign.games.choicescript.language.expressions import parse, parse_template
from pluralign.games.choicescript.language.head import pluralign_note
from pluralign.games.choicescript.language.parser import BLANK, TEXT, Node
from pluralign.games.choicescript.language.syntax import Template
from pluralign.games.choicescript.run.instructions import Achieve, Annotate, SetReuse

REUSE_MODES: Mapping[str, str] = {"hide_reuse": "hide", "disable_reuse": "disable", "allow_reuse": "allow"}
"""Reuse mode by command."""


def comment(scene: SceneBuilder, node: Node) -> None:
    """``*comment``, and ``*comment pluralign {...}`` as an annotation."""
    try:
        note = pluralign_note(node)
        if note is None:
            return
        annotation = harms.check_annotation(note)
    except InputError as error:
        scene.context.report("annotation", node.error(error.message, name=error.field))
        return
    here, annotations = scene.place(), scene.context.annotations
    scene.emit(Annotate(node.path, node.line, len(annotations), here + 1))
    annotations.append(annotation)


def achieve(scene: SceneBuilder, node: Node) -> None:
    """``*achieve NAME``."""
    name = node.data.lower()
    slot = scene.context.achievements.get(name)
    if slot is None:
        scene.fault(node.error(f"no *achievement declares '{node.data}'"), kind="achievement")
        return
    points = scene.context.head.achievements[name].points
    here = scene.place()
    scene.emit(Achieve(node.path, node.line, name, slot, points, here + 1, reads=frozenset({slot})))


def line_break(scene: SceneBuilder, node: Node) -> None:
    """``*line_break``."""
    scene.nothing_after(node)
    scene.constant(node, "\n")


def page_break(scene: SceneBuilder, node: Node) -> None:
    """``*page_break [BUTTON]``: the text continues, without pages."""
    scene.constant(node, "\n\n")


def print_value(scene: SceneBuilder, node: Node) -> None:
    """``*print EXPRESSION``."""
    scene.printed(node, Template((parse(node.data),)), line=True)


def stat_chart(scene: SceneBuilder, node: Node) -> None:
    """``*stat_chart``: its entries as lines of text."""
    if node.is_empty:
        raise node.error("expected the entries of the chart, indented, one per line")
    scene.constant(node, "\n\n")
    for line in node.block:
        if line.command != BLANK:
            scene.printed(line, _chart_line(line))
    scene.constant(node, "\n\n")


def _chart_line(line: Node) -> Template:
    kind, _, rest = line.data.partition(" ")
    name, title = _variable_and_title(rest.strip())
    if line.command or not name or kind not in ("text", "percent", "opposed_pair"):
        raise line.error("expected text, percent or opposed_pair, and a variable")
    shown = "${" + name + "}"
    if kind == "text":
        return parse_template(f"{title or name}: {shown}\n")
    if kind == "percent":
        return parse_template(f"{title or name}: {shown}%\n")
    ends = [child.data for child in line.block if child.command != BLANK]
    if not 1 <= len(ends) <= 2:
        raise line.error("expected the names of the pair's two ends, indented, one on a line")
    left, right = ends if len(ends) == 2 else (name, ends[0])
    return parse_template(f"{left}: {shown}%, {right}: ${{100 - {name}}}%\n")


def _variable_and_title(rest: str) -> tuple[str, str]:
    """The value of an entry, which may be an expression in parentheses, and its title."""
    depth = 0
    for position, letter in enumerate(rest):
        depth += (letter == "(") - (letter == ")")
        if depth == 0 and rest.startswith("("):
            inside = rest[1:position]
            return inside, rest[position + 1 :].strip() or inside
    name, _, title = rest.partition(" ")
    return name, title


def set_reuse(scene: SceneBuilder, node: Node) -> None:
    """``*hide_reuse`` and similar commands on a line of their own."""
    if node.data:
        raise node.error(f"expected nothing or an #option after *{node.command}, found {node.data!r}")
    assert scene.default_reuse is not None
    mode = None if node.command == "allow_reuse" else REUSE_MODES[node.command]
    here = scene.place()
    scene.emit(SetReuse(node.path, node.line, scene.default_reuse, mode, here + 1))


def pass_over(scene: SceneBuilder, node: Node) -> None:
    """A command without effect on play."""


def script(scene: SceneBuilder, node: Node) -> None:
    """``*script``: passed over with a warning; an error in an annotated story."""
    message = "*script contains JavaScript, which is not supported"
    if scene.context.strict:
        raise node.error(message)
    scene.warn(node, f"{message}: play passes it over")


def end_paragraph(scene: SceneBuilder, node: Node) -> None:
    """``*image`` and other commands that show something between paragraphs, which is left out."""
    if node.command.endswith("image") and not node.data:
        raise node.error(f"expected the name of a file after *{node.command}")
    scene.constant(node, "\n\n")


def link(scene: SceneBuilder, node: Node) -> None:
    """``*link URL [TEXT]``: the text, or the address."""
    address, _, shown = node.data.partition(" ")
    if not address:
        raise node.error("expected *link URL or *link URL TEXT")
    scene.prose(Node(node.path, node.line, node.indent, TEXT, shown.strip() or address))
