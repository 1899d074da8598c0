"""Stories from folders."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path

from pluralign.core import InputError
from pluralign.games import harms
from pluralign.games.choicescript.compiler import compile_scene
from pluralign.games.choicescript.control import Choose, Gosub, Jump
from pluralign.games.choicescript.head import HEAD_COMMANDS, Head
from pluralign.games.choicescript.liveness import live_slots
from pluralign.games.choicescript.parser import BLANK, Node, parse_scene
from pluralign.games.choicescript.problems import Problem
from pluralign.games.choicescript.program import Program, Story
from pluralign.games.choicescript.scene_writer import Link, Workshop
from pluralign.games.game import GameInfo

STARTUP = "startup"
"""The scene that play begins with, and whose head declares everything."""

# The official engine's stats screen is no part of the play.
_NO_SCENES = frozenset({"choicescript_stats"})


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
        InputError: there is no such story, or a file is no UTF-8.
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
        if file.stem.lower() not in _NO_SCENES:
            try:
                scenes[file.stem.lower()] = file.read_text(encoding="utf-8")
            except UnicodeDecodeError as error:
                raise InputError(f"not UTF-8: {error.reason} at byte {error.start}", path=file) from None
    return folder.resolve().name, str(folder), scenes


def compile_story(name: str, scenes: Mapping[str, str], folder: str = "") -> Story:
    """Compile a story from its scenes' text.

    Raises:
        InputError: its first defect.
    """
    story, problems = compile_scenes(name, scenes, folder)
    if story is None:
        raise problems[0].error()
    return story


def compile_scenes(
    name: str, scenes: Mapping[str, str], folder: str = ""
) -> tuple[Story | None, list[Problem]]:
    """Compile a story as far as it goes: the story if it has no problems, and its problems."""
    problems: list[Problem] = []
    trees: dict[str, list[Node]] = {}
    for scene, source in scenes.items():
        path = str(Path(folder) / f"{scene}.txt")
        try:
            trees[scene] = parse_scene(source, path)
        except InputError as error:
            problems.append(Problem.of(error, "syntax", path))
    if STARTUP not in trees:
        return None, problems
    head, rest = _read_head(trees[STARTUP], problems)
    trees[STARTUP] = rest
    head.scenes = head.scenes or [STARTUP]
    workshop = _compile(head, trees, scenes, folder)
    problems.extend(workshop.problems)
    for scene in head.scenes:
        if scene not in scenes:
            path = str(Path(folder) / f"{STARTUP}.txt")
            problems.append(
                Problem(path, 0, "scene", f"*scene_list names '{scene}', and there is no {scene}.txt")
            )
    if problems:
        return None, sorted(set(problems))
    program = _program(workshop)
    return Story(_info(name, head, program), folder, dict(scenes), program), []


def _read_head(nodes: list[Node], problems: list[Problem]) -> tuple[Head, list[Node]]:
    head = Head()
    length = 0
    for node in nodes:
        if node.command not in HEAD_COMMANDS and node.command not in ("comment", BLANK):
            break
        length += 1
        try:
            head.read(node)
        except InputError as error:
            problems.append(Problem.of(error, "head"))
    return head, nodes[length:]


def _compile(head: Head, trees: Mapping[str, list[Node]], scenes: Mapping[str, str], folder: str) -> Workshop:
    names = [*head.variables, *(f"*{name}" for name in head.achievements)]
    slots = {name: slot for slot, name in enumerate(names)}
    workshop = Workshop(
        head,
        globals={name: slots[name] for name in head.variables},
        achievements={name: slots[f"*{name}"] for name in head.achievements},
        slots=len(names),
    )
    for scene, nodes in trees.items():
        lines = scenes[scene].rstrip().count("\n") + 1
        last = Node(str(Path(folder) / f"{scene}.txt"), lines, 0, "finish", "")
        compile_scene(workshop, scene, nodes, last)
    for link in workshop.links:
        _connect(workshop, link, scenes)
    return workshop


def _connect(workshop: Workshop, link: Link, scenes: Mapping[str, str]) -> None:
    if link.scene not in scenes:
        workshop.report("scene", link.node.error(f"there is no scene '{link.scene}' ({link.scene}.txt)"))
        return
    if link.label is None:
        target = workshop.entries.get(link.scene)
    else:
        target = workshop.labels.get((link.scene, link.label))
        if target is None and link.scene in workshop.entries:
            where = "this scene" if isinstance(link.instruction, Jump | Gosub) else f"scene '{link.scene}'"
            workshop.report("label", link.node.error(f"{where} has no label '{link.label}'"))
    if target is not None:
        link.instruction.target = target


def _program(workshop: Workshop) -> Program:
    instructions = tuple(workshop.instructions)
    values = list(workshop.head.variables.values())
    blanks = [None] * (workshop.slots - len(values))
    return Program(
        instructions=instructions,
        entry=workshop.entries[STARTUP],
        slots=(*values, *blanks),
        live=live_slots(instructions),
        annotations=tuple(workshop.annotations),
        achievements=tuple(workshop.head.achievements.values()),
    )


def _info(name: str, head: Head, program: Program) -> GameInfo:
    sizes = [len(i.options) for i in program.instructions if isinstance(i, Choose)]
    return GameInfo(
        name=name,
        title=head.title or name,
        author=head.author,
        summary=head.summary,
        player_character=head.player_character,
        max_points=float(head.max_points),
        max_options=max(sizes, default=0),
        objectives=(*harms.BUILTIN_OBJECTIVES, *head.objectives),
    )
