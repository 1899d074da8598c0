"""What is wrong with a story, and how large it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pluralign.core import InputError
from pluralign.games.choicescript.check import analysis
from pluralign.games.choicescript.compile.story import STARTUP, compile_scenes
from pluralign.games.choicescript.load import read_scenes
from pluralign.games.choicescript.problems import Problem
from pluralign.games.choicescript.run.game import ChoiceScriptGame, ChoiceScriptStory, State
from pluralign.games.choicescript.run.instructions import Achieve, Annotate
from pluralign.games.choicescript.run.program import Program
from pluralign.games.random_play import play_at_random
from pluralign.games.state_graph import StateGraph, explore

MAX_CHECKED_STATES = 500_000
"""How many states a check walks before it reports the story as too large."""

RANDOM_EPISODES = 200
"""Episodes of random play that check a story which draws lots."""

RANDOM_STEPS = 1_000
"""The most steps of each."""


def check_story(path: str | Path, *, max_states: int = MAX_CHECKED_STATES) -> list[Problem]:
    """Everything that is wrong with a story, by file and line; nothing where it is sound.

    Finds what does not compile (commands, indentation, expressions, unknown variables, labels, scenes
    and achievements), then what play cannot reach, falls out of, or, where there are annotations, leaves
    without one, and at last, by walking every state, choices without options, endless loops and what no
    play ever shows. Where a story draws lots, random play is looked at instead of every state.

    Args:
        path: a folder, or the name of a built-in story.
        max_states: how many states are walked.

    Raises:
        InputError: there is no such story.
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


def _random_problems(story: ChoiceScriptStory) -> Iterator[Problem]:
    game, startup = ChoiceScriptGame(story), str(Path(story.folder) / f"{STARTUP}.txt")
    for seed in range(RANDOM_EPISODES):
        try:
            for _ in play_at_random(game, seed, RANDOM_STEPS):
                pass
        except InputError as error:
            yield Problem.of(error, "play", startup)


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
    circle = graph.cycle()
    if circle:
        yield _circle_problem(story.program, graph, circle)
    if not errors:
        yield from _never_shown(story.program, seen, visited)
    if len(graph.states) == 1:
        yield Problem(startup, 0, "play", "the story has no choice")


def _lost(program: Program, game: ChoiceScriptGame) -> Iterator[Problem]:
    """What comes before the first choice belongs to no step."""
    if game.points:
        for instruction in program.instructions:
            if isinstance(instruction, Achieve) and game.slots[instruction.slot]:
                message = f"'{instruction.name}' is won before the first choice, and counts for no step"
                yield Problem(instruction.path, instruction.line, "achievement", message)
                break
    for index in game.passed:
        for instruction in program.instructions:
            if isinstance(instruction, Annotate) and instruction.index == index:
                message = "this annotation comes before the first choice, and counts for no step"
                yield Problem(instruction.path, instruction.line, "annotation", message)


def _circle_problem(program: Program, graph: StateGraph, circle: list[int]) -> Problem:
    places = {state.place for s in circle if isinstance(state := graph.states[s], State)}
    choices = sorted((program.instructions[place] for place in places), key=lambda i: (i.path, i.line))
    lines = ", ".join(str(choice.line) for choice in choices)
    message = f"play can go round here for ever and change nothing (choices on lines {lines})"
    return Problem(choices[0].path, choices[0].line, "loop", message)


def _never_shown(program: Program, seen: set[int], visited: set[int]) -> Iterator[Problem]:
    before = True
    for here, instruction in enumerate(program.instructions):
        if here in visited or here not in seen:
            before = True
        elif instruction.written:
            if before:
                message = "no play ever comes here: the conditions on the way never hold together"
                yield Problem(instruction.path, instruction.line, "unreachable", message)
            before = False
