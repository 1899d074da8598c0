"""Compilation of the commands that control the flow of play."""

from __future__ import annotations

import re

from pluralign.games.choicescript.compile.context import RESTORED, STARTUP, UNRESOLVED, saved_flag
from pluralign.games.choicescript.compile.scene_builder import SceneBuilder
from pluralign.games.choicescript.language.expressions import parse, parse_place, parse_template, parse_values
from pluralign.games.choicescript.language.parser import BLANK, Node
from pluralign.games.choicescript.language.syntax import Expression, Variable
from pluralign.games.choicescript.language.values import FALSE, TRUE
from pluralign.games.choicescript.run.assignments import Arguments
from pluralign.games.choicescript.run.checkpoints import (
    EXCLUSIONS,
    Exclusions,
    RestoreCheckpoint,
    SaveCheckpoint,
)
from pluralign.games.choicescript.run.control import (
    Branch,
    End,
    Fault,
    Gosub,
    GosubScene,
    GotoRandomScene,
    Jump,
    LeaveScene,
    RandomScene,
    Return,
)


def label(scene: SceneBuilder, node: Node) -> None:
    """``*label NAME``."""
    name, labels = node.data.lower(), scene.context.labels
    if not name and not scene.context.strict:
        return
    if not name or re.search(r"\s", name):
        raise node.error(f"a label must be one word, found {node.data!r}")
    if (scene.scene, name) in labels:
        scene.context.report("label", node.error(f"label '{name}' is defined twice in this scene"))
        return
    labels[scene.scene, name] = scene.place()


def goto(scene: SceneBuilder, node: Node) -> None:
    """``*goto LABEL``."""
    place, rest = _place(node)
    if rest.strip():
        raise node.error(f"expected one label after *{node.command}, found {node.data!r}")
    _jump(scene, node, place)


def goto_reference(scene: SceneBuilder, node: Node) -> None:
    """``*gotoref EXPRESSION``, to the label with the computed name."""
    _jump(scene, node, parse(node.data))


def purchase(scene: SceneBuilder, node: Node) -> None:
    """``*purchase`` and ``*purchase_discount``: everything is bought, so play goes to their label."""
    words = node.data.split()
    if len(words) < 2:
        raise node.error(f"expected *{node.command} PRODUCT PRICE LABEL, found {node.data!r}")
    _jump(scene, node, words[-1].lower())


def _jump(scene: SceneBuilder, node: Node, place: str | Expression) -> None:
    jump = Jump(node.path, node.line, UNRESOLVED)
    scene.link(node, jump, scene.scene, place)
    scene.emit(jump)


def gosub(scene: SceneBuilder, node: Node) -> None:
    """``*gosub LABEL [VALUE...]``."""
    place, rest = _place(node)
    _hand_over(scene, node, rest)
    call = Gosub(node.path, node.line, UNRESOLVED, scene.place() + 1)
    scene.link(node, call, scene.scene, place)
    scene.emit(call)


def goto_scene(scene: SceneBuilder, node: Node) -> None:
    """``*goto_scene SCENE [LABEL [VALUE...]]``, and ``*redirect_scene`` of a stats screen."""
    name, place, rest = _scene_and_label(node)
    _check_creation(scene, node, name, place)
    _hand_over(scene, node, rest)
    leave = LeaveScene(node.path, node.line, scene.first, scene.blank, UNRESOLVED, forgets=True)
    scene.link(node, leave, name, place)
    scene.emit(leave)


def gosub_scene(scene: SceneBuilder, node: Node) -> None:
    """``*gosub_scene SCENE [LABEL [VALUE...]]``."""
    name, place, rest = _scene_and_label(node)
    _check_creation(scene, node, name, place)
    scene.move(node, scene.context.arguments, scene.kept_arguments)
    _hand_over(scene, node, rest)
    here = scene.place()
    call = GosubScene(node.path, node.line, scene.first, scene.blank, UNRESOLVED, here + 1)
    scene.link(node, call, name, place)
    scene.emit(call)
    # A *params after the return finds the values of the scene's own caller.
    scene.move(node, scene.kept_arguments, scene.context.arguments)


def goto_random_scene(scene: SceneBuilder, node: Node) -> None:
    """``*goto_random_scene`` and the scenes under it."""
    used = scene.context.visited
    assert used is not None
    always = "allow_reuse" in node.data
    lines = [_random_line(line, always) for line in node.block if line.command != BLANK]
    if not lines:
        raise node.error("expected the names of the scenes, indented, one per line")
    conditions = [
        None if condition is None else scene.scope.condition(condition) for _, condition, _, _ in lines
    ]
    here = scene.place()
    scenes = tuple(
        RandomScene(name, condition, again, here + 1 + i)
        for i, ((name, _, again, _), condition) in enumerate(zip(lines, conditions, strict=True))
    )
    reads = scene.scope.reads(*(c for _, c, _, _ in lines if c is not None)) | {used}
    scene.emit(GotoRandomScene(node.path, node.line, used, scenes, here + 1 + len(lines), reads=reads))
    for name, _, _, line in lines:
        leave = LeaveScene(line.path, line.line, scene.first, scene.blank, UNRESOLVED, forgets=True)
        scene.link(line, leave, name, None)
        scene.emit(leave)


