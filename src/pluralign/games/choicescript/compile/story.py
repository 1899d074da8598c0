"""Compilation of a story from the text of its scenes."""

from __future__ import annotations

import copyreg
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pluralign.core import InputError
from pluralign.games import harms
from pluralign.games.choicescript.compile.blocks import compile_scene
from pluralign.games.choicescript.compile.context import STARTUP, CompileContext, Link, prepare
from pluralign.games.choicescript.compile.liveness import live_slots
from pluralign.games.choicescript.language.head import HEAD_COMMANDS, Head
from pluralign.games.choicescript.language.parser import BLANK, Node, parse_scene
from pluralign.games.choicescript.language.values import FALSE, TRUE, Value
from pluralign.games.choicescript.problems import WARNING, Problem
from pluralign.games.choicescript.run.choose import Choose
from pluralign.games.choicescript.run.control import Fault, Gosub, Jump
from pluralign.games.choicescript.run.game import ChoiceScriptStory
from pluralign.games.choicescript.run.program import STATS, LineAnnotations, Program
from pluralign.games.game import GameInfo

_ANNOTATED = re.compile(r"^[^\S\n]*\*comment[^\S\n]+pluralign\b", re.MULTILINE)


def compile_story(
    name: str,
    scenes: Mapping[str, str],
    folder: str = "",
    line_annotations: LineAnnotations | None = None,
    scene_list: Sequence[str] = (),
) -> ChoiceScriptStory:
    """Compile a story from the text of its scenes; see `compile_scenes`.

    Raises:
        InputError: The story has errors; the message is the first.
    """
    story, problems = compile_scenes(name, scenes, folder, line_annotations, scene_list)
    if story is None:
        head = [problem for problem in problems if problem.kind == "head"]
        others = [p for p in problems if not _of_stats(p) and p.kind != WARNING]
        raise (head or others)[0].error()
    return story


def compile_scenes(
    name: str,
    scenes: Mapping[str, str],
    folder: str = "",
    line_annotations: LineAnnotations | None = None,
    scene_list: Sequence[str] = (),
) -> tuple[ChoiceScriptStory | None, list[Problem]]:
    """Compile a story, and collect its errors.

    A story with annotations can be played only without errors. A story without annotations can be played in
    spite of errors below the head of ``startup.txt``; they are raised where play reaches them.

    Args:
        name: Identifier of the story.
        scenes: Text of the scenes by name.
        folder: Folder that they were read from.
        line_annotations: Annotations outside of the scenes.
        scene_list: Order of the scenes, if the head does not give it.

    Returns:
        The story, or None if it cannot be played; and its errors.

    Raises:
        InputError: There is no startup scene.
    """
    # Authors of annotated stories get all errors before play.
    strict = any(_ANNOTATED.search(source) for source in scenes.values())
    trees = {
        scene: parse_scene(source, Path(folder) / f"{scene}.txt", strict=strict)
        for scene, source in scenes.items()
    }
    if STARTUP not in trees:
        raise InputError(f"a story needs a scene '{STARTUP}'", path=folder or None)
    problems: list[Problem] = []
    head, rest = _read_head(trees[STARTUP], problems, strict)
    unplayable = bool(problems)
    problems.extend(Problem.of(error, "head") for error in head.broken)
    trees[STARTUP] = rest if strict else _declared_late(head, rest, problems)
    head.scenes = head.scenes or list(dict.fromkeys((STARTUP, *scene_list)))
    context = _compile(head, trees, scenes, folder, strict=strict, line_annotations=line_annotations)
    problems.extend(context.problems)
    for scene in head.scenes:
        if scene not in scenes:
            path = str(Path(folder) / f"{STARTUP}.txt")
            problems.append(
                Problem(path, 0, "scene", f"*scene_list names '{scene}', and there is no {scene}.txt")
            )
    problems = sorted(set(problems))
    if unplayable or (strict and not all(_of_stats(p) or p.kind == WARNING for p in problems)):
        return None, problems
    program = _program(context)
    info = _info(name, head, program)
    return ChoiceScriptStory(
        info, folder, dict(scenes), program, line_annotations, tuple(scene_list)
    ), problems


def _reduce(story: ChoiceScriptStory) -> tuple[Callable[..., ChoiceScriptStory], tuple[Any, ...]]:
    parts = (story.info.name, dict(story.scenes), story.folder, story.line_annotations, story.scene_list)
    return compile_story, parts


