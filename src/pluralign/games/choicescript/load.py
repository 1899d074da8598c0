"""Stories from folders."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path

from pluralign.core import InputError
from pluralign.games import harms
from pluralign.games.choicescript.compiler import compile_scene
from pluralign.games.choicescript.control import Choose, Fault, Gosub, Jump
from pluralign.games.choicescript.head import HEAD_COMMANDS, Head
from pluralign.games.choicescript.liveness import live_slots
from pluralign.games.choicescript.parser import BLANK, Node, parse_scene
from pluralign.games.choicescript.preparation import prepare
from pluralign.games.choicescript.problems import Problem
from pluralign.games.choicescript.program import STATS, Marks, Program, Story
from pluralign.games.choicescript.values import Value
from pluralign.games.choicescript.workshop import Link, Workshop
from pluralign.games.game import GameInfo

STARTUP = "startup"
"""The scene that play begins with, and whose head declares everything."""

_ANNOTATED = re.compile(r"^\s*\*comment\s+pluralign\b", re.MULTILINE)


def list_stories() -> list[str]:
    """The built-in stories' names, in alphabetical order."""
    folder = resources.files("pluralign.games") / "stories"
    if not folder.is_dir():
        return []
    return sorted(child.name for child in folder.iterdir() if (child / f"{STARTUP}.txt").is_file())


def load_story(path_or_name: str | Path) -> Story:
    """Read and compile a story.

    Args:
        path_or_name: a folder, or the name of a built-in story.

    Raises:
        InputError: there is no such story, or its first defect (`check_story` finds them all).
    """
    name, folder, scenes = read_scenes(path_or_name)
    return compile_story(name, scenes, folder)


def read_scenes(path_or_name: str | Path) -> tuple[str, str, dict[str, str]]:
    """A story's name, its folder, and its scenes' text by name.

    Raises:
        InputError: there is no such story, or startup.txt is no UTF-8; in other files lines are at fault.
    """
    builtin = str(path_or_name) in list_stories()
    root = resources.files("pluralign.games") / "stories" / str(path_or_name) if builtin else None
    folder = Path(str(root)) if root is not None else Path(path_or_name)
    if not folder.is_dir():
        known = ", ".join(list_stories()) or "none"
        raise InputError(f"no story '{path_or_name}': neither a folder nor built in (built in: {known})")
    if not (folder / f"{STARTUP}.txt").is_file():
        raise InputError("a story's folder needs a startup.txt", path=folder)
    scenes: dict[str, str] = {}
    for file in sorted(folder.glob("*.txt")):
        name, content = file.stem.lower(), file.read_bytes()
        try:
            scenes[name] = content.decode("utf-8", errors="strict" if name == STARTUP else "replace")
        except UnicodeDecodeError as error:
            raise InputError(f"not UTF-8: {error.reason} at byte {error.start}", path=file) from None
    return folder.resolve().name, str(folder), scenes


def compile_story(
    name: str,
    scenes: Mapping[str, str],
    folder: str = "",
    marks: Marks | None = None,
    scene_list: Sequence[str] = (),
) -> Story:
    """Compile a story from its scenes' text; see `compile_scenes`.

    Raises:
        InputError: its first defect.
    """
    story, problems = compile_scenes(name, scenes, folder, marks, scene_list)
    if story is None:
        head = [problem for problem in problems if problem.kind == "head"]
        raise (head or [problem for problem in problems if not _of_stats(problem)])[0].error()
    return story


