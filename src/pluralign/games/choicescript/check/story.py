"""Errors of a story, found by compiling, analysing and playing it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pluralign.core import InputError
from pluralign.games.choicescript.check import analysis
from pluralign.games.choicescript.compile.context import STARTUP
from pluralign.games.choicescript.compile.story import compile_scenes
from pluralign.games.choicescript.load import read_scenes
from pluralign.games.choicescript.problems import WARNING, Problem
from pluralign.games.choicescript.run.game import ChoiceScriptGame, ChoiceScriptStory, State
from pluralign.games.choicescript.run.instructions import Achieve, Annotate
from pluralign.games.choicescript.run.program import Program
from pluralign.games.random_play import play_at_random
from pluralign.games.state_graph import StateGraph, explore

MAX_CHECKED_STATES = 500_000
"""Number of states beyond which a check reports the story as too large."""

RANDOM_EPISODES = 200
"""Number of random episodes that check a story which draws random numbers."""

RANDOM_STEPS = 1_000
"""Maximum number of steps of each of these episodes."""


def check_story(path: str | Path, *, max_states: int = MAX_CHECKED_STATES) -> list[Problem]:
    """All errors of a story, sorted by file and line.

    Finds what does not compile (commands, indentation, expressions, unknown variables, labels, scenes and
    achievements); lines that play cannot reach; options that play falls out of or, in annotated stories,
    passes without an annotation; and, by exploring all states, choices without options, endless loops and
    text that is never shown. A story that draws random numbers is played at random instead.

    Args:
        path: Path of a folder, or name of a built-in story.
        max_states: Largest number of states to explore.

    Raises:
        InputError: There is no such story.
    """
    name, folder, scenes = read_scenes(path)
    story, reported = compile_scenes(name, scenes, folder)
    if story is None:
        return reported
    problems = list(reported)
    program = story.program
    seen = analysis.reachable(program)
    problems += analysis.unreachable_problems(program, seen)
    problems += analysis.fall_problems(program, seen)
    problems += analysis.achievement_problems(program, seen)
    if program.annotations:
        problems += analysis.annotation_problems(program, seen)
    problems += _random_problems(story) if program.random else _play_problems(story, seen, max_states)
    known = {(problem.file, problem.line, problem.message) for problem in reported}
    again = [p for p in problems if p.kind == "play" and (p.file, p.line, p.message) in known]
    return sorted(set(problems).difference(again))


def _forgotten(game: ChoiceScriptGame) -> Iterator[Problem]:
    message = "warning: *goto_scene leaves a scene of *gosub_scene, which should *return first"
    return (Problem(path, line, WARNING, message) for path, line in game.forgotten)


def _random_problems(story: ChoiceScriptStory) -> Iterator[Problem]:
    game, startup = ChoiceScriptGame(story), str(Path(story.folder) / f"{STARTUP}.txt")
    for seed in range(RANDOM_EPISODES):
        try:
            for _ in play_at_random(game, seed, RANDOM_STEPS):
                pass
        except InputError as error:
            yield Problem.of(error, "play", startup)
    yield from _forgotten(game)


def _play_problems(story: ChoiceScriptStory, seen: set[int], max_states: int) -> Iterator[Problem]:
    startup = str(Path(story.folder) / f"{STARTUP}.txt")
    errors: list[InputError] = []
    visited: set[int] = set()
    try:
        game = ChoiceScriptGame(story)
        yield from _lost(story.program, game)
        game.visited = visited
        graph = explore(game, max_states=max_states, errors=errors)
    except InputError as error:
        kind = "play" if error.row else "size"
        yield Problem.of(error, kind, startup)
        return
    yield from (Problem.of(error, "play", startup) for error in errors)
    yield from _forgotten(game)
    cycle = graph.cycle()
    if cycle:
        yield _cycle_problem(story.program, graph, cycle)
    if not errors:
        yield from _never_shown(story.program, seen, visited)
    if len(graph.states) == 1:
        yield Problem(startup, 0, "play", "the story has no choice")


def _lost(program: Program, game: ChoiceScriptGame) -> Iterator[Problem]:
    """Achievements and annotations before the first choice, which belong to no step."""
    if game.points:
        for instruction in program.instructions:
            if isinstance(instruction, Achieve) and game.slots[instruction.slot]:
                message = f"'{instruction.name}' is won before the first choice, so that no step counts it"
                yield Problem(instruction.path, instruction.line, "achievement", message)
                break
    for index in game.passed:
        for instruction in program.instructions:
            if isinstance(instruction, Annotate) and instruction.index == index:
                message = "this annotation comes before the first choice, so that no step counts it"
                yield Problem(instruction.path, instruction.line, "annotation", message)


def _cycle_problem(program: Program, graph: StateGraph, cycle: list[int]) -> Problem:
    places = {state.place for s in cycle if isinstance(state := graph.states[s], State)}
    choices = sorted((program.instructions[place] for place in places), key=lambda i: (i.path, i.line))
    lines = ", ".join(str(choice.line) for choice in choices)
    message = f"play can loop here forever without changing anything (choices on lines {lines})"
    return Problem(choices[0].path, choices[0].line, "loop", message)


def _never_shown(program: Program, seen: set[int], visited: set[int]) -> Iterator[Problem]:
    before = True
    for here, instruction in enumerate(program.instructions):
        if here in visited or here not in seen:
            before = True
        elif instruction.written:
            if before:
                message = "play never reaches this: the conditions on the way are never all true"
                yield Problem(instruction.path, instruction.line, "unreachable", message)
            before = False