# Compiled expressions cannot be pickled; a story is compiled again from its scenes.
copyreg.pickle(ChoiceScriptStory, _reduce)


def _of_stats(problem: Problem) -> bool:
    return Path(problem.file).stem == STATS


def _read_head(nodes: list[Node], problems: list[Problem], strict: bool) -> tuple[Head, list[Node]]:
    head = Head(strict)
    length = 0
    for node in nodes:
        if node.command not in (*HEAD_COMMANDS, "comment", "product", "ifid", BLANK):
            break
        length += 1
        head.spaced |= node.command == BLANK
        try:
            head.read(node)
        except InputError as error:
            problems.append(Problem.of(error, "head"))
    return head, nodes[length:]


def _declared_late(head: Head, nodes: list[Node], problems: list[Problem]) -> list[Node]:
    """Read declarations below the head, as older games have them, and return the lines without them."""
    left: list[Node] = []
    for node in nodes:
        if node.command not in HEAD_COMMANDS:
            left.append(node)
            continue
        # Play passes the line itself, and so an annotation that it has outside of the scenes.
        left.append(Node(node.path, node.line, node.indent, "comment", ""))
        message = f"*{node.command} belongs at the top of startup.txt, and is read as if it were there"
        problems.append(Problem.of(node.error(message), "head"))
        try:
            head.read(node)
        except InputError as error:
            problems.append(Problem.of(error, "head"))
    return left


def _compile(
    head: Head,
    trees: Mapping[str, list[Node]],
    scenes: Mapping[str, str],
    folder: str,
    *,
    strict: bool,
    line_annotations: LineAnnotations | None,
) -> CompileContext:
    context = prepare(head, trees, strict=strict)
    if line_annotations is not None:
        context.line_annotations = line_annotations.lines
        context.annotations.extend(line_annotations.annotations)
    for scene, nodes in trees.items():
        lines = scenes[scene].rstrip().count("\n") + 1
        last = Node(str(Path(folder) / f"{scene}.txt"), lines, 0, "finish", "")
        compile_scene(context, scene, nodes, last)
    for link in context.links:
        _resolve(context, link)
    context.resolve_checkpoints()
    return context


def _resolve(context: CompileContext, link: Link) -> None:
    computed = link.instruction.computed
    if computed is not None:
        computed.places = context.places(link.scene, link.label)
        return
    assert link.scene is not None
    target, kind, message = context.entries.get(link.scene), "scene", ""
    if target is None:
        message = f"there is no scene '{link.scene}' ({link.scene}.txt)"
    elif link.label is not None:
        target, kind = context.labels.get((link.scene, link.label)), "label"
        where = "this scene" if isinstance(link.instruction, Jump | Gosub) else f"scene '{link.scene}'"
        message = f"{where} has no label '{link.label}'"
    if target is None:
        context.report(kind, link.node.error(message))
        target = len(context.instructions)
        context.instructions.append(Fault(link.node.path, link.node.line, message, known=True, written=False))
    link.instruction.target = target


def _program(context: CompileContext) -> Program:
    instructions = tuple(context.instructions)
    values = list(context.head.variables.values())
    slots: list[Value | None] = [*values, *[None] * (context.slots - len(values))]
    if context.created is not None:
        slots[context.created] = TRUE
    for name, slot in context.globals.items():
        if name not in context.head.variables:
            slots[slot] = FALSE
    return Program(
        instructions=instructions,
        # The variables begin with their values; only a return to the first scene creates them again.
        entry=context.entries[STARTUP] + bool(context.head.variables) + (context.created is not None),
        slots=tuple(slots),
        live=live_slots(instructions),
        annotations=tuple(context.annotations),
        achievements=tuple(context.head.achievements.values()),
        won=context.achievements,
        variables={name: context.globals[name] for name in context.head.variables},
        strict=context.strict,
    )


def _info(name: str, head: Head, program: Program) -> GameInfo:
    sizes = [len(i.options) for i in program.instructions if isinstance(i, Choose)]
    by = f" by {head.author}" if head.author else ""
    return GameInfo(
        name=name,
        title=head.title or name,
        author=head.author,
        summary=head.summary or f"A ChoiceScript game{by}; its source gives no summary.",
        player_character=head.player_character or "The player; the source does not say who that is.",
        max_points=float(head.max_points),
        max_options=max(sizes, default=0),
        objectives=(*harms.BUILTIN_OBJECTIVES, *head.objectives),
        random=program.random,
    )