def _random_line(line: Node, always: bool) -> tuple[str, Expression | None, bool, Node]:
    written = f"*{line.command} {line.data}" if line.command else line.data
    match = re.fullmatch(
        r"(?:\*?(allow_reuse)\s+)?(?:\*?if\s+(\(.*\))\s+)?(?:\*?(allow_reuse)\s+)?(\S+)", written
    )
    if match is None:
        raise line.error(f"expected [allow_reuse] [*if (CONDITION)] SCENE, found {written!r}")
    condition = parse(match.group(2)) if match.group(2) else None
    return match.group(4).lower(), condition, always or bool(match.group(1) or match.group(3)), line


def leave_subroutine(scene: SceneBuilder, node: Node) -> None:
    """``*return``."""
    scene.nothing_after(node)
    scene.emit(Return(node.path, node.line, scene.first, scene.blank))


def finish(scene: SceneBuilder, node: Node) -> None:
    """``*finish [BUTTON]``."""
    scene.finish(node, written=True)


def ending(scene: SceneBuilder, node: Node) -> None:
    """``*ending``, ``*restart``, ``*abort`` and ``*end_trial``: the episode ends."""
    scene.nothing_after(node)
    scene.emit(End(node.path, node.line))


def bug(scene: SceneBuilder, node: Node) -> None:
    """``*bug [MESSAGE]``: the author's own error."""
    message = f"*bug: {node.data or 'the story says so'}"
    template = parse_template(message)
    render = None if template.constant is not None else scene.scope.expression(template)
    reads = scene.scope.reads(template)
    scene.emit(Fault(node.path, node.line, message, known=True, render=render, reads=reads))


def save_checkpoint(scene: SceneBuilder, node: Node) -> None:
    """``*save_checkpoint [SLOT]``."""
    context, name = scene.context, _checkpoint(node)
    here, slot, saved = scene.place(), context.checkpoints[name], context.globals[saved_flag(name)]
    context.resume[name].append(here + 1)
    restored = scene.scope.own[RESTORED]
    scene.emit(SaveCheckpoint(node.path, node.line, slot, (), saved, restored, scene.scene, here + 1))


def restore_checkpoint(scene: SceneBuilder, node: Node) -> None:
    """``*restore_checkpoint [SLOT]``."""
    context, scope, name = scene.context, scene.scope, _checkpoint(node)
    slot, saved = context.checkpoints[name], context.globals[saved_flag(name)]
    restore = RestoreCheckpoint(node.path, node.line, slot, (), saved, context.resume[name])
    restore.reads = frozenset({slot, saved})
    if EXCLUSIONS in scope.own or EXCLUSIONS in context.globals:
        names = Variable(EXCLUSIONS)
        restore.excluded = Exclusions(scope.expression(names), context.globals, scope.own, context.scenes)
        restore.reads |= frozenset((*context.globals.values(), *scope.own.values()))
    scene.emit(restore)


def _checkpoint(node: Node) -> str:
    if not re.fullmatch(r"\w*", node.data, re.ASCII):
        raise node.error(f"a checkpoint's name has letters, digits and underscores, found {node.data!r}")
    return node.data.lower()


def _place(node: Node) -> tuple[str | Expression, str]:
    if not node.data:
        raise node.error(f"expected one label after *{node.command}, found ''")
    return parse_place(node.data)


def _scene_and_label(node: Node) -> tuple[str | Expression, str | Expression | None, str]:
    if not node.data:
        raise node.error(f"expected SCENE or SCENE LABEL after *{node.command}, found ''")
    name, rest = parse_place(node.data)
    if not rest.strip():
        return name, None, ""
    return name, *parse_place(rest)


def _check_creation(scene: SceneBuilder, node: Node, name: object, place: object) -> None:
    slot = scene.context.created
    if slot is None or scene.scene != STARTUP:
        return
    if name != STARTUP:
        scene.mark_created(node, FALSE)
    elif place is None:
        here = scene.place()
        created = Branch(node.path, node.line, lambda slots: slots[slot] == TRUE, here + 1, here + 2)
        created.reads = frozenset({slot})
        scene.emit(created)
        message = f"*{node.command} {name} in {name} itself would create the variables twice; add a label"
        scene.emit(Fault(node.path, node.line, message))


def _hand_over(scene: SceneBuilder, node: Node, source: str) -> None:
    given, slot = parse_values(source), scene.context.arguments
    values = tuple(scene.scope.assignment(value) for value in given)
    if slot is not None:
        reads = scene.scope.reads(*given)
        scene.emit(Arguments(node.path, node.line, slot, values, scene.place() + 1, reads=reads))