def compile_scenes(
    name: str,
    scenes: Mapping[str, str],
    folder: str = "",
    marks: Marks | None = None,
    scene_list: Sequence[str] = (),
) -> tuple[Story | None, list[Problem]]:
    """Compile a story as far as it goes: the story, where it can be played, and its problems.

    A story with annotations is played only without problems. Any other is played whatever is wrong below
    the head of ``startup.txt``, and ends with an error where play comes to it.

    Args:
        name: identifier.
        scenes: their text by name.
        folder: where they were read from.
        marks: annotations outside of the scenes.
        scene_list: the order of the scenes, where the head has none.

    Raises:
        InputError: there is no startup scene.
    """
    # Annotations are our own form: whoever writes them is told of every defect before play.
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
    workshop = _compile(head, trees, scenes, folder, strict=strict, marks=marks)
    problems.extend(workshop.problems)
    for scene in head.scenes:
        if scene not in scenes:
            path = str(Path(folder) / f"{STARTUP}.txt")
            problems.append(
                Problem(path, 0, "scene", f"*scene_list names '{scene}', and there is no {scene}.txt")
            )
    problems = sorted(set(problems))
    if unplayable or (strict and not all(map(_of_stats, problems))):
        return None, problems
    program = _program(workshop)
    info = _info(name, head, program)
    return Story(info, folder, dict(scenes), program, marks, tuple(scene_list)), problems


def _of_stats(problem: Problem) -> bool:
    return Path(problem.file).stem == STATS


def _read_head(nodes: list[Node], problems: list[Problem], strict: bool) -> tuple[Head, list[Node]]:
    head = Head(strict)
    length = 0
    for node in nodes:
        if node.command not in (*HEAD_COMMANDS, "comment", "product", "ifid", BLANK):
            break
        length += 1
        try:
            head.read(node)
        except InputError as error:
            problems.append(Problem.of(error, "head"))
    return head, nodes[length:]


def _declared_late(head: Head, nodes: list[Node], problems: list[Problem]) -> list[Node]:
    """Read what of the head stands below it, as older games have it; gives the lines that are left."""
    left: list[Node] = []
    for node in nodes:
        if node.command not in HEAD_COMMANDS:
            left.append(node)
            continue
        message = f"*{node.command} belongs to the top of startup.txt, and is read as if it stood there"
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
    marks: Marks | None,
) -> Workshop:
    workshop = prepare(head, trees, strict=strict)
    if marks is not None:
        workshop.marks = marks.lines
        workshop.annotations.extend(marks.annotations)
    for scene, nodes in trees.items():
        lines = scenes[scene].rstrip().count("\n") + 1
        last = Node(str(Path(folder) / f"{scene}.txt"), lines, 0, "finish", "")
        compile_scene(workshop, scene, nodes, last)
    for link in workshop.links:
        _connect(workshop, link)
    workshop.settle_checkpoints()
    return workshop


def _connect(workshop: Workshop, link: Link) -> None:
    aim = link.instruction.aim
    if aim is not None:
        aim.places = tuple(workshop.places(link))
        return
    assert link.scene is not None
    target, kind, message = workshop.entries.get(link.scene), "scene", ""
    if target is None:
        message = f"there is no scene '{link.scene}' ({link.scene}.txt)"
    elif link.label is not None:
        target, kind = workshop.labels.get((link.scene, link.label)), "label"
        where = "this scene" if isinstance(link.instruction, Jump | Gosub) else f"scene '{link.scene}'"
        message = f"{where} has no label '{link.label}'"
    if target is None:
        workshop.report(kind, link.node.error(message))
        target = len(workshop.instructions)
        workshop.instructions.append(
            Fault(link.node.path, link.node.line, message, known=True, written=False)
        )
    link.instruction.target = target


def _program(workshop: Workshop) -> Program:
    instructions = tuple(workshop.instructions)
    values = list(workshop.head.variables.values())
    slots: list[Value | None] = [*values, *[None] * (workshop.slots - len(values))]
    for name, slot in workshop.globals.items():
        if name not in workshop.head.variables:
            slots[slot] = "false"
    return Program(
        instructions=instructions,
        entry=workshop.entries[STARTUP],
        slots=tuple(slots),
        live=live_slots(instructions),
        annotations=tuple(workshop.annotations),
        achievements=tuple(workshop.head.achievements.values()),
        won=workshop.achievements,
        variables={name: workshop.globals[name] for name in workshop.head.variables},
        strict=workshop.strict,
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
