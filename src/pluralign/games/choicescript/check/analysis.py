"""Static analysis of a program."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from pluralign.games.choicescript.compile.flow_graph import flow
from pluralign.games.choicescript.problems import Problem
from pluralign.games.choicescript.run.choose import Choose
from pluralign.games.choicescript.run.control import Fault, Gosub, GosubScene, Return
from pluralign.games.choicescript.run.instructions import Achieve, Annotate, Instruction, Option
from pluralign.games.choicescript.run.program import STATS, Program

# Calls nested more deeply than this are treated as if they could return anywhere.
_DEEPEST = 8


def reachable(program: Program) -> set[int]:
    """The instructions that play could reach if every condition could be true or false."""
    edges = flow(program.instructions)
    seen = {program.entry}
    waiting = [program.entry]
    while waiting:
        for there in edges[waiting.pop()]:
            if there not in seen:
                seen.add(there)
                waiting.append(there)
    return {here for here in seen if here < len(program.instructions)}


def unreachable_problems(program: Program, seen: set[int]) -> Iterator[Problem]:
    """One problem for each run of lines that play cannot reach, the stats screen excepted."""
    before = True
    for here, instruction in enumerate(program.instructions):
        if here in seen or Path(instruction.path).stem == STATS:
            before = True
        elif instruction.written:
            if before:
                message = "play cannot reach this: no label, choice or condition leads here"
                yield Problem(instruction.path, instruction.line, "unreachable", message)
            before = False


def fall_problems(program: Program, seen: set[int]) -> Iterator[Problem]:
    """Places where play falls through out of an option or into an ``*else``."""
    for here in sorted(seen):
        instruction = program.instructions[here]
        if isinstance(instruction, Fault) and not instruction.known:
            yield Problem(instruction.path, instruction.line, "fall", instruction.message)


def achievement_problems(program: Program, seen: set[int]) -> Iterator[Problem]:
    """Achievements that are never awarded."""
    awarded = {i.name for here in seen if isinstance(i := program.instructions[here], Achieve)}
    for achievement in program.achievements:
        if achievement.name not in awarded:
            message = f"the achievement '{achievement.name}' is never awarded"
            yield Problem(achievement.path, achievement.line, "achievement", message)


def annotation_problems(program: Program, seen: set[int]) -> Iterator[Problem]:
    """Options from which some path reaches the next choice without an annotation."""
    backs = _return_places(program.instructions)
    for here in sorted(seen):
        instruction = program.instructions[here]
        if isinstance(instruction, Choose):
            for option in instruction.options:
                missing = _unannotated(program.instructions, option, backs)
                if missing is not None:
                    message = f"no annotation on the way from this option to line {missing.line}"
                    if missing.path != option.path:
                        message += f" of {missing.path}"
                    yield Problem(option.path, option.line, "annotation", message)


def _return_places(instructions: Sequence[Instruction]) -> tuple[int, ...]:
    return tuple(i.back for i in instructions if isinstance(i, Gosub | GosubScene))


def _unannotated(
    instructions: Sequence[Instruction], option: Option, backs: Sequence[int]
) -> Instruction | None:
    """The choice or ending that some path from an option reaches without an annotation; None if none does."""
    waiting: list[tuple[int, tuple[int, ...]]] = [(option.target, ())]
    seen = set(waiting)
    while waiting:
        here, stack = waiting.pop()
        instruction = instructions[here]
        following: list[tuple[int, tuple[int, ...]]] = []
        match instruction:
            case Annotate() | Fault():
                continue
            case Choose():
                return instruction
            case Gosub() | GosubScene():
                deeper = (*stack, instruction.back)[-_DEEPEST:]
                following = [(there, deeper) for there in instruction.successors(here)]
            case Return() if stack:
                following = [(stack[-1], stack[:-1])]
            case Return():
                following = [(back, ()) for back in backs]
            case _:
                following = [(there, stack) for there in instruction.successors(here)]
                if not following:
                    return instruction
        for place in following:
            if place not in seen:
                seen.add(place)
                waiting.append(place)
    return None
