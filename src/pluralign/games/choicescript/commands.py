"""What each command compiles to. Further commands of the language join `HANDLERS`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from pluralign.core import InputError
from pluralign.games import harms
from pluralign.games.choicescript import expressions
from pluralign.games.choicescript.codegen import compile_assignment
from pluralign.games.choicescript.control import End, Gosub, GosubScene, Jump, LeaveScene, Return
from pluralign.games.choicescript.head import check_name, pluralign_note
from pluralign.games.choicescript.instructions import Achieve, Annotate, Assign, Create, SetReuse
from pluralign.games.choicescript.parser import Node
from pluralign.games.choicescript.scene_writer import STILL_OPEN, SceneWriter

REUSE_MODES: Mapping[str, str] = {"hide_reuse": "hide", "disable_reuse": "disable", "allow_reuse": "allow"}
"""From a command to the mode that it sets."""


def set_variable(scene: SceneWriter, node: Node) -> None:
    """``*set VARIABLE EXPRESSION``."""
    name, value = expressions.parse_assignment(node.data)
    scene.resolve(name)
    if name == "implicit_control_flow":
        raise node.error("implicit_control_flow is set once, by *create")
    evaluate, reads = compile_assignment(value, scene.resolve), scene.reads(value)
    slot, hidden = scene.temporaries.get(name), scene.workshop.globals.get(name)
    here = scene.place()
    if slot is None:
        assert hidden is not None
        scene.emit(Create(node.path, node.line, hidden, evaluate, here + 1, reads=reads))
    else:
        scene.emit(Assign(node.path, node.line, slot, evaluate, here + 1, hidden, reads=reads | {slot}))


def make_temporary(scene: SceneWriter, node: Node) -> None:
    """``*temp VARIABLE [EXPRESSION]``."""
    name, _, source = node.data.partition(" ")
    name = check_name(node, name)
    value = expressions.parse(source) if source.strip() else None
    evaluate = None if value is None else compile_assignment(value, scene.resolve)
    reads = frozenset[int]() if value is None else scene.reads(value)
    here = scene.place()
    scene.emit(Create(node.path, node.line, scene.temporaries[name], evaluate, here + 1, reads=reads))


def comment(scene: SceneWriter, node: Node) -> None:
    """``*comment``, and ``*comment pluralign {...}`` as an annotation."""
    try:
        note = pluralign_note(node)
        if note is None:
            return
        annotation = harms.check_annotation(note)
    except InputError as error:
        scene.workshop.report("annotation", node.error(error.message, name=error.field))
        return
    here, annotations = scene.place(), scene.workshop.annotations
    scene.emit(Annotate(node.path, node.line, len(annotations), here + 1))
    annotations.append(annotation)


def achieve(scene: SceneWriter, node: Node) -> None:
    """``*achieve NAME``."""
    name = node.data.lower()
    slot = scene.workshop.achievements.get(name)
    if slot is None:
        scene.workshop.report("achievement", node.error(f"no *achievement declares '{node.data}'"))
        return
    points = scene.workshop.head.achievements[name].points
    here = scene.place()
    scene.emit(Achieve(node.path, node.line, name, slot, points, here + 1, reads=frozenset({slot})))


def line_break(scene: SceneWriter, node: Node) -> None:
    """``*line_break``."""
    _nothing_after(node)
    scene.constant(node, "\n")


def page_break(scene: SceneWriter, node: Node) -> None:
    """``*page_break [BUTTON]``: nobody needs to turn pages here, so the text goes on."""
    scene.constant(node, "\n\n")


def set_reuse(scene: SceneWriter, node: Node) -> None:
    """``*hide_reuse`` and its like on a line of their own."""
    if node.data:
        raise node.error(f"expected nothing or an #option after *{node.command}, found {node.data!r}")
    assert scene.default_reuse is not None
    mode = None if node.command == "allow_reuse" else REUSE_MODES[node.command]
    here = scene.place()
    scene.emit(SetReuse(node.path, node.line, scene.default_reuse, mode, here + 1))


def label(scene: SceneWriter, node: Node) -> None:
    """``*label NAME``."""
    name, labels = node.data.lower(), scene.workshop.labels
    if not name or re.search(r"\s", name):
        raise node.error(f"a label is one word, found {node.data!r}")
    if (scene.scene, name) in labels:
        scene.workshop.report("label", node.error(f"label '{name}' stands twice in this scene"))
        return
    labels[scene.scene, name] = scene.place()


def goto(scene: SceneWriter, node: Node) -> None:
    """``*goto LABEL``."""
    jump = Jump(node.path, node.line, STILL_OPEN)
    scene.link(node, jump, scene.scene, _one_label(node))
    scene.emit(jump)


def gosub(scene: SceneWriter, node: Node) -> None:
    """``*gosub LABEL``."""
    call = Gosub(node.path, node.line, STILL_OPEN, scene.place() + 1)
    scene.link(node, call, scene.scene, _one_label(node))
    scene.emit(call)


def goto_scene(scene: SceneWriter, node: Node) -> None:
    """``*goto_scene SCENE [LABEL]``."""
    leave = LeaveScene(node.path, node.line, scene.first, scene.blank, STILL_OPEN)
    scene.link(node, leave, *_scene_and_label(node))
    scene.emit(leave)


def gosub_scene(scene: SceneWriter, node: Node) -> None:
    """``*gosub_scene SCENE [LABEL]``."""
    here = scene.place()
    call = GosubScene(node.path, node.line, scene.first, scene.blank, STILL_OPEN, here + 1)
    scene.link(node, call, *_scene_and_label(node))
    scene.emit(call)


def leave_subroutine(scene: SceneWriter, node: Node) -> None:
    """``*return``."""
    _nothing_after(node)
    scene.emit(Return(node.path, node.line, scene.first, scene.blank))


def finish(scene: SceneWriter, node: Node) -> None:
    """``*finish [BUTTON]``."""
    scene.finish(node, written=True)


def ending(scene: SceneWriter, node: Node) -> None:
    """``*ending``."""
    _nothing_after(node)
    scene.emit(End(node.path, node.line))


def _one_label(node: Node) -> str:
    if re.search(r"[\[{]", node.data):
        raise node.error(f"*{node.command} by reference is not understood; name the label")
    if len(node.data.split()) != 1:
        raise node.error(f"expected one label after *{node.command}, found {node.data!r}")
    return node.data.lower()


def _scene_and_label(node: Node) -> tuple[str, str | None]:
    words = node.data.lower().split()
    if re.search(r"[\[{]", node.data) or not 1 <= len(words) <= 2:
        raise node.error(f"expected SCENE or SCENE LABEL after *{node.command}, found {node.data!r}")
    return words[0], words[1] if len(words) == 2 else None


def _nothing_after(node: Node) -> None:
    if node.data:
        raise node.error(f"expected nothing after *{node.command}, found {node.data!r}")


HANDLERS: Mapping[str, Callable[[SceneWriter, Node], None]] = {
    "achieve": achieve,
    "allow_reuse": set_reuse,
    "comment": comment,
    "disable_reuse": set_reuse,
    "ending": ending,
    "finish": finish,
    "gosub": gosub,
    "gosub_scene": gosub_scene,
    "goto": goto,
    "goto_scene": goto_scene,
    "hide_reuse": set_reuse,
    "label": label,
    "line_break": line_break,
    "page_break": page_break,
    "return": leave_subroutine,
    "set": set_variable,
    "temp": make_temporary,
}
"""From a command to what compiles it. *if, *choice and their like open blocks: see `compiler`."""
