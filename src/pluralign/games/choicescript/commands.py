"""What each command compiles to. Further commands of the language join `HANDLERS`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pluralign.core import InputError
from pluralign.games import harms
from pluralign.games.choicescript import flow_commands as flow
from pluralign.games.choicescript import variable_commands as variables
from pluralign.games.choicescript.expressions import parse, parse_template
from pluralign.games.choicescript.head import pluralign_note
from pluralign.games.choicescript.instructions import Achieve, Annotate, SetReuse
from pluralign.games.choicescript.parser import BLANK, Node
from pluralign.games.choicescript.scene_writer import SceneWriter
from pluralign.games.choicescript.syntax import Template

REUSE_MODES: Mapping[str, str] = {"hide_reuse": "hide", "disable_reuse": "disable", "allow_reuse": "allow"}
"""From a command to the mode that it sets."""


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
        scene.fault(node.error(f"no *achievement declares '{node.data}'"), kind="achievement")
        return
    points = scene.workshop.head.achievements[name].points
    here = scene.place()
    scene.emit(Achieve(node.path, node.line, name, slot, points, here + 1, reads=frozenset({slot})))


def line_break(scene: SceneWriter, node: Node) -> None:
    """``*line_break``."""
    scene.nothing_after(node)
    scene.constant(node, "\n")


def page_break(scene: SceneWriter, node: Node) -> None:
    """``*page_break [BUTTON]``: nobody needs to turn pages here, so the text goes on."""
    scene.constant(node, "\n\n")


def print_value(scene: SceneWriter, node: Node) -> None:
    """``*print EXPRESSION``."""
    scene.printed(node, Template((parse(node.data), " ")))


def stat_chart(scene: SceneWriter, node: Node) -> None:
    """``*stat_chart``: its lines as text, one below the other."""
    scene.constant(node, "\n\n")
    for line in node.block:
        if line.command != BLANK:
            scene.printed(line, _chart_line(line))
    scene.constant(node, "\n\n")


def _chart_line(line: Node) -> Template:
    kind, _, rest = line.data.partition(" ")
    name, _, title = rest.strip().partition(" ")
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


def set_reuse(scene: SceneWriter, node: Node) -> None:
    """``*hide_reuse`` and its like on a line of their own."""
    if node.data:
        raise node.error(f"expected nothing or an #option after *{node.command}, found {node.data!r}")
    assert scene.default_reuse is not None
    mode = None if node.command == "allow_reuse" else REUSE_MODES[node.command]
    here = scene.place()
    scene.emit(SetReuse(node.path, node.line, scene.default_reuse, mode, here + 1))


def pass_over(scene: SceneWriter, node: Node) -> None:
    """A command that only shows, sells or reports something."""


def script(scene: SceneWriter, node: Node) -> None:
    """``*script``."""
    raise node.error("*script holds JavaScript, which is not run here")


HANDLERS: Mapping[str, Callable[[SceneWriter, Node], None]] = {
    "abort": flow.ending,
    "achieve": achieve,
    "allow_reuse": set_reuse,
    "bug": flow.bug,
    "comment": comment,
    "config": variables.set_variable,
    "delay_ending": flow.ending,
    "delete": variables.delete,
    "delete_array": variables.delete_array,
    "disable_reuse": set_reuse,
    "end_trial": flow.ending,
    "ending": flow.ending,
    "finish": flow.finish,
    "finish_advertisement": flow.finish,
    "gosub": flow.gosub,
    "gosub_scene": flow.gosub_scene,
    "goto": flow.goto,
    "goto_random_scene": flow.goto_random_scene,
    "goto_scene": flow.goto_scene,
    "gotoref": flow.goto_reference,
    "hide_reuse": set_reuse,
    "input_number": variables.input_number,
    "input_text": variables.input_text,
    "label": flow.label,
    "line_break": line_break,
    "page_break": page_break,
    "page_break_advertisement": page_break,
    "params": variables.params,
    "print": print_value,
    "purchase": flow.purchase,
    "purchase_discount": flow.purchase,
    "rand": variables.randomise,
    "redirect_scene": flow.goto_scene,
    "reset": variables.reset,
    "restart": flow.ending,
    "restore_checkpoint": flow.restore_checkpoint,
    "return": flow.leave_subroutine,
    "save_checkpoint": flow.save_checkpoint,
    "script": script,
    "set": variables.set_variable,
    "setref": variables.set_reference,
    "stat_chart": stat_chart,
    "temp": variables.make_temporary,
    "temp_array": variables.make_temporary_array,
    **dict.fromkeys(
        (
            *("advertisement", "ai", "check_achievements", "check_purchase", "check_registration"),
            *("delay_break", "feedback", "ifid", "image", "kindle_image", "kindle_product"),
            *("kindle_search", "link", "link_button", "login", "looplimit", "more_games"),
            *("print_discount", "product", "restore_game", "restore_purchases", "save_game"),
            *("share_this_game", "show_password", "sound", "subscribe", "text_image", "timer"),
            *("track_event", "youtube"),
        ),
        pass_over,
    ),
}
"""From a command to what compiles it. *if, *choice and their like open blocks: see `compiler`."""
